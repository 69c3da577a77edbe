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
#: What a connection leads to, the best first: a replica that follows the primary, the primary, and a replica that does not follow.
FOLLOWS, PRIMARY, APART = range(3)
#: Where a connection keeps when it is checked again.
_NEXT = "atlas_mlflow_check_at"


def kind_of(connection: Any) -> int | None:
    """Return what a connection leads to: C(FOLLOWS), C(PRIMARY) or C(APART), and none of them if there is no answer."""
    try:
        with contextlib.closing(connection.cursor()) as cursor:
            cursor.execute(QUESTION)
            replica, receives, late = cursor.fetchone()
        connection.rollback()
    # The errors of a driver have no common class but this one.
    except Exception:
        return None
    if not replica:
        return PRIMARY
    return FOLLOWS if receives and late < LATE else APART


def members(settings: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the hosts of a URI with their ports. As for libpq, one port is that of all hosts, and a URI may leave both to their defaults."""
    hosts, ports = (str(settings.get(name) or "").split(",") for name in ("host", "port"))
    return list(zip(hosts, ports if len(ports) > 1 else ports * len(hosts), strict=True))


def connect(dialect: Any, record: Any, arguments: list[Any], settings: dict[str, Any]) -> Any:
    """Connect to the first replica that follows, else to the primary, else to any member.

    Each member is tried once: one that cannot be reached costs the driver's whole time limit for a connection.

    :raises OperationalError: The driver's, if no member answers.
    """
    found: dict[int, Any] = {}
    failed = []
    for host, port in members(settings):
        try:
            connection = dialect.connect(*arguments, **{**settings, "host": host, "port": port, "target_session_attrs": "any"})
        except dialect.dbapi.OperationalError as error:
            failed.append(str(error).strip())
            continue
        kind = kind_of(connection)
        if kind is None:
            failed.append(f"{host or 'the server'} does not answer")
        if kind is None or kind in found:
            connection.close()
            continue
        found[kind] = connection
        if kind == FOLLOWS:
            break
    if not found:
        raise dialect.dbapi.OperationalError("\n".join(failed))
    best = min(found)
    for kind, connection in found.items():
        if kind != best:
            connection.close()
    record.info[_NEXT] = time.monotonic() + (RETURN_AFTER if best == PRIMARY else CHECK_AFTER)
    return found[best]


def check(connection: Any, record: Any, _proxy: Any) -> None:
    """Replace a connection that is not one to a replica that follows.

    :raises DisconnectionError: So that the pool connects again.
    """
    import sqlalchemy

    if time.monotonic() < record.info.get(_NEXT, 0):
        return
    if kind_of(connection) != FOLLOWS:
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
