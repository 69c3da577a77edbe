#!/usr/bin/python3
"""Back up a tracking server's database and artifacts to one repository, check it, and restore from it.

A backup is a point: the database as it was then, and every artifact that it knows. PostgreSQL is pgBackRest's (full and incremental
backups, and its log archived all along); SQLite is copied by its online backup. After that, and never before, rclone mirrors the
artifacts: what the database of the point refers to is there already when the mirror is made. An artifact that is overwritten or deleted
later is set aside for as long as a point may need it.

Settings come from a JSON file that root alone reads, and reach the tools by their environment or by files of the same kind.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

HOST_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
SETTINGS = Path("/etc/atlas-mlflow/backup.json")
STANZA = "mlflow"
#: Seconds that PostgreSQL has to replay its log.
RECOVERY_TIMEOUT = 3600


class BackupError(Exception):
    """Something that cannot be backed up, checked or restored, in words for the operator."""


def run(argv: list[str], user: str = "", environment: dict[str, str] | None = None, stdin: str | None = None) -> str:
    """Run a command, as another user where one is named, and return its output.

    :raises BackupError: When it fails, with the last lines that it wrote.
    """
    command = ["runuser", "--user", user, "--", *argv] if user else argv
    done = subprocess.run(command, env={**os.environ, **(environment or {})}, input=stdin, text=True, capture_output=True, cwd="/")
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise BackupError(f"{Path(argv[0]).name} {argv[1] if len(argv) > 1 else ''} ended with {done.returncode}:\n{said}")
    return done.stdout


class Files:
    """The artifacts, the encrypted repository of files, and rclone between them."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """Take the settings: the repository's folder and passphrase, and where the artifacts are."""
        artifacts, store = settings["artifacts"], settings.get("s3", {})
        self.root = f"store:{settings['repository'].removeprefix('s3://')}" if store else settings["repository"]
        self.folder = "" if "bucket" in artifacts else artifacts["folder"]
        self.source = self.folder or f"source:{artifacts['bucket']}"
        self.environment = {
            "RCLONE_CONFIG": "/dev/null",
            "RCLONE_CONFIG_REPOSITORY_TYPE": "crypt",
            "RCLONE_CONFIG_REPOSITORY_REMOTE": f"{self.root}/files",
            # rclone reads a password in this form alone, which hides it from a glance and no more.
            "RCLONE_CONFIG_REPOSITORY_PASSWORD": run(["rclone", "obscure", "-"], stdin=settings["passphrase"]).strip(),
        }
        for name, side in (("SOURCE", artifacts if not self.folder else {}), ("STORE", store)):
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
            self.authorities = tempfile.NamedTemporaryFile(mode="w", suffix=".pem")
            self.authorities.write("\n".join(Path(path).read_text() for path in sorted(set(trusted))))
            self.authorities.flush()
            self.environment["RCLONE_CA_CERT"] = self.authorities.name

    def rclone(self, *argv: str, stdin: str | None = None) -> str:
        """Run rclone."""
        return run(["rclone", *argv, "--retries", "3", "--stats", "0"], environment=self.environment, stdin=stdin)

    def folders(self, path: str) -> list[str]:
        """Return the names of a folder's folders in the repository."""
        if path + "/" not in self.rclone("lsf", "repository:", "--dirs-only").split():
            return []
        return [name.rstrip("/") for name in self.rclone("lsf", f"repository:{path}", "--dirs-only").split()]

    def mirror(self, point: str) -> None:
        """Bring the mirror to what the artifact store holds, and set aside what is overwritten or gone."""
        set_aside = ["--backup-dir", f"repository:removed/{point}"]
        self.rclone("sync", self.source, "repository:artifacts", *set_aside, "--use-server-modtime", "--fast-list")

    def bring_back(self, point: str) -> None:
        """Copy the artifacts back as they were at a point; the artifact store loses nothing that it has beside.

        What a later mirror set aside was there at the point. Where several did, the first of them has the content from then, so it comes last.
        """
        later = sorted((name for name in self.folders("removed") if name > point), reverse=True)
        present = self.rclone("lsf", "repository:", "--dirs-only").split()
        for name in [*(["artifacts"] if "artifacts/" in present else []), *(f"removed/{name}" for name in later)]:
            self.rclone("copy", f"repository:{name}", self.source)
        if self.folder:
            give(Path(self.folder))

    def read_all(self) -> int:
        """Read every file of the repository; its encryption tells a changed one. Return how many there are.

        :raises BackupError: When one cannot be read.
        """
        return len(self.rclone("hashsum", "sha1", "repository:", "--download").splitlines())

    def expire(self, oldest: str) -> None:
        """Remove what was set aside before the oldest point that can still be restored."""
        for name in self.folders("removed"):
            if name <= oldest:
                self.rclone("purge", f"repository:removed/{name}")


def give(folder: Path) -> None:
    """Make a folder's content its owner's, who is the tracking server's user."""
    owner = folder.stat()
    for path in folder.rglob("*"):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


