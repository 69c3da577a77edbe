"""The backup's program: what it takes and compares, which point a restore takes, and how databases that are files come back."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing, contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "roles/backup/files/atlas_mlflow_backup.py"
POINTS: list[dict[str, Any]] = [
    {"name": "atlas-20260503T023000Z", "time": "2026-05-03T02:30:10+00:00"},
    {"name": "atlas-20260504T023000Z", "time": "2026-05-04T02:30:10+00:00"},
    {"name": "atlas-20260505T023000Z", "time": "2026-05-05T02:30:10+00:00"},
]


@pytest.fixture(scope="module")
def program() -> ModuleType:
    """Return the program as a module, with the file that lies beside it on a host."""
    sys.path.append(str(ROOT / "plugins/module_utils"))
    spec = importlib.util.spec_from_file_location("atlas_mlflow_backup", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def record(program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the record of a restore away from this machine's files."""
    monkeypatch.setattr(program, "RESTORING", tmp_path_factory.mktemp("record") / "restoring.json")


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


class Remote:
    """Stands in for rclone, with a folder in the place of the repository."""

    def __init__(self, folder: Path) -> None:
        """Take the folder. What `spoil` is set to changes each file that is stored."""
        self.folder = folder
        self.spoil: Callable[[Path], None] = lambda _path: None
        self.missing: type[Exception] = Exception
        #: Folders that stand for buckets. A bucket has a time of its own for each object, that of the copying, beside the time that rclone records.
        self.buckets: list[Path] = []
        self.copied: list[str] = []

    def path(self, name: str) -> Path:
        """Return the path that a name stands for."""
        return self.folder / name.removeprefix("repository:") if name.startswith("repository:") else Path(name)

    def time(self, path: Path, given: tuple[str, ...]) -> float:
        """Return the time of a file that rclone compares."""
        bucket = any(bucket in path.parents for bucket in self.buckets)
        return path.stat().st_ctime if bucket and "--use-server-modtime" in given else path.stat().st_mtime

    def sync(self, source: Path, target: Path, aside: Path, given: tuple[str, ...]) -> None:
        """Copy the files whose size or time differs, and move those that are replaced or gone."""
        here, there = ({path.relative_to(side): path for path in side.rglob("*") if path.is_file()} for side in (source, target))
        same = {
            name
            for name in here.keys() & there.keys()
            if (here[name].stat().st_size, self.time(here[name], given)) == (there[name].stat().st_size, self.time(there[name], given))
        }
        for name in there.keys() - same:
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            there[name].rename(aside / name)
        self.copied = sorted(str(name) for name in here.keys() - same)
        for name in self.copied:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, target / name)
            os.utime(target / name, (0, self.time(source / name, given)))

    def __call__(self, action: str, *given: str, stdin: str | None = None) -> str:
        """Do what rclone does."""
        where = [self.path(name) for name in given if not name.startswith("--")]
        if action == "copyto":
            where[1].parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(*where[:2])
            if given[1].startswith("repository:"):
                self.spoil(where[1])
        elif action == "deletefile":
            where[0].unlink()
        elif action == "purge":
            shutil.rmtree(where[0])
        elif action == "lsf":
            if not where[0].exists():
                raise self.missing("rclone lsf ended with 3:\nERROR : : error listing: directory not found")
            return "".join(f"{path.name}{'/' if path.is_dir() else ''}\n" for path in sorted(where[0].iterdir()))
        elif action == "hashsum":
            assert where[1].exists(), "rclone finds no folder"
            return "".join(f"hash {path}\n" for path in where[1].rglob("*") if path.is_file())
        elif action == "sync":
            self.sync(*where[:3], given)
        elif action == "copy":
            shutil.copytree(*where[:2], dirs_exist_ok=True)
        elif action == "size":
            return json.dumps({"count": sum(path.is_file() for path in where[0].rglob("*"))})
        return ""


def change(path: Path, *statements: str) -> None:
    """Change a database."""
    with closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            database.execute(statement)


def make(path: Path, *statements: str) -> None:
    """Make a database that could be MLflow's."""
    path.unlink(missing_ok=True)
    change(path, "CREATE TABLE alembic_version (version_num)", "INSERT INTO alembic_version VALUES ('c0ffee')", *statements)


def write(path: Path, value: str) -> None:
    """Make a database with one value."""
    make(path, "CREATE TABLE experiments (name, artifact_location)", f"INSERT INTO experiments VALUES ('{value}', 'mlflow-artifacts:/0')")


def read(path: Path) -> str:
    """Return a database's value."""
    with closing(sqlite3.connect(path)) as database:
        return str(database.execute("SELECT name FROM experiments").fetchone()[0])


