"""Read the plays and tasks of a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

#: Keys of a play or a block that hold tasks.
NESTED = ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always")


def tasks_of(content: Any) -> Iterator[dict[str, Any]]:
    """Yield all plays, blocks and tasks in the content of a playbook or of a file of tasks. A file of another kind has none."""
    for entry in content if isinstance(content, list) else []:
        if isinstance(entry, dict):
            yield entry
            for key in NESTED:
                yield from tasks_of(entry.get(key))
