"""Reads go to a replica that follows the primary, to the primary if none does, and to any member if there is no primary."""

from __future__ import annotations

import types
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import sqlalchemy
from server_package import fresh

#: What members answer: whether it is a replica, whether it receives, and by how many seconds it is late.
FOLLOWS, APART, LATE, PRIMARY = (True, True, 0), (True, False, 0), (True, True, 60), (False, False, 0)
PORTS = {"a": "1", "b": "2", "c": "3"}
SETTINGS = {"host": "a,b,c", "port": "1,2,3", "target_session_attrs": "prefer-standby", "user": "mlflow"}


@pytest.fixture
def replicas(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return fresh(monkeypatch, "replicas")


class OperationalError(Exception):
    """The driver's error."""


@dataclass
class Connection:
    """A connection to a member."""

    member: str
    cluster: dict[str, Any]
    closed: bool = False

    def cursor(self) -> Any:
        """Return what answers the question."""

        def answer() -> Any:
            if self.cluster.get(self.member) is None:
                raise OperationalError("the server closed the connection")
            return self.cluster[self.member]

        return SimpleNamespace(execute=lambda _question: None, fetchone=answer, close=lambda: None)

    def rollback(self) -> None:
        """End the transaction."""

    def close(self) -> None:
        """Close the connection."""
        self.closed = True


@dataclass
class Dialect:
    """The driver, which connects to a member as libpq does."""

    cluster: dict[str, Any]
    made: list[Connection] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    dbapi: Any = field(default_factory=lambda: SimpleNamespace(OperationalError=OperationalError))

    def connect(self, **settings: Any) -> Connection:
        """Connect to one member, whatever it is."""
        name = settings["host"]
        assert (settings["port"], settings["target_session_attrs"], settings["user"]) == (PORTS[name], "any", "mlflow")
        self.tried.append(name)
        if name not in self.cluster or self.cluster[name] is None:
            raise OperationalError(f"{name}: timeout expired")
        self.made.append(Connection(name, self.cluster))
        return self.made[-1]


@pytest.mark.parametrize(
    ("a", "b", "c", "wanted"),
    [
        (PRIMARY, FOLLOWS, FOLLOWS, "b"),
        (FOLLOWS, PRIMARY, FOLLOWS, "a"),
        (APART, LATE, PRIMARY, "c"),
        (APART, FOLLOWS, PRIMARY, "b"),
        (None, PRIMARY, None, "b"),
        (None, None, FOLLOWS, "c"),
        # While another member takes over, none receives, and there is no primary.
        (None, APART, APART, "b"),
    ],
)
def test_a_connection_is_made_to_a_replica_that_follows(replicas: ModuleType, a: Any, b: Any, c: Any, wanted: str) -> None:
    dialect, record = Dialect({"a": a, "b": b, "c": c}), SimpleNamespace(info={})
    connection = replicas.connect(dialect, record, [], dict(SETTINGS))
    assert (connection.member, connection.closed) == (wanted, False)
    assert all(made.closed for made in dialect.made if made is not connection), "a connection is left open"
    assert len(set(dialect.tried)) == len(dialect.tried), "a member is tried twice"
    assert replicas._NEXT in record.info


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (SETTINGS, [("a", "1"), ("b", "2"), ("c", "3")]),
        # SQLAlchemy gives the port of a URI with one host as a number.
        ({"host": "a", "port": 5432}, [("a", "5432")]),
        ({"host": "a"}, [("a", "")]),
        ({"host": "a,b", "port": "1"}, [("a", "1"), ("b", "1")]),
        ({"host": "a,b"}, [("a", ""), ("b", "")]),
        ({}, [("", "")]),
    ],
)
def test_a_uri_may_name_one_host_or_one_port(replicas: ModuleType, settings: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert replicas.members(settings) == expected


def test_a_uri_of_one_replica_is_used(replicas: ModuleType) -> None:
    connection = replicas.connect(Dialect({"a": FOLLOWS}), SimpleNamespace(info={}), [], SETTINGS | {"host": "a", "port": 1})
    assert connection.member == "a"


def test_without_any_member_the_error_of_the_driver_is_raised(replicas: ModuleType) -> None:
    dialect = Dialect({})
    with pytest.raises(OperationalError, match="a: timeout expired\nb: timeout expired\nc: timeout expired"):
        replicas.connect(dialect, SimpleNamespace(info={}), [], dict(SETTINGS))
    assert dialect.tried == ["a", "b", "c"], "each of them costs a time limit"


def test_a_member_that_takes_a_connection_and_does_not_answer_is_left(replicas: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    dialect = Dialect({"a": FOLLOWS, "b": PRIMARY})
    kind_of = replicas.kind_of
    monkeypatch.setattr(replicas, "kind_of", lambda connection: None if connection.member == "a" else kind_of(connection))
    connection = replicas.connect(dialect, SimpleNamespace(info={}), [], dict(SETTINGS))
    assert (connection.member, [made.closed for made in dialect.made]) == ("b", [True, False])


def test_a_connection_moves_when_its_replica_stops_to_follow_and_returns_later(replicas: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    # Only this module's clock, as a pool reads the time too.
    monkeypatch.setattr(replicas, "time", SimpleNamespace(monotonic=lambda: now[0]))
    cluster = {"a": PRIMARY, "b": FOLLOWS, "c": APART}
    dialect = Dialect(cluster)

    def create(record: Any) -> Any:
        return replicas.connect(dialect, record, [], dict(SETTINGS))

    pool = sqlalchemy.pool.QueuePool(create, pool_size=1, max_overflow=0)
    sqlalchemy.event.listen(pool, "checkout", replicas.check)

    def member() -> str:
        connection: Any = pool.connect()
        try:
            return str(connection.dbapi_connection.member)
        finally:
            connection.close()

    assert member() == "b"
    cluster["b"] = LATE
    made = len(dialect.made)
    # A check costs a question, so it is not made for each use.
    assert (member(), len(dialect.made)) == ("b", made)
    now[0] += replicas.CHECK_AFTER
    assert member() == "a"
    cluster["b"] = FOLLOWS
    now[0] += replicas.CHECK_AFTER
    assert member() == "a"
    now[0] += replicas.RETURN_AFTER
    assert member() == "b"
    # The replica becomes the primary.
    cluster.update(a=None, b=PRIMARY, c=FOLLOWS)
    now[0] += replicas.CHECK_AFTER
    assert member() == "c"
    # All are gone but one that does not follow. It is asked again and again, and used meanwhile.
    cluster.update(b=None, c=APART)
    for _use in range(3):
        now[0] += replicas.CHECK_AFTER
        assert member() == "c"


def test_only_engines_for_replicas_are_changed(replicas: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {}

    def make_engine(db_uri: str) -> Any:
        made[db_uri] = sqlalchemy.create_engine("sqlite://")
        return made[db_uri]

    utils = types.ModuleType("mlflow.store.db.utils")
    monkeypatch.setattr(utils, "create_sqlalchemy_engine", make_engine, raising=False)
    monkeypatch.setitem(__import__("sys").modules, utils.__name__, utils)
    for name in ("mlflow", "mlflow.store", "mlflow.store.db"):
        monkeypatch.setitem(__import__("sys").modules, name, types.ModuleType(name))
    replicas.install()
    uris = {
        "postgresql+psycopg2://mlflow@/mlflow?host=a,b&target_session_attrs=prefer-standby": True,
        "postgresql+psycopg2://mlflow@/mlflow?host=a,b&target_session_attrs=read-write": False,
        "postgresql+psycopg2://mlflow@replica/mlflow": False,
    }
    for uri, changed in uris.items():
        assert utils.create_sqlalchemy_engine(uri) is made[uri]
        assert sqlalchemy.event.contains(made[uri], "do_connect", replicas.connect) is changed
        assert sqlalchemy.event.contains(made[uri], "checkout", replicas.check) is changed
