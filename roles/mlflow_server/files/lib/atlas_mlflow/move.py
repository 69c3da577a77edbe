"""Copy the stores of a tracking server to other stores, and compare them. The source is only read.

The release's own Python runs this as the service's user, with a file that has the URIs of both sides. The output contains no password.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from atlas_mlflow import move_files, move_rows, schema, stores, users

#: Beginnings of locations in the artifact store of the tracking server, and of references to other records.
OWN = ("mlflow-artifacts:/", "models:/", "runs:/")

#: A part of a name that MLflow decodes if it sends artifacts through the tracking server.
ENCODED = re.compile("%[0-9A-Fa-f]{2}")


class Database:
    """A database of a tracking server, and the database that it moves to."""

    def __init__(self, given: Mapping[str, str], change: move_rows.Change) -> None:
        """Take the settings and the change of each row.

        :param given: C(store) for people, C(login) (basic, oidc, or empty for the backend store), the URIs C(source) and C(target), and C(foreign), whether the
            source is of a tracking server that others run. It may have an older schema, and it may not be stopped.
        """
        self.foreign = bool(given.get("foreign"))
        self.store, self.change = given["store"], change
        self.app = {"basic": users.BASIC, "oidc": users.OIDC}.get(given["login"])
        self.noted_in = self.app.noted_in if self.app else schema.NOTED_IN
        self.read_schema = self.app.read_schema if self.app else schema.backend_schema
        self.source, self.target = stores.make_engine(read_only(given["source"])), stores.make_engine(given["target"])
        if self.source.dialect.name == "postgresql":
            # One state of the database, while others may write to it.
            self.source = self.source.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def wait(self, timeout: float) -> None:
        """Wait until both databases answer.

        :raises StoreError: If a database does not answer, or at once if the source is a file that cannot be read.
        """
        if self.source.dialect.name == "sqlite":
            path = file_of(self.source)
            try:
                path.open("rb").close()
            except OSError as error:
                raise stores.StoreError(f"The file {path} of {self.store} that moves cannot be read: {error.strerror}.") from error
        stores.wait(
            [partial(stores.database_problem, self.source, f"{self.store} that moves"), partial(stores.database_problem, self.target, self.store)], timeout
        )

    def faults(self) -> list[str]:
        """Return what prevents the move."""
        known = self.read_schema()
        head = known.head
        with self.source.connect() as reading, self.target.connect() as writing:
            tables = move_rows.tables_of(reading)
            if not tables:
                return [f"{shown(self.source)}, {self.store} that moves, has no tables."]
            found = move_rows.revision(reading, tables, self.noted_in)
            if self.foreign and found != head:
                if found not in {script.revision for script in known.scripts(self.target).walk_revisions()}:
                    return [
                        f"The schema of {self.store} that moves is at revision {found or '(none)'}, which this release, with {head}, does not know. A newer "
                        "release made it, or it is no database of MLflow. Set mlflow_server_version to the release that uses it, or to a newer one."
                    ]
                # The target gets this older schema, then the rows, and then the migrations of the release.
                head = found
            elif found != head:
                return [
                    f"The schema of {self.store} that moves is at revision {found or '(none)'}, and this release has {head}. Set mlflow_server_version to the "
                    "release that uses this database, and upgrade with upgrade.yml before or after the move."
                ]
            faults = move_rows.dangling(reading)
            present = move_rows.tables_of(writing)
            noted = move_rows.revision(writing, present, self.noted_in)
            if problem := "" if present else stores.rights_problem(self.target, self.store):
                return [*faults, problem]
            if present and noted != head:
                return [*faults, f"{shown(self.target)} has tables at revision {noted or '(none)'}, and not {head}. Name an empty database."]
            if foreign := move_rows.foreign(reading, writing, self.change):
                faults.append(
                    f"{shown(self.target)}, which {self.store} would move to, has data of its own: {', '.join(foreign)}. Nothing is merged. Name an empty "
                    "database, or if nobody needs these data, drop the database. This playbook creates it again."
                )
        return faults

    def copy(self) -> None:
        """Create the schema of the target, and copy all rows. An older schema is migrated with the rows, on the target."""
        if self.foreign:
            self._make_schema_of_source()
        elif schema.needs_migration(self.target, self.read_schema().head, False, self.noted_in, self.store):
            schema.migrate(self.target, False, self.read_schema)
        copied = move_rows.copy(self.source, self.target, self.change)
        listed = ", ".join(f"{name} {content.rows}" for name, content in sorted(copied.items()) if content.rows)
        print(f"{self.store.capitalize()}: {sum(content.rows for content in copied.values())} rows copied and compared ({listed}).")
        if self.foreign:
            self._refuse_a_change(copied)
            print(f"{self.store.capitalize()}: {schema.migrate(self.target, True, self.read_schema)}")

    def _make_schema_of_source(self) -> None:
        """Create the schema of the source in an empty target."""
        import sqlalchemy

        known = self.read_schema()
        with self.source.connect() as reading, self.target.connect() as writing:
            found, present = move_rows.revision(reading, move_rows.tables_of(reading), self.noted_in), move_rows.tables_of(writing)
        if not present:
            try:
                known.make_at(self.target, found)
            except sqlalchemy.exc.SQLAlchemyError as error:
                raise stores.denied(self.store, error) from error

    def state(self) -> dict[str, list[Any]]:
        """Return the number of rows and a sum of each table of the source."""
        with self.source.connect() as reading:
            return {name: [content.rows, f"{content.digest:x}"] for name, content in move_rows.contents(reading, self.change).items()}

    def _refuse_a_change(self, copied: Mapping[str, move_rows.Content]) -> None:
        """Compare the source with what was copied.

        :raises StoreError: If it has changed since.
        """
        with self.source.connect() as reading:
            after = move_rows.contents(reading, self.change)
        if changed := sorted(name for name, content in copied.items() if after.get(name) != content):
            raise stores.StoreError(
                f"The source of {self.store} changed during its copy, in the tables {', '.join(changed)}. Stop the tracking servers that use it, and run the "
                "playbook again."
            )

    def empty(self) -> None:
        """Delete the rows of the target. After a copy of an older schema, the tables are dropped, because they have another schema now."""
        if self.foreign:
            with self.target.begin() as writing:
                for table in reversed(move_rows.tables_of(writing).values()):
                    table.drop(writing)
            return
        with self.target.begin() as writing:
            move_rows.clear(writing, move_rows.tables_of(writing))


def read_only(uri: str) -> str:
    """Return the URI of a database to read. SQLite opens its file only for reading."""
    if not uri.startswith("sqlite"):
        return uri
    path = uri.partition(":///")[2].partition("?")[0]
    return f"sqlite:///file:{quote(path)}?mode=ro&uri=true"


def file_of(engine: Any) -> Path:
    """Return the file of a SQLite database that was opened only for reading, see `read_only`."""
    return Path(unquote(engine.url.database.removeprefix("file:").partition("?")[0]))


def shown(engine: Any) -> str:
    """Return a database for a message."""
    return f"The database {engine.url.database.removeprefix('file:').partition('?')[0]}{f' on {engine.url.host}' if engine.url.host else ''}"


def elsewhere(database: Database, source: str) -> list[str]:
    """Return a sentence for each column with artifact locations that are not in the artifact store of the tracking server.

    :param source: The place of the artifacts that move, empty if they stay.
    """
    import sqlalchemy

    said = []
    with database.source.connect() as reading:
        tables = move_rows.tables_of(reading)
        for (name, column), key in move_rows.LOCATIONS.items():
            if name not in tables or column not in tables[name].columns:
                continue
            of_table = tables[name].c
            places = sqlalchemy.select(of_table[column].label(column)).where(of_table[column].is_not(None), of_table[column] != "")
            places = places.where(*(of_table[column].not_like(f"{own}%") for own in OWN), *([of_table.key == key] if key else []))
            found = [row[column] for row in (database.change(name, {column: place, "key": key}) for (place,) in reading.execute(places))]
            left = [place for place in found if not place.startswith(OWN)]
            if not left:
                continue
            said.append(f"{len(left)} of {name}.{column} are at another place and stay there, such as {left[0]}.")
            if source and any(source in place for place in left):
                said[-1] += f" That is in {source}, which moves: to make them follow, list the beginning of these locations in mlflow_server_moved_locations."
    return said


class Move:
    """The stores that move."""

    def __init__(self, given: Mapping[str, Any], record: Path) -> None:
        """Take the settings.

        :param given: C(databases), each as `Database` takes it; C(artifacts) with C(source) and C(target), as `move_files.open_store` takes them, or nothing;
            C(locations), beginnings of artifact locations to replace; and C(timeout), the seconds to wait for a store.
        :param record: The file with what is copied already.
        """
        self.timeout = float(given["timeout"])
        self.state_path = record.with_suffix(".state")
        change = move_rows.relocate(given["locations"])
        self.databases = [Database(one, change) for one in given["databases"]]
        self.place = given["artifacts"]["source"]["place"] if given["artifacts"] else ""
        self.artifacts = given["artifacts"] and [move_files.open_store(given["artifacts"][side]) for side in ("source", "target")]
        self.record_path, self.target = record, " at ".join(given["artifacts"]["target"][part] for part in ("place", "endpoint")) if given["artifacts"] else ""

    def record(self) -> move_files.Record:
        """Return the record of the copied artifacts."""
        return move_files.Record(self.record_path, self.target)

    def check(self) -> Iterator[str]:
        """Yield what a user must know before the move.

        :raises StoreError: If the stores cannot move.
        """
        faults = []
        for database in self.databases:
            database.wait(self.timeout)
            faults += database.faults()
        if self.artifacts:
            source, target = self.artifacts
            if isinstance(source, move_files.Bucket) and move_files.is_same(source, target):
                raise stores.StoreError(
                    f"The bucket {self.target} is the one that the tracking server serves already, by another address: no artifact has to move. Run site.yml "
                    "with mlflow_server_allow_store_change set to true for one run."
                )
            if foreign := move_files.foreign(source, target, self.record()):
                faults.append(
                    f"The bucket {self.target} has {len(foreign)} objects that are not in the artifacts to move ({move_files.listed(foreign)}). Nothing is "
                    "merged. Name an empty bucket, or remove these objects."
                )
        if faults:
            raise stores.StoreError("\n".join(faults))
        if any(database.foreign for database in self.databases):
            self.state_path.write_text(json.dumps(self.state()), encoding="utf-8")
        if self.artifacts and (names := [name for name in self.artifacts[0].entries() if ENCODED.search(name)]):
            yield (
                f"{len(names)} artifacts have a percent sign and two digits in their names ({move_files.listed(names)}). They are copied, but a tracking "
                "server decodes such a name and does not find the artifact. If clients read these artifacts at their place so far, rename them before the move."
            )
        for database in self.databases:
            if database.app is None:
                yield from elsewhere(database, self.place)

    def copy_artifacts(self, final: bool) -> None:
        """Copy the artifacts.

        :param final: Whether nobody writes to the source.
        """
        if self.artifacts:
            source, target = self.artifacts
            move_files.copy(source, target, self.record(), final)

    def copy(self) -> None:
        """Copy everything, and compare it."""
        self.copy_artifacts(True)
        for database in self.databases:
            database.copy()

    def state(self) -> dict[str, Any]:
        """Return what changes if somebody writes to the source: sums of its tables and artifacts."""
        found: dict[str, Any] = {database.store: database.state() for database in self.databases}
        if self.artifacts:
            entries = sorted((name, entry.size, entry.mark) for name, entry in self.artifacts[0].entries().items())
            found["the artifact store"] = {"artifacts": [len(entries), hashlib.sha256(repr(entries).encode()).hexdigest()]}
        return found

    def compare(self) -> None:
        """Compare the source with its state at the check. The servers of others are not stopped by the move, and nobody would see what they write now.

        :raises StoreError: If the source has changed.
        """
        before, after = json.loads(self.state_path.read_text(encoding="utf-8")), self.state()
        if changed := [
            f"{store} ({', '.join(sorted(name for name in parts if parts[name] != before[store].get(name)))})"
            for store, parts in after.items()
            if parts != before[store]
        ]:
            raise stores.StoreError(
                f"While the playbook ran, somebody wrote to the source of {', '.join(changed)}, and the copies do not have it. Stop the tracking servers "
                "that use the source, and run the playbook again."
            )

    def empty(self) -> None:
        """Take back the copies in databases. The tracking server has left them again, so that the move can be repeated."""
        for database in self.databases:
            database.empty()


def main() -> int:
    """Run from the command line, and return the exit status."""
    parser = argparse.ArgumentParser(description="Copy the stores of a tracking server to other stores, and compare them")
    parser.add_argument(
        "step",
        choices=["check", "begin", "copy", "compare", "empty"],
        help="begin copies artifacts while the server runs; compare looks for changes of the source since the check; empty takes back the rows",
    )
    parser.add_argument("--settings", type=Path, required=True, help="JSON file with the stores of both sides")
    parser.add_argument("--record", type=Path, required=True, help="file with what is copied already")
    given = parser.parse_args()
    try:
        move = Move(json.loads(given.settings.read_text(encoding="utf-8")), given.record)
        steps: dict[str, Callable[[], None]] = {
            "check": lambda: print("\n".join(move.check()), end=""),
            "begin": lambda: move.copy_artifacts(False),
            "copy": move.copy,
            "compare": move.compare,
            "empty": move.empty,
        }
        steps[given.step]()
    except stores.StoreError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
