# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of what a probe saw in a tracking server's database. It is on the server's host."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: The prefix of the names of the probes' own experiments, which do not count.
EXPERIMENT = "atlas-mlflow-probe-"


def counted(count: int, more: bool, thing: str) -> str:
    """Return a count in words."""
    return f"{count or 'no'}{' or more' if more else ''} {thing}{'' if count == 1 else 's'}"


def words(seen: Mapping[str, Any]) -> str:
    """Return in words what was seen. A record of an earlier release has no count of runs."""
    names = [name for name, _made in seen["some"].values()][:3]
    text = counted(seen["experiments"], seen["more"], "experiment")
    text += f" ({', '.join(names)}{', ...' if seen['experiments'] > len(names) else ''})" if names else " beside Default"
    # Only runs of the counted experiments were requested.
    return text + (f" and {counted(seen['runs'], seen['more_runs'] or seen['more'], 'run')}" if "runs" in seen else "")


def recall(path: Path) -> dict[str, Any]:
    """Return the record of the last probe from a file; empty if there is no readable file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and {"at", "made", "experiments", "more", "some"} <= set(content) else {}


def remember(path: Path, seen: Mapping[str, Any]) -> None:
    """Write the record in one step, readable only by root."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(seen, file)
    beside.replace(path)
