"""What an inventory says of become and of Python is for its hosts: it changes nothing on the control node, and not the user that a task names."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from playbook_forks import ansible_playbook
from plays import tasks_of

ROOT = Path(__file__).resolve().parents[3]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
FILES = [path for folder in ("playbooks", "roles") for path in sorted((ROOT / folder).rglob("*.yml")) if not {"vars", "meta", "files"} & set(path.parts)]
CONTENTS = {path: yaml.safe_load(path.read_text(encoding="utf-8")) for path in FILES}


def on_the_control_node() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield each play, block or task that runs on the control node, with its place, the keywords of what it runs, and its variables."""
    for path, content in CONTENTS.items():
        for one in tasks_of(content):
            applied = next((value.get("apply", {}) for value in one.values() if isinstance(value, dict) and "file" in value), {})
            keywords = {**one, **applied}
            # A play on localhost that only compares values runs nothing there.
            runs = "localhost" in (keywords.get("delegate_to"), keywords.get("hosts")) and keywords.get("connection", "") in ("", "local")
            if runs and not all("ansible.builtin.assert" in task for task in one.get("tasks", [{}])):
                yield f"{path.relative_to(ROOT)}: {one['name']}", keywords, one.get("vars", {})


def test_tasks_on_the_control_node_run_as_the_user_of_ansible() -> None:
    """Group variables of all hosts are those of the control node, too, and a variable replaces the keyword."""
    found = list(on_the_control_node())
    assert len(found) > 10
    assert [place for place, keywords, _variables in found if keywords.get("become") is not False] == []
    assert [place for place, _keywords, variables in found if variables.get("ansible_become") is not False] == []


def named_users(role: str) -> list[str]:
    """Return the tasks of a role that name a user."""
    return [
        task["name"] for path, content in CONTENTS.items() if path.is_relative_to(ROOT / "roles" / role) for task in tasks_of(content) if "become_user" in task
    ]


@pytest.mark.parametrize("role", [role for role in ROLES if named_users(role)])
def test_the_user_that_a_task_names_is_not_that_of_the_inventory(role: str) -> None:
    variables: dict[str, Any] = {}
    for path in (ROOT / "roles" / role / "vars").rglob("*.yml"):
        variables |= yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    assert "ansible_become_user" in variables and variables["ansible_become_user"] is None


def test_no_playbook_names_a_user() -> None:
    assert [path.name for path in (ROOT / "playbooks").rglob("*.yml") for task in tasks_of(CONTENTS[path]) if "become_user" in task] == []


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Return a function that runs tasks on this machine with an inventory that changes to a user for all hosts, and returns as whom commands ran."""
    sudo, log = tmp_path / "sudo", tmp_path / "log"
    sudo.write_text(f'#!/bin/sh\necho "$@" >> {log}\nwhile [ "$1" != /bin/sh ]; do shift; done\nexec "$@"\n')
    sudo.chmod(0o755)

    def run(variables: dict[str, Any], *tasks: dict[str, Any]) -> str:
        everywhere = {"ansible_become": True, "ansible_become_user": "operator", "ansible_become_exe": str(sudo), "ansible_python_interpreter": sys.executable}
        inventory = {"all": {"vars": everywhere, "hosts": {"db": {"ansible_connection": "local"}}}}
        (tmp_path / "hosts.yml").write_text(json.dumps(inventory))
        (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "db", "gather_facts": False, "vars": variables, "tasks": tasks}]))
        done = ansible_playbook(tmp_path, "-i", tmp_path / "hosts.yml", tmp_path / "play.yml", ANSIBLE_BECOME_ALLOW_SAME_USER="true")
        assert done.returncode == 0, done.stdout + done.stderr
        return log.read_text() if log.exists() else ""

    return run


def test_files_of_the_control_node_belong_to_the_user_of_ansible(run: Any, tmp_path: Path) -> None:
    variables = {
        "prometheus_files_dir": str(tmp_path / "files"),
        "_atlas_mlflow_plan": {"metrics_targets": ["a"]},
        "_prometheus_files_of_own": [{"name": "alerts.yml", "content": "a"}],
        "_prometheus_has_minio": False,
    }
    assert run(variables, {"ansible.builtin.import_tasks": str(ROOT / "roles/prometheus/tasks/files.yml")}) == ""
    assert (tmp_path / "files/alerts.yml").exists()


def test_certificates_are_made_by_the_python_of_ansible(tmp_path: Path) -> None:
    """The control node may be a host of the inventory, whose own Python has no library for certificates."""
    tls = tmp_path / "tls"
    plan = {"tls_dir": tls, "tls_authority": tls / "authority.pem", "tls_certificate": tls / "one.pem", "tls_key": tls / "one.key"}
    plan |= {"certificate_names": ["localhost"], "certificate_usages": ["serverAuth"], "tls_renew_days": 30}
    own = {"ansible_connection": "local", "ansible_python_interpreter": "/no-such-python", "_atlas_mlflow_plan": plan}
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"hosts": {"localhost": own}}}, default=str))
    role = {"ansible.builtin.import_role": {"name": "atlas.mlflow.common", "tasks_from": "tls"}}
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [role]}]))
    done = ansible_playbook(tmp_path, "-i", tmp_path / "hosts.yml", tmp_path / "play.yml")
    assert done.returncode == 0 and (tls / "one.pem").exists(), done.stdout + done.stderr


def test_postgres_is_asked_by_its_own_user(run: Any) -> None:
    variables = {"_atlas_mlflow_plan": {}, "_postgres_in_container": False, "_postgres_argv": ["true"]}
    role = {"ansible.builtin.include_role": {"name": "atlas.mlflow.postgres", "tasks_from": "dump_done"}}
    assert "-u postgres " in run(variables, role)
