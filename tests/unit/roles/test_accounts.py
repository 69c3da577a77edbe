"""The accounts of services: the role makes one that is missing, leaves one that exists, and removes only one that it can have made."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from inventories import Case, Run

ROOT = Path(__file__).resolve().parents[3]
SERVICES = {"mlflow_server": "mlflow", "minio": "minio"}
#: Fields of an account: password, user, group, comment, home, shell.
MADE, ELSEWHERE = (["x", "990", "990", "", home, "/usr/sbin/nologin"] for home in ("/var/lib/service", "/srv/former"))
SOMEBODY = ["x", "1000", "1000", "Ada", "/home/ada", "/bin/bash"]


def acts(role: str, file: str, account: list[str] | None, **given: object) -> bool:
    """Say whether the task for the account of a role is run on a host that has, or lacks, the account."""
    (task,) = (task for task in yaml.safe_load((ROOT / f"roles/{role}/tasks/{file}.yml").read_text()) if "ansible.builtin.user" in task)
    conditions = task["when"] if isinstance(task["when"], list) else [task["when"]]
    facts = {
        "getent_passwd": {"root": ["x", "0", "0", "", "/root", "/bin/bash"], **({given.get(f"{role}_os_user", SERVICES[role]): account} if account else {})}
    }
    known = Run(Case({"mlflow_servers": ["one"], "minio": ["one"]}, {"one": {"ansible_facts": facts, **given}}), secrets={"minio_secret_key": "s"})
    return all(known.value("one", role, condition) for condition in conditions)


@pytest.mark.parametrize("role", SERVICES)
def test_only_a_missing_account_is_made(role: str) -> None:
    assert acts(role, "install", None)
    # A running service's account, with the home that it had before the data folder changed, and an account that is somebody's.
    assert not any(acts(role, "install", account) for account in (MADE, ELSEWHERE, SOMEBODY))
    assert acts(role, "install", None, **{f"{role}_os_user": "other"}) and not acts(role, "install", MADE, **{f"{role}_os_user": "other"})


@pytest.mark.parametrize("role", SERVICES)
def test_the_account_of_somebody_is_not_removed(role: str) -> None:
    data = {f"{role}_remove_data": True}
    assert all(acts(role, "remove", account, **data) for account in (MADE, ELSEWHERE))
    assert not acts(role, "remove", SOMEBODY, **data) and not acts(role, "remove", MADE)


@pytest.mark.parametrize(("metrics", "removed"), [(True, []), (False, ["scraper"])])
def test_a_stack_without_metrics_has_no_account_for_them(metrics: bool, removed: list[str]) -> None:
    (task,) = yaml.safe_load((ROOT / "roles/minio/tasks/bucket.yml").read_text())
    accounts = task["atlas.mlflow.minio_service_account"]["accounts"]
    given = {"atlas_mlflow_metrics": metrics, "atlas_mlflow_metrics_clients": ["10.8.0.9"], "minio_metrics_access_key": "scraper"}
    known = Run(
        Case(
            {"mlflow_servers": ["one"], "minio": ["one"]},
            {"one": {**given, "__account": {"access_key": "mlflow"}, "minio_accounts": [{"access_key": "photos"}]}},
        ),
        secrets={"minio_secret_key": "s"},
    )
    without = known.value("one", "minio", task["vars"]["__without_metrics"].strip()[3:-3])
    assert [account["access_key"] for account in without] == removed and all(account["state"] == "absent" for account in without)
    assert accounts == "{{ [__account] + minio_accounts + __without_metrics }}"
