#!/usr/bin/python3
"""Back up a tracking server's databases and artifacts to one repository, check it, and restore from it.

A backup is a point: the databases as they were then, and every artifact that they know. PostgreSQL is pgBackRest's (full and incremental
backups, and its log archived all along); SQLite is copied by its online backup. After that, and never before, rclone mirrors the
artifacts: what the database of the point refers to is there already when the mirror is made. An artifact that is overwritten or deleted
later is set aside for as long as a point may need it.

A point counts only after its databases were read back from the repository and compared with the source: the revision of their schema, and
the rows of every table.

Settings come from a JSON file that root alone reads, and reach the tools by their environment or by files of the same kind.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pwd
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import served_stores  # it lies beside this file

HOST_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
SETTINGS = Path("/etc/atlas-mlflow/backup.json")
LOCK = Path("/run/atlas-mlflow-backup.lock")
STANZA = "mlflow"
#: Seconds that PostgreSQL has to replay its log.
RECOVERY_TIMEOUT = 3600
#: The copies of SQLite's databases in the repository, by what they are for, behind the point's name.
ENDINGS = {"backend": ".db", "users": ".users.db", "registry": ".registry.db"}
#: What a summary tells of a database. All of its tables are compared.
TOLD = ("experiments", "runs", "metrics", "registered_models", "users")
REVISION = "schema revision"
#: Where records note the place of their artifacts: table, column, and what else holds for such a row.
LOCATIONS = (
    ("experiments", "artifact_location", ""),
    ("runs", "artifact_uri", ""),
    ("logged_models", "artifact_location", ""),
    ("model_versions", "source", ""),
    ("model_versions", "storage_location", ""),
    ("workspaces", "default_artifact_root", ""),
    ("trace_tags", "value", "key = 'mlflow.artifactLocation'"),
)
#: Ask for the columns of all tables.
COLUMNS = {
    "sqlite": "SELECT m.name || '.' || c.name AS field FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'",
    "postgresql": "SELECT table_name || '.' || column_name AS field FROM information_schema.columns WHERE table_schema = ANY (current_schemas(false))",
}
#: Settings without which a standby does not start unless they are the primary's.
STANDBY_SETTINGS = ("max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_transactions", "max_locks_per_transaction")

Rows = list[dict[str, Any]]
Counts = dict[str, Any]


class BackupError(Exception):
    """Something that cannot be backed up, checked or restored, in words for the operator."""


def run(argv: list[str], user: str = "", environment: dict[str, str] | None = None, stdin: str | None = None) -> str:
    """Run a command, as another user where one is named, and return its output.

    :raises BackupError: When it fails, with the last lines that it wrote.
    """
    account = pwd.getpwnam(user) if user else None
    # Without PAM, which would fill the journal with sessions.
    identity: dict[str, Any] = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": os.getgrouplist(user, account.pw_gid)} if account else {}
    done: subprocess.CompletedProcess[str] = subprocess.run(
        argv, env={**os.environ, **(environment or {})}, input=stdin, text=True, capture_output=True, cwd="/", check=False, **identity
    )
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise BackupError(f"{Path(argv[0]).name} {argv[1] if len(argv) > 1 else ''} ended with {done.returncode}:\n{said}")
    return done.stdout


@contextmanager
def locked(action: str, wait: float = 0, shared: bool = False) -> Iterator[None]:
    """Keep other backups and restores of this host out meanwhile.

    :param action: What this process does, for the message of those that are kept out.
    :param wait: Seconds to wait for another to end.
    :param shared: Whether others that only read may run at the same time.
    :raises BackupError: When another process holds the lock, with what it does, and since when.
    """
    descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + wait
    told = False
    try:
        while True:
            try:
                fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holder = os.pread(descriptor, 1000, 0).decode(errors="replace").strip() or "another process"
                if time.monotonic() >= deadline:
                    raise BackupError(f"No {action} now: {holder} holds {LOCK}. Begin again when it has ended.") from None
                if not told:
                    print(f"Wait for {holder}.", flush=True)
                told = True
                time.sleep(0.5)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"the {action} of process {os.getpid()}, begun at {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC,\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


class Files:
    """The artifacts, the encrypted repository of files, and rclone between them."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """Take the settings: the repository's folder and passphrase, and where the artifacts are."""
        artifacts, store = settings["artifacts"], settings.get("s3", {})
        self.root = f"store:{settings['repository'].removeprefix('s3://')}" if store else settings["repository"]
        self.folder = "" if "bucket" in artifacts else artifacts["folder"]
        self.source = self.folder or f"source:{artifacts.get('bucket', '')}"
        #: Whether there is anything that rclone reaches: the artifacts may be backed up by other means.
        self.mirrored = bool(self.folder or artifacts.get("bucket"))
        self.environment = {
            "RCLONE_CONFIG": "/dev/null",
            "RCLONE_CONFIG_REPOSITORY_TYPE": "crypt",
            "RCLONE_CONFIG_REPOSITORY_REMOTE": f"{self.root}/files",
            # rclone reads a password in this form alone, which hides it from a glance and no more.
            "RCLONE_CONFIG_REPOSITORY_PASSWORD": run(["rclone", "obscure", "-"], stdin=settings["passphrase"]).strip(),
        }
        for name, side in (("SOURCE", artifacts if "s3" in artifacts else {}), ("STORE", store)):
            if side:
                self.environment |= {
                    f"RCLONE_CONFIG_{name}_TYPE": "s3",
                    f"RCLONE_CONFIG_{name}_PROVIDER": "Minio",
                    # The account may use its bucket, and not make one.
                    f"RCLONE_CONFIG_{name}_NO_CHECK_BUCKET": "true",
                    **{f"RCLONE_CONFIG_{name}_{key.upper()}": value for key, value in side["s3"].items() if value},
                }
        # rclone takes one file for both sides; a side with none goes by what the host trusts.
        trusted = [side.get("authority") or HOST_AUTHORITIES for side in (artifacts, store) if "s3" in side]
        if trusted != [HOST_AUTHORITIES] * len(trusted):
            self.authorities = tempfile.NamedTemporaryFile(mode="w", suffix=".pem")  # noqa: SIM115 - rclone reads it as long as this is there
            self.authorities.write("\n".join(Path(path).read_text() for path in sorted(set(trusted))))
            self.authorities.flush()
            self.environment["RCLONE_CA_CERT"] = self.authorities.name

    def rclone(self, *argv: str, stdin: str | None = None) -> str:
        """Run rclone."""
        return run(["rclone", *argv, "--retries", "3", "--stats", "0"], environment=self.environment, stdin=stdin)

    def names(self, path: str) -> list[str]:
        """Return the names of what is in a folder of the repository, none if it has no such folder."""
        try:
            return [name.rstrip("/") for name in self.rclone("lsf", f"repository:{path}").splitlines()]
        except BackupError as error:
            if "directory not found" in str(error):
                return []
            raise

    def mirror(self, point: str) -> int:
        """Bring the mirror to what the artifact store holds, set aside what is overwritten or gone, and return how many artifacts it has.

        :raises BackupError: When the artifacts' folder is missing though the mirror has files of it.
        """
        if not self.mirrored:
            return 0
        if self.folder and not Path(self.folder).is_dir():
            # The server makes it when the first artifact comes.
            if self.names("artifacts"):
                raise BackupError(f"The folder of the artifacts, {self.folder}, is missing, and the backup has artifacts of it. Mount it, or restore it.")
            return 0
        set_aside = ["--backup-dir", f"repository:removed/{point}"]
        self.rclone("sync", self.source, "repository:artifacts", *set_aside, "--use-server-modtime", "--fast-list")
        return int(json.loads(self.rclone("size", "--json", "repository:artifacts"))["count"]) if "artifacts" in self.names("") else 0

    def bring_back(self, point: str) -> None:
        """Copy the artifacts back as they were at a point; the artifact store loses nothing that it has beside.

        What a later mirror set aside was there at the point. Where several did, the first of them has the content from then, so it comes last.
        """
        if not self.mirrored:
            return
        later = sorted((name for name in self.names("removed") if name > point), reverse=True)
        for name in [*(["artifacts"] if "artifacts" in self.names("") else []), *(f"removed/{name}" for name in later)]:
            self.rclone("copy", f"repository:{name}", self.source)
        if self.folder and Path(self.folder).is_dir():
            give(Path(self.folder))

    def read_all(self) -> int:
        """Read every file of the repository; its encryption tells a changed one. Return how many there are.

        :raises BackupError: When one cannot be read.
        """
        # A PostgreSQL without any artifact has no files here.
        return len(self.rclone("hashsum", "sha1", "repository:", "--download").splitlines()) if self.names("") else 0

    def expire(self, oldest: str) -> None:
        """Remove what was set aside before the oldest point that can still be restored."""
        for name in self.names("removed"):
            if name <= oldest:
                self.rclone("purge", f"repository:removed/{name}")


