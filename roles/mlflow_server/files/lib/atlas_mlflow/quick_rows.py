"""Read a few rows of a database at the lowest cost, for what each request asks.

A session of MLflow takes four round trips: a test of the connection, BEGIN, the query, COMMIT. This takes one. With psycopg2, SQLAlchemy only writes the
statements, because its part of a query costs more than all else, and PostgreSQL plans each of them once for a connection.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import hashlib
import os
import queue
import re
import time
from typing import Any

#: Connections of each worker to a database. Each is busy for less than a millisecond. The playbook counts them for PostgreSQL's max_connections.
CONNECTIONS = 2
#: MLflow's setting for the age in seconds at which a connection is replaced.
RECYCLE = "MLFLOW_SQLALCHEMYSTORE_POOL_RECYCLE"
#: Seconds to wait for a connection that is busy, as SQLAlchemy waits.
PATIENCE = 30
#: PostgreSQL's codes for a prepared statement that is missing, that is there already, and that is too old. The first two come from a program between the worker
#: and PostgreSQL that shares connections, such as pgbouncer.
NOT_AS_PREPARED = ("26000", "42P05", "0A000")
_PLACE = re.compile(r"%%|%\((\w+)\)s")


class QuickRows:
    """Reads rows by statements of SQLAlchemy, each in a transaction of its own."""

    def __init__(self, engine: Any) -> None:
        """Take the engine of one of MLflow's stores, for the address and the kind of its database."""
        import sqlalchemy

        self._errors = sqlalchemy.exc
        self._engine = engine
        self._direct: Direct | None = None
        # For other databases, MLflow's engine has settings that are not in the address.
        if engine.dialect.name == "postgresql":
            recycle = int(os.environ.get(RECYCLE) or -1)
            if engine.dialect.driver == "psycopg2":
                self._direct = Direct(engine, recycle)
            else:
                options = {"isolation_level": "AUTOCOMMIT", "pool_size": CONNECTIONS, "max_overflow": 0, "pool_recycle": recycle}
                self._engine = sqlalchemy.create_engine(engine.url, **options)

    @property
    def dialect(self) -> Any:
        """Return SQLAlchemy's object for the kind of the database."""
        return self._engine.dialect

    def read(self, statement: Any, **values: Any) -> list[Any] | None:
        """Return all rows, or None if the database does not answer.

        A connection that the database has closed is replaced once, as after its restart.

        :param statement: A statement that is made once, and not for each call. Its parameters have one value each.
        """
        if self._direct is not None:
            return self._direct.read(statement, values)
        for _attempt in range(2):
            try:
                with self._engine.connect() as connection:
                    return list(connection.execute(statement, values))
            except self._errors.DBAPIError as error:
                if not error.connection_invalidated:
                    return None
            # Text that a driver refuses, such as a zero byte, is a ValueError.
            except (self._errors.SQLAlchemyError, ValueError):
                return None
        return None


class _Statement:
    """A statement as text for psycopg2.

    :param text: Text with places for values by their names, as SQLAlchemy writes it for psycopg2.
    :param values: Values that belong to the statement.
    """

    def __init__(self, text: str, values: dict[str, Any]) -> None:
        self.text = text
        self.values = values
        self.row: Any = None
        names: list[str] = []

        def place(found: re.Match[str]) -> str:
            if not found[1]:
                return "%"
            if found[1] not in names:
                names.append(found[1])
            return f"${names.index(found[1]) + 1}"

        numbered = _PLACE.sub(place, text)
        # The same name always means the same text, whoever has prepared it on a connection that is shared.
        self.name = "atlas_" + hashlib.sha256(numbered.encode()).hexdigest()[:40]
        self.prepare = f"PREPARE {self.name} AS {numbered}"
        places = ", ".join(f"%({name})s" for name in names)
        self.execute = f"EXECUTE {self.name}" + (f" ({places})" if names else "")


class _Session:
    """A connection, and the statements that it has prepared."""

    def __init__(self, connection: Any) -> None:
        connection.autocommit = True
        self.connection = connection
        self.cursor = connection.cursor()
        self.prepared: set[str] = set()
        self.opened = time.monotonic()


class Direct:
    """Reads rows by psycopg2.

    :param engine: The engine of one of MLflow's stores.
    :param recycle: The age in seconds at which a connection is replaced, -1 for never.
    """

    def __init__(self, engine: Any, recycle: int) -> None:
        self._dialect = engine.dialect
        self._driver = engine.dialect.dbapi
        self._address = engine.dialect.create_connect_args(engine.url)
        self._recycle = recycle
        self._prepares = True
        self._statements: dict[Any, _Statement] = {}
        self._free: queue.SimpleQueue[_Session | None] = queue.SimpleQueue()
        for _place in range(CONNECTIONS):
            self._free.put(None)

    def read(self, statement: Any, values: dict[str, Any]) -> list[Any] | None:
        """Return all rows, or None if the database does not answer."""
        made = self._statements.get(statement)
        if made is None:
            compiled = statement.compile(dialect=self._dialect)
            made = self._statements[statement] = _Statement(str(compiled), compiled.params)
        given = {**made.values, **values}
        try:
            session = self._free.get(timeout=PATIENCE)
        except queue.Empty:
            return None
        try:
            for _attempt in range(3):
                if session and 0 <= self._recycle <= time.monotonic() - session.opened:
                    self._close(session)
                    session = None
                try:
                    if session is None:
                        positional, named = self._address
                        session = _Session(self._driver.connect(*positional, **named))
                    return self._rows(session, made, given)
                except self._driver.Error as error:
                    if self._prepares and session and error.pgcode in NOT_AS_PREPARED:
                        self._prepares = False
                    elif not session or not (session.connection.closed or self._dialect.is_disconnect(error, session.connection, session.cursor)):
                        return None
                    self._close(session)
                    session = None
            return None
        # Text that a driver refuses, such as a zero byte.
        except ValueError:
            return None
        finally:
            self._free.put(session)

    def _rows(self, session: _Session, made: _Statement, values: dict[str, Any]) -> list[Any]:
        cursor = session.cursor
        if self._prepares:
            if made.name not in session.prepared:
                cursor.execute(made.prepare)
                session.prepared.add(made.name)
            cursor.execute(made.execute, values)
        else:
            cursor.execute(made.text, values)
        if made.row is None:
            made.row = collections.namedtuple("Row", [column[0] for column in cursor.description], rename=True)  # type: ignore[misc]
        return [made.row._make(row) for row in cursor.fetchall()]

    def _close(self, session: _Session | None) -> None:
        with contextlib.suppress(self._driver.Error):
            if session:
                session.connection.close()


@functools.cache
def rows_of(store: Any) -> QuickRows:
    """Return the reader of a store's database. The store has its engine when the application is made."""
    return QuickRows(store.engine)
