"""If the database moves to another host of the inventory, its former host does not go on to make backups of the former database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.template import Templar
from in_process import LOADER, role_variables, trusted

from inventories import Case, Run

ROOT = Path(__file__).resolve().parents[3]
TIMER = {"timers": ["atlas-mlflow-backup.timer", "mlflow-gc.timer"]}
PLAY = ROOT / "playbooks/internal/stop_former_backups.yml"


def plans(groups: dict[str, list[str]], *with_timer: str) -> dict[str, dict[str, Any]]:
    """Return the plan of each host.

    :param with_timer: The hosts that have the timer.
    """
    hosts = {name: {"ansible_facts": {"processor_nproc": 2, **(TIMER if name in with_timer else {})}} for names in groups.values() for name in names}
    found: dict[str, dict[str, Any]] = Run(Case(groups, hosts)).plans
    return found


WEB, NEW, OLD = "Two.Example.com", "one", "ml_three"


@pytest.mark.parametrize(
    ("groups", "with_timer", "former"),
    [
        # The database was on the host of the tracking server, of the artifact store or of the proxy. Both have a timer between site.yml and backup.yml.
        ({"mlflow_servers": [OLD], "postgres": [NEW]}, (OLD,), [OLD]),
        ({"mlflow_servers": [WEB], "postgres": [NEW], "minio": [OLD]}, (OLD, NEW), [OLD]),
        ({"mlflow_servers": [WEB], "postgres": [NEW], "haproxy": [OLD]}, (OLD,), [OLD]),
        ({"mlflow_servers": [WEB], "postgres": [NEW], "prometheus": [OLD]}, (OLD,), [OLD]),
        # The database is a file of the tracking server again.
        ({"mlflow_servers": [WEB], "minio": [OLD]}, (OLD, WEB), [OLD]),
        # Hosts that make the backups.
        ({"mlflow_servers": [WEB], "postgres": [NEW]}, (NEW,), []),
        ({"mlflow_servers": [WEB]}, (WEB,), []),
        ({"mlflow_servers": [WEB], "postgres": [NEW, OLD, "10.9.0.4"]}, (NEW, OLD), []),
        ({"mlflow_servers": [WEB], "postgres": [NEW], "minio": [OLD]}, (), []),
    ],
)
def test_a_host_that_no_longer_has_the_database_is_known(groups: dict[str, list[str]], with_timer: tuple[str, ...], former: list[str]) -> None:
    found = plans(groups, *with_timer)
    assert {str(plan["former_backup_hosts"]) for plan in found.values()} == {str(former)}
    (play,) = yaml.safe_load(PLAY.read_text())
    variables = {"groups": groups, "hostvars": {name: {"_atlas_mlflow_plan": plan} for name, plan in found.items()}}
    assert Templar(loader=LOADER, variables=variables).template(trusted(play["hosts"])) == former


def test_the_former_backup_stops_after_the_present_database_has_one() -> None:
    imports = [play.get("ansible.builtin.import_playbook", "") for play in yaml.safe_load((ROOT / "playbooks/backup.yml").read_text())]
    assert imports[-1] == "internal/stop_former_backups.yml"
    (play,) = yaml.safe_load(PLAY.read_text())
    assert play["tasks"][0]["ansible.builtin.include_role"] == {"name": "atlas.mlflow.backup", "tasks_from": "stop"}
    assert "internal/stop_former_backups.yml" in (ROOT / "playbooks/remove.yml").read_text()


def test_a_stopped_backup_leaves_what_an_archiving_postgresql_needs() -> None:
    """Without its settings, pgBackRest would fail, and PostgreSQL would keep all of its log until the disk is full."""
    text = (ROOT / "roles/backup/tasks/stop.yml").read_text()
    *_others, task = yaml.safe_load(text)
    variables = role_variables("backup", task["vars"])
    paths = Templar(loader=LOADER, variables=variables).template(variables["__paths"])
    assert "/etc/atlas-mlflow/backup.json" in paths
    assert [path for path in paths if path.endswith((".conf", ".pem", "container.json"))] == []
    assert "repository" not in str(paths) and "common_timer_name: atlas-mlflow-backup" in text
