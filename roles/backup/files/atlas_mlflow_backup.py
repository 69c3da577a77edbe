#!/usr/bin/python3
"""Back up a tracking server's databases and artifacts to one repository, check the backup, and restore from it.

A backup is a point: the databases at one time, and every artifact that they refer to. pgBackRest backs up PostgreSQL (full and incremental
backups, and continuous archiving of its log). SQLite is copied by its online backup. After that, and never before, rclone mirrors the
artifacts: every artifact in the database of the point exists already when the mirror is made. An artifact that is overwritten or deleted
later is kept in a separate folder for as long as a point may need it.

A point counts only after its databases were read back from the repository and compared with the source: the revision of their schema, and
the rows of every table.

A cluster of PostgreSQL is dumped by pg_dump on one member, a replica if one is healthy. Each member has the timer, and Patroni's list of the members
decides which one makes the backup. A restore loads the dumps next to the present databases of the primary, compares them, and then renames the
databases. Replicas get all of it by replication.

The settings are in a JSON file that only root can read. The tools get them by their environment or by files of the same kind.
"""

from __future__ import annotations

import argparse
import fcntl
import grp
import json
import os
import pwd
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import cluster_members  # these two are in the same folder as this file
import served_stores

HOST_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
SETTINGS = Path("/etc/atlas-mlflow/backup.json")
LOCK = Path("/run/atlas-mlflow-backup.lock")
#: The record of a restore of one host that stops PostgreSQL. It stays if the restore is interrupted, and names what the next one cannot ask PostgreSQL for.
RESTORING = Path("/etc/atlas-mlflow/restoring.json")
STANZA = "mlflow"
#: Seconds in which PostgreSQL must replay its log.
RECOVERY_TIMEOUT = 3600
#: The program of Patroni for operators with its settings, if PostgreSQL is a cluster.
PATRONICTL = ["/usr/local/bin/patronictl", "--config-file", "/etc/patroni/config.yml"]
#: Attempts to dump a database. A replica cancels a query that delays the changes of the primary for too long.
DUMP_ATTEMPTS = 3
#: The file in the repository of a cluster that names the host of the running backup or restore, whose process writes it again every so many seconds.
CLAIM = "running.json"
BEAT = 20
#: Seconds for which other members watch the file, and between two looks. If it does not change meanwhile, its process is gone.
CLAIM_WATCHED, CLAIM_LOOK = 4 * BEAT, 5
#: Seconds after which a member that leaves the backup to another one looks whether it was made, and the seconds between two of these members. A point counts
#: if it was made in the seconds before the first look or later.
LOOK_AGAIN, LOOKS_APART, EARLIER = 3600, 900, 600
AGAIN_UNIT = "atlas-mlflow-backup-again"
#: What to do if a test restore has no room.
WITHOUT_TEST = ", or set backup_test_restore to false, and restore a backup on another host from time to time"
#: The exit status of a restore that failed and left the databases as they are.
LEFT_AS_IT_IS = 3
#: The copies of SQLite's databases in the repository, by their purpose. The point's name is their prefix.
ENDINGS = {"backend": ".db", "users": ".users.db", "registry": ".registry.db"}
#: The tables in the summary of a database. All of its tables are compared.
TOLD = ("experiments", "runs", "metrics", "registered_models", "users")
REVISION = "schema revision"
#: Where records store the place of their artifacts: table, column, and a condition for the row.
LOCATIONS = (
    ("experiments", "artifact_location", ""),
    ("runs", "artifact_uri", ""),
    ("logged_models", "artifact_location", ""),
    ("model_versions", "source", ""),
    ("model_versions", "storage_location", ""),
    ("workspaces", "default_artifact_root", ""),
    ("trace_tags", "value", "key = 'mlflow.artifactLocation'"),
)
#: A query for the columns of all tables.
COLUMNS = {
    "sqlite": "SELECT m.name || '.' || c.name AS field FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'",
    "postgresql": "SELECT table_name || '.' || column_name AS field FROM information_schema.columns WHERE table_schema = ANY (current_schemas(false))",
}
#: Settings that must be the same as the primary's, or else a standby does not start.
STANDBY_SETTINGS = ("max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_transactions", "max_locks_per_transaction")

Rows = list[dict[str, Any]]
Counts = dict[str, Any]


class BackupError(Exception):
    """Something that cannot be backed up, checked or restored, in words for the operator."""


class RunningError(BackupError):
    """Another backup or restore that runs."""


class NotRestoredError(BackupError):
    """A restore that failed and left the databases as they are."""


def run(argv: list[str], user: str = "", environment: dict[str, str] | None = None, stdin: str | None = None) -> str:
    """Run a command, as another user if one is given, and return its output.

    :raises BackupError: If the command fails, with the last lines of its output.
    """
    account = pwd.getpwnam(user) if user else None
    # Without PAM, which would write a line about each session into the journal.
    identity: dict[str, Any] = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": os.getgrouplist(user, account.pw_gid)} if account else {}
    done: subprocess.CompletedProcess[str] = subprocess.run(
        argv, env={**os.environ, **(environment or {})}, input=stdin, text=True, capture_output=True, cwd="/", check=False, **identity
    )
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise BackupError(f"{Path(argv[0]).name} {argv[1] if len(argv) > 1 else ''} ended with {done.returncode}:\n{said}")
    return done.stdout


