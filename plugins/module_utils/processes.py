# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read processes from C(/proc): their arguments, environment, family, control groups and start (proc(5))."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")
CGROUP_ROOTS = tuple(Path("/sys/fs/cgroup", name) for name in ("", "systemd", "unified"))


def all_pids(proc: Path = PROC) -> list[int]:
    """Return all visible processes, in order."""
    return sorted(int(path.name) for path in proc.glob("[0-9]*"))


def read_argv(pid: int, proc: Path = PROC) -> list[str]:
    """Return a process's arguments, empty if the process is gone."""
    try:
        return [word.decode(errors="replace") for word in (proc / str(pid) / "cmdline").read_bytes().split(b"\0")[:-1]]
    except OSError:
        return []


def read_environment(pid: int, proc: Path = PROC) -> dict[str, str]:
    """Return the initial environment of a process (proc_pid_environ(5))."""
    try:
        pairs = (proc / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    return dict(pair.decode(errors="replace").partition("=")[::2] for pair in pairs if b"=" in pair)


def stat_fields(pid: int, proc: Path = PROC) -> list[str]:
    """Return a process's fields from its state on, the third and later ones of proc_pid_stat(5); OSError if the process is gone."""
    # The name before these fields is in parentheses and may have any characters: count from the last parenthesis.
    return (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def seconds_after_boot(pid: int, proc: Path = PROC) -> float:
    """Return the seconds from the host's boot to the start of a process (proc_pid_stat(5), field 22); OSError if the process is gone."""
    return int(stat_fields(pid, proc)[19]) / os.sysconf("SC_CLK_TCK")


def started_at(pid: int, proc: Path = PROC) -> float:
    """Return the start of a process in seconds since 1970, by the kernel's boot time (proc_stat(5), btime). The process may see another clock."""
    boot = re.search(r"^btime (\d+)", (proc / "stat").read_text(encoding="ascii"), re.MULTILINE)
    return (int(boot.group(1)) if boot else 0) + seconds_after_boot(pid, proc)


def parent_of(pid: int, proc: Path = PROC) -> int:
    """Return the parent of a process; OSError if the process is gone."""
    return int(stat_fields(pid, proc)[1])


def descendants(main: int, proc: Path = PROC) -> set[int]:
    """Return a process and all its descendants that are still connected to it by their parents."""
    parents: dict[int, int] = {}
    for stat in proc.glob("[0-9]*/stat"):
        pid = int(stat.parent.name)
        try:
            parents[pid] = parent_of(pid, proc)
        except OSError:
            continue
    family = {main} & parents.keys()
    grown = True
    while grown:
        children = {pid for pid, parent in parents.items() if parent in family} - family
        family |= children
        grown = bool(children)
    return family


def main_first(pids: Iterable[int], main: int) -> tuple[int, ...]:
    """Return processes in order, the main one first."""
    return tuple(sorted(pids, key=lambda pid: (pid != main, pid)))


def group_pids(group: str, roots: Iterable[Path]) -> set[int]:
    """Return the processes of a control group and its subgroups; empty for the root group."""
    pids: set[int] = set()
    if not group.strip("/"):
        return pids
    for root in roots:
        for procs in Path(root, group.lstrip("/")).rglob("cgroup.procs"):
            try:
                pids.update(int(pid) for pid in procs.read_text(encoding="ascii").split())
            except OSError:
                continue  # the group is gone, or is threaded
    return pids - {0}  # 0 stands for a process of another PID namespace


def control_groups(pid: int, proc: Path = PROC) -> list[str]:
    """Return the paths of a process's control groups that distinguish units and containers; empty if they cannot be read (cgroups(7))."""
    try:
        lines = (proc / str(pid) / "cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line.split(":", 2)[2] for line in lines if re.match(r"0::|\d+:name=systemd:", line)]


def describe(pid: int, proc: Path = PROC) -> tuple[str, str]:
    """Return a process's name and its unit, or else the last part of its control group; empty if they cannot be read.

    A unit that Quadlet makes has subgroups for its container and for Podman's monitor.
    """

    def text(name: str) -> str:
        try:
            return (proc / str(pid) / name).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""

    def owner(group: str) -> str:
        parts = group.rstrip("/").split("/")
        return next((part for part in reversed(parts) if part.endswith((".service", ".scope"))), parts[-1])

    return text("comm"), max((owner(group) for group in control_groups(pid, proc)), key=len, default="")
