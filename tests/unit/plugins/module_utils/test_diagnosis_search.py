"""Which server is diagnosed: the named one, though another runs; one by another name, though it does not run; and with which Python its stores are asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis import collect, judge, search
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis import find as finder

WANTED = {"unit": "mlflow-server.service", "container": "atlas-mlflow-server", "port": 5001}
LIVE, NAMED = "b" * 64, "a" * 64


class Host:
    """A host's commands: each unit and container is shown by its name, and an engine lists its containers."""

    def __init__(self, units: dict[str, str] | None = None, docker: list[dict[str, Any]] | None = None, podman: list[dict[str, Any]] | None = None) -> None:
        self.units, self.engines = units or {}, {"docker": docker, "podman": podman}
        self.asked: list[list[str]] = []

    def __call__(self, command: list[str]) -> tuple[int, str, str]:
        self.asked.append(command)
        if command[:2] == ["systemctl", "show"]:
            return 0, self.units.get(command[-1], "LoadState=not-found\nActiveState=inactive\n"), ""
        if command[:2] == ["systemctl", "list-units"]:
            return 0, "".join(f"{name} loaded failed failed\n" for name in self.units), ""
        engine = next((word for word in command if word in self.engines), "")
        containers = self.engines.get(engine)
        if containers is None:
            return 127, "", "not installed"
        if "ps" in command and "--quiet" in command:
            return 0, "\n".join(one["Id"] for one in containers), ""
        if "inspect" in command:
            shown = [one for one in containers if one["Id"] in command or one["Name"].lstrip("/") in command]
            if "--format" in command:
                return 0, shown[0]["Name"], ""
            return (0, json.dumps(shown), "") if shown else (1, "[]", "no such container")
        return 1, "", "unknown"


def unit(command: str = "/x/mlflow server", active: str = "failed", enabled: str = "enabled") -> str:
    """Return what systemctl shows of a unit that does not run."""
    return f"MainPID=0\nLoadState=loaded\nActiveState={active}\nSubState=x\nUnitFileState={enabled}\nExecStart={{ path=/x ; argv[]={command} ; ignore_errors=no }}\nResult=exit-code\n"


def container(
    name: str, identity: str = NAMED, command: Any = ("mlflow", "server"), pid: int = 0, ended: str = "2026-11-26T00:43:05Z", **values: Any
) -> dict[str, Any]:
    """Return what an engine shows of a container, which runs if it has a process."""
    state = {"Status": "running" if pid else "exited", "Pid": pid, "ExitCode": 1, "StartedAt": "2026-11-26T00:43:03Z", "FinishedAt": ended}
    return {
        "Id": identity,
        "Name": f"/{name}",
        "State": state,
        "NetworkSettings": {"Networks": {}, "Ports": {}},
        "Mounts": [],
        "HostConfig": {"NetworkMode": "bridge", "PortBindings": {}},
        "Config": {"Entrypoint": None, "Cmd": command, "Image": "python:3"},
        **values,
    }


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., int]:
    """Return what makes a process in a /proc of the test's own."""
    (tmp_path / "self" / "net").mkdir(parents=True)

    def make(pid: int, argv: list[str], group: str = "/", parent: int = 1, environment: dict[str, str] | None = None) -> int:
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "cmdline").write_text("".join(f"{word}\0" for word in argv))
        (folder / "environ").write_text("".join(f"{name}={value}\0" for name, value in (environment or {}).items()))
        (folder / "cgroup").write_text(f"0::{group}\n")
        (folder / "comm").write_text(argv[0].rpartition("/")[2])
        (folder / "stat").write_text(f"{pid} (x) S {parent} " + "0 " * 30)
        return pid

    return make


MLFLOW = ["/usr/bin/python3", "/usr/bin/mlflow", "server", "--port", "5001"]


def find(host: Host, proc: Path) -> collect.Server:
    server = collect.Server(host, WANTED, proc)
    server.find()
    return server