@pytest.fixture
def embedded(program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the side of a backup that copies files, and a whole repository of it."""
    data = tmp_path / "data"
    data.mkdir()
    write(data / "tracking.db", "kept")
    remote = Remote(tmp_path / "remote")
    monkeypatch.setattr(program, "run", lambda argv, stdin="", **_more: "obscured" if argv[1] == "obscure" else "")
    monkeypatch.setattr(program.Files, "rclone", lambda _self, *argv, stdin=None: remote(*argv, stdin=stdin))
    remote.missing = program.BackupError
    monkeypatch.setattr(program.served_stores, "read_host", lambda: None)
    settings = {
        "repository": str(tmp_path / "remote"),
        "passphrase": "p",
        "keep_full": 1,
        "full_every_days": 2,
        "postgres": {},
        "sqlite": {"backend": str(data / "tracking.db")},
        "artifacts": {"folder": str(data / "artifacts")},
        "served": {},
        "elsewhere": [],
        "own_places": program.served_stores.own_places({"kind": "folder", "path": f"{data}/artifacts"}),
    }

    def start(**changed: Any) -> Any:
        return program.Repository({**settings, **changed})

    both = {"sqlite": {**settings["sqlite"], "users": str(data / "auth.db")}}
    return SimpleNamespace(start=start, both=both, database=data / "tracking.db", users=data / "auth.db", data=data, remote=remote)


def test_what_the_service_has_is_backed_up_and_comes_back(embedded: Any) -> None:
    repository = embedded.start()
    said = repository.back_up()
    assert "Backend store: schema revision c0ffee, 1 experiments, 2 tables (the same as in the source)." in said
    write(embedded.database, "later")
    assert "schema revision c0ffee" in repository.restore("latest")
    assert read(embedded.database) == "kept"
    assert [read(path) for path in embedded.data.glob("tracking.db.before-*")] == ["later"]


@pytest.mark.parametrize(("mode", "ending", "value"), [("wal", "-wal", "last"), ("delete", "-journal", "kept")])
def test_the_former_database_keeps_its_last_transactions(embedded: Any, mode: str, ending: str, value: str) -> None:
    """A tracking server that was killed leaves them in a file of their own, or a journal by which a transaction that did not end is taken back."""
    repository = embedded.start()
    repository.back_up()
    change(embedded.database, "CREATE TABLE later (name)", *["INSERT INTO later VALUES ('kept' || hex(zeroblob(2000)))"] * 100)
    killed = (
        "import os, sqlite3, sys\n"
        "database = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "database.execute(f'PRAGMA journal_mode = {sys.argv[2]}')\n"
        "database.execute('PRAGMA cache_size = 1')\n"
        "database.execute('BEGIN')\n"
        "database.execute('UPDATE later SET name = ? || hex(zeroblob(2000))', ['last'])\n"
        "if sys.argv[2] == 'wal': database.execute('COMMIT')\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", killed, str(embedded.database), mode], check=True)
    assert Path(f"{embedded.database}{ending}").stat().st_size > 0
    repository.restore("latest")
    assert [path.name for path in embedded.data.glob("tracking.db-*")] == [], "nothing of another database is beside the restored one"
    (former,) = (path for path in embedded.data.glob("tracking.db.before-*Z"))
    with closing(sqlite3.connect(former)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert database.execute("SELECT DISTINCT substr(name, 1, 4) FROM later").fetchall() == [(value,)]
    with closing(sqlite3.connect(embedded.database)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert read(embedded.database) == "kept"


def test_what_is_left_of_a_lost_database_is_kept_beside_the_restored_one(embedded: Any) -> None:
    repository = embedded.start()
    repository.back_up()
    embedded.database.rename(embedded.data / "elsewhere.db")
    Path(f"{embedded.database}-wal").write_text("transactions")
    repository.restore("latest")
    assert read(embedded.database) == "kept"
    assert [path.read_text() for path in embedded.data.glob("tracking.db.before-*-wal")] == ["transactions"]


def test_a_missing_database_is_an_error_and_is_not_made(program: ModuleType, embedded: Any) -> None:
    embedded.database.unlink()
    with pytest.raises(program.BackupError, match=r"tracking\.db, which the tracking server's settings name, is missing"):
        embedded.start().back_up()
    assert list(embedded.data.iterdir()) == []
    assert embedded.start().points == []


@pytest.mark.parametrize("statements", [(), ("CREATE TABLE experiments (name)",), ("CREATE TABLE alembic_version (version_num)",)])
def test_a_database_without_a_schema_is_no_backup(program: ModuleType, embedded: Any, statements: tuple[str, ...]) -> None:
    embedded.database.unlink()
    change(embedded.database, *statements)
    with pytest.raises(program.BackupError, match="has no schema of MLflow's"):
        embedded.start().back_up()
    assert embedded.start().points == []


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DELETE FROM experiments", "experiments: 0 stored, 1 in the source"),
        ("DROP TABLE experiments", "experiments: none stored, 1 in the source"),
        ("UPDATE alembic_version SET version_num = 'dead'", "schema revision: dead stored, c0ffee in the source"),
    ],
)
def test_what_differs_from_its_source_is_no_point(program: ModuleType, embedded: Any, statement: str, message: str) -> None:
    embedded.remote.spoil = lambda path: change(path, statement)
    write(embedded.users, "ada")
    with pytest.raises(program.BackupError, match=message):
        embedded.start(**embedded.both).back_up()
    assert embedded.start().points == []
    assert list((embedded.remote.folder / "sqlite").iterdir()) == []


def test_a_database_in_use_is_only_read(embedded: Any) -> None:
    change(embedded.database, "PRAGMA journal_mode = wal")
    with closing(sqlite3.connect(embedded.database)) as server:
        server.execute("INSERT INTO experiments VALUES ('in the log', 'mlflow-artifacts:/1')")
        server.commit()
        before = embedded.database.read_bytes()
        assert "2 experiments" in embedded.start().back_up()
        assert embedded.database.read_bytes() == before


def test_a_damaged_copy_does_not_replace_the_database(program: ModuleType, embedded: Any) -> None:
    repository = embedded.start()
    repository.back_up()
    copy = next((embedded.remote.folder / "sqlite").iterdir())
    content = bytearray(copy.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    copy.write_bytes(content)
    write(embedded.database, "later")
    with pytest.raises(program.BackupError, match="is damaged"):
        repository.restore("latest")
    assert read(embedded.database) == "later"


def test_a_copy_that_is_another_one_replaces_neither_database(program: ModuleType, embedded: Any) -> None:
    write(embedded.users, "ada")
    repository = embedded.start(**embedded.both)
    repository.back_up()
    change(next((embedded.remote.folder / "sqlite").glob("*.users.db")), "DELETE FROM experiments")
    write(embedded.database, "later")
    with pytest.raises(program.BackupError, match="store of users: experiments: 0 stored, 1"):
        repository.restore("latest")
    assert read(embedded.database) == "later"


def test_the_users_come_back_with_the_database(embedded: Any) -> None:
    write(embedded.users, "ada")
    repository = embedded.start(**embedded.both)
    assert "Store of users" in repository.back_up()
    write(embedded.users, "eve")
    repository.restore("latest")
    assert (read(embedded.database), read(embedded.users)) == ("kept", "ada")


def test_a_restore_says_what_is_not_in_it(embedded: Any) -> None:
    embedded.start().back_up()
    write(embedded.users, "eve")
    assert "The store of users is left as it is" in embedded.start(**embedded.both).restore("latest")
    assert read(embedded.users) == "eve"


def test_old_copies_are_removed_with_their_points(embedded: Any, program: ModuleType) -> None:
    write(embedded.users, "ada")
    repository = embedded.start(**embedded.both)
    points = [{"name": "atlas-1"}, {"name": "atlas-2", "users": True}, *({"name": f"atlas-{number}", "copies": ["backend", "users"]} for number in (3, 4))]
    for point in points:
        for role in program.copies_of(point):
            embedded.remote("copyto", str(embedded.database), f"repository:sqlite/{point['name']}{program.ENDINGS[role]}")
    assert repository.kept(points) == points[2:]
    assert sorted(path.name for path in (embedded.remote.folder / "sqlite").iterdir()) == [
        "atlas-3.db",
        "atlas-3.users.db",
        "atlas-4.db",
        "atlas-4.users.db",
    ]


def test_copies_that_are_gone_do_not_stop_the_retention(embedded: Any) -> None:
    """An earlier backup was stopped after it had removed them."""
    write(embedded.users, "ada")
    repository = embedded.start(**embedded.both)
    points = [{"name": f"atlas-{number}", "copies": ["backend", "users"]} for number in (1, 2, 3)]
    for point in points:
        embedded.remote("copyto", str(embedded.users), f"repository:sqlite/{point['name']}.users.db")
    assert repository.kept(points) == points[1:]
    assert sorted(path.name for path in (embedded.remote.folder / "sqlite").iterdir()) == ["atlas-2.users.db", "atlas-3.users.db"]


@pytest.mark.parametrize("stopped_at", ["atlas-1.db", "atlas-1.users.db", "atlas-2.db"])
def test_a_retention_that_is_stopped_continues_with_the_next_backup(
    program: ModuleType, embedded: Any, monkeypatch: pytest.MonkeyPatch, stopped_at: str
) -> None:
    """No point in the list lacks its data meanwhile, and no data stay without a point."""
    write(embedded.users, "ada")
    points = [{"name": f"atlas-{number}", "time": "2026-05-04T02:30:10+00:00", "copies": ["backend", "users"]} for number in (1, 2, 3)]
    for point in points:
        for role in point["copies"]:
            embedded.remote("copyto", str(embedded.database), f"repository:sqlite/{point['name']}{program.ENDINGS[role]}")
    embedded.start(**embedded.both).write(points)
    names = iter(["atlas-4", "atlas-5"])
    monkeypatch.setattr(program, "stamp", lambda: next(names).removeprefix("atlas-"))

    def stop(_self: Any, action: str, *argv: str, stdin: str | None = None) -> str:
        if action == "deletefile" and argv[0].endswith(stopped_at):
            raise KeyboardInterrupt
        return embedded.remote(action, *argv, stdin=stdin)

    def stored() -> set[str]:
        return {path.name for path in (embedded.remote.folder / "sqlite").iterdir()}

    def listed() -> set[str]:
        known = embedded.start(**embedded.both).points
        return {f"{point['name']}{program.ENDINGS[role]}" for point in known for role in point["copies"]}

    with monkeypatch.context() as patched:
        patched.setattr(program.Files, "rclone", stop)
        with pytest.raises(KeyboardInterrupt):
            embedded.start(**embedded.both).back_up()
    assert listed() <= stored() and stopped_at in stored() - listed()
    assert "2 can be restored" in embedded.start(**embedded.both).back_up()
    assert [point["name"] for point in embedded.start().points] == ["atlas-4", "atlas-5"]
    assert listed() == stored()


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO experiments VALUES ('old', 'gs://team/1')",
        "INSERT INTO experiments VALUES ('old', 'mlflow-artifacts://other-server:5001/1')",
        "CREATE TABLE runs AS SELECT 'gs://team/1/2' AS artifact_uri",
        "CREATE TABLE logged_models AS SELECT 'gs://team/m' AS artifact_location",
        "CREATE TABLE model_versions AS SELECT 'models:/m-1' AS source, 'gs://team/m' AS storage_location",
        "CREATE TABLE trace_tags AS SELECT 'mlflow.artifactLocation' AS key, 'gs://team/t' AS value",
    ],
)
def test_artifacts_that_are_elsewhere_are_named_or_listed(program: ModuleType, embedded: Any, statement: str) -> None:
    change(embedded.database, statement)
    with pytest.raises(program.BackupError, match=r"does not take.*\n.*1 of .*(gs://team|other-server)") as failed:
        embedded.start().back_up()
    # What can be saved has been.
    assert "Made the backup" in str(failed.value)
    assert len(embedded.start().points) == 1
    listed = embedded.start(elsewhere=["gs://team/", "mlflow-artifacts://other-server"]).back_up()
    assert "Not in it, as backup_artifacts_elsewhere says: 1 of" in listed


def test_places_that_are_in_the_artifact_store_are_not_named(embedded: Any) -> None:
    change(
        embedded.database,
        f"INSERT INTO experiments VALUES ('old', '{embedded.data}/artifacts/1'), ('none', NULL), ('empty', '')",
        "CREATE TABLE trace_tags AS SELECT 'colour' AS key, 'gs://team/t' AS value",
    )
    assert "Not in it" not in embedded.start().back_up()


def test_other_stores_than_at_the_setting_up_are_refused_at_night(program: ModuleType, embedded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"backend": {"kind": "sqlite", "path": str(embedded.database)}}
    monkeypatch.setattr(program.served_stores, "read_host", lambda: {"backend": {"kind": "sqlite", "path": "/srv/other.db"}})
    with pytest.raises(program.BackupError, match=r"other stores than when this backup was set up \(backend\)\. Run backup\.yml again"):
        embedded.start(served=known).back_up()


def test_a_folder_of_artifacts_that_has_gone_is_an_error(program: ModuleType, embedded: Any) -> None:
    assert "Artifacts: 0 files" in embedded.start().back_up(), "the server makes the folder when the first artifact comes"
    folder = embedded.data / "artifacts"
    folder.mkdir()
    (folder / "a").write_text("a")
    assert "Artifacts: 1 files" in embedded.start().back_up()
    shutil.rmtree(folder)
    with pytest.raises(program.BackupError, match="artifacts, is missing, and the backup has artifacts of it|is missing, and the backup has artifacts"):
        embedded.start().back_up()


@pytest.mark.parametrize("bucket", ["artifacts", "repository", "both", "none"])
def test_a_mirror_copies_what_is_new_or_changed(embedded: Any, bucket: str) -> None:
    """A bucket has another time for an object than its source, also for an object that a restore has copied back."""
    files, folder = embedded.start().files, embedded.data / "artifacts"
    embedded.remote.buckets += [folder] * (bucket in ("artifacts", "both")) + [embedded.remote.folder] * (bucket in ("repository", "both"))
    folder.mkdir()
    for name, time in (("same", 1_700_000_000), ("changed", 1_700_000_001), ("deleted", 1_700_000_002)):
        (folder / name).write_text("first")
        os.utime(folder / name, (time, time))
    assert files.mirror("atlas-1") == 3 and embedded.remote.copied == ["changed", "deleted", "same"]
    assert files.mirror("atlas-2") == 3 and embedded.remote.copied == []
    assert files.names("removed") == [], "a mirror of the same files keeps no second copy"
    (folder / "changed").write_text("other")
    (folder / "new").write_text("new")
    (folder / "deleted").unlink()
    assert files.mirror("atlas-3") == 3 and embedded.remote.copied == ["changed", "new"]
    shutil.rmtree(folder)
    files.bring_back("atlas-2")
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"same": "first", "changed": "first", "deleted": "first", "new": "new"}
    assert files.mirror("atlas-4") == 4 and embedded.remote.copied == ["changed", "deleted"], "what a restore has brought back is not copied again"


def test_a_repository_without_any_file_is_read_back(embedded: Any) -> None:
    files = embedded.start().files
    assert files.read_all() == 0
    files.rclone("copyto", str(embedded.database), "repository:artifacts/a")
    assert files.read_all() == 1


@pytest.fixture
def postgres(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return PostgreSQL's side of a backup, with counts in the place of databases: in the source one after another, and in the test restore."""
    seen = SimpleNamespace(source=[{"backend": {"schema revision": "c0ffee", "runs": 3}}], restored={"backend": {"schema revision": "c0ffee", "runs": 3}})
    given = {"service": "postgresql@17-main.service", "version": 17, "port": 5432, "databases": {"backend": "mlflow"}, "test_restore": True}
    side = program.Postgres({"postgres": given, "full_every_days": 7})
    backup = {"label": "20260504-023000F", "type": "full", "timestamp": {"stop": 0}}
    monkeypatch.setattr(side, "count", lambda socket="": seen.source[0] if len(seen.source) == 1 else seen.source.pop(0))
    monkeypatch.setattr(side, "restored_counts", lambda _point, _label: seen.restored)
    monkeypatch.setattr(side, "pgbackrest", lambda *argv: json.dumps([{"backup": [backup]}]) if "info" in argv else "")
    monkeypatch.setattr(side, "psql", lambda *_argv, **_more: "f")
    monkeypatch.setattr(program, "run", lambda *_argv, **_more: "")
    seen.side = side
    return seen


def test_a_backup_of_postgres_is_compared_with_its_source(program: ModuleType, postgres: Any) -> None:
    made = postgres.side.back_up("atlas-1")
    assert (made["counts"], made["read_back"]) == (postgres.restored, ["backend"])
    for restored in ({"schema revision": "", "runs": 0}, {"schema revision": "c0ffee", "runs": 2}, {}):
        postgres.restored = {"backend": restored}
        with pytest.raises(program.BackupError, match="runs: (0|2|none) stored, 3 in the source"):
            postgres.side.back_up("atlas-2")


@pytest.mark.parametrize("action", ["back_up", "check", "restore"])
@pytest.mark.parametrize(("given", "wanted"), [({"user": "70:71", "container": "atlas-postgres", "state": "/"}, (70, 71)), ({}, (105, 107))])
def test_files_of_another_number_of_postgres_are_its_own_again(
    program: ModuleType, embedded: Any, monkeypatch: pytest.MonkeyPatch, action: str, given: dict[str, Any], wanted: tuple[int, int]
) -> None:
    """After a move between a service and a container, and on a new host, PostgreSQL's user could not read what the former one wrote."""
    owners: dict[str, tuple[int, int]] = {}
    monkeypatch.setattr(program.os, "chown", lambda path, uid, gid, follow_symlinks=True: owners.update({str(path): (uid, gid)}))
    monkeypatch.setattr(program.pwd, "getpwnam", lambda _name: SimpleNamespace(pw_uid=105, pw_gid=107))
    monkeypatch.setattr(program.grp, "getgrnam", lambda _name: SimpleNamespace(gr_gid=107))
    folder = embedded.remote.folder / "postgresql"
    (folder / "archive/mlflow").mkdir(parents=True)
    (folder / "archive/mlflow/archive.info").write_text("")
    (folder / "archive/latest").symlink_to("mlflow")
    settings = {"service": "", "version": 17, "port": 5432, "databases": {}, "test_restore": False, **given}
    repository = embedded.start(postgres=settings, sqlite={}, artifacts={"folder": ""})
    # What follows asks PostgreSQL.
    for name in ("back_up", "verify", "restore"):
        monkeypatch.setattr(repository.postgres, name, lambda *_given: (_ for _ in ()).throw(program.BackupError("asked")))
    (embedded.remote.folder / "points.json").write_text(json.dumps([{**POINTS[0], "backup": "F", "version": "17"}]))
    with pytest.raises(program.BackupError, match="asked"):
        getattr(repository, action)(*(["latest"] if action == "restore" else []))
    below = {str(folder / name) for name in ("archive", "archive/mlflow", "archive/mlflow/archive.info", "archive/latest")}
    assert {path: owner for path, owner in owners.items() if path in below} == dict.fromkeys(below, wanted)
    # What is right already stays as it is.
    owners.clear()
    repository.postgres.owner = [os.getuid(), os.getgid()]
    repository.own()
    assert owners == {}


def test_runs_that_come_during_a_backup_are_no_difference(program: ModuleType, postgres: Any) -> None:
    counts = [{"backend": {"schema revision": "c0ffee", "runs": number}} for number in (2, 3, 5)]
    postgres.restored = {"backend": {"schema revision": "c0ffee", "runs": 4}}
    postgres.source = [*counts, counts[-1]]
    assert postgres.side.back_up("atlas-1")["counts"]["backend"]["runs"] == 4
    postgres.restored = {"backend": {"schema revision": "c0ffee", "runs": 6}}
    postgres.source = [*counts, counts[-1]]
    with pytest.raises(program.BackupError, match="runs: 6 stored, 3 in the source"):
        postgres.side.back_up("atlas-2")


def test_without_a_test_restore_the_counts_are_compared_at_the_restore(program: ModuleType, postgres: Any) -> None:
    postgres.side.test_restore = False
    point = {"name": "atlas-1", **postgres.side.back_up("atlas-1"), "read_back": []}
    assert "backup_test_restore is false" in program.describe(point)[0]
    assert postgres.side.restore(point, "") == []
    postgres.source = [{"backend": {"schema revision": "c0ffee", "runs": 1}}]
    assert postgres.side.restore(point, "") == ["mlflow: runs: 1 stored, 3 in the source"]
    assert postgres.side.restore(point, "2026-05-04 12:00:00+00:00") == [], "nobody has counted what was at a moment"


def hold(program: ModuleType, path: Path, action: str) -> subprocess.Popen[str]:
    """Run another process that holds the lock."""
    code = (
        "import importlib.util, sys, pathlib\n"
        f"sys.path.append({str(ROOT / 'plugins/module_utils')!r})\n"
        f"spec = importlib.util.spec_from_file_location('b', {str(SCRIPT)!r}); b = importlib.util.module_from_spec(spec); spec.loader.exec_module(b)\n"
        f"b.LOCK = pathlib.Path({str(path)!r})\n"
        f"with b.locked({action!r}, shared={action == 'check'}):\n    print('held', flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize(
    ("holder", "action", "refused"),
    [("restore", "backup", True), ("backup", "backup", True), ("backup", "restore", True), ("restore", "find", True), ("check", "find", False)],
)
def test_one_backup_or_restore_runs_at_a_time(
    program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], holder: str, action: str, refused: bool
) -> None:
    monkeypatch.setattr(program, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(
        program, "Repository", lambda _settings: SimpleNamespace(back_up=lambda *_given: "done", restore=lambda _to: "done", find=lambda _to: "done")
    )
    (tmp_path / "settings.json").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["backup", "--settings", str(tmp_path / "settings.json"), action, *(["--to", "latest"] if action != "backup" else [])])
    process = hold(program, tmp_path / "lock", holder)
    try:
        assert program.main() == int(refused)
        said = capsys.readouterr()
        assert not refused or f"the {holder} of process {process.pid}, begun at 20" in said.err
    finally:
        process.communicate("")
    assert program.main() == 0, "a lock goes with its process"


