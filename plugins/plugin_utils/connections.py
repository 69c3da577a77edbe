# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count the connections to a database that tracking servers may open, and check whether the database allows as many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

#: The default sizes of SQLAlchemy's pool in MLflow.
POOL_SIZE, MAX_OVERFLOW = 5, 10
#: Pools of each process: for runs and for the model registry, even if both are in one database.
POOLS = 2
#: Connections of each worker for small queries of each request with a login: to the database of users, and to that of runs. `quick_rows` opens them.
QUICK = 2 * 2
#: Processes that MLflow starts for its jobs, in addition to the workers.
JOB_PROCESSES = 8
#: PostgreSQL's default, and how many of these connections it reserves for superusers.
DEFAULT, RESERVED = 100, 3
#: Additional connections for backups, monitoring and people.
SPARE = 7


def _number(settings: Mapping[str, Any], name: str, default: int) -> int:
    """Return a setting as MLflow reads it: 0 and an empty value mean the default."""
    text = str(settings.get(name) or "").strip()
    return int(text) if text.isdigit() and int(text) else default


def most_connections(servers: Iterable[Mapping[str, Any]]) -> int:
    """Return how many connections all tracking servers together may open to the inventory's database.

    :param servers: The variables of each server's host, with its facts.
    """
    total = 0
    for server in servers:
        settings = server.get("mlflow_server_environment") or {}
        if str(settings.get("MLFLOW_SQLALCHEMYSTORE_POOLCLASS") or "QueuePool") != "QueuePool":
            continue  # a pool of another kind has other limits, or no limit
        workers = int(server.get("mlflow_server_workers") or (server.get("ansible_facts") or {}).get("processor_nproc") or 2)
        jobs = JOB_PROCESSES if boolean(server.get("mlflow_server_jobs_enabled"), strict=False) else 0
        pools = 0 if server.get("mlflow_server_backend_store_uri") else (workers + jobs) * POOLS
        # Without a replica, the reads are connections to the primary too.
        if boolean(server.get("mlflow_server_read_replicas"), strict=False) and not server.get("mlflow_server_read_replica_store_uri"):
            pools *= 2
            # Each process asks the primary how far it has written (`replicas`).
            total += workers + jobs
        if str(server.get("mlflow_server_auth") or "none") != "none" and not server.get("mlflow_server_auth_store_uri"):
            pools += workers
            total += workers * QUICK
        total += pools * (
            _number(settings, "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE", POOL_SIZE) + _number(settings, "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW", MAX_OVERFLOW)
        )
    return total


def pooled_connections(connections: int, pool_size: int, databases: int) -> int:
    """Return how many connections PostgreSQL gets from PgBouncer.

    :param connections: Those that PgBouncer's clients may open.
    :param pool_size: Those that PgBouncer opens to each database at most.
    :param databases: The number of databases.
    """
    return min(connections, pool_size * databases)


def max_connections(connections: int) -> int:
    """Return the max_connections that PostgreSQL needs for a number of connections, 0 if its default is enough."""
    needed = connections + RESERVED + SPARE
    return 0 if needed <= DEFAULT else -(-needed // 50) * 50
