# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find whether a server or one of its workers was killed because memory ran out, also if the server runs again.

The kernel's log names the control group of the killed process. systemd and Docker keep their own records, but only until the next start
of the server, so their messages and events of the last day are read too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.commands import Run

DAY = 24 * 3600
NEAR = 5  # seconds between a kill and the end of the container
#: Properties of a unit that show its end and its limit.
UNIT_PROPERTIES = ("Result", "NRestarts", "ExecMainCode", "ExecMainStatus", "MemoryMax")
SIGKILL = "signal 9 (SIGKILL), by force or by the kernel as memory ran out"


@dataclass(frozen=True)
class Kill:
    """A process that the kernel killed for memory: the time, in seconds since 1970, and its control group."""

    when: float
    task: str
    group: str


def kernel_kills(run: Run) -> list[Kill] | None:
    """Return the processes in the kernel's log that were killed for memory, None if the log cannot be read."""
    code, out, _err = run(["dmesg", "--time-format", "iso"])
    if code:
        return None
    found = re.findall(r"^(\S+) .*?\boom-kill:.*?\btask_memcg=([^,\s]*),task=(.*?),pid=", out, re.MULTILINE)
    return [Kill(seconds(when), task, group) for when, group, task in found]


def seconds(text: str) -> float:
    """Return a time of dmesg or of Docker in seconds since 1970, 0 if the text is not a time."""
    match = re.match(r"(\d+-\d+-\d+T\d+:\d+:\d+)(?:[.,]\d+)?(Z|[+-]\d\d:\d\d)?", text)
    try:
        return datetime.fromisoformat(match.group(1) + (match.group(2) or "Z").replace("Z", "+00:00")).timestamp() if match else 0
    except (ValueError, OverflowError):
        return 0


def megabytes(limit: Any) -> str:
    """Return a limit in words, from bytes as text or number; empty if there is no limit."""
    return f", with a limit of {int(limit) // 1024**2} MiB" if str(limit).isdigit() and 0 < int(limit) < 2**60 else ""


def told(kill: Kill, limit: str) -> str:
    """Return in words that the kernel killed a process."""
    return f"the kernel killed {kill.task} at {datetime.fromtimestamp(kill.when, timezone.utc):%Y-%m-%d %H:%M:%S} UTC{limit}"


def counted(groups: Iterable[Path]) -> int:
    """Return how many processes of these control groups the kernel killed for memory since the groups were made."""
    kills = 0
    for group in groups:
        for name in ("memory.events", "memory.oom_control"):
            try:
                match = re.search(r"^oom_kill (\d+)", (group / name).read_text(encoding="ascii"), re.MULTILINE)
            except OSError:
                continue
            kills = max(kills, int(match.group(1)) if match else 0)
    return kills


def unit_ends(messages: str) -> list[str]:
    """Return each end of a unit, from systemd's messages about it: C(oom-kill), C(killed) by signal 9, or C(other)."""
    ends: list[str] = []
    seen = ""
    for line in messages.splitlines():
        if "killed by the OOM killer" in line:
            seen = "oom-kill"
        elif re.search(r"Main process exited, code=killed, status=9/", line):
            seen = seen or "killed"
        ended = re.search(r"Failed with result '([\w-]+)'|: Deactivated successfully|: Succeeded", line)
        if ended:
            result = ended.group(1) or ""
            ends.append("oom-kill" if "oom-kill" in (seen, result) else "killed" if seen and result == "signal" else "other")
            seen = ""
    return ends


def of_unit(run: Run, name: str, unit: Mapping[str, str], runs: bool, now: float) -> str:
    """Return how a unit was killed for memory before systemd last restarted it; empty if it was not."""
    restarts = int(unit.get("NRestarts") or 0)
    starting = unit.get("ActiveState") == "activating" and unit.get("SubState") != "auto-restart"
    if (runs or starting) and not restarts:
        return ""
    _code, out, _err = run(["journalctl", "_PID=1", f"UNIT={name}", "--since", "1 day ago", "--lines", "500", "--no-pager", "--output", "cat"])
    ends = unit_ends(out)[-max(restarts, 1) :]
    limit = megabytes(unit.get("MemoryMax", ""))
    if "oom-kill" in ends or unit.get("Result") == "oom-kill":
        return f"systemd says that the kernel killed it for memory{limit}"
    if "killed" not in ends:
        return ""
    kills = kernel_kills(run)
    if kills is None:  # for example in a system container
        return f"killed by {SIGKILL}{limit}" if limit else ""
    ours = [kill for kill in kills if name in kill.group.split("/") and kill.when > now - DAY]
    return told(ours[-1], limit) if ours else ""


def of_container(run: Run, engine: str, inspected: Mapping[str, Any], runs: bool, now: float) -> str:
    """Return how the kernel killed a container for memory at its last end; empty if the container ended for another reason.

    Docker keeps its mark C(OOMKilled) in later runs that end for other reasons. If the container runs again, the time of the kill decides.
    """
    state = inspected["State"]
    limit = megabytes(inspected.get("HostConfig", {}).get("Memory") or "")
    ended = seconds(str(state.get("FinishedAt", "")))
    if not (now - ended < DAY and inspected.get("RestartCount") if runs else state.get("ExitCode") == 137):
        return ""
    ours = [kill for kill in kernel_kills(run) or [] if inspected["Id"] in kill.group and abs(kill.when - ended) < NEAR]
    if ours:
        return told(ours[-1], limit)
    events: list[str] = []
    if engine == "docker" and now - ended < DAY:  # Docker keeps the last 256 events of all containers
        filters = ["--filter", f"container={inspected['Id']}", "--filter", "event=oom", "--filter", "event=die"]
        out = run(["docker", "events", "--since", "24h", "--until", "0s", *filters, "--format", "{{.Time}} {{.Action}}"])[1]
        events = [action for when, action in re.findall(r"^(\d+) (\w+)", out, re.MULTILINE) if abs(int(when) - ended) < NEAR]
    if "oom" in events or not runs and state.get("OOMKilled") and not events:
        return f"{engine} says that the kernel killed it for memory{', and it was started again' if runs else ''}{limit}"
    return ""


def how_it_ended(unit: Mapping[str, str], state: Mapping[str, Any]) -> str:
    """Return in words how a unit or a container ended; empty if it did not end, or was stopped."""
    if state:
        code = int(state.get("ExitCode") or 0)
        return SIGKILL if code == 137 else f"exit code {code}" if code else ""
    if unit.get("Result") in ("exit-code", "signal", "core-dump"):
        status = unit.get("ExecMainStatus", "")
        signal = unit.get("ExecMainCode") != "1"
        return (
            SIGKILL
            if signal and status == "9" or status == "137"
            else f"{'signal' if signal else 'exit code'} {status}"
            if status not in ("", "0")
            else unit["Result"]
        )
    return "" if unit.get("Result") in (None, "", "success") else str(unit["Result"])
