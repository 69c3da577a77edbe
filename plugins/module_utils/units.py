# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A unit of systemd: its state, its processes, and its environment files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.atlas.mlflow.plugins.module_utils.processes import CGROUP_ROOTS, PROC, descendants, group_pids, main_first

PROPERTIES = ("LoadState", "ActiveState", "SubState", "MainPID", "ControlGroup", "NRestarts")
WAITS_FOR_RESTART = "activating/auto-restart"  # states of a unit that has ended and that systemd will restart soon


@dataclass(frozen=True)
class Unit:
    """The state and processes of a systemd unit or of a container, the main process first. C(log) is the command that shows its log.

    C(restarts) counts how often the service manager has restarted it since an operator started it.
    """

    name: str
    state: str
    pids: tuple[int, ...]
    log: str = ""
    restarts: int = 0

    @property
    def ends(self) -> int:
        """Return how often the service ended by itself since an operator started it."""
        return self.restarts + (self.state == WAITS_FOR_RESTART)


def parse_unit(name: str, output: str, proc: Path = PROC, cgroup_roots: Iterable[Path] = CGROUP_ROOTS) -> Unit:
    """Return the unit from the output of C(systemctl show), with the processes of its control group.

    If the group cannot be read, use the main process and its descendants.
    """
    values: dict[str, str] = dict(line.partition("=")[::2] for line in output.splitlines())
    main = int(values.get("MainPID") or 0)
    state = "/".join(values.get(key, "") for key in ("ActiveState", "SubState"))
    if values.get("LoadState") == "not-found":
        state = "not found"
    pids = group_pids(values.get("ControlGroup", ""), cgroup_roots) or (descendants(main, proc) if main else set())
    return Unit(name, state, main_first(pids, main), f"journalctl -u {name}", int(values.get("NRestarts") or 0))


def parse_environment_file(text: str) -> dict[str, str]:
    """Return the variables in a file for systemd's C(EnvironmentFile=) (systemd.exec(5))."""
    variables = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith(("#", ";")):
            if value[:1] == value[-1:] == '"' and len(value) > 1:
                value = re.sub(r'\\(["\\$`])', r"\1", value[1:-1])
            variables[name] = value.strip("'") if value[:1] == "'" else value
    return variables
