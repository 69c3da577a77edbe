"""Create the schema of a tracking server's database, or migrate it to the release's revision, one server at a time."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from atlas_mlflow.stores import StoreError, denied, first_line, locked, rights_problem

#: The table with a backend store's revision.
NOTED_IN = ("alembic_version",)


@dataclass(frozen=True)
class Schema:
    """A schema of the release: its store, the tables with its revision, and its newest revision.

    Its functions list the revisions, create the schema, create it at an older revision, and migrate it.
    """

    store: str
    noted_in: tuple[str, ...]
    head: str
    scripts: Callable[[Any], Any]
    make: Callable[[Any], None]
    make_at: Callable[[Any, str], None]
    bring_up: Callable[[Any], None]


def read_revision(engine: Any, noted_in: tuple[str, ...]) -> tuple[str, bool]:
    """Return a database's schema revision from the first of these tables that exists, empty if none exists, and whether the database has any table."""
    import sqlalchemy

    tables = sqlalchemy.inspect(engine).get_table_names()
    notes = [table for table in noted_in if table in tables]
    if not notes:
        return "", bool(tables)
    with engine.connect() as connection:
        row = connection.execute(sqlalchemy.text(f"SELECT version_num FROM {notes[0]}")).fetchone()
    return (row[0] if row else ""), True


def copy_sqlite(source: str, target: str) -> None:
    """Copy a SQLite database over another one by its online backup."""
    with closing(sqlite3.connect(source)) as original, closing(sqlite3.connect(target)) as copy:
        original.backup(copy)


def back_up(engine: Any, revision: str) -> str:
    """Copy a SQLite database to a file next to it, and return the copy's path."""
    source = engine.url.database
    target = f"{source}.{revision}.{time.strftime('%Y%m%dT%H%M%S')}.bak"
    # The folder belongs to the service. The copy has the permissions of the original.
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640))
    copy_sqlite(source, target)
    return target


def bring_up_sqlite(engine: Any, revision: str, schema: Schema) -> str:
    """Migrate a SQLite database, and return the path of its backup.

    SQLite does not undo changes of a schema after an error, so the backup is copied back and removed. A service that is restarted
    again and again would otherwise fill the disk with backups.
    """
    backup = back_up(engine, revision)
    try:
        schema.bring_up(engine)
    except Exception:
        copy_sqlite(backup, engine.url.database)
        os.unlink(backup)
        raise
    return backup


def backend_schema() -> Schema:
    """Return the schema of the release's backend store."""
    # The import of MLflow takes seconds, and is needed only if there is something to do.
    from alembic.script import ScriptDirectory
    from mlflow.store.db import utils

    def make_at(engine: Any, revision: str) -> None:
        from alembic import command

        utils.InitialBase.metadata.create_all(engine)
        config = utils._get_alembic_config(engine.url.render_as_string(hide_password=True))
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)

    return Schema(
        "the backend store",
        NOTED_IN,
        utils._get_latest_schema_revision(),
        lambda engine: ScriptDirectory.from_config(utils._get_alembic_config(engine.url.render_as_string(hide_password=True))),
        utils._initialize_tables,
        make_at,
        utils._upgrade_db,
    )


def migrate(engine: Any, upgrade: bool, read_schema: Callable[[], Schema] = backend_schema) -> str:
    """Migrate a database to this release's schema, and return a line about the change.

    :param upgrade: Whether an older schema in a database other than SQLite may be migrated.
    :param read_schema: Returns the release's schema.
    :raises StoreError: If it may not, if the schema is newer than the release, if the tables are not MLflow's, or if the database refuses.
    """
    import sqlalchemy

    schema = read_schema()
    try:
        with locked(engine):
            return _migrate(engine, upgrade, schema)
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise StoreError(f"The schema of {schema.store} could not be brought to revision {schema.head}: {first_line(error)}") from error


def _migrate(engine: Any, upgrade: bool, schema: Schema) -> str:
    """Do the work of `migrate`, without the lock."""
    revision, has_tables = read_revision(engine, schema.noted_in)
    if revision == schema.head:
        return f"The schema is at revision {schema.head}."
    if not revision:
        if has_tables:
            raise StoreError(f"The database of {schema.store} holds tables, and none that says MLflow's revision: name an empty one.")
        schema.make(engine)
        return f"Made the schema at revision {schema.head}."
    known = {script.revision for script in schema.scripts(engine).walk_revisions()}
    if revision not in known:
        raise StoreError(
            f"The schema of {schema.store} is at revision {revision}, which this release does not know: a newer one made it. "
            "Set mlflow_server_version to that release, or restore a backup from before."
        )
    done = f"Brought the schema from revision {revision} to {schema.head}."
    if engine.dialect.name == "sqlite":
        return f"{done} The backup is {bring_up_sqlite(engine, revision, schema)}."
    if not upgrade:
        raise StoreError(
            f"The schema of {schema.store} is at revision {revision} and this release needs {schema.head}. Make a backup, stop every other "
            "tracking server on it, and set mlflow_server_backend_store_upgrade to true for one run."
        )
    schema.bring_up(engine)
    return done


def needs_migration(engine: Any, schema_revision: str, lone_server: bool, noted_in: tuple[str, ...] = NOTED_IN, store: str = "the backend store") -> bool:
    """Return whether MLflow must check a database. The import of MLflow takes seconds.

    An empty database needs no check if no other server can create its tables at the same moment: the server creates them itself.

    :raises StoreError: If the user may not create tables in an empty database, or not read existing ones.
    """
    import sqlalchemy

    try:
        revision, has_tables = read_revision(engine, noted_in)
        problem = "" if has_tables else rights_problem(engine, store)
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise denied(store, error) from error
    if problem:
        raise StoreError(problem)
    return not (lone_server and not has_tables or schema_revision and revision == schema_revision)
