# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that returns the error of a failed task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: The number of last lines of a command's output that are shown.
LINES = 20


def failure_text(result: Mapping[str, Any]) -> str:
    """Return the error of a failed task: the last lines that its command wrote, or else its message, or that the command wrote nothing.

    :param result: The result of the task. In a loop, the first failed item counts.
    """
    failed = next((one for one in result.get("results") or [] if one.get("failed")), result)
    lines = [*(failed.get("stdout_lines") or []), *(failed.get("stderr_lines") or [])][-LINES:]
    if not lines and failed.get("rc") and isinstance(failed.get("cmd"), list):
        # Such as a command that somebody has killed. Its arguments may be long, and its first and last word say what it does.
        return f"The command {failed['cmd'][0]} ... {failed['cmd'][-1]} ended with the status {failed['rc']} and wrote nothing."
    return " ".join(map(str, lines)) or str(failed.get("msg", failed))


class FilterModule:
    """Register the filter with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filter by its name."""
        return {"failure_text": failure_text}
