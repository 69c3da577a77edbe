"""A container as Docker describes it, held against what it should publish."""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.atlas.mlflow.plugins.module_utils.containers import PROXY, Container, foreign_names, parse_container, read_publishers
from ansible_collections.atlas.mlflow.plugins.module_utils.findings import Finding
from ansible_collections.atlas.mlflow.plugins.module_utils.judge_sockets import judge_container
from ansible_collections.atlas.mlflow.plugins.module_utils.processes import describe
from ansible_collections.atlas.mlflow.plugins.module_utils.sockets import Listener
from ansible_collections.atlas.mlflow.plugins.module_utils.units import Unit
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.sockets import port_conflicts

ANY = ip_address("0.0.0.0")
RIGHT = Container("atlas-mlflow-server", "running", 812, ((ANY, 5001, 5001),))
UNIT = Unit("container atlas-mlflow-server", "running", (812,), "docker logs atlas-mlflow-server")


def on(endpoint: str, process: str = "python", group: str = "") -> Listener:
    """Return a listener at an endpoint."""
    address, port = endpoint.rsplit(":", 1)
    return Listener(ip_address(address), int(port), 812, process, group)


def judged(container: Container, inside: str, *on_host: Listener) -> list[Finding]:
    """Judge a container that listens on one socket, with Docker's own process on the host's port."""
    proxy = [on("0.0.0.0:5001", PROXY)] if container.published else []
    return judge_container(container, UNIT, [on(inside)], [*proxy, *on_host], ANY, 5001)


def described(**state: Any) -> str:
    """Return what Docker says of a container."""
    ports = {
        "5001/tcp": [{"HostIp": "0.0.0.0", "HostPort": "5001"}, {"HostIp": "::", "HostPort": "5001"}],
        "8080/tcp": None,
        "53/udp": [{"HostIp": "", "HostPort": "53"}],
    }
    return json.dumps([{"Name": "/atlas-mlflow-server", "State": {"Status": "running", "Pid": 812, **state}, "NetworkSettings": {"Ports": ports}}])


def test_docker_is_understood() -> None:
    container = parse_container(described())
    assert container == Container("atlas-mlflow-server", "running", 812, ((ANY, 5001, 5001), (ip_address("::"), 5001, 5001)))
    assert not parse_container(described(Status="restarting", Pid=0)).runs
    with pytest.raises(ValueError, match="no such container"):
        parse_container("[]")


def test_a_container_that_is_right_gives_no_finding() -> None:
    assert judged(RIGHT, "0.0.0.0:5001") == []


def test_the_case_is_named() -> None:
    """Published on 0.0.0.0:5001, and bound to 127.0.0.1:5000 inside: it looks open, and each connection is reset."""
    (finding,) = judged(RIGHT, "127.0.0.1:5000")
    assert (
        (finding.check, finding.seen) == ("listen", "127.0.0.1:5000")
        and finding.fault.id == "default-port"
        and "its arguments did not arrive" in finding.fault.fix
    )


def test_podmans_monitor_on_the_published_port_is_no_other_process() -> None:
    """Podman has no proxy: the monitor of the container keeps the port of the host."""
    assert judge_container(RIGHT, UNIT, [on("0.0.0.0:5001")], [on("0.0.0.0:5001", "conmon")], ANY, 5001) == []
    (finding,) = judge_container(RIGHT, UNIT, [on("127.0.0.1:5000")], [on("0.0.0.0:5001", "conmon")], ANY, 5001)
    assert (finding.seen, finding.fault.id) == ("127.0.0.1:5000", "default-port")


