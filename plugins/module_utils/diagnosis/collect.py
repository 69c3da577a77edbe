# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find a tracking server on this host, whoever made it, and read what it is and what it sees. Reads only; returns nothing that is secret."""

from __future__ import annotations

import json
import os
import pwd
import re
import shlex
import ssl
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Optional

from ansible_collections.atlas.mlflow.plugins.module_utils import containers, redaction, sockets, uris
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis import artifact_root, logs, memory, search, stores
from ansible_collections.atlas.mlflow.plugins.module_utils.tracking import SEARCH, TrackingServer
from ansible_collections.atlas.mlflow.plugins.module_utils.web import Answer, Base, NoAnswer, ask

Run = Callable[[list[str]], tuple[int, str, str]]

IGNORED_BY_MLFLOW = ("GUNICORN_CMD_ARGS", "PORT", "HOST")
#: What a small program reads from its input and runs: neither it nor the settings stand in an argument.
BOOT = "import sys, json; given = json.loads(sys.stdin.readline()); sys.stdin = __import__('io').StringIO(json.dumps(given['input'])); exec(given['program'], {'__name__': '__main__'})"
STORES_TIMEOUT = 12  # seconds for both stores together
UNIT_PROPERTIES = (*sockets.UNIT_PROPERTIES, "ControlPID", "ExecStart", "EnvironmentFiles", "Environment", "FragmentPath", "DropInPaths", "NeedDaemonReload", "User", "InvocationID", "UnitFileState",
                   *memory.UNIT_PROPERTIES)
PROXIES = (containers.PROXY, "conmon", "rootlessport", "slirp4netns", "pasta", "pasta.avx2", "exe")  # the last is what Podman calls rootlessport
MEMORY_ROOTS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory"))
DATA_FOLDERS = ("/", "/tmp", "/var/lib/mlflow", "/var/lib/postgresql", "/var/lib/minio", "/var/lib/docker")


def read_argv(pid: int, proc: Path = sockets.PROC) -> list[str]:
    """Return a process's arguments, empty where it is gone."""
    try:
        return [word.decode(errors="replace") for word in (proc / str(pid) / "cmdline").read_bytes().split(b"\0")[:-1]]
    except OSError:
        return []


