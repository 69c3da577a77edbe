# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run reports about the memory of a host."""

from __future__ import annotations

from typing import Any

from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings


def _parts(given: RoleSettings) -> list[dict[str, Any]]:
    """Return the services of the host with the memory of each. Empty if another role of the host reports them, or if the memory of the host is not known."""
    parts = given.planned("memory") or []
    return parts if parts and parts[0]["role"] == given.role and given.facts.get("memtotal_mb") else []


def _shown(mebibytes: int) -> str:
    """Return a size for a message."""
    return f"{mebibytes / 1024:.2f} GiB"


def arithmetic(given: RoleSettings) -> str:
    """Return how much memory the services of a host need under load, for the report of a run."""
    parts = _parts(given)
    if not parts:
        return ""
    listed = " + ".join(f"{part['what']} {_shown(part['mebibytes'])}" for part in parts)
    summed = f" = {_shown(sum(part['mebibytes'] for part in parts))}" if len(parts) > 1 else ""
    return f"Memory under load: {listed}{summed} of {_shown(given.facts['memtotal_mb'])}."


def shortage(given: RoleSettings) -> str:
    """Return a warning if the services of a host need more memory than the host has, or an empty text."""
    needed, has = sum(part["mebibytes"] for part in _parts(given)), given.facts.get("memtotal_mb") or 0
    if needed <= has:
        return ""
    return (
        f"{given.host} has {_shown(has)} of memory, and its services need about {_shown(needed)} under load. The kernel may then kill one of them. "
        "Give the host more memory, put a service on a host of its own, or run fewer workers (mlflow_server_workers)."
    )
