"""The three containers: published where they are to be, confined, and restarted by Docker."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from stack.support import PORT, ask, assert_stray_is_dropped, base_url, connect, listening, login_of
from testinfra.host import Host

NAMES = ("atlas-mlflow-server", "atlas-postgres", "atlas-minio")


@pytest.fixture(scope="module")
def containers(server: Host) -> dict[str, dict[str, Any]]:
    """Return what Docker says of the containers, by name."""
    return {name: json.loads(server.check_output("docker inspect %s", name))[0] for name in NAMES}


def test_the_stores_are_published_on_loopback_alone(server: Host) -> None:
    assert listening(server, "docker-proxy") == {"0.0.0.0:5001", "127.0.0.1:5432", "127.0.0.1:9000"}


def test_another_host_reaches_the_tracking_server_alone(client: Host, server: Host) -> None:
    assert connect(client, server, PORT, 5432, 9000) == ["open", "dropped", "dropped"]


def test_what_another_container_publishes_is_not_open_for_that(client: Host, server: Host) -> None:
    """Docker sends it on before the rules that most firewalls have."""
    image = server.check_output("docker inspect --format '{{.Config.Image}}' atlas-mlflow-server")
    assert_stray_is_dropped(client, server, "docker", image)


@pytest.mark.parametrize("name", NAMES)
def test_a_container_is_confined(containers: dict[str, dict[str, Any]], name: str) -> None:
    host = containers[name]["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"] and not host["CapAdd"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert not host["Privileged"]
    assert containers[name]["Config"]["User"].split(":")[0] not in ("", "0", "root")
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "5"}}
    assert list(containers[name]["NetworkSettings"]["Networks"]) == ["atlas-network"]


def test_a_start_compiles_no_module_of_mlflow(server: Host) -> None:
    """The file system is read-only, so each start would compile again what the image has no bytecode for (python(1), -v)."""
    imported = server.run("docker exec atlas-mlflow-server python -v -c 'import mlflow.cli, mlflow.server.fastapi_app'")
    assert imported.rc == 0
    modules = re.findall(r"^# code object from '?(/opt/mlflow/[^'\n]+)", imported.stderr, re.MULTILINE)
    assert len(modules) > 500
    assert [module for module in modules if not module.endswith(".pyc")] == []


def test_the_tracking_server_has_limits_and_is_healthy(containers: dict[str, dict[str, Any]], server: Host) -> None:
    assert containers["atlas-mlflow-server"]["HostConfig"]["Memory"] >= 1024**3
    checked = json.loads(server.check_output("docker inspect --format '{{json .Config.Healthcheck.Test}}' atlas-mlflow-server"))
    assert checked[0] == "CMD", "a shell would read it"
    done = server.run("docker exec atlas-mlflow-server " + " ".join(checked[1:]))
    assert done.rc == 0, done


def test_the_metrics_are_read_by_an_administrator_alone(client: Host, server_name: str) -> None:
    url = f"{base_url(server_name)}/metrics"
    assert [ask(client, url, login=who).status for who in (None, login_of("writer"))] == [401, 403]
    answer = ask(client, url)
    assert answer.status == 200 and "mlflow_http_request_total{" in answer.body, answer


def test_the_health_check_fails_when_the_database_is_down(server: Host) -> None:
    checked = json.loads(server.check_output("docker inspect --format '{{json .Config.Healthcheck.Test}}' atlas-mlflow-server"))
    server.check_output("docker pause atlas-postgres")
    try:
        done = server.run("docker exec atlas-mlflow-server " + " ".join(checked[1:]))
    finally:
        server.check_output("docker unpause atlas-postgres")
    assert done.rc != 0 and "does not answer" in done.stderr, done


def test_the_data_are_on_named_volumes(containers: dict[str, dict[str, Any]]) -> None:
    volumes = {name: [mount["Name"] for mount in containers[name]["Mounts"] if mount["Type"] == "volume"] for name in NAMES[1:]}
    assert volumes == {"atlas-postgres": ["atlas-postgres-data"], "atlas-minio": ["atlas-minio-data"]}
