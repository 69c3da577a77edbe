"""Read from the replicas of a cluster that follow the primary, and from the primary if none does.

A release of MLflow that knows replicas never goes back to the primary by itself. The driver chooses a replica when it connects
(``target_session_attrs=prefer-standby``), also one that has not followed the primary for hours, and a connection stays where it is. From such a replica MLflow
would read none of the newer runs, and would refuse to log artifacts to them.

So a connection is made to the first replica that follows, and is checked when it is used. A replica also gets each write some milliseconds late, and a
training that has begun a run a moment ago would end with "not found". So the primary is asked how far it has written, and the read waits until the replica has
replayed that much. A replica that takes too long is not read. If no replica follows and there is no primary, as while another member takes over, any member
will do. One function of MLflow is replaced, because there is no other way to its connections: the one that makes an engine.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import time
from collections.abc import Callable
from threading import Lock
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
#: How far the primary has written. What was acknowledged is not beyond it.
WRITTEN = "SELECT pg_current_wal_flush_lsn()::text"
#: Whether a replica has replayed as much.
REPLAYED = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
#: Seconds that a read waits for a replica, and for the connection to the primary while another thread uses it.
PATIENCE = 0.5
#: Seconds of the first pause between two looks at a replica, which is doubled each time, and of the longest one.
PAUSE, LONGEST_PAUSE = 0.0005, 0.02
#: Seconds for which the primary is not asked again after it did not answer. Reads do not wait for it then.
ASK_AGAIN_AFTER = 5
#: How the primary is asked: a read must not wait long for a host that is lost.
ASKS_PRIMARY = {"target_session_attrs": "read-write", "connect_timeout": "2", "tcp_user_timeout": "1000"}
#: What a connection leads to, the best first: a replica that follows the primary, the primary, and a replica that does not follow.
FOLLOWS, PRIMARY, APART = range(3)
#: Where a connection keeps what it leads to, and when it is checked again.
_KIND, _NEXT = "atlas_mlflow_kind", "atlas_mlflow_check_at"


class Primary:
    """Tells how far the primary has written, by a connection of its own."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        """Take what connects to the primary."""
        self._connect = connect
        self._connection: Any = None
        self._lock = Lock()
        self._ask_at = 0.0

    def written(self) -> str | None:
        """Return the position in the log of what the primary has written, or None if it does not answer, as while another member takes over.

        One thread asks at a time, so that one alone waits for a lost host.
        """
        if time.monotonic() < self._ask_at or not self._lock.acquire(timeout=PATIENCE):
            return None
        try:
            return None if time.monotonic() < self._ask_at else self._ask()
        finally:
            self._lock.release()

    def _ask(self) -> str | None:
        # A connection that was open before may lead to a former primary.
        for _attempt in range(1 if self._connection is None else 2):
            # The errors of a driver have no common class but this one.
            with contextlib.suppress(Exception):
                if self._connection is None:
                    self._connection = self._connect()
                    self._connection.autocommit = True
                with contextlib.closing(self._connection.cursor()) as cursor:
                    cursor.execute(WRITTEN)
                    return str(cursor.fetchone()[0])
            if self._connection is not None:
                with contextlib.suppress(Exception):
                    self._connection.close()
                self._connection = None
        self._ask_at = time.monotonic() + ASK_AGAIN_AFTER
        return None


def replays(cursor: Any, written: str) -> bool:
    """Return whether a replica has replayed all that the primary has written, before a read has waited for too long."""
    until, pause = time.monotonic() + PATIENCE, PAUSE
    while True:
        cursor.execute(REPLAYED, (written,))
        if cursor.fetchone()[0]:
            return True
        if time.monotonic() >= until:
            return False
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def kind_of(connection: Any, written: str | None = None, known: int | None = None) -> int | None:
    """Return what a connection leads to: C(FOLLOWS), C(PRIMARY) or C(APART), and none of them if there is no answer.

    :param written: How far the primary has written, if it is known. A replica that does not replay it soon does not follow.
    :param known: What it leads to without a look at C(written), if that is known.
    """
    try:
        with contextlib.closing(connection.cursor()) as cursor:
            if known is None:
                cursor.execute(QUESTION)
                replica, receives, late = cursor.fetchone()
                known = PRIMARY if not replica else FOLLOWS if receives and late < LATE else APART
            if known == FOLLOWS and written is not None and not replays(cursor, written):
                known = APART
        connection.rollback()
    # The errors of a driver have no common class but this one.
    except Exception:
        return None
    return known


def members(settings: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the hosts of a URI with their ports. As for libpq, one port is that of all hosts, and a URI may leave both to their defaults."""
    hosts, ports = (str(settings.get(name) or "").split(",") for name in ("host", "port"))
    return list(zip(hosts, ports if len(ports) > 1 else ports * len(hosts), strict=True))


class Reads:
    """The connections of an engine for replicas."""

    def __init__(self, primary: Primary) -> None:
        """Take who tells how far the primary has written."""
        self._primary = primary

    def connect(self, dialect: Any, record: Any, arguments: list[Any], settings: dict[str, Any]) -> Any:
        """Connect to the first replica that follows, else to the primary, else to any member.

        Each member is tried once: one that cannot be reached costs the driver's whole time limit for a connection.

        :raises OperationalError: The driver's, if no member answers.
        """
        written = self._primary.written()
        found: dict[int, Any] = {}
        failed = []
        for host, port in members(settings):
            try:
                connection = dialect.connect(*arguments, **{**settings, "host": host, "port": port, "target_session_attrs": "any"})
            except dialect.dbapi.OperationalError as error:
                failed.append(str(error).strip())
                continue
            kind = kind_of(connection, written)
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
        record.info[_KIND] = best
        record.info[_NEXT] = time.monotonic() + (RETURN_AFTER if best == PRIMARY else CHECK_AFTER)
        return found[best]

    def check(self, connection: Any, record: Any, _proxy: Any) -> None:
        """Replace a connection that is not one to a replica with all that was written before this use.

        :raises DisconnectionError: So that the pool connects again.
        """
        import sqlalchemy

        kind = record.info.get(_KIND)
        written = self._primary.written() if kind == FOLLOWS else None
        if time.monotonic() >= record.info.get(_NEXT, 0):
            kind = kind_of(connection, written)
            record.info[_NEXT] = time.monotonic() + CHECK_AFTER
        elif written is None:
            return
        else:
            kind = kind_of(connection, written, known=kind)
        if kind != FOLLOWS:
            raise sqlalchemy.exc.DisconnectionError("this is no replica that follows")


@functools.cache
def primary_of(address: Any) -> Primary:
    """Return who tells how far the primary of a database has written. The engines of one database share it.

    :param address: SQLAlchemy's URL of the replicas, which has all members.
    """
    import sqlalchemy

    engine = sqlalchemy.create_engine(address.update_query_dict(ASKS_PRIMARY))
    arguments, settings = engine.dialect.create_connect_args(engine.url)
    return Primary(lambda: engine.dialect.connect(*arguments, **settings))


def install() -> None:
    """Let each engine that MLflow makes for replicas connect in this way."""
    import sqlalchemy

    utils: Any = importlib.import_module("mlflow.store.db.utils")
    make_engine = utils.create_sqlalchemy_engine

    def make(db_uri: str) -> Any:
        engine = make_engine(db_uri)
        if PREFERS_REPLICAS in db_uri:
            reads = Reads(primary_of(engine.url))
            sqlalchemy.event.listen(engine, "do_connect", reads.connect)
            sqlalchemy.event.listen(engine, "checkout", reads.check)
        return engine

    utils.create_sqlalchemy_engine = make
