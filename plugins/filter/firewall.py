# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that finds what the firewall of a host does not open yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: Stands for all clients in the sources of an opening.
ANYBODY = "any"


def _pairs(openings: Iterable[Mapping[str, Any]]) -> set[tuple[str, str]]:
    """Return each port, or the protocol without ports, with each of its sources."""
    return {(str(one.get("port") or one.get("protocol")), str(source)) for one in openings for source in one["sources"]}


def new_openings(wanted: Iterable[Mapping[str, Any]], present: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the openings with a source that cannot connect yet.

    :param wanted: Openings in the form of C(firewall_allowed).
    :param present: Those that the host has.
    """
    there = _pairs(present)
    return [dict(one) for one in wanted if any((port, ANYBODY) not in there and (port, source) not in there for port, source in _pairs([one]))]


class FilterModule:
    """Register the filter with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filter by its name."""
        return {"new_openings": new_openings}
