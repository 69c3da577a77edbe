# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide what the facts of hosts mean for what they share: which of them can be asked, and what each says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis.checks import UNKNOWN, Checks
from ansible_collections.atlas.mlflow.plugins.module_utils.faults import fault

RUNS = "active/running"


class Stack(Checks):
    """The facts of the hosts of a stack, and the checks of what they share."""

    def __init__(self, wanted: Mapping[str, Any], hosts: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the plan, and the result of M(atlas.mlflow.cluster_diagnose) of each host.

        :param wanted: ``cluster_members``, ``pool_members``, ``proxies``, ``virtual_address``, ``pgbouncers``.
        :param hosts: The results by host. A host without one was not asked, as with C(--limit).
        """
        super().__init__()
        self.wanted = wanted
        self._results = {name: result for name, result in hosts.items() if result and not result.get("skipped")}

    @property
    def members(self) -> list[str]:
        """Return the members of the cluster of PostgreSQL, empty if the database has one host."""
        return list(self.wanted.get("cluster_members") or ())

    @property
    def pool(self) -> list[str]:
        """Return the hosts of the pool of MinIO, empty if the artifact store has one host."""
        return list(self.wanted.get("pool_members") or ())

    @property
    def proxies(self) -> list[str]:
        """Return the proxies that share an address, empty if they share none."""
        return list(self.wanted.get("proxies") or ()) if self.wanted.get("virtual_address") else []

    @property
    def poolers(self) -> list[str]:
        """Return the hosts of PostgreSQL that have PgBouncer."""
        return list(self.wanted.get("pgbouncers") or ())

    def facts(self, name: str, part: str) -> Mapping[str, Any]:
        """Return a part of the facts of a host, empty if it has none."""
        found: Mapping[str, Any] = ((self._results.get(name) or {}).get("facts") or {}).get(part) or {}
        return found

    def is_asked(self, name: str) -> bool:
        """Return whether a host has facts."""
        return "facts" in (self._results.get(name) or {})

    def why_not_asked(self, name: str) -> str:
        """Return in words why a host has no facts."""
        result = self._results.get(name)
        if result is None:
            return "not asked"
        return f"Ansible does not reach it: {_first_line(result)}" if result.get("unreachable") else f"the question fails: {_first_line(result)}"

    @property
    def unreached(self) -> list[str]:
        """Return the hosts that did not answer. With some connections, a host that does not run counts as reached, and its modules fail."""
        return [name for name, result in self._results.items() if "facts" not in result]


def _first_line(result: Mapping[str, Any]) -> str:
    """Return the first line of the message of a result."""
    return (str(result.get("msg", "")).strip().splitlines() or ["no message"])[0]


def check_hosts(stack: Stack) -> None:
    """Check that all hosts of a cluster, a pool or a shared address can be asked."""
    names = list(dict.fromkeys([*stack.members, *stack.poolers, *stack.pool, *stack.proxies]))
    unasked = [name for name in names if not stack.is_asked(name)]
    seen = "; ".join(f"{name}: {stack.why_not_asked(name)}" for name in unasked) or f"{', '.join(names)} answer"
    found = "host-unreachable" if set(unasked) & set(stack.unreached) else UNKNOWN if unasked else None
    stack.note("hosts", "each host of the stack can be asked", seen, found)


def check_poolers(stack: Stack) -> None:
    """Check that PgBouncer runs on each host of PostgreSQL that has it."""
    if not stack.poolers:
        return
    states = {name: stack.facts(name, "pooler") for name in stack.poolers if stack.is_asked(name)}
    stopped = [name for name, state in states.items() if state.get("state") != RUNS]
    unasked = [name for name in stack.poolers if name not in states]
    words = [f"{name}: {state.get('state') or 'not there'}" for name, state in states.items()]
    seen = "; ".join([*words, *(f"{name}: {stack.why_not_asked(name)}" for name in unasked)])
    found = fault("pgbouncer-not-running", log=states[stopped[0]].get("log") or "its journal") if stopped else UNKNOWN if unasked else None
    stack.note("PgBouncer", "runs on each host of PostgreSQL", seen, found)


def unknown_or(found: Any, names: Sequence[str], stack: Stack) -> Any:
    """Return what was found of hosts, or that nothing is known if none of them could be asked."""
    return found if any(stack.is_asked(name) for name in names) else UNKNOWN
