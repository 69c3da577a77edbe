# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for PgBouncer, which passes the connections of tracking servers to the PostgreSQL of its host."""

from __future__ import annotations

from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.sockets import port_conflicts, port_fault
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology import network_of

UNIT = "atlas-mlflow-pgbouncer.service"
#: The unit of the distribution's package.
PACKAGED = "pgbouncer.service"
#: Connections that a tracking server uses at once while it changes the schema, of which one holds the lock that the other servers wait for.
MIGRATION = 4


def _wanted(given: RoleSettings) -> bool:
    """Return whether the host has PgBouncer."""
    return given.flag("postgres_pgbouncer")


def pgbouncer_is_of_packages(given: RoleSettings) -> str:
    """PgBouncer runs beside a PostgreSQL of packages."""
    if not _wanted(given) or not given.in_container:
        return ""
    return (
        f"postgres_pgbouncer is true, and postgres_deployment is {given.deployment}. PgBouncer comes from the packages, and uses the socket of a PostgreSQL of "
        "packages on its host. Set postgres_deployment to systemd for the group postgres (the tracking servers may be containers), or leave "
        "postgres_pgbouncer out."
    )


def pgbouncer_port_is_free(given: RoleSettings) -> str:
    """The port of PgBouncer is valid, and no other process listens there."""
    name = "postgres_pgbouncer_port"
    if not _wanted(given):
        return ""
    port = given.number(name)
    if fault := port_fault(name, port):
        return fault
    addresses = [str(address) for address in given.items("postgres_listen_addresses")]
    taken = port_conflicts(given.facts.get("listeners") or [], addresses, port, [UNIT])
    return f"{name} is {port}, and {'; '.join(taken)}. Stop that process, or set another port." if taken else ""


def pgbouncer_is_no_other_s(given: RoleSettings) -> str:
    """The host has no PgBouncer that somebody else set up, whose unit the role would turn off."""
    running = any(listener.get("group") == PACKAGED for listener in given.facts.get("listeners") or [])
    if not _wanted(given) or not running:
        return ""
    return (
        f"postgres_pgbouncer is true, and {given.host} runs a PgBouncer that this collection did not set up ({PACKAGED}). Remove that one (apt-get purge "
        "pgbouncer), or leave postgres_pgbouncer out."
    )


def pgbouncer_pool_is_large_enough(given: RoleSettings) -> str:
    """The pool has room for all tracking servers that start at once, of which one changes the schema and the others wait for it."""
    least = len(given.groups.get("mlflow_servers") or []) + MIGRATION
    size = given.number("postgres_pgbouncer_pool_size")
    if not _wanted(given) or size >= least:
        return ""
    return (
        f"postgres_pgbouncer_pool_size is {size}. If all tracking servers start at once, each has a connection while it waits for the one that changes the "
        f"schema, which needs {MIGRATION}. Set {least} or more."
    )


def pgbouncer_clients_have_addresses(given: RoleSettings) -> str:
    """PgBouncer knows its clients by addresses and networks."""
    wrong = [str(client) for client in given.items("postgres_clients") if not network_of(str(client))] if _wanted(given) else []
    return (
        f"postgres_clients has {', '.join(wrong)}, and PgBouncer knows no names. Give addresses or networks, such as 10.0.0.7 or 10.0.0.0/24." if wrong else ""
    )
