# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The findings of a probe: differences between what it sees and what it expects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from ansible_collections.atlas.mlflow.plugins.module_utils.faults import Fault


@dataclass(frozen=True)
class Finding:
    """One difference, with the fault that explains it best."""

    check: str
    expected: str
    seen: str
    fault: Fault

    def __str__(self) -> str:
        return f"{self.check}: expected {self.expected}, saw {self.seen}; likely cause: {self.fault.cause} Fix: {self.fault.fix} [{self.fault.id}]"

    def as_dict(self) -> dict[str, str]:
        """Return the finding as plain data, for a module's result."""
        return {**asdict(self), "fault": self.fault.id, "cause": self.fault.cause, "fix": self.fault.fix}


def readable(findings: Iterable[Finding]) -> str:
    """Return findings as text for people, one per line."""
    return "\n".join(str(finding) for finding in findings)
