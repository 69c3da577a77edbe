# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that say what a diagnosis' facts mean, and show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis import judge, report


def diagnosis(wanted: Mapping[str, Any], server: Mapping[str, Any], client: Optional[Mapping[str, Any]] = None) -> list[dict[str, str]]:
    """Return the checks of a server, in the order of its layers.

    :param wanted: ``host`` and ``port`` where it should listen, and ``static_prefix``.
    :param server: Facts of ``atlas.mlflow.mlflow_diagnose`` on the server's host.
    :param client: Its facts where a client stands, if it was asked there.
    """
    return [check.as_dict() for check in judge.diagnose(wanted, server, client)]


class FilterModule:
    """Make the filters known to Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {
            "diagnosis": diagnosis,
            "diagnosis_table": lambda checks, host: report.table(host, checks),
            "diagnosis_page": report.page,
        }
