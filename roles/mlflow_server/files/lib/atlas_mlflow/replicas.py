"""Read from the replicas of a cluster that follow the primary, and from the primary if none does.

A release of MLflow that knows replicas never goes back to the primary by itself. The driver chooses a replica when it connects
(``target_session_attrs=prefer-standby``), also one that has not followed the primary for hours, and a connection stays where it is. From such a replica MLflow
would read none of the newer runs, and would refuse to log artifacts to them.

So a connection is made to the first replica that follows, and is checked when it is used. If no replica follows and there is no primary, as while another
member takes over, any member will do. One function of MLflow is replaced, because there is no other way to its connections: the one that makes an engine.
"""

from __future__ import annotations

import contextlib
import importlib
import time
from typing import Any

#: The part of a URI by which the playbook asks for this. A URI of other replicas is left to its driver.
PREFERS_REPLICAS = "target_session_attrs=prefer-standby"
#: Seconds after which a connection to a replica, and one to a primary, is checked again.
CHECK_AFTER, RETURN_AFTER = 1, 30
#: Seconds by which a replica may be late.
LATE = 5
#: Whether a member is a replica, whether it receives the log of the primary, and by how many seconds it is late to replay what it has received.
QUESTION = (
    "SELECT pg_is_in_recovery(), EXISTS (SELECT FROM pg_stat_wal_receiver), CASE WHEN pg_last_wal_receive_lsn() IS DISTINCT FROM pg_last_wal_replay_lsn() "
    "THEN coalesce(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()), 0) ELSE 0 END"
)
#: Where a connection keeps when it is checked again.
_NEXT = "atlas_mlflow_check_at"


def follows(connection: Any) -> bool:
    """Say whether a connection is one to a replica that follows the primary. One that does not answer does not."""
    try:
        with contextlib.closing(connection.cursor()) as cursor:
            cursor.execute(QUESTION)
            replica, receives, late = cursor.fetchone()
        connection.rollback()
    # The errors of a driver have no common class but this one.
    except Exception:
        return False
    return bool(replica and receives and late < LATE)


def connect(dialect: Any, record: Any, arguments: list[Any], settings: dict[str, Any]) -> Any:
    """Connect to the first replica that follows, else to the primary, else to any member."""
    for host, port in zip(settings["host"].split(","), settings["port"].split(","), strict=True):
        one = {**settings, "host": host, "port": port, "target_session_attrs": "standby"}
        with contextlib.suppress(dialect.dbapi.OperationalError):
            connection = dialect.connect(*arguments, **one)
            if follows(connection):
                record.info[_NEXT] = time.monotonic() + CHECK_AFTER
                return connection
            connection.close()
    try:
        connection = dialect.connect(*arguments, **{**settings, "target_session_attrs": "read-write"})
        record.info[_NEXT] = time.monotonic() + RETURN_AFTER
    except dialect.dbapi.OperationalError:
        connection = dialect.connect(*arguments, **settings)
        record.info[_NEXT] = time.monotonic() + CHECK_AFTER
    return connection


def check(connection: Any, record: Any, _proxy: Any) -> None:
    """Replace a connection that is not one to a replica that follows.

    :raises DisconnectionError: So that the pool connects again.
    """
    import sqlalchemy

    if time.monotonic() < record.info.get(_NEXT, 0):
        return
    if not follows(connection):
        raise sqlalchemy.exc.DisconnectionError("this is no replica that follows")
    record.info[_NEXT] = time.monotonic() + CHECK_AFTER


def install() -> None:
    """Let each engine that MLflow makes for replicas connect in this way."""
    import sqlalchemy

    utils: Any = importlib.import_module("mlflow.store.db.utils")
    make_engine = utils.create_sqlalchemy_engine

    def make(db_uri: str) -> Any:
        engine = make_engine(db_uri)
        if PREFERS_REPLICAS in db_uri:
            sqlalchemy.event.listen(engine, "do_connect", connect)
            sqlalchemy.event.listen(engine, "checkout", check)
        return engine

    utils.create_sqlalchemy_engine = make
