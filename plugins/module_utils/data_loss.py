# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the content of a tracking server's database, and compare it with what the last probe saw."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.faults import fault
from ansible_collections.atlas.mlflow.plugins.module_utils.findings import Finding
from ansible_collections.atlas.mlflow.plugins.module_utils.seen import EXPERIMENT, words
from ansible_collections.atlas.mlflow.plugins.module_utils.tracking import API, TrackingServer
from ansible_collections.atlas.mlflow.plugins.module_utils.web import Answer, NoAnswer

#: The experiment that MLflow creates together with the database.
DEFAULT = "0"
#: How many experiments are requested and counted, and how many of them are recorded.
COUNTED, REMEMBERED = 200, 10
#: How many runs are requested and counted. The server sends the metrics and parameters of each.
RUNS_COUNTED = 50


def creation_time(server: TrackingServer, identity: str) -> int | None:
    """Return when an experiment was created, in milliseconds since 1970. 0: it does not exist, or has no time. None: the server did not answer."""
    answer = server.attempt("GET", f"{API}/experiments/get", {"experiment_id": identity})
    if not isinstance(answer, Answer) or answer.status not in (200, 404):
        return None
    return int(answer.json().get("experiment", {}).get("creation_time") or 0)


def has_run(server: TrackingServer, identity: str) -> bool | None:
    """Return whether a run exists, None if the server did not answer."""
    answer = server.attempt("GET", f"{API}/runs/get", {"run_id": identity})
    return answer.status == 200 if isinstance(answer, Answer) and answer.status in (200, 404) else None


def look_for_runs(server: TrackingServer, experiments: list[str]) -> dict[str, Any]:
    """Return how many runs these experiments have, and some of them. The count is missing if the server did not answer."""
    try:
        answer = server.post("/runs/search", {"experiment_ids": experiments, "run_view_type": "ALL", "max_results": RUNS_COUNTED})
    except NoAnswer:
        return {}
    if answer.status != 200:
        return {}
    content = answer.json()
    runs = [str(run["info"]["run_id"]) for run in content.get("runs", [])]
    return {"runs": len(runs), "more_runs": bool(content.get("next_page_token")), "some_runs": runs[:REMEMBERED]}


def look(server: TrackingServer) -> dict[str, Any]:
    """Return the content of the database: its creation time, the numbers of experiments and runs, and some of them. Those of probes do not count.

    The result is empty if the server did not answer.
    """
    answer = server.attempt("GET", f"{API}/experiments/search", {"max_results": COUNTED, "view_type": "ALL"})
    made = creation_time(server, DEFAULT)
    if made is None or not isinstance(answer, Answer) or answer.status != 200:
        return {}
    content = answer.json()
    experiments = [one for one in content.get("experiments", []) if one.get("experiment_id") != DEFAULT and not str(one.get("name", "")).startswith(EXPERIMENT)]
    return {
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "made": made,
        "experiments": len(experiments),
        "more": bool(content.get("next_page_token")),
        "some": {str(one["experiment_id"]): [one.get("name", ""), int(one.get("creation_time") or 0)] for one in experiments[:REMEMBERED]},
        **look_for_runs(server, [DEFAULT, *(str(one["experiment_id"]) for one in experiments)]),
    }


def vanished(server: TrackingServer, before: Mapping[str, Any], now: Mapping[str, Any]) -> Finding | None:
    """Return a finding if the server's data are gone: none of the experiments and runs that were seen before exists now.

    In the same database, their owners may have deleted all of them: this is no finding.
    """
    runs = before.get("some_runs", [])
    if not (before["some"] or runs) or (before["made"] and before["made"] == now["made"]):
        return None
    for identity, (_name, made) in before["some"].items():
        time = creation_time(server, identity)
        if time is None or (made and time == made):
            return None
    # The identity of a run is never used again. One run that exists, or one missing answer, is enough.
    if any(has_run(server, identity) is not False for identity in runs):
        return None
    expected = f"the database that the verification saw at {before['at']}, with {words(before)}"
    return Finding("data", expected, f"another one, with {words(now)}", fault("data-gone"))