# -- the named one, though another runs
@pytest.mark.parametrize("group", [f"/system.slice/docker-{LIVE}.scope", f"/docker/{LIVE}"])
def test_a_named_container_that_stopped_is_not_taken_for_one_that_runs(tmp_path: Path, process: Callable[..., int], group: str) -> None:
    process(70, MLFLOW, group)
    server = find(Host(docker=[container("atlas-mlflow-server"), container("other", LIVE, pid=70)]), tmp_path)
    assert (server.facts["kind"], server.facts["name"], server.facts["state"]) == ("container", "atlas-mlflow-server", "exited")
    assert server.facts["instead"] == "container other, pid 70"
    checks = judge.diagnose({"host": "0.0.0.0", "port": 5001}, {**server.facts, "argv": []})
    assert [check.fault for check in checks if check.verdict == "fault"] == ["server-not-running"]
    assert "another server runs: container other, pid 70" in checks[-1].seen


@pytest.mark.parametrize("active", ["failed", "activating", "inactive"])
def test_the_roles_unit_that_stopped_is_not_taken_for_a_server_that_runs(tmp_path: Path, process: Callable[..., int], active: str) -> None:
    process(70, MLFLOW, "/user.slice/session-1.scope")
    server = find(Host({"mlflow-server.service": unit(active=active)}), tmp_path)
    assert (server.facts["kind"], server.facts["name"]) == ("unit", "mlflow-server.service")
    assert server.facts["instead"] == "pid 70, session-1.scope"


def test_a_unit_that_was_given_up_stands_behind_what_runs_and_behind_the_named_container(tmp_path: Path, process: Callable[..., int]) -> None:
    given_up = {"mlflow-server.service": unit(active="inactive", enabled="disabled")}
    assert find(Host(given_up, docker=[container("atlas-mlflow-server")]), tmp_path).facts["name"] == "atlas-mlflow-server"
    assert find(Host(given_up), tmp_path).facts["name"] == "mlflow-server.service"
    process(70, MLFLOW, f"/docker/{LIVE}")
    found = find(Host(given_up, docker=[container("other", LIVE, pid=70)]), tmp_path)
    assert found.facts["name"] == "other" and not found.unit


def test_a_named_container_that_runs_is_read_without_a_unit_that_stopped(tmp_path: Path, process: Callable[..., int]) -> None:
    process(70, MLFLOW, f"/docker/{NAMED}")
    server = find(Host({"mlflow-server.service": unit()}, docker=[container("atlas-mlflow-server", pid=70)]), tmp_path)
    assert server.facts["kind"] == "container" and not server.unit and "instead" not in server.facts


def test_a_server_that_runs_in_a_unit_by_another_name_is_that_unit(tmp_path: Path, process: Callable[..., int]) -> None:
    process(70, MLFLOW, "/system.slice/tracking.service")
    shown = unit("/usr/bin/mlflow server", active="active").replace("MainPID=0", "MainPID=70")
    assert find(Host({"tracking.service": shown}), tmp_path).facts["name"] == "tracking.service"
    # What cron starts is not cron.
    cron = unit("/usr/sbin/cron -f", active="active").replace("MainPID=0", "MainPID=9")
    process(71, ["cron"], "/system.slice/tracking.service")
    assert find(Host({"tracking.service": cron}), tmp_path).facts["kind"] == "process"


# -- by another name, and it does not run
@pytest.mark.parametrize(
    ("command", "starts"),
    [
        ("/opt/venv/bin/mlflow server --port 5001", True),
        ('"/opt/venv/bin/python" "-m" "atlas_mlflow.serve" "server"', True),
        ("/opt/venv/bin/python -m atlas_mlflow.users", False),
        ("sh -c pip install mlflow==3.0.0 && mlflow server", True),
        ("bash -c mlflow \\\n  server --host 0.0.0.0", True),
        ("/opt/venv/bin/python -m mlflow server", True),
        ("uv run --with mlflow mlflow ui", True),
        ("mlflow --no-x server", True),
        ("/opt/venv/bin/gunicorn -b 0.0.0.0:5001 mlflow.server:app", True),
        ("mlflow gc --older-than 30d", False),
        ("/usr/bin/backup --unit mlflow-server.service", False),
        ("mlflow db upgrade x", False),
        ("nginx -c /etc/mlflow.server.conf", False),
    ],
)
def test_a_command_that_starts_a_server_is_known(command: str, starts: bool) -> None:
    assert search.starts_server(command) is starts


