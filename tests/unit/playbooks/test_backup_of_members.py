"""A host of PostgreSQL with backups in a bucket becomes the first of three by site.yml alone, which also sets up the backup of the cluster and makes one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.template import Templar
from in_process import LOADER, trusted

from inventories import Case, Run

PLAYBOOKS = Path(__file__).resolve().parents[3] / "playbooks"
MEMBERS = ("one", "ml_three", "10.9.0.4")
BUCKET = "s3://kept/atlas"
TIMER = "atlas-mlflow-backup.timer"
#: What the facts of a host say of its backup: that of one host, that of a cluster, none, and one that the user disabled.
ALONE, OF_CLUSTER = ({"stack": {"backup": {"repository": BUCKET, "of_cluster": of_cluster, "secrets": {}}}, "timers": [TIMER]} for of_cluster in (False, True))
NONE: dict[str, Any] = {"stack": {}, "timers": ["postgres-maintenance.timer"]}
DISABLED = {"stack": {}, "timers": [TIMER]}


def joins(*facts: dict[str, Any], repository: str = BUCKET) -> set[bool]:
    """Return what the plans say of the backup.

    :param facts: What is known of each host of PostgreSQL.
    """
    given = {"atlas_mlflow_tls": True, "backup_repository": repository}
    hosts = {name: {**given, "ansible_facts": {"processor_nproc": 2, **known}} for name, known in zip(MEMBERS, facts, strict=False)}
    case = Case({"mlflow_servers": ["Two.Example.com"], "postgres": list(hosts)}, {**hosts, "Two.Example.com": given})
    return {plan["backup_joins"] for plan in Run(case).plans.values()}


@pytest.mark.parametrize(
    "facts",
    [
        (ALONE, NONE, NONE),
        # As an earlier release asked for, before backup.yml was run.
        (DISABLED, NONE, NONE),
        # A run was interrupted, and a member joined or took the place of another one.
        (OF_CLUSTER, NONE, NONE),
        (OF_CLUSTER, OF_CLUSTER, NONE),
        (NONE, OF_CLUSTER, OF_CLUSTER),
    ],
)
def test_members_without_a_backup_get_that_of_the_cluster(facts: tuple[dict[str, Any], ...]) -> None:
    assert joins(*facts) == {True}


@pytest.mark.parametrize(
    ("facts", "repository"),
    [
        ((NONE, NONE, NONE), BUCKET),
        ((OF_CLUSTER, OF_CLUSTER, OF_CLUSTER), BUCKET),
        # One host.
        ((ALONE,), BUCKET),
        # Nobody knows that all hosts have this folder from one share.
        ((ALONE, NONE, NONE), "/mnt/backups"),
        ((OF_CLUSTER, OF_CLUSTER, NONE), "/mnt/backups"),
    ],
)
def test_otherwise_a_backup_is_the_matter_of_its_own_playbook(facts: tuple[dict[str, Any], ...], repository: str) -> None:
    assert joins(*facts, repository=repository) == {False}


def test_the_backup_is_set_up_and_made_after_the_servers_use_the_cluster() -> None:
    plays = yaml.safe_load((PLAYBOOKS / "site.yml").read_text(encoding="utf-8"))
    (place,) = [number for number, play in enumerate(plays) if "atlas.mlflow.backup" in str(play.get("tasks"))]
    assert place > max(number for number, play in enumerate(plays) if "atlas.mlflow.mlflow_server" in str(play) or "verify_proxies" in str(play))
    assert plays[place]["any_errors_fatal"]
    set_up, make = plays[place]["tasks"]
    assert "tasks_from" not in set_up["ansible.builtin.include_role"] and make["ansible.builtin.include_role"]["tasks_from"] == "run"
    assert set_up["when"] == make["when"] == "_atlas_mlflow_plan.backup_joins and not ansible_check_mode"


@pytest.mark.parametrize(
    ("known", "wanted"),
    [
        ({"_atlas_mlflow_plan": {"backup_joins": True}}, True),
        ({"_atlas_mlflow_plan": {"backup_joins": False}}, False),
        ({"_atlas_mlflow_plan": {"backup_joins": False}, "_atlas_mlflow_backs_up": True}, True),
        # A host that failed has no plan.
        ({}, False),
    ],
)
def test_the_passphrase_is_compared_before_the_preflight_reads_it(known: dict[str, Any], wanted: bool) -> None:
    """The look-up makes a missing passphrase: another control node would have a new one, and a playbook end after it has changed the cluster."""
    (play,) = yaml.safe_load((PLAYBOOKS / "internal/facts.yml").read_text(encoding="utf-8"))
    (given,) = [task["vars"]["common_backs_up"] for task in play["tasks"] if "common_backs_up" in task.get("vars", {})]
    assert Templar(loader=LOADER, variables=known).template(trusted(given)) is wanted
    checking = [path for path in PLAYBOOKS.glob("*.yml") if "internal/preflight.yml" in path.read_text(encoding="utf-8")]
    facts = [play for path in checking for play in yaml.safe_load(path.read_text(encoding="utf-8")) if "internal/facts.yml" in str(play)]
    assert len(facts) == len(checking) and {play.get("vars", {}).get("_atlas_mlflow_backs_up", True) for play in facts} == {True}


def test_the_passphrase_is_compared_before_a_running_member_is_replaced() -> None:
    """Its backup is there until it leaves, so the plan before does not say that site.yml sets up the backup."""
    facts, *_ = yaml.safe_load((PLAYBOOKS / "replace_postgres_member.yml").read_text(encoding="utf-8"))
    assert facts["ansible.builtin.import_playbook"] == "internal/facts.yml" and facts["vars"]["_atlas_mlflow_backs_up"] is True


def test_the_settings_of_the_backup_are_checked_before_any_host_is_changed() -> None:
    (play,) = yaml.safe_load((PLAYBOOKS / "internal/preflight.yml").read_text(encoding="utf-8"))
    (check,) = [task for task in play["tasks"] if "atlas.mlflow.backup" in str(task)]
    assert check["ansible.builtin.include_role"]["tasks_from"] == "preflight_settings"
    assert check["when"] == "'postgres' in group_names and _atlas_mlflow_plan.backup_joins"
