# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that interpret the facts of a diagnosis and show the result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# Ansible loads every filter file of a collection if a task uses one of its filters, so the rules are imported only when they are used.


def diagnosis(
    wanted: Mapping[str, Any], server: Mapping[str, Any], client: Mapping[str, Any] | None = None, stack: Iterable[Mapping[str, str]] = ()
) -> list[dict[str, str]]:
    """Return the checks of a server, in the order of its layers.

    :param wanted: ``host`` and ``port`` where it should listen, and ``static_prefix``.
    :param server: Facts of ``atlas.mlflow.mlflow_diagnose`` on the server's host.
    :param client: Facts of the same module where a client is, if it ran there.
    :param stack: The result of ``stack_diagnosis``. A fault that follows from a fault there is not one of the server.
    """
    from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis import judge

    known = [check["fault"] for check in stack if check["verdict"] == "fault"]
    return [check.as_dict() for check in judge.diagnose(wanted, server, client, known)]


def stack_diagnosis(wanted: Mapping[str, Any], hosts: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the checks of what the hosts of a stack share, empty if they share nothing.

    :param wanted: The result of ``atlas.mlflow.plan``.
    :param hosts: The result of ``atlas.mlflow.cluster_diagnose`` of each host, also of one that is not reached.
    """
    from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis import judge

    return [check.as_dict() for check in judge.diagnose_stack(wanted, hosts)]


def diagnosis_table(checks: list[Mapping[str, str]], host: str) -> list[str]:
    """Return the checks of a host as the lines of a table of plain text."""
    from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis import report

    return report.table(host, checks)


def diagnosis_page(*arguments: Any, **options: Any) -> str:
    """Return the checks of all hosts as an HTML page; see ``report.page``."""
    from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis import report

    return report.page(*arguments, **options)


class FilterModule:
    """Register the filters with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {
            "diagnosis": diagnosis,
            "stack_diagnosis": stack_diagnosis,
            "diagnosis_table": diagnosis_table,
            "diagnosis_page": diagnosis_page,
        }
