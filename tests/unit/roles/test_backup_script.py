"""The backup's program: which point a restore takes, and how the embedded database comes back."""

from __future__ import annotations

import importlib.util
import shutil
import sqlite3
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "roles/backup/files/atlas_mlflow_backup.py"
POINTS: list[dict[str, Any]] = [
    {"name": "atlas-20260503T023000Z", "time": "2026-05-03T02:30:10+00:00"},
    {"name": "atlas-20260504T023000Z", "time": "2026-05-04T02:30:10+00:00"},
    {"name": "atlas-20260505T023000Z", "time": "2026-05-05T02:30:10+00:00"},
]


@pytest.fixture(scope="module")
def program() -> ModuleType:
    """Return the program as a module."""
    spec = importlib.util.spec_from_file_location("atlas_mlflow_backup", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("wanted", "name", "moment"),
    [
        ("latest", "atlas-20260505T023000Z", None),
        ("atlas-20260503T023000Z", "atlas-20260503T023000Z", None),
        ("2026-05-04 12:00:00+00:00", "atlas-20260504T023000Z", "2026-05-04T12:00:00+00:00"),
        ("2026-05-05T00:00:00Z", "atlas-20260504T023000Z", "2026-05-05T00:00:00+00:00"),
        ("2026-05-04 12:00:00+14:00", "atlas-20260503T023000Z", "2026-05-04T12:00:00+14:00"),
    ],
)
def test_a_restore_takes_the_last_point_before_the_moment(program: ModuleType, wanted: str, name: str, moment: str | None) -> None:
    point, found = program.choose(POINTS, wanted)
    assert (point["name"], found.isoformat() if found else None) == (name, moment)


@pytest.mark.parametrize(
    ("points", "wanted", "message"),
    [
        ([], "latest", "has no backup"),
        (POINTS, "yesterday", "neither latest, nor a point"),
        (POINTS, "2026-05-04 12:00:00", "with its time zone"),
        (POINTS, "2026-05-01 12:00:00+00:00", "before the first backup"),
        # Artifacts of later runs were not mirrored yet, so the database may not come back to that moment.
        (POINTS, "2026-05-05 12:00:00+00:00", "after the last backup"),
    ],
)
def test_what_no_backup_covers_is_refused(program: ModuleType, points: list[dict[str, Any]], wanted: str, message: str) -> None:
    with pytest.raises(program.BackupError, match=message):
        program.choose(points, wanted)


@pytest.fixture
def embedded(program: ModuleType, tmp_path: Path) -> Any:
    """Return the embedded database's side, with a folder in the place of rclone's remote."""
    remote = tmp_path / "remote"

    def rclone(action: str, *paths: str) -> str:
        where = [remote / path.removeprefix("repository:") if path.startswith("repository:") else Path(path) for path in paths]
        if action == "copyto":
            where[1].parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(*where)
        elif action == "deletefile":
            where[0].unlink()
        return ""

    database = tmp_path / "data" / "mlflow.db"
    database.parent.mkdir()
    write(database, "kept")
    settings = {"database": {"file": str(database), "users_file": str(tmp_path / "data" / "auth.db")}, "keep_full": 1, "full_every_days": 2}
    return SimpleNamespace(side=program.Sqlite(settings, SimpleNamespace(rclone=rclone)), database=database, remote=remote)


def write(path: Path, value: str) -> None:
    """Make a database with one value."""
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE t (v)")
        database.execute("INSERT INTO t VALUES (?)", (value,))
    database.close()


def read(path: Path) -> str:
    """Return a database's value."""
    with sqlite3.connect(path) as database:
        return str(database.execute("SELECT v FROM t").fetchone()[0])


def test_the_embedded_database_comes_back_and_the_replaced_one_is_kept(embedded: Any) -> None:
    embedded.side.back_up("atlas-1")
    write(embedded.database, "later")
    embedded.side.restore({"name": "atlas-1"}, "")
    assert read(embedded.database) == "kept"
    assert [read(path) for path in embedded.database.parent.glob("mlflow.db.before-*")] == ["later"]


def test_a_damaged_copy_does_not_replace_the_database(program: ModuleType, embedded: Any) -> None:
    embedded.side.back_up("atlas-1")
    copy = embedded.remote / "sqlite" / "atlas-1.db"
    content = bytearray(copy.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    copy.write_bytes(content)
    write(embedded.database, "later")
    with pytest.raises(program.BackupError, match="is damaged"):
        embedded.side.restore({"name": "atlas-1"}, "")
    assert read(embedded.database) == "later"


def test_the_users_come_back_with_the_database(embedded: Any) -> None:
    users = embedded.database.parent / "auth.db"
    write(users, "ada")
    point = {"name": "atlas-1", **embedded.side.back_up("atlas-1")}
    write(users, "eve")
    embedded.side.restore(point, "")
    assert (read(embedded.database), read(users)) == ("kept", "ada")
    later = [{"name": f"atlas-{number}", **embedded.side.back_up(f"atlas-{number}")} for number in (2, 3)]
    assert embedded.side.kept([point, *later]) == later
    assert sorted(path.name for path in (embedded.remote / "sqlite").iterdir()) == ["atlas-2.db", "atlas-2.users.db", "atlas-3.db", "atlas-3.users.db"]


def test_old_copies_of_the_embedded_database_are_removed(embedded: Any) -> None:
    points = [{"name": f"atlas-{number}"} for number in (1, 2, 3)]
    for point in points:
        embedded.side.back_up(point["name"])
    assert embedded.side.kept(points) == points[1:]
    assert sorted(path.name for path in (embedded.remote / "sqlite").iterdir()) == ["atlas-2.db", "atlas-3.db"]