@contextmanager
def temporary(folder: Path) -> Iterator[Path]:
    """Make a folder that only root may read, and remove it afterwards. A process that was killed may have left it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked(action: str, wait: float = 0, shared: bool = False) -> Iterator[None]:
    """Lock out other backups and restores of this host.

    :param action: What this process does, for the message of processes that are locked out.
    :param wait: Seconds to wait for another process to end.
    :param shared: Whether other processes that only read may run at the same time.
    :raises BackupError: If another process has the lock, with its action and its start.
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
        os.pwrite(descriptor, f"the {action} of process {os.getpid()}, begun at {datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S} UTC,\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


class Files:
    """The artifacts, the encrypted repository of files, and rclone between the two."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """Take the settings: the repository's folder and passphrase, and the place of the artifacts."""
        artifacts, store = settings["artifacts"], settings.get("s3", {})
        self.root = f"store:{settings['repository'].removeprefix('s3://')}" if store else settings["repository"]
        self.folder = "" if "bucket" in artifacts else artifacts["folder"]
        self.source = self.folder or f"source:{artifacts.get('bucket', '')}"
        #: Whether rclone can reach any artifacts. They may be backed up by other means.
        self.mirrored = bool(self.folder or artifacts.get("bucket"))
        self.environment = {
            "RCLONE_CONFIG": "/dev/null",
            "RCLONE_CONFIG_REPOSITORY_TYPE": "crypt",
            "RCLONE_CONFIG_REPOSITORY_REMOTE": f"{self.root}/files",
            # rclone reads a password only in this form, which is not readable at a glance but is no encryption.
            "RCLONE_CONFIG_REPOSITORY_PASSWORD": run(["rclone", "obscure", "-"], stdin=settings["passphrase"]).strip(),
        }
        for name, side in (("SOURCE", artifacts if "s3" in artifacts else {}), ("STORE", store)):
            if side:
                self.environment |= {
                    f"RCLONE_CONFIG_{name}_TYPE": "s3",
                    f"RCLONE_CONFIG_{name}_PROVIDER": "Minio",
                    # The account may use its bucket, but not create one.
                    f"RCLONE_CONFIG_{name}_NO_CHECK_BUCKET": "true",
                    **{f"RCLONE_CONFIG_{name}_{key.upper()}": value for key, value in side["s3"].items() if value},
                }
        # rclone uses one CA file for both sides. A side without a CA file uses the authorities that the host trusts.
        trusted = [side.get("authority") or HOST_AUTHORITIES for side in (artifacts, store) if "s3" in side]
        if trusted != [HOST_AUTHORITIES] * len(trusted):
            self.authorities = tempfile.NamedTemporaryFile(mode="w", suffix=".pem")  # noqa: SIM115 - rclone reads the file until the end of this process
            self.authorities.write("\n".join(Path(path).read_text() for path in sorted(set(trusted))))
            self.authorities.flush()
            self.environment["RCLONE_CA_CERT"] = self.authorities.name

    def rclone(self, *argv: str, stdin: str | None = None) -> str:
        """Run rclone. It gives up a connection on which nothing comes, as after a shared address has moved to another proxy, and tries again."""
        patience = ["--retries", "3", "--contimeout", "10s", "--timeout", "60s"]
        return run(["rclone", *argv, *patience, "--stats", "0"], environment=self.environment, stdin=stdin)

    def names(self, path: str) -> list[str]:
        """Return the names in a folder of the repository, an empty list if there is no such folder."""
        try:
            return [name.rstrip("/") for name in self.rclone("lsf", f"repository:{path}").splitlines()]
        except BackupError as error:
            if "directory not found" in str(error):
                return []
            raise

    def remove(self, point: dict[str, Any]) -> None:
        """Remove the copies and dumps of a point's databases. Some may be missing, if an earlier backup was interrupted."""
        stored = {
            "sqlite": [f"{point['name']}{ENDINGS[role]}" for role in copies_of(point)],
            "dumps": [f"{point['name']}.{role}.dump" for role in point.get("dumps", [])],
        }
        for folder, expected in stored.items():
            present = self.names(folder) if expected else []
            for name in expected:
                if name in present:
                    self.rclone("deletefile", f"repository:{folder}/{name}")

    def mirror(self, point: str) -> int:
        """Update the mirror to the artifact store, keep files that were overwritten or deleted, and return the number of artifacts.

        :raises BackupError: If the artifacts' folder is missing although the mirror has files of it.
        """
        if not self.mirrored:
            return 0
        if self.folder and not Path(self.folder).is_dir():
            # The server creates the folder with the first artifact.
            if self.names("artifacts"):
                raise BackupError(f"The folder of the artifacts, {self.folder}, is missing, and the backup has artifacts of it. Mount it, or restore it.")
            return 0
        # Size and time tell whether a file changed. A bucket's own time is that of the copying, so rclone asks for the time that it recorded.
        self.rclone("sync", self.source, "repository:artifacts", "--backup-dir", f"repository:removed/{point}", "--fast-list")
        return int(json.loads(self.rclone("size", "--json", "repository:artifacts"))["count"]) if "artifacts" in self.names("") else 0

    def bring_back(self, point: str) -> None:
        """Copy the artifacts of a point back. Other artifacts in the store are kept.

        Files that a later mirror kept existed at the point. If several mirrors kept a file, the first one has the content of the point, so it is copied last.
        """
        if not self.mirrored:
            return
        later = sorted((name for name in self.names("removed") if name > point), reverse=True)
        for name in [*(["artifacts"] if "artifacts" in self.names("") else []), *(f"removed/{name}" for name in later)]:
            self.rclone("copy", f"repository:{name}", self.source)
        if self.folder and Path(self.folder).is_dir():
            give(Path(self.folder))

    def read_all(self) -> int:
        """Read every file of the repository, and return their number. Its encryption detects a changed file.

        :raises BackupError: If a file cannot be read.
        """
        # A PostgreSQL without any artifact has no files here.
        return len(self.rclone("hashsum", "sha1", "repository:", "--download").splitlines()) if self.names("") else 0

    def expire(self, oldest: str) -> None:
        """Remove the files that were kept before the oldest point that can still be restored."""
        for name in self.names("removed"):
            if name <= oldest:
                self.rclone("purge", f"repository:removed/{name}")


def give(folder: Path) -> None:
    """Give the content of a folder to the folder's owner, who is the tracking server's user.

    A folder that the restore has created gets the owner of its parent.
    """
    owner = folder.stat()
    if owner.st_uid == 0:
        owner = folder.parent.stat()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def count_rows(ask: Callable[[str], Rows], tables: list[str]) -> Counts:
    """Return the revision of a database's schema and the numbers of rows of its tables, all at one moment.

    :param ask: Sends a query to the database.
    :param tables: The tables' names, in the form of an SQL statement.
    """
    if not tables:
        return {}
    # A single statement sees one consistent state of a database that others change.
    counted = ask(" UNION ALL ".join(f"SELECT '{table.replace(chr(39), chr(39) * 2)}' AS name, count(*) AS number FROM {table}" for table in tables))
    counts: Counts = {row["name"]: row["number"] for row in counted}
    noted = sorted(table for table in tables if "alembic_version" in table)
    revisions = [str(row["version_num"]) for table in noted for row in ask(f"SELECT version_num FROM {table}")]
    return {REVISION: " ".join(revisions), **counts}


def summarize(counts: Counts) -> str:
    """Return a summary of a database's counts for people."""
    told = [f"{counts[name]} {name.replace('_', ' ')}" for name in TOLD if name in counts]
    return ", ".join([f"{REVISION} {counts.get(REVISION) or 'none'}", *told, f"{sum(name != REVISION for name in counts)} tables"])


def differences(stored: Counts, source: Counts, later: Counts | None = None) -> list[str]:
    """Return the differences between a stored database and its source.

    :param stored: The counts of the data that were read back.
    :param source: The counts of the source.
    :param later: The counts of the source after the backup, if others may have changed it during the backup.
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


#: How Docker and Podman say that a container has ended. Docker starts it again, and Podman removes it.
ENDED = ("is not running", "is restarting", "no such container", "container state improper")


def like_quadlet(text: str) -> list[str]:
    """Return the options, and last the image, with which C(podman run) makes a container with the volumes, folders and network of another one.

    :param text: The description of the other one, of which Quadlet makes its unit.
    """
    found = re.findall(r"^(Volume|Network|User|Image)=(.*)$", text, re.MULTILINE)
    options = [word for key, value in found if key != "Image" for word in (f"--{key.lower()}", value)]
    return [*options, *(value for key, value in found if key == "Image")]


class Postgres:
    """A PostgreSQL of this host, as a service or in a container, with backups by pgBackRest. pgBackRest runs in the same place as PostgreSQL."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """Take the settings: the service or the container, its port and databases, and the days after which the next backup is a full one."""
        given = settings["postgres"]
        self.service = given["service"]
        self.container = given.get("container", "")
        #: The program that runs the container, and with Podman the unit of the container and its description.
        self.engine, self.unit = given.get("engine") or "docker", given.get("unit", "")
        self.quadlet = Path(given.get("quadlet", ""))
        #: The owner of PostgreSQL's files: an account of the host, or numbers that are an account in the container.
        self.owner: list[Any] = [int(number) for number in given["user"].split(":")] if self.container else ["postgres", "postgres"]
        #: A folder with the same path on the host and in the container.
        self.state = Path(given["state"]) if self.container else None
        self.port = str(given["port"])
        self.databases: dict[str, str] = given["databases"]
        self.test_restore = given["test_restore"]
        self.full_every = settings["full_every_days"]
        self.version = str(given["version"])
        #: The backup that this process has made.
        self.made = ""
        #: Backups of pgBackRest that failed and that it has kept, because it removes no only full backup.
        self.failed: set[str] = set()
        #: What PostgreSQL answered when the backup was set up.
        self.answer: dict[str, Any] = given.get("answer") or {}
        #: The folder of PostgreSQL's programs on a host.
        self.programs = f"/usr/lib/postgresql/{self.version}/bin"

    def own(self, folder: Path) -> None:
        """Give pgBackRest's files in a folder of this host to PostgreSQL's user.

        The user has another number after a move to another deployment or image, and on a new host with the folder of a lost one.
        """
        user, group = self.owner
        uid = user if isinstance(user, int) else pwd.getpwnam(user).pw_uid
        gid = group if isinstance(group, int) else grp.getgrnam(group).gr_gid
        for parent, folders, names in os.walk(folder):
            for path in [os.path.join(parent, name) for name in (*folders, *names)]:
                # PostgreSQL may move a file meanwhile, into which it has written its log.
                with suppress(FileNotFoundError):
                    found = os.lstat(path)
                    if (found.st_uid, found.st_gid) != (uid, gid):
                        os.chown(path, uid, gid, follow_symlinks=False)

    def inside(self, argv: list[str]) -> str:
        """Run a command as PostgreSQL's user, in its container if it has one."""
        if self.container:
            return run([self.engine, "exec", "--user", str(self.owner[0]), self.container, *argv])
        return run(argv, "postgres")

    def psql(self, query: str, database: str = "postgres", port: str = "", socket: str = "") -> str:
        """Send a query to PostgreSQL as its administrator."""
        argv = ["psql", "--port", port or self.port, "--dbname", database, *(["--host", socket] if socket else [])]
        return self.inside([*argv, "--no-psqlrc", "--no-align", "--tuples-only", "--command", query]).strip()

    def asker(self, database: str, socket: str = "") -> Callable[[str], Rows]:
        """Return a function that sends queries to a database and returns rows."""
        port = "5432" if socket else ""
        return lambda query: json.loads(self.psql(f"SELECT coalesce(json_agg(t), '[]') FROM ({query}) t", database, port, socket))

    def count(self, socket: str = "", databases: dict[str, str] | None = None) -> dict[str, Counts]:
        """Return the counts of each database.

        :param socket: The folder of the socket of a temporary PostgreSQL, empty for the PostgreSQL of this host.
        :param databases: The databases by their purpose, if others than those that are backed up.
        :raises BackupError: If PostgreSQL has no such database, or the database has no schema of MLflow.
        """
        listed = "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) AS name FROM pg_tables WHERE schemaname !~ '^(pg_|information_schema)'"
        counted = {}
        for role, database in (databases or self.databases).items():
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
        """Return the backups in pgBackRest's repository, the oldest first."""
        found = json.loads(self.pgbackrest("info", "--output=json"))
        return [backup for stanza in found for backup in stanza.get("backup", [])]

    def back_up(self, point: str) -> dict[str, Any]:
        """Make a backup, mark the point after it in PostgreSQL's log, wait until that log is archived, and compare a test restore with the source.

        :raises BackupError: If the stored data differ from the source.
        """
        # Report an unusable database before the long part.
        self.count()
        # For a stanza of this major version the first command does nothing. The second one upgrades the stanza of an older version.
        self.pgbackrest("stanza-upgrade" if self.backups() else "stanza-create")
        present = self.backups()
        full = [backup["timestamp"]["stop"] for backup in present if backup["type"] == "full"]
        # An incremental backup has the files of the last one, which may be damaged there.
        is_sound = bool(full) and present[-1]["label"] not in self.failed
        kind = "incr" if is_sound and time.time() - max(full) < self.full_every * 86400 else "full"
        # After a change of the major version, pgBackRest always makes a full backup. By default, it would now remove old backups, before this one is compared.
        self.pgbackrest(f"--type={kind}", "--no-expire-auto", "backup")
        made = self.backups()[-1]
        self.made = made["label"]
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

    def discard(self, _point: str) -> None:
        """Remove the backup that this process has made. pgBackRest refuses this if there is no other full backup."""
        if self.made:
            self._remove(self.made)

    def _remove(self, label: str) -> None:
        # There may be one full backup more than the retention keeps. Without the option, pgBackRest would remove log that earlier points need.
        self.pgbackrest(f"--set={label}", "--repo1-retention-full=9999999", "expire")

    def left(self) -> str:
        """Return the backup that this process has made, if pgBackRest still has it."""
        return self.made if self.made and self.made in {backup["label"] for backup in self.backups()} else ""

    def remove_failed(self) -> None:
        """Remove the failed backups that pgBackRest has kept, now that there is another one."""
        for label in sorted(self.failed & {backup["label"] for backup in self.backups()}):
            self._remove(label)

    def restored_counts(self, point: str, label: str) -> dict[str, Counts]:
        """Restore a backup to a temporary folder, run a private PostgreSQL on it, and return the counts of its databases.

        :raises BackupError: If the disk has no room for it, or PostgreSQL does not start.
        """
        size = int(self.psql("SELECT sum(pg_database_size(oid)) FROM pg_database"))
        with self._workspace("A test restore of this backup", size, WITHOUT_TEST) as folder:
            data = folder / "data"
            for path in (data, folder / "tablespaces"):
                path.mkdir(mode=0o700)
                shutil.chown(path, *self.owner)
            try:
                target = ["--type=name", f"--target={point}", f"--set={label}", "--target-action=promote", "--archive-mode=off"]
                self.pgbackrest(f"--pg1-path={data}", *target, f"--tablespace-map-all={folder}/tablespaces", "restore")
                with self._temporary(data):
                    return self.count(str(folder))
            except BackupError as error:
                raise BackupError(failed_test(point, folder, error)) from error

    @contextmanager
    def _workspace(self, what: str, size: int, otherwise: str = "") -> Iterator[Path]:
        """Make a temporary folder of PostgreSQL's user next to the data, and remove it afterwards.

        :param what: What it is for, for the message.
        :param size: The bytes that are written there.
        :param otherwise: What to do if there is no room.
        :raises BackupError: If the disk has no room for it.
        """
        home = self.state or Path(self.psql("SHOW data_directory")).parent
        folder = home / "atlas-mlflow-test-restore"
        needed, free = size + 256 * 1024**2, shutil.disk_usage(home).free
        if free < needed:
            raise BackupError(f"{what} needs {needed // 1024**2} MiB in {home}, and {free // 1024**2} MiB are free. Make room{otherwise}.")
        with temporary(folder):
            shutil.chown(folder, *self.owner)
            yield folder

    @contextmanager
    def _temporary(self, data: Path) -> Iterator[None]:
        """Run a private PostgreSQL on a data folder. Its socket and its log are in the folder above."""
        folder = data.parent
        control = ["pg_ctl" if self.container else f"{self.programs}/pg_ctl", "--pgdata", str(data)]
        self._write_settings(data, folder)
        try:
            self.inside([*control, "--log", f"{folder}/log", "--timeout", str(RECOVERY_TIMEOUT), "--wait", "--silent", "start"])
            self._wait(f"the log of a test restore, {folder}/log", "5432", str(folder))
            yield
        finally:
            if (data / "postmaster.pid").exists():
                self.inside([*control, "--mode", "immediate", "--wait", "--silent", "stop"])

    def _write_settings(self, data: Path, folder: Path) -> None:
        """Write the settings of a temporary PostgreSQL that no other process can reach."""
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

    def _process(self) -> str:
        """Return the number of the process of PostgreSQL's unit, 0 if none runs."""
        return run(["systemctl", "show", "--property=MainPID", "--value", self.service]).strip()

    def _wait(self, log: str, port: str = "", socket: str = "", process: str = "") -> None:
        """Wait until a PostgreSQL has replayed its log.

        :param process: The process of the unit, if it may not yet answer. The unit starts another one if it ends.
        :raises BackupError: If the process or the container ends, or PostgreSQL takes too long.
        """
        deadline = time.monotonic() + RECOVERY_TIMEOUT
        said = "It still replays its log."
        while True:
            try:
                if self.psql("SELECT pg_is_in_recovery()", "postgres", port, socket) == "f":
                    return
            except BackupError as error:
                # A container runs before its PostgreSQL answers, and so does a unit, because pg_ctl waits for 60 s only. What has ended never answers.
                said = str(error)
                if any(words in said for words in ENDED) if self.container else process in ("", "0") or self._process() != process:
                    raise BackupError(f"PostgreSQL has ended or does not answer, see {log}. {said}") from error
            if time.monotonic() > deadline:
                raise BackupError(f"PostgreSQL has not come back after {RECOVERY_TIMEOUT} s, see {log}. {said}")
            time.sleep(0.2)

    def kept(self, points: Rows, recent: Rows) -> Rows:
        """Let pgBackRest remove its old backups, and return the points that stay: those whose backup it keeps, and recent ones of SQLite and of a cluster."""
        self.remove_failed()
        self.pgbackrest("expire")
        labels = {backup["label"] for backup in self.backups()}
        return [point for point in points if (point["backup"] in labels if "backup" in point else point in recent)]

    def verify(self, _points: Rows) -> str:
        """Read every file of the repository back with pgBackRest."""
        said = self.pgbackrest("--output=text", "--verbose", "verify") if self.backups() else ""
        if "status: ok" not in said:
            raise BackupError(f"pgBackRest finds its repository damaged, or no backup in it:\n{said}")
        return f"pgBackRest's verification: {' '.join(said.split())}"

    def _record(self, to: str) -> None:
        """Record that a restore begins."""
        # Without the answer, as in settings of earlier releases, the record would not help.
        if self.answer:
            beside = RESTORING.with_suffix(".new")
            beside.write_text(json.dumps({"to": to, "postgres": self.answer}) + "\n")
            beside.replace(RESTORING)

    def restore(self, point: dict[str, Any], moment: str) -> list[str]:
        """Restore PostgreSQL to a point or to a moment, wait until its log is replayed, and return the differences from the point."""
        target = ["--type=time", f"--target={moment}"] if moment else ["--type=name", f"--target={point['name']}"]
        # By default, pgBackRest uses the last backup before a moment, even if it is on a time line that an earlier restore has left.
        restore = [f"--stanza={STANZA}", "--delta", *target, f"--set={point['backup']}", "--target-action=promote", "restore"]
        self._record(moment or point["name"])
        if self.container and self.unit:
            run(["systemctl", "stop", self.unit])
            # The unit has removed its container.
            *same, image = like_quadlet(self.quadlet.read_text(encoding="utf-8"))
            run([self.engine, "run", "--rm", "--pull", "never", *same, "--read-only", "--entrypoint", "pgbackrest", image, *restore])
            run(["systemctl", "start", self.unit])
        elif self.container:
            network, image = run(["docker", "inspect", "--format", "{{.HostConfig.NetworkMode}} {{.Image}}", self.container]).split()
            run(["docker", "stop", self.container])
            # A new container with the volumes and folders of this one.
            same = ["--user", str(self.owner[0]), "--network", network, "--volumes-from", self.container, "--read-only", "--tmpfs", "/tmp"]
            run(["docker", "run", "--rm", *same, "--entrypoint", "pgbackrest", image, *restore])
            run(["docker", "start", self.container])
        else:
            run(["systemctl", "stop", self.service])
            run(["pgbackrest", *restore], "postgres")
            run(["systemctl", "start", self.service])
        log = f"docker logs {self.container}" if self.container and not self.unit else f"the journal of {self.unit or self.service}"
        self._wait(log, process="" if self.container else self._process())
        RESTORING.unlink(missing_ok=True)
        # There are no counts for a moment between two points.
        if moment or "counts" not in point:
            return []
        counted, later = self.count(), point.get("counts_after")
        return [
            f"{self.databases[role]}: {line}"
            for role in counted
            if role in point["counts"]
            for line in differences(counted[role], point["counts"][role], later[role] if later else None)
        ]


class Dumps(Postgres):
    """A member of a cluster of PostgreSQL, of whose databases pg_dump makes dumps. Dumps are stored with the artifacts."""

    def __init__(self, settings: dict[str, Any], files: Files) -> None:
        """Take the settings: the name of this member, and all that a PostgreSQL has."""
        super().__init__(settings)
        self.files = files
        self.member = settings["postgres"]["member"]

    def members(self) -> Rows:
        """Return the members of the cluster.

        :raises BackupError: If Patroni does not answer.
        """
        found: Rows = json.loads(self.inside([*PATRONICTL, "list", "--format", "json"]))
        return found

    def source(self) -> str:
        """Return the member that makes the backup.

        :raises BackupError: If Patroni does not answer, or no member is healthy.
        """
        return choose_member(self.members())

    @staticmethod
    def _stored(point: str, role: str) -> str:
        return f"repository:dumps/{point}.{role}.dump"

    def back_up(self, point: str) -> dict[str, Any]:
        """Dump each database, read the dumps back from the repository, load them into a temporary PostgreSQL, and compare that with the source.

        :raises BackupError: If the stored data differ from the source.
        """
        before = self.count()
        stored: dict[str, Counts] = {}
        size = sum(self._size(database) for database in self.databases.values())
        with self._workspace("This backup", size * (2 if self.test_restore else 1), WITHOUT_TEST if self.test_restore else "") as folder:
            for role, database in self.databases.items():
                self._dump(database, folder / f"{role}.dump")
            after = self.count()
            for role in self.databases:
                self.files.rclone("copyto", str(folder / f"{role}.dump"), self._stored(point, role))
                (folder / f"{role}.dump").unlink()
            if self.test_restore and self.databases:
                stored = self._loaded_counts(point, folder)
                refuse_differences(stored, before, after)
        made = {"dumps": list(self.databases), "kind": f"dump of {self.member}", "version": self.version}
        return {**made, "counts": stored, "read_back": list(stored)} if stored else {**made, "counts": before, "counts_after": after}

    def discard(self, point: str) -> None:
        """Remove the dumps of a backup that failed."""
        self.files.remove({"name": point, "dumps": list(self.databases)})

    def _size(self, database: str) -> int:
        return int(self.psql("SELECT pg_database_size(current_database())", database))

    def _dump(self, database: str, path: Path) -> None:
        for attempt in range(1, DUMP_ATTEMPTS + 1):
            try:
                self.inside([f"{self.programs}/pg_dump", "--port", self.port, "--format", "custom", "--file", str(path), database])
                return
            except BackupError as error:
                if attempt == DUMP_ATTEMPTS or "conflict with recovery" not in str(error):
                    raise

    def _fetch(self, point: str, role: str, folder: Path) -> Path:
        """Copy a dump from the repository to a folder of PostgreSQL's user."""
        path = folder / f"{role}.dump"
        self.files.rclone("copyto", self._stored(point, role), str(path))
        shutil.chown(path, *self.owner)
        return path

    def _loaded_counts(self, point: str, folder: Path) -> dict[str, Counts]:
        """Load the dumps of a point from the repository into a temporary PostgreSQL, and return the counts of its databases."""
        data = folder / "data"
        try:
            self.inside([f"{self.programs}/initdb", "--pgdata", str(data), "--auth", "peer", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"])
            with self._temporary(data):
                for database, role in self._roles(self.databases).items():
                    path = self._fetch(point, role, folder)
                    self.psql(f"CREATE DATABASE {quoted(database)}", "postgres", "5432", str(folder))
                    # The temporary PostgreSQL has no other users.
                    self._load(path, database, "--no-owner", "--no-privileges", "--host", str(folder), "--port", "5432")
                    path.unlink()
                return self.count(str(folder))
        except BackupError as error:
            raise BackupError(failed_test(point, folder, error)) from error

    def _load(self, path: Path, database: str, *options: str) -> None:
        self.inside([f"{self.programs}/pg_restore", "--exit-on-error", *options, "--dbname", database, str(path)])

    @staticmethod
    def _roles(databases: dict[str, str]) -> dict[str, str]:
        """Return the databases, each once, with one of their purposes."""
        return {database: role for role, database in reversed(databases.items())}

    @contextmanager
    def loaded(self, point: dict[str, Any]) -> Iterator[dict[str, str]]:
        """Load the dumps of a point next to the present databases of the primary, and remove what was not put in their place.

        :returns: The loaded databases, by the name of the present ones.
        :raises BackupError: If this member is no primary, or the loaded data differ from those that were backed up.
        """
        if self.psql("SELECT pg_is_in_recovery()") != "f":
            raise BackupError(f"{self.member} is no longer the primary of the cluster. Run the restore again.")
        present = {role: database for role, database in self.databases.items() if role in point["dumps"]}
        beside = {role: f"{database[:50]}_restored" for role, database in present.items()}
        try:
            # The dumps and the loaded databases.
            with self._workspace("This restore", 2 * sum(self._size(database) for database in present.values())) as folder:
                for database, role in self._roles(present).items():
                    self._load_beside(self._fetch(point["name"], role, folder), database, beside[role])
            stored = self.count(databases=beside)
            later = point.get("counts_after")
            refuse_differences(stored, {role: point["counts"][role] for role in present}, {role: later[role] for role in present} if later else None)
            yield {database: beside[role] for database, role in self._roles(present).items()}
        except BaseException:
            # Without PostgreSQL, the next restore removes them.
            with suppress(BackupError):
                for name in set(beside.values()):
                    self.psql(f"DROP DATABASE IF EXISTS {quoted(name)}")
            raise

    def _load_beside(self, path: Path, present: str, beside: str) -> None:
        """Load a dump into a new database with the same owner as the present database."""
        owner = self.psql("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()", present)
        self.psql(f"DROP DATABASE IF EXISTS {quoted(beside)}")
        self.psql(f"CREATE DATABASE {quoted(beside)} OWNER {quoted(owner)} ENCODING 'UTF8' TEMPLATE template0")
        self._load(path, beside, "--port", self.port)
        self.psql("ANALYZE", beside)

    def switch(self, loaded: dict[str, str]) -> list[str]:
        """Put loaded databases in the place of the present ones in one transaction, and return the new names of the present ones."""
        former = {present: f"{present[:39]}_before_{stamp().lower()}" for present in loaded}
        names = ", ".join("'" + name.replace("'", "''") + "'" for name in [*loaded, *loaded.values()])
        statements = [f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ({names}) AND pid <> pg_backend_pid()"]
        for present, beside in loaded.items():
            statements.append(f"ALTER DATABASE {quoted(present)} RENAME TO {quoted(former[present])}")
            statements.append(f"ALTER DATABASE {quoted(beside)} RENAME TO {quoted(present)}")
        commands = [word for statement in statements for word in ("--command", statement)]
        self.inside(["psql", "--port", self.port, "--dbname", "postgres", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--single-transaction", *commands])
        return list(former.values())

    def kept(self, _points: Rows, recent: Rows) -> Rows:
        """Return the points that are kept: the recent ones of any kind."""
        return recent

    def verify(self, points: Rows) -> str:
        """Check that each point has its dumps. The repository's files are read by the caller."""
        present = self.files.names("dumps")
        expected = [f"{point['name']}.{role}.dump" for point in points for role in point.get("dumps", [])]
        if missing := [name for name in expected if name not in present]:
            raise BackupError(f"The repository lacks dumps of PostgreSQL: {', '.join(missing)}")
        return f"{len(expected)} dumps of PostgreSQL are there"


def choose_member(members: Rows) -> str:
    """Return the member that makes the backup: the first healthy replica by name, or else the primary.

    :param members: What C(patronictl list) returns.
    :raises BackupError: If no member is healthy.
    """
    healthy = cluster_members.healthy_members(members)
    if not healthy:
        said = ", ".join(f"{member.get('Member')} is {member.get('State')}" for member in members)
        raise BackupError(f"No member of the cluster is healthy, so none can be backed up ({said or 'Patroni lists none'}).")
    return healthy[0]


def quoted(name: str) -> str:
    """Return a name in the form of SQL."""
    return '"' + name.replace('"', '""') + '"'


def failed_test(point: str, folder: Path, error: BackupError) -> str:
    """Return the message about a test restore that failed, with the end of the log of its PostgreSQL."""
    said = (folder / "log").read_text(errors="replace").splitlines()[-10:] if (folder / "log").exists() else []
    return "\n".join([f"The test restore of {point} failed. {error}", *said])


def refuse_differences(stored: dict[str, Counts], source: dict[str, Counts], later: dict[str, Counts] | None = None) -> None:
    """Refuse stored data that differ from their source.

    :raises BackupError: If they differ.
    """
    found = [
        f"{served_stores.DATABASES[role]}: {line}"
        for role in source
        for line in differences(stored.get(role, {}), source[role], later[role] if later else None)
    ]
    if found:
        raise BackupError("\n".join(["What was stored differs from its source, so it is no point that can be restored:", *found]))


class Sqlite:
    """Databases in files: the embedded backend store, and the stores of users and of the registry. Their copies are stored with the artifacts."""

    def __init__(self, settings: dict[str, Any], files: Files) -> None:
        """Take the settings: the databases' files by their purpose."""
        self.paths = {role: Path(path) for role, path in settings["sqlite"].items()}
        self.files = files

    def asker(self, role: str) -> Callable[[str], Rows]:
        """Return a function that sends queries to a database and returns rows."""

        def ask(query: str) -> Rows:
            with closing(open_read_only(self.paths[role])) as database:
                return rows(database, query)

        return ask

    def back_up(self, point: str) -> dict[str, Any]:
        """Copy the databases while they are in use, read each copy back, and compare it with its source.

        :raises BackupError: If a database is missing or does not belong to MLflow, or the stored data differ from it.
        """
        if not self.paths:
            return {}
        counts = {role: self._copy(role, path, f"repository:sqlite/{point}{ENDINGS[role]}") for role, path in self.paths.items()}
        return {"kind": "full", "copies": list(self.paths), "counts": counts, "read_back": list(counts)}

    def discard(self, point: str) -> None:
        """Remove the copies of a backup that failed."""
        self.files.remove({"name": point, "copies": list(self.paths)})

    def _copy(self, role: str, path: Path, name: str) -> Counts:
        home = path.parent if path.parent.is_dir() else Path(tempfile.gettempdir())
        with temporary(home / ".atlas-mlflow-backup-copy") as folder:
            copy, again = folder / "copy.db", folder / "again.db"
            with closing(open_read_only(path)) as original, closing(sqlite3.connect(copy)) as target:
                # The counts and the copy are from the same moment.
                original.execute("BEGIN")
                source = count_sqlite(original)
                if not source.get(REVISION):
                    raise BackupError(f"{path}, the {served_stores.DATABASES[role]}, has no schema of MLflow's: there is nothing to back up.")
                original.backup(target)
            self.files.rclone("copyto", str(copy), name)
            self.files.rclone("copyto", name, str(again))
            refuse_differences({role: count_copy(again, name)}, {role: source})
        return source

    def restore(self, point: dict[str, Any]) -> None:
        """Put the point's copies in the place of the databases. An existing database is kept next to the copy.

        :raises BackupError: If a copy is damaged or is not the data that were backed up. Then no database is replaced.
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
    """Open a SQLite database for reading.

    :raises BackupError: If it does not exist. SQLite itself would create an empty one.
    """
    if not path.is_file():
        raise BackupError(f"The database {path}, which the tracking server's settings name, is missing. Start the tracking server, or correct its settings.")
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)


def rows(database: sqlite3.Connection, query: str) -> Rows:
    """Return the rows of a query to a SQLite database."""
    asked = database.execute(query)
    return [dict(zip([column[0] for column in asked.description], row)) for row in asked]


def count_sqlite(database: sqlite3.Connection) -> Counts:
    """Return the counts of a SQLite database."""
    listed = rows(database, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
    quoted = {'"' + str(row["name"]).replace('"', '""') + '"': str(row["name"]) for row in listed}
    return {quoted.get(name, name): value for name, value in count_rows(lambda query: rows(database, query), list(quoted)).items()}


def count_copy(copy: Path, name: str) -> Counts:
    """Return the counts of a copy that was read back.

    :raises BackupError: If the copy is damaged.
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
    """Put a database in its place, and keep the existing one next to it, with the files of its last transactions.

    SQLite finds these by the database's name. Next to the restored database, they would damage it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = path.parent.stat()
    os.chown(copy, owner.st_uid, owner.st_gid)
    copy.chmod(0o640)
    former = f"{path}.before-{stamp()}"
    for ending in ("", "-wal", "-shm", "-journal"):
        with suppress(FileNotFoundError):
            Path(f"{path}{ending}").rename(f"{former}{ending}")
    shutil.move(copy, path)


def stamp() -> str:
    """Return the present time as a name that sorts by time."""
    return datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def copies_of(point: dict[str, Any]) -> list[str]:
    """Return the SQLite databases of which a point has copies. Points of earlier releases have less information."""
    if "copies" in point or "backup" in point or "dumps" in point:
        return list(point.get("copies", []))
    return ["backend", "users"] if point.get("users") else ["backend"]


def choose(points: Rows, wanted: str) -> tuple[dict[str, Any], datetime | None]:
    """Return the point to restore, and the moment after it if one was requested.

    :param wanted: C(latest), a point's name, or a moment as ISO 8601 with its time zone.
    :raises BackupError: If there is no such point, the text is not a moment, or no backup includes the moment.
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
        raise BackupError(f"{wanted} is neither latest, nor a point ({names}), nor a moment with its time zone (2026-05-04T12:30:00+00:00).")
    if moment > datetime.fromisoformat(points[-1]["time"]):
        raise BackupError(f"{wanted} is after the last backup, {points[-1]['name']}: artifacts of later runs are not in it. The points: {names}.")
    before = [point for point in points if datetime.fromisoformat(point["time"]) <= moment]
    if not before:
        raise BackupError(f"{wanted} is before the first backup. The points: {names}.")
    return before[-1], moment


class Repository:
    """The repository: its points, and the methods that make, check and restore them."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """Take the settings of the role."""
        self.settings = settings
        self.files = Files(settings)
        self.in_folder = self.files.root.startswith("/")
        given = settings.get("postgres")
        self.dumps = Dumps(settings, self.files) if given and given.get("member") else None
        self.postgres: Postgres | None = self.dumps or (Postgres(settings) if given else None)
        self.sqlite = Sqlite(settings, self.files)
        self.keep = settings["keep_full"] * settings["full_every_days"]

    def _read_file(self, name: str) -> str:
        """Return a file at the top of the repository, an empty text if there is none."""
        if self.in_folder:
            path = Path(self.files.root, name)
            return path.read_text() if path.exists() else ""
        if name not in self.files.rclone("lsf", self.files.root, "--files-only", "--include", f"/{name}").split():
            return ""
        return self.files.rclone("cat", f"{self.files.root}/{name}")

    def _write_file(self, name: str, text: str) -> None:
        """Write a file at the top of the repository in one step."""
        if self.in_folder:
            beside = Path(self.files.root, f"{name}.new")
            beside.write_text(text)
            beside.replace(Path(self.files.root, name))
        else:
            self.files.rclone("rcat", f"{self.files.root}/{name}", stdin=text)

    def _remove_file(self, name: str) -> None:
        """Remove a file at the top of the repository."""
        if self.in_folder:
            Path(self.files.root, name).unlink(missing_ok=True)
        else:
            self.files.rclone("deletefile", f"{self.files.root}/{name}")

    def read(self) -> Rows:
        """Return the list of points, also those whose data are being removed."""
        points: Rows = json.loads(self._read_file("points.json") or "[]")
        return points

    @property
    def points(self) -> Rows:
        """Return the points that can be restored, the oldest first."""
        return [point for point in self.read() if not point.get("expired")]

    def write(self, points: Rows) -> None:
        """Write the list of points in one step."""
        self._write_file("points.json", json.dumps(points, indent=1) + "\n")

    @contextmanager
    def claimed(self, action: str) -> Iterator[None]:
        """Lock out backups and restores on other members of a cluster, which share the repository.

        :param action: What this process does, for the message of processes that are locked out.
        :raises BackupError: If another member has the repository, or the repository is not the one that the members share.
        """
        if not self.dumps:
            yield
            return
        mark = self.settings.get("mark", "")
        if mark and not Path(mark).exists():
            raise BackupError(f"{self.files.root} is not the folder that the members share: it has no file {mark}. Mount the share there.")
        self._wait_for_claim(self.dumps.member, action)
        claim = {"member": self.dumps.member, "action": action, "time": time.time(), "beat": 0}
        self._write_file(CLAIM, json.dumps(claim) + "\n")
        ended = threading.Event()
        beating = threading.Thread(target=self._keep_claim, args=(claim, ended), daemon=True)
        beating.start()
        try:
            yield
        finally:
            ended.set()
            beating.join()
            # One that was held up for long leaves the claim to the member that has gone on.
            if self._claim().get("member") == self.dumps.member:
                self._remove_file(CLAIM)

    def _claim(self) -> dict[str, Any]:
        """Return what a member has written about its backup or restore, nothing if none runs."""
        found: dict[str, Any] = json.loads(self._read_file(CLAIM) or "{}")
        return found

    def _wait_for_claim(self, member: str, action: str) -> None:
        """Watch the backup or restore of another member until it is clear whether it runs. What this member has left is from a process that is gone.

        No clock of another host is read.

        :raises RunningError: If it runs.
        """
        seen, deadline = self._claim(), time.monotonic() + CLAIM_WATCHED
        while (claim := self._claim()) and claim["member"] != member:
            begun = f"the {claim['action']} of {claim['member']}, begun at {datetime.fromtimestamp(claim['time'], timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
            if claim != seen:
                raise RunningError(f"No {action} now: {begun}, has not ended. Begin again when it has ended.")
            if time.monotonic() >= deadline:
                print(f"Go on: {begun}, was interrupted.", flush=True)
                return
            time.sleep(CLAIM_LOOK)

    def _keep_claim(self, claim: dict[str, Any], ended: threading.Event) -> None:
        """Write the claim again and again until its process ends, or another member has taken it over."""
        while not ended.wait(BEAT):
            claim["beat"] += 1
            # A store that does not answer now may answer the next time.
            with suppress(BackupError, OSError, ValueError):
                if self._claim().get("member", claim["member"]) != claim["member"]:
                    return
                self._write_file(CLAIM, json.dumps(claim) + "\n")

    def own(self) -> None:
        """Give the part of the repository that pgBackRest reads and writes to PostgreSQL's user. rclone runs as root, and a bucket has no owners."""
        if self.postgres and not self.dumps and self.in_folder:
            self.postgres.own(Path(self.files.root, "postgresql"))

    def source(self) -> str:
        """Return the member of a cluster that makes the backup, an empty text for another PostgreSQL."""
        return self.dumps.source() if self.dumps else ""

    def refuse_other_stores(self) -> None:
        """Refuse a backup of stores that the tracking server of this host no longer uses.

        :raises BackupError: If the server's settings name other stores than when the backup was set up.
        """
        known, present = self.settings.get("served"), served_stores.read_host()
        if known and present and known != present:
            changed = ", ".join(name for name in sorted({*known, *present}) if known.get(name) != present.get(name))
            raise BackupError(f"The tracking server of this host uses other stores than when this backup was set up ({changed}). Run backup.yml again.")

    def elsewhere(self) -> tuple[list[str], list[str]]:
        """Return the places of artifacts that this backup does not include.

        :returns: A line for each kind of record: first for places that are not listed, then for those that the settings list.
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
        """Return a condition that excludes nearly all rows of a large database. Rows that name another server remain."""
        starts = [place.replace("'", "''") for place in self.settings["own_places"]]
        own = " OR ".join(f"substr({column}, 1, {len(place)}) = '{start}'" for place, start in zip(self.settings["own_places"], starts))
        return f"coalesce({column}, '') <> '' AND (NOT ({own}) OR {column} LIKE 'mlflow-artifacts://%'){f' AND {condition}' if condition else ''}"

    def back_up(self, look_again: bool = False, unless_since: str = "") -> str:
        """Make a backup of databases and artifacts, compare it with its source, and expire old backups.

        On a member of a cluster that is not to make the backup, do nothing.

        :param look_again: Whether such a member looks again later, because the other one may fail.
        :param unless_since: Make the backup on any member unless there is a point since this moment. Empty for the first look.
        :raises BackupError: If it differs, or if there are data that it does not include. In the second case the backup is made anyway.
        """
        if self.dumps and unless_since:
            if made := [point["name"] for point in self.points if point["time"] >= unless_since]:
                return f"Nothing to do: another member has made the backup {made[-1]}."
            try:
                with self.claimed("backup"):
                    return self._back_up()
            except RunningError as error:
                return f"Nothing to do. {error}"
        if self.dumps and (source := self.dumps.source()) != self.dumps.member:
            told = f"Nothing to do: {source} makes the backup of the cluster."
            return f"{told} {self._look_again(self.dumps, source)}" if look_again else told
        with self.claimed("backup"):
            return self._back_up()

    def _look_again(self, dumps: Dumps, source: str) -> str:
        """Let systemd start another look of this member later, and return when that is. One that was set before stays."""
        others = sorted(member["Member"] for member in dumps.members() if member["Member"] != source)
        after = LOOK_AGAIN + LOOKS_APART * (others.index(dumps.member) if dumps.member in others else len(others))
        since = (datetime.now(timezone.utc) - timedelta(seconds=EARLIER)).isoformat()
        program = [sys.executable, str(Path(__file__).resolve()), "--wait", "600", "backup", "--unless-since", since]
        unit = ["--quiet", "--collect", f"--unit={AGAIN_UNIT}", f"--on-active={after}", "--property=PrivateTmp=yes", "--property=Nice=10"]
        try:
            run(["systemd-run", *unit, *program])
        except BackupError as error:
            return "It looks again later, as was set before." if "already loaded" in str(error) else f"No second look was set: {error}"
        return f"In {after // 60} minutes this member looks whether it was made."

    def _back_up(self) -> str:
        self.refuse_other_stores()
        self.own()
        name = f"atlas-{stamp()}"
        point: dict[str, Any] = {"name": name, "counts": {}, "read_back": []}
        if self.postgres:
            self.postgres.failed = {known["backup"] for known in self.read() if known.get("expired") and "backup" in known}
        try:
            for side in self._sides():
                made = side.back_up(name)
                together = {"counts": {**point["counts"], **made.get("counts", {})}, "read_back": point["read_back"] + made.get("read_back", [])}
                point = {**point, **made, **together}
            point["time"] = datetime.now(timezone.utc).isoformat()
            artifacts = self.files.mirror(name)
            unknown, listed = self.elsewhere()
            point |= {"artifacts": artifacts, "elsewhere": unknown + listed}
            # Nothing of an earlier point is removed before the list has this one.
            self.write([*self.read(), point])
        except BackupError as error:
            raise BackupError("\n".join([str(error), *self._discard(name)])) from error
        except BaseException:
            self._discard(name)
            raise
        try:
            points = self.kept(self.read())
            self.files.expire(points[0]["name"])
        except BackupError as error:
            raise BackupError(f"Made the backup {name}, but older backups that are no longer kept could not be removed. {error}") from error
        told = [f"Made the backup {name} ({point['kind']}). {len(points)} can be restored.", *describe(point)]
        told += [f"Not in it, as backup_artifacts_elsewhere says: {line}" for line in listed]
        if unknown:
            raise BackupError("\n".join([*told, *not_taken(unknown)]))
        return "\n".join(told)

    def _sides(self) -> list[Sqlite | Postgres]:
        """Return what backs up the databases."""
        return [self.sqlite, *([self.postgres] if self.postgres else [])]

    def _discard(self, name: str) -> list[str]:
        """Remove the copies, the dumps and the backup of pgBackRest that a failed backup has made, and return a sentence about what stays.

        A backup that pgBackRest keeps is in the list like a point whose data are being removed: nobody restores it, and the next good backup removes it.
        Artifacts that its mirror copied or set aside stay. The next mirror uses the copied ones, and earlier points need those that were set aside.
        """
        # What cannot be read or removed stays. The error of the backup is the one to report.
        with suppress(BackupError, OSError, ValueError):
            # The list may have the point although writing it ended with an error.
            if any(point["name"] == name for point in self.read()):
                return []
            for side in self._sides():
                with suppress(BackupError, OSError):
                    side.discard(name)
            if self.postgres and (left := self.postgres.left()):
                self.write([*self.read(), {"name": name, "backup": left, "expired": True}])
                return [f"pgBackRest has kept {left}, which is no point and is never restored. The next backup is a full one, and removes it if it succeeds."]
        return []

    def kept(self, points: Rows) -> Rows:
        """Return the points that are kept, and remove the copies and dumps of the other points.

        While these are removed, the list has their points with a mark: nobody restores them, and the next backup continues if this one is interrupted.
        """
        present = [point for point in points if not point.get("expired")]
        recent = present[-self.keep :]
        kept = self.postgres.kept(present, recent) if self.postgres else recent
        expired = [{**point, "expired": True} for point in points if point not in kept]
        if expired:
            self.write([*expired, *kept])
            for point in expired:
                self.files.remove(point)
            self.write(kept)
        return kept

    def check(self) -> str:
        """Read the whole repository back.

        :raises BackupError: If a part of it is damaged.
        """
        if not self.points:
            raise BackupError("The repository has no backup.")
        self.own()
        last = self.points[-1]
        verified = [f"{self.postgres.verify(self.points)}."] if self.postgres else []
        return "\n".join([" ".join([*verified, f"Read {self.files.read_all()} files of the mirror. The last point is {last['name']}."]), *describe(last)])

    def choose(self, wanted: str) -> tuple[dict[str, Any], datetime | None]:
        """Return the point to restore, and the moment after it if one was requested.

        :raises BackupError: If there is none, or it belongs to another PostgreSQL than the present one, or to another kind of database.
        """
        point, moment = choose(self.points, wanted)
        needed, present = point.get("version", ""), self.postgres.version if self.postgres else ""
        if self.dumps:
            self._refuse_for_cluster(point, moment)
        elif "dumps" in point:
            raise BackupError(f"{point['name']} has dumps of a cluster of PostgreSQL. Restore it to a cluster: 3, 5 or 7 hosts in the group postgres.")
        elif needed and needed != present:
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

    def _refuse_for_cluster(self, point: dict[str, Any], moment: datetime | None) -> None:
        """Refuse what cannot be restored to a cluster.

        :raises BackupError: If the point has no dumps or those of a newer PostgreSQL, or a moment was requested.
        """
        name, version = point["name"], self.dumps.version if self.dumps else ""
        if "dumps" not in point and "backup" not in point:
            raise BackupError(f"{name} is a backup of SQLite, and the group postgres is a cluster. Restore it to a server with SQLite.")
        if "dumps" not in point:
            raise BackupError(
                f"{name} is a backup of one host, and the group postgres is a cluster. Restore it with one host in the group postgres, and make that host "
                "the first member of a cluster."
            )
        if moment:
            names = ", ".join(known["name"] for known in self.points if "dumps" in known)
            raise BackupError(f"A backup of a cluster is restored to one of its points, and not to a moment between them. The points: {names}.")
        if int(point["version"]) > int(version):
            raise BackupError(f'{name} is of PostgreSQL {point["version"]}, and this cluster has {version}. Set postgres_version to "{point["version"]}".')

    def find(self, wanted: str) -> str:
        """Return the point that a restore would use."""
        return f"A restore would take {self.choose(wanted)[0]['name']}."

    def restore(self, wanted: str) -> str:
        """Restore databases and artifacts to a point or a moment.

        :raises BackupError: If the restored data differ from those that were backed up.
        """
        point, moment = self.choose(wanted)
        if self.dumps:
            return self._restore_cluster(self.dumps, point)
        self.own()
        # A point of SQLite alone leaves PostgreSQL as it is, and has no log after it.
        postgres = self.postgres if "backup" in point else None
        moment = moment if postgres else None
        self.files.bring_back(point["name"])
        self.sqlite.restore(point)
        found = postgres.restore(point, moment.isoformat(sep=" ") if moment else "") if postgres else []
        if postgres:
            # Later backups of PostgreSQL are on a time line of its log that was left. Copies and dumps do not depend on it.
            self.write([known for known in self.read() if known["name"] <= point["name"] or "backup" not in known])
        if found:
            raise BackupError("\n".join([f"Restored {point['name']}, but it differs from what was backed up:", *found]))
        told = [f"Restored {moment.isoformat() if moment else point['name']}.", *([] if moment else describe(point))]
        left = [served_stores.DATABASES[role] for role in self.sqlite.paths if role not in copies_of(point)]
        left += [served_stores.DATABASES[role] for role in self.postgres.databases] if self.postgres and not postgres else []
        gone = [served_stores.DATABASES[role] for role in copies_of(point) if role not in self.sqlite.paths]
        told += [f"The {words} is left as it is: the point has no copy of one." for words in left]
        told += [f"The {words} of the point is not restored: the tracking server uses none that is a file." for words in gone]
        return "\n".join(told + [f"Not in it: {line}" for line in point.get("elsewhere", [])])

    def _restore_cluster(self, dumps: Dumps, point: dict[str, Any]) -> str:
        """Restore the databases of a cluster and the artifacts to a point. Later points stay, because they do not depend on PostgreSQL's log.

        :raises NotRestoredError: If it fails. Then the databases are the present ones.
        """
        former: list[str] = []
        try:
            with self.claimed("restore"), dumps.loaded(point) as loaded:
                self.files.bring_back(point["name"])
                former = dumps.switch(loaded)
        except (BackupError, OSError) as error:
            if former:
                raise BackupError(f"Restored {point['name']}, but {error}") from error
            raise NotRestoredError(f"{error}\nThe databases are as they were before the restore.") from error
        left = [role for role in dumps.databases if role not in point["dumps"]]
        told = [f"Restored {point['name']}.", *describe(point)]
        told += [f"The {served_stores.DATABASES[role]} is left as it is: the point has no dump of it." for role in left]
        told += [f"The former database is kept as {name}. If nobody needs it, drop it on the primary." for name in former]
        return "\n".join(told + [f"Not in it: {line}" for line in point.get("elsewhere", [])])


def describe(point: dict[str, Any]) -> list[str]:
    """Return a line for each database of a point, and one for its artifacts."""
    told = []
    for role, counts in point.get("counts", {}).items():
        proven = "the same as in the source" if role in point["read_back"] else "counted in the source; backup_test_restore is false"
        told.append(f"{served_stores.DATABASES[role].capitalize()}: {summarize(counts)} ({proven}).")
    return told + ([f"Artifacts: {point['artifacts']} files."] if "artifacts" in point else [])


def not_taken(places: list[str]) -> list[str]:
    """Return the message about artifacts that no backup includes."""
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
    backup = actions.add_parser("backup", help="make a backup")
    backup.add_argument("--look-again", action="store_true", help="on a member that leaves it to another one, look later whether it was made")
    backup.add_argument("--unless-since", default="", metavar="TIME", help="make it on any member of a cluster, unless there is one since this time")
    actions.add_parser("check", help="read the repository back")
    actions.add_parser("list", help="list the points that can be restored")
    actions.add_parser("source", help="name the member of a cluster that makes the backup")
    actions.add_parser("find", help="say which point a restore would take").add_argument("--to", required=True)
    actions.add_parser("restore", help="restore; the tracking servers must be stopped").add_argument("--to", required=True)
    given = parser.parse_args()
    os.umask(0o077)
    # What is temporary is removed if systemd stops the unit, too.
    signal.signal(signal.SIGTERM, lambda *_given: sys.exit(128 + signal.SIGTERM))
    try:
        settings = json.loads(given.settings.read_text())
        if given.action == "list":
            print(json.dumps(Repository(settings).points, indent=1))
            return 0
        if given.action == "source":
            print(Repository(settings).source())
            return 0
        with locked("search for a point" if given.action == "find" else given.action, given.wait, shared=given.action in ("check", "find")):
            repository = Repository(settings)
            action = getattr(repository, {"backup": "back_up"}.get(given.action, given.action))
            arguments = {"backup": ("look_again", "unless_since"), "find": ("to",), "restore": ("to",)}.get(given.action, ())
            print(action(*(getattr(given, name) for name in arguments)), flush=True)
    except (BackupError, OSError, sqlite3.Error) as error:
        print(error, file=sys.stderr)
        return LEFT_AS_IT_IS if isinstance(error, NotRestoredError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
