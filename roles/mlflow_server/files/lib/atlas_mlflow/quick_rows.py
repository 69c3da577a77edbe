"""Read a few rows of a database at the lowest cost, for what each request asks.

A session of MLflow takes four round trips: a test of the connection, BEGIN, the query, COMMIT. This takes one.
"""

from __future__ import annotations

import functools
import os
from typing import Any

#: Connections of each worker to a database. Each is busy for less than a millisecond. The playbook counts them for PostgreSQL's max_connections.
CONNECTIONS = 2
#: MLflow's setting for the age in seconds at which a connection is replaced.
RECYCLE = "MLFLOW_SQLALCHEMYSTORE_POOL_RECYCLE"


class QuickRows:
    """Reads rows by prepared statements of SQLAlchemy, each in a transaction of its own."""

    def __init__(self, engine: Any) -> None:
        """Take the engine of one of MLflow's stores, for the address and the kind of its database."""
        import sqlalchemy

        self._errors = sqlalchemy.exc
        self._engine = engine
        # For other databases, MLflow's engine has settings that are not in the address.
        if engine.dialect.name == "postgresql":
            recycle = int(os.environ.get(RECYCLE) or -1)
            self._engine = sqlalchemy.create_engine(engine.url, isolation_level="AUTOCOMMIT", pool_size=CONNECTIONS, max_overflow=0, pool_recycle=recycle)

    @property
    def dialect(self) -> Any:
        """Return SQLAlchemy's object for the kind of the database."""
        return self._engine.dialect

    def read(self, statement: Any, **values: Any) -> list[Any] | None:
        """Return all rows, or None if the database does not answer.

        A connection that the database has closed is replaced once, as after its restart.
        """
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


@functools.cache
def rows_of(store: Any) -> QuickRows:
    """Return the reader of a store's database. The store has its engine when the application is made."""
    return QuickRows(store.engine)
