"""The removal of a backup takes the logs and locks that pgBackRest in a container has left on the host, and nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from playbook_forks import ansible_playbook

ROOT = Path(__file__).resolve().parents[3]
#: What pgBackRest writes there.
OWN = ("postgres-backup/log/mlflow-backup.log", "postgres-backup/lock/mlflow-backup.lock")


@pytest.mark.parametrize(
    ("others", "left"),
    [
        ((), set()),
        (("metrics/atlas_mlflow.prom",), {"metrics/atlas_mlflow.prom"}),
        # A restore was interrupted.
        (("postgres-backup/atlas-mlflow-test-restore/data/PG_VERSION",), {"postgres-backup/atlas-mlflow-test-restore/data/PG_VERSION"}),
    ],
)
def test_only_logs_and_locks_are_removed_once(tmp_path: Path, others: tuple[str, ...], left: set[str]) -> None:
    home = tmp_path / "atlas-mlflow"
    for name in (*OWN, *others):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).touch()
    tasks = yaml.safe_load((ROOT / "roles/backup/tasks/remove.yml").read_text())
    steps = [task for task in tasks if "_backup_container_state" in str(task)]
    assert [task["become"] for task in steps] == [True, True]
    values = {"_backup_container_state": str(home / "postgres-backup"), "ansible_python_interpreter": sys.executable}
    plays = [{"hosts": "one", "gather_facts": False, "vars": values, "tasks": [{**task, "become": False} for task in steps]}]
    (tmp_path / "play.yml").write_text(json.dumps(plays))
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"hosts": {"one": {"ansible_connection": "local"}}}}))
    for changes in (True, False):
        done = ansible_playbook(tmp_path, "-i", tmp_path / "hosts.yml", tmp_path / "play.yml", modules_here=True)
        assert done.returncode == 0 and ("changed=0" not in done.stdout) == changes, done.stdout + done.stderr
        assert {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()} == left
        assert home.exists() == bool(left)
