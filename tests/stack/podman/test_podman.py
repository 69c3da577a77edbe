"""The three containers of Podman: published where they are to be, confined, and restarted by systemd."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from stack.support import PORT, ask, assert_stray_is_dropped, base_url, connect, listening, query, wait_for_answer
from testinfra.host import Host

NAME = "atlas-mlflow-server"
#: The unit of each container.
UNITS = {NAME: "mlflow-server.service", "atlas-postgres": "atlas-postgres.service", "atlas-minio": "atlas-minio.service"}
SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"


@pytest.fixture(scope="module")
def containers(server: Host) -> dict[str, dict[str, Any]]:
    """Return what Podman says of the containers, by name."""
    return {name: json.loads(server.check_output("podman inspect %s", name))[0] for name in UNITS}


def test_the_stores_are_published_on_loopback_alone(server: Host) -> None:
    assert listening(server, "conmon") == {f"0.0.0.0:{PORT}", "127.0.0.1:5432", "127.0.0.1:9000"}


def test_another_host_reaches_the_tracking_server_alone(client: Host, server: Host) -> None:
    assert connect(client, server, PORT, 5432, 9000) == ["open", "dropped", "dropped"]


def test_what_another_container_publishes_is_not_open_for_that(client: Host, server: Host) -> None:
    image = server.check_output("podman inspect --format '{{.ImageName}}' %s", NAME)
    assert_stray_is_dropped(client, server, "podman", image)


@pytest.mark.parametrize("name", UNITS)
def test_a_container_is_confined(containers: dict[str, dict[str, Any]], name: str) -> None:
    host = containers[name]["HostConfig"]
    assert host["ReadonlyRootfs"] is True and not host["Privileged"]
    assert not containers[name]["EffectiveCaps"] and not containers[name]["BoundingCaps"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert containers[name]["Config"]["User"].split(":")[0] not in ("", "0", "root")
    assert list(containers[name]["NetworkSettings"]["Networks"]) == ["atlas-network"]


def test_the_tracking_server_has_a_limit_of_memory(containers: dict[str, dict[str, Any]]) -> None:
    assert containers[NAME]["HostConfig"]["Memory"] >= 1024**3


@pytest.mark.parametrize("name", UNITS)
def test_a_kernel_keeps_no_capability_for_a_container(containers: dict[str, dict[str, Any]], server: Host, name: str) -> None:
    status = server.check_output("cat /proc/%s/status", str(containers[name]["State"]["Pid"]))
    assert {line.split()[1] for line in status.splitlines() if line.startswith("Cap")} == {"0" * 16}


def test_the_container_writes_to_its_folders_alone(server: Host) -> None:
    tried = (
        "for folder in / /run /usr /var/tmp /dev/shm /var/lib/mlflow /tmp; do touch $folder/tried 2>/dev/null && echo $folder; rm -f $folder/tried; done; true"
    )
    assert server.check_output("podman exec %s sh -c %s", NAME, tried).split() == ["/var/lib/mlflow", "/tmp"]


def test_the_image_of_postgresql_stays_as_it_is(server: Host) -> None:
    """What PostgreSQL writes is on its volume, or in memory."""
    tried = "for folder in / /run /usr /etc /var/lib /opt; do touch $folder/tried 2>/dev/null && echo $folder; done; true"
    assert server.check_output("podman exec %s sh -c %s", "atlas-postgres", tried) == ""


def test_the_data_are_on_named_volumes(containers: dict[str, dict[str, Any]]) -> None:
    volumes = {name: [mount["Name"] for mount in one["Mounts"] if mount["Type"] == "volume"] for name, one in containers.items()}
    assert volumes == {NAME: [], "atlas-postgres": ["atlas-postgres-data"], "atlas-minio": ["atlas-minio-data"]}


@pytest.mark.parametrize("unit", UNITS.values())
def test_systemd_starts_the_unit_with_the_host(server: Host, unit: str) -> None:
    assert server.check_output("systemctl show --property UnitFileState --value %s", unit) == "generated"
    assert server.file("/run/systemd/generator/multi-user.target.wants/" + unit).is_symlink


@pytest.mark.parametrize("name", UNITS)
def test_systemd_restarts_a_container_that_ended(server: Host, client: Host, server_name: str, name: str) -> None:
    show = "podman inspect --format '{{.State.Pid}}' %s"
    before = server.check_output(show, name)
    server.check_output("kill -9 %s", before)
    deadline = time.monotonic() + 60
    while server.run(show, name).stdout.strip() in ("", "0", before) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert wait_for_answer(client, f"{base_url(server_name)}{SEARCH}").status == 200
    assert int(server.check_output("systemctl show --property NRestarts --value %s", UNITS[name])) >= 1


def test_postgresql_is_asked_to_end_its_sessions_when_it_stops(server: Host, client: Host, server_name: str) -> None:
    """SIGTERM would wait for the sessions of the tracking server, until Podman kills it, and the next start would recover."""
    server.check_output("systemctl restart atlas-postgres.service")
    deadline = time.monotonic() + 60
    while server.run("podman healthcheck run atlas-postgres").rc and time.monotonic() < deadline:
        time.sleep(0.5)
    said = server.check_output("journalctl -u atlas-postgres.service --no-pager --output cat --lines 40")
    assert "received fast shutdown request" in said and "database system was not properly shut down" not in said.rpartition("fast shutdown")[2]
    assert query(server, "SELECT 1") == "1"
    assert wait_for_answer(client, f"{base_url(server_name)}{SEARCH}").status == 200


def test_the_container_is_healthy_until_the_database_is_down(server: Host) -> None:
    assert server.run("podman healthcheck run %s", NAME).rc == 0
    server.check_output("systemctl stop atlas-postgres.service")
    try:
        assert server.run("podman healthcheck run %s", NAME).rc != 0
    finally:
        server.check_output("systemctl start atlas-postgres.service")


def test_the_metrics_are_read_by_an_administrator(client: Host, server_name: str) -> None:
    answer = ask(client, f"{base_url(server_name)}/metrics")
    assert answer.status == 200 and "mlflow_http_request_total{" in answer.body, answer
