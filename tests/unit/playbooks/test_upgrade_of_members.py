"""All members of a cluster of PostgreSQL are upgraded together. If one fails, all go back, and no member starts without the data of the primary."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from playbook_forks import LOGGED, Run, ansible_playbook, collection_with

ROOT = Path(__file__).resolve().parents[3]
TASKS = ROOT / "roles/postgres/tasks"
#: Added to what stands for a file of tasks: it fails on some hosts.
FAIL = "- ansible.builtin.fail: {{msg: it fails}}\n  when: inventory_hostname ~ ' {step}' in fails\n"
FACTS = (
    "- ansible.builtin.set_fact: {postgres_upgrade_from: '15', postgres_upgrade_to: '17', postgres_upgrade_phase: '{{ phase }}',"
    " postgres_primary: two, postgres_upgrade_of_backups: false}\n"
)
#: Whose real tasks run: what they include is logged, and pg_upgrade is a program of the test.
REAL = ("upgrade", "upgrade_cluster")
STEPS = (
    *("upgrade_install", "upgrade_cluster_check", "upgrade_cluster_note", "upgrade_cluster_count", "upgrade_cluster_stop", "upgrade_cluster_forget"),
    *("apply", "upgrade_collations", "upgrade_switched", "upgrade_back", "upgrade_done", "remove_older"),
)
MEMBERS = ("one", "two", "three")


def run(folder: Path, *arguments: str, fails: tuple[str, ...] = (), phase: str = "", pg_upgrade: str = "/bin/true") -> Run:
    """Run the playbook for three members, of which the second one is the primary, and one server.

    :param fails: Hosts with a step that fails there.
    :param phase: The phase of an interrupted upgrade.
    :param pg_upgrade: The program that copies the data.
    """
    collection = collection_with(folder, "upgrade_postgres.yml")
    postgres = collection / "roles/postgres/tasks"
    for name in REAL:
        # The program runs as the user of the test.
        (postgres / f"{name}.yml").write_text((TASKS / f"{name}.yml").read_text().replace("  become: true\n  become_user: postgres\n", ""))
    for step in STEPS:
        (postgres / f"{step}.yml").write_text(LOGGED.format(step=step) + FAIL.format(step=step))
    (postgres / "upgrade_preflight.yml").write_text("- ansible.builtin.meta: noop\n")
    (postgres / "upgrade_from.yml").write_text(FACTS)
    (postgres / "upgrade_cluster_note.yml").write_text(LOGGED.format(step="{{ __phase }}"))
    for step in ("preflight", "stop", "apply"):
        (collection / f"roles/mlflow_server/tasks/{step}.yml").write_text(LOGGED.format(step=step) + FAIL.format(step=step))
    log = folder / "log"
    log.touch()
    common: dict[str, Any] = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "log": str(log),
        "fails": list(fails),
        "phase": phase,
        "_postgres_pg_upgrade_argv": [pg_upgrade],
        "_postgres_former_dump_dir": str(folder),
        "_postgres_remote_tmp": "/tmp",
        "_postgres_version": "17",
        "_postgres_counted": {},
        "postgres_members": list(MEMBERS),
    }
    inventory = {"postgres": {"hosts": dict.fromkeys(MEMBERS, common)}, "mlflow_servers": {"hosts": {"server": common}}}
    (folder / "hosts.json").write_text(json.dumps(inventory))
    playbook, paths = collection / "playbooks/upgrade_postgres.yml", str(folder / "collections")
    # In the inventory, as the playbook demands.
    done = ansible_playbook(folder, "-i", folder / "hosts.json", playbook, *arguments, modules_here=True, ANSIBLE_COLLECTIONS_PATH=paths)
    return Run.of(log, done)


def test_all_is_checked_before_the_servers_stop_and_the_primary_has_the_data_before_others_start(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.status == 0, done.text
    order = [done.steps.index(step) for step in ("two upgrade_cluster_check", "server stop", "two upgrade_cluster_count", "two upgrade_cluster_stop")]
    assert order == sorted(order) and done.did("upgrade_cluster_count") == {"two"}
    assert done.did("upgrade_cluster_forget") == done.did("upgrade_switched") == done.did("upgrade_done") == set(MEMBERS)
    assert max(done.steps.index(f"{name} upgrade_switched") for name in MEMBERS) < done.steps.index("server apply")
    assert done.did("upgrade_back") == set()
    assert "PostgreSQL 17 replaced 15. In this run, the tracking servers were stopped for" in done.text


def test_a_failed_check_stops_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, fails=("two upgrade_cluster_check",))
    assert done.status != 0 and done.did("stop") == done.did("upgrade_cluster_stop") == set()


def test_no_member_starts_if_the_data_were_not_copied(tmp_path: Path) -> None:
    """A member without data would create an empty cluster."""
    done = run(tmp_path, pg_upgrade="/bin/false")
    assert done.status != 0 and done.did("upgrade_cluster_forget") == done.did("apply") - {"server"} == set()
    assert done.did("upgrade_back") == done.did("upgrade_done") == set(MEMBERS) and done.did("stop") == {"server"}
    assert "The upgrade to PostgreSQL 17 failed, and was rolled back: PostgreSQL 15 serves again" in done.text


@pytest.mark.parametrize("fails", ["one apply", "server apply"])
def test_all_members_go_back_if_one_fails(tmp_path: Path, fails: str) -> None:
    done = run(tmp_path, fails=(fails,))
    assert done.status != 0 and done.did("upgrade_back") == done.did("upgrade_done") == set(MEMBERS)
    assert "was rolled back: PostgreSQL 15 serves again" in done.text and "replaced 15" not in done.text


@pytest.mark.parametrize(("phase", "back", "copied"), [("begun", set(MEMBERS), True), ("switched", set(), False)])
def test_an_interrupted_upgrade_goes_back_first_unless_the_new_version_serves(tmp_path: Path, phase: str, back: set[str], copied: bool) -> None:
    done = run(tmp_path, phase=phase)
    assert done.status == 0, done.text
    assert done.did("upgrade_back") == back and bool(done.did("upgrade_cluster_forget")) == bool(done.did("upgrade_cluster_check")) == copied
    if back:
        assert done.steps.index("two upgrade_back") < done.steps.index("two upgrade_cluster_check")


@pytest.mark.parametrize("fails", ["one apply", "two upgrade_collations", "three upgrade_switched", "server apply"])
def test_data_that_have_served_are_never_left_for_the_former_ones(tmp_path: Path, fails: str) -> None:
    """An earlier run has ended after the servers came to the new version, and users have written to it since."""
    done = run(tmp_path, fails=(fails,), phase="switched")
    assert done.status != 0 and done.did("upgrade_back") == done.did("upgrade_done") == done.did("stop") == done.did("upgrade_cluster_stop") == set()
    assert "An earlier run has put this version into service, so it has what users have written since. Nothing was rolled back" in done.text
    assert "Correct the failure, and run upgrade_postgres.yml again. The error: it fails" in done.text
    assert "was rolled back: PostgreSQL 15 serves again" not in done.text and "replaced 15" not in done.text


def test_a_failed_installation_rolls_back_no_data_that_have_served(tmp_path: Path) -> None:
    done = run(tmp_path, fails=("one upgrade_install",), phase="switched")
    assert done.status != 0 and done.did("upgrade_back") == done.did("upgrade_done") == done.did("stop") == set()


def test_an_upgrade_is_completed_without_another_stop_if_the_new_version_serves(tmp_path: Path) -> None:
    done = run(tmp_path, phase="switched")
    assert done.status == 0 and done.did("stop") == set() and done.did("upgrade_done") == set(MEMBERS), done.text
    assert "PostgreSQL 17 replaced 15. In this run, the tracking servers were stopped for 0 seconds." in done.text


def test_a_check_run_says_what_stops_and_stops_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, "--check")
    assert done.status == 0 and "Then server and the cluster stop until two has the data in the new version and" in done.text, done.text
    assert done.steps == []
