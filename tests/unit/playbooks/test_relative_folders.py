"""A relative folder of the control node begins at the working directory, and not at the folder of the playbook, which an update of the collection replaces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from playbook_forks import ansible_playbook
from plays import tasks_of

ROOT = Path(__file__).resolve().parents[3]


def play(folder: Path, variables: dict[str, Any], *tasks: dict[str, Any]) -> None:
    """Run tasks on this machine in a working directory."""
    (folder / "play.yml").write_text(json.dumps([{"hosts": "all", "connection": "local", "gather_facts": False, "vars": variables, "tasks": tasks}]))
    inventory = ["-i", "localhost,", folder / "play.yml"]
    done = ansible_playbook(folder, *inventory, modules_here=True, ANSIBLE_INVENTORY_ENABLED="host_list", PWD=str(folder / "here"), HOME=str(folder / "home"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("given", "written"), [("./files", "here/files"), ("~/files", "home/files"), ("{folder}/files", "files")])
def test_files_for_prometheus(tmp_path: Path, given: str, written: str) -> None:
    for name in ("here", "home"):
        (tmp_path / name).mkdir()
    variables = {
        "prometheus_files_dir": given.format(folder=tmp_path),
        "_atlas_mlflow_plan": {"metrics_targets": ["a"]},
        "_prometheus_files_of_own": [{"name": "alerts.yml", "content": "a"}],
        "_prometheus_has_minio": True,
        "_prometheus_token": "t",
    }
    play(tmp_path, variables, {"ansible.builtin.import_tasks": str(ROOT / "roles/prometheus/tasks/files.yml")})
    assert sorted(path.name for path in (tmp_path / written).iterdir()) == ["alerts.yml", "minio.token"]


@pytest.mark.parametrize("kind", ["html", "json"])
@pytest.mark.parametrize(("given", "written"), [("report", "here/report"), ("~/report", "home/report"), ("{folder}/report", "report")])
def test_reports_of_the_diagnosis(tmp_path: Path, kind: str, given: str, written: str) -> None:
    for name in ("here", "home"):
        (tmp_path / name).mkdir()
    tasks = tasks_of(yaml.safe_load((ROOT / "playbooks/diagnose.yml").read_text()))
    (task,) = [task for task in tasks if f"diagnose_{kind}" in str(task.get("ansible.builtin.copy"))]
    copy = {**task["ansible.builtin.copy"], "content": "a"}
    play(tmp_path, {f"diagnose_{kind}": given.format(folder=tmp_path)}, {"ansible.builtin.copy": copy, "delegate_to": "localhost"})
    assert (tmp_path / written).read_text() == "a"


@pytest.mark.parametrize(
    ("given", "target"), [("bundles", "{folder}/here/bundles"), (None, "{folder}/here"), ("", "{folder}/here"), ("~/b", "{folder}/home/b"), ("/srv", "/srv")]
)
def test_bundles(tmp_path: Path, given: str | None, target: str) -> None:
    (text,) = [task["vars"]["__target"] for task in tasks_of(yaml.safe_load((ROOT / "playbooks/bundle.yml").read_text())) if "__target" in task.get("vars", {})]
    variables = {"__target": text, "__bundle": {"archive": "/var/tmp/x/a.tar"}} | ({} if given is None else {"bundle_dir": given})
    play(tmp_path, variables, {"ansible.builtin.assert": {"that": f"__target == '{target.format(folder=tmp_path)}/a.tar'"}})
