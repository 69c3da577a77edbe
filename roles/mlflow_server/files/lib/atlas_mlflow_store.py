"""Wait for a tracking server's stores and make their schema, before the server starts.

Run by the release's own Python with the service's environment. A server that starts makes or migrates the schema by itself, guarded by a
lock in its own host's temporary folder alone, so several that start at once on an empty database collide. Here the lock is
PostgreSQL's. Nothing printed holds a password.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Any number that nothing else on the database uses as an advisory lock.
ADVISORY_LOCK = 7_264_150_119
#: The table that says a backend store's revision.
NOTED_IN = ("alembic_version",)
#: Seconds between two questions to a store that did not answer, and that one question may take.
PAUSE, PATIENCE = 0.5, 5


class StoreError(Exception):
    """A store that cannot be used, with what was seen and what to do."""


@dataclass(frozen=True)
class Schema:
    """A schema as the release has it: of which store, where it notes its revision, the newest one, and what knows them all, makes it and brings it up."""

    store: str
    noted_in: tuple[str, ...]
    head: str
    scripts: Callable[[Any], Any]
    make: Callable[[Any], None]
    bring_up: Callable[[Any], None]


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, without the SQL that SQLAlchemy adds."""
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]


def make_engine(uri: str) -> Any:
    """Return a SQLAlchemy engine for a store's URI.

    :raises StoreError: When the URI's driver is not installed, or its password is not percent-encoded.
    """
    import sqlalchemy

    arguments = {"connect_timeout": PATIENCE} if uri.startswith("postgresql") else {}
    if "@" in uri.partition("?")[0].partition("://")[2].partition(":")[2].partition("@")[2]:
        # What a driver says of such a URI quotes a part of the password.
        raise StoreError("The password in a store's URI is not percent-encoded: write @ as %40, / as %2F, # as %23, % as %25.")
    try:
        return sqlalchemy.create_engine(uri, connect_args=arguments, poolclass=sqlalchemy.pool.NullPool)
    except ModuleNotFoundError as error:
        raise StoreError(f"The backend store's driver is not installed: {error}. Name one that is: postgresql+psycopg2://") from error


def database_problem(engine: Any, store: str = "the backend store") -> str:
    """Ask a database one question, and return what is wrong, empty when it answers."""
    import sqlalchemy

    try:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT 1"))
    except sqlalchemy.exc.SQLAlchemyError as error:
        return f"The database of {store}, {engine.url.render_as_string(hide_password=True)}, did not answer: {first_line(error)}"
    return ""


def bucket_problem(destination: str, environment: Mapping[str, str]) -> str:
    """Ask the artifact store for its bucket, and return what is wrong, empty when it is there."""
    import boto3
    import botocore.config
    import botocore.exceptions

    bucket, _slash, prefix = destination.split("://", 1)[1].partition("/")
    prefix = prefix.strip("/")
    endpoint = environment.get("MLFLOW_S3_ENDPOINT_URL") or None
    config = botocore.config.Config(connect_timeout=PATIENCE, read_timeout=PATIENCE, retries={"total_max_attempts": 1})
    where = f"bucket {bucket} at {endpoint or 'Amazon S3'}"
    try:
        # As MLflow lists it: a policy may be for this prefix alone.
        boto3.client("s3", endpoint_url=endpoint, config=config).list_objects_v2(Bucket=bucket, MaxKeys=1, **({"Prefix": f"{prefix}/"} if prefix else {}))
    except botocore.exceptions.ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        causes = {403: "the key or its policy does not let the server in", 404: "there is no such bucket"}
        return f"The artifact store, {where}, answered {status}: {causes.get(status, first_line(error))}"
    except botocore.exceptions.BotoCoreError as error:
        return f"The artifact store, {where}, did not answer: {first_line(error)}"
    return ""


def wait(questions: list[Callable[[], str]], timeout: float) -> None:
    """Ask each question until it finds nothing wrong.

    :param timeout: Seconds in all.
    :raises StoreError: With what is still wrong when the time is over.
    """
    deadline = time.monotonic() + timeout
    while problems := [problem for problem in (question() for question in questions) if problem]:
        if time.monotonic() >= deadline:
            raise StoreError("; ".join(f"{problem} (waited {timeout:.0f} s)" for problem in problems))
        time.sleep(PAUSE)


