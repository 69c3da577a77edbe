# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the configuration and the environment of a tracking server on its own host. This module only reads, and returns no secrets."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils import containers, sockets, uris
from ansible_collections.atlas.mlflow.plugins.module_utils.arguments import option
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis import artifact_root, find, logs, memory, search, stores
from ansible_collections.atlas.mlflow.plugins.module_utils.processes import control_groups, read_environment, started_at
from ansible_collections.atlas.mlflow.plugins.module_utils.units import parse_environment_file

IGNORED_BY_MLFLOW = ("GUNICORN_CMD_ARGS", "PORT", "HOST")
#: A small program that reads its code from its input, so that neither the code nor the settings are in an argument.
BOOT = (
    "import sys, json; given = json.loads(sys.stdin.readline()); "
    "sys.stdin = __import__('io').StringIO(json.dumps(given['input'])); exec(given['program'], {'__name__': '__main__'})"
)
STORES_TIMEOUT = 12  # seconds for both stores together
PROXIES = (containers.PROXY, "conmon", "rootlessport", "slirp4netns", "pasta", "pasta.avx2", "exe")  # exe is Podman's name for rootlessport
MEMORY_ROOTS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory"))
DATA_FOLDERS = ("/", "/tmp", "/var/lib/mlflow", "/var/lib/postgresql", "/var/lib/pgsql", "/var/lib/minio", "/var/lib/docker", "/var/lib/containers")


def newer_files(paths: list[str], since: float) -> list[str]:
    """Return the files that were written after a time. A difference of two seconds is ignored: the kernel's boot time is not more exact."""
    newer = []
    for path in paths:
        try:
            if os.path.isfile(path) and os.stat(path).st_mtime > since + 2:
                newer.append(path)
        except OSError:
            continue
    return newer


def find_python(argv: list[str], configured: str, environment: Mapping[str, str] | None = None, root: str = "") -> str:
    """Return the Python of a server, empty if it is not known.

    This is the Python that started the server, the one next to a command of its environment, or the one on its search path. C(uv run) and
    similar programs set the search path.

    :param root: Path on the host of the files of the server's container.
    """
    if argv and re.match(r"/.*/python[0-9.]*$", argv[0]):
        return argv[0]
    folders = re.findall(r"(/[^\s\"']*)/(?:mlflow|gunicorn|uvicorn|python[0-9.]*)(?=[\s\"']|$)", " ".join([*argv, configured]))
    pythons = [f"{folder}/python" for folder in folders]
    if argv and re.fullmatch(r"python[0-9.]*", argv[0]):
        pythons += [f"{folder}/{argv[0]}" for folder in (environment or {}).get("PATH", "").split(":") if folder.startswith("/")]
    # A link in the container is relative to the container's files.
    return next((python for python in pythons if os.path.lexists(root + python)), "")


