"""The dumps from before an upgrade of the schema are whole or absent, and are restored all at once: an interruption leaves one state of the databases or the other."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from ansible_collections.atlas.mlflow.plugins.plugin_utils.postgres import restore_plan
from playbook_forks import ansible_playbook, collection_with

ROOT = Path(__file__).resolve().parents[3]
TASKS = ROOT / "roles/postgres/tasks"
#: The programs of PostgreSQL, which write what they do to a log. All others are those of the system.
PROGRAM = """
import json, os, sys
from pathlib import Path
folder, (name, *words) = Path(sys.argv[1]), sys.argv[2:]
with (folder / "log").open("a") as log:
    log.write(" ".join([name, *words]) + "\\n")
said = json.loads((folder / "said.json").read_text())
if name == "pg_dump":
    Path(words[words.index("--file") + 1]).write_text(f"of {words[-1]}, now")
if any(part in " ".join([name, *words]) for part in said["fails"]):
    sys.exit("No space left on device")
if name == "psql":
    text = said["revision"] if "alembic_version" in words[-1] else said["size"]
    Path(words[words.index("--output") + 1]).write_text(text) if "--output" in words else print(text)
elif name == "df":
    print(f"Filesystem 1024-blocks Used Available Capacity Mounted on\\n/dev/x 9 9 {said['free']} 9% /")
elif name not in ("pg_dump", "pg_restore"):
    os.execvp(name, [name, *words])
