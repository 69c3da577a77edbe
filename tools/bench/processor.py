"""The processor time of units on hosts, and of this machine.

The hosts are containers of this machine, so that their processes are in its /proc. Nothing runs on a host for it, and no accounting must be turned on there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")
#: Fields of /proc/PID/stat behind the name of the process: the time in user and in kernel mode, its own, and that of its children that ended.
TIMES = slice(11, 15)

#: For each part of a stack its units, each as the ID of its container and the beginning of the unit's name.
Parts = Mapping[str, Sequence[Sequence[str]]]


def belongs(groups: str, container: str, unit: str) -> bool:
    """Return whether a process is one of a unit.

    :param groups: The contents of its /proc/PID/cgroup.
    """
    return any(container in line and any(folder.startswith(unit) for folder in line.split("/")) for line in groups.splitlines())


def seconds(stat: str) -> float:
    """Return the processor time of a process and of its children that ended, from its /proc/PID/stat."""
    return sum(int(ticks) for ticks in stat.rpartition(")")[2].split()[TIMES]) / TICKS


def of_parts(parts: Parts, proc: Path = PROC) -> dict[str, float]:
    """Return the seconds of processor time that the present processes of each part have used until now."""
    used = dict.fromkeys(parts, 0.0)
    for process in proc.glob("[0-9]*"):
        try:
            groups = (process / "cgroup").read_text()
            for part, units in parts.items():
                if any(belongs(groups, container, unit) for container, unit in units):
                    used[part] += seconds((process / "stat").read_text())
        except OSError:
            continue  # it has ended
    return used


def idle(proc: Path = PROC) -> float:
    """Return the seconds that all cores of this machine together were idle until now."""
    total = (proc / "stat").read_text().splitlines()[0].split()
    return sum(int(ticks) for ticks in total[4:6]) / TICKS
