"""Patroni can open the watchdog of its host when it reads that it must, and not only after its next start."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible.template import Templar
from in_process import LOADER, trusted

TASKS = yaml.safe_load((Path(__file__).resolve().parents[3] / "roles/postgres/tasks/patroni_configure.yml").read_text())


def test_the_user_of_patroni_has_the_watchdog_before_its_settings_change() -> None:
    given, written = TASKS
    assert given["ansible.builtin.file"] == {"path": "/dev/watchdog", "owner": "postgres"} and given["become"]
    assert "atlas.mlflow.files" in written


@pytest.mark.parametrize(
    ("mode", "facts", "check", "owned"),
    [
        ("required", {"watchdog": True}, False, True),
        ("automatic", {"watchdog": True}, False, True),
        ("off", {"watchdog": True}, False, False),
        ("required", {"watchdog": False}, False, False),
        ("automatic", {}, False, False),
        # A check run of a bare host has no user postgres.
        ("automatic", {"watchdog": True}, True, False),
    ],
)
def test_only_a_watchdog_that_is_there_and_used_is_given(mode: str, facts: dict[str, bool], check: bool, owned: bool) -> None:
    known = {"postgres_watchdog": mode, "ansible_facts": facts, "ansible_check_mode": check}
    assert Templar(loader=LOADER, variables=known).template(trusted("{{ " + TASKS[0]["when"] + " }}")) is owned
