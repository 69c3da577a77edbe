"""A restore of one host that failed or was interrupted while PostgreSQL was stopped: what it records, and how the next one continues without PostgreSQL."""

from __future__ import annotations

import functools
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible_collections.atlas.mlflow.plugins.module_utils.served_stores import read_stores
from ansible_collections.atlas.mlflow.plugins.modules import host_facts
from plays import tasks_of

from inventories import Case, Run

ROOT = Path(__file__).resolve().parents[3]
GROUPS = {"mlflow_servers": ["web"], "postgres": ["db"]}
#: What PostgreSQL says before the backup is set up. Later, one in a container has the mark of the settings of its container.
ANSWERS = {
    "systemd": {"data": "/srv/pg/17", "config": "/etc/postgresql/17/main/postgresql.conf", "major": 17, "mark": None},
    "container": {"data": "/var/lib/postgresql/data", "config": "/var/lib/postgresql/data/postgresql.conf", "major": 17, "mark": None},
}
ANSWERS["podman"] = ANSWERS["container"]
POINT = {"name": "atlas-20260504T023000Z", "backup": "20260504-023000F"}


def role(deployment: str, answer: dict[str, Any], **facts: Any) -> Run:
    """Return what a run knows of the backup of one host, whose PostgreSQL has answered or was not asked."""
    given = {"atlas_mlflow_deployment": deployment, "ansible_facts": {"processor_nproc": 4, **facts}}
    known = Run(Case(GROUPS, {"web": given, "db": given}))
    stores = read_stores({"MLFLOW_BACKEND_STORE_URI": known.plans["web"]["backend_store"], "MLFLOW_ARTIFACTS_DESTINATION": "s3://m"})
    known.hosts["db"] |= {"ansible_check_mode": False, "__backup_served": {"results": [{"item": "web", "stores": stores}]}, "__backup_postgres": answer}
    known.hosts["db"]["__backup_archiving"] = {"changed": deployment == "systemd", "stale": False, "skipped": deployment != "systemd"}
    return known


@functools.cache
def set_up(deployment: str) -> Run:
    """Return what a run knows of a backup that was set up before."""
    return role(deployment, {"query_result": [{**ANSWERS[deployment], "mark": "0123456789ab"}]})


def settings(known: Run) -> dict[str, Any]:
    """Return the settings of PostgreSQL in the program's settings."""
    found: dict[str, Any] = known.value("db", "backup", "_backup_settings")
    return found


def task(name: str) -> dict[str, Any]:
    """Return a task of the role."""
    found = [one for path in (ROOT / "roles/backup/tasks").glob("*.yml") for one in tasks_of(yaml.safe_load(path.read_text(encoding="utf-8")))]
    (wanted,) = [one for one in found if one.get("name") == name]
    return dict(wanted)


def runs(known: Run, name: str) -> bool:
    """Return whether a task of the role runs."""
    return bool(known.value("db", "backup", f"({task(name)['when']}) | bool"))


