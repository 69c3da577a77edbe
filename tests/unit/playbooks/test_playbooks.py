"""What a user sees of the playbooks: no warning of a group that an inventory need not have, no name of a task that cannot be filled in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from playbook_forks import ansible_playbook
from plays import NESTED, tasks_of

ROOT = Path(__file__).resolve().parents[3]
PLAYBOOKS = sorted(path for folder in ("playbooks", "playbooks/internal") for path in (ROOT / folder).glob("*.yml"))
#: Playbooks that are about a group, so that a warning of its absence is right.
NEEDS = {
    "bundle.yml": "builders",
    "demo.yml": "clients",
    "switch_over_postgres.yml": "postgres",
    "update_postgres.yml": "postgres",
    "upgrade_postgres.yml": "postgres",
}


def hosts_of(path: Path) -> list[str]:
    """Return what the plays of a playbook say of their hosts."""
    return [play["hosts"] for play in yaml.safe_load(path.read_text()) if "hosts" in play]


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.stem)
def test_no_play_names_a_group_that_an_inventory_need_not_have(path: Path) -> None:
    """Ansible warns of each that is not there. An expression is asked only for groups that are, which the scenarios over SSH prove."""
    needed = {"localhost", "mlflow_servers", NEEDS.get(path.name)}
    plain = [re.sub(r"\[.*", "", name) for hosts in hosts_of(path) if "groups" not in hosts for name in hosts.split(":")]
    assert set(plain) <= needed


#: Playbooks that need no host of the stack, or say themselves which one they lack.
WITHOUT_STACK = {"demo.yml", "inventory.yml", "remove_postgres_member.yml"}


@pytest.mark.parametrize("path", [path for path in PLAYBOOKS if path.parent.name == "playbooks" and path.name not in WITHOUT_STACK], ids=lambda path: path.stem)
def test_the_first_play_refuses_an_inventory_without_a_host_of_the_stack(path: Path) -> None:
    first = yaml.safe_load(path.read_text())[0]
    hosts = first["hosts"] if "hosts" in first else hosts_of(path.parent / first["ansible.builtin.import_playbook"])[0]
    assert "groups | atlas.mlflow.checked_groups" in hosts


@pytest.mark.parametrize(
    ("playbook", "inventory", "said"),
    [
        ("verify", None, "has no group, or is not there"),
        ("diagnose", {"mlflow_server": {"hosts": {"one": None}}}, "mlflow_server (did you mean mlflow_servers?)"),
    ],
)
def test_a_run_without_a_host_of_the_stack_is_no_success(tmp_path: Path, playbook: str, inventory: Any, said: str) -> None:
    hosts = tmp_path / "hosts.yml"
    if inventory:
        hosts.write_text(yaml.safe_dump(inventory))
    # As for users, and unlike in the checks, where Ansible itself refuses an inventory that it cannot read.
    done = ansible_playbook(tmp_path, "-i", hosts, ROOT / f"playbooks/{playbook}.yml", ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED="false")
    assert done.returncode != 0
    shown = " ".join((done.stdout + done.stderr).split())
    assert said in shown and f"The inventory {hosts} has no host in the group" in shown, shown


def test_a_task_has_a_name_whatever_is_known_at_that_time() -> None:
    """Ansible names a task that it skips as well, and warns of a variable that an earlier task would have made."""
    files = [*PLAYBOOKS, *ROOT.glob("playbooks/internal/tasks/*.yml"), *ROOT.glob("roles/*/tasks/*.yml")]
    names = [(path.relative_to(ROOT), task["name"]) for path in files for task in tasks_of(yaml.safe_load(path.read_text())) if "name" in task]
    assert len(names) > 300
    assert [entry for entry in names if re.search(r"{{.*(\b__|ansible_facts|hostvars)", entry[1])] == []


def test_a_module_that_runs_as_an_ordinary_user_makes_no_folder_in_its_home() -> None:
    """Ansible warns of that folder. It makes it where the user may not read the home of the one who came by SSH, as on Debian 13."""
    files = [*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("roles/*/handlers/*.yml"), *PLAYBOOKS]
    found = [(path.relative_to(ROOT), task) for path in files for task in tasks_of(yaml.safe_load(path.read_text())) if "become_user" in task]
    assert len(found) > 10
    assert [(path, task["name"]) for path, task in found if "ansible_remote_tmp" not in task.get("vars", {})] == []


def test_what_is_shown_is_a_list_of_lines() -> None:
    """By default, Ansible shows a message as JSON, in which a line break is two signs."""
    files = [*PLAYBOOKS, *ROOT.glob("roles/*/tasks/*.yml")]
    shown = [task["ansible.builtin.debug"]["msg"] for path in files for task in tasks_of(yaml.safe_load(path.read_text())) if "ansible.builtin.debug" in task]
    lines = [line for msg in shown for line in ([msg] if isinstance(msg, str) else msg)]
    assert any("diagnosis_table" in line for line in lines)
    assert [line for line in lines if re.search(r"\\n|\n.", line)] == []


@pytest.mark.parametrize("role", [path.parents[1].name for path in sorted(ROOT.glob("roles/*/defaults/main.yml")) if "_tls_certificate:" in path.read_text()])
def test_a_role_that_is_used_alone_creates_a_certificate_once_its_settings_are_checked(role: str) -> None:
    """As the playbooks do: its plan names the certificate."""
    steps = []
    for task in yaml.safe_load((ROOT / "roles" / role / "tasks/main.yml").read_text()):
        given = task.get("ansible.builtin.include_role") or {}
        steps.append(f"{given['name'].rpartition('.')[2]}/{given.get('tasks_from', 'main')}" if given else task["ansible.builtin.import_tasks"])
    assert steps == ["common/facts", "preflight.yml", "common/tls", "apply.yml"]


#: An expression, and in it a name that may have no value, unless the expression gives one itself.
EXPRESSION = re.compile(r"\{\{.*?\}\}")
CONDITIONS = {"when", "that", "until", "changed_when", "failed_when"}
NAME = re.compile(r"(?<!['./\w])[a-z]+_[a-z0-9_]+\b(?!\s*\|\s*default|'|\s+(?:if \w+ )?is\s+(?:not\s+)?defined)")


def expressions(value: Any, key: str = "") -> Iterator[str]:
    """Return the expressions in a part of a task."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from expressions(item, str(name))
    elif isinstance(value, list):
        for item in value:
            yield from expressions(item, key)
    elif isinstance(value, str):
        yield from [value] if key in CONDITIONS else EXPRESSION.findall(value)


