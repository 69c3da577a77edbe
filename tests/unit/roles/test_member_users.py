"""The user of pg_rewind has what it needs after each run, also if an earlier one was interrupted after it had created the user."""

from __future__ import annotations

from pathlib import Path

import yaml

TASKS = yaml.safe_load((Path(__file__).resolve().parents[3] / "roles/postgres/tasks/patroni_users.yml").read_text())


def test_each_run_grants_what_pg_rewind_reads_and_a_second_run_changes_nothing() -> None:
    created, granted = TASKS
    assert "_postgres_rewind_user" in str(created["loop"])
    assert "GRANT EXECUTE" in granted["community.postgresql.postgresql_query"]["query"]
    assert "when" not in granted
    assert granted["changed_when"] == f"{created['register']} is changed"
