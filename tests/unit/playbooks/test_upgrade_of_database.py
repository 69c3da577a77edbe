"""The schema is upgraded only after all servers have stopped and the database was copied, and a database that may have been written to is not rolled back."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from playbook_forks import LOGGED, Run, ansible_playbook, collection_with

#: Added to what stands for a file of tasks: a host that is not reached at a step fails there by its connection, and others by an error.
REACHED = "- ansible.builtin.set_fact: {{ansible_connection: ssh}}\n  when: inventory_hostname ~ ' {step}' in unreached\n- ansible.builtin.raw: 'true'\n"
FAIL = "- ansible.builtin.fail: {{msg: '{step} fails'}}\n  when: inventory_hostname ~ ' {step}' in fails\n"
FACTS = (
    "- ansible.builtin.set_fact: {mlflow_server_upgrade_wanted: true, mlflow_server_upgrade_reasons: [the schema changes], mlflow_server_upgrade_from: '1',"
    " mlflow_server_upgrade_to: '2', mlflow_server_older_copy_is_taken: '{{ mlflow_server_upgrade_roll_back | default(false) | bool }}'}\n"
)
STUBS = {
    "mlflow_server": {
        **dict.fromkeys(("install", "stop", "upgrade_done", "bring_back_database"), REACHED + LOGGED + FAIL),
        "keep_database": REACHED + LOGGED + FAIL,
        "kept_revision": "- ansible.builtin.set_fact: {{mlflow_server_copy_is_older: '{{{{ older }}}}'}}\n",
    },
    "postgres": {
        "primary": "- ansible.builtin.command: echo {{ groups.postgres[-1] }}\n  run_once: true\n  register: found\n"
        "- ansible.builtin.set_fact: {postgres_primary: '{{ found.stdout }}'}\n",
        "dump_check": REACHED
        + LOGGED
        + FAIL
        + "- ansible.builtin.set_fact: {{postgres_rollback_begun: '{{{{ begun }}}}', postgres_schema_changed: '{{{{ older }}}}'}}\n",
        "dump": REACHED + LOGGED + FAIL + "- ansible.builtin.set_fact: {{postgres_dump_is_older: '{{{{ older }}}}'}}\n",
        **dict.fromkeys(("dump_elsewhere", "load", "dump_done"), REACHED + LOGGED + FAIL),
    },
}


def run(folder: Path, *arguments: str, postgres: tuple[str, ...] = ("db",), **given: Any) -> Run:
    """Run the playbook for two servers, which all stop.

    :param given: Which steps of hosts fail (``fails``) or are not reached (``unreached``), and whether the copy is one of an earlier run (``older``), which has
        begun to roll back (``begun``).
    """
    collection = collection_with(folder, "upgrade.yml")
    for role, stubs in STUBS.items():
        for step, text in stubs.items():
            (collection / f"roles/{role}/tasks/{step}.yml").write_text(text if step == "primary" else text.format(step=step))
    server = collection / "roles/mlflow_server"
    (server / "tasks/upgrade_preflight.yml").write_text("- ansible.builtin.meta: noop\n")
    (server / "tasks/upgrade_from.yml").write_text(FACTS)
    release = "run {{ mlflow_server_version }}"
    (server / "tasks/apply.yml").write_text(LOGGED.format(step=release) + FAIL.replace("{step}'", "run ' ~ mlflow_server_version").format(step="the start"))
    (server / "defaults").mkdir()
    (server / "defaults/main.yml").write_text("mlflow_server_version: '2'\n")
    (folder / "log").touch()
    (folder / "ssh").write_text("#!/bin/sh\nexit 255\n")
    (folder / "ssh").chmod(0o755)
    common: dict[str, Any] = {
        "fails": [],
        "unreached": [],
        "older": False,
        "begun": False,
        **given,
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ansible_ssh_executable": str(folder / "ssh"),
        "log": str(folder / "log"),
    }
    groups = {"mlflow_servers": ("one", "two"), "postgres": postgres}
    (folder / "hosts.json").write_text(json.dumps({name: {"hosts": dict.fromkeys(hosts, common)} for name, hosts in groups.items() if hosts}))
    playbook, paths = collection / "playbooks/upgrade.yml", str(folder / "collections")
    done = ansible_playbook(folder, "-i", folder / "hosts.json", playbook, *arguments, modules_here=True, ANSIBLE_COLLECTIONS_PATH=paths)
    return Run.of(folder / "log", done)


def test_the_databases_are_checked_before_the_stop_and_dumped_after_it(tmp_path: Path) -> None:
    done = run(tmp_path, postgres=("other", "db"))
    assert done.status == 0 and done.did("dump") == {"db"} and done.did("load") == done.did("run 1") == set(), done.text
    order = [done.steps.index(step) for step in ("db dump_check", "one stop", "db dump", "one run 2", "db dump_done", "two run 2")]
    assert order == sorted(order) and done.did("dump_elsewhere") == {"other"} and done.did("keep_database") == set()


def test_nothing_stops_if_the_dump_has_no_room(tmp_path: Path) -> None:
    done = run(tmp_path, fails=["db dump_check"])
    assert done.status != 0 and done.did("stop") == set() and "dump_check fails" in done.text


def test_no_schema_is_upgraded_while_a_server_that_is_not_reached_may_run(tmp_path: Path) -> None:
    done = run(tmp_path, unreached=["two stop"])
    assert done.status != 0 and done.did("dump") == done.did("run 2") == set() and done.did("run 1") == {"one"}, done.text
    assert "failed before the database was touched: release 1 serves again. The error: two was not reached, and may still run." in done.text


@pytest.mark.parametrize("postgres", [("db",), ("other", "db")])
def test_no_schema_is_upgraded_without_a_dump_if_the_primary_is_not_reached(tmp_path: Path, postgres: tuple[str, ...]) -> None:
    """The servers start again, also if there is no other host of PostgreSQL."""
    done = run(tmp_path, postgres=postgres, unreached=["db dump"])
    assert done.status != 0 and done.did("run 2") == set() and done.did("run 1") == {"one", "two"}, done.text
    assert "release 1 serves again. The error: The database was not copied, because db was not reached." in done.text


def test_a_replica_that_is_not_reached_keeps_nobody_from_an_upgrade(tmp_path: Path) -> None:
    done = run(tmp_path, postgres=("other", "db"), unreached=["other dump_elsewhere"])
    assert done.did("dump") == {"db"} and done.did("run 2") == {"one", "two"} and done.did("run 1") == set(), done.text


@pytest.mark.parametrize("fails", ["one stop", "db dump"])
def test_a_failure_before_the_upgrade_is_told_by_its_own_error(tmp_path: Path, fails: str) -> None:
    done = run(tmp_path, fails=[fails])
    assert done.status != 0 and done.did("run 2") == set() and done.did("run 1") == {"one", "two"}
    assert f"before the database was touched: release 1 serves again. The error: {fails.split()[1]} fails" in done.text


@pytest.mark.parametrize("postgres", [("db",), ()])
def test_a_database_of_this_run_is_rolled_back(tmp_path: Path, postgres: tuple[str, ...]) -> None:
    done = run(tmp_path, postgres=postgres, fails=["one run 2"])
    back = [done.steps.index(step) for step in ("one stop", "db load" if postgres else "one bring_back_database", "one run 1")]
    assert done.status != 0 and back == sorted(back) and done.did("run 1") == {"one", "two"}
    assert "was rolled back: release 1 serves again, on the database as it was before. The error: the start fails" in done.text


@pytest.mark.parametrize("postgres", [("db",), ()])
def test_a_database_that_an_interrupted_run_has_changed_is_not_rolled_back(tmp_path: Path, postgres: tuple[str, ...]) -> None:
    """Users may have written to it since. The records stay, so that the next run goes on, too."""
    done = run(tmp_path, postgres=postgres, fails=["one run 2"], older=True)
    steps = ("load", "bring_back_database", "dump_done", "upgrade_done", "run 1")
    assert done.status != 0 and all(done.did(step) == set() for step in steps) and done.did("run 2") == {"one"}, done.text
    assert done.steps.count("one stop") == 1, "users may have been served by it before this run"
    assert "so the database was not rolled back. Correct the failure, and run upgrade.yml again." in done.text
    assert "add -e mlflow_server_upgrade_roll_back=true. The error: the start fails" in done.text


@pytest.mark.parametrize("postgres", [("db",), ()])
def test_it_is_rolled_back_if_that_is_said(tmp_path: Path, postgres: tuple[str, ...]) -> None:
    done = run(tmp_path, "-e", "mlflow_server_upgrade_roll_back=true", postgres=postgres, fails=["one run 2"], older=True)
    assert done.status != 0 and done.did("load") | done.did("bring_back_database") == ({*postgres} or {"one"})
    assert done.did("run 1") == {"one", "two"} and "was rolled back: release 1 serves again" in done.text


def test_an_interrupted_run_is_completed(tmp_path: Path) -> None:
    done = run(tmp_path, older=True)
    assert done.status == 0 and done.did("run 2") == {"one", "two"} and done.did("load") == set() and done.did("dump_done") == {"db"}


@pytest.mark.parametrize("fails", ["one stop", "db dump"])
def test_no_former_release_starts_on_a_schema_that_an_interrupted_run_has_changed(tmp_path: Path, fails: str) -> None:
    done = run(tmp_path, fails=[fails], older=True)
    assert done.status != 0 and done.did("run 1") == done.did("run 2") == done.did("upgrade_done") == done.did("dump_done") == set()
    assert "so the database was not rolled back. Correct the failure, and run upgrade.yml again." in done.text and f"{fails.split()[1]} fails" in done.text


def test_a_server_that_the_interrupted_run_has_stopped_need_not_be_reached(tmp_path: Path) -> None:
    done = run(tmp_path, unreached=["two stop"], older=True)
    assert done.did("run 2") == {"one"} and done.did("run 1") == set(), done.text


@pytest.mark.parametrize("older", [True, False])
def test_a_rollback_that_was_interrupted_is_completed_before_a_new_dump(tmp_path: Path, older: bool) -> None:
    done = run(tmp_path, postgres=("other", "db"), begun=True, older=older)
    order = [done.steps.index(step) for step in ("one stop", "two stop", "db load", "db dump", "one run 2")]
    assert done.status == 0 and order[2:] == sorted(order[2:]) and max(order[:2]) < order[2] and done.did("load") == {"db"}, done.text


@pytest.mark.parametrize("fails", ["one run 2", "db dump"])
def test_after_that_the_run_is_rolled_back_as_any_other(tmp_path: Path, fails: str) -> None:
    done = run(tmp_path, begun=True, older=True, fails=[fails])
    assert done.status != 0 and done.steps.count("db load") == 1 + (fails == "one run 2") and done.did("run 1") == {"one", "two"}


def test_no_server_starts_if_it_cannot_be_completed(tmp_path: Path) -> None:
    done = run(tmp_path, begun=True, fails=["db load"])
    assert done.status != 0 and done.did("dump") == done.did("run 1") == done.did("run 2") == set()