def give(folder: Path) -> None:
    """Make a folder's content its owner's, who is the tracking server's user.

    A folder that the restore itself has made gets the owner of the one that it is in.
    """
    owner = folder.stat()
    if owner.st_uid == 0:
        owner = folder.parent.stat()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def count_rows(ask: Callable[[str], Rows], tables: list[str]) -> Counts:
    """Return the revision of a database's schema and the rows of its tables, all of one moment.

    :param ask: Asks the database.
    :param tables: The tables' names, as they stand in a statement.
    """
    if not tables:
        return {}
    # One statement has one view of a database that others change.
    counted = ask(" UNION ALL ".join(f"SELECT '{table.replace(chr(39), chr(39) * 2)}' AS name, count(*) AS number FROM {table}" for table in tables))
    counts: Counts = {row["name"]: row["number"] for row in counted}
    noted = sorted(table for table in tables if "alembic_version" in table)
    revisions = [str(row["version_num"]) for table in noted for row in ask(f"SELECT version_num FROM {table}")]
    return {REVISION: " ".join(revisions), **counts}


def summarize(counts: Counts) -> str:
    """Return what people want to know of a database's counts."""
    told = [f"{counts[name]} {name.replace('_', ' ')}" for name in TOLD if name in counts]
    return ", ".join([f"{REVISION} {counts.get(REVISION) or 'none'}", *told, f"{sum(name != REVISION for name in counts)} tables"])


