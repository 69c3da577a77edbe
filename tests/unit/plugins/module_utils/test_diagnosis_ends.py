"""Why a server ended: the last error of its log is quoted and named, and a kill for memory is seen while it is down and while it is up again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis import collect, judge, logs, memory
from ansible_collections.atlas.mlflow.plugins.module_utils.faults import FAULTS

WANTED = {"host": "0.0.0.0", "port": 5001, "static_prefix": ""}
#: The end of the log of `mlflow server` 3.0.0 with the newest SQLAlchemy.
UNFIT = """2026/11/26 00:37:09 ERROR mlflow.cli: Error initializing backend store
2026/11/26 00:37:09 ERROR mlflow.cli: cannot import name 'FallbackAsyncAdaptedQueuePool' from 'sqlalchemy.pool' (/usr/lib/sqlalchemy/pool/__init__.py)
Traceback (most recent call last):
  File "/usr/lib/mlflow/store/db/utils.py", line 12, in <module>
    from sqlalchemy.pool import (
ImportError: cannot import name 'FallbackAsyncAdaptedQueuePool' from 'sqlalchemy.pool' (/usr/lib/sqlalchemy/pool/__init__.py)
"""
#: That of gunicorn, which goes on to say less.
TAKEN = """[ERROR] Connection in use: ('127.0.0.1', 5998)
[ERROR] connection to ('127.0.0.1', 5998) failed: [Errno 98] Address already in use
[ERROR] Can't connect to ('127.0.0.1', 5998)
Running the mlflow server failed. Please see the logs above for details.
"""
#: What systemd says of a unit.
SYSTEMD = """Started mlflow-server.service - MLflow.
mlflow-server.service: Main process exited, code=exited, status=1/FAILURE
mlflow-server.service: Failed with result 'exit-code'.
"""
#: What Podman 4.3 and 5.4 write into the journal of a unit that runs it.
PODMAN = f"""time="2026-11-26T06:16:39Z" level=warning msg="StopSignal SIGTERM failed to stop container mlflow in 2 seconds, resorting to SIGKILL"
2026-11-26 06:14:25.71491379 +0000 UTC m=+2.225769468 container died {"d" * 64} (image=localhost/python:3, name=mlflow, PODMAN_SYSTEMD_UNIT=mlflow-server.service)
2026-11-26 06:13:51.279642431 +0000 UTC m=+0.063836769 image pull  localhost/python:3
{"d" * 64}
mlflow-server.service: Main process exited, code=exited, status=137/n/a
mlflow-server.service: Failed with result 'exit-code'.
"""


@pytest.mark.parametrize(
    ("log", "quoted", "fault"),
    [
        (UNFIT, "ImportError: cannot import name 'FallbackAsyncAdaptedQueuePool'", "packages-do-not-fit"),
        (UNFIT + SYSTEMD, "ImportError: cannot import name 'FallbackAsyncAdaptedQueuePool'", "packages-do-not-fit"),
        ("ModuleNotFoundError: No module named 'prometheus_flask_exporter'", "ModuleNotFoundError", "packages-do-not-fit"),
        ("ModuleNotFoundError: No module named 'psycopg2'", "ModuleNotFoundError", "database-driver-missing"),
        ("ImportError: /x/libpq.so.5: cannot open shared object file: No such file or directory", "ImportError", "packages-do-not-fit"),
        (TAKEN, "[ERROR] connection to ('127.0.0.1', 5998) failed: [Errno 98]", "port-taken"),
        (
            TAKEN.replace("Connection in use", "Invalid address").replace("[Errno 98] Address already in use", "[Errno 99] Cannot assign requested address"),
            "[ERROR] connection to",
            "address-refused",
        ),
        ("ERROR:    [Errno 13] error while attempting to bind on address ('0.0.0.0', 80): permission denied", "ERROR:", "address-refused"),
        (
            "Usage: mlflow server [OPTIONS]\nTry 'mlflow server --help' for help.\n\nError: No such option: --nonsense\n" + SYSTEMD,
            "Error: No such option",
            "arguments-refused",
        ),
        ("Error: Invalid value for '--port' / '-p': 'x' is not a valid integer.", "Error: Invalid value", "arguments-refused"),
        ("usage: gunicorn [OPTIONS] [APP_MODULE]\ngunicorn: error: unrecognized arguments: --nonsense", "gunicorn: error", "arguments-refused"),
        ("Failed to locate executable /opt/x/mlflow: No such file or directory\n" + SYSTEMD, "Failed to locate executable", "program-missing"),
        ('exec: "mlflow": executable file not found in $PATH: unknown', "exec:", "program-missing"),
        (
            "crun: executable file `mlflow` not found in $PATH: No such file or directory: OCI runtime attempted to invoke a command that was not found",
            "crun:",
            "program-missing",
        ),
        ("cannot listen on the TCP port: listen tcp4 :5001: bind: address already in use", "cannot listen", "port-taken"),
        ("Error: No such option '--x'.\n" + PODMAN, "Error: No such option", "arguments-refused"),
        ("INFO: Uvicorn running on http://127.0.0.1:5000 (Press CTRL+C to quit)\n" + PODMAN, "INFO: Uvicorn running", None),
        ("sh: 1: mlflow: not found", "sh: 1", "program-missing"),
        ("/usr/bin/python3: No module named mlflow", "/usr/bin/python3", "program-missing"),
        ("PermissionError: [Errno 13] Permission denied: '/srv/mlartifacts'", "PermissionError", "file-denied"),
        ("OSError: [Errno 30] Read-only file system: '/srv/x'", "OSError", "file-denied"),
        ("OSError: [Errno 28] No space left on device", "OSError", "disk-full"),
        ("OSError: [Errno 12] Cannot allocate memory", "OSError", "out-of-memory"),
        ("Segmentation fault (core dumped)\n" + SYSTEMD, "Segmentation fault", None),
        ("[INFO] Worker exiting (pid: 7)\n[INFO] Shutting down: Master\n", "[INFO] Shutting down", None),
        ("", "", None),
    ],
)
def test_the_last_error_of_a_log_is_quoted_and_named(log: str, quoted: str, fault: str | None) -> None:
    said = logs.last_words(log)
    assert said.startswith(quoted) and bool(said) == bool(quoted)
    found = logs.log_fault(log)
    assert (found or {}).get("fault") == fault
    assert fault is None or fault in FAULTS


def test_every_fault_of_a_log_is_in_the_catalogue() -> None:
    assert {fault for fault, _pattern in logs.LOG_FAULTS} <= set(FAULTS)


def test_a_quoted_line_holds_no_password_and_is_short() -> None:
    said = logs.last_words("sqlalchemy.exc.OperationalError: postgresql://u:canary@db/m " + "x" * 1000)
    assert "canary" not in said and len(said) <= 300


class Host:
    """A host's commands, with the answers that were recorded; the first ones whose words stand in a command count."""

    def __init__(self, *answers: tuple[str, str]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __call__(self, command: list[str]) -> tuple[int, str, str]:
        line = " ".join(command)
        self.asked.append(line)
        for words, out in self.answers:
            if words in line:
                return 0, out, ""
        return 1, "", "unknown"


def shown_unit(**values: str) -> str:
    """Return what systemctl shows of a unit that has failed."""
    shown = {
        "MainPID": "0",
        "LoadState": "loaded",
        "ActiveState": "failed",
        "SubState": "failed",
        "ControlGroup": "",
        "InvocationID": "a1",
        "ExecStart": "{ path=/x/mlflow ; argv[]=/x/mlflow server ; ignore_errors=no ; pid=0 }",
        "Result": "exit-code",
        "NRestarts": "0",
        "ExecMainCode": "1",
        "ExecMainStatus": "1",
        "MemoryMax": "infinity",
        **values,
    }
    return "".join(f"{name}={value}\n" for name, value in shown.items())


def shown_container(state: dict[str, Any], **values: Any) -> str:
    """Return what Docker shows of a container."""
    state = {
        "Status": "exited",
        "Pid": 0,
        "ExitCode": 1,
        "OOMKilled": False,
        "Error": "",
        "StartedAt": "2026-11-26T00:43:03.1Z",
        "FinishedAt": "2026-11-26T00:43:05.7Z",
        **state,
    }
    return json.dumps(
        [
            {
                "Id": "c" * 64,
                "Name": "/mlflow",
                "State": state,
                "NetworkSettings": {"Networks": {}},
                "Mounts": [],
                "RestartCount": 0,
                "HostConfig": {"NetworkMode": "bridge", "Memory": 64 * 1024**2},
                "Config": {"Cmd": ["mlflow", "server"]},
                **values,
            }
        ]
    )


def read(host: Host, tmp_path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the facts of the server of a host, and the faults that the diagnosis names."""
    (tmp_path / "self" / "net").mkdir(parents=True, exist_ok=True)
    facts = collect.Server(host, {"unit": "mlflow.service", "container": "mlflow", "port": 5001}, tmp_path).read()
    facts["disks"] = []
    return facts, [check.fault for check in judge.diagnose(WANTED, facts) if check.verdict == "fault"]


def test_a_container_that_ended_is_explained_by_its_log(tmp_path: Path) -> None:
    facts, faults = read(Host(("docker inspect", shown_container({})), ("docker logs", UNFIT)), tmp_path)
    assert faults == ["packages-do-not-fit"]
    assert facts["last_words"].startswith("ImportError: ") and facts["ended"] == "exit code 1"
    shown = [check.seen for check in judge.diagnose(WANTED, facts) if check.expected == "a server that keeps running"]
    assert "its log ends with: ImportError: cannot import name" in shown[0]


def test_a_container_that_could_not_be_started_is_explained_by_docker(tmp_path: Path) -> None:
    error = 'unable to start container process: exec: "mlflow": executable file not found in $PATH: unknown'
    host = Host(
        ("docker inspect", shown_container({"Status": "created", "ExitCode": 127, "Error": error, "StartedAt": "0001-01-01T00:00:00Z"})), ("docker logs", "")
    )
    assert read(host, tmp_path)[1] == ["program-missing"]
    assert not any("0001" in command for command in host.asked)


def test_a_unit_that_ended_is_explained_by_its_journal(tmp_path: Path) -> None:
    host = Host(("systemctl show", shown_unit()), ("INVOCATION_ID=a1", "Error: No such option: --nonsense\n" + SYSTEMD))
    facts, faults = read(host, tmp_path)
    assert faults == ["arguments-refused"] and facts["last_words"] == "Error: No such option: --nonsense"


def test_a_server_that_was_stopped_is_not_blamed_for_what_it_said_before(tmp_path: Path) -> None:
    host = Host(("systemctl show", shown_unit(ActiveState="inactive", SubState="dead", Result="success", ExecMainStatus="0")), ("INVOCATION_ID=a1", UNFIT))
    facts, faults = read(host, tmp_path)
    assert faults == ["server-not-running"] and facts["last_words"].startswith("ImportError")
    assert read(Host(("docker inspect", shown_container({"ExitCode": 0})), ("docker logs", UNFIT)), tmp_path)[1] == ["server-not-running"]


@pytest.mark.parametrize("status", ["137", "143"])
def test_a_container_that_was_stopped_with_its_unit_is_not_blamed_for_what_it_said_before(tmp_path: Path, status: str) -> None:
    host = Host(("systemctl show", shown_unit(ExecMainStatus=status)), ("INVOCATION_ID=a1", UNFIT + PODMAN))
    facts, faults = read(host, tmp_path)
    assert faults == ["server-not-running"]
    assert facts["ended"] == (memory.SIGKILL if status == "137" else "exit code 143")


def test_a_container_that_its_unit_makes_again_and_again_is_explained_by_the_units_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect.Server, "_ask_stores", lambda self, environment: None)
    shown = json.loads(shown_container({"Status": "running", "Pid": 0, "StartedAt": "2026-11-26T06:14:09.944685512Z"}))[0]
    unit = shown_unit(
        ActiveState="active",
        Result="success",
        NRestarts="4",
        ExecStart="{ path=/usr/bin/podman ; argv[]=/usr/bin/podman run --rm -d --name mlflow python:3 mlflow server ; ignore_errors=no }",
    )
    host = Host(
        ("systemctl show", unit),
        ("podman inspect", json.dumps([shown])),
        ("journalctl --unit mlflow.service", "Error: No such option '--x'.\n" + PODMAN),
        ("podman logs", ""),
    )
    server = collect.Server(host, {"unit": "mlflow.service", "container": "other", "port": 5001}, tmp_path)
    (tmp_path / "self" / "net").mkdir(parents=True)
    server.find()
    server.pid, server.facts["sockets"] = 70, []
    server._read_log()
    assert (server.facts["kind"], server.facts["restarts"]) == ("container", 4)
    assert server.facts["log_fault"] == {"fault": "arguments-refused", "line": "Error: No such option '--x'."}


# -- memory
KERNEL = (
    "2026-11-26T00:36:14,805770+00:00 oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,mems_allowed=0,oom_memcg={group},task_memcg={group},task=mlflow,pid=11561,uid=997\n"
    "2026-11-26T00:36:14,805820+00:00 Memory cgroup out of memory: Killed process 11561 (mlflow) total-vm:382936kB, anon-rss:64284kB\n"
)
AT = memory.seconds("2026-11-26T00:36:14Z")
UNIT_KILLED = KERNEL.format(group="/system.slice/mlflow.service")
BY_SIGNAL = "mlflow.service: Main process exited, code=killed, status=9/KILL\nmlflow.service: Failed with result 'signal'.\nmlflow.service: Scheduled restart job, restart counter is at 1.\n"
BY_SYSTEMD = "mlflow.service: A process of this unit has been killed by the OOM killer.\nmlflow.service: Main process exited, code=killed, status=9/KILL\nmlflow.service: Failed with result 'oom-kill'.\n"
STOPPED = "mlflow.service: Deactivated successfully.\n"


@pytest.mark.parametrize(
    ("unit", "runs", "journal", "kernel", "killed"),
    [
        # While it is down.
        ({"Result": "oom-kill", "ExecMainStatus": "9"}, False, BY_SYSTEMD, "", True),
        ({"Result": "signal"}, False, BY_SIGNAL, UNIT_KILLED, True),
        ({"Result": "success", "NRestarts": "1"}, False, BY_SIGNAL, UNIT_KILLED, True),  # it waits for its stores again
        # While it is up again.
        ({"NRestarts": "1"}, True, BY_SYSTEMD, "", True),
        ({"NRestarts": "1"}, True, BY_SIGNAL, UNIT_KILLED, True),
        ({"NRestarts": "1", "MemoryMax": str(64 * 1024**2)}, True, BY_SIGNAL, None, True),  # the kernel's log is not to be read, and there is a limit
        # Somebody killed it, or stopped it; or started it by hand since.
        ({"Result": "signal"}, False, BY_SIGNAL, KERNEL.format(group="/system.slice/other.service"), False),
        ({"Result": "signal"}, False, BY_SIGNAL, None, False),
        ({"Result": "success"}, False, BY_SYSTEMD + STOPPED, UNIT_KILLED, False),
        ({"NRestarts": "0"}, True, BY_SYSTEMD, UNIT_KILLED, False),
        ({"NRestarts": "0", "ActiveState": "activating", "SubState": "start-pre", "Result": "success"}, False, BY_SYSTEMD, UNIT_KILLED, False),
        (
            {"NRestarts": "1"},
            True,
            BY_SYSTEMD + STOPPED + BY_SIGNAL.replace("killed, status=9/KILL", "exited, status=1/FAILURE").replace("signal", "exit-code"),
            UNIT_KILLED,
            False,
        ),
    ],
)
def test_a_unit_that_was_killed_for_memory(unit: dict[str, str], runs: bool, journal: str, kernel: str | None, killed: bool) -> None:
    host = Host(("journalctl", journal), *([("dmesg", kernel)] if kernel is not None else []))
    assert bool(memory.of_unit(host, "mlflow.service", unit, runs, AT + 60)) is killed


@pytest.mark.parametrize(
    ("state", "restarts", "runs", "kernel", "events", "killed"),
    [
        ({"OOMKilled": True, "ExitCode": 137}, 0, False, None, "", True),
        ({"ExitCode": 137}, 0, False, KERNEL, "", True),  # the whole host was short of memory
        ({"Status": "running", "ExitCode": 0}, 1, True, KERNEL, "", True),
        ({"ExitCode": 137}, 0, False, KERNEL.replace("{group}", f"/machine.slice/libpod-{'c' * 64}.scope/container"), "", True),  # as Podman calls the group
        ({"Status": "running", "ExitCode": 0}, 1, True, None, f"{AT:.0f} oom\n{AT:.0f} die\n", True),
        ({"ExitCode": 137}, 0, False, None, "", False),  # docker kill
        ({"OOMKilled": True, "ExitCode": 1}, 1, False, "", "", False),  # from a run before
        ({"Status": "running", "OOMKilled": True, "ExitCode": 0}, 1, True, "", f"{AT - 600:.0f} oom\n", False),  # mended and started since
        (
            {"OOMKilled": True, "ExitCode": 137},
            1,
            False,
            None,
            f"{AT - 600:.0f} oom\n{AT - 600:.0f} die\n{AT:.0f} die\n",
            False,
        ),  # docker stop, after it was mended
        ({"Status": "running", "ExitCode": 0}, 1, True, KERNEL.replace("{group}", "/docker/" + "d" * 64), "", False),
    ],
)
def test_a_container_that_was_killed_for_memory(state: dict[str, Any], restarts: int, runs: bool, kernel: str | None, events: str, killed: bool) -> None:
    inspected = json.loads(shown_container({**state, "FinishedAt": "2026-11-26T00:36:15.1Z"}, RestartCount=restarts))[0]
    host = Host(("docker events", events), *([("dmesg", kernel.format(group="/docker/" + "c" * 64))] if kernel is not None else []))
    said = memory.of_container(host, "docker", inspected, runs, AT + 60)
    assert bool(said) is killed and (not killed or "64 MiB" in said)


def test_a_worker_that_was_killed_beside_a_server_that_goes_on_is_counted(tmp_path: Path) -> None:
    for folder, name, text in (
        ("two", "memory.events", "low 0\noom 3\noom_kill 3\n"),
        ("one", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
        ("no", "memory.events", "oom_kill 0\n"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text)
    assert [memory.counted([tmp_path / folder]) for folder in ("two", "one", "no", "none")] == [3, 2, 0, 0]


def test_a_unit_killed_for_memory_is_named_and_the_rest_follows(tmp_path: Path) -> None:
    host = Host(
        ("systemctl show", shown_unit(Result="signal", ExecMainCode="2", ExecMainStatus="9", MemoryMax=str(64 * 1024**2))),
        ("UNIT=mlflow", BY_SIGNAL),
        ("INVOCATION_ID", ""),
    )
    facts, faults = read(host, tmp_path)
    assert faults == ["out-of-memory"] and "64 MiB" in facts["killed"] and facts["ended"].startswith("signal 9")


# -- seen while it is up between two ends
@pytest.mark.parametrize(("restarts", "faults"), [(5, ["packages-do-not-fit"]), (0, [])])
def test_a_container_that_ends_again_and_again_is_explained_while_it_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarts: int, faults: list[str]
) -> None:
    process = tmp_path / "70"
    (process / "net").mkdir(parents=True)
    (tmp_path / "stat").write_text("btime 1795650000\n")
    (process / "cmdline").write_text("/usr/bin/python3\0/usr/bin/mlflow\0server\0")
    (process / "stat").write_text("70 (mlflow) S 1 " + "0 " * 30)
    (process / "cgroup").write_text(f"0::/docker/{'c' * 64}\n")
    monkeypatch.setattr(collect.Server, "_ask_stores", lambda self, environment: None)
    shown = shown_container(
        {"Status": "running", "Pid": 70, "ExitCode": 0},
        RestartCount=restarts,
        NetworkSettings={"Networks": {}, "Ports": {"5001/tcp": [{"HostIp": "", "HostPort": "5001"}]}},
    )
    host = Host(("docker inspect", shown), ("docker logs", UNFIT))
    facts, named = read(host, tmp_path)
    assert named == faults and facts["pid"] == 70
    # What it said before its last start counts.
    assert not restarts or not any("logs" in command and "--since" in command for command in host.asked)
