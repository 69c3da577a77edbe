"""The three containers: published where they are to be, confined, and restarted by Docker."""

from __future__ import annotations

import json
from typing import Any

import pytest
from stack.support import address_of, ask, listening
from testinfra.host import Host

NAMES = ("atlas-mlflow-server", "atlas-postgres", "atlas-minio")


@pytest.fixture(scope="module")
def containers(server: Host) -> dict[str, dict[str, Any]]:
    """Return what Docker says of the containers, by name."""
    return {name: json.loads(server.check_output("docker inspect %s", name))[0] for name in NAMES}


def test_the_stores_are_published_on_loopback_alone(server: Host) -> None:
    assert listening(server, "docker-proxy") == {"0.0.0.0:5001", "127.0.0.1:5432", "127.0.0.1:9000"}


def test_another_host_cannot_reach_the_stores(client: Host, server: Host) -> None:
    for port in (5432, 9000):
        answer = ask(client, f"http://{address_of(server)}:{port}/")
        assert answer.status == 0 and "refused" in answer.body, (port, answer)


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


def test_the_tracking_server_has_limits_and_is_healthy(containers: dict[str, dict[str, Any]], server: Host) -> None:
    assert containers["atlas-mlflow-server"]["HostConfig"]["Memory"] >= 1024**3
    checked = json.loads(server.check_output("docker inspect --format '{{json .Config.Healthcheck.Test}}' atlas-mlflow-server"))
    assert checked[0] == "CMD", "a shell would read it"
    done = server.run("docker exec atlas-mlflow-server " + " ".join(checked[1:]))
    assert done.rc == 0, done


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
