"""The settings with which PostgreSQL runs, in each kind of deployment."""

from __future__ import annotations

from typing import Any

import pytest

from inventories import Case, Run

#: Where each kind of deployment has the settings, as an expression of the role.
PLACES = {
    "systemd": "lookup('ansible.builtin.template', role_path ~ '/templates/atlas-mlflow.conf.j2')",
    "container": "_postgres_container_argv | join('\n')",
    "podman": "_postgres_quadlet.argv | join('\n')",
}


def settings(deployment: str, **given: Any) -> dict[str, str]:
    """Return the settings of PostgreSQL on a host, as texts."""
    known = Run(Case({"postgres": ["db"]}, {"db": {"postgres_deployment": deployment, **given}}), secrets={"postgres_password": "p"})
    lines = known.value("db", "postgres", PLACES[deployment]).splitlines()
    pairs = (line.removeprefix("--").partition("=") for line in lines if "=" in line)
    return {name.strip(): value.strip(" '") for name, _sign, value in pairs}


@pytest.mark.parametrize("deployment", PLACES)
def test_postgresql_has_connections_for_all_tracking_servers(deployment: str) -> None:
    assert settings(deployment, postgres_connections=240)["max_connections"] == "250"
    assert settings(deployment, postgres_connections="240", postgres_settings={"max_connections": 400})["max_connections"] == "400"
    # The default of PostgreSQL is enough.
    assert "max_connections" not in settings(deployment, postgres_connections=60)


@pytest.mark.parametrize("deployment", PLACES)
def test_the_settings_of_the_user_are_used(deployment: str) -> None:
    found = settings(deployment, postgres_settings={"work_mem": "16MB", "jit": False, "log_min_duration_statement": 500})
    assert (found["work_mem"], found["jit"].lower(), found["log_min_duration_statement"]) == ("16MB", "false", "500")