def test_a_script_that_starts_a_server_is_known(tmp_path: Path) -> None:
    (tmp_path / "start.sh").write_text("#!/bin/sh\nset -e\nexec mlflow server --port 5001\n")
    (tmp_path / "stop.sh").write_text("#!/bin/sh\n# stops what `mlflow server` started\nkill 1\n")
    assert search.starts_server(f"/bin/bash {tmp_path}/start.sh") and not search.starts_server(f"/bin/bash {tmp_path}/stop.sh")
    assert search.starts_server("/start.sh", {"/start.sh": f"{tmp_path}/start.sh"})


def test_a_unit_by_another_name_is_found_while_it_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "system"
    (folder / "wrapped.service.d").mkdir(parents=True)
    (folder / "cron.service").write_text("[Service]\nExecStart=/usr/sbin/cron -f\n")
    (folder / "tracking.service").write_text("[Service]\nExecStartPre=/bin/true\nExecStart=-/srv/venv/bin/mlflow \\\n  server --port 5001\n")
    assert search.units(Host(), [folder]) == ["tracking.service"]
    (folder / "wrapped.service.d" / "x.conf").write_text("[Service]\nExecStart=\nExecStart=/srv/venv/bin/mlflow server\n")
    (folder / "team@.service").write_text("[Service]\nExecStart=/srv/%i/bin/mlflow server\n")
    assert search.units(Host({"team@red.service": ""}), [folder]) == ["team@red.service", "tracking.service", "wrapped.service"]
    monkeypatch.setattr(search, "units", lambda run: ["tracking.service"])
    assert find(Host({"tracking.service": unit()}), tmp_path).facts["name"] == "tracking.service"


def test_a_container_by_another_name_is_found_while_it_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "units", lambda run: [])
    database = container("db", "d" * 64, ["postgres"])
    older = container("older", "e" * 64, ended="2026-11-25T00:00:00Z")
    compose = container("compose-mlflow-1", command=["bash", "-c", "pip install mlflow==3.0.0 && mlflow server"])
    server = find(Host(docker=[database, older, compose]), tmp_path)
    assert (server.facts["kind"], server.facts["name"]) == ("container", "compose-mlflow-1")
    # What should have the port comes first, whenever it ended.
    older["HostConfig"]["PortBindings"] = {"5000/tcp": [{"HostIp": "", "HostPort": "5001"}]}
    assert find(Host(docker=[database, older, compose]), tmp_path).facts["name"] == "older"
    # A script inside an image.
    image = container("tracking", command=["/start"], Config={"Cmd": ["/start"], "Image": "ghcr.io/mlflow/mlflow:v3"}, HostConfig=older["HostConfig"])
    assert find(Host(docker=[database, image]), tmp_path).facts["name"] == "tracking"
    assert find(Host(docker=[database]), tmp_path).facts["kind"] == ""


# -- Podman
def test_a_container_of_podman_is_read_as_one_of_docker(tmp_path: Path, process: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "units", lambda run: [])
    own = container("tracking", LIVE, pid=70)
    own["Config"].update(Entrypoint="docker-entrypoint.sh")  # a string, before its release 5
    server = find(Host(podman=[{**own, "State": {**own["State"], "Status": "exited", "Pid": 0}}]), tmp_path)
    assert (server.facts["name"], server.engine, server.facts["configured"]) == ("tracking", ["podman"], "docker-entrypoint.sh mlflow server")
    process(70, MLFLOW, f"/machine.slice/libpod-{LIVE}.scope/container")
    assert find(Host(podman=[own]), tmp_path).engine == ["podman"]


