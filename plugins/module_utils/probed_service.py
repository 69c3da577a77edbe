# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The unit or the container that a probe checks: its sockets, its log, and whether it ends again and again."""

from __future__ import annotations

import contextlib
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.atlas.mlflow.plugins.module_utils import containers, judge_sockets, sockets, units
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis import logs
from ansible_collections.atlas.mlflow.plugins.module_utils.faults import fault
from ansible_collections.atlas.mlflow.plugins.module_utils.findings import Finding
from ansible_collections.atlas.mlflow.plugins.module_utils.processes import read_argv
from ansible_collections.atlas.mlflow.plugins.module_utils.redaction import Redactor, argument_secrets, environment_secrets, text_secrets

#: Lines of a log that are searched for the last error.
LOG_LINES = "60"
#: States of a container that does not run, and will not start by itself within a moment.
ENDED = ("exited", "dead", "restarting")
#: After this many ends the wait stops, because the server would go on like this. On a busy host, workers may end a few times.
AGAIN_AND_AGAIN, WORKERS_AGAIN_AND_AGAIN = 2, 4
#: Log lines of uvicorn and gunicorn for a worker that has ended, which they then restart.
WORKER_ENDED = re.compile(r"Child process \[\d+\] died|Worker \(pid:\d+\) exited with code [1-9]")
#: Log lines of Python for a worker that ended with an exception. uvicorn notices this a minute later.
WORKER_FAILED = re.compile(r"^Process (?:SpawnProcess|Worker)-\d+:$", re.MULTILINE)
#: Seconds between two reads of the log during the wait.
LOG_EVERY = 3


def read_unit(module: AnsibleModule, name: str) -> units.Unit:
    """Return the state and the processes of a systemd unit."""
    command = ["systemctl", "show", "--property", ",".join(units.PROPERTIES), "--", name]
    code, out, err = module.run_command(command)
    if code:
        module.fail_json(msg=f"systemctl can't tell about {name}: {err.strip()}")
    return units.parse_unit(name, out)


def check_sockets(module: AnsibleModule, result: dict[str, Any], address: sockets.IPAddress, port: int) -> list[Finding]:
    """Read and judge the sockets of a unit's processes."""
    unit = read_unit(module, module.params["unit"])
    try:
        own, others = sockets.read_listeners(unit.pids, port)
    except PermissionError:
        return [Finding("listen", f"to read the sockets of {unit.name}'s processes", "permission denied", fault("sockets-unreadable"))]
    result["sockets"] = [one.as_dict(own=True) for one in own] + [other.as_dict(own=False) for other in others]
    return judge_sockets.judge(unit, own, others, address, port, main_argv(unit))


def main_argv(unit: units.Unit) -> list[str]:
    """Return the arguments of the main process of a unit or a container."""
    return read_argv(unit.pids[0]) if unit.pids else []


def engine_of(module: AnsibleModule) -> str:
    """Return the program that runs the container. A unit that runs a container is one of Podman (Quadlet)."""
    return "podman" if module.params["unit"] else "docker"


def read_container(module: AnsibleModule, name: str) -> containers.Container:
    """Return the container from the description of Docker or Podman."""
    engine = engine_of(module)
    code, out, err = module.run_command([engine, "inspect", "--type", "container", "--", name])
    if code:
        module.fail_json(msg=f"{engine.capitalize()} can't tell about the container {name}: {err.strip()}")
    return containers.parse_container(out)


def secrets_of(module: AnsibleModule, container: containers.Container) -> Redactor:
    """Return a redactor that removes the secrets in a container's command and environment from its log."""
    _code, out, _err = module.run_command(["docker", "inspect", "--type", "container", "--format", "{{json .Config}}", "--", container.name])
    try:
        config = json.loads(out)
    except ValueError:
        config = {}
    variables = dict(word.partition("=")[::2] for word in config.get("Env") or [])
    words = [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]
    return Redactor(argument_secrets(words) | text_secrets(" ".join(words)) | environment_secrets(variables), public=[container.name])


def check_container(module: AnsibleModule, result: dict[str, Any], address: sockets.IPAddress, port: int, end: str) -> list[Finding]:
    """Read and judge a container's published port and the sockets of its processes.

    :param end: The state that stopped the wait for the server's answer. Docker may have restarted the container since.
    """
    container = read_container(module, module.params["container"])
    container = replace(container, state=end or container.state)
    unit = container.unit()
    if module.params["unit"]:
        unit = replace(unit, log=f"journalctl -u {module.params['unit']}")
    inside, _others = sockets.read_listeners(unit.pids, port)
    _own, on_host = sockets.read_listeners((), port)
    result["sockets"] = [one.as_dict(own=True) for one in inside] + [other.as_dict(own=other.process in containers.PUBLISHERS) for other in on_host]
    if not container.runs:
        # What a container of Podman writes is in the journal of its unit.
        of_unit = module.params["unit"]
        return [unit_end(module, of_unit, container.state) if of_unit else container_end(module, container, "container", container.state)]
    return judge_sockets.judge_container(container, unit, inside, on_host, address, port, main_argv(unit))