class Server(find.Finder):
    """The server that was found, with the facts about it."""

    def _learn_users_store(self, environment: Mapping[str, str]) -> None:
        """Learn the secrets in the file that configures the store of users. If the server runs in a container, read the file there."""
        path = environment.get("MLFLOW_AUTH_CONFIG_PATH", "")
        try:
            text = (self.proc / str(self.pid) / "root" / path.lstrip("/")).read_text(encoding="utf-8") if path else ""
        except (OSError, ValueError):
            return
        for line in text.splitlines():
            name, equals, value = line.partition("=")
            if equals:
                self._learn([], {name.strip(): value.strip()})

    # -- the configuration of the server
    def read(self) -> dict[str, Any]:
        """Read all facts of the server that was found, and return them."""
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
            self._read_sockets()  # the server may have opened its port while its stores were asked
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
        self.facts["host_listeners"] = [other.as_dict(own=other.process in PROXIES and (other.address, other.port) in mine) for other in others]

    def _read_stale(self) -> None:
        if not self.pid:
            return
        paths = [mount["Source"] for mount in self.inspected.get("Mounts", []) if mount["Type"] == "bind"]
        if self.facts["kind"] == "unit":
            paths = [self.unit.get("FragmentPath", ""), *self.unit.get("DropInPaths", "").split(), *self._environment_files()]
        stale = newer_files(paths, started_at(self.pid, self.proc))
        self.facts["stale"] = stale + (["the unit, which systemd has not read again"] if self.unit.get("NeedDaemonReload") == "yes" and not stale else [])

    def _environment_files(self) -> list[str]:
        """Return the environment files of the unit."""
        return re.findall(r"(/\S+)", self.unit.get("EnvironmentFiles", ""))

    # -- what the server sees
    def _settings(self, environment: dict[str, str]) -> dict[str, str]:
        """Return the server's environment. If the process is not the server yet, return the environment that the server will get."""
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

    def _ask_stores(self, environment: dict[str, str]) -> dict[str, Any] | None:
        """Return the answers of the stores to the server's own Python, None if that Python cannot run."""
        # A server that has ended has no arguments: use those of its configuration.
        argv = self.argv or [word.strip("\"'") for word in self.configured.split()]
        settings = self._settings(environment)
        root = artifact_root.artifact_root(option(argv, "--default-artifact-root"), argv, settings)
        self.facts["artifact_root"] = root
        destination = option(argv, "--artifacts-destination") or settings.get("MLFLOW_ARTIFACTS_DESTINATION", "")
        if root["kind"] == "s3" and not stores.s3_target({}, destination):
            destination = root["where"]
        given = option(argv, "--backend-store-uri")
        uri = given or settings.get("MLFLOW_BACKEND_STORE_URI", "")
        self.facts["not_encoded"] = uris.not_encoded(uri)
        python = self._python(argv, environment)
        if not python:
            return None
        # Ansible runs this code from a zip file, and the loader has the text. On the control node, Ansible's loader returns the text as bytes.
        source = stores.__loader__.get_source(stores.__name__)  # type: ignore[union-attr]
        program = source.decode() if isinstance(source, bytes) else source
        text = json.dumps({"program": program, "input": {"environment": settings, "uri": given, "destination": destination}}) + "\n"
        plain = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": "/tmp"}
        limits: dict[str, Any] = {"timeout": STORES_TIMEOUT, "cwd": "/", "env": plain, **self._user()}
        try:
            # Run as the server's user. run_command of a module cannot do this.
            command = [*python, "-c", BOOT]
            done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, **limits)  # pylint: disable=ansible-bad-function
            return self._placed(json.loads(done.stdout.splitlines()[-1]), uri, exact=bool(self.argv) or not given)
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            return None  # the server's Python cannot run: the log shows why

    def _python(self, argv: list[str], environment: Mapping[str, str]) -> list[str]:
        """Return the command of the server's own Python, empty if there is none. Another Python has other drivers, and would show faults that do not exist."""
        if self.facts["kind"] == "container":
            if not self.pids:
                return []
            files = str(self.proc / str(self.pid or self.pids[0]) / "root")
            return [*self.engine, "exec", "--interactive", self.facts["name"], find_python(argv, "", environment, files) or "python3"]
        if not self._has_our_files() or search.calls_engine(self.configured):
            return []
        python = find_python(argv, self.configured, environment)
        return [python] if python else []

    def _user(self) -> dict[str, Any]:
        """Return the user and groups of the server in the form of C(subprocess); empty in a container, where the engine sets them, or without a process."""
        if self.facts["kind"] == "container" or not self.pids or os.geteuid() != 0:
            return {}
        status = os.stat(self.proc / str(self.pids[0]))
        return {"user": status.st_uid, "group": status.st_gid, "extra_groups": []}

    def _has_our_files(self) -> bool:
        """Return whether the server sees the files of this host, and not those of a container of an unknown engine."""
        try:
            return not self.pids or os.path.samefile(self.proc / str(self.pids[0]) / "root", "/")
        except OSError:
            return True

    def _placed(self, asked: dict[str, Any], uri: str, exact: bool) -> dict[str, Any]:
        """Return the answers of the stores, with their locations.

        C(exact) means that the URI is a whole argument or setting. A word of a command line may be only a part of a URI, and its host a part of a password.
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
        """Note stores whose names are those of containers on networks that the server is not on, or of stopped containers."""
        if self.facts["kind"] != "container":
            return
        asked = self.facts.get("stores") or {}
        mine = set(self.inspected["NetworkSettings"].get("Networks") or ())  # None for a user's own container of Podman
        s3 = asked.get("s3") or {}
        names = {host for host in ((asked.get("database") or {}).get("host"), s3.get("host")) if host}
        _code, listed, _err = self.run([*self.engine, "ps", "--all", "--format", "{{.Names}}\t{{.Status}}\t{{.Networks}}"])
        # The status has the same words in Docker and in every Podman. The state of Podman 4 uses another word.
        others = {name: (status, set(networks.split(","))) for name, status, networks in (line.split("\t") for line in listed.splitlines())}
        self.redactor.publish(others)
        # Docker does not resolve the name of a stopped container.
        self.facts["stopped"] = sorted(name for name in names if name in others and not others[name][0].startswith("Up"))
        self.facts["elsewhere"] = {name: sorted(others[name][1]) for name in names if name in others and not others[name][1] & mine}

    def _read_log(self) -> None:
        """Note the last error in the server's log if the server does not run, or if it was restarted and does not listen yet."""
        if self.facts["kind"] == "container":
            state = self.inspected["State"]
            result, restarts = str(state.get("ExitCode", "")), int(self.inspected.get("RestartCount") or 0) + self.starter[1]
        else:
            result, restarts = self.unit.get("Result", ""), int(self.unit.get("NRestarts") or 0)
            if result == "exit-code" and self.unit.get("ExecMainStatus") in ("137", "143"):
                result = "signal"  # an engine's client or monitor ends with the exit code of the process in the container
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
        """Return the end of the log since the server's last start. Older errors may be fixed already.

        :param earlier: Whether to read the log before that start as well.
        """
        if self.facts["kind"] == "container":
            state = self.inspected["State"]
            since = [] if earlier or state["StartedAt"].startswith("0001") else ["--since", state["StartedAt"]]
            code, out, err = self.run([*self.engine, "logs", "--tail", "60", *since, self.facts["name"]])
            # A unit may recreate its container at each start: the log of the earlier container is in the unit's journal.
            before = (
                self.run(["journalctl", "--unit", self.starter[0], "--lines", "60", "--no-pager", "--output", "cat"])[1] if earlier and self.starter[1] else ""
            )
            return before + "\n" + ("" if code else f"{out}\n{err}\n") + str(state.get("Error", ""))
        invocation = self.unit.get("InvocationID")
        # The output of the unit's processes, and systemd's messages about the unit: why it could not start.
        which = [f"_SYSTEMD_INVOCATION_ID={invocation}", "+", f"INVOCATION_ID={invocation}"] if invocation and not earlier else ["--unit", self.facts["name"]]
        return self.run(["journalctl", *which, "--lines", "60", "--no-pager", "--output", "cat"])[1] if self.facts["kind"] == "unit" else ""

    def _killed(self) -> str:
        """Return how the server or a worker was killed because memory ran out, empty if this did not happen."""
        runs, now = bool(self.pid), self.facts["now"]
        groups = [self.unit.get("ControlGroup", ""), *control_groups(self.pid, self.proc)] if runs and self.facts["kind"] != "process" else []
        kills = memory.counted(Path(root, group.lstrip("/")) for root in MEMORY_ROOTS for group in groups if group.strip("/"))
        if kills:
            return f"the kernel killed {kills} of its processes since its start"
        if self.facts["kind"] == "container":
            return memory.of_container(self.run, self.engine[-1], self.inspected, runs, now)
        return memory.of_unit(self.run, self.facts["name"], self.unit, runs, now) if self.facts["kind"] == "unit" else ""

    def _disks(self) -> list[dict[str, Any]]:
        paths = [
            *DATA_FOLDERS,
            *self.wanted.get("folders", ()),
            *(mount["Source"] for mount in self.inspected.get("Mounts", []) if os.path.isdir(mount["Source"])),
        ]
        disks: dict[tuple[int, int], dict[str, Any]] = {}
        for path in paths:
            try:
                device, room = os.stat(path).st_dev, os.statvfs(path)
            except OSError:
                continue
            # An image that is mounted to be read, such as the root of a host that is updated as a whole, never has room.
            if room.f_blocks and not room.f_flag & os.ST_RDONLY:
                inodes = room.f_favail if room.f_files else 1
                disks.setdefault(
                    (device, room.f_blocks), {"path": path, "free": room.f_bavail * room.f_frsize, "size": room.f_blocks * room.f_frsize, "inodes": inodes}
                )
        return list(disks.values())

    def _firewall(self) -> list[str]:
        """Return the rules that drop or reject connections to the port, as far as the firewall's own tools list them."""
        text = "".join(self.run(command)[1] for command in (["nft", "list", "ruleset"], ["iptables-save"]))
        rule = re.compile(rf"^.*(?:dport|dports)\s[^\n]*\b{self.wanted['port']}\b[^\n]*\b(?:drop|reject|DROP|REJECT)\b.*$", re.MULTILINE)
        return [" ".join(line.split()) for line in rule.findall(text)]
