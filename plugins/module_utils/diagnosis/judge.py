# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide what the facts of a server and of a client mean. This code sends no requests: it gets facts and returns checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis import (
    judge_cluster,
    judge_hosts,
    judge_pool,
    judge_process,
    judge_proxies,
    judge_stores,
    judge_use,
)
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis.checks import Check, Diagnosis

#: The layers, from the process outwards. A fault in one layer explains the faults of later layers.
LAYERS = (
    judge_process.check_environment,
    judge_process.check_sockets,
    judge_process.check_published,
    judge_process.check_configuration,
    judge_process.check_memory,
    judge_stores.check_stores,
    judge_stores.check_disks,
    judge_stores.check_clock,
    judge_process.check_not_running,
    judge_use.check_answers,
    judge_use.check_client,
)
#: What the hosts of a stack share, from the hosts outwards.
SHARED = (
    judge_hosts.check_hosts,
    judge_hosts.check_poolers,
    judge_cluster.check_etcd,
    judge_cluster.check_members,
    judge_cluster.check_replicas,
    judge_pool.check_pool,
    judge_proxies.check_virtual_address,
    judge_proxies.check_way_to_postgres,
)
_WITHOUT_DATABASE = ("database-down", "database-failed", "api-fails", "server-starting", "server-not-running", "backend-store-fails", "client-cannot-connect")
#: The tracking servers reach a pool of MinIO by the address of the proxies too.
_WITHOUT_ADDRESS = ("client-cannot-connect", "firewall-drop", "s3-down")
#: Faults of a tracking server that follow from a fault of what it uses.
EXPLAINED = {
    "cluster-without-primary": _WITHOUT_DATABASE,
    "etcd-without-quorum": _WITHOUT_DATABASE,
    "proxy-without-primary": _WITHOUT_DATABASE,
    "pgbouncer-not-running": _WITHOUT_DATABASE,
    "pool-without-write-quorum": ("s3-down", "s3-failed"),
    "virtual-address-missing": _WITHOUT_ADDRESS,
    "keepalived-not-running": _WITHOUT_ADDRESS,
}


def diagnose_stack(wanted: Mapping[str, Any], hosts: Mapping[str, Mapping[str, Any]]) -> list[Check]:
    """Return the checks of what the hosts of a stack share, empty if they share nothing.

    :param wanted: ``cluster_members``, ``pgbouncers``, ``pool_members``, ``proxies`` and ``virtual_address`` of the plan.
    :param hosts: The result of M(atlas.mlflow.cluster_diagnose) of each host.
    """
    stack = judge_hosts.Stack(wanted, hosts)
    if stack.members or stack.poolers or stack.pool or stack.proxies:
        for look in SHARED:
            look(stack)
    return stack.checks


def diagnose(wanted: Mapping[str, Any], server: Mapping[str, Any], client: Mapping[str, Any] | None = None, known: Iterable[str] = ()) -> list[Check]:
    """Return the checks of a server.

    :param wanted: ``host`` and ``port`` where it should listen, and ``static_prefix``.
    :param server: The result of M(atlas.mlflow.mlflow_diagnose) on the server's host.
    :param client: The same from a client's machine, if the module ran there.
    :param known: Names of the faults that C(diagnose_stack) found.
    """
    diagnosis = Diagnosis(wanted, server, client, explained=[name for cause in known for name in EXPLAINED.get(cause, ())])
    judge_process.check_process(diagnosis)
    if server.get("kind"):
        for look in LAYERS:
            look(diagnosis)
    return diagnosis.checks
