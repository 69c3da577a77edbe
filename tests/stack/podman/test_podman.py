"""The tracking server's container of Podman: published where it is to be, confined, and restarted by systemd."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from stack.support import PORT, ask, assert_stray_is_dropped, base_url, connect, listening, service_of, wait_for_answer
from testinfra.host import Host

NAME = "atlas-mlflow-server"
UNIT = "mlflow-server.service"
SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"


@pytest.fixture(scope="module")
def container(server: Host) -> dict[str, Any]:
    """Return what Podman says of the container."""
    shown: dict[str, Any] = json.loads(server.check_output("podman inspect %s", NAME))[0]
    return shown


def test_the_server_is_published_and_the_stores_are_not(server: Host, client: Host) -> None:
    assert listening(server, "conmon") == {f"0.0.0.0:{PORT}"}
    assert connect(client, server, PORT, 5432, 9000) == ["open", "dropped", "dropped"]


def test_what_another_container_publishes_is_not_open_for_that(client: Host, server: Host) -> None:
    image = server.check_output("podman inspect --format '{{.ImageName}}' %s", NAME)
    assert_stray_is_dropped(client, server, "podman", image)


def test_the_container_is_confined(container: dict[str, Any]) -> None:
    host = container["HostConfig"]
    assert host["ReadonlyRootfs"] is True and not host["Privileged"]
    assert not container["EffectiveCaps"] and not container["BoundingCaps"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert container["Config"]["User"].split(":")[0] not in ("", "0", "root")
    assert host["Memory"] >= 1024**3
    assert list(container["NetworkSettings"]["Networks"]) == ["atlas-network"]


def test_a_kernel_keeps_no_capability_for_the_server(server: Host) -> None:
    status = server.check_output("cat /proc/%s/status", str(service_of(server).main_pid))
    assert {line.split()[1] for line in status.splitlines() if line.startswith("Cap")} == {"0" * 16}


def test_the_container_writes_to_its_folders_alone(server: Host) -> None:
    tried = (
        "for folder in / /run /usr /var/tmp /dev/shm /var/lib/mlflow /tmp; do touch $folder/tried 2>/dev/null && echo $folder; rm -f $folder/tried; done; true"
    )
    assert server.check_output("podman exec %s sh -c %s", NAME, tried).split() == ["/var/lib/mlflow", "/tmp"]


def test_systemd_starts_the_unit_with_the_host(server: Host) -> None:
    assert server.check_output("systemctl show --property UnitFileState --value %s", UNIT) == "generated"
    assert server.file("/run/systemd/generator/multi-user.target.wants/" + UNIT).is_symlink


def test_systemd_restarts_a_server_that_ended(server: Host, client: Host, server_name: str) -> None:
    before = service_of(server).main_pid
    server.check_output("kill -9 %s", str(before))
    deadline = time.monotonic() + 60
    while server.run("podman inspect --format '{{.State.Pid}}' %s", NAME).stdout.strip() in ("", "0", str(before)) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert wait_for_answer(client, f"{base_url(server_name)}{SEARCH}").status == 200
    assert int(server.check_output("systemctl show --property NRestarts --value %s", UNIT)) >= 1


def test_the_container_is_healthy_until_the_database_is_down(server: Host) -> None:
    assert server.run("podman healthcheck run %s", NAME).rc == 0
    server.check_output("systemctl stop postgresql.service")
    try:
        assert server.run("podman healthcheck run %s", NAME).rc != 0
    finally:
        server.check_output("systemctl start postgresql.service")


def test_the_metrics_are_read_by_an_administrator(client: Host, server_name: str) -> None:
    answer = ask(client, f"{base_url(server_name)}/metrics")
    assert answer.status == 200 and "mlflow_http_request_total{" in answer.body, answer
