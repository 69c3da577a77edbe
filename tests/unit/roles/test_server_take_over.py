"""A database of a server that others have set up is copied at its own schema, and migrated on the copy. The source is only read."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from server_package import fresh

OLD = "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY); CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name VARCHAR(9));"
ROWS = "INSERT INTO experiments VALUES (0, 'Default'), (1, 'theirs');"


def run(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


@pytest.fixture
def move(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module with a release whose schema has the revisions old and new."""
    module = fresh(monkeypatch, "move")

    def make_at(engine: Any, revision: str) -> None:
        run(engine.url.database, f"{OLD} INSERT INTO alembic_version VALUES ('{revision}');")

    def bring_up(engine: Any) -> None:
        run(engine.url.database, "ALTER TABLE experiments ADD COLUMN stage VARCHAR(9); UPDATE alembic_version SET version_num = 'new';")

    scripts = SimpleNamespace(walk_revisions=lambda: [SimpleNamespace(revision="new"), SimpleNamespace(revision="old")])
    known = module.schema.Schema("the backend store", ("alembic_version",), "new", lambda _engine: scripts, bring_up, make_at, bring_up)
    monkeypatch.setattr(module.schema, "backend_schema", lambda: known)
    return module


def database(move: ModuleType, tmp_path: Path, revision: str = "old", foreign: bool = True) -> Any:
    """Return the move of a database at a revision."""
    source = tmp_path / "theirs.db"
    run(source, f"{OLD}{ROWS} INSERT INTO alembic_version VALUES ('{revision}');")
    given = {"store": "the backend store", "login": "", "source": f"sqlite:///{source}", "target": f"sqlite:///{tmp_path / 'ours.db'}", "foreign": foreign}
    return move.Database(given, move.move_rows.relocate([]))


def test_an_older_schema_is_migrated_on_the_copy(move: ModuleType, tmp_path: Path) -> None:
    one = database(move, tmp_path)
    before = dump(tmp_path / "theirs.db")
    assert one.faults() == []
    one.copy()
    assert dump(tmp_path / "theirs.db") == before
    with closing(sqlite3.connect(tmp_path / "ours.db")) as ours:
        assert ours.execute("SELECT * FROM experiments").fetchall() == [(0, "Default", None), (1, "theirs", None)]
        assert ours.execute("SELECT version_num FROM alembic_version").fetchall() == [("new",)]
    one.empty()
    assert dump(tmp_path / "ours.db") == ["BEGIN TRANSACTION;", "COMMIT;"]
    # The next run copies again.
    assert one.faults() == []


def test_a_schema_that_the_release_does_not_know_is_refused(move: ModuleType, tmp_path: Path) -> None:
    [fault] = database(move, tmp_path, "newest").faults()
    assert "is at revision newest, which this release, with new, does not know" in fault


def test_a_server_of_this_collection_is_upgraded_by_its_own_playbook(move: ModuleType, tmp_path: Path) -> None:
    [fault] = database(move, tmp_path, "old", foreign=False).faults()
    assert "upgrade with upgrade.yml before or after the move" in fault


def test_a_file_that_cannot_be_read_is_refused_at_once(move: ModuleType, tmp_path: Path) -> None:
    one = database(move, tmp_path)
    (tmp_path / "theirs.db").unlink()
    with pytest.raises(move.stores.StoreError, match="theirs.db of the backend store that moves cannot be read: No such file"):
        one.wait(60)


def test_a_target_with_data_is_refused(move: ModuleType, tmp_path: Path) -> None:
    one = database(move, tmp_path)
    run(tmp_path / "ours.db", f"{OLD} INSERT INTO alembic_version VALUES ('old'); INSERT INTO experiments VALUES (5, 'ours');")
    assert "has data of its own: experiments (1 rows)" in one.faults()[0]


def test_a_source_that_changes_during_its_copy_is_an_error(move: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, copy = database(move, tmp_path), move.move_rows.copy

    def copy_while_others_write(*given: Any) -> Any:
        copied = copy(*given)
        run(tmp_path / "theirs.db", "INSERT INTO experiments VALUES (2, 'late');")
        return copied

    monkeypatch.setattr(move.move_rows, "copy", copy_while_others_write)
    with pytest.raises(move.stores.StoreError, match="changed during its copy, in the tables experiments. Stop the tracking servers"):
        one.copy()


def test_a_source_that_changes_after_its_copy_is_an_error(move: ModuleType, tmp_path: Path) -> None:
    database(move, tmp_path)
    (tmp_path / "artifacts").mkdir()
    given = {
        "timeout": 1,
        "locations": [],
        "databases": [
            {
                "store": "the backend store",
                "login": "",
                "foreign": True,
                "source": f"sqlite:///{tmp_path / 'theirs.db'}",
                "target": f"sqlite:///{tmp_path / 'o.db'}",
            }
        ],
        "artifacts": {},
    }
    moving = move.Move(given, tmp_path / "record.jsonl")
    moving.artifacts = [move.move_files.Folder(str(tmp_path / "artifacts")), None]
    moving.state_path.write_text(json.dumps(moving.state()))
    moving.compare()
    (tmp_path / "artifacts/late").write_bytes(b"")
    with pytest.raises(move.stores.StoreError, match=r"wrote to the source of the artifact store \(artifacts\), and the copies do not have it. Stop"):
        moving.compare()
    (tmp_path / "artifacts/late").unlink()
    run(tmp_path / "theirs.db", "INSERT INTO experiments VALUES (2, 'late');")
    with pytest.raises(move.stores.StoreError, match=r"of the backend store \(experiments\)"):
        moving.compare()


def test_names_that_mlflow_decodes_are_listed(move: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "artifacts").mkdir()
    for name in ("100%", "50%ab", "data %20.bin"):
        (tmp_path / "artifacts" / name).write_bytes(b"")
    moving = move.Move({"timeout": 1, "locations": [], "databases": [], "artifacts": {}}, tmp_path / "record.jsonl")
    moving.artifacts = [move.move_files.Folder(str(tmp_path / "artifacts")), None]
    monkeypatch.setattr(move.move_files, "foreign", lambda *_given: [])
    [said] = moving.check()
    assert said.startswith("2 artifacts have a percent sign") and "data %20.bin" in said and "100%" not in said