class Postgres:
    """A PostgreSQL of this host, whose backups are pgBackRest's."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """Take the settings: the service, its port, and after how many days a backup is a full one again."""
        self.service = settings["database"]["service"]
        self.port = str(settings["database"]["port"])
        self.full_every = settings["full_every_days"]
        # The service is postgresql@17-main.service.
        self.version = self.service.partition("@")[2].partition("-")[0]

    def sql(self, query: str) -> str:
        """Ask PostgreSQL as its administrator."""
        argv = ["psql", "--port", self.port, "--dbname", "postgres", "--no-psqlrc", "--no-align", "--tuples-only", "--command", query]
        return run(argv, "postgres").strip()

    def pgbackrest(self, *argv: str) -> str:
        """Run pgBackRest as PostgreSQL's user."""
        return run(["pgbackrest", f"--stanza={STANZA}", *argv], "postgres")

    def backups(self) -> list[dict[str, Any]]:
        """Return what pgBackRest knows of its backups, the oldest first."""
        found = json.loads(self.pgbackrest("info", "--output=json"))
        return [backup for stanza in found for backup in stanza.get("backup", [])]

    def back_up(self, point: str) -> dict[str, Any]:
        """Make a backup, mark the point behind it in PostgreSQL's log, and see that log archived."""
        # The first finds nothing to do in a stanza of this major version, the second takes over one of an older.
        self.pgbackrest("stanza-upgrade" if self.backups() else "stanza-create")
        full = [backup["timestamp"]["stop"] for backup in self.backups() if backup["type"] == "full"]
        kind = "incr" if full and time.time() - max(full) < self.full_every * 86400 else "full"
        # After a major version's change, pgBackRest makes a full one in any case.
        self.pgbackrest(f"--type={kind}", "backup")
        made = self.backups()[-1]
        self.sql(f"SELECT pg_create_restore_point('{point}')")
        self.pgbackrest("check")
        return {"backup": made["label"], "kind": made["type"], "version": self.version}

    def kept(self, points: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the points that retention has left a backup for."""
        labels = {backup["label"] for backup in self.backups()}
        return [point for point in points if point["backup"] in labels]

    def verify(self) -> str:
        """Have pgBackRest read its repository back, every file of it."""
        said = self.pgbackrest("--output=text", "--verbose", "verify") if self.backups() else ""
        if "status: ok" not in said:
            raise BackupError(f"pgBackRest finds its repository damaged, or no backup in it:\n{said}")
        return f"pgBackRest's verification: {' '.join(said.split())}"

    def restore(self, point: dict[str, Any], moment: str) -> None:
        """Bring PostgreSQL back to a point, or to a moment, and wait until it has replayed its log."""
        run(["systemctl", "stop", self.service])
        target = ["--type=time", f"--target={moment}"] if moment else ["--type=name", f"--target={point['name']}", f"--set={point['backup']}"]
        self.pgbackrest("--delta", *target, "--target-action=promote", "restore")
        run(["systemctl", "start", self.service])
        deadline = time.monotonic() + RECOVERY_TIMEOUT
        while self.sql("SELECT pg_is_in_recovery()") != "f":
            if time.monotonic() > deadline:
                raise BackupError(f"PostgreSQL still replays its log after {RECOVERY_TIMEOUT} s: see the journal of {self.service}.")
            time.sleep(1)


class Sqlite:
    """The embedded database, one file, and another of the users where they log in; their copies are kept with the artifacts."""

    def __init__(self, settings: dict[str, Any], files: Files) -> None:
        """Take the settings: the databases' files, and how many copies are kept."""
        self.path = Path(settings["database"]["file"])
        users = settings["database"].get("users_file")
        self.users = Path(users) if users else None
        self.keep = settings["keep_full"] * settings["full_every_days"]
        self.files = files
        self.version = ""

    def back_up(self, point: str) -> dict[str, Any]:
        """Copy the databases while they are used."""
        self._copy(self.path, f"{point}.db")
        if not self.users or not self.users.exists():
            return {"kind": "full"}
        self._copy(self.users, f"{point}.users.db")
        return {"kind": "full", "users": True}

    def _copy(self, path: Path, name: str) -> None:
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            copy = Path(folder, "copy.db")
            with closing(sqlite3.connect(path)) as original, closing(sqlite3.connect(copy)) as target:
                original.backup(target)
            self.files.rclone("copyto", str(copy), f"repository:sqlite/{name}")

    def kept(self, points: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the newest points, and remove the copies of the others."""
        for point in points[: -self.keep]:
            for end in (".db", ".users.db") if point.get("users") else (".db",):
                self.files.rclone("deletefile", f"repository:sqlite/{point['name']}{end}")
        return points[-self.keep :]

    def verify(self) -> str:
        """Say what is in the repository; it is read with the artifacts."""
        return f"{len(self.files.rclone('lsf', 'repository:sqlite').split())} copies of databases"

    def restore(self, point: dict[str, Any], moment: str) -> None:
        """Put the point's copies in the databases' places; a database that was there is kept beside it."""
        self._bring_back(f"{point['name']}.db", self.path)
        if self.users and point.get("users"):
            self._bring_back(f"{point['name']}.users.db", self.users)

    def _bring_back(self, name: str, path: Path) -> None:
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            copy = Path(folder, "copy.db")
            self.files.rclone("copyto", f"repository:sqlite/{name}", str(copy))
            try:
                with closing(sqlite3.connect(copy)) as database:
                    said = database.execute("PRAGMA integrity_check").fetchone()[0]
            except sqlite3.DatabaseError as error:
                said = str(error)
            if said != "ok":
                raise BackupError(f"The copy {name} is damaged: {said}")
            owner = path.parent.stat()
            os.chown(copy, owner.st_uid, owner.st_gid)
            copy.chmod(0o640)
            if path.exists():
                path.rename(f"{path}.before-{stamp()}")
            for leftover in ("-wal", "-shm"):
                Path(f"{path}{leftover}").unlink(missing_ok=True)
            copy.rename(path)


def stamp() -> str:
    """Return this moment as a name that sorts by time."""
    return datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def choose(points: list[dict[str, Any]], wanted: str) -> tuple[dict[str, Any], datetime | None]:
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
        moment = datetime.fromisoformat(wanted.replace("Z", "+00:00"))
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
        self.files = Files(settings)
        self.index = f"{self.files.root}/points.json"
        self.in_folder = self.files.root.startswith("/")
        self.database: Postgres | Sqlite = Postgres(settings) if "service" in settings["database"] else Sqlite(settings, self.files)

    @property
    def points(self) -> list[dict[str, Any]]:
        """Return the points, the oldest first."""
        if self.in_folder:
            return json.loads(Path(self.index).read_text()) if Path(self.index).exists() else []
        if "points.json" not in self.files.rclone("lsf", self.files.root, "--files-only", "--include", "/points.json").split():
            return []
        return json.loads(self.files.rclone("cat", self.index))

    def write(self, points: list[dict[str, Any]]) -> None:
        """Write which points there are, whole or not at all."""
        text = json.dumps(points, indent=1) + "\n"
        if self.in_folder:
            beside = Path(f"{self.index}.new")
            beside.write_text(text)
            beside.replace(self.index)
        else:
            self.files.rclone("rcat", self.index, stdin=text)

    def back_up(self) -> str:
        """Make a backup of database and artifacts, and expire old ones."""
        name = f"atlas-{stamp()}"
        made = self.database.back_up(name)
        point = {"name": name, "time": datetime.now(timezone.utc).isoformat(), **made}
        self.files.mirror(name)
        points = self.database.kept([*self.points, point])
        self.write(points)
        self.files.expire(points[0]["name"])
        return f"Made the backup {name} ({made['kind']}). {len(points)} can be restored."

    def check(self) -> str:
        """Read all of the repository back."""
        if not self.points:
            raise BackupError("The repository has no backup.")
        return f"{self.database.verify()}. Read {self.files.read_all()} files of the mirror. The last point is {self.points[-1]['name']}."

    def choose(self, wanted: str) -> tuple[dict[str, Any], datetime | None]:
        """Return the point to restore, and the moment behind it where one was asked for.

        :raises BackupError: When there is none, or it is of a PostgreSQL that is not the present one.
        """
        point, moment = choose(self.points, wanted)
        present = self.database.version
        if point.get("version", present) != present:
            raise BackupError(
                f"{point['name']} is of PostgreSQL {point['version']}, and this host has {present}. Restore it to a host with "
                f'postgres_version: "{point["version"]}", and upgrade that.'
            )
        return point, moment

    def find(self, wanted: str) -> str:
        """Say which point a restore would take."""
        return f"A restore would take {self.choose(wanted)[0]['name']}."

    def restore(self, wanted: str) -> str:
        """Bring database and artifacts back to a point or a moment."""
        point, moment = self.choose(wanted)
        if isinstance(self.database, Sqlite):  # it keeps no log to go on with from a point
            moment = None
        self.files.bring_back(point["name"])
        self.database.restore(point, moment.isoformat(sep=" ") if moment else "")
        # What came later is on a time line of PostgreSQL's log that has been left.
        self.write([known for known in self.points if known["name"] <= point["name"]])
        return f"Restored {moment.isoformat() if moment else point['name']}."


def main() -> int:
    """Run from the command line, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", type=Path, default=SETTINGS, help="JSON file with the settings")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("backup", help="make a backup")
    actions.add_parser("check", help="read the repository back")
    actions.add_parser("list", help="list the points that can be restored")
    actions.add_parser("find", help="say which point a restore would take").add_argument("--to", required=True)
    actions.add_parser("restore", help="restore; the tracking servers must be stopped").add_argument("--to", required=True)
    given = parser.parse_args()
    os.umask(0o077)
    try:
        repository = Repository(json.loads(given.settings.read_text()))
        if given.action == "list":
            print(json.dumps(repository.points, indent=1))
        else:
            action = getattr(repository, {"backup": "back_up"}.get(given.action, given.action))
            print(action(given.to) if "to" in given else action(), flush=True)
    except BackupError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
