"""A host has the exporter of PostgreSQL as long as it has PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from inventories import Case, Run

TASKS = Path(__file__).resolve().parents[3] / "roles/metrics/tasks"
NAMES = ("one", "Two.Example.com", "ml_three", "four", "five")
PACKAGE = "prometheus-postgres-exporter"
WITH = {"mlflow_servers": ["one"], "postgres": ["one", "Two.Example.com", "ml_three"], "prometheus": ["four"]}
WITHOUT = {"mlflow_servers": ["one"], "postgres": ["Two.Example.com", "ml_three", "five"], "prometheus": ["four"]}


@pytest.mark.parametrize(
    ("groups", "packages", "removed"),
    [
        # A member of a cluster.
        (WITH, [PACKAGE, "prometheus-node-exporter"], False),
        # A host that has left the cluster, and is still a tracking server.
        (WITHOUT, [PACKAGE, "prometheus-node-exporter"], True),
        (WITHOUT, ["prometheus-node-exporter"], False),
        (WITHOUT, None, False),
    ],
)
def test_a_host_that_has_no_postgresql_any_more_loses_its_exporter(groups: dict[str, list[str]], packages: list[str] | None, removed: bool) -> None:
    given: dict[str, Any] = {"atlas_mlflow_tls": True, "ansible_facts": {} if packages is None else {"packages": dict.fromkeys(packages, [])}}
    run = Run(Case(groups, dict.fromkeys(NAMES, given)), secrets={})
    removal = yaml.safe_load((TASKS / "exporters.yml").read_text())[-1]
    assert removal["ansible.builtin.include_tasks"] == "no_postgres.yml" and run.value("one", "metrics", removal["when"]) is removed


def test_a_package_that_others_installed_stays() -> None:
    (remove, _look, package) = yaml.safe_load((TASKS / "no_postgres.yml").read_text())
    assert remove["vars"]["common_unit"] == "{{ _metrics_postgres_unit }}" and package["vars"]["__installed"] == [PACKAGE]
    for link, ours in (("/dev/null", True), ("", False)):
        given = {"__metrics_postgres_mask": {"stat": {"lnk_source": link} if link else {}}}
        assert Run(Case(WITHOUT, dict.fromkeys(NAMES, given)), secrets={}).value("one", "metrics", package["when"]) is ours