def rights_problem(engine: Any, store: str = "the backend store") -> str:
    """Return what keeps the user from making tables in an empty database of PostgreSQL, empty if nothing does."""
    import sqlalchemy

    if engine.dialect.name != "postgresql":
        return ""
    question = "SELECT current_user, current_database(), coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"
    with engine.connect() as connection:
        user, database, may = connection.execute(sqlalchemy.text(question)).fetchone()
    return "" if may else (
        f"The user {user} may not make tables in the schema public of the database {database}, {store}: since PostgreSQL 15, GRANT ALL ON DATABASE "
        f'does not give that right. Run ALTER DATABASE "{database}" OWNER TO "{user}", or in that database GRANT ALL ON SCHEMA public TO "{user}".'
    )


def denied(store: str, error: BaseException) -> StoreError:
    """Return what is said if a database refuses what MLflow needs to do in it."""
    hint = (
        ' Another user owns the tables: run GRANT ALL ON ALL TABLES IN SCHEMA public TO the user of the URI, or name their owner in the URI.'
        if "permission denied for" in first_line(error) else ""
    )
    return StoreError(f"The database of {store} answers with an error: {first_line(error)}.{hint}")


def read_revision(engine: Any, noted_in: tuple[str, ...]) -> tuple[str, bool]:
    """Return a database's schema revision from the first of these tables that is there, empty where none is, and whether it holds any table."""
    import sqlalchemy

    tables = sqlalchemy.inspect(engine).get_table_names()
    notes = [table for table in noted_in if table in tables]
    if not notes:
        return "", bool(tables)
    with engine.connect() as connection:
        row = connection.execute(sqlalchemy.text(f"SELECT version_num FROM {notes[0]}")).fetchone()
    return (row[0] if row else ""), True


@contextmanager
def alone(engine: Any) -> Any:
    """Keep other servers from the schema meanwhile. SQLite's file belongs to one host, whose unit runs this once."""
    if engine.dialect.name != "postgresql":
        yield
        return
    import sqlalchemy

    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"SELECT pg_advisory_lock({ADVISORY_LOCK})"))
        try:
            yield
        finally:
            connection.execute(sqlalchemy.text(f"SELECT pg_advisory_unlock({ADVISORY_LOCK})"))


def copy_sqlite(source: str, target: str) -> None:
    """Copy SQLite's database over another by its online backup."""
    with closing(sqlite3.connect(source)) as original, closing(sqlite3.connect(target)) as copy:
        original.backup(copy)


def back_up(engine: Any, revision: str) -> str:
    """Copy SQLite's database beside itself, and return the copy's path."""
    source = engine.url.database
    target = f"{source}.{revision}.{time.strftime('%Y%m%dT%H%M%S')}.bak"
    # The folder is the service's own; the copy is as private as the original.
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640))
    copy_sqlite(source, target)
    return target


