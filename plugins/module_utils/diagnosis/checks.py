# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of a diagnosis, and the checks that it makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.faults import Fault, fault
from ansible_collections.atlas.mlflow.plugins.module_utils.sockets import Listener

UNKNOWN = "unknown"  # replaces a fault if the facts are neither right nor wrong


@dataclass(frozen=True)
class Check:
    """One check: C(verdict) is ok, fault, follows (from an earlier fault) or unknown."""

    layer: str
    expected: str
    seen: str
    verdict: str = "ok"
    found: Fault | None = None

    @property
    def fault(self) -> str:
        """Return the name of the fault, empty if there is none."""
        return self.found.id if self.found else ""

    def as_dict(self) -> dict[str, str]:
        """Return the check as plain data; for a fault with its cause and fix."""
        plain = {"layer": self.layer, "expected": self.expected, "seen": self.seen, "verdict": self.verdict, "fault": self.fault}
        return {**plain, "cause": self.found.cause, "fix": self.found.fix} if self.found else plain


def listeners(facts: Iterable[Mapping[str, Any]]) -> list[Listener]:
    """Return listening sockets from their facts."""
    return [Listener.from_dict(one) for one in facts]


def endpoints(sockets: Iterable[Listener]) -> str:
    """Return the endpoints of sockets as text, empty if there are none."""
    return ", ".join(sorted({one.endpoint for one in sockets}))


class Checks:
    """Checks in the order of their layers."""

    def __init__(self, explained: Iterable[str] = ()) -> None:
        """Take the faults that follow from faults which are already known."""
        self.explained = frozenset(explained)
        self.checks: list[Check] = []

    @property
    def faults(self) -> list[Check]:
        """Return the checks that found a fault."""
        return [check for check in self.checks if check.verdict == "fault"]

    def note(self, layer: str, expected: str, seen: str, found: Fault | str | None = None, follows: bool = False) -> None:
        """Add the check of a layer.

        :param found: The fault, or the name of a fault without values to fill in.
        :param follows: Whether the fault follows from an earlier one.
        """
        follows = follows or (found.id if isinstance(found, Fault) else found) in self.explained
        verdict = "ok" if not found else "follows" if follows else "unknown" if found == UNKNOWN else "fault"
        named = fault(found) if verdict == "fault" and isinstance(found, str) else found
        self.checks.append(Check(layer, expected, seen, verdict, named if verdict == "fault" and isinstance(named, Fault) else None))

    def has(self, *faults: str) -> bool:
        """Return whether one of these faults was found."""
        return any(check.fault in faults for check in self.faults)


class Diagnosis(Checks):
    """The facts of one server, and its checks."""

    def __init__(self, wanted: Mapping[str, Any], server: Mapping[str, Any], client: Mapping[str, Any] | None = None, explained: Iterable[str] = ()) -> None:
        super().__init__(explained)
        self.wanted, self.server, self.client = wanted, server, client or {}
        self.address, self.port = ip_address(wanted["host"]), int(wanted["port"])
        self.wanted_socket = Listener(self.address, self.port)
        #: A command that shows the whole log of the server.
        self.log = server.get("log") or "the server's log"

    @property
    def runs(self) -> bool:
        """Return whether a process of the server runs."""
        return bool(self.server.get("argv"))

    @property
    def own(self) -> list[Listener]:
        """Return the sockets of the server's own processes."""
        return listeners(self.server.get("sockets") or ())

    @property
    def front(self) -> Mapping[str, Any]:
        """Return the proxy that listens on the server's port."""
        return self.server.get("front") or {}

    @property
    def inside(self) -> bool:
        """Return whether the server has its own network, in a container."""
        return self.server.get("kind") == "container" and self.server.get("network_mode") != "host"

    def proxy(self) -> str:
        """Return the proxy in words."""
        return f"{self.front['process'] or 'a process'} (pid {self.front['pid']}) on {Listener.from_dict(self.front).endpoint}"
