"""Copy all rows of a database of MLflow to another database, compare both, and keep the copy only if they are alike.

The schema of the copy is made by MLflow's own migrations, so this module copies rows alone. It knows no table by its name, except those with
artifact locations: it reads the tables of both databases from the databases, and so copies what any release stores.

pgloader was considered. It has its own rules for types, commits while it copies, continues after a row that PostgreSQL refuses, needs a superuser
to load tables in any order, and compares nothing. SQLAlchemy is in the environment of each release, with the drivers that the release uses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atlas_mlflow.stores import StoreError, first_line

#: The number of an advisory lock for the time of a copy. `stores.ADVISORY_LOCK` belongs to the migrations.
ADVISORY_LOCK = 7_264_150_120
#: Rows that are read and written at once.
BATCH = 1000
#: The most rows in a target's table that are looked up one by one in the source.
LOOKED_UP = 100_000
#: Tables with the revision of a schema, which the migrations write.
REVISIONS = ("alembic_version", "alembic_version_auth")
#: Columns with artifact locations, and the key of the rows of a table that has others.
LOCATIONS = {
    ("experiments", "artifact_location"): "",
    ("runs", "artifact_uri"): "",
    ("logged_models", "artifact_location"): "",
    ("model_versions", "source"): "",
    ("model_versions", "storage_location"): "",
    ("trace_tags", "value"): "mlflow.artifactLocation",
}
#: The most dangling rows that a message names for a table.
NAMED = 5

#: Types of values that are alike for each database.
PLAIN = {str, int, float, type(None)}

Row = Mapping[str, Any]
Change = Callable[[str, dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Content:
    """The content of a table: the number of its rows, and the sum of their digests, which does not depend on their order."""

    rows: int = 0
    digest: int = 0

    def __add__(self, other: Content) -> Content:
        """Return the content of both."""
        return Content(self.rows + other.rows, (self.digest + other.digest) % 2**256)


def plain(value: Any) -> Any:
    """Return a value in a form that is alike for SQLite and PostgreSQL."""
    # Not `isinstance`, to which a truth value is a number.
    if type(value) in PLAIN:
        return value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def digest(row: Row) -> int:
    """Return a number that identifies a row's content."""
    text = repr([(name, plain(row[name])) for name in sorted(row)])
    # A text from SQLite may have characters that are no text in UTF-8.
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest(), "big")


def content(rows: Iterable[Row]) -> Content:
    """Return the content of rows."""
    number = total = 0
    for row in rows:
        number += 1
        total += digest(row)
    return Content(number, total % 2**256)


def relocate(prefixes: Sequence[str], place: str = "mlflow-artifacts:/") -> Change:
    """Return a function that replaces the beginnings of artifact locations in a row of a table.

    :param prefixes: Beginnings of locations, such as file:///srv/mlruns. The longest that fits is replaced.
    :param place: What replaces them: the artifact store that the tracking server serves.
    """
    ordered = sorted((prefix.rstrip("/") for prefix in prefixes), key=len, reverse=True)

    def replaced(location: Any) -> Any:
        for prefix in ordered:
            if isinstance(location, str) and (location == prefix or location.startswith(f"{prefix}/")):
                return place + location.removeprefix(prefix).lstrip("/")
        return location

    def change(table: str, row: dict[str, Any]) -> dict[str, Any]:
        for (name, column), key in LOCATIONS.items():
            if name == table and column in row and (not key or row.get("key") == key):
                row[column] = replaced(row[column])
        return row

    return change if ordered else lambda _table, row: row


def tables_of(connection: Any) -> dict[str, Any]:
    """Return the tables of a database by their names, each after those that its rows refer to. JSON is read and written as its text."""
    import sqlalchemy

    metadata = sqlalchemy.MetaData()

    def as_text(_inspector: Any, _table: Any, column: dict[str, Any]) -> None:
        # A parsed document would be written in another form, and NULL is not the document null.
        if connection.dialect.name == "sqlite" and isinstance(column["type"], sqlalchemy.JSON):
            column["type"] = sqlalchemy.Text()

    sqlalchemy.event.listen(metadata, "column_reflect", as_text)
    metadata.reflect(connection)
    return {table.name: table for table in metadata.sorted_tables}