def bring_up_sqlite(engine: Any, revision: str, schema: Schema) -> str:
    """Bring SQLite's database up, and return the path of its backup.

    Its changes of a schema are not undone by an error, so the database is put back as it was. Its backup goes then: a service that is started
    again and again would fill the disk with them.
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
    # MLflow takes seconds to import, and is needed only when there is something to do.
    import mlflow.store.db.utils as utils
    from alembic.script import ScriptDirectory

    return Schema(
        "the backend store",
        NOTED_IN,
        utils._get_latest_schema_revision(),
        lambda engine: ScriptDirectory.from_config(utils._get_alembic_config(engine.url.render_as_string(hide_password=True))),
        utils._initialize_tables,
        utils._upgrade_db,
    )


def migrate(engine: Any, upgrade: bool, read_schema: Callable[[], Schema] = backend_schema) -> str:
    """Bring a database to this release's schema, and say in a line what was done.

    :param upgrade: Whether an older schema in a database other than SQLite may be brought up.
    :param read_schema: Returns the release's schema.
    :raises StoreError: When it may not, when the schema is newer than the release, when the tables are not MLflow's, or when the database refuses.
    """
    import sqlalchemy

    schema = read_schema()
    try:
        with alone(engine):
            return _migrate(engine, upgrade, schema)
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise StoreError(f"The schema of {schema.store} could not be brought to revision {schema.head}: {first_line(error)}") from error


def _migrate(engine: Any, upgrade: bool, schema: Schema) -> str:
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
            "tracking server on it, and set mlflow_server_backend_store_upgrade to true."
        )
    schema.bring_up(engine)
    return done


def needs_migration(
    engine: Any, schema_revision: str, lone_server: bool, noted_in: tuple[str, ...] = NOTED_IN, store: str = "the backend store"
) -> bool:
    """Return whether a database must be looked at with MLflow, which takes seconds to import.

    An empty one need not when no other server can make its tables at the same moment: the server makes them itself.

    :raises StoreError: When the user may not make tables in an empty one, or not read those that are there.
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


def prepare(environment: Mapping[str, str], given: argparse.Namespace) -> list[str]:
    """Wait for the stores in a service's environment and make their schema.

    :param given: What the command line says.
    :returns: A line for each thing done.
    :raises StoreError: When a store does not answer, or its schema cannot be used.
    """
    import atlas_mlflow_folders

    if problems := atlas_mlflow_folders.problems(given.folder, environment):
        raise StoreError(" ".join(problems))
    if given.spool:
        atlas_mlflow_folders.empty(given.spool)
    if given.metrics:
        atlas_mlflow_folders.forget_metrics(given.metrics)
    uris = [environment["MLFLOW_BACKEND_STORE_URI"]]
    registry = environment.get("MLFLOW_REGISTRY_STORE_URI")
    if registry and registry not in uris:
        uris.append(registry)
    engines = [make_engine(uri) for uri in uris]
    questions: list[Callable[[], str]] = [lambda engine=engine: database_problem(engine) for engine in engines]
    destination = environment.get("MLFLOW_ARTIFACTS_DESTINATION", "")
    if destination.startswith(("s3://", "proxied-s3://")):
        questions.append(lambda: bucket_problem(destination, environment))
    wait(questions, given.timeout)
    done = [migrate(engine, given.upgrade) for engine in engines if needs_migration(engine, given.schema_revision, given.lone_server)]
    import atlas_mlflow_auth
    import atlas_mlflow_keys

    former = atlas_mlflow_keys.read_former(given.former_keys)
    done += [line for engine in engines for line in atlas_mlflow_keys.prepare(engine, environment, former)]
    return done + atlas_mlflow_auth.prepare(environment, given.timeout, given.auth_schema_revision, given.upgrade)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options that say how the stores are prepared."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--timeout", type=float, default=60, help="seconds to wait for the stores")
    options.add_argument("--schema-revision", default="", help="revision that the release's schema has, where it is known")
    options.add_argument("--auth-schema-revision", default="", help="the same of the store of users")
    options.add_argument("--lone-server", action="store_true", help="no other server uses the database: leave an empty one to this server")
    options.add_argument("--folder", action="append", default=[], help="folder that the server writes to; may be given again")
    options.add_argument("--spool", default="", help="folder that the server spools to, which is emptied")
    options.add_argument("--metrics", default="", help="folder of the metrics for Prometheus, from which those of former processes are removed")
    options.add_argument("--former-keys", type=Path, help="JSON file with the keys by which the store's secrets were encrypted before")
    options.add_argument("--upgrade", action="store_true", help="bring up an older schema in a database other than SQLite")
    return options


def main(arguments: argparse.Namespace | None = None) -> int:
    """Prepare the stores as the command line says, and return the exit status."""
    given = arguments or parser().parse_args()
    try:
        for line in prepare(os.environ, given):
            print(line, flush=True)
    except StoreError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    # As the module that others import, so that what they raise is what it catches.
    import atlas_mlflow_store

    sys.exit(atlas_mlflow_store.main())