def container_end(module: AnsibleModule, container: containers.Container, check: str, state: str) -> Finding:
    """Return the finding for a container that does not run."""
    _code, out, err = module.run_command(["docker", "logs", "--tail", LOG_LINES, "--", container.name])
    return end_finding(check, f"container {container.name}", state, f"{out}\n{err}", f"docker logs {container.name}", secrets_of(module, container))


def unit_end(module: AnsibleModule, name: str, state: str) -> Finding:
    """Return the finding for a unit that does not run."""
    _code, out, _err = module.run_command(["journalctl", "--unit", name, "--lines", LOG_LINES, "--no-pager", "--output", "cat"])
    return end_finding("service", name, state, out, f"journalctl -u {name}", unit_secrets(module, name))


def end_finding(check: str, name: str, state: str, log: str, command: str, redactor: Redactor) -> Finding:
    """Return the finding for a server that does not run, with the last error in its log.

    :param log: The end of the log.
    :param command: A command that shows the whole log.
    """
    words = logs.last_words(log)
    said = f"; its log ends with: {redactor.text(words)}" if words else ""
    known = logs.log_fault(words)
    return Finding(check, f"{name} runs", state + said, fault(known["fault"]) if known else fault("server-not-running", log=command))


def unit_secrets(module: AnsibleModule, name: str) -> Redactor:
    """Return a redactor that removes the secrets of a unit's environment from its journal."""
    _code, out, _err = module.run_command(["systemctl", "show", "--property", "EnvironmentFiles", "--value", "--", name])
    variables: dict[str, str] = {}
    for path in re.findall(r"/\S+", out):
        with contextlib.suppress(OSError):
            variables.update(units.parse_environment_file(Path(path).read_text(encoding="utf-8")))
    return Redactor(environment_secrets(variables), public=[name])


class Watch:
    """Watches the unit or the container during the wait, and decides when the wait is useless."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.begin = time.monotonic()
        self.since = f"{time.time():.0f}"
        self.looked = self.begin
        self.first: int | None = None
        #: Why the wait ended: the state, or how often the server ended.
        self.end = ""

    def gone(self) -> bool:
        """Return whether the server was given up, or ends again and again."""
        params = self.module.params
        if params["unit"]:
            unit = read_unit(self.module, params["unit"])
            self.end = unit.state if unit.state.startswith("failed") else self._again(unit.ends, unit.state == units.WAITS_FOR_RESTART)
        elif params["container"]:
            container = read_container(self.module, params["container"])
            self.end = container.state if container.state in ENDED else self._again(container.restarts, False)
        self.end = self.end or self._workers_again()
        return bool(self.end)

    def _log(self) -> str:
        """Return the server's log during the wait."""
        params = self.module.params
        command = (
            ["docker", "logs", "--since", self.since, "--", params["container"]]
            if params["container"] and not params["unit"]
            else ["journalctl", "--unit", params["unit"], "--since", f"@{self.since}", "--no-pager", "--output", "cat"]
        )
        _code, out, err = self.module.run_command(command)
        return f"{out}\n{err}"

    def _workers_again(self) -> str:
        """Return in words how often workers ended. The process that started them continues, and starts new workers."""
        params = self.module.params
        if not (params["unit"] or params["container"]) or time.monotonic() - self.looked < LOG_EVERY:
            return ""
        self.looked = time.monotonic()
        log = self._log()
        ends, failures = len(WORKER_ENDED.findall(log)), len(WORKER_FAILED.findall(log))
        if failures < AGAIN_AND_AGAIN and ends < WORKERS_AGAIN_AND_AGAIN:
            return ""
        return f"its workers ended {max(ends, failures)} times, {self.looked - self.begin:.0f} seconds after the first question"

    def _again(self, ends: int, down: bool) -> str:
        """Return in words how often the server ended, if it ended often and recently. Ends of long ago do not count."""
        self.first = ends if self.first is None else self.first
        lately = down or ends > self.first
        return f"ended {ends} times, {time.monotonic() - self.begin:.0f} seconds after the first question" if ends >= AGAIN_AND_AGAIN and lately else ""

    def finding(self) -> Finding:
        """Return the finding for a unit or a container that ends again and again."""
        params = self.module.params
        if params["container"] and not params["unit"]:
            return container_end(self.module, read_container(self.module, params["container"]), "service", self.end)
        return unit_end(self.module, params["unit"], self.end)