def read(connection: Any, table: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table."""
    import sqlalchemy

    columns = [sqlalchemy.cast(column, sqlalchemy.Text).label(column.name) if isinstance(column.type, sqlalchemy.JSON) else column for column in table.columns]
    # The server keeps the result: a client would otherwise read all rows at once.
    options = {"stream_results": True, "yield_per": BATCH}
    names = [column.name for column in table.columns]
    for row in connection.execute(sqlalchemy.select(*columns), execution_options=options):
        yield dict(zip(names, row))


def write(connection: Any, table: Any, rows: list[dict[str, Any]]) -> None:
    """Write rows to a table. The database computes the generated columns by itself."""
    import sqlalchemy

    values = {
        column.name: sqlalchemy.cast(sqlalchemy.bindparam(column.name, type_=sqlalchemy.Text), column.type)
        if isinstance(column.type, sqlalchemy.JSON)
        else sqlalchemy.bindparam(column.name, type_=column.type)
        for column in table.columns
        if column.computed is None
    }
    connection.execute(sqlalchemy.insert(table).values(values), [{name: row[name] for name in values} for row in rows])


def same_tables(source: Mapping[str, Any], target: Mapping[str, Any]) -> list[str]:
    """Return what differs in the tables and columns of two databases with the schema of one release."""
    # Releases write the revision of the users' schema to one table or the other.
    faults = [f"the table {name} is only in the source" for name in sorted(source.keys() - target.keys() - {*REVISIONS})]
    faults += [f"the table {name} is only in the target" for name in sorted(target.keys() - source.keys() - {*REVISIONS})]
    for name in sorted(source.keys() & target.keys()):
        columns = {column.name for column in source[name].columns} ^ {column.name for column in target[name].columns}
        faults += [f"the columns {', '.join(sorted(columns))} of the table {name} are only in one of both"] if columns else []
    return faults


def dangling(connection: Any) -> list[str]:
    """Return a sentence for each table of a SQLite database with rows that refer to missing rows. SQLite does not refuse them, and PostgreSQL does."""
    import sqlalchemy

    if connection.dialect.name != "sqlite":
        return []
    found: dict[tuple[str, str], list[Any]] = {}
    for table, row, parent, _key in connection.execute(sqlalchemy.text("PRAGMA foreign_key_check")):
        found.setdefault((table, parent), []).append(row)
    return [
        f"{len(rows)} rows of the table {table} refer to rows of {parent} that do not exist, and MLflow never shows them. After a backup, remove them: "
        f"DELETE FROM {table} WHERE rowid IN ({', '.join(map(str, rows[:NAMED]))}{', ...' if len(rows) > NAMED else ''})"
        for (table, parent), rows in found.items()
    ]


def revision(connection: Any, tables: Mapping[str, Any], noted_in: Sequence[str]) -> str:
    """Return the revision of a database's schema, empty if the database has none."""
    import sqlalchemy

    noted = [name for name in noted_in if name in tables]
    return str(connection.execute(sqlalchemy.select(tables[noted[0]].c.version_num)).scalar() or "") if noted else ""


def foreign(source: Any, target: Any, change: Change) -> list[str]:
    """Return the tables of a target that have rows which the source does not have, each with the number of its rows.

    What the source has as well may be there: rows that the migrations write, and an earlier copy.
    """
    import sqlalchemy

    found, tables = [], tables_of(source)
    for name, table in tables_of(target).items():
        if name in REVISIONS:
            continue
        rows = target.execute(sqlalchemy.select(sqlalchemy.func.count()).select_from(table)).scalar()
        if not rows:
            continue
        if name in tables and rows <= LOOKED_UP:
            known = {digest(change(name, row)) for row in read(source, tables[name])}
            if all(digest(row) in known for row in read(target, table)):
                continue
        elif name in tables and content(read(target, table)) == content(change(name, row) for row in read(source, tables[name])):
            continue
        found.append(f"{name} ({rows} rows)")
    return found


def advance_sequences(connection: Any, tables: Mapping[str, Any]) -> None:
    """Set the sequences of a PostgreSQL database behind the highest numbers in their tables."""
    import sqlalchemy

    if connection.dialect.name != "postgresql":
        return
    quoted = connection.dialect.identifier_preparer.format_table
    for table in tables.values():
        for column in table.primary_key.columns:
            if not isinstance(column.type, sqlalchemy.Integer):
                continue
            find = sqlalchemy.text("SELECT pg_get_serial_sequence(:table, :column)")
            sequence = connection.execute(find, {"table": quoted(table), "column": column.name}).scalar()
            highest = connection.execute(sqlalchemy.select(sqlalchemy.func.max(column))).scalar()
            if sequence and highest is not None:
                # A sequence begins at 1, and MLflow's first experiment is 0.
                connection.execute(
                    sqlalchemy.text("SELECT setval(CAST(:name AS regclass), :value, :used)"),
                    {"name": sequence, "value": max(highest, 1), "used": highest >= 1},
                )


def clear(connection: Any, tables: Mapping[str, Any]) -> None:
    """Delete all rows of a database, but those with the schema's revision."""
    import sqlalchemy

    for name in reversed(list(tables)):
        if name not in REVISIONS:
            connection.execute(sqlalchemy.delete(tables[name]))


def contents(connection: Any, change: Change) -> dict[str, Content]:
    """Return the content of each table of a database, with the change of each row."""
    return {name: content(change(name, row) for row in read(connection, table)) for name, table in tables_of(connection).items() if name not in REVISIONS}


def refused_row(target: Any, table: Any, batch: list[dict[str, Any]]) -> str:
    """Return the key of the first row that a database refuses, for a message, empty if it accepts each one alone."""
    import sqlalchemy

    for row in batch:
        try:
            with target.begin_nested():
                write(target, table, [row])
        except (sqlalchemy.exc.SQLAlchemyError, ValueError):
            return " with " + ", ".join(f"{column.name} {row[column.name]}" for column in table.primary_key.columns)
    return ""


def copy_table(source: Any, target: Any, name: str, tables: tuple[Any, Any], change: Change) -> Content:
    """Copy the rows of a table, and return its content as it was read.

    :param tables: The table in the source and in the target.
    :raises StoreError: If the target refuses a row.
    """
    import sqlalchemy

    total, batch = Content(), list[dict[str, Any]]()

    def flush() -> Content:
        try:
            with target.begin_nested():
                write(target, tables[1], batch)
        # psycopg2 refuses the character 0 by itself.
        except (sqlalchemy.exc.SQLAlchemyError, ValueError) as error:
            raise StoreError(f"The target refuses a row of the table {name}{refused_row(target, tables[1], batch)}: {first_line(error)}") from error
        written = content(batch)
        batch.clear()
        return written

    for row in read(source, tables[0]):
        batch.append(change(name, row))
        if len(batch) == BATCH:
            total += flush()
    return total + flush() if batch else total


def copy(source: Any, target: Any, change: Change) -> dict[str, Content]:
    """Copy all rows of a database to another one in one transaction, read them again, and keep them only if they are alike.

    Rows in the target are replaced: `foreign` has found none that the source does not have.

    :param source: Engine of the source, which nobody writes to.
    :param target: Engine of the target, with the same schema.
    :returns: The content of each table.
    :raises StoreError: If the tables differ, if the target refuses a row, or if the copy is not like the source.
    """
    import sqlalchemy

    with source.connect() as reading, target.begin() as writing:
        if writing.dialect.name == "postgresql":
            # A copy whose playbook was ended may still run.
            writing.execute(sqlalchemy.text(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"))
        before, after = tables_of(reading), tables_of(writing)
        if faults := same_tables(before, after):
            raise StoreError(f"The tables of both databases differ: {'; '.join(faults)}.")
        clear(writing, after)
        copied = {}
        for name in after:
            if name not in REVISIONS:
                copied[name] = copy_table(reading, writing, name, (before[name], after[name]), change)
        advance_sequences(writing, after)
        wrong = [name for name, there in copied.items() if content(read(writing, after[name])) != there]
        if wrong:
            raise StoreError(f"What the target returns is not what was written to it, in the tables {', '.join(wrong)}. Nothing of it is kept.")
    return copied
