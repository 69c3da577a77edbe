"""The rows of a database arrive in another one, or nothing does. A real PostgreSQL is asked on a host, by the tests in tests/stack/move_stores."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy
from server_package import fresh

SCHEMA = """
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY);
CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name VARCHAR(256) UNIQUE, artifact_location VARCHAR(256));
CREATE TABLE a_run (
    run_uuid VARCHAR(32) PRIMARY KEY, experiment_id INTEGER REFERENCES experiments (experiment_id), inputs JSON, secret BLOB, day DATE, value FLOAT,
    is_nan BOOLEAN, begun BIGINT, ended BIGINT, took BIGINT GENERATED ALWAYS AS (ended - begun) STORED
);
INSERT INTO alembic_version VALUES ('head');
"""
ROWS = """
INSERT INTO experiments VALUES (0, 'Default', 'mlflow-artifacts:/0'), (7, 'é', 'file:///srv/ml/7');
INSERT INTO a_run VALUES ('a', 7, '{"b": 1,  "a": [NULL]}', x'00ff', '2026-01-02', 1.7976931348623157e308, 0, 1, 5), ('b', 0, NULL, NULL, NULL, 5, 1, 1, NULL),
    ('c', 0, 'null', x'', NULL, 1e-300, 0, 2, 3);
"""


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return fresh(monkeypatch, "move_rows")


def database(path: Path, text: str) -> Any:
    """Return the engine of a new SQLite database."""
    connection = sqlite3.connect(path)
    connection.executescript(text)
    connection.close()
    return sqlalchemy.create_engine(f"sqlite:///{path}")


def dump(engine: Any) -> list[str]:
    """Return all rows as text."""
    connection = sqlite3.connect(engine.url.database)
    return sorted(line for line in connection.iterdump() if line.startswith("INSERT"))


@pytest.fixture
def source(tmp_path: Path) -> Any:
    return database(tmp_path / "source.db", SCHEMA + ROWS)


@pytest.fixture
def target(tmp_path: Path) -> Any:
    return database(tmp_path / "target.db", SCHEMA)


def test_every_value_arrives_and_a_second_copy_changes_nothing(rows: ModuleType, source: Any, target: Any) -> None:
    for _time in range(2):
        counts = {name: found.rows for name, found in rows.copy(source, target, rows.relocate([])).items()}
        assert counts == {"experiments": 2, "a_run": 3}
        assert dump(target) == dump(source)


def test_locations_are_replaced_on_the_way(rows: ModuleType, source: Any, target: Any) -> None:
    before = dump(source)
    rows.copy(source, target, rows.relocate(["file:///srv/ml"]))
    assert dump(target) == [line.replace("file:///srv/ml/7", "mlflow-artifacts:/7") for line in before] != dump(source) == before


def test_a_refused_row_is_named_and_nothing_is_kept(rows: ModuleType, source: Any, tmp_path: Path) -> None:
    trigger = "CREATE TRIGGER no BEFORE INSERT ON a_run WHEN NEW.run_uuid = 'c' BEGIN SELECT RAISE(ABORT, 'no c'); END;"
    target = database(tmp_path / "strict.db", SCHEMA + trigger)
    before = dump(target)
    with pytest.raises(rows.StoreError, match=r"row of the table a_run with run_uuid c: .*no c"):
        rows.copy(source, target, rows.relocate([]))
    assert dump(target) == before


def test_a_copy_that_differs_is_an_error_and_nothing_is_kept(rows: ModuleType, source: Any, tmp_path: Path) -> None:
    trigger = "CREATE TRIGGER bend AFTER INSERT ON a_run WHEN NEW.run_uuid = 'b' BEGIN UPDATE a_run SET value = 6 WHERE run_uuid = 'b'; END;"
    target = database(tmp_path / "bent.db", SCHEMA + trigger)
    before = dump(target)
    with pytest.raises(rows.StoreError, match="not what was written to it, in the tables a_run"):
        rows.copy(source, target, rows.relocate([]))
    assert dump(target) == before


def test_other_tables_and_columns_are_an_error(rows: ModuleType, source: Any, tmp_path: Path) -> None:
    target = database(tmp_path / "other.db", SCHEMA.replace("a_run", "b_run").replace("name VARCHAR", "title VARCHAR"))
    with pytest.raises(rows.StoreError, match=r"the table a_run is only in the source; the table b_run is only in the target; the columns name, title of"):
        rows.copy(source, target, rows.relocate([]))


def test_rows_of_the_target_alone_are_found(rows: ModuleType, source: Any, target: Any) -> None:
    def found() -> list[str]:
        with source.connect() as reading, target.connect() as writing:
            return list(rows.foreign(reading, writing, rows.relocate(["file:///srv/ml"])))

    assert found() == []
    rows.copy(source, target, rows.relocate(["file:///srv/ml"]))
    assert found() == []
    with target.begin() as writing:
        writing.execute(sqlalchemy.text("UPDATE experiments SET name = 'theirs' WHERE experiment_id = 7"))
    assert found() == ["experiments (2 rows)"]


def test_dangling_rows_are_named(rows: ModuleType, source: Any) -> None:
    with source.connect() as reading:
        assert rows.dangling(reading) == []
    with source.begin() as writing:
        writing.execute(sqlalchemy.text("DELETE FROM experiments WHERE experiment_id = 0"))
    with source.connect() as reading:
        [fault] = rows.dangling(reading)
    assert fault.startswith("2 rows of the table a_run refer to rows of experiments that do not exist") and "rowid IN (2, 3)" in fault


def test_a_database_is_emptied_but_for_its_revision(rows: ModuleType, source: Any, target: Any) -> None:
    before = dump(target)
    rows.copy(source, target, rows.relocate([]))
    with target.begin() as writing:
        rows.clear(writing, rows.tables_of(writing))
    assert dump(target) == before
