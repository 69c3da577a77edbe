# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find a tracking server on this host, however it was set up: as a unit, as a container, or as a process that was started by hand."""

from __future__ import annotations

import json
import os
import pwd
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils import containers, redaction, units
from ansible_collections.atlas.mlflow.plugins.module_utils.commands import Run
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis import memory, search
from ansible_collections.atlas.mlflow.plugins.module_utils.processes import (
    PROC,
    all_pids,
    control_groups,
    descendants,
    describe,
    main_first,
    parent_of,
    read_argv,
    read_environment,
)

UNIT_PROPERTIES = (
    *units.PROPERTIES,
    *("ControlPID", "ExecStart", "EnvironmentFiles", "Environment", "FragmentPath", "DropInPaths", "NeedDaemonReload", "User", "InvocationID", "UnitFileState"),
    *memory.UNIT_PROPERTIES,
)


def is_server(argv: list[str]) -> bool:
    """Return whether arguments are those of a tracking server: C(mlflow server), or a web server with MLflow's application."""
    if (
        any(word.startswith(("atlas_mlflow.start", "/sbin/docker-init", "/run/podman-init")) for word in argv)
        or argv[:1]
        and argv[0].rpartition("/")[2] in search.ENGINES
    ):
        return False
    commands = [index for index, word in enumerate(argv[:4]) if word.rpartition("/")[2] == "mlflow"]
    return any(argv[index + 1 : index + 2] in (["server"], ["ui"]) for index in commands) or any(
        word.startswith("mlflow.server") or word == "atlas_mlflow.serve" for word in argv[1:]
    )


def podman_of(uid: int) -> list[str]:
    """Return the command of Podman that lists a user's containers. Only this user can see them."""
    if not uid:
        return ["podman"]
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return ["podman"]
    become = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups"]
    return [*become, "env", "--chdir=/", f"HOME={user.pw_dir}", f"XDG_RUNTIME_DIR=/run/user/{user.pw_uid}", "podman"]