def read_environment(pid: int, proc: Path = sockets.PROC) -> dict[str, str]:
    """Return the environment that a process was started with (proc_pid_environ(5))."""
    try:
        pairs = (proc / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    return dict(pair.decode(errors="replace").partition("=")[::2] for pair in pairs if b"=" in pair)


def is_server(argv: list[str]) -> bool:
    """Say whether these are a tracking server's arguments: C(mlflow server), or a web server that is given MLflow's application."""
    if any(word.startswith(("atlas_mlflow.start", "/sbin/docker-init", "/run/podman-init")) for word in argv) or argv[:1] and argv[0].rpartition("/")[2] in search.ENGINES:
        return False
    commands = [index for index, word in enumerate(argv[:4]) if word.rpartition("/")[2] == "mlflow"]
    return any(argv[index + 1 : index + 2] in (["server"], ["ui"]) for index in commands) or any(word.startswith("mlflow.server") for word in argv[1:])


def started_at(pid: int, proc: Path = sockets.PROC) -> float:
    """Return when a process was started, in seconds since 1970 by the kernel's own boot time (proc_stat(5), btime), whatever clock this process is shown."""
    boot = re.search(r"^btime (\d+)", (proc / "stat").read_text(encoding="ascii"), re.MULTILINE)
    return (int(boot.group(1)) if boot else 0) + sockets.seconds_after_boot(pid, proc)


def newer_files(paths: list[str], since: float) -> list[str]:
    """Return those files that were written after a time. Two seconds are within what the kernel's boot time is exact to."""
    newer = []
    for path in paths:
        try:
            if os.path.isfile(path) and os.stat(path).st_mtime > since + 2:
                newer.append(path)
        except OSError:
            continue
    return newer


def parse_environment_file(text: str) -> dict[str, str]:
    """Return the variables of a file for systemd's C(EnvironmentFile=) (systemd.exec(5))."""
    variables = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith(("#", ";")):
            if value[:1] == value[-1:] == '"' and len(value) > 1:
                value = re.sub(r'\\(["\\$`])', r"\1", value[1:-1])
            variables[name] = value.strip("'") if value[:1] == "'" else value
    return variables


class Server:
    """The server that was found, and what is read of it; C(facts) is what goes out."""

    def __init__(self, run: Run, wanted: Mapping[str, Any], proc: Path = sockets.PROC, redactor: Optional[redaction.Redactor] = None) -> None:
        self.run, self.wanted, self.proc = run, wanted, proc
        self.facts: dict[str, Any] = {"kind": "", "name": "", "state": "", "now": time.time()}
        self.pids: list[int] = []
        self.pid = 0
        self.inspected: dict[str, Any] = {}
        self.unit: dict[str, str] = {}
        self.container: Optional[containers.Container] = None
        self.engine = ["docker"]
        #: The unit that runs the container, and how often systemd has started it again.
        self.starter = ("", 0)
        #: Whether another server that runs comes before the unit that was taken: it was given up, or runs its server in a container that it does not name.
        self.stands_behind = False
        self.redactor = redactor or redaction.Redactor()
        self.argv: list[str] = []
        self.configured = ""

    # -- which one it is
    def find(self) -> None:
        """Find the server: the unit or container of the given name, any process of a server, or what starts one and does not run.

        A unit that was given up (disabled, and stopped) stands behind a server that runs. For a unit that runs its server in a container, the container is taken.
        """
        unit, container = self._unit(self.wanted["unit"]), self._container(self.wanted["container"])
        stands_behind = False
        for take in (unit, container):
            self._forget()
            if take and take():
                return
            stands_behind = stands_behind or self.stands_behind
        live = next((pid for pid in sockets.all_pids(self.proc) if is_server(read_argv(pid, self.proc))), 0)
        stopped = container if stands_behind and container else (unit if not (stands_behind and live) else None) or container
        if stopped:
            self._forget()
            stopped()
            if live:
                self.facts["instead"] = self._name_of(live)
        elif live:
            self._forget()
            self._take_process(live)
        else:
            self._find_by_command()

    def _forget(self) -> None:
        """Forget what was read of another candidate."""
        self.unit, self.inspected, self.container, self.starter, self.stands_behind = {}, {}, None, ("", 0), False

    def _find_by_command(self) -> None:
        """Find what starts a server and does not run."""
        for take in (self._unit(name) for name in search.units(self.run)):
            if take:
                take()
                return
        # Each user has containers of Podman of its own, which root's Podman does not list.
        for engine in [*([engine] for engine in search.ENGINES), *(podman_of(uid) for uid in search.podman_users())]:
            for identity in search.stopped_containers(self.run, engine, self.wanted["port"]):
                take = self._container_by(engine, identity)
                if take:
                    take()
                    return

    def _name_of(self, pid: int) -> str:
        """Return in words what a process of another server belongs to."""
        engine, identity = self._container_of(pid)
        if identity:
            name = self.run([*engine, "inspect", "--type", "container", "--format", "{{.Name}}", identity])[1].strip().lstrip("/")
            return f"container {name or identity[:12]}, pid {pid}"
        return f"pid {pid}, {sockets.describe(pid, self.proc)[1] or 'started by hand'}"

    def _container_of(self, pid: int) -> tuple[list[str], str]:
        """Return the engine's command and the identity of the container that a process is in, the latter empty for none."""
        groups = "\n".join(sockets.control_groups(pid, self.proc))
        # A unit that Podman makes (Quadlet) splits its group, and calls the container's part payload. What this host itself is in does not count.
        here = "\n".join(sockets.control_groups(os.getpid(), self.proc))
        found = [one for one in re.findall(r"(docker|libpod(?:-payload)?)[-/]([0-9a-f]{64})", groups) if one[1] not in here]
        if not found:
            return self._container_of_monitor(pid)
        owner = re.search(r"/user-(\d+)\.slice/", groups)
        if found[-1][0] == "docker":
            return ["docker"], found[-1][1]
        return podman_of(int(owner.group(1)) if owner else 0), found[-1][1]

    def _container_of_monitor(self, pid: int) -> tuple[list[str], str]:
        """Return engine and identity of a container that has no control group of its own: by Podman's monitor, which started it."""
        try:
            while pid > 1:
                identity = search.monitored(read_argv(pid, self.proc))
                if identity:
                    return podman_of(os.stat(self.proc / str(pid)).st_uid), identity
                pid = sockets.parent_of(pid, self.proc)
        except OSError:
            pass  # it ended meanwhile
        return [], ""

    def _container_of_unit(self, pids: Iterable[int], command: str) -> Optional[Callable[[], bool]]:
        """Return what takes the container in which a unit runs its server, nothing if the unit runs it itself, or the container is gone."""
        for pid in pids:
            argv = read_argv(pid, self.proc)
            engine, identity = self._container_of(pid) if is_server(argv) or search.monitored(argv) else ([], "")
            take = self._container_by(engine, identity) if identity else None
            if take:
                return take
        called, name = search.named_container(command)
        return self._container_by([called], name) if name else None

    def _unit(self, name: str) -> Optional[Callable[[], bool]]:
        code, out, _err = self.run(["systemctl", "show", "--property", ",".join(UNIT_PROPERTIES), "--", name])
        values: dict[str, str] = {}
        for line in out.splitlines():  # a unit with several files for its environment has a line for each
            key, _equals, value = line.partition("=")
            values[key] = f"{values[key]} {value}" if key in values else value
        if code or values.get("LoadState") != "loaded":
            return None

        def take() -> bool:
            unit = sockets.parse_unit(name, out, self.proc)
            pids = list(unit.pids)
            control = int(values.get("ControlPID") or 0)
            self.unit = values
            # An argument may hold a line break, which systemctl shows as it is: a line alone would cut what is looked for here.
            match = re.search(r"^ExecStart=\{.*?argv\[\]=(.*?) ; ignore_errors", out, re.DOTALL | re.MULTILINE)
            command = match.group(1) if match else ""
            self.stands_behind = values.get("ActiveState") == "inactive" and values.get("UnitFileState") == "disabled"
            contained = self._container_of_unit(pids, command)
            if contained:
                self.unit, self.starter = {}, (name, int(values.get("NRestarts") or 0))
                return contained()
            self._take("unit", name, unit.state, pids or ([control] if control else []), command)
            hidden = bool(pids) and not self.pid and search.calls_engine(command)  # what runs is the client of an engine alone
            self.stands_behind = self.stands_behind or hidden
            return bool(pids) and not hidden

        return take

    def _container(self, name: str) -> Optional[Callable[[], bool]]:
        for engine in search.ENGINES:
            take = self._container_by([engine], name)
            if take:
                return take
        return None

    def _container_by(self, engine: list[str], name: str) -> Optional[Callable[[], bool]]:
        code, out, _err = self.run([*engine, "inspect", "--type", "container", "--", name])
        if code:
            return None

        def take() -> bool:
            self.engine = engine
            self.inspected = json.loads(out)[0]
            shared, _colon, other = self.inspected.get("HostConfig", {}).get("NetworkMode", "").partition(":")
            if shared == "container":  # as in a pod: addresses and published ports are the other one's
                code, shown, _err = self.run([*engine, "inspect", "--type", "container", "--", other])
                self.inspected["NetworkSettings"] = self.inspected["NetworkSettings"] if code else json.loads(shown)[0]["NetworkSettings"]
            self.container = container = containers.parse_container(json.dumps([self.inspected]))
            config = self.inspected["Config"]
            self._learn([*search.words(config.get("Entrypoint")), *search.words(config.get("Cmd"))], dict(word.partition("=")[::2] for word in config.get("Env") or []))
            self._take("container", container.name, container.state, list(container.unit(self.proc).pids), search.command_of(self.inspected))
            return container.runs

        return take

    def _take_process(self, pid: int) -> None:
        engine, identity = self._container_of(pid)
        take = self._container_by(engine, identity) if identity else None
        if take and take():
            return
        group = sockets.describe(pid, self.proc)[1]
        take = self._unit(group) if group.endswith(".service") else None
        # A server that another service started, as cron does, is not that service.
        if take and take() and (self.pids[0] == pid or search.starts_server(self.configured)):
            return
        self._forget()
        parent = sockets.parent_of(pid, self.proc)
        configured = " ".join([*read_argv(parent, self.proc), *read_argv(pid, self.proc)]) if parent > 1 else ""
        self._take("process", str(pid), "running", list(sockets.main_first(sockets.descendants(pid, self.proc), pid)), configured)

    def _take(self, kind: str, name: str, state: str, pids: list[int], configured: str) -> None:
        self.pids = pids
        servers = [pid for pid in pids if is_server(read_argv(pid, self.proc))]
        # What starts it in an environment, as `uv run` does, has the same words in its arguments.
        self.pid = next((pid for pid in servers if re.search(r"(^|/)python[^/]*$", read_argv(pid, self.proc)[0])), servers[0] if servers else 0)
        self.argv = read_argv(self.pid, self.proc) if self.pid else []
        self.configured = configured
        self.redactor.publish([name])
        self.redactor.learn(redaction.text_secrets(configured))
        self._learn(self.argv, read_environment(self.pid, self.proc) if self.pid else {})
        self.facts.update(kind=kind, name=name, state=state, configured=self.redactor.text(configured))
        # What stands behind a login is not shown.
        self.facts["configured_options"] = [option for option in ("--host", "--port") if option in configured]
        self.facts["pid"] = self.pid or (pids[0] if pids else 0)

    def _learn(self, argv: list[str], environment: Mapping[str, str]) -> None:
        """Take the secrets of a process: nothing of them may be told."""
        self.redactor.learn(redaction.argument_secrets(argv) | redaction.environment_secrets(environment))

    def _learn_users_store(self, environment: Mapping[str, str]) -> None:
        """Take the secrets of the file that names the store of users, where the server reads it: in its container, if it is in one."""
        path = environment.get("MLFLOW_AUTH_CONFIG_PATH", "")
        try:
            text = (self.proc / str(self.pid) / "root" / path.lstrip("/")).read_text(encoding="utf-8") if path else ""
        except (OSError, ValueError):
            return
        for line in text.splitlines():
            name, equals, value = line.partition("=")
            if equals:
                self._learn([], {name.strip(): value.strip()})

    # -- what it is
    def read(self) -> dict[str, Any]:
        """Read everything of the server that was found, and return the facts."""
        self.find()
        if not self.facts["kind"]:
            return self.facts
        self.facts["argv"] = self.redactor.words(self.argv)
        environment = read_environment(self.pid, self.proc) if self.pid else {}
        self._learn_users_store(environment)
        self.facts["ignored_environment"] = {name: self.redactor.text(environment[name]) for name in IGNORED_BY_MLFLOW if name in environment}
        self._read_sockets()
        self._read_stale()
        self.facts["stores"] = self._ask_stores(environment)
        if self.pid and not self.facts["sockets"]:
            self._read_sockets()  # it may have opened its port while its stores were asked
        self._find_networks()
        self._read_log()
        self.facts["killed"] = self._killed()
        self.facts["disks"] = self._disks()
        self.facts["firewall"] = self._firewall()
        return self.facts

    def _read_sockets(self) -> None:
        port = self.wanted["port"]
        own, others = sockets.read_listeners(self.pids, port, self.proc)
        self.facts["sockets"] = [one.as_dict(own=True) for one in own]
        published = self.container.published if self.container and self.facts["kind"] == "container" else ()
        if self.facts["kind"] == "container":
            self.facts["published"] = [{"address": str(address), "port": outer, "inner": inner} for address, outer, inner in published]
            self.facts["network_mode"] = self.inspected["HostConfig"].get("NetworkMode", "")
            if self.facts["network_mode"] != "host":
                _none, others = sockets.read_listeners((), port, self.proc)
        mine = {(address, outer) for address, outer, _inner in published}
        self.facts["host_listeners"] = [
            other.as_dict(own=other.process in PROXIES and (other.address, other.port) in mine) for other in others
        ]

    def _read_stale(self) -> None:
        if not self.pid:
            return
        paths = [mount["Source"] for mount in self.inspected.get("Mounts", []) if mount["Type"] == "bind"]
        if self.facts["kind"] == "unit":
            paths = [self.unit.get("FragmentPath", ""), *self.unit.get("DropInPaths", "").split(), *self._environment_files()]
        stale = newer_files(paths, started_at(self.pid, self.proc))
        self.facts["stale"] = stale + (["the unit, which systemd has not read again"] if self.unit.get("NeedDaemonReload") == "yes" and not stale else [])

    def _environment_files(self) -> list[str]:
        """Return the files that the unit takes its environment from."""
        return re.findall(r"(/\S+)", self.unit.get("EnvironmentFiles", ""))

    # -- what it sees
    def _settings(self, environment: dict[str, str]) -> dict[str, str]:
        """Return the server's environment; of one that has not become the server yet, what it will get."""
        if self.pid:
            return environment
        settings: dict[str, str] = {}
        for name in self._environment_files():
            try:
                settings.update(parse_environment_file(Path(name).read_text(encoding="utf-8")))
            except OSError:
                continue
        settings.update(dict(word.partition("=")[::2] for word in shlex.split(self.unit.get("Environment", "")) if "=" in word))
        for mount in self.inspected.get("Mounts", []):
            if mount["Type"] == "bind" and mount["Source"].endswith(".json"):
                try:
                    settings.update({name: str(value) for name, value in json.loads(Path(mount["Source"]).read_text(encoding="utf-8")).items()})
                except (OSError, ValueError):
                    continue
        settings.update(dict(word.partition("=")[::2] for word in self.inspected.get("Config", {}).get("Env") or []))
        self._learn([], settings)
        return settings

    def _ask_stores(self, environment: dict[str, str]) -> Optional[dict[str, Any]]:
        # A server that ended has no arguments: those that it is configured with.
        argv = self.argv or [word.strip("\"'") for word in self.configured.split()]
        # Ansible runs this from a zip file: the loader knows the text. On the control node, Ansible's own loader has it as bytes.
        source = stores.__loader__.get_source(stores.__name__)  # type: ignore[union-attr]
        program = source.decode() if isinstance(source, bytes) else source
        settings = self._settings(environment)
        root = artifact_root.artifact_root(option(argv, "--default-artifact-root"), argv, settings)
        self.facts["artifact_root"] = root
        destination = option(argv, "--artifacts-destination") or settings.get("MLFLOW_ARTIFACTS_DESTINATION", "")
        if root["kind"] == "s3" and not stores.s3_target({}, destination):
            destination = root["where"]
        given = {"environment": settings, "uri": option(argv, "--backend-store-uri"), "destination": destination}
        uri = given["uri"] or given["environment"].get("MLFLOW_BACKEND_STORE_URI", "")
        self.facts["not_encoded"] = uris.not_encoded(uri)
        text = json.dumps({"program": program, "input": given}) + "\n"
        who: dict[str, Any] = {}
        if self.facts["kind"] == "container":
            if not self.pids:
                return None
            root = str(self.proc / str(self.pid or self.pids[0]) / "root")
            python = find_python(argv, "", environment, root) or "python3"
            command = [*self.engine, "exec", "--interactive", self.facts["name"], python, "-c", BOOT]
        else:
            python = find_python(argv, self.configured, environment) if self._has_our_files() and not search.calls_engine(self.configured) else ""
            if not python:
                return None  # another Python has other drivers, and would tell of faults that are not there
            command = [python, "-c", BOOT]
            if self.pids:
                status = os.stat(self.proc / str(self.pids[0]))
                who = {"user": status.st_uid, "group": status.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        try:
            done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=STORES_TIMEOUT, cwd="/", check=False,
                                  env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": "/tmp"}, **who)
            return self._placed(json.loads(done.stdout.splitlines()[-1]), uri, exact=bool(self.argv) or not given["uri"])
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            return None  # its Python cannot be run: the log has to tell

    def _has_our_files(self) -> bool:
        """Say whether the server sees the files of this host, and not those of a container whose engine is not known."""
        try:
            return not self.pids or os.path.samefile(self.proc / str(self.pids[0]) / "root", "/")
        except OSError:
            return True

    def _placed(self, asked: dict[str, Any], uri: str, exact: bool) -> dict[str, Any]:
        """Return what the stores answered, with where they are.

        C(exact) says that the URI is an argument or a setting as a whole. A word of a command line may be a part of one, and its host one of a password.
        """
        if asked.get("database"):
            meant = uris.read_uri(uri)
            asked["database"].update(where=meant.place, host=meant.host)
            if exact and not meant.cut:
                self.redactor.publish([meant.host])
        if asked.get("s3"):
            endpoint = uris.read_uri(asked["s3"]["endpoint"])
            asked["s3"].update(endpoint=endpoint.origin if endpoint.host else "", host=endpoint.host)
            if not endpoint.password:
                self.redactor.publish([endpoint.host, asked["s3"]["bucket"]])
        return asked

    def _find_networks(self) -> None:
        """Note which stores' names are those of containers on networks that the server is not on, or of containers that are stopped."""
        if self.facts["kind"] != "container":
            return
        asked = self.facts.get("stores") or {}
        mine = set(self.inspected["NetworkSettings"].get("Networks") or ())  # a user's own container of Podman has none
        s3 = asked.get("s3") or {}
        names = {host for host in ((asked.get("database") or {}).get("host"), s3.get("host")) if host}
        _code, listed, _err = self.run([*self.engine, "ps", "--all", "--format", "{{.Names}}\t{{.Status}}\t{{.Networks}}"])
        # The status is in the same words in Docker and in every Podman; the state of Podman 4 is another word for it.
        others = {name: (status, set(networks.split(","))) for name, status, networks in (line.split("\t") for line in listed.splitlines())}
        self.redactor.publish(others)
        # Docker resolves the name of no container that is stopped.
        self.facts["stopped"] = sorted(name for name in names if name in others and not others[name][0].startswith("Up"))
        self.facts["elsewhere"] = {name: sorted(others[name][1]) for name in names if name in others and not others[name][1] & mine}

    def _read_log(self) -> None:
        """Note what the server said last, if it does not run, or if it was started again and does not listen yet."""
        if self.facts["kind"] == "container":
            state = self.inspected["State"]
            result, restarts = str(state.get("ExitCode", "")), int(self.inspected.get("RestartCount") or 0) + self.starter[1]
        else:
            result, restarts = self.unit.get("Result", ""), int(self.unit.get("NRestarts") or 0)
            if result == "exit-code" and self.unit.get("ExecMainStatus") in ("137", "143"):
                result = "signal"  # an engine's client, or its monitor, ends with the exit code of what was stopped in the container
        self.facts["restarts"] = restarts
        self.facts["ended"] = "" if self.pid else memory.how_it_ended(self.unit, self.inspected.get("State", {}))
        again = bool(self.pid and restarts and not self.facts["sockets"])
        if self.pid and not again:
            self.facts["starting"] = "" if self.facts["sockets"] else logs.last_words(self._log(earlier=False))
            return
        text = self._log(earlier=again)
        self.facts["last_words"] = logs.last_words(text)
        self.facts["log_fault"] = None if logs.was_stopped(self.facts["state"].partition("/")[0], result) else logs.log_fault(text)

    def _log(self, earlier: bool) -> str:
        """Return the end of what the server wrote since its last start, as what it said before may have been mended.

        :param earlier: Whether to read what it wrote before that start as well.
        """
        if self.facts["kind"] == "container":
            state = self.inspected["State"]
            since = [] if earlier or state["StartedAt"].startswith("0001") else ["--since", state["StartedAt"]]
            code, out, err = self.run([*self.engine, "logs", "--tail", "60", *since, self.facts["name"]])
            # A unit may make its container again at each start: what the one before said is in the unit's journal.
            before = self.run(["journalctl", "--unit", self.starter[0], "--lines", "60", "--no-pager", "--output", "cat"])[1] if earlier and self.starter[1] else ""
            return before + "\n" + ("" if code else f"{out}\n{err}\n") + str(state.get("Error", ""))
        invocation = self.unit.get("InvocationID")
        # What the unit's processes wrote, and what systemd says of it: why it could not start them.
        which = [f"_SYSTEMD_INVOCATION_ID={invocation}", "+", f"INVOCATION_ID={invocation}"] if invocation and not earlier else ["--unit", self.facts["name"]]
        return self.run(["journalctl", *which, "--lines", "60", "--no-pager", "--output", "cat"])[1] if self.facts["kind"] == "unit" else ""

    def _killed(self) -> str:
        """Return how the server or a worker was killed because memory ran out, empty if none was."""
        runs, now = bool(self.pid), self.facts["now"]
        groups = [self.unit.get("ControlGroup", ""), *sockets.control_groups(self.pid, self.proc)] if runs and self.facts["kind"] != "process" else []
        kills = memory.counted(Path(root, group.lstrip("/")) for root in MEMORY_ROOTS for group in groups if group.strip("/"))
        if kills:
            return f"the kernel killed {kills} of its processes since its start"
        if self.facts["kind"] == "container":
            return memory.of_container(self.run, self.engine[-1], self.inspected, runs, now)
        return memory.of_unit(self.run, self.facts["name"], self.unit, runs, now) if self.facts["kind"] == "unit" else ""

    def _disks(self) -> list[dict[str, Any]]:
        paths = [*DATA_FOLDERS, *self.wanted.get("folders", ()), *(mount["Source"] for mount in self.inspected.get("Mounts", []) if os.path.isdir(mount["Source"]))]
        disks: dict[tuple[int, int], dict[str, Any]] = {}
        for path in paths:
            try:
                device, room = os.stat(path).st_dev, os.statvfs(path)
            except OSError:
                continue
            if room.f_blocks:
                inodes = room.f_favail if room.f_files else 1
                disks.setdefault((device, room.f_blocks), {"path": path, "free": room.f_bavail * room.f_frsize, "size": room.f_blocks * room.f_frsize, "inodes": inodes})
        return list(disks.values())

    def _firewall(self) -> list[str]:
        """Return the rules that drop or reject the port, as far as the firewall's own tools list them."""
        text = "".join(self.run(command)[1] for command in (["nft", "list", "ruleset"], ["iptables-save"]))
        rule = re.compile(rf"^.*(?:dport|dports)\s[^\n]*\b{self.wanted['port']}\b[^\n]*\b(?:drop|reject|DROP|REJECT)\b.*$", re.MULTILINE)
        return [" ".join(line.split()) for line in rule.findall(text)]


def find_python(argv: list[str], configured: str, environment: Optional[Mapping[str, str]] = None, root: str = "") -> str:
    """Return the Python of a server; empty if none is known.

    It is the one that it was started with, the one beside a command of its environment, or the one that its search path leads to, which
    C(uv run) and others like it set.

    :param root: Where the files of the server's container are on the host.
    """
    if argv and re.match(r"/.*/python[0-9.]*$", argv[0]):
        return argv[0]
    folders = re.findall(r"(/[^\s\"']*)/(?:mlflow|gunicorn|uvicorn|python[0-9.]*)(?=[\s\"']|$)", " ".join([*argv, configured]))
    pythons = [f"{folder}/python" for folder in folders]
    if argv and re.fullmatch(r"python[0-9.]*", argv[0]):
        pythons += [f"{folder}/{argv[0]}" for folder in (environment or {}).get("PATH", "").split(":") if folder.startswith("/")]
    # A link there leads to a place in the container.
    return next((python for python in pythons if os.path.lexists(root + python)), "")


def podman_of(uid: int) -> list[str]:
    """Return the command of Podman by which a user's containers are seen: they are known to that user alone."""
    if not uid:
        return ["podman"]
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return ["podman"]
    become = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups"]
    return [*become, "env", "--chdir=/", f"HOME={user.pw_dir}", f"XDG_RUNTIME_DIR=/run/user/{user.pw_uid}", "podman"]


def option(argv: list[str], name: str) -> str:
    """Return an option's value in a list of arguments, empty where it is not given."""
    for index, word in enumerate(argv):
        if word == name:
            return argv[index + 1] if index + 1 < len(argv) else ""
        if word.startswith(name + "="):
            return word.partition("=")[2]
    return ""


def ask_names(
    base: Base, names: list[str], timeout: float, tls: Optional[ssl.SSLContext] = None, credentials: Optional[tuple[str, str]] = None
) -> list[dict[str, Any]]:
    """Return the status that the API and the health path give by each name; one that gets no answer at all ends the round."""
    facts: list[dict[str, Any]] = []
    for name in names:
        host = base.host_header(name)
        server = TrackingServer(base, host, timeout, credentials, tls)
        try:
            api = server.ask("GET", *SEARCH)
            health = server.ask("GET", "/health")
        except NoAnswer as failure:
            facts.append({"host": host, "api": 0, "health": 0, "error": failure.seen})
            break
        facts.append({"host": host, "api": api.status, "health": health.status})
    return facts


def answers_below(base: Base, host: str, argv: list[str], timeout: float, tls: Optional[ssl.SSLContext] = None) -> Optional[str]:
    """Return the path below which the API answers in place of the expected one, nothing where it does not."""
    for path in {option(argv, "--static-prefix").rstrip("/"), ""} - {base.path}:
        response = TrackingServer(replace(base, path=path), host, timeout, tls=tls).attempt("GET", *SEARCH)
        if isinstance(response, Answer) and response.status in (200, 401):
            return path
    return None


def see_as_client(
    base: Base, names: list[str], s3_endpoint: str, timeout: float, tls: Optional[ssl.SSLContext] = None, credentials: Optional[tuple[str, str]] = None
) -> dict[str, Any]:
    """Return what a client sees: each name resolved, connected to and asked; and the S3 endpoint that the server sends clients to."""
    facts: dict[str, Any] = {"now": time.time(), "names": [], "s3": None}
    for name in names:
        place = replace(base, host=name)
        one: dict[str, Any] = {"name": name, "kind": "", "connected": True, "error": "", "api": 0}
        try:
            one["api"] = TrackingServer(place, place.host_header(name), timeout, credentials, tls).ask("GET", *SEARCH).status
        except NoAnswer as failure:
            one.update(kind=failure.kind, connected=failure.connected, error=failure.seen)
        facts["names"].append(one)
    if s3_endpoint:
        facts["s3"] = {"endpoint": Base.parse(s3_endpoint).origin, "error": ""}
        try:
            ask(Base.parse(s3_endpoint), "GET", "/", timeout=timeout, tls=tls)
        except NoAnswer as failure:
            facts["s3"]["error"] = failure.seen
    return facts