def differences(stored: Counts, source: Counts, later: Counts | None = None) -> list[str]:
    """Return in what a stored database differs from its source.

    :param stored: The counts of what was read back.
    :param source: Those of the source.
    :param later: Those of the source after the backup, if others may have changed it meanwhile.
    """
    found = []
    for name in sorted({*stored, *source, *(later or {})}):
        sides = [source.get(name), (source if later is None else later).get(name)]
        value = stored.get(name)
        if value in sides:
            continue
        numbers = [side for side in sides if isinstance(side, int)]
        if isinstance(value, int) and len(numbers) == 2 and min(numbers) <= value <= max(numbers):
            continue
        found.append(f"{name}: {'none' if value is None else value} stored, {'none' if sides[0] is None else sides[0]} in the source")
    return found


class Postgres:
    """A PostgreSQL of this host, as a service or in a container, whose backups are pgBackRest's. pgBackRest runs where PostgreSQL does."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """Take the settings: the service or the container, its port and databases, and after how many days a backup is a full one again."""
        given = settings["postgres"]
        self.service = given["service"]
        self.container = given.get("container", "")
        #: Whose files PostgreSQL reads: an account of the host, or numbers that are an account in the container.
        self.owner: list[Any] = [int(number) for number in given["user"].split(":")] if self.container else ["postgres", "postgres"]
        #: A folder that the host and the container have at the same path.
        self.state = Path(given["state"]) if self.container else None
        self.port = str(given["port"])
        self.databases: dict[str, str] = given["databases"]
        self.test_restore = given["test_restore"]
        self.full_every = settings["full_every_days"]
        self.version = str(given["version"])

    def inside(self, argv: list[str]) -> str:
        """Run a command as PostgreSQL's user, in its container if it has one."""
        if self.container:
            return run(["docker", "exec", "--user", str(self.owner[0]), self.container, *argv])
        return run(argv, "postgres")

    def psql(self, query: str, database: str = "postgres", port: str = "", socket: str = "") -> str:
        """Ask PostgreSQL as its administrator."""
        argv = ["psql", "--port", port or self.port, "--dbname", database, *(["--host", socket] if socket else [])]
        return self.inside([*argv, "--no-psqlrc", "--no-align", "--tuples-only", "--command", query]).strip()

    def asker(self, database: str, socket: str = "") -> Callable[[str], Rows]:
        """Return what asks a database for rows."""
        port = "5432" if socket else ""
        return lambda query: json.loads(self.psql(f"SELECT coalesce(json_agg(t), '[]') FROM ({query}) t", database, port, socket))

    def count(self, socket: str = "") -> dict[str, Counts]:
        """Return the counts of each database.

        :raises BackupError: When PostgreSQL has no such database, or it holds no schema of MLflow's.
        """
        listed = "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) AS name FROM pg_tables WHERE schemaname !~ '^(pg_|information_schema)'"
        counted = {}
        for role, database in self.databases.items():
            ask = self.asker(database, socket)
            tables = sorted(row["name"] for row in ask(listed))
            counts = {name.removeprefix("public."): value for name, value in count_rows(ask, tables).items()}
            if not counts.get(REVISION):
                raise BackupError(f"The database {database}, the {served_stores.DATABASES[role]}, has no schema of MLflow's: there is nothing to back up.")
            counted[role] = counts
        return counted

    def pgbackrest(self, *argv: str) -> str:
        """Run pgBackRest as PostgreSQL's user."""
        return self.inside(["pgbackrest", f"--stanza={STANZA}", *argv])

    def backups(self) -> Rows:
        """Return what pgBackRest knows of its backups, the oldest first."""
        found = json.loads(self.pgbackrest("info", "--output=json"))
        return [backup for stanza in found for backup in stanza.get("backup", [])]

    def back_up(self, point: str) -> dict[str, Any]:
        """Make a backup, mark the point behind it in PostgreSQL's log, see that log archived, and compare what comes out of it with the source.

        :raises BackupError: When what was stored differs from the source.
        """
        # A database that is no use to anybody is said before the long part.
        self.count()
        # The first finds nothing to do in a stanza of this major version, the second takes over one of an older.
        self.pgbackrest("stanza-upgrade" if self.backups() else "stanza-create")
        full = [backup["timestamp"]["stop"] for backup in self.backups() if backup["type"] == "full"]
        kind = "incr" if full and time.time() - max(full) < self.full_every * 86400 else "full"
        # After a major version's change, pgBackRest makes a full one in any case.
        self.pgbackrest(f"--type={kind}", "backup")
        made = self.backups()[-1]
        before = self.count()
        self.psql(f"SELECT pg_create_restore_point('{point}')")
        after = self.count()
        self.pgbackrest("check")
        marked = {"backup": made["label"], "kind": made["type"], "version": self.version}
        if not self.test_restore or not self.databases:
            return {**marked, "counts": before, "counts_after": after}
        stored = self.restored_counts(point, made["label"])
        refuse_differences(stored, before, after)
        return {**marked, "counts": stored, "read_back": list(stored)}

    def restored_counts(self, point: str, label: str) -> dict[str, Counts]:
        """Restore a backup to a folder of its own, run a PostgreSQL on it that nobody else reaches, and return the counts of its databases.

        :raises BackupError: When the disk has no room for it, or it does not start.
        """
        home = self.state or Path(self.psql("SHOW data_directory")).parent
        folder = home / "atlas-mlflow-test-restore"
        size = int(self.psql("SELECT sum(pg_database_size(oid)) FROM pg_database"))
        needed, free = size + 256 * 1024**2, shutil.disk_usage(home).free
        if free < needed:
            raise BackupError(
                f"A test restore of this backup needs {needed // 1024**2} MiB in {home}, and {free // 1024**2} MiB are free. Make room, "
                "or set backup_test_restore to false, and restore a backup on another host from time to time."
            )
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        data = folder / "data"
        for path in (data, folder / "tablespaces"):
            path.mkdir(mode=0o700)
        for path in (folder, data, folder / "tablespaces"):
            shutil.chown(path, *self.owner)
        control = ["pg_ctl" if self.container else f"/usr/lib/postgresql/{self.version}/bin/pg_ctl", "--pgdata", str(data)]
        try:
            target = ["--type=name", f"--target={point}", f"--set={label}", "--target-action=promote", "--archive-mode=off"]
            self.pgbackrest(f"--pg1-path={data}", *target, f"--tablespace-map-all={folder}/tablespaces", "restore")
            self._write_settings(data, folder)
            self.inside([*control, "--log", f"{folder}/log", "--timeout", str(RECOVERY_TIMEOUT), "--wait", "--silent", "start"])
            self._wait(f"the log of a test restore, {folder}/log", "5432", str(folder))
            return self.count(str(folder))
        except BackupError as error:
            said = (folder / "log").read_text(errors="replace").splitlines()[-10:] if (folder / "log").exists() else []
            raise BackupError("\n".join([f"The test restore of {point} failed. {error}", *said])) from error
        finally:
            if (data / "postmaster.pid").exists():
                self.inside([*control, "--mode", "immediate", "--wait", "--silent", "stop"])
            shutil.rmtree(folder, ignore_errors=True)

    def _write_settings(self, data: Path, folder: Path) -> None:
        """Write the settings of a PostgreSQL that nobody else reaches, and that is soon gone."""
        quoted = ", ".join(f"'{name}'" for name in STANDBY_SETTINGS)
        settings = {row["name"]: row["setting"] for row in self.asker("postgres")(f"SELECT name, setting FROM pg_settings WHERE name IN ({quoted})")}
        settings |= {
            "listen_addresses": "",
            "unix_socket_directories": str(folder),
            "port": "5432",
            "hba_file": f"{folder}/pg_hba.conf",
            "ssl": "off",
            "shared_buffers": "32MB",
            "huge_pages": "off",
            "fsync": "off",
            "autovacuum": "off",
            "archive_mode": "off",
            "hot_standby": "on",
        }
        contents = {
            data / "postgresql.conf": "".join(f"{name} = '{value}'\n" for name, value in settings.items()),
            folder / "pg_hba.conf": "local all all peer\n",
        }
        for path, content in contents.items():
            path.write_text(content)
            shutil.chown(path, *self.owner)

    def _wait(self, log: str, port: str = "", socket: str = "") -> None:
        """Wait until a PostgreSQL has replayed its log."""
        deadline = time.monotonic() + RECOVERY_TIMEOUT
        said = "It still replays its log."
        while True:
            try:
                if self.psql("SELECT pg_is_in_recovery()", "postgres", port, socket) == "f":
                    return
            except BackupError as error:
                # A container has been started before PostgreSQL in it answers. One that has ended never answers.
                said = str(error)
                if not self.container or "is not running" in said:
                    raise
            if time.monotonic() > deadline:
                raise BackupError(f"PostgreSQL has not come back after {RECOVERY_TIMEOUT} s, see {log}. {said}")
            time.sleep(0.2)

    def kept(self, points: Rows) -> Rows:
        """Return the points that retention has left a backup for."""
        labels = {backup["label"] for backup in self.backups()}
        return [point for point in points if point.get("backup") in labels]

    def verify(self) -> str:
        """Have pgBackRest read its repository back, every file of it."""
        said = self.pgbackrest("--output=text", "--verbose", "verify") if self.backups() else ""
        if "status: ok" not in said:
            raise BackupError(f"pgBackRest finds its repository damaged, or no backup in it:\n{said}")
        return f"pgBackRest's verification: {' '.join(said.split())}"

    def restore(self, point: dict[str, Any], moment: str) -> list[str]:
        """Bring PostgreSQL back to a point, or to a moment, wait until it has replayed its log, and return in what it differs from the point."""
        target = ["--type=time", f"--target={moment}"] if moment else ["--type=name", f"--target={point['name']}"]
        # By itself, pgBackRest takes the last backup before a moment, also one on a time line that an earlier restore has left.
        restore = [f"--stanza={STANZA}", "--delta", *target, f"--set={point['backup']}", "--target-action=promote", "restore"]
        if self.container:
            network, image = run(["docker", "inspect", "--format", "{{.HostConfig.NetworkMode}} {{.Image}}", self.container]).split()
            run(["docker", "stop", self.container])
            # Another container, with the volumes and the folders of this one.
            same = ["--user", str(self.owner[0]), "--network", network, "--volumes-from", self.container, "--read-only", "--tmpfs", "/tmp"]
            run(["docker", "run", "--rm", *same, "--entrypoint", "pgbackrest", image, *restore])
            run(["docker", "start", self.container])
        else:
            run(["systemctl", "stop", self.service])
            run(["pgbackrest", *restore], "postgres")
            run(["systemctl", "start", self.service])
        self._wait(f"docker logs {self.container}" if self.container else f"the journal of {self.service}")
        # What was at a moment between two points nobody has counted.
        if moment or "counts" not in point:
            return []
        counted, later = self.count(), point.get("counts_after")
        return [
            f"{self.databases[role]}: {line}"
            for role in counted
            if role in point["counts"]
            for line in differences(counted[role], point["counts"][role], later[role] if later else None)
        ]


