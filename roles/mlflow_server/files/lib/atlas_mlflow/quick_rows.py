"""Read a few rows of a database at the lowest cost, for what each request asks.

A session of MLflow takes four round trips: a test of the connection, BEGIN, the query, COMMIT. This takes one.
"""

from __future__ import annotations

from typing import Any

#: Connections of each worker to a database. Each is busy for less than a millisecond. The playbook counts them for PostgreSQL's max_connections.
CONNECTIONS = 2


class QuickRows:
    """Reads rows by prepared statements of SQLAlchemy, each in a transaction of its own."""

    def __init__(self, engine: Any) -> None:
        """Take the engine of one of MLflow's stores, for the address and the kind of its database."""
        import sqlalchemy

        self._errors = sqlalchemy.exc
        # SQLite has no round trips, and its settings belong to its connections.
        self._engine = engine
        if engine.dialect.name != "sqlite":
            self._engine = sqlalchemy.create_engine(engine.url, isolation_level="AUTOCOMMIT", pool_size=CONNECTIONS, max_overflow=0)

    def read(self, statement: Any, **values: Any) -> list[Any] | None:
        """Return all rows, or None if the database does not answer.

        A connection that the database has closed is replaced once, as after its restart.
        """
        for _ in range(2):
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
