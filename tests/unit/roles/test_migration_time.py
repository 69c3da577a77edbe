"""A start that upgrades the schema has the time that a large database takes, in each deployment, and another start has not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from inventories import Case, Run

ROLE = Path(__file__).resolve().parents[3] / "roles/mlflow_server"


def limits(deployment: str, **given: Any) -> dict[str, int]:
    """Return the seconds that systemd, the health check and the probe give a start."""
    known = Run(Case({"mlflow_servers": ["a"], "postgres": ["b"]}, {"a": {"mlflow_server_deployment": deployment, **given}, "b": {}}))
    unit = re.search(r"^TimeoutStartSec=\{\{(.*)}}$", (ROLE / "templates/mlflow-server.service.j2").read_text(), re.MULTILINE)
    assert unit
    probe = next(task["atlas.mlflow.mlflow_probe"]["wait"] for task in yaml.safe_load((ROLE / "tasks/verify.yml").read_text()) if "own host" in task["name"])
    asked = {"unit": unit[1], "probe": probe.strip('{"}'), "health": "_mlflow_server_health_start"}
    return {name: int(str(known.value("a", "mlflow_server", text)).rstrip("s")) for name, text in asked.items()}


@pytest.mark.parametrize("deployment", ["systemd", "container", "podman"])
def test_a_start_that_upgrades_the_schema_has_an_hour_more(deployment: str) -> None:
    usual, upgrading = limits(deployment), limits(deployment, mlflow_server_backend_store_upgrade=True)
    assert usual == {"unit": 120, "probe": 120, "health": 180}
    assert upgrading == {name: seconds + 3600 for name, seconds in usual.items()}


def test_the_time_is_a_setting_which_another_start_does_not_read() -> None:
    given = {"mlflow_server_migration_timeout": 7, "mlflow_server_start_timeout": 50, "mlflow_server_stores_timeout": "20"}
    assert limits("systemd", **given, mlflow_server_backend_store_upgrade="true") == {"unit": 87, "probe": 57, "health": 77}
    assert limits("systemd", **given, mlflow_server_backend_store_upgrade=False) == {"unit": 80, "probe": 50, "health": 70}
