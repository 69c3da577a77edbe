"""The size of a running PostgreSQL's data before an upgrade: a file that is removed meanwhile does not matter, a missing folder does."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import yaml
from playbook_forks import ansible_playbook

TASKS = Path(__file__).resolve().parents[3] / "roles/postgres/tasks/upgrade_from.yml"


@pytest.mark.parametrize(("prints", "status", "passes"), [("4096\t/data", 0, True), ("4096\t/data", 1, True), ("", 1, False)])
def test_a_file_that_is_removed_meanwhile_does_not_matter(prints: str, status: int, passes: bool, tmp_path: Path) -> None:
    def tasks(found: list[dict[str, object]]) -> list[dict[str, object]]:
        return [task for one in found for task in [one, *tasks(one.get("block", []))]]  # type: ignore[arg-type]

    (measure,) = (task for task in tasks(yaml.safe_load(TASKS.read_text())) if task.get("register") == "__postgres_measured")
    program = tmp_path / "bin/du"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nprintf '%s' '{prints}'\nexit {status}\n")
    program.chmod(0o755)
    hosts = {"vars": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "_postgres_former": {"version": "15"}}, "hosts": {"a": {}}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": hosts}))
    play = [{"hosts": "all", "gather_facts": False, "tasks": [{**measure, "become": False}]}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play, sort_keys=False))
    done = ansible_playbook(tmp_path, "-i", tmp_path / "hosts.yml", tmp_path / "play.yml", PATH=f"{program.parent}:{os.environ['PATH']}")
    assert (done.returncode == 0) == passes, done.stdout + done.stderr