def test_the_timer_waits_for_the_lock(program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(program, "LOCK", tmp_path / "lock")
    process = hold(program, tmp_path / "lock", "restore")
    monkeypatch.setattr(program.time, "sleep", lambda _seconds: process.communicate(""))
    with program.locked("backup", wait=30):
        assert f"Wait for the restore of process {process.pid}" in capsys.readouterr().out
        assert str(os.getpid()) in (tmp_path / "lock").read_text()


@pytest.mark.parametrize(("moment", "target"), [("", "--target=atlas-1"), ("2026-05-04 12:00:00+00:00", "--target=2026-05-04 12:00:00+00:00")])
def test_a_restore_begins_with_the_backup_of_its_point(program: ModuleType, postgres: Any, monkeypatch: pytest.MonkeyPatch, moment: str, target: str) -> None:
    """By itself, pgBackRest begins with the last one before a moment, which an earlier restore may have left behind."""
    ran: list[list[str]] = []
    monkeypatch.setattr(program, "run", lambda argv, *_user: ran.append(argv) or "")
    postgres.side.restore({"name": "atlas-1", "backup": "20260504-023000F"}, moment)
    assert {target, "--set=20260504-023000F"} <= set(ran[1])


STARTING = [
    "the database system is starting up",
    "the database system is not yet accepting connections",
    "das Datenbanksystem startet",
    "No such file or directory",
]


@pytest.fixture
def replaying(program: ModuleType, postgres: Any, clock: list[float], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a restore of a PostgreSQL as a service, with what its unit and its PostgreSQL say, one after another. The last answers stay."""
    seen = SimpleNamespace(processes=["4711"], answers=["f"], clock=clock, postgres=postgres)

    def after(answers: list[str]) -> str:
        return answers[0] if len(answers) == 1 else answers.pop(0)

    def psql(*_argv: str, **_more: Any) -> str:
        answer = after(seen.answers)
        if answer in "tf":
            return answer
        raise program.BackupError(f"psql ended with 2: {answer}")

    monkeypatch.setattr(program, "run", lambda argv, *_user: after(seen.processes) if argv[:2] == ["systemctl", "show"] else "")
    monkeypatch.setattr(postgres.side, "psql", psql)
    seen.restore = lambda: postgres.side.restore({"name": "atlas-1", "backup": "20260504-023000F"}, "")
    return seen


@pytest.mark.parametrize("said", STARTING)
def test_a_long_replay_of_the_log_is_waited_for(replaying: Any, said: str) -> None:
    """pg_ctl waits for a minute, and the unit runs after that. PostgreSQL may speak any language."""
    replaying.answers = [said] * 3000 + ["t"] * 3000 + ["f"]
    assert replaying.restore() == []
    assert 600 < sum(replaying.clock) < 3600


@pytest.mark.parametrize("answers", [[STARTING[0]], ["t", "t", STARTING[0]], ["t", "Is the server running locally and accepting connections"]])
@pytest.mark.parametrize("processes", [["0"], ["4711", "0"], ["4711", "4712"], ["4711", "0", "4712"]])
def test_a_postgres_that_has_ended_is_not_waited_for(program: ModuleType, replaying: Any, answers: list[str], processes: list[str]) -> None:
    """systemd starts it again and again."""
    replaying.answers, replaying.processes = [*answers], [*processes]
    with pytest.raises(program.BackupError, match=rf"has ended.*journal of postgresql@17-main\.service.*{answers[-1]}"):
        replaying.restore()
    assert sum(replaying.clock) < 1


def test_a_replay_without_an_end_is_an_error_at_last(program: ModuleType, replaying: Any) -> None:
    replaying.answers = [STARTING[0]]
    with pytest.raises(program.BackupError, match="has not come back after 3600 s, see the journal of .* is starting up"):
        replaying.restore()
    assert 3600 <= sum(replaying.clock) < 3602


def test_a_temporary_postgres_that_does_not_answer_is_not_waited_for(program: ModuleType, replaying: Any) -> None:
    """pg_ctl has waited for it."""
    replaying.answers = [STARTING[0]]
    with pytest.raises(program.BackupError, match="does not answer, see the log. psql"):
        replaying.postgres.side._wait("the log", "5432", "/folder")
    assert sum(replaying.clock) == 0


@pytest.fixture
def contained(program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return the side of a PostgreSQL in a container, and the commands that it runs, with what they say."""
    seen = SimpleNamespace(ran=[], answers={}, failing=0)

    def run(argv: list[str], user: str = "", **_more: Any) -> str:
        seen.ran.append(argv)
        assert not user, "an account of the host is none of the container"
        if argv[:3] == ["docker", "exec", "--user"] and "pg_is_in_recovery" in argv[-1] and seen.failing:
            seen.failing -= 1
            raise program.BackupError("psql ended with 2: the database system is starting up")
        return next((answer for words, answer in seen.answers.items() if words in " ".join(argv)), "")

    monkeypatch.setattr(program, "run", run)
    monkeypatch.setattr(program.time, "sleep", lambda _seconds: None)
    given = {
        "service": "",
        "container": "atlas-postgres",
        "user": f"{os.getuid()}:{os.getgid()}",
        "version": "17",
        "port": 5432,
        "databases": {"backend": "mlflow"},
        "test_restore": True,
        "state": str(tmp_path),
    }
    seen.side = program.Postgres({"postgres": given, "full_every_days": 7})
    return seen


def test_a_postgres_in_a_container_is_restored_beside_it_and_started_again(contained: Any) -> None:
    contained.answers = {"inspect": "atlas-network sha256:c0ffee\n", "pg_is_in_recovery": "f\n"}
    contained.failing = 2
    assert contained.side.restore({"name": "atlas-1", "backup": "20260504-023000F"}, "") == []
    assert [argv[1] for argv in contained.ran] == ["inspect", "stop", "run", "start", "exec", "exec", "exec"]
    restore = contained.ran[2]
    assert restore[restore.index("--volumes-from") + 1] == "atlas-postgres" and restore[restore.index("--entrypoint") :][:3] == [
        "--entrypoint",
        "pgbackrest",
        "sha256:c0ffee",
    ]
    assert {"--delta", "--type=name", "--target=atlas-1", "--set=20260504-023000F", "restore"} <= set(restore)


def test_a_postgres_in_podman_is_restored_in_its_place_and_started_again(program: ModuleType, contained: Any, tmp_path: Path) -> None:
    """The unit removes its container when it stops, so the description tells what the container had."""
    quadlet = tmp_path / "atlas-postgres.container"
    quadlet.write_text(
        "[Container]\nContainerName=atlas-postgres\nImage=localhost/atlas-mlflow/postgres-backup:1\nUser=999:999\nNetwork=atlas-network\n"
        "Volume=atlas-postgres-data:/var/lib/postgresql/data\nVolume=/srv/backup:/srv/backup\nVolume=/etc/x:/etc/pgbackrest:ro\n"
    )
    contained.side.engine, contained.side.unit, contained.side.quadlet = "podman", "atlas-postgres.service", quadlet
    contained.answers = {"pg_is_in_recovery": "f\n"}
    assert contained.side.restore({"name": "atlas-1", "backup": "20260504-023000F"}, "") == []
    stop, restore, start, asked = contained.ran
    assert (stop, start) == (["systemctl", "stop", "atlas-postgres.service"], ["systemctl", "start", "atlas-postgres.service"])
    assert restore[:5] == ["podman", "run", "--rm", "--pull", "never"] and asked[:4] == ["podman", "exec", "--user", str(os.getuid())]
    assert [restore[at + 1] for at, word in enumerate(restore) if word == "--volume"] == [
        "atlas-postgres-data:/var/lib/postgresql/data",
        "/srv/backup:/srv/backup",
        "/etc/x:/etc/pgbackrest:ro",
    ]
    assert restore[restore.index("--user") + 1] == "999:999" and restore[restore.index("--network") + 1] == "atlas-network"
    assert restore[restore.index("--entrypoint") :][:3] == ["--entrypoint", "pgbackrest", "localhost/atlas-mlflow/postgres-backup:1"]
    assert {"--delta", "--target=atlas-1", "restore"} <= set(restore)


@pytest.mark.parametrize(
    "said",
    [
        "Container 4711 is not running",
        "Container 4711 is restarting, wait until the container is running",
        "container state improper",
        'no container with name or ID "x" found: no such container',
    ],
)
def test_a_container_that_has_ended_is_not_waited_for(
    program: ModuleType, contained: Any, clock: list[float], monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    def ended(_argv: list[str]) -> str:
        raise program.BackupError(f"docker exec ended with 1:\nError: {said}")

    contained.answers = {"inspect": "atlas-network sha256:c0ffee\n"}
    monkeypatch.setattr(contained.side, "inside", ended)
    with pytest.raises(program.BackupError, match=said):
        contained.side.restore({"name": "atlas-1", "backup": "20260504-023000F"}, "2026-05-04 12:00:00+00:00")
    assert sum(clock) == 0


def test_a_test_restore_in_a_container_is_in_a_folder_that_the_host_has_too(contained: Any, tmp_path: Path) -> None:
    contained.answers = {"pg_database_size": "8000000\n", "pg_settings": '[{"name": "max_connections", "setting": "100"}]', "pg_is_in_recovery": "f\n"}
    contained.side.count = lambda socket="": {"backend": {"runs": 3}} if socket == f"{tmp_path}/atlas-mlflow-test-restore" else {}
    assert contained.side.restored_counts("atlas-1", "20260504-023000F") == {"backend": {"runs": 3}}
    assert all(argv[:5] == ["docker", "exec", "--user", str(os.getuid()), "atlas-postgres"] for argv in contained.ran)
    restore = next(argv for argv in contained.ran if argv[-1] == "restore")
    assert f"--pg1-path={tmp_path}/atlas-mlflow-test-restore/data" in restore and "--archive-mode=off" in restore
    assert list(tmp_path.iterdir()) == [], "nothing of it is left"


LISTED = [
    {"Member": "a", "Role": "Leader", "State": "running"},
    {"Member": "b", "Role": "Sync Standby", "State": "streaming", "Lag in MB": 0},
    {"Member": "c", "Role": "Replica", "State": "streaming", "Lag in MB": 0},
]


@pytest.mark.parametrize(("lost", "chosen"), [("", "b"), ("b", "c"), ("a", "b"), ("bc", "a"), ("ac", "b"), ("abc", "")])
def test_one_member_makes_the_backup_whichever_is_lost(program: ModuleType, lost: str, chosen: str) -> None:
    listed = [{**member, "State": "stopped"} if member["Member"] in lost else member for member in LISTED]
    if chosen:
        assert program.choose_member(listed) == chosen
        return
    with pytest.raises(program.BackupError, match=r"none can be backed up \(a is stopped, b is stopped, c is stopped\)"):
        program.choose_member(listed)


@pytest.fixture
def cluster(program: ModuleType, embedded: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return the member of a cluster with a repository in a folder, and the commands that it runs. Counts stand for databases, and texts for dumps."""
    counts = {"backend": {"schema revision": "c0ffee", "runs": 3}}
    seen = SimpleNamespace(
        ran=[], listed=LISTED, replica="f", counts=counts, temporary=counts, beside=counts, fails={}, dumped="a dump", remote=embedded.remote
    )

    def inside(_self: Any, argv: list[str]) -> str:
        words = " ".join(argv)
        seen.ran.append(words)
        for part, errors in seen.fails.items():
            if part in words and errors:
                raise program.BackupError(errors.pop(0))
        if argv[0].endswith("patronictl"):
            return json.dumps(seen.listed)
        if argv[0].endswith("pg_dump"):
            Path(argv[argv.index("--file") + 1]).write_text(seen.dumped)
        if argv[0].endswith("pg_restore"):
            seen.loaded = Path(argv[-1]).read_text()
        answers = {"pg_is_in_recovery": seen.replica, "SHOW data_directory": f"{tmp_path}/pg/main", "pg_database_size": "1000", "pg_get_userbyid": "mlflow"}
        return next((answer for query, answer in answers.items() if query in words), "")

    def count(_self: Any, socket: str = "", databases: Any = None) -> Any:
        return seen.temporary if socket else seen.beside if databases else seen.counts

    @contextmanager
    def temporary(_self: Any, _data: Path) -> Any:
        yield

    (tmp_path / "pg").mkdir()
    monkeypatch.setattr(program.Dumps, "inside", inside)
    monkeypatch.setattr(program.Dumps, "count", count)
    monkeypatch.setattr(program.Dumps, "_temporary", temporary)
    monkeypatch.setattr(program.Repository, "elsewhere", lambda _self: ([], []))
    monkeypatch.setattr(program.shutil, "chown", lambda *_given: None)
    seconds = iter(range(10, 60))
    monkeypatch.setattr(program, "stamp", lambda: f"20261127T0430{next(seconds)}Z")
    given = {"service": "", "version": "17", "port": 5432, "databases": {"backend": "mlflow"}, "test_restore": True}
    seen.mark = embedded.remote.folder / "cluster-of-a"
    seen.mark.parent.mkdir()
    seen.mark.touch()

    def start(member: str = "b", **changed: Any) -> Any:
        return embedded.start(sqlite={}, postgres={**given, "member": member, **changed}, mark=str(seen.mark))

    seen.start, seen.folder = start, tmp_path / "pg"
    seen.dumps = lambda: sorted(path.name for path in (embedded.remote.folder / "dumps").iterdir())
    return seen


def test_a_member_that_is_not_to_make_the_backup_leaves_it_to_the_other(cluster: Any) -> None:
    for member in "ac":
        assert cluster.start(member).back_up() == "Nothing to do: b makes the backup of the cluster."
    assert [words for words in cluster.ran if "patronictl" not in words] == []
    assert cluster.start("b").points == []


def test_a_dump_of_a_cluster_is_read_back_and_compared_with_its_source(program: ModuleType, cluster: Any) -> None:
    said = cluster.start().back_up()
    assert "(dump of b)" in said and "schema revision c0ffee, 3 runs" in said and "(the same as in the source)" in said
    point = cluster.start().points[0]
    assert (point["dumps"], point["version"], point["read_back"]) == (["backend"], "17", ["backend"])
    assert cluster.loaded == "a dump", "what is compared has come back from the repository"
    assert cluster.dumps() == [f"{point['name']}.backend.dump"]
    assert "1 dumps of PostgreSQL are there." in cluster.start().check()
    assert list(cluster.folder.iterdir()) == [], "nothing temporary is left"
    cluster.temporary = {"backend": {"schema revision": "c0ffee", "runs": 2}}
    with pytest.raises(program.BackupError, match="runs: 2 stored, 3 in the source"):
        cluster.start().back_up()
    assert cluster.start().points == [point] and cluster.dumps() == [f"{point['name']}.backend.dump"]
    (cluster.remote.folder / "dumps" / cluster.dumps()[0]).unlink()
    with pytest.raises(program.BackupError, match=r"lacks dumps of PostgreSQL: atlas-.*\.backend\.dump"):
        cluster.start().check()


def test_a_backup_of_a_cluster_that_fails_at_the_artifacts_leaves_no_dumps(program: ModuleType, cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_self: Any, _point: str) -> int:
        raise program.BackupError("the bucket does not answer")

    cluster.start().back_up()
    before = cluster.dumps()
    monkeypatch.setattr(program.Files, "mirror", fail)
    with pytest.raises(program.BackupError, match="the bucket does not answer"):
        cluster.start().back_up()
    assert cluster.dumps() == before and len(before) == 1


def test_a_dump_that_a_replica_cancels_is_made_again(program: ModuleType, cluster: Any) -> None:
    conflict = "canceling statement due to conflict with recovery"
    cluster.fails = {"pg_dump": [conflict, conflict]}
    assert "Made the backup" in cluster.start().back_up()
    cluster.fails = {"pg_dump": [conflict] * 3}
    with pytest.raises(program.BackupError, match="conflict with recovery"):
        cluster.start().back_up()
    cluster.fails = {"pg_dump": ["permission denied"]}
    with pytest.raises(program.BackupError, match="permission denied"):
        cluster.start().back_up()


def test_a_restore_puts_compared_databases_in_the_place_of_the_present_ones_at_once(cluster: Any) -> None:
    cluster.start("b").back_up()
    cluster.ran.clear()
    said = cluster.start("a").restore("latest")
    assert "Restored atlas-" in said and "The former database is kept as mlflow_before_20" in said
    steps = [words for words in cluster.ran if "DATABASE" in words or "pg_restore" in words]
    assert ['CREATE DATABASE "mlflow_restored" OWNER "mlflow"' in steps[1], "--dbname mlflow_restored" in steps[2]] == [True, True], steps
    assert len(steps) == 4 and "--single-transaction" in steps[3] and "ON_ERROR_STOP=1" in steps[3], steps
    order = [steps[3].index(part) for part in ("pg_terminate_backend", 'DATABASE "mlflow" RENAME TO "mlflow_before_', '"mlflow_restored" RENAME TO "mlflow"')]
    assert order == sorted(order)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"replica": "t"}, "a is no longer the primary of the cluster"),
        ({"fails": {"pg_restore": ["role monitor does not exist"]}}, "role monitor does not exist"),
        ({"beside": {"backend": {"schema revision": "c0ffee", "runs": 1}}}, "runs: 1 stored, 3 in the source"),
        ({"fails": {"RENAME": ["database is being accessed by other users"]}}, "being accessed by other users"),
    ],
)
def test_a_restore_that_fails_leaves_the_databases_of_a_cluster(
    program: ModuleType, cluster: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    cluster.start().back_up()
    cluster.ran.clear()
    vars(cluster).update(change)
    repository = cluster.start("a")
    monkeypatch.setattr(program, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(program, "Repository", lambda _settings: repository)
    (tmp_path / "settings.json").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["backup", "--settings", str(tmp_path / "settings.json"), "restore", "--to", "latest"])
    assert program.main() == program.LEFT_AS_IT_IS == 3
    said = capsys.readouterr().err
    assert message in said and "The databases are as they were before the restore." in said
    renamed = [words for words in cluster.ran if "RENAME" in words]
    assert renamed == [] or "fails" in change and len(renamed) == 1
    assert "replica" in change or 'DROP DATABASE IF EXISTS "mlflow_restored"' in cluster.ran[-1], "what was loaded is removed"
    assert not (cluster.remote.folder / program.CLAIM).exists()


MIXED: dict[str, dict[str, Any]] = {
    "sqlite": {"copies": ["backend", "users"], "kind": "full", "counts": {"backend": {}, "users": {}}},
    "old sqlite": {"users": True},
    "postgres": {"kind": "full", "version": "17", "counts": {"backend": {}}, "read_back": []},
    "cluster": {"dumps": ["backend"], "kind": "dump of b", "version": "17", "counts": {"backend": {}}},
}


@pytest.fixture
def mixed(program: ModuleType, embedded: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a repository that had other kinds of stores before, by the kind of the present one, and a way to put points with data into it."""
    write(embedded.users, "ada")
    given = {"service": "", "version": "17", "port": 5432, "databases": {"backend": "mlflow"}, "test_restore": True}
    labels: list[str] = []
    restored: list[str] = []
    monkeypatch.setattr(program.Postgres, "backups", lambda _self: [{"label": label, "type": "full"} for label in labels])
    monkeypatch.setattr(program.Postgres, "restore", lambda _self, point, _moment: restored.append(point["name"]) or [])
    monkeypatch.setattr(
        program.Postgres, "back_up", lambda _self, point: labels.append(point) or {"backup": point, "kind": "full", "version": "17", "counts": {"backend": {}}}
    )
    monkeypatch.setattr(program.Dumps, "back_up", lambda _self, point: {"dumps": [], "kind": "dump of b", "version": "17", "counts": {"backend": {}}})
    monkeypatch.setattr(program.Dumps, "source", lambda _self: "b")
    monkeypatch.setattr(program.Repository, "elsewhere", lambda _self: ([], []))
    seconds = iter(range(10, 60))
    monkeypatch.setattr(program, "stamp", lambda: f"20261127T0430{next(seconds)}Z")

    def start(kind: str) -> Any:
        if kind == "sqlite":
            return embedded.start(**embedded.both)
        return embedded.start(sqlite={}, postgres={**given, "member": "b" if kind == "cluster" else ""})

    def put(*kinds: str) -> list[dict[str, Any]]:
        points = [
            {"name": f"atlas-2026050{day}T023000Z", "time": f"2026-05-0{day}T02:30:10+00:00", **MIXED[kind]}
            | ({"backup": f"F{day}"} if kind == "postgres" else {})
            for day, kind in enumerate(kinds, 1)
        ]
        labels.extend(point["backup"] for point in points if "backup" in point)
        for point in points:
            stored = [f"sqlite/{point['name']}{program.ENDINGS[role]}" for role in program.copies_of(point)]
            for name in [*stored, *(f"dumps/{point['name']}.{role}.dump" for role in point.get("dumps", [])), f"removed/{point['name']}/a"]:
                embedded.remote("copyto", str(embedded.database), f"repository:{name}")
        start("sqlite").write(points)
        return points

    def data() -> list[str]:
        """Return the copies, the dumps and the files that were set aside, by the names of their points."""
        folders = [embedded.remote.folder / name for name in ("sqlite", "dumps", "removed")]
        return sorted(f"{folder.name}/{path.name}" for folder in folders if folder.is_dir() for path in folder.iterdir())

    return SimpleNamespace(start=start, put=put, data=data, labels=labels, restored=restored)


@pytest.mark.parametrize("present", ["sqlite", "postgres", "cluster"])
@pytest.mark.parametrize("former", list(MIXED))
def test_the_first_backup_after_a_move_of_the_stores_keeps_the_backups_before_it(mixed: Any, former: str, present: str) -> None:
    """The retention keeps two points here."""
    (point,) = mixed.put(former)
    kept = [name for name in mixed.data() if not name.startswith("removed")]
    assert "2 can be restored" in mixed.start(present).back_up()
    assert mixed.start(present).points[0] == point
    assert set(kept) <= set(mixed.data())


@pytest.mark.parametrize("present", ["sqlite", "postgres", "cluster"])
@pytest.mark.parametrize("former", ["sqlite", "old sqlite", "cluster"])
def test_the_files_of_artifacts_stay_as_long_as_a_point_of_any_kind_needs_them(mixed: Any, former: str, present: str) -> None:
    points = mixed.put(former, former)
    mixed.start("sqlite").write(points[:1])
    mixed.start(present).back_up()
    assert f"removed/{points[1]['name']}" in mixed.data()


@pytest.mark.parametrize("present", ["sqlite", "postgres", "cluster"])
@pytest.mark.parametrize("former", ["sqlite", "old sqlite", "cluster"])
def test_the_retention_removes_the_points_of_other_kinds_with_their_data(mixed: Any, former: str, present: str) -> None:
    points = mixed.put(former, former)
    repository = mixed.start(present)
    repository.back_up()
    assert [point["name"] for point in repository.points[:1]] == [points[1]["name"]] and len(repository.points) == 2
    assert not any(points[0]["name"] in name for name in mixed.data()) and any(points[1]["name"] in name for name in mixed.data())
    repository.back_up()
    assert not any(point["name"] in name for point in points for name in mixed.data())


def test_pgbackrest_decides_how_long_its_own_backups_stay(mixed: Any) -> None:
    """A full backup has as many incremental ones as were made."""
    points = mixed.put("postgres", "postgres", "postgres", "postgres")
    mixed.labels.remove("F1")
    repository = mixed.start("postgres")
    repository.back_up()
    assert repository.points[:-1] == points[1:]


@pytest.fixture
def pgbackrest(program: ModuleType, embedded: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a repository of pgBackRest that keeps one full backup, with the points that the list had when a backup was removed."""
    counts = {"backend": {"schema revision": "c0ffee", "runs": 3}}
    given = {"service": "", "version": "17", "port": 5432, "databases": {"backend": "mlflow"}, "test_restore": True}
    seen = SimpleNamespace(labels=[], restored=counts, listed=[], kinds=[], keeps=1, full_every=0, fails="")
    seen.remote, seen.database = embedded.remote, embedded.database
    seen.start = lambda **more: embedded.start(**{"sqlite": {}, **more}, postgres=given, full_every_days=seen.full_every)
    embedded.remote.folder.mkdir()
    numbers = iter(range(1, 50))

    def run(_self: Any, *argv: str) -> str:
        if "info" in argv:
            stop = program.time.time() if seen.full_every else 0
            types = {"F": "full", "I": "incr"}
            return json.dumps([{"backup": [{"label": label, "type": types[label[0]], "timestamp": {"stop": stop}} for label in seen.labels]}])
        if seen.fails and seen.fails in argv:
            raise program.BackupError(f"pgbackrest {seen.fails} ended with 1")
        if given := [word.partition("=")[2] for word in argv if word.startswith("--set=")]:
            if seen.labels == given:
                raise program.BackupError("full backup cannot be expired until another full backup has been created")
            assert "--repo1-retention-full=9999999" in argv, "log of the earlier backups would be removed"
            seen.labels.remove(given[0])
            return ""
        if "backup" in argv:
            (kind,) = [word.partition("=")[2] for word in argv if word.startswith("--type=")]
            seen.kinds.append(kind)
            seen.labels.append(f"{kind[0].upper()}{next(numbers)}")
        if "expire" in argv or "backup" in argv and "--no-expire-auto" not in argv:
            seen.listed = [point["backup"] for point in seen.start().points]
            full = [label for label in seen.labels if label.startswith("F")]
            del seen.labels[: seen.labels.index(full[-seen.keeps :][0])]
        return ""

    monkeypatch.setattr(program.Postgres, "pgbackrest", run)
    monkeypatch.setattr(program.Postgres, "count", lambda _self, _socket="", _databases=None: counts)
    monkeypatch.setattr(program.Postgres, "psql", lambda *_given, **_more: "f")
    monkeypatch.setattr(program.Postgres, "restored_counts", lambda _self, _point, _label: seen.restored)
    monkeypatch.setattr(program.Repository, "elsewhere", lambda _self: ([], []))
    seconds = iter(range(10, 60))
    monkeypatch.setattr(program, "stamp", lambda: f"20261127T0430{next(seconds)}Z")
    return seen


def test_pgbackrest_removes_an_old_backup_after_the_new_point_is_in_the_list(pgbackrest: Any) -> None:
    assert "1 can be restored" in pgbackrest.start().back_up()
    assert "1 can be restored" in pgbackrest.start().back_up()
    assert (pgbackrest.labels, pgbackrest.listed) == (["F2"], ["F1", "F2"])


@pytest.mark.parametrize("failing", ["comparison", "artifacts"])
def test_a_backup_that_fails_removes_no_old_one(program: ModuleType, pgbackrest: Any, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    def fail(_self: Any, _point: str) -> int:
        raise program.BackupError("rclone sync ended with 1: the bucket does not answer")

    pgbackrest.start().back_up()
    if failing == "comparison":
        pgbackrest.restored = {"backend": {"schema revision": "c0ffee", "runs": 2}}
    else:
        monkeypatch.setattr(program.Files, "mirror", fail)
    with pytest.raises(program.BackupError, match=r"runs: 2 stored, 3 in the source|the bucket does not answer"):
        pgbackrest.start().back_up()
    assert [point["backup"] for point in pgbackrest.start().points] == ["F1"]
    assert pgbackrest.labels == ["F1"], "the failed one is removed"


def test_the_only_full_backup_stays_if_its_comparison_fails(program: ModuleType, pgbackrest: Any) -> None:
    pgbackrest.restored = {"backend": {"schema revision": "c0ffee", "runs": 2}}
    with pytest.raises(program.BackupError, match=r"runs: 2 stored, 3 in the source\npgBackRest has kept F1, which is no point and is never restored"):
        pgbackrest.start().back_up()
    assert pgbackrest.labels == ["F1"] and pgbackrest.start().points == []
    with pytest.raises(program.BackupError, match="The repository has no backup"):
        pgbackrest.start().find("latest")


def test_no_backup_is_made_of_one_that_failed_and_a_good_one_removes_it(program: ModuleType, pgbackrest: Any) -> None:
    """An incremental one would have the damaged files."""
    good = pgbackrest.restored
    pgbackrest.full_every = 7
    for _attempt in (1, 2):
        pgbackrest.restored = {"backend": {"schema revision": "c0ffee", "runs": 2}}
        with pytest.raises(program.BackupError, match="runs: 2 stored, 3 in the source"):
            pgbackrest.start().back_up()
        assert pgbackrest.labels == ["F1"]
    pgbackrest.restored = good
    assert "1 can be restored" in pgbackrest.start().back_up()
    assert (pgbackrest.kinds, pgbackrest.labels) == (["full", "full", "full"], ["F3"])
    assert [point["backup"] for point in pgbackrest.start().read()] == ["F3"]
    assert "2 can be restored" in pgbackrest.start().back_up()
    assert pgbackrest.kinds[-1] == "incr"


def test_a_failed_backup_that_could_not_be_removed_is_removed_later(program: ModuleType, pgbackrest: Any) -> None:
    pgbackrest.start().back_up()
    pgbackrest.restored, pgbackrest.fails = {"backend": {"schema revision": "c0ffee", "runs": 2}}, "expire"
    with pytest.raises(program.BackupError, match="pgBackRest has kept F2"):
        pgbackrest.start().back_up()
    assert [point["backup"] for point in pgbackrest.start().points] == ["F1"]
    pgbackrest.restored, pgbackrest.fails = {"backend": {"schema revision": "c0ffee", "runs": 3}}, ""
    pgbackrest.keeps = 2
    assert "2 can be restored" in pgbackrest.start().back_up()
    assert pgbackrest.labels == ["F1", "F3"]


@pytest.fixture
def failing(program: ModuleType, embedded: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a backup of two databases in files that ends with an error in an action of rclone, and what the repository has of databases."""
    write(embedded.users, "ada")
    seconds = iter(range(10, 60))
    monkeypatch.setattr(program, "stamp", lambda: f"20261127T0430{next(seconds)}Z")
    seen = SimpleNamespace(at="", error=lambda: program.BackupError("the bucket does not answer"))
    (embedded.data / "artifacts").mkdir()

    def rclone(_self: Any, action: str, *argv: str, stdin: str | None = None) -> str:
        said = embedded.remote(action, *argv, stdin=stdin)
        if seen.at == f"{action} {argv[0]}".removesuffix(str(embedded.data / "artifacts")):
            raise seen.error()
        return said

    monkeypatch.setattr(program.Files, "rclone", rclone)
    seen.start = lambda: embedded.start(**embedded.both)
    seen.stored = lambda: sorted(path.name for path in (embedded.remote.folder / "sqlite").iterdir())
    seen.folder = lambda: sorted(path.name for path in embedded.data.iterdir())
    return seen


def test_a_backup_that_fails_at_the_artifacts_leaves_no_copies(program: ModuleType, failing: Any) -> None:
    failing.start().back_up()
    before = failing.stored()
    failing.at = "sync "
    with pytest.raises(program.BackupError, match="the bucket does not answer"):
        failing.start().back_up()
    assert failing.stored() == before and len(failing.start().points) == 1
    assert failing.folder() == ["artifacts", "auth.db", "tracking.db"]


def test_a_failed_removal_does_not_hide_why_the_backup_failed(program: ModuleType, failing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_self: Any, _point: dict[str, Any]) -> None:
        raise program.BackupError("nothing can be removed")

    failing.at = "sync "
    monkeypatch.setattr(program.Files, "remove", fail)
    with pytest.raises(program.BackupError, match="the bucket does not answer"):
        failing.start().back_up()


def test_a_point_that_is_in_the_list_keeps_its_data_although_writing_the_list_failed(
    program: ModuleType, failing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store may fail to answer after it has stored an object."""
    to_file = program.Repository._write_file

    def lost(self: Any, name: str, text: str) -> None:
        to_file(self, name, text)
        raise program.BackupError("no answer")

    monkeypatch.setattr(program.Repository, "_write_file", lost)
    with pytest.raises(program.BackupError, match="no answer"):
        failing.start().back_up()
    (point,) = failing.start().points
    assert failing.stored() == [f"{point['name']}.db", f"{point['name']}.users.db"]


def test_a_backup_that_systemd_stops_leaves_no_copies(program: ModuleType, failing: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    failing.at, failing.error = "sync ", lambda: os.kill(os.getpid(), signal.SIGTERM) or program.BackupError("rclone was killed")
    repository = failing.start()
    monkeypatch.setattr(program, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(program, "Repository", lambda _settings: repository)
    (tmp_path / "settings.json").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["backup", "--settings", str(tmp_path / "settings.json"), "backup"])
    former = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with pytest.raises(SystemExit) as stopped:
            program.main()
    finally:
        signal.signal(signal.SIGTERM, former)
    assert stopped.value.code == 143
    assert (failing.stored(), failing.folder()) == ([], ["artifacts", "auth.db", "tracking.db"])


def test_what_a_killed_backup_has_left_is_removed_by_the_next_one(failing: Any, embedded: Any) -> None:
    left = embedded.data / ".atlas-mlflow-backup-copy"
    left.mkdir()
    (left / "copy.db").write_text("half a database")
    assert "Made the backup" in failing.start().back_up()
    assert failing.folder() == ["artifacts", "auth.db", "tracking.db"]


def test_a_backup_stays_if_an_old_one_cannot_be_removed(program: ModuleType, pgbackrest: Any) -> None:
    pgbackrest.start().back_up()
    pgbackrest.fails = "expire"
    with pytest.raises(program.BackupError, match=r"Made the backup atlas-.*, but older backups .* could not be removed. pgbackrest expire ended with 1"):
        pgbackrest.start().back_up()
    assert [point["backup"] for point in pgbackrest.start().points] == ["F1", "F2"] == pgbackrest.labels
    pgbackrest.fails = ""
    assert "1 can be restored" in pgbackrest.start().back_up()


@pytest.mark.parametrize(
    ("present", "wanted", "message"),
    [
        ("postgres", "sqlite", "is SQLite, and the present one is PostgreSQL. Restore it to a server with SQLite"),
        ("postgres", "old sqlite", "is SQLite, and the present one is PostgreSQL. Restore it to a server with SQLite"),
        ("postgres", "cluster", "has dumps of a cluster of PostgreSQL"),
        ("cluster", "sqlite", "is a backup of SQLite, and the group postgres is a cluster. Restore it to a server with SQLite"),
        ("cluster", "old sqlite", "is a backup of SQLite, and the group postgres is a cluster. Restore it to a server with SQLite"),
        ("cluster", "postgres", "is a backup of one host, and the group postgres is a cluster"),
        ("sqlite", "postgres", "is of PostgreSQL 17, and this host has no PostgreSQL that is backed up"),
        ("sqlite", "cluster", "has dumps of a cluster of PostgreSQL"),
    ],
)
def test_a_point_of_another_kind_is_listed_and_not_restored(program: ModuleType, mixed: Any, present: str, wanted: str, message: str) -> None:
    (point,) = mixed.put(wanted)
    repository = mixed.start(present)
    assert repository.points == [point]
    for to in ("latest", point["name"]):
        with pytest.raises(program.BackupError, match=message):
            repository.restore(to)
    assert mixed.restored == []


def test_a_restore_of_postgres_leaves_the_later_points_of_other_kinds(mixed: Any) -> None:
    points = mixed.put("postgres", "sqlite", "postgres", "cluster")
    mixed.start("postgres").restore(points[0]["name"])
    assert mixed.restored == [points[0]["name"]]
    assert mixed.start("postgres").points == [points[0], points[1], points[3]]


def test_a_restore_of_sqlite_leaves_all_later_points(mixed: Any) -> None:
    points = mixed.put("old sqlite", "postgres", "sqlite", "cluster")
    mixed.start("sqlite").restore(points[0]["name"])
    assert mixed.start("sqlite").points == points


def test_a_point_of_sqlite_alone_leaves_a_postgres_as_it_is(embedded: Any, mixed: Any) -> None:
    """Such as that of a registry which came after the point."""
    (point,) = mixed.put("old sqlite")
    given = {"service": "", "version": "17", "port": 5432, "databases": {"registry": "registry"}, "test_restore": True}
    said = embedded.start(**embedded.both, postgres=given).restore(point["name"])
    assert mixed.restored == [] and "The registry store is left as it is" in said


@pytest.fixture
def clock(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the seconds that the program has waited, in which no time passes."""
    waited: list[float] = []
    known = {"monotonic": lambda: 1000 + sum(waited), "sleep": waited.append, "time": program.time.time}
    monkeypatch.setattr(program, "time", SimpleNamespace(**known))
    return waited


@pytest.mark.parametrize("action", ["backup", "restore"])
def test_a_member_waits_for_no_backup_or_restore_whose_process_is_gone(
    program: ModuleType, cluster: Any, clock: list[float], capsys: pytest.CaptureFixture[str], action: str
) -> None:
    """It was killed, or its host was lost. The time of its clock says nothing."""
    claim = cluster.remote.folder / program.CLAIM
    for other, watched in (("b", 0), ("c", program.CLAIM_WATCHED)):
        clock.clear()
        claim.write_text(json.dumps({"member": other, "action": action, "time": program.time.time() + 7200, "beat": 3}))
        assert "Made the backup" in cluster.start("b").back_up()
        assert sum(clock) == watched and not claim.exists()
    assert f"Go on: the {action} of c, begun at" in capsys.readouterr().out


def test_members_of_a_cluster_make_one_backup_or_restore_at_a_time(program: ModuleType, cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process of another member writes its claim again and again, also while the watching one waits."""
    monkeypatch.setattr(program, "BEAT", 0.05)
    monkeypatch.setattr(program, "CLAIM_LOOK", 0.01)
    claim, threads = cluster.remote.folder / program.CLAIM, threading.active_count()
    with cluster.start("c").claimed("restore"):
        with pytest.raises(program.BackupError, match=r"No backup now: the restore of c, begun at .* UTC, has not ended"):
            cluster.start("b").back_up()
        assert json.loads(claim.read_text())["beat"] > 0 and cluster.start().points == []
        # One that was held up for so long that another member went on leaves it to that one.
        claim.write_text(json.dumps({"member": "a", "action": "backup", "time": 0, "beat": 0}))
        program.time.sleep(0.2)
        assert json.loads(claim.read_text())["member"] == "a"
    assert json.loads(claim.read_text())["member"] == "a"
    claim.unlink()
    with cluster.start("c").claimed("restore"):
        assert claim.exists()
    assert not claim.exists() and threading.active_count() == threads


def test_a_member_that_left_the_backup_to_another_one_makes_it_if_that_one_failed(
    program: ModuleType, cluster: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    started: list[list[str]] = []
    run = program.run

    def note(argv: list[str], *given: Any, **more: Any) -> str:
        if argv[0] != "systemd-run":
            return str(run(argv, *given, **more))
        started.append(argv)
        return ""

    with monkeypatch.context() as patched:
        patched.setattr(program, "run", note)
        for member, minutes in (("a", 60), ("c", 75)):
            assert f"Nothing to do: b makes the backup of the cluster. In {minutes} minutes" in cluster.start(member).back_up(look_again=True)
            assert started[-1][0] == "systemd-run" and f"--on-active={minutes * 60}" in started[-1]
        # By hand, it is made or not, and that is all.
        assert cluster.start("c").back_up() == "Nothing to do: b makes the backup of the cluster."
    (own, *arguments) = started[-1][started[-1].index(sys.executable) + 1 :]
    assert len(started) == 2 and Path(own) == Path(program.__file__).resolve()
    monkeypatch.setattr(program, "LOCK", tmp_path / "lock")
    (tmp_path / "settings.json").write_text("{}")

    def look(member: str) -> str:
        repository = cluster.start(member)
        with monkeypatch.context() as patched:
            patched.setattr(program, "Repository", lambda _settings: repository)
            patched.setattr(sys, "argv", ["backup", "--settings", str(tmp_path / "settings.json"), *arguments])
            assert program.main() == 0
        return capsys.readouterr().out

    assert "(dump of c)" in look("c")
    (point,) = cluster.start("a").points
    assert look("a") == f"Nothing to do: another member has made the backup {point['name']}.\n"
    # A backup of the night before does not count, and one that still runs does.
    monkeypatch.setattr(program, "BEAT", 0.05)
    monkeypatch.setattr(program, "CLAIM_LOOK", 0.01)
    arguments[-1] = "2999-01-01"
    with cluster.start("b").claimed("backup"):
        assert "Nothing to do. No backup now: the backup of b, begun at" in look("a")
    assert "(dump of a)" in look("a") and len(cluster.start("a").points) == 2


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("Unit atlas-mlflow-backup-again.timer was already loaded or has a fragment file.", "It looks again later, as was set before."),
        ("Failed to connect to bus", "No second look was set: Failed to connect to bus"),
    ],
)
def test_a_member_says_if_its_second_look_cannot_be_set(program: ModuleType, cluster: Any, monkeypatch: pytest.MonkeyPatch, error: str, said: str) -> None:
    def fail(*_given: Any, **_more: Any) -> str:
        raise program.BackupError(error)

    repository = cluster.start("c")
    monkeypatch.setattr(program, "run", fail)
    assert repository.back_up(look_again=True).endswith(said)


def test_a_share_that_is_not_mounted_gets_no_backup(program: ModuleType, cluster: Any) -> None:
    cluster.mark.unlink()
    with pytest.raises(program.BackupError, match="is not the folder that the members share: it has no file .*cluster-of-a"):
        cluster.start().back_up()


def test_a_cluster_refuses_what_it_cannot_restore(program: ModuleType, cluster: Any, embedded: Any) -> None:
    cluster.start().back_up()
    repository = cluster.start("a")
    point = repository.points[0]
    repository.write([{**POINTS[0], "backup": "20260503-023000F", "version": "17"}, {**point, "name": "atlas-2", "version": "18"}, {**point, "version": "15"}])
    assert point["name"] in repository.find("latest"), "a dump of an older version loads into a newer one"
    with pytest.raises(program.BackupError, match=f"restored to one of its points, and not to a moment between them. The points: atlas-2, {point['name']}"):
        repository.find(point["time"])
    with pytest.raises(program.BackupError, match=r"is a backup of one host, and the group postgres is a cluster"):
        repository.find(POINTS[0]["name"])
    with pytest.raises(program.BackupError, match=r"atlas-2 is of PostgreSQL 18, and this cluster has 17"):
        repository.find("atlas-2")
    with pytest.raises(program.BackupError, match=r"has dumps of a cluster of PostgreSQL. Restore it to a cluster"):
        embedded.start(sqlite={}, postgres={"service": "", "version": "15", "port": 5432, "databases": {}, "test_restore": True}).find("latest")


def test_old_dumps_are_removed_with_their_points(cluster: Any) -> None:
    repository = cluster.start()
    points = [{"name": "atlas-0", "backup": "F"}, *({"name": f"atlas-{number}", "dumps": ["backend"]} for number in (1, 2, 3))]
    for point in points[1:]:
        cluster.remote("copyto", str(cluster.mark), f"repository:dumps/{point['name']}.backend.dump")
    assert repository.kept(points) == points[2:]
    assert cluster.dumps() == ["atlas-2.backend.dump", "atlas-3.backend.dump"]