@pytest.fixture
def restore(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return a restore of one host with given settings, which fails at a command with given words."""
    sys.path.append(str(ROOT / "plugins/module_utils"))
    spec = importlib.util.spec_from_file_location("atlas_mlflow_backup", ROOT / "roles/backup/files/atlas_mlflow_backup.py")
    assert spec and spec.loader
    program: ModuleType = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, program)
    spec.loader.exec_module(program)
    quadlet = tmp_path / "postgres.container"
    quadlet.write_text("[Container]\nImage=postgres:17\n")
    seen = SimpleNamespace(record=tmp_path / "restoring.json", program=program, before=[], failing="")

    def run(argv: list[str], *_user: str) -> str:
        words = " ".join(argv)
        seen.before.append((words, seen.record.exists()))
        if seen.failing and seen.failing in words:
            raise program.BackupError(f"{argv[0]} failed: is not running")
        # A process that has ended is not waited for.
        return "network image" if "inspect" in argv else "f" if "pg_is_in_recovery" in words else "0"

    def start(given: dict[str, Any], moment: str = "") -> Any:
        seen.before.clear()
        postgres = {**given["postgres"], "quadlet": str(quadlet)}
        return program.Postgres({"postgres": postgres, "full_every_days": 7}).restore(POINT, moment)

    monkeypatch.setattr(program, "run", run)
    monkeypatch.setattr(program, "RESTORING", seen.record)
    seen.start = start
    return seen


@pytest.mark.parametrize("moment", ["", "2026-05-04 12:30:00+00:00"])
@pytest.mark.parametrize("failing", [" stop ", "pgbackrest", " start ", "pg_is_in_recovery"])
@pytest.mark.parametrize("deployment", list(ANSWERS))
def test_a_restore_that_fails_leaves_a_record(restore: Any, deployment: str, failing: str, moment: str) -> None:
    restore.failing = failing
    with pytest.raises(restore.program.BackupError, match="failed"):
        restore.start(settings(set_up(deployment)), moment)
    (stopped,) = [known for words, known in restore.before if " stop " in words]
    assert stopped, "the record is made before PostgreSQL is stopped"
    answer = {key: value for key, value in ANSWERS[deployment].items() if key != "mark"}
    assert host_facts.read_record(restore.record) == {"to": moment or POINT["name"], "postgres": answer}
    restore.failing = ""
    restore.start(settings(set_up(deployment)))
    assert not restore.record.exists()
    assert restore.before[-1][1], "it stays until PostgreSQL answers"


@pytest.mark.parametrize("deployment", list(ANSWERS))
def test_the_next_restore_continues_without_postgres(restore: Any, deployment: str) -> None:
    before, question = set_up(deployment), "Read PostgreSQL's folders and version, and the settings of its container"
    restore.failing = "pgbackrest"
    with pytest.raises(restore.program.BackupError, match="failed"):
        restore.start(settings(before))
    after = role(deployment, {"skipped": True}, postgres_restoring=host_facts.read_record(restore.record))
    assert [runs(before, question), runs(after, question)] == [True, False]
    assert not runs(after, "Recreate the PostgreSQL container with log archiving")
    for value in ("_backup_settings", "_backup_files", "_backup_postgres_files", "_backup_postgres_settings", "_backup_secret_contents"):
        assert after.value("db", "backup", value) == before.value("db", "backup", value), value
    assert f"pg1-path={ANSWERS[deployment]['data']}" in after.value("db", "backup", "_backup_secret_contents[_backup_pgbackrest_file]")


def test_a_second_run_finds_the_same_settings() -> None:
    """The first one has made PostgreSQL archive its log."""
    first, second = role("systemd", {"query_result": [ANSWERS["systemd"]]}), set_up("systemd")
    assert settings(first) == settings(second) and settings(first)["postgres"]["answer"] == {
        key: value for key, value in ANSWERS["systemd"].items() if key != "mark"
    }


def test_a_postgres_that_is_down_is_not_restarted_for_new_settings() -> None:
    """The restore starts it."""
    state = task("Restart PostgreSQL with log archiving")["ansible.builtin.systemd_service"]["state"].strip("{} ")
    record = {"to": POINT["name"], "postgres": ANSWERS["systemd"]}
    before, after = role("systemd", {"query_result": [ANSWERS["systemd"]]}), role("systemd", {"skipped": True}, postgres_restoring=record)
    for known in (before, after):
        known.hosts["db"]["omit"] = "omitted"
    assert [known.value("db", "backup", state) for known in (before, after)] == ["restarted", "omitted"]


@pytest.mark.parametrize(("changed", "stale", "restarts"), [(True, False, True), (False, True, True), (False, False, False)])
def test_postgres_is_restarted_if_it_runs_since_before_its_files(changed: bool, stale: bool, restarts: bool) -> None:
    """An earlier run was interrupted between the files and the restart."""
    known = role("systemd", {"query_result": [ANSWERS["systemd"]]})
    known.hosts["db"]["__backup_archiving"] = {"changed": changed, "stale": stale}
    assert runs(known, "Restart PostgreSQL with log archiving") is restarts
    written = task("Write the settings with which PostgreSQL archives its log")["atlas.mlflow.files"]
    assert known.value("db", "backup", written["unit"].strip("{} ")) == "postgresql@17-main.service"
    files = known.value("db", "backup", written["files"].strip("{} "))
    assert [file["path"].rpartition("/")[2] for file in files] == ["atlas-mlflow-backup.conf"] * 2, "pgBackRest reads its own file at each start"


@pytest.mark.parametrize("deployment", ["container", "podman"])
def test_a_container_is_recreated_until_it_has_the_settings_of_the_backup(deployment: str) -> None:
    """A run that was interrupted after it wrote the settings, as for another folder of the repository, leaves the former mounts."""
    recreate = "Recreate the PostgreSQL container with log archiving"
    known = role(deployment, {"query_result": [ANSWERS[deployment]]})
    assert runs(known, recreate), "it does not archive its log yet"
    arguments = known.value("db", "backup", "_backup_container_settings.arguments")
    (mark,) = [word.partition("=")[2] for word in arguments if word.startswith("atlas_mlflow.backup=")]
    for repository, recreates in (("/var/backups/atlas-mlflow", False), ("/srv/other", True)):
        known = role(deployment, {"query_result": [{**ANSWERS[deployment], "mark": mark}]})
        known.hosts["db"]["backup_repository"] = repository
        assert runs(known, recreate) is recreates


def test_settings_of_an_earlier_release_make_no_record(restore: Any) -> None:
    """The next restore would write settings of it that are wrong."""
    given = settings(set_up("systemd"))
    given = {"postgres": {key: value for key, value in given["postgres"].items() if key != "answer"}}
    restore.failing = "pgbackrest"
    with pytest.raises(restore.program.BackupError):
        restore.start(given)
    assert not restore.record.exists()


@pytest.mark.parametrize("answer", [{"skipped": True}, {"failed": True, "msg": "unable to connect"}])
def test_a_check_run_of_a_bare_host_has_no_answer(answer: dict[str, Any]) -> None:
    assert settings(role("systemd", answer))["postgres"]["answer"] == {}


def test_a_cluster_records_nothing() -> None:
    """Its restore does not stop PostgreSQL."""
    names = ("a", "b", "c")
    known = Run(Case({"mlflow_servers": ["web"], "postgres": [*names]}, {name: {} for name in ("web", *names)}))
    known.hosts["a"] |= {"__backup_served": {"results": []}, "__backup_postgres": {"query_result": [ANSWERS["systemd"]]}}
    assert known.value("a", "backup", "_backup_settings")["postgres"]["answer"] == {}


@pytest.mark.parametrize(("content", "found"), [(None, {}), ("", {}), ('{"to": "atlas-1"', {}), (json.dumps({"to": "atlas-1"}), {"to": "atlas-1"})])
def test_a_record_that_cannot_be_read_is_none(tmp_path: Path, content: str | None, found: dict[str, Any]) -> None:
    if content is not None:
        (tmp_path / "restoring.json").write_text(content)
    assert host_facts.read_record(tmp_path / "restoring.json") == found


@pytest.mark.parametrize("deployment", ["systemd", "container", "podman"])
@pytest.mark.parametrize("gone", [True, False])
def test_the_record_goes_with_the_data(deployment: str, gone: bool) -> None:
    removed = yaml.safe_load((ROOT / "roles/postgres/tasks/remove.yml").read_text(encoding="utf-8"))
    (paths,) = [one["loop"] for one in removed if one["name"] == "Remove the files that the role postgres wrote"]
    known = role(deployment, {})
    known.hosts["db"] |= {"postgres_remove_data": gone, "__postgres_kept": {"files": []}}
    assert ("/etc/atlas-mlflow/restoring.json" in known.value("db", "postgres", paths.strip("{} \n"))) == gone