"""
OLD = {"before-upgrade.dump": "of mlflow, then", "users": "of users, then"}


class Run(NamedTuple):
    """What a file of tasks did, and what it left in the folder of the dumps."""

    steps: list[str]
    files: dict[str, str]
    text: str
    status: int


def run(folder: Path, tasks: str, files: dict[str, str] | None = None, fails: tuple[str, ...] = (), **said: Any) -> Run:
    """Run a file of tasks of the role.

    :param files: The files in the folder of the dumps.
    :param fails: Parts of the commands that fail.
    :param said: What the programs of PostgreSQL and df say.
    """
    collection = collection_with(folder, "upgrade.yml")
    for name in ("dump", "dump_done", "dump_check", "dump_revision", "load"):
        # The programs run as the user of the test.
        text = re.sub(r"^ *become(_user)?: .*\n", "", (TASKS / f"{name}.yml").read_text(), flags=re.MULTILINE)
        start = "- name: Start PostgreSQL\n  ansible.builtin.meta: noop\n\n- name: Record the rollback"
        text = text if name != "load" else text[: text.index("- name: Start")] + start + text.partition("- name: Record the rollback")[2]
        (collection / f"roles/postgres/tasks/{name}.yml").write_text(text)
    dumps = folder / "data/dumps"
    dumps.mkdir(parents=True)
    for name, content in (files or {}).items():
        (dumps / name).write_text(content)
    (folder / "program.py").write_text(PROGRAM)
    (folder / "said.json").write_text(json.dumps({"revision": "a", "size": "0", "free": "9", "fails": fails, **said}))
    (folder / "log").touch()
    known: dict[str, Any] = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "_postgres_argv": [sys.executable, str(folder / "program.py"), str(folder)],
        "_postgres_psql": ["psql"],
        "_postgres_inner_port": "5432",
        "_postgres_remote_tmp": "/tmp",
        "_postgres_dump_dir": str(dumps),
        "_postgres_revision_query": "SELECT version_num FROM alembic_version",
        "_postgres_dump_is_older": yaml.safe_load((ROOT / "roles/postgres/vars/main/login.yml").read_text())["_postgres_dump_is_older"],
        "_postgres_restore_plan": restore_plan("mlflow", ["users"]),
        "postgres_database": "mlflow",
        "_postgres_more_databases": ["users"],
        "postgres_user": "owner",
        "postgres_pgbouncer": False,
    }
    (folder / "hosts.json").write_text(json.dumps({"postgres": {"hosts": {"db": known}}}))
    shown = "    - ansible.builtin.debug:\n        msg: 'older={{ postgres_dump_is_older | default() }} begun={{ postgres_rollback_begun | default() }}"
    shown += " changed={{ postgres_schema_changed | default() }}'\n"
    include = f"    - ansible.builtin.include_role:\n        name: atlas.mlflow.postgres\n        tasks_from: {tasks}\n"
    playbook = collection / "playbooks/test.yml"
    playbook.write_text(f"- hosts: postgres\n  gather_facts: false\n  tasks:\n{include}{shown}")
    paths = str(folder / "collections")
    done = ansible_playbook(folder, "-i", folder / "hosts.json", playbook, modules_here=True, ANSIBLE_COLLECTIONS_PATH=paths)
    left = {path.name: path.read_text() for path in dumps.iterdir()}
    return Run((folder / "log").read_text().splitlines(), left, " ".join((done.stdout + done.stderr).split()), done.returncode)


@pytest.mark.parametrize("files", [{}, OLD, {**OLD, "revision": "a"}])
def test_complete_dumps_replace_former_ones(tmp_path: Path, files: dict[str, str]) -> None:
    """Also those of an interrupted upgrade that has not changed the schema."""
    done = run(tmp_path, "dump", files)
    assert done.status == 0 and "older=False" in done.text, done.text
    assert done.files == {"before-upgrade.dump": "of mlflow, now", "users": "of users, now", "revision": "a"}


def test_the_dumps_of_an_interrupted_upgrade_stay_if_it_has_changed_the_schema(tmp_path: Path) -> None:
    done = run(tmp_path, "dump", {**OLD, "revision": "older"})
    assert done.status == 0 and "older=True" in done.text, done.text
    assert done.files == {**OLD, "revision": "older"} and not any("pg_dump" in step for step in done.steps)


@pytest.mark.parametrize("fails", ["/new mlflow", "/users.new users"])
@pytest.mark.parametrize("files", [{}, {**OLD, "revision": "a"}])
def test_a_failed_dump_leaves_no_part_of_it_and_the_former_dumps(tmp_path: Path, fails: str, files: dict[str, str]) -> None:
    """Its part would fill the disk of the database. Without the revision, it is the dump of no upgrade."""
    done = run(tmp_path, "dump", files, fails=(fails,))
    assert done.status != 0 and done.files == {name: text for name, text in files.items() if name != "revision"}
    assert "No space left on device" in done.text.rpartition("Report the failed dump")[2]


@pytest.mark.parametrize("fails", ["/before-upgrade.dump", "pg_restore --port 5432 --exit-on-error --dbname users_kept", "CREATE DATABASE", "ALTER DATABASE"])
def test_a_rollback_that_ends_early_has_changed_no_database_and_is_recorded(tmp_path: Path, fails: str) -> None:
    done = run(tmp_path, "load", {**OLD, "revision": "older"}, fails=(fails,))
    assert done.status != 0 and done.files == {**OLD, "revision": "older", "rolling-back": ""}
    changed = [step for step in done.steps if "--dbname mlflow " in step or "--dbname users " in step or '"mlflow"' in step or '"users"' in step]
    # Only the last one of these commands changes a database in use, and as a whole.
    assert all("--single-transaction" in step for step in changed) and len(changed) == (fails == "ALTER DATABASE")


def test_all_databases_change_their_names_in_one_transaction_without_sessions(tmp_path: Path) -> None:
    done = run(tmp_path, "load", {**OLD, "revision": "older"})
    assert done.status == 0 and done.files == OLD, done.text
    assert len([step for step in done.steps if "RENAME" in step]) == 1
    switch = next(step for step in done.steps if "RENAME" in step)
    assert switch.startswith("psql --set ON_ERROR_STOP=1 --single-transaction --command SELECT count(pg_terminate_backend(pid))")
    names = [("mlflow", "mlflow_failed_upgrade"), ("mlflow_kept", "mlflow"), ("users", "users_failed_upgrade"), ("users_kept", "users")]
    assert switch.endswith(" ".join(f'--command ALTER DATABASE "{one}" RENAME TO "{other}"' for one, other in names))
    assert sum("pg_terminate_backend" in step for step in done.steps) == 2, "no database in use is removed or renamed"


def test_a_long_name_is_not_cut_to_that_of_the_present_database() -> None:
    """PostgreSQL cuts it after 63 bytes."""
    [one] = restore_plan("m" * 63, [])["databases"]
    assert {one["present"], one["kept"], one["failed"]} == {name[:63] for name in ("m" * 63, one["kept"], one["failed"])}
    assert len({one["present"], one["kept"], one["failed"]}) == 3


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"revision": "a", "rolling-back": ""}, "begun=True changed=False"),
        ({"revision": "older", "rolling-back": ""}, "begun=True changed=True"),
        ({"revision": "older"}, "begun=False changed=True"),
        ({"revision": "a"}, "begun=False changed=False"),
        ({}, "begun=False changed="),
    ],
)
def test_what_an_interrupted_run_has_done_is_found(tmp_path: Path, files: dict[str, str], found: str) -> None:
    done = run(tmp_path, "dump_check", files)
    assert done.status == 0 and found in done.text, done.text


@pytest.mark.parametrize(("free", "files", "enough"), [("10240", {}, True), ("10239", {}, False), ("0", {"revision": "a"}, True)])
def test_a_dump_without_room_is_refused_before_the_servers_stop(tmp_path: Path, free: str, files: dict[str, str], enough: bool) -> None:
    done = run(tmp_path, "dump_check", files, size=str(20 * 2**20), free=free)
    assert (done.status == 0) == enough, done.text
    assert ("The dump of the databases takes 10.00 MB at most" in done.text) != enough


def test_an_interrupted_restore_leaves_the_users_in_an_embedded_database(tmp_path: Path) -> None:
    """Part of a file, or an empty one, would be a database without users."""
    collection = collection_with(tmp_path, "upgrade.yml")
    text = (ROOT / "roles/mlflow_server/tasks/bring_back_database.yml").read_text().replace("  become: true\n", "")
    (collection / "roles/mlflow_server/tasks/bring_back_database.yml").write_text(text)
    users = tmp_path / "auth.db"
    users.write_text("of the new release")
    Path(f"{users}.before-upgrade").write_text("of the former release")
    program = tmp_path / "bin/cp"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nfor target; do :; done\nprintf of > "$target"\nexit 1\n')
    program.chmod(0o755)
    known = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "_mlflow_server_with_users": True}
    known |= {"_mlflow_server_auth_database_file": str(users), "_mlflow_server_database_file": str(tmp_path / "mlflow.db"), "mlflow_server_os_user": "root"}
    (tmp_path / "hosts.json").write_text(json.dumps({"mlflow_servers": {"hosts": {"server": known}}}))
    playbook = collection / "playbooks/test.yml"
    playbook.write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.include_role: {name: atlas.mlflow.mlflow_server, tasks_from: bring_back_database}\n"
    )
    path = f"{program.parent}:{os.environ['PATH']}"
    done = ansible_playbook(
        tmp_path, "-i", tmp_path / "hosts.json", playbook, modules_here=True, ANSIBLE_COLLECTIONS_PATH=str(tmp_path / "collections"), PATH=path
    )
    assert done.returncode != 0 and users.read_text() == "of the new release"
    assert Path(f"{users}.before-upgrade").read_text() == "of the former release"
