# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory that the services of a host need, in units of 1024 x 1024 bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.atlas.mlflow.plugins.plugin_utils.connections import JOB_PROCESSES

#: A tracking server with one worker under load, each further worker, and each process for jobs (docs/performance.md).
SERVER, WORKER, JOB = 310, 120, 170
#: PostgreSQL's default of shared_buffers, and a connection in use.
SHARED_BUFFERS, CONNECTION = 128, 5
#: MinIO with some requests, the cluster's etcd and Patroni, and HAProxy.
MINIO, CLUSTER, HAPROXY = 1000, 150, 50
#: The units of PostgreSQL's settings in bytes. Without a unit, shared_buffers is a number of blocks.
UNITS = {"B": 1, "": 8 * 2**10, "kB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}


def server_memory(workers: int, jobs: bool) -> int:
    """Return the memory of a tracking server.

    :param workers: The number of its workers.
    :param jobs: Whether it runs jobs.
    """
    return SERVER + WORKER * max(workers - 1, 0) + (JOB * JOB_PROCESSES if jobs else 0)


def postgres_memory(settings: Mapping[str, Any], connections: int, in_cluster: bool) -> int:
    """Return the memory of PostgreSQL.

    :param settings: PostgreSQL's settings by their own names.
    :param connections: The connections that tracking servers may open.
    :param in_cluster: Whether etcd and Patroni run beside PostgreSQL.
    """
    given = re.fullmatch(r"'?(\d+) *(B|kB|MB|GB|TB|)'?", str(settings.get("shared_buffers", "")).strip())
    buffers = int(given[1]) * UNITS[given[2]] // 2**20 if given else SHARED_BUFFERS
    return buffers + CONNECTION * connections + (CLUSTER if in_cluster else 0)
