# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container of Docker, from the output of C(docker inspect): its processes and its published ports."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.processes import CGROUP_ROOTS, PROC, control_groups, descendants, group_pids, main_first
from ansible_collections.atlas.mlflow.plugins.module_utils.sockets import IPAddress
from ansible_collections.atlas.mlflow.plugins.module_utils.units import Unit

#: The beginning of the labels that the roles give to their containers.
OWN_LABEL = "atlas.mlflow."
PROXY = "docker-proxy"  # Docker's process for a published port on the host
#: The processes that hold a published port on the host: those of Docker and of root's Podman.
PUBLISHERS = (PROXY, "conmon")


@dataclass(frozen=True)
class Container:
    """The state and the main process of a container, and the host's sockets that lead to its ports."""

    name: str
    state: str
    pid: int
    published: tuple[tuple[IPAddress, int, int], ...]  # address and port on the host, port in the container
    restarts: int = 0  # how often Docker has restarted it since an operator started it
    identity: str = ""  # a part of the name of its control group

    @property
    def runs(self) -> bool:
        """Return whether the main process of the container runs."""
        return self.state == "running"

    def unit(self, proc: Path = PROC, cgroup_roots: Iterable[Path] = CGROUP_ROOTS) -> Unit:
        """Return the processes of the container, the main one first: those of its control group, or else the main process and its descendants."""
        pids: set[int] = set()
        if self.pid:
            # A group is read only if it belongs to the container itself and has its process; in another namespace the paths are different.
            # Podman may run a container in the group of the process that started it, together with other processes.
            found = (group_pids(group, cgroup_roots) for group in control_groups(self.pid, proc) if self.identity in group)
            pids = next((group for group in found if self.pid in group), set()) or descendants(self.pid, proc)
        return Unit(f"container {self.name}", self.state, main_first(pids, self.pid), f"docker logs {self.name}")


def parse_container(text: str) -> Container:
    """Return the container from the output of C(docker inspect); ValueError if the output describes no container."""
    described: list[dict[str, Any]] = json.loads(text)
    if not described:
        raise ValueError("there is no such container")
    container = described[0]
    state = container["State"]
    published = tuple(
        (ip_address(binding.get("HostIp") or "0.0.0.0"), int(binding["HostPort"]), int(port.partition("/")[0]))
        for port, bindings in (container.get("NetworkSettings", {}).get("Ports") or {}).items()
        for binding in bindings or ()
        if port.endswith("/tcp")
    )
    return Container(
        container["Name"].lstrip("/"), state["Status"], int(state.get("Pid") or 0), published, int(container.get("RestartCount") or 0), container.get("Id", "")
    )


def read_publishers(listed: str) -> dict[tuple[str, int], str]:
    """Return the containers that publish ports, by address and port on the host, from lines of C(docker ps): a name, then its ports.

    An example of a line is C(db 127.0.0.1:5432->5432/tcp, :::80->80/tcp, 9000-9001/tcp). A range stands for each of its ports.
    """
    publishers = {}
    for line in listed.splitlines():
        name, _space, ports = line.partition(" ")
        for address, first, last in re.findall(r"(\[?[0-9a-f.:]+\]?):(\d+)(?:-(\d+))?->[\d-]+/tcp", ports):
            for port in range(int(first), int(last or first) + 1):
                publishers[(str(ip_address(address.strip("[]"))), port)] = name
    return publishers


def foreign_names(listed: str) -> list[str]:
    """Return the names of containers without a label of this collection, from lines of C(docker ps) or C(podman ps): a name, then its labels."""
    lines = (line.partition(" ") for line in listed.splitlines())
    return sorted(name.split(",")[0] for name, _space, labels in lines if name and OWN_LABEL not in labels)