class Finder:
    """Search for the server; C(facts) has the result."""

    def __init__(self, run: Run, wanted: Mapping[str, Any], proc: Path = PROC, redactor: redaction.Redactor | None = None) -> None:
        self.run, self.wanted, self.proc = run, wanted, proc
        self.facts: dict[str, Any] = {"kind": "", "name": "", "state": "", "now": time.time()}
        self.pids: list[int] = []
        self.pid = 0
        self.inspected: dict[str, Any] = {}
        self.unit: dict[str, str] = {}
        self.container: containers.Container | None = None
        self.engine = ["docker"]
        #: The unit that runs the container, and how often systemd has restarted it.
        self.starter = ("", 0)
        #: Whether a server that runs is preferred to the unit: the unit was disabled and stopped, or runs its server in a container that it does not name.
        self.stands_behind = False
        self.redactor = redactor or redaction.Redactor()
        self.argv: list[str] = []
        self.configured = ""

    # -- which server it is
    def find(self) -> None:
        """Find the server: the unit or container with the given name, any process of a server, or a unit or container that would start a server.

        A server that runs is preferred to a unit that was disabled and stopped. If a unit runs its server in a container, the result is the
        container.
        """
        unit, container = self._unit(self.wanted["unit"]), self._container(self.wanted["container"])
        stands_behind = False
        for take in (unit, container):
            self._forget()
            if take and take():
                return
            stands_behind = stands_behind or self.stands_behind
        live = next((pid for pid in all_pids(self.proc) if is_server(read_argv(pid, self.proc))), 0)
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
        """Delete the facts of another candidate."""
        self.unit, self.inspected, self.container, self.starter, self.stands_behind = {}, {}, None, ("", 0), False

    def _find_by_command(self) -> None:
        """Find a unit or a container that would start a server and does not run."""
        for take in (self._unit(name) for name in search.units(self.run)):
            if take:
                take()
                return
        # Each user has their own containers of Podman, which root's Podman does not list.
        for engine in [*([engine] for engine in search.ENGINES), *(podman_of(uid) for uid in search.podman_users())]:
            for identity in search.stopped_containers(self.run, engine, self.wanted["port"]):
                take = self._container_by(engine, identity)
                if take:
                    take()
                    return

    def _name_of(self, pid: int) -> str:
        """Return the unit or container of another server's process, in words."""
        engine, identity = self._container_of(pid)
        if identity:
            name = self.run([*engine, "inspect", "--type", "container", "--format", "{{.Name}}", identity])[1].strip().lstrip("/")
            return f"container {name or identity[:12]}, pid {pid}"
        return f"pid {pid}, {describe(pid, self.proc)[1] or 'started by hand'}"

    def _container_of(self, pid: int) -> tuple[list[str], str]:
        """Return the engine's command and the identity of the container of a process; the identity is empty if there is no container."""
        groups = "\n".join(control_groups(pid, self.proc))
        # A unit of Quadlet splits its group, and the container's part is named payload. A container that this host itself runs in does not count.
        here = "\n".join(control_groups(os.getpid(), self.proc))
        found = [one for one in re.findall(r"(docker|libpod(?:-payload)?)[-/]([0-9a-f]{64})", groups) if one[1] not in here]
        if not found:
            return self._container_of_monitor(pid)
        owner = re.search(r"/user-(\d+)\.slice/", groups)
        if found[-1][0] == "docker":
            return ["docker"], found[-1][1]
        return podman_of(int(owner.group(1)) if owner else 0), found[-1][1]

    def _container_of_monitor(self, pid: int) -> tuple[list[str], str]:
        """Return engine and identity of a container without its own control group, from the arguments of Podman's monitor, which started it."""
        try:
            while pid > 1:
                identity = search.monitored(read_argv(pid, self.proc))
                if identity:
                    return podman_of(os.stat(self.proc / str(pid)).st_uid), identity
                pid = parent_of(pid, self.proc)
        except OSError:
            pass  # the process has ended
        return [], ""

    def _container_of_unit(self, pids: Iterable[int], command: str) -> Callable[[], bool] | None:
        """Return a function that selects the container in which a unit runs its server; None if the unit runs it itself, or the container is gone."""
        for pid in pids:
            argv = read_argv(pid, self.proc)
            engine, identity = self._container_of(pid) if is_server(argv) or search.monitored(argv) else ([], "")
            take = self._container_by(engine, identity) if identity else None
            if take:
                return take
        called, name = search.named_container(command)
        return self._container_by([called], name) if name else None

    def _unit(self, name: str) -> Callable[[], bool] | None:
        code, out, _err = self.run(["systemctl", "show", "--property", ",".join(UNIT_PROPERTIES), "--", name])
        values: dict[str, str] = {}
        for line in out.splitlines():  # one line for each environment file of a unit
            key, _equals, value = line.partition("=")
            values[key] = f"{values[key]} {value}" if key in values else value
        if code or values.get("LoadState") != "loaded":
            return None

        def take() -> bool:
            unit = units.parse_unit(name, out, self.proc)
            pids = list(unit.pids)
            control = int(values.get("ControlPID") or 0)
            self.unit = values
            # An argument may have a line break, which systemctl prints unchanged, so a single line could be incomplete.
            match = re.search(r"^ExecStart=\{.*?argv\[\]=(.*?) ; ignore_errors", out, re.DOTALL | re.MULTILINE)
            command = match.group(1) if match else ""
            self.stands_behind = values.get("ActiveState") == "inactive" and values.get("UnitFileState") == "disabled"
            contained = self._container_of_unit(pids, command)
            if contained:
                self.unit, self.starter = {}, (name, int(values.get("NRestarts") or 0))
                return contained()
            self._take("unit", name, unit.state, pids or ([control] if control else []), command)
            hidden = bool(pids) and not self.pid and search.calls_engine(command)  # only the client of an engine runs
            self.stands_behind = self.stands_behind or hidden
            return bool(pids) and not hidden

        return take

    def _container(self, name: str) -> Callable[[], bool] | None:
        for engine in search.ENGINES:
            take = self._container_by([engine], name)
            if take:
                return take
        return None

    def _container_by(self, engine: list[str], name: str) -> Callable[[], bool] | None:
        code, out, _err = self.run([*engine, "inspect", "--type", "container", "--", name])
        if code:
            return None

        def take() -> bool:
            self.engine = engine
            self.inspected = json.loads(out)[0]
            shared, _colon, other = self.inspected.get("HostConfig", {}).get("NetworkMode", "").partition(":")
            if shared == "container":  # as in a pod: addresses and published ports belong to another container
                code, shown, _err = self.run([*engine, "inspect", "--type", "container", "--", other])
                self.inspected["NetworkSettings"] = self.inspected["NetworkSettings"] if code else json.loads(shown)[0]["NetworkSettings"]
            self.container = container = containers.parse_container(json.dumps([self.inspected]))
            config = self.inspected["Config"]
            self._learn(
                [*search.words(config.get("Entrypoint")), *search.words(config.get("Cmd"))], dict(word.partition("=")[::2] for word in config.get("Env") or [])
            )
            self._take("container", container.name, container.state, list(container.unit(self.proc).pids), search.command_of(self.inspected))
            return container.runs

        return take

    def _take_process(self, pid: int) -> None:
        engine, identity = self._container_of(pid)
        take = self._container_by(engine, identity) if identity else None
        if take and take():
            return
        group = describe(pid, self.proc)[1]
        take = self._unit(group) if group.endswith(".service") else None
        # A server that another service (such as cron) started does not belong to that service.
        if take and take() and (self.pids[0] == pid or search.starts_server(self.configured)):
            return
        self._forget()
        parent = parent_of(pid, self.proc)
        configured = " ".join([*read_argv(parent, self.proc), *read_argv(pid, self.proc)]) if parent > 1 else ""
        self._take("process", str(pid), "running", list(main_first(descendants(pid, self.proc), pid)), configured)

    def _take(self, kind: str, name: str, state: str, pids: list[int], configured: str) -> None:
        self.pids = pids
        servers = [pid for pid in pids if is_server(read_argv(pid, self.proc))]
        # A program that starts the server in an environment (such as `uv run`) has the same words in its arguments.
        self.pid = next((pid for pid in servers if re.search(r"(^|/)python[^/]*$", read_argv(pid, self.proc)[0])), servers[0] if servers else 0)
        self.argv = read_argv(self.pid, self.proc) if self.pid else []
        self.configured = configured
        self.redactor.publish([name])
        self.redactor.learn(redaction.text_secrets(configured))
        self._learn(self.argv, read_environment(self.pid, self.proc) if self.pid else {})
        self.facts.update(kind=kind, name=name, state=state, configured=self.redactor.text(configured))
        self.facts["log"] = {"unit": f"journalctl -u {name}", "container": f"{self.engine[-1]} logs {name}"}.get(kind, "")
        # An answer that needs a login is not shown.
        self.facts["configured_options"] = [option for option in ("--host", "--port") if option in configured]
        self.facts["pid"] = self.pid or (pids[0] if pids else 0)

    def _learn(self, argv: list[str], environment: Mapping[str, str]) -> None:
        """Learn the secrets of a process, so that they are not shown."""
        self.redactor.learn(redaction.argument_secrets(argv) | redaction.environment_secrets(environment))