@pytest.mark.parametrize(
    ("group", "owner"),
    [
        ("/system.slice/mlflow-server.service/runtime", "mlflow-server.service"),
        ("/docker/5197d2b3/system.slice/mlflow-server.service/libpod-payload-78be42ad", "mlflow-server.service"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/web.service", "web.service"),
        ("/docker/5197d2b3", "5197d2b3"),
        ("/", ""),
    ],
)
def test_a_socket_belongs_to_the_unit_of_its_process(group: str, owner: str, tmp_path: Path) -> None:
    """Quadlet's units have subgroups, and a second run must know its own port."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7/cgroup").write_text(f"0::{group}\n")
    (tmp_path / "7/comm").write_text("conmon\n")
    assert describe(7, tmp_path) == ("conmon", owner)


def test_a_port_that_is_not_published_is_named() -> None:
    (finding,) = judged(Container("atlas-mlflow-server", "running", 812, ()), "0.0.0.0:5001")
    assert (finding.check, finding.seen, finding.fault.id) == ("publish", "no published port", "port-not-published")
    assert "-p 0.0.0.0:5001:" in finding.fault.fix


def test_a_port_published_on_loopback_is_named() -> None:
    (finding,) = judge_container(Container("c", "running", 812, ((ip_address("127.0.0.1"), 5001, 5001),)), UNIT, [on("0.0.0.0:5001")], [], ANY, 5001)
    assert finding.check == "publish" and finding.seen == "127.0.0.1:5001 to 5001"


def test_a_shadowing_listener_is_named_with_its_process() -> None:
    (finding,) = judged(RIGHT, "0.0.0.0:5001", on("127.0.0.1:5001", "old-mlflow"))
    assert finding.check == "shadow" and "old-mlflow" in finding.seen


def test_processes_are_those_of_its_control_group_or_else_the_descendants(tmp_path: Path) -> None:
    for pid, parent in ((812, 1), (813, 812), (900, 1)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (python) S {parent} 0 0")
    (tmp_path / "812" / "cgroup").write_text("0::/docker/abc\n")
    (tmp_path / "groups" / "docker" / "abc").mkdir(parents=True)
    (tmp_path / "groups" / "docker" / "abc" / "cgroup.procs").write_text("812\n814\n")
    assert RIGHT.unit(tmp_path, [tmp_path / "groups"]).pids == (812, 814)
    assert RIGHT.unit(tmp_path, [tmp_path / "none"]).pids == (812, 813)


def test_published_ports_are_read_from_dockers_list() -> None:
    listed = "db 127.0.0.1:5432->5432/tcp, :::80-81->80-81/tcp, 9000/tcp\nweb 0.0.0.0:5001->5001/tcp, [::]:5001->5001/tcp\nnone \n"
    assert read_publishers(listed) == {("127.0.0.1", 5432): "db", ("::", 80): "db", ("::", 81): "db", ("0.0.0.0", 5001): "web", ("::", 5001): "web"}


@pytest.mark.parametrize(
    ("address", "port", "own", "taken"),
    [
        ("0.0.0.0", 5001, ["mlflow-server.service", "container web"], []),
        ("0.0.0.0", 5001, ["container web"], ["127.0.0.1:5001, held by mlflow (pid 7, mlflow-server.service)"]),
        ("127.0.0.1", 5001, ["mlflow-server.service"], ["0.0.0.0:5001, held by docker-proxy (pid 8, container web)"]),
        ("10.0.0.7", 9000, [], []),
        ("localhost", 9000, [], ["127.0.0.1:9000, held by a process that this user may not look into"]),
    ],
)
def test_who_has_a_port_is_named(address: str, port: int, own: list[str], taken: list[str]) -> None:
    listeners = [
        {"address": "127.0.0.1", "port": 5001, "pid": 7, "process": "mlflow", "group": "mlflow-server.service"},
        {"address": "0.0.0.0", "port": 5001, "pid": 8, "process": PROXY, "group": "container web"},
        {"address": "127.0.0.1", "port": 9000, "pid": 0, "process": "", "group": ""},
    ]
    assert port_conflicts(listeners, address, port, own) == taken


def test_containers_of_others_have_no_label_of_the_collection() -> None:
    docker = (
        "atlas-postgres atlas.mlflow.files=17,org.opencontainers.image.version=24.04\npostgres com.docker.compose.project=atlas,x=1\nplain \nweb,db/web a=b\n"
    )
    assert foreign_names(docker) == ["plain", "postgres", "web"]
    assert foreign_names("atlas-minio map[PODMAN_SYSTEMD_UNIT:atlas-minio.service atlas.mlflow.image:4711]\nother map[]\n") == ["other"]
    assert foreign_names("") == []
