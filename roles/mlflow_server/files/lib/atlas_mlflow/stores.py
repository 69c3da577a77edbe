"""Connect to the stores of a tracking server, and report what is wrong with them. Messages contain no password."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

#: The number of an advisory lock that nothing else on the database uses.
ADVISORY_LOCK = 7_264_150_119
#: Seconds between two requests to a store that did not answer, and the limit for one request.
PAUSE, PATIENCE = 0.5, 5


class StoreError(Exception):
    """A store that cannot be used, with what was seen and the fix."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, without the SQL that SQLAlchemy adds."""
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]


def uris_of(environment: Mapping[str, str]) -> list[str]:
    """Return the URIs of the databases in a service's environment: the backend store, and the registry if it has its own."""
    return list(dict.fromkeys(filter(None, (environment["MLFLOW_BACKEND_STORE_URI"], environment.get("MLFLOW_REGISTRY_STORE_URI")))))


def make_engine(uri: str) -> Any:
    """Return a SQLAlchemy engine for a store's URI.

    :raises StoreError: If the URI's driver is not installed, or its password is not percent-encoded.
    """
    import sqlalchemy

    arguments = {"connect_timeout": PATIENCE} if uri.startswith("postgresql") else {}
    if "@" in uri.partition("?")[0].partition("://")[2].partition(":")[2].partition("@")[2]:
        # A driver's message about such a URI quotes a part of the password.
        raise StoreError("The password in a store's URI is not percent-encoded: write @ as %40, / as %2F, # as %23, % as %25.")
    try:
        return sqlalchemy.create_engine(uri, connect_args=arguments, poolclass=sqlalchemy.pool.NullPool)
    except ModuleNotFoundError as error:
        raise StoreError(f"The backend store's driver is not installed: {error}. Name one that is: postgresql+psycopg2://") from error


def database_problem(engine: Any, store: str = "the backend store") -> str:
    """Send one query to a database, and return what is wrong, empty if it answers."""
    import sqlalchemy

    try:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT 1"))
    except sqlalchemy.exc.SQLAlchemyError as error:
        return f"The database of {store}, {engine.url.render_as_string(hide_password=True)}, did not answer: {first_line(error)}"
    return ""


def bucket_problem(destination: str, environment: Mapping[str, str]) -> str:
    """Send one request for the bucket to the artifact store, and return what is wrong, empty if the bucket exists."""
    import boto3
    import botocore.config
    import botocore.exceptions

    bucket, _slash, prefix = destination.split("://", 1)[1].partition("/")
    prefix = prefix.strip("/")
    endpoint = environment.get("MLFLOW_S3_ENDPOINT_URL") or None
    config = botocore.config.Config(connect_timeout=PATIENCE, read_timeout=PATIENCE, retries={"total_max_attempts": 1})
    where = f"bucket {bucket} at {endpoint or 'Amazon S3'}"
    try:
        # The same listing as MLflow's: a policy may allow only this prefix.
        boto3.client("s3", endpoint_url=endpoint, config=config).list_objects_v2(Bucket=bucket, MaxKeys=1, **({"Prefix": f"{prefix}/"} if prefix else {}))
    except botocore.exceptions.ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        causes = {403: "the key or its policy does not let the server in", 404: "there is no such bucket"}
        return f"The artifact store, {where}, answered {status}: {causes.get(status, first_line(error))}"
    except botocore.exceptions.BotoCoreError as error:
        return f"The artifact store, {where}, did not answer: {first_line(error)}"
    return ""


def wait(questions: list[Callable[[], str]], timeout: float) -> None:
    """Repeat each check until it finds nothing wrong.

    :param timeout: Seconds for all checks together.
    :raises StoreError: If something is still wrong when the time is over.
    """
    deadline = time.monotonic() + timeout
    while problems := [problem for problem in (question() for question in questions) if problem]:
        if time.monotonic() >= deadline:
            raise StoreError("; ".join(f"{problem} (waited {timeout:.0f} s)" for problem in problems))
        time.sleep(PAUSE)


def rights_problem(engine: Any, store: str = "the backend store") -> str:
    """Return what prevents the user from creating tables in an empty PostgreSQL database, empty if nothing does."""
    import sqlalchemy

    if engine.dialect.name != "postgresql":
        return ""
    question = "SELECT current_user, current_database(), coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"
    with engine.connect() as connection:
        user, database, may = connection.execute(sqlalchemy.text(question)).fetchone()
    return (
        ""
        if may
        else (
            f"The user {user} may not make tables in the schema public of the database {database}, {store}: since PostgreSQL 15, GRANT ALL ON DATABASE "
            f'does not give that right. Run ALTER DATABASE "{database}" OWNER TO "{user}", or in that database GRANT ALL ON SCHEMA public TO "{user}".'
        )
    )


def denied(store: str, error: BaseException) -> StoreError:
    """Return the error for a database that refuses what MLflow needs to do."""
    hint = (
        " Another user owns the tables: run GRANT ALL ON ALL TABLES IN SCHEMA public TO the user of the URI, or name their owner in the URI."
        if "permission denied for" in first_line(error)
        else ""
    )
    return StoreError(f"The database of {store} answers with an error: {first_line(error)}.{hint}")


@contextmanager
def locked(engine: Any) -> Iterator[None]:
    """Lock a database against other servers. A SQLite file belongs to one host, whose unit runs this once."""
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
