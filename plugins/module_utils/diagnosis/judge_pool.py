# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide what the hosts of a pool of MinIO mean: whether it accepts writes, and which host or drive is missing."""

from __future__ import annotations

from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis.checks import UNKNOWN
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis.judge_hosts import Stack, unknown_or
from ansible_collections.atlas.mlflow.plugins.module_utils.faults import fault

GOOD = 200


def _status(stack: Stack, name: str, path: str) -> int:
    """Return the status with which MinIO on a host answers for its health, 0 if it does not answer."""
    return int((stack.facts(name, "store").get("health") or {}).get(path, 0))


def check_pool(stack: Stack) -> None:
    """Check that the pool accepts writes, and that each host and each drive of it is there."""
    if not stack.pool:
        return
    asked = [name for name in stack.pool if stack.is_asked(name)]
    writing = [name for name in asked if _status(stack, name, "cluster") == GOOD]
    reading = [name for name in asked if _status(stack, name, "cluster/read") == GOOD]
    reads = f"reads by {', '.join(reading)}" if reading else "no reads"
    seen = f"writes by {', '.join(writing)}" if writing else f"no writes by {', '.join(asked) or 'any host'}; {reads}"
    stack.note("pool", "the pool accepts writes", seen, None if writing else unknown_or("pool-without-write-quorum", stack.pool, stack))
    # Without a quorum, no host says that it reaches enough others: missing are those that do not live.
    right = [name for name in asked if _status(stack, name, "live") == GOOD and (name in writing or not writing)]
    missing = [name for name in asked if name not in right]
    parts = {name: _words(stack, name) for name in stack.pool if name not in right}
    log = next((stack.facts(name, "store").get("log") for name in missing), "") or "journalctl -u minio.service"
    stack.note(
        "pool",
        "MinIO of each host serves",
        "; ".join(f"{name}: {words}" for name, words in parts.items()) or f"{', '.join(right)} serve",
        fault("pool-host-missing", log=log) if missing else UNKNOWN if parts else None,
        follows=bool(parts) and not missing and set(parts) <= set(stack.unreached),
    )
    drives = {name: [drive for drive in stack.facts(name, "store").get("drives") or () if drive["error"]] for name in asked}
    broken = [f"{name}: {drive['path']}: {drive['error']}" for name, found in drives.items() for drive in found]
    stack.note("pool", "each drive is there", "; ".join(broken) or f"all of {', '.join(asked) or 'no host'}", "pool-drive-missing" if broken else None)


def _words(stack: Stack, name: str) -> str:
    """Return in words what was seen of a host of the pool."""
    facts = stack.facts(name, "store")
    if not stack.is_asked(name):
        return stack.why_not_asked(name)
    if not facts:
        return "no unit of MinIO"
    answer = facts.get("error") or f"{_status(stack, name, 'live')} for itself, {_status(stack, name, 'cluster')} for the pool"
    return f"{answer}, minio.service {facts['state']}"
