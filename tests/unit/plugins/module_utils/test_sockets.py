"""What processes listen on, and what is said of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest
from ansible_collections.atlas.mlflow.plugins.module_utils.findings import Finding
from ansible_collections.atlas.mlflow.plugins.module_utils.judge_sockets import judge
from ansible_collections.atlas.mlflow.plugins.module_utils.processes import descendants
from ansible_collections.atlas.mlflow.plugins.module_utils.sockets import Listener, listening, read_listeners
from ansible_collections.atlas.mlflow.plugins.module_utils.units import Unit, parse_unit

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1389 00000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 4711 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 4712 1 0000000000000000 100 0 0 10 0
   2: 0100007F:1389 0100007F:C350 01 00000000:00000000 00:00000000 00000000   998        0 4713 1 0000000000000000 20 4 30 10 -1
"""
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:1389 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 4721 1
   1: 00000000000000000000000001000000:1388 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 4722 1
   2: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 4723 1
   3: B80D0120000000000000000001000000:1389 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 4724 1
"""
UNIT = Unit("mlflow-server.service", "active/running", (812, 813), "journalctl -u mlflow-server.service")
WANTED = "mlflow-server.service listens on 0.0.0.0:5001"
ALONE = f"{WANTED} and on nothing else"


def on(endpoint: str, pid: int = 812, process: str = "mlflow", group: str = "") -> Listener:
    """Return a listener from C(address:port)."""
    address, _colon, port = endpoint.rpartition(":")
    return Listener(ip_address(address.strip("[]")), int(port), pid, process, group)


@pytest.mark.skipif(sys.byteorder == "big", reason="the tables are from a little-endian machine")
def test_tables_of_the_kernel_are_read_in_both_families() -> None:
    assert [(str(address), port, inode) for inode, address, port in listening(TCP)] == [("0.0.0.0", 5001, 4711), ("127.0.0.1", 5000, 4712)]
    assert [(str(address), port, inode) for inode, address, port in listening(TCP6)] == [
        ("::", 5001, 4721),
        ("::1", 5000, 4722),
        ("127.0.0.1", 8080, 4723),
        ("2001:db8::1", 5001, 4724),
    ]


@pytest.mark.parametrize(
    ("address", "own", "others"),
    [
        ("0.0.0.0", ["0.0.0.0:5001"], []),
        ("0.0.0.0", ["0.0.0.0:5001", "0.0.0.0:5001"], []),
        ("::", ["[::]:5001"], []),
        ("::", ["[::]:5001", "0.0.0.0:5001"], []),
        ("10.0.0.5", ["10.0.0.5:5001"], ["10.0.0.9:5001", "127.0.0.1:5001", "0.0.0.0:5001"]),  # a balancer beside it
        ("0.0.0.0", ["0.0.0.0:5001"], ["127.0.0.1:5000"]),
    ],
)
def test_right_sockets_give_no_finding(address: str, own: list[str], others: list[str]) -> None:
    assert judge(UNIT, [on(one) for one in own], [on(one, 99, "haproxy") for one in others], ip_address(address), 5001) == []


@pytest.mark.parametrize(
    ("own", "argv", "expected", "seen", "fault"),
    [
        (["127.0.0.1:5000"], ["mlflow", "server"], WANTED, "127.0.0.1:5000", "default-port"),
        (["127.0.0.1:5000"], ["bash", "-c", "mlflow server\n --host 0.0.0.0 --port 5001"], WANTED, "127.0.0.1:5000", "default-port"),
        (["127.0.0.1:5000"], ["mlflow", "server", "--port=5000"], WANTED, "127.0.0.1:5000", "wrong-socket"),
        (["127.0.0.1:5001"], [], WANTED, "127.0.0.1:5001", "bound-to-loopback"),
        (["0.0.0.0:5000"], [], WANTED, "0.0.0.0:5000", "wrong-socket"),
        (["[::]:5001"], [], WANTED, "[::]:5001", "wrong-socket"),
        (
            ["0.0.0.0:5001", "127.0.0.1:5000"],
            ["--gunicorn-opts", "--bind 127.0.0.1:5000"],
            ALONE,
            "also 127.0.0.1:5000, mlflow (pid 812)",
            "bind-in-gunicorn-opts",
        ),
        (["0.0.0.0:5001", "0.0.0.0:8265"], [], ALONE, "also 0.0.0.0:8265, mlflow (pid 812)", "extra-socket"),
        ([], [], WANTED, "no listening socket in its 2 processes (active/running)", "server-starting"),
    ],
)
def test_wrong_sockets_are_named(own: list[str], argv: list[str], expected: str, seen: str, fault: str) -> None:
    (finding,) = judge(UNIT, [on(one) for one in own], [], ip_address("0.0.0.0"), 5001, argv)
    assert (finding.check, finding.expected, finding.seen, finding.fault.id) == ("listen", expected, seen, fault)


@pytest.mark.parametrize(
    ("address", "other", "cause"),
    [
        ("0.0.0.0", "127.0.0.1:5001", "the more specific address takes the traffic to it"),
        ("0.0.0.0", "0.0.0.0:5001", "both share the port (SO_REUSEPORT)"),
        ("0.0.0.0", "[::1]:5001", "a client that resolves a name to IPv6 first"),
        ("::", "0.0.0.0:5001", "the more specific address takes the traffic to it"),
        ("10.0.0.5", "10.0.0.5:5001", "both share the port (SO_REUSEPORT)"),
    ],
)
def test_a_socket_of_another_process_that_takes_the_traffic_is_named(address: str, other: str, cause: str) -> None:
    own = [Listener(ip_address(address), 5001, 812, "mlflow")]
    (finding,) = judge(UNIT, own, [on(other, 99, "docker-proxy", "docker.service")], ip_address(address), 5001)
    assert finding.check == "shadow"
    assert finding.expected == "nothing but mlflow-server.service on port 5001"
    assert finding.seen == f"{other} held by docker-proxy (pid 99, docker.service)"
    assert finding.fault.id == "shadowing-listener" and cause in finding.fault.cause


def test_a_taken_port_and_a_dead_or_missing_unit_are_told_apart() -> None:
    def found(unit: Unit, others: list[Listener]) -> Finding:
        (finding,) = judge(unit, [], others, ip_address("0.0.0.0"), 5001)
        return finding

    dead = Unit("mlflow-server.service", "failed/failed", (), "journalctl -u mlflow-server.service")
    taken = found(dead, [on("0.0.0.0:5001", 99, "python3")])
    assert taken.fault.id == "port-taken" and taken.seen.endswith("(failed/failed); 0.0.0.0:5001 is held by python3 (pid 99)")
    ended = found(dead, [])
    assert ended.fault.id == "server-not-running" and "journalctl -u mlflow-server.service" in ended.fault.fix
    assert found(Unit("x.service", "not found", ()), []).fault.id == "server-not-found"


def test_a_wildcard_of_another_process_keeps_a_server_from_its_address_and_takes_nothing_from_one_that_has_it() -> None:
    wildcard = on("0.0.0.0:5001", 99, "haproxy")
    (finding,) = judge(UNIT, [], [wildcard], ip_address("10.0.0.5"), 5001)
    assert finding.fault.id == "port-taken"
    assert judge(UNIT, [on("10.0.0.5:5001")], [wildcard], ip_address("10.0.0.5"), 5001) == []


def test_processes_come_from_the_control_group_with_the_main_one_first(tmp_path: Path) -> None:
    for name, pids in (("system.slice/mlflow-server.service", "812\n900\n700\n0\n"), ("system.slice/mlflow-server.service/sub", "950\n")):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "cgroup.procs").write_text(pids)
    shown = "MainPID=812\nLoadState=loaded\nActiveState=active\nSubState=running\nControlGroup=/system.slice/mlflow-server.service\n"
    assert parse_unit("mlflow-server.service", shown, cgroup_roots=[tmp_path / "none", tmp_path]) == Unit(
        "mlflow-server.service", "active/running", (812, 700, 900, 950), "journalctl -u mlflow-server.service"
    )


def test_without_a_control_group_the_descendants_of_the_main_process_count(tmp_path: Path) -> None:
    for pid, name, parent in ((812, "mlflow", 1), (813, "odd) S 1 (name", 812), (814, "python", 813), (815, "other", 1)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} ({name}) S {parent} 0 0")
    assert descendants(812, tmp_path) == {812, 813, 814}
    (tmp_path / "cgroup.procs").write_text("815\n")  # of the root group, which holds everything
    shown = "MainPID=812\nLoadState=loaded\nActiveState=active\nSubState=running\nControlGroup=/\n"
    assert parse_unit("x", shown, proc=tmp_path, cgroup_roots=[tmp_path]).pids == (812, 813, 814)
    assert parse_unit("x", "MainPID=0\nLoadState=not-found\nControlGroup=\n", proc=tmp_path).state == "not found"


SHARER = """
import socket, sys
one = socket.socket()
one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
one.bind(("127.0.0.1", int(sys.argv[1])))
one.listen()
print("listening", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux's /proc")
def test_a_real_second_process_on_the_more_specific_address_is_found() -> None:
    with socket.socket() as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        own.bind(("0.0.0.0", 0))
        own.listen()
        port = own.getsockname()[1]
        unit = Unit("probe-test.service", "active/running", (os.getpid(),))
        command = [sys.executable, "-c", SHARER, str(port)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout and other.stdout.readline() == "listening\n"
            mine, others = read_listeners(unit.pids, port)
            other.communicate("")
        (finding,) = judge(unit, [one for one in mine if one.port == port], others, ip_address("0.0.0.0"), port)
        assert finding.check == "shadow"
        assert finding.seen.startswith(f"127.0.0.1:{port} held by ") and f"(pid {other.pid}" in finding.seen
        mine, others = read_listeners(unit.pids, port)
        assert others == [] and judge(unit, [one for one in mine if one.port == port], [], ip_address("0.0.0.0"), port) == []
