"""A member that leaves a cluster of PostgreSQL ends its backups, which would fail without PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.template import Templar
from in_process import LOADER, role_variables, trusted

ROLES = Path(__file__).resolve().parents[3] / "roles"
LEAVE = yaml.safe_load((ROLES / "postgres/tasks/member_leave.yml").read_text(encoding="utf-8"))
REMOVAL = {"name": "atlas.mlflow.backup", "tasks_from": "remove"}


def place_of(wanted: str) -> int:
    """Return the place of the only task whose text has some words."""
    (found,) = [number for number, task in enumerate(LEAVE) if wanted in str(task)]
    return found


@pytest.mark.parametrize(
    ("facts", "removes"),
    [
        ({"stack": {"postgres": {}, "backup": {"of_cluster": True}}}, True),
        # A run that was interrupted has removed the settings, or the timer first. A backup may have no timer.
        ({"stack": {}, "timers": ["atlas-mlflow-backup.timer"]}, True),
        ({"stack": {"postgres": {}}, "timers": ["postgres-maintenance.timer"]}, False),
        ({}, False),
    ],
)
def test_a_member_that_leaves_removes_its_backup(facts: dict[str, Any], removes: bool) -> None:
    task = LEAVE[place_of(str(REMOVAL["name"]))]
    assert task["ansible.builtin.include_role"] == REMOVAL
    variables = role_variables("postgres", {"ansible_facts": facts})
    assert Templar(loader=LOADER, variables=variables).template(trusted("{{ (" + task["when"] + ") | bool }}")) == removes


def test_the_backup_ends_before_postgresql_does() -> None:
    assert place_of("atlas.mlflow.backup") < place_of("Stop Patroni and PostgreSQL")


def test_the_removal_of_a_backup_needs_no_plan() -> None:
    """The playbook that removes a member makes none, because a host may be lost."""
    paths = set()
    for name in ("stop", "remove"):
        (task,) = [task for task in yaml.safe_load((ROLES / f"backup/tasks/{name}.yml").read_text(encoding="utf-8")) if "__paths" in task.get("vars", {})]
        variables = role_variables("backup", {"__backup_found": {"files": []}, **task["vars"]})
        paths |= set(Templar(loader=LOADER, variables=variables).template(variables["__paths"]))
    assert {"/etc/atlas-mlflow/backup.json", "/opt/atlas-mlflow/backup/atlas_mlflow_backup.py", "/etc/pgbackrest.conf"} <= paths
