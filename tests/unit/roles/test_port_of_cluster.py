"""Another port of the members of a cluster takes effect: until their restart, a run asks PostgreSQL at the present one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from inventories import Case, Run

TASKS = Path(__file__).resolve().parents[3] / "roles/postgres/tasks"
MEMBERS = ["one", "Two.Example.com", "ml_three"]
RUNS = {"address": "10.0.0.1", "port": 5432, "pid": 7, "process": "postgres", "group": "patroni.service"}


def known(listeners: list[dict[str, Any]], **results: Any) -> Run:
    """Return what a run knows of a cluster whose first member has listeners and gets another port."""
    hosts = dict.fromkeys(MEMBERS, {"atlas_mlflow_tls": True, "postgres_port": 5433, **results})
    run = Run(Case({"mlflow_servers": ["one"], "postgres": MEMBERS}, hosts), secrets={})
    run.hosts["one"]["ansible_facts"]["listeners"] = listeners
    return run


@pytest.mark.parametrize(
    ("listeners", "port"),
    [
        ([{**RUNS, "group": "etcd.service", "process": "etcd", "port": 2379}, RUNS, {**RUNS, "address": "127.0.0.1"}], 5432),
        ([{**RUNS, "process": "patroni", "port": 8008}], 5433),
        # One host that becomes the first of three: Patroni starts its PostgreSQL at the port.
        ([{**RUNS, "group": "postgresql@17-main.service"}], 5433),
        ([{**RUNS, "group": "atlas-mlflow-pgbouncer.service", "process": "pgbouncer", "port": 6432}], 5433),
        ([], 5433),
    ],
)
def test_the_present_port_is_that_of_the_postgresql_of_patroni(listeners: list[dict[str, Any]], port: int) -> None:
    assert known(listeners).value("one", "postgres", "_postgres_present_port") == port


def test_an_upgrade_starts_postgresql_at_the_wanted_port() -> None:
    assert known([RUNS], postgres_upgrade_from="16").value("one", "postgres", "_postgres_present_port") == 5433


def test_the_users_of_the_members_are_changed_at_the_present_port() -> None:
    tasks = yaml.safe_load((TASKS / "patroni_users.yml").read_text())
    ports = [arguments["login_port"] for task in tasks for name, arguments in task.items() if name.startswith("community.postgresql.")]
    assert ports == ["{{ _postgres_present_port }}"] * 2


@pytest.mark.parametrize(
    ("own", "of_cluster", "listeners", "waits"),
    [
        (True, False, [RUNS], True),
        (False, True, [RUNS], True),
        (False, False, [RUNS], False),
        # A member that has just started has read its settings.
        (True, False, [], False),
        (None, False, [RUNS], False),
    ],
)
def test_a_run_waits_until_a_running_member_has_read_its_settings(own: bool | None, of_cluster: bool, listeners: list[dict[str, Any]], waits: bool) -> None:
    results = {"__postgres_cluster_changed": {"changed": of_cluster}, **({} if own is None else {"__postgres_settings": {"changed": own}})}
    run = known(listeners, **results)
    assert run.value("one", "postgres", "_postgres_settings_changed") is waits
    first = {"json": {"pending_restart": False}}
    run = known(listeners, **results, __postgres_patroni=first, __postgres_patroni_later={"json": {"pending_restart": True}} if waits else {"skipped": True})
    tasks = yaml.safe_load((TASKS / "patroni_settings.yml").read_text())
    restart = next(task["vars"]["__restart"] for task in tasks if "__restart" in task.get("vars", {}))
    assert run.value("one", "postgres", restart.strip()[2:-2]) is waits
