"""A run pauses a cluster of PostgreSQL while Patroni restarts. If it is interrupted, the next run resumes the cluster, and keeps the pause of an operator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from plays import tasks_of

from inventories import Case, Run

TASKS = Path(__file__).resolve().parents[3] / "roles/postgres/tasks"
MEMBERS = ["one", "Two.Example.com", "ml_three"]


def known(present: dict[str, Any]) -> Run:
    """Return what a run knows of a cluster with settings."""
    own = {"atlas_mlflow_tls": True, "__postgres_cluster_settings": {"stdout": json.dumps(present)}, "__present": present}
    return Run(Case({"mlflow_servers": ["one"], "postgres": MEMBERS}, dict.fromkeys(MEMBERS, own)), secrets={})


@pytest.mark.parametrize(
    ("added", "paused"),
    [
        ({}, False),
        ({"pause": False}, False),
        ({"pause": True}, True),
        ({"pause": True, "atlas_mlflow_pauses": True}, False),
        ({"atlas_mlflow_pauses": True}, False),
    ],
)
def test_only_the_pause_of_an_operator_stays(added: dict[str, bool], paused: bool) -> None:
    (change,) = [task for task in yaml.safe_load((TASKS / "patroni_settings.yml").read_text()) if "__wanted" in task.get("vars", {})]
    settings = known({}).value("one", "postgres", "_postgres_cluster_settings")
    run = known({**settings, **added})
    assert run.value("one", "postgres", "_postgres_paused_by_operator") is paused
    wanted = run.value("one", "postgres", change["vars"]["__wanted"].strip()[2:-2])
    assert wanted == {**settings, **({"pause": True} if paused else {})}
    # Whatever a run has left is replaced.
    assert (wanted != {**settings, **added}) is bool(added and added != {"pause": True})


def test_the_mark_is_there_for_as_long_as_the_pause() -> None:
    tasks = tasks_of(yaml.safe_load((TASKS / "patroni_release.yml").read_text()))
    commands = [task["ansible.builtin.command"]["argv"] for task in tasks if "ansible.builtin.command" in task]
    said = [next(word for word in ("=true", "=null", "pause'", "resume'") if word in argv) for argv in commands]
    assert said == ["=true", "pause'", "resume'", "=null"]