def settings_read(task: dict[str, Any], names: set[str]) -> set[str]:
    """Return which of the names a task, or a play or block without its tasks, reads and does not set itself."""
    alone = {key: value for key, value in task.items() if key not in NESTED}
    return names & ({name for text in expressions(alone) for name in NAME.findall(text)} - set(task.get("vars", {})))


def test_a_playbook_reads_no_setting_outside_of_its_role() -> None:
    """Only tasks of the role know its default, so an inventory that does not set it would fail there."""
    names = {name for path in ROOT.glob("roles/*/defaults/main.yml") for name in yaml.safe_load(path.read_text())}
    for given in ({"debug": {"msg": "{{ mlflow_server_version }}"}}, {"when": "mlflow_server_version == '3'"}):
        assert settings_read(given, names) == {"mlflow_server_version"}
        assert settings_read({**given, "vars": {"mlflow_server_version": "any"}}, names) == set()
    assert settings_read({"debug": {"msg": "{{ mlflow_server_version | default(1) }} {{ 'mlflow_server_version' }}"}}, names) == set()
    files = [*PLAYBOOKS, *ROOT.glob("playbooks/internal/tasks/*.yml")]
    tasks = [(path.name, task) for path in files for task in tasks_of(yaml.safe_load(path.read_text()))]
    # A task that runs a role gives it values.
    own = [(name, task) for name, task in tasks if not {"ansible.builtin.include_role", "ansible.builtin.import_role"} & set(task)]
    assert {(name, read) for name, task in own for read in settings_read(task, names)} == set()


def test_a_backup_that_runs_is_stopped_before_anything_that_it_reads_is_removed() -> None:
    """Its mirror would take artifacts that are removed meanwhile for deleted ones, and its point would be incomplete."""
    plays = yaml.safe_load((ROOT / "playbooks/remove.yml").read_text())
    calls = [task["ansible.builtin.include_role"] for task in tasks_of(plays) if "ansible.builtin.include_role" in task]
    removed = [call["name"] for call in calls if call["tasks_from"] == "remove"]
    assert removed.index("atlas.mlflow.backup") < min(removed.index(f"atlas.mlflow.{role}") for role in ("mlflow_server", "minio", "postgres"))
    begins = yaml.safe_load((ROOT / "roles/backup/tasks/remove.yml").read_text())[0]
    first = yaml.safe_load((ROOT / "roles/backup/tasks" / begins["ansible.builtin.import_tasks"]).read_text())[0]
    assert "atlas-mlflow-backup.service" in first["ansible.builtin.command"]["argv"]