def test_a_users_own_container_of_podman_is_asked_for_as_that_user(tmp_path: Path, process: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    user = type("User", (), {"pw_uid": 1000, "pw_gid": 100, "pw_dir": "/home/ann"})
    monkeypatch.setattr(finder.pwd, "getpwuid", lambda uid: user)
    process(70, MLFLOW, f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{LIVE}.scope")
    server = find(Host(podman=[container("tracking", LIVE, pid=70)]), tmp_path)
    assert server.facts["name"] == "tracking"
    server.inspected["NetworkSettings"] = {"Ports": {}}
    server._find_networks()
    assert server.facts["elsewhere"] == {}
    assert server.engine == [
        "setpriv",
        "--reuid=1000",
        "--regid=100",
        "--init-groups",
        "env",
        "--chdir=/",
        "HOME=/home/ann",
        "XDG_RUNTIME_DIR=/run/user/1000",
        "podman",
    ]


def test_the_ports_of_a_pod_are_those_of_its_first_container(tmp_path: Path, process: Callable[..., int]) -> None:
    process(70, MLFLOW, f"/machine.slice/libpod-{NAMED}.scope")
    settings = {"Networks": {"podman": {}}, "Ports": {"5001/tcp": [{"HostIp": "", "HostPort": "5001"}]}}
    infra = container("pod-infra", "f" * 64, None, NetworkSettings=settings)
    server = find(Host(podman=[infra, container("atlas-mlflow-server", pid=70, HostConfig={"NetworkMode": f"container:{'f' * 64}"})]), tmp_path)
    assert [(str(address), outer, inner) for address, outer, inner in server.container.published] == [("0.0.0.0", 5001, 5001)]


#: What Podman 4.3 shows of a container, but for what is not read; 5.4 gives the address and no entry point.
PODMAN: dict[str, Any] = {
    "Id": LIVE,
    "Name": "healthy",
    "RestartCount": 0,
    "State": {
        "Status": "running",
        "OOMKilled": False,
        "Pid": 70,
        "ConmonPid": 69,
        "ExitCode": 0,
        "Error": "",
        "StartedAt": "2026-11-26T06:02:26.994635441Z",
        "FinishedAt": "0001-01-01T00:00:00Z",
        "Health": {"Status": "", "FailingStreak": 0, "Log": None},
    },
    "Mounts": [{"Type": "bind", "Source": "/var/lib/mlflow", "Destination": "/opt/mlflow", "Driver": "", "Mode": "", "Options": ["rbind"], "RW": False}],
    "NetworkSettings": {
        "IPAddress": "10.88.0.5",
        "Ports": {"5001/tcp": [{"HostIp": "", "HostPort": "5001"}]},
        "Networks": {"podman": {"IPAddress": "10.88.0.5"}},
    },
    "Config": {
        "Env": ["PATH=/opt/mlflow/bin:/usr/bin", "TERM=xterm", "container=podman"],
        "Cmd": ["mlflow", "server", "--port", "5001"],
        "Image": "localhost/python:3",
        "Entrypoint": "",
    },
    "HostConfig": {
        "NetworkMode": "bridge",
        "PortBindings": {"5001/tcp": [{"HostIp": "", "HostPort": "5001"}]},
        "Memory": 0,
        "CgroupMode": "host",
        "Cgroups": "default",
    },
}
CONMON = ["/usr/bin/conmon", "--api-version", "1", "-c", LIVE, "-u", LIVE, "-r", "/usr/bin/crun", "-n", "healthy", "-l", "journald"]
#: What starts a container, as `podman generate systemd` and as Quadlet write it, and systemd shows it.
GENERATED = "/usr/bin/podman run --cidfile=/run/mlflow-server.service.ctr-id --cgroups=no-conmon --rm --sdnotify=conmon --replace -d --name mlflow -p 5001:5001 python:3 mlflow server"
QUADLET = "/usr/bin/podman run --name systemd-tracking --cidfile=/run/tracking.cid --replace --rm --cgroups=split --sdnotify=conmon -d --publish 5001:5001 python:3 mlflow server"
#: The group of the container's processes: made by `podman run`, and below the unit that Quadlet made.
SCOPE, PAYLOAD = f"/machine.slice/libpod-{LIVE}.scope/container", f"/system.slice/mlflow-server.service/libpod-payload-{LIVE}"


def active(command: str, restarts: int = 0) -> dict[str, str]:
    """Return the named unit, as systemctl shows it while Podman's monitor runs in it."""
    return {"mlflow-server.service": unit(command, active="active").replace("MainPID=0", "MainPID=69") + f"NRestarts={restarts}\n"}


@pytest.mark.parametrize("group", [SCOPE, PAYLOAD, "/", "/user.slice/user-0.slice/session-3.scope"])
def test_a_server_in_a_container_of_podman_is_that_container_in_whatever_group_it_runs(tmp_path: Path, process: Callable[..., int], group: str) -> None:
    process(69, CONMON, "/machine.slice/libpod-conmon-x.scope")
    process(70, MLFLOW, group, parent=69)
    process(71, ["/usr/bin/python3", "-m", "uvicorn", "mlflow.server:app"], group, parent=70)
    process(80, ["sshd"], group)
    server = find(Host(podman=[PODMAN]), tmp_path)
    assert (server.facts["kind"], server.facts["name"], server.engine) == ("container", "healthy", ["podman"])
    assert server.container and [(str(address), outer, inner) for address, outer, inner in server.container.published] == [("0.0.0.0", 5001, 5001)]
    assert {70, 71} <= set(server.pids) and 80 not in server.pids


@pytest.mark.parametrize(("command", "group"), [(GENERATED, SCOPE), (GENERATED, "/"), (QUADLET, PAYLOAD), ("/usr/bin/podman start -a healthy", SCOPE)])
def test_a_unit_that_runs_its_server_in_podman_is_read_as_the_container(tmp_path: Path, process: Callable[..., int], command: str, group: str) -> None:
    process(69, CONMON, "/system.slice/mlflow-server.service")
    process(70, MLFLOW, group, parent=69)
    server = find(Host(active(command, restarts=2), podman=[PODMAN]), tmp_path)
    assert (server.facts["kind"], server.facts["name"], server.pid) == ("container", "healthy", 70)
    assert server.starter == ("mlflow-server.service", 2) and "instead" not in server.facts and not server.unit


def test_a_unit_that_runs_dockers_client_is_read_as_the_container(tmp_path: Path, process: Callable[..., int]) -> None:
    process(69, ["/usr/bin/docker", "run", "--rm", "--name", "tracking", "python:3", "mlflow", "server"], "/system.slice/mlflow-server.service")
    process(70, MLFLOW, f"/docker/{LIVE}")
    running = container("tracking", LIVE, pid=70)
    for command in (
        "/usr/bin/docker run --rm --name tracking python:3 mlflow server",
        "/usr/bin/docker compose -f /srv/compose.yaml up",
        "/usr/bin/docker run python:3 mlflow server",
    ):
        assert find(Host(active(command), docker=[running]), tmp_path).facts["name"] == "tracking"


def test_a_unit_of_podman_whose_container_is_gone_is_the_unit_and_asks_no_python_of_the_host(
    tmp_path: Path, process: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = find(Host({"mlflow-server.service": unit(GENERATED.replace("mlflow server", "/usr/bin/mlflow server"))}, podman=[]), tmp_path)
    assert (server.facts["kind"], server.facts["name"]) == ("unit", "mlflow-server.service")
    monkeypatch.setattr(collect, "find_python", lambda *_words: pytest.fail("a Python of the host was looked for"))
    assert server._ask_stores({}) is None


def test_a_server_with_other_files_than_the_hosts_is_not_asked_by_the_hosts_python(tmp_path: Path, process: Callable[..., int]) -> None:
    process(70, MLFLOW)
    server = find(Host(), tmp_path)
    assert server._has_our_files()
    (tmp_path / "image").mkdir()
    (tmp_path / "70" / "root").symlink_to(tmp_path / "image")
    assert not server._has_our_files() and server._ask_stores({}) is None


def test_a_unit_that_quadlet_makes_is_found_while_it_does_not_run(tmp_path: Path) -> None:
    assert Path("/run/systemd/generator") in search.UNIT_FOLDERS
    (tmp_path / "tracking.service").write_text(f"[Service]\nEnvironment=PODMAN_SYSTEMD_UNIT=%n\nExecStart={QUADLET}\n")
    assert search.units(Host(), [tmp_path]) == ["tracking.service"]


@pytest.mark.parametrize(
    ("command", "engine", "name"),
    [
        (GENERATED, "podman", "mlflow"),
        (QUADLET, "podman", "systemd-tracking"),
        ("/usr/bin/podman start mlflow", "podman", "mlflow"),
        ("/bin/sh -c 'docker run --rm --name=tracking python:3'", "docker", "tracking"),
        ("/usr/bin/podman --log-level=info run --name tracking python:3", "podman", "tracking"),
        ("/usr/bin/docker run --rm python:3 mlflow server", "", ""),
        ("/usr/bin/docker compose up", "", ""),
        ("/opt/mlflow/bin/mlflow server --name x", "", ""),
    ],
)
def test_the_container_that_a_command_names_is_known(command: str, engine: str, name: str) -> None:
    assert search.named_container(command) == (engine, name)
    assert search.calls_engine(command) is ("mlflow/bin" not in command)


def test_a_stopped_container_of_a_user_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    users = [type("User", (), {"pw_uid": uid, "pw_gid": uid, "pw_dir": str(tmp_path / name)}) for uid, name in ((0, "root"), (1000, "ann"), (1001, "bob"))]
    (tmp_path / "ann" / ".local/share/containers/storage").mkdir(parents=True)
    monkeypatch.setattr(search.pwd, "getpwall", lambda: users)
    monkeypatch.setattr(search.pwd, "getpwuid", lambda uid: next(user for user in users if user.pw_uid == uid))
    monkeypatch.setattr(search, "units", lambda run: [])
    own = {**PODMAN, "State": {**PODMAN["State"], "Status": "exited", "Pid": 0}}
    host = Host(podman=[own])
    root_has_none = lambda command: (0, "", "") if command[0] == "podman" and "ps" in command else host(command)  # noqa: E731
    server = collect.Server(root_has_none, WANTED, tmp_path)
    server.find()
    assert (server.facts["name"], server.engine[:2]) == ("healthy", ["setpriv", "--reuid=1000"])


@pytest.mark.parametrize(
    ("listed", "stopped"),
    [
        # `{{.State}}` of Podman 4.3 is "Up 8 seconds ago" and of Docker "running": the status is the same in all.
        ("db\tUp 8 seconds ago\tpodman\n", []),  # Podman 4.3
        ("db\tUp 8 seconds\tpodman\n", []),  # Podman 5.4
        ("db\tUp 2 hours (healthy)\tpodman\n", []),  # Docker
        ("db\tExited (137) 3 seconds ago\tpodman\n", ["db"]),
        ("db\tCreated\tpodman\n", ["db"]),
        ("db\tRestarting (1) 5 seconds ago\tpodman\n", ["db"]),
    ],
)
def test_a_store_whose_container_is_up_is_not_called_stopped(tmp_path: Path, process: Callable[..., int], listed: str, stopped: list[str]) -> None:
    process(70, MLFLOW, SCOPE)
    server = find(Host(podman=[PODMAN]), tmp_path)
    server.facts["stores"] = {"database": {"host": "db"}, "s3": None}
    server.run = lambda command: (0, listed, "") if "{{.Status}}" in command[-1] else (1, "", "another field")
    server._find_networks()
    assert (server.facts["stopped"], server.facts["elsewhere"]) == (stopped, {})


# -- with which Python
def test_the_python_of_an_environment_inside_a_container_is_used(tmp_path: Path, process: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    process(70, ["uv", "run", "mlflow", "server"], f"/docker/{NAMED}")
    process(71, ["/app/.venv/bin/python3", "/app/.venv/bin/mlflow", "server"], f"/docker/{NAMED}", parent=70)
    server = find(Host(docker=[container("atlas-mlflow-server", pid=70, command=["uv", "run", "mlflow", "server"])]), tmp_path)
    assert server.pid == 71
    ran: list[list[str]] = []

    def run(command: list[str], **_options: Any) -> Any:
        ran.append(command)
        return type("Done", (), {"stdout": '\n{"database": null, "s3": null}'})

    monkeypatch.setattr(collect.subprocess, "run", run)
    assert server._ask_stores({}) == {"database": None, "s3": None}
    assert ran[0][:6] == ["docker", "exec", "--interactive", "atlas-mlflow-server", "/app/.venv/bin/python3", "-c"]


def test_a_python_without_a_path_is_found_where_the_server_found_it(tmp_path: Path) -> None:
    (tmp_path / "app" / "bin").mkdir(parents=True)
    (tmp_path / "app" / "bin" / "python").symlink_to("/usr/local/bin/nowhere-on-this-host")
    argv, environment = ["python", "-m", "mlflow", "server"], {"PATH": "/none:/app/bin:/usr/bin"}
    assert collect.find_python(argv, "", environment, str(tmp_path)) == "/app/bin/python"
    assert collect.find_python(["uv", "run", "mlflow", "server"], "", environment, str(tmp_path)) == ""


def test_the_client_of_an_engine_is_no_server() -> None:
    assert not finder.is_server(["/usr/bin/docker", "run", "image", "mlflow", "server"])
    assert not finder.is_server(["/run/podman-init", "--", "mlflow", "server"])
    assert finder.is_server(["uv", "run", "mlflow", "server"])