def refuse_differences(stored: dict[str, Counts], source: dict[str, Counts], later: dict[str, Counts] | None = None) -> None:
    """Refuse what was stored if it differs from its source.

    :raises BackupError: When it does.
    """
    found = [
        f"{served_stores.DATABASES[role]}: {line}"
        for role in source
        for line in differences(stored.get(role, {}), source[role], later[role] if later else None)
    ]
    if found:
        raise BackupError("\n".join(["What was stored differs from its source, so it is no point that can be restored:", *found]))


class Sqlite:
    """Databases that are files: the embedded backend store, and those of users and of the registry. Their copies are kept with the artifacts."""

    def __init__(self, settings: dict[str, Any], files: Files) -> None:
        """Take the settings: the databases' files by what they are for."""
        self.paths = {role: Path(path) for role, path in settings["sqlite"].items()}
        self.files = files

    def asker(self, role: str) -> Callable[[str], Rows]:
        """Return what asks a database for rows."""

        def ask(query: str) -> Rows:
            with closing(open_read_only(self.paths[role])) as database:
                return rows(database, query)

        return ask

    def back_up(self, point: str) -> dict[str, Any]:
        """Copy the databases while they are used, read each copy back, and compare it with its source.

        :raises BackupError: When a database is missing or is none of MLflow's, or when what was stored differs from it.
        """
        if not self.paths:
            return {}
        counts: dict[str, Counts] = {}
        try:
            for role, path in self.paths.items():
                counts[role] = self._copy(role, path, f"repository:sqlite/{point}{ENDINGS[role]}")
        except BaseException:
            for copied in [*counts, role]:
                if f"{point}{ENDINGS[copied]}" in self.files.names("sqlite"):
                    self.files.rclone("deletefile", f"repository:sqlite/{point}{ENDINGS[copied]}")
            raise
        return {"kind": "full", "copies": list(self.paths), "counts": counts, "read_back": list(counts)}

    def _copy(self, role: str, path: Path, name: str) -> Counts:
        with tempfile.TemporaryDirectory(dir=path.parent if path.parent.is_dir() else None) as folder:
            copy, again = Path(folder, "copy.db"), Path(folder, "again.db")
            with closing(open_read_only(path)) as original, closing(sqlite3.connect(copy)) as target:
                # What is counted and what is copied are of one moment.
                original.execute("BEGIN")
                source = count_sqlite(original)
                if not source.get(REVISION):
                    raise BackupError(f"{path}, the {served_stores.DATABASES[role]}, has no schema of MLflow's: there is nothing to back up.")
                original.backup(target)
            self.files.rclone("copyto", str(copy), name)
            self.files.rclone("copyto", name, str(again))
            refuse_differences({role: count_copy(again, name)}, {role: source})
        return source

    def remove(self, point: dict[str, Any]) -> None:
        """Remove the copies of a point."""
        for role in copies_of(point):
            self.files.rclone("deletefile", f"repository:sqlite/{point['name']}{ENDINGS[role]}")

    def restore(self, point: dict[str, Any]) -> None:
        """Put the point's copies in the databases' places; a database that was there is kept beside it.

        :raises BackupError: When a copy is damaged or is not what was backed up. No database is replaced then.
        """
        with tempfile.TemporaryDirectory() as nowhere:
            ready = {}
            for role, path in self.paths.items():
                if role in copies_of(point):
                    folder = path.parent if path.parent.is_dir() else Path(nowhere)
                    ready[role] = Path(tempfile.mkdtemp(dir=folder), "copy.db")
            try:
                for role, copy in ready.items():
                    name = f"repository:sqlite/{point['name']}{ENDINGS[role]}"
                    self.files.rclone("copyto", name, str(copy))
                    counts = count_copy(copy, name)
                    if "counts" in point:
                        refuse_differences({role: counts}, {role: point["counts"][role]})
                for role, copy in ready.items():
                    put(copy, self.paths[role])
            finally:
                for copy in ready.values():
                    shutil.rmtree(copy.parent, ignore_errors=True)


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open a database of SQLite for reading.

    :raises BackupError: When there is none. SQLite itself would make an empty one.
    """
    if not path.is_file():
        raise BackupError(f"The database {path}, which the tracking server's settings name, is missing. Start the tracking server, or correct its settings.")
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)


def rows(database: sqlite3.Connection, query: str) -> Rows:
    """Ask a database of SQLite for rows."""
    asked = database.execute(query)
    return [dict(zip([column[0] for column in asked.description], row)) for row in asked]


def count_sqlite(database: sqlite3.Connection) -> Counts:
    """Return the counts of a database of SQLite."""
    listed = rows(database, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
    quoted = {'"' + str(row["name"]).replace('"', '""') + '"': str(row["name"]) for row in listed}
    return {quoted.get(name, name): value for name, value in count_rows(lambda query: rows(database, query), list(quoted)).items()}


def count_copy(copy: Path, name: str) -> Counts:
    """Return the counts of a copy that was read back.

    :raises BackupError: When it is damaged.
    """
    try:
        with closing(open_read_only(copy)) as database:
            said = database.execute("PRAGMA integrity_check").fetchone()[0]
            if said == "ok":
                return count_sqlite(database)
    except sqlite3.DatabaseError as error:
        said = str(error)
    raise BackupError(f"The copy {name.rpartition('/')[2]} is damaged: {said}")


def put(copy: Path, path: Path) -> None:
    """Put a database in its place, and keep the one that was there beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = path.parent.stat()
    os.chown(copy, owner.st_uid, owner.st_gid)
    copy.chmod(0o640)
    if path.exists():
        path.rename(f"{path}.before-{stamp()}")
    for leftover in ("-wal", "-shm", "-journal"):
        Path(f"{path}{leftover}").unlink(missing_ok=True)
    shutil.move(copy, path)


