# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Patroni's list of members tells of a cluster of PostgreSQL.

The backup's program runs a copy of this file on its host, so the file needs only Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Patroni's words for the state of a member that runs.
MEMBER_RUNS = ("running", "streaming", "in archive recovery")
#: The most MiB by which a healthy replica may be behind the primary.
MOST_BEHIND = 16


def healthy_members(listed: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the members whose PostgreSQL runs and has nearly all of the primary's log: the replicas by name, and then the primary.

    :param listed: What C(patronictl list --format json) returns. Releases of Patroni differ in the names of the fields for the lag.
    """
    healthy = []
    for member in listed:
        behind = [value for name, value in member.items() if "lag" in name.lower() and value != ""]
        if member.get("State") in ("running", "streaming") and all(isinstance(value, int) and value <= MOST_BEHIND for value in behind):
            healthy.append((member["Role"] == "Leader", str(member["Member"])))
    return [name for _leads, name in sorted(healthy)]
