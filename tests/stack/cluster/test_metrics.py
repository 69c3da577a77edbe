"""A Prometheus that joins a cluster reads each member of each part, sees which one fails, and leaves nothing on the hosts when it goes.

The tests build on one another, in this order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from parts import host, primary, wait_whole
from stack.metrics.prometheus import firing, query, read
from stack.support import assert_unchanged, hosts_of, open_sockets, play, playbook, stack_hosts
from stack.writing import wait_for
from testinfra.host import Host

#: Seconds for a run that installs the exporters on all hosts.
PATIENCE = 1200
GROUPS = {"mlflow": "mlflow_servers", "haproxy": "haproxy", "minio": "minio", "postgres": "postgres"}
#: Ports of the exporters and of HAProxy's metrics. In this scenario, HAProxy has the usual port of the node exporter for the pool of MinIO.
NODE = 9110
PORTS = {f"tcp {NODE}", "tcp 9187", "tcp 8405"}


@pytest.fixture(scope="module")
def monitor() -> str:
    """Return the host that gets Prometheus: the client."""
    return hosts_of("clients")[0]


@pytest.fixture(scope="module")
def over(monitor: str) -> dict[str, Any]:
    """Return what is laid over the inventory."""
    settings = {"prometheus_scrape_interval": "2s", "prometheus_alerts": {"PostgresDown": {"for": "2s"}, "MinioDown": {"for": "2s"}}}
    return {"prometheus": {"hosts": {monitor: settings}}, "all": {"vars": {"metrics_node_port": NODE}}}


def test_each_member_is_read(client: Host, monitor: str, over: dict[str, Any], tmp_path: Path) -> None:
    wait_whole(client)
    done = play(playbook("site", over, tmp_path), patience=PATIENCE)
    assert done.returncode == 0, done.stdout[-5000:]
    targets = read(client, "targets?state=active")["activeTargets"]
    parts = {(job, name, "up") for job, group in GROUPS.items() for name in hosts_of(group)}
    nodes = {("node", name, "up") for name in {monitor, *(name for group in GROUPS.values() for name in hosts_of(group))}}
    found = {(one["labels"]["job"], one["labels"]["instance"], one["health"]) for one in targets}
    assert found == parts | nodes | {("prometheus", monitor, "up")}, [one["lastError"] for one in targets]


def test_the_members_are_told_apart(client: Host) -> None:
    """PostgreSQL says of each member how far it is behind, and MinIO counts the drives of the pool."""
    lags = {labels["instance"]: value for labels, value in query(client, "atlas_mlflow_replica_lag_seconds")}
    assert set(lags) == set(hosts_of("postgres")) and lags[primary()] == 0 and max(lags.values()) < 60, lags
    drives = {labels["instance"]: value for labels, value in query(client, "minio_cluster_drive_online_total")}
    assert drives == dict.fromkeys(hosts_of("minio"), float(len(hosts_of("minio")))), drives
    assert not [found for found in firing(client) if found[0] in ("PostgresDown", "MinioDown", "PostgresReplicaLag")]


def test_a_stopped_member_fires_its_own_alert_alone(client: Host) -> None:
    replica = next(name for name in hosts_of("postgres") if name != primary())
    host(replica).check_output("systemctl stop patroni.service")
    try:
        wait_for(lambda: ("PostgresDown", replica) in firing(client), lambda: str(firing(client)))
        assert {name for alert, name in firing(client) if alert == "PostgresDown"} == {replica}
    finally:
        host(replica).check_output("systemctl start patroni.service")
    wait_whole(client)
    wait_for(lambda: ("PostgresDown", replica) not in firing(client), lambda: str(firing(client)))


def test_a_second_run_changes_nothing(over: dict[str, Any], tmp_path: Path) -> None:
    assert_unchanged(play(playbook("site", over, tmp_path), patience=PATIENCE))


def test_nothing_is_left_without_prometheus(client: Host, monitor: str, over: dict[str, Any], tmp_path: Path) -> None:
    assert all(open_sockets(one) & PORTS for one in stack_hosts())
    done = play(playbook("remove", over, tmp_path), "--limit", monitor, patience=PATIENCE)
    assert done.returncode == 0, done.stdout[-5000:]
    done = play(playbook("site", {}, tmp_path), patience=PATIENCE)
    assert done.returncode == 0, done.stdout[-5000:]
    assert not any(open_sockets(one) & PORTS for one in stack_hosts())
    wait_whole(client)