def stamp() -> str:
    """Return this moment as a name that sorts by time."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")


def copies_of(point: dict[str, Any]) -> list[str]:
    """Return of which databases of SQLite a point has copies. Older points say less."""
    if "copies" in point or "backup" in point:
        return list(point.get("copies", []))
    return ["backend", "users"] if point.get("users") else ["backend"]


def choose(points: Rows, wanted: str) -> tuple[dict[str, Any], datetime | None]:
    """Return the point to restore, and the moment behind it where one was asked for.

    :param wanted: C(latest), a point's name, or a moment as ISO 8601 with its time zone.
    :raises BackupError: When there is no such point, or the moment is none, or no backup covers it.
    """
    if not points:
        raise BackupError("The repository has no backup.")
    if wanted == "latest":
        return points[-1], None
    for point in points:
        if point["name"] == wanted:
            return point, None
    try:
        moment = datetime.fromisoformat(wanted)
    except ValueError:
        moment = None
    names = ", ".join(point["name"] for point in points)
    if moment is None or moment.tzinfo is None:
        raise BackupError(f"{wanted} is neither latest, nor a point ({names}), nor a moment with its time zone (2026-05-04 12:30:00+00:00).")
    if moment > datetime.fromisoformat(points[-1]["time"]):
        raise BackupError(f"{wanted} is after the last backup, {points[-1]['name']}: artifacts of later runs are not in it. The points: {names}.")
    before = [point for point in points if datetime.fromisoformat(point["time"]) <= moment]
    if not before:
        raise BackupError(f"{wanted} is before the first backup. The points: {names}.")
    return before[-1], moment


class Repository:
    """The repository: its points, and what makes, checks and restores them."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """Take the settings of the role."""
        self.settings = settings
        self.files = Files(settings)
        self.index = f"{self.files.root}/points.json"
        self.in_folder = self.files.root.startswith("/")
        self.postgres = Postgres(settings) if settings.get("postgres") else None
        self.sqlite = Sqlite(settings, self.files)
        self.keep = settings["keep_full"] * settings["full_every_days"]

    @property
    def points(self) -> Rows:
        """Return the points, the oldest first."""
        if self.in_folder:
            return self._read(Path(self.index).read_text()) if Path(self.index).exists() else []
        if "points.json" not in self.files.rclone("lsf", self.files.root, "--files-only", "--include", "/points.json").split():
            return []
        return self._read(self.files.rclone("cat", self.index))

    @staticmethod
    def _read(index: str) -> Rows:
        points: Rows = json.loads(index)
        return points

    def write(self, points: Rows) -> None:
        """Write which points there are, whole or not at all."""
        text = json.dumps(points, indent=1) + "\n"
        if self.in_folder:
            beside = Path(f"{self.index}.new")
            beside.write_text(text)
            beside.replace(self.index)
        else:
            self.files.rclone("rcat", self.index, stdin=text)

    def refuse_other_stores(self) -> None:
        """Refuse a backup of stores that the tracking server of this host uses no longer.

        :raises BackupError: When its settings name others than when the backup was set up.
        """
        known, present = self.settings.get("served"), served_stores.read_host()
        if known and present and known != present:
            changed = ", ".join(name for name in sorted({*known, *present}) if known.get(name) != present.get(name))
            raise BackupError(f"The tracking server of this host uses other stores than when this backup was set up ({changed}). Run backup.yml again.")

    def elsewhere(self) -> tuple[list[str], list[str]]:
        """Return where records have artifacts that this backup does not take.

        :returns: A line for each kind of record: first of places that nobody has listed, then of those that the settings list.
        """
        askers = {role: self.sqlite.asker(role) for role in self.sqlite.paths}
        if self.postgres:
            askers |= {role: self.postgres.asker(database) for role, database in self.postgres.databases.items()}
        unknown: list[str] = []
        listed: list[str] = []
        for role, ask in askers.items():
            present = {row["field"] for row in ask(COLUMNS["sqlite" if role in self.sqlite.paths else "postgresql"])} if role != "users" else set()
            asked = [
                f"SELECT DISTINCT '{table}.{column}' AS field, {column} AS place FROM {table} WHERE {self._not_own(column, condition)}"
                for table, column, condition in LOCATIONS
                if f"{table}.{column}" in present
            ]
            found: dict[str, list[str]] = {}
            for row in ask(" UNION ALL ".join(asked)) if asked else []:
                if not served_stores.is_own(row["place"], self.settings["own_places"]):
                    found.setdefault(row["field"], []).append(row["place"])
            for field, places in found.items():
                allowed = [place for place in places if any(place.startswith(start) for start in self.settings["elsewhere"])]
                for lines, some in ((unknown, sorted(set(places) - set(allowed))), (listed, sorted(allowed))):
                    if some:
                        lines.append(f"{len(some)} of {field}: {', '.join(some[:5])}{f' and {len(some) - 5} more' if len(some) > 5 else ''}")
        return unknown, listed

    def _not_own(self, column: str, condition: str) -> str:
        """Return a condition that leaves out nearly all of what a large database holds; what names another server stays."""
        starts = [place.replace("'", "''") for place in self.settings["own_places"]]
        own = " OR ".join(f"substr({column}, 1, {len(place)}) = '{start}'" for place, start in zip(self.settings["own_places"], starts))
        return f"coalesce({column}, '') <> '' AND (NOT ({own}) OR {column} LIKE 'mlflow-artifacts://%'){f' AND {condition}' if condition else ''}"

    def back_up(self) -> str:
        """Make a backup of databases and artifacts, compare it with its source, and expire old ones.

        :raises BackupError: When it differs, or when there are data that it does not take; these do not keep it from being made.
        """
        self.refuse_other_stores()
        name = f"atlas-{stamp()}"
        point: dict[str, Any] = {"name": name, "counts": {}, "read_back": []}
        sides: list[Sqlite | Postgres | None] = [self.sqlite, self.postgres]
        for side in [side for side in sides if side]:
            made = side.back_up(name)
            together = {"counts": {**point["counts"], **made.get("counts", {})}, "read_back": point["read_back"] + made.get("read_back", [])}
            point = {**point, **made, **together}
        point["time"] = datetime.now(UTC).isoformat()
        artifacts = self.files.mirror(name)
        unknown, listed = self.elsewhere()
        point |= {"artifacts": artifacts, "elsewhere": unknown + listed}
        points = self.kept([*self.points, point])
        self.write(points)
        self.files.expire(points[0]["name"])
        told = [f"Made the backup {name} ({point['kind']}). {len(points)} can be restored.", *describe(point)]
        told += [f"Not in it, as backup_artifacts_elsewhere says: {line}" for line in listed]
        if unknown:
            raise BackupError("\n".join([*told, *not_taken(unknown)]))
        return "\n".join(told)

    def kept(self, points: Rows) -> Rows:
        """Return the points that are kept, and remove the copies of the others."""
        kept = self.postgres.kept(points) if self.postgres else points[-self.keep :]
        for point in points:
            if point not in kept:
                self.sqlite.remove(point)
        return kept

    def check(self) -> str:
        """Read all of the repository back.

        :raises BackupError: When something of it is damaged.
        """
        if not self.points:
            raise BackupError("The repository has no backup.")
        last = self.points[-1]
        verified = [f"{self.postgres.verify()}."] if self.postgres else []
        return "\n".join([" ".join([*verified, f"Read {self.files.read_all()} files of the mirror. The last point is {last['name']}."]), *describe(last)])

    def choose(self, wanted: str) -> tuple[dict[str, Any], datetime | None]:
        """Return the point to restore, and the moment behind it where one was asked for.

        :raises BackupError: When there is none, or it is of a PostgreSQL that is not the present one, or of another kind of database.
        """
        point, moment = choose(self.points, wanted)
        needed, present = point.get("version", ""), self.postgres.version if self.postgres else ""
        if needed and needed != present:
            has = f"PostgreSQL {present}" if present else "no PostgreSQL that is backed up"
            raise BackupError(
                f'{point["name"]} is of PostgreSQL {needed}, and this host has {has}. Restore it to a host with postgres_version: "{needed}", and upgrade that.'
            )
        databases = self.postgres.databases if self.postgres else {}
        for role, words in served_stores.DATABASES.items():
            if role in copies_of(point) and role in databases:
                raise BackupError(f"The {words} of {point['name']} is SQLite, and the present one is PostgreSQL. Restore it to a server with SQLite.")
            if role in self.sqlite.paths and role not in copies_of(point) and role in point.get("counts", {"backend": {}}):
                raise BackupError(f"The {words} of {point['name']} is PostgreSQL, and the present one is SQLite. Restore it to a server with PostgreSQL.")
        return point, moment

    def find(self, wanted: str) -> str:
        """Say which point a restore would take."""
        return f"A restore would take {self.choose(wanted)[0]['name']}."

    def restore(self, wanted: str) -> str:
        """Bring databases and artifacts back to a point or a moment.

        :raises BackupError: When what was restored differs from what was backed up.
        """
        point, moment = self.choose(wanted)
        if not self.postgres:  # SQLite keeps no log to go on with from a point
            moment = None
        self.files.bring_back(point["name"])
        self.sqlite.restore(point)
        found = self.postgres.restore(point, moment.isoformat(sep=" ") if moment else "") if self.postgres else []
        # What came later is on a time line of PostgreSQL's log that has been left.
        self.write([known for known in self.points if known["name"] <= point["name"]])
        if found:
            raise BackupError("\n".join([f"Restored {point['name']}, but it differs from what was backed up:", *found]))
        told = [f"Restored {moment.isoformat() if moment else point['name']}.", *([] if moment else describe(point))]
        left = [served_stores.DATABASES[role] for role in self.sqlite.paths if role not in copies_of(point)]
        gone = [served_stores.DATABASES[role] for role in copies_of(point) if role not in self.sqlite.paths]
        told += [f"The {words} is left as it is: the point has no copy of one." for words in left]
        told += [f"The {words} of the point is not restored: the tracking server uses none that is a file." for words in gone]
        return "\n".join(told + [f"Not in it: {line}" for line in point.get("elsewhere", [])])


def describe(point: dict[str, Any]) -> list[str]:
    """Return a line for each database of a point, and one for its artifacts."""
    told = []
    for role, counts in point.get("counts", {}).items():
        proven = "the same as in the source" if role in point["read_back"] else "counted in the source; backup_test_restore is false"
        told.append(f"{served_stores.DATABASES[role].capitalize()}: {summarize(counts)} ({proven}).")
    return told + ([f"Artifacts: {point['artifacts']} files."] if "artifacts" in point else [])


def not_taken(places: list[str]) -> list[str]:
    """Return what is said of artifacts that no backup takes."""
    return [
        "But there are artifacts that this backup does not take, as they are not in the artifact store:",
        *(f"  {line}" for line in places),
        "Copy them into the artifact store, or back them up by other means and list the beginning of their places in backup_artifacts_elsewhere.",
    ]


def main() -> int:
    """Run from the command line, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", type=Path, default=SETTINGS, help="JSON file with the settings")
    parser.add_argument("--wait", type=float, default=0, help="seconds to wait for another backup or restore to end")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("backup", help="make a backup")
    actions.add_parser("check", help="read the repository back")
    actions.add_parser("list", help="list the points that can be restored")
    actions.add_parser("find", help="say which point a restore would take").add_argument("--to", required=True)
    actions.add_parser("restore", help="restore; the tracking servers must be stopped").add_argument("--to", required=True)
    given = parser.parse_args()
    os.umask(0o077)
    try:
        settings = json.loads(given.settings.read_text())
        if given.action == "list":
            print(json.dumps(Repository(settings).points, indent=1))
            return 0
        with locked("search for a point" if given.action == "find" else given.action, given.wait, shared=given.action in ("check", "find")):
            repository = Repository(settings)
            action = getattr(repository, {"backup": "back_up"}.get(given.action, given.action))
            print(action(given.to) if "to" in given else action(), flush=True)
    except (BackupError, OSError, sqlite3.Error) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
