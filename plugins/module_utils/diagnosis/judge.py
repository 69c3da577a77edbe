# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide what the facts of a server and of a client mean. This code sends no requests: it gets facts and returns checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis import judge_process, judge_stores, judge_use
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis.checks import Check, Diagnosis

#: The layers, from the process outwards. A fault in one layer explains the faults of later layers.
LAYERS = (
    judge_process.check_environment,
    judge_process.check_sockets,
    judge_process.check_published,
    judge_process.check_configuration,
    judge_process.check_memory,
    judge_stores.check_stores,
    judge_stores.check_disks,
    judge_stores.check_clock,
    judge_process.check_not_running,
    judge_use.check_answers,
    judge_use.check_client,
)


def diagnose(wanted: Mapping[str, Any], server: Mapping[str, Any], client: Mapping[str, Any] | None = None) -> list[Check]:
    """Return the checks of a server.

    :param wanted: ``host`` and ``port`` where it should listen, and ``static_prefix``.
    :param server: The result of M(atlas.mlflow.mlflow_diagnose) on the server's host.
    :param client: The same from a client's machine, if the module ran there.
    """
    diagnosis = Diagnosis(wanted, server, client)
    judge_process.check_process(diagnosis)
    if server.get("kind"):
        for look in LAYERS:
            look(diagnosis)
    return diagnosis.checks
