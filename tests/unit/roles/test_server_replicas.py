"""Reads go to a replica that has what the primary has, to the primary if none does, and to any member if there is no primary."""

from __future__ import annotations

import threading
import types
from collections.abc import Callable
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
    #: By member, how many more looks it takes until the member has replayed what the primary has written.
    behind: dict[str, int] = field(default_factory=dict)
    closed: bool = False
    asked: list[str] = field(default_factory=list)

    def cursor(self) -> Any:
        """Return what answers the questions."""

        def execute(question: str, _values: Any = ()) -> None:
            self.asked.append(question)

        def answer() -> Any:
            if self.cluster.get(self.member) is None:
                raise OperationalError("the server closed the connection")
            if "replay_lsn() >=" not in self.asked[-1]:
                return self.cluster[self.member]
            self.behind[self.member] = self.behind.get(self.member, 0) - 1
            return (self.behind[self.member] < 0,)

        return SimpleNamespace(execute=execute, fetchone=answer, close=lambda: None)

    def rollback(self) -> None:
        """End the transaction."""

    def close(self) -> None:
        """Close the connection."""
        self.closed = True


@dataclass
class Dialect:
    """The driver, which connects to a member as libpq does."""

    cluster: dict[str, Any]
    behind: dict[str, int] = field(default_factory=dict)
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
        self.made.append(Connection(name, self.cluster, self.behind))
        return self.made[-1]


def reads(replicas: ModuleType, written: str | None = None) -> Any:
    """Return the connections of an engine whose primary has written up to a position, or does not answer."""
    return replicas.Reads(SimpleNamespace(written=lambda: written))


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
    connection = reads(replicas).connect(dialect, record, [], dict(SETTINGS))
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
    connection = reads(replicas).connect(Dialect({"a": FOLLOWS}), SimpleNamespace(info={}), [], SETTINGS | {"host": "a", "port": 1})
    assert connection.member == "a"


def test_without_any_member_the_error_of_the_driver_is_raised(replicas: ModuleType) -> None:
    dialect = Dialect({})
    with pytest.raises(OperationalError, match="a: timeout expired\nb: timeout expired\nc: timeout expired"):
        reads(replicas).connect(dialect, SimpleNamespace(info={}), [], dict(SETTINGS))
    assert dialect.tried == ["a", "b", "c"], "each of them costs a time limit"


def test_a_member_that_takes_a_connection_and_does_not_answer_is_left(replicas: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    dialect = Dialect({"a": FOLLOWS, "b": PRIMARY})
    kind_of = replicas.kind_of
    monkeypatch.setattr(replicas, "kind_of", lambda connection, written: None if connection.member == "a" else kind_of(connection))
    connection = reads(replicas).connect(dialect, SimpleNamespace(info={}), [], dict(SETTINGS))
    assert (connection.member, [made.closed for made in dialect.made]) == ("b", [True, False])


def user(connections: Any, dialect: Dialect) -> Callable[[], str]:
    """Return a function that takes a connection from a pool, gives it back, and returns the member to which it leads."""

    def create(record: Any) -> Any:
        return connections.connect(dialect, record, [], dict(SETTINGS))

    pool = sqlalchemy.pool.QueuePool(create, pool_size=1, max_overflow=0)
    sqlalchemy.event.listen(pool, "checkout", connections.check)

    def member() -> str:
        connection: Any = pool.connect()
        try:
            return str(connection.dbapi_connection.member)
        finally:
            connection.close()

    return member


def test_a_connection_moves_when_its_replica_stops_to_follow_and_returns_later(replicas: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    # Only this module's clock, as a pool reads the time too.
    monkeypatch.setattr(replicas, "time", SimpleNamespace(monotonic=lambda: now[0]))
    cluster = {"a": PRIMARY, "b": FOLLOWS, "c": APART}
    dialect = Dialect(cluster)
    member = user(reads(replicas), dialect)

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


def test_each_read_waits_until_the_replica_has_what_was_written_before(replicas: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(replicas, "time", SimpleNamespace(monotonic=lambda: 1000.0, sleep=slept.append))
    dialect = Dialect({"a": FOLLOWS, "b": PRIMARY})
    member = user(reads(replicas, "0/5000"), dialect)
    assert member() == "a"
    (connection,) = dialect.made
    for looks in (0, 3):
        dialect.behind["a"], slept[:], connection.asked[:] = looks, [], []
        assert member() == "a"
        assert len(slept) == looks and set(connection.asked) == {replicas.REPLAYED}
    assert slept == sorted(slept) and max(slept) <= replicas.LONGEST_PAUSE


def test_a_replica_that_stays_behind_is_left_for_another_one_or_the_primary(replicas: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(replicas, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    dialect = Dialect({"a": FOLLOWS, "b": FOLLOWS, "c": PRIMARY})
    member = user(reads(replicas, "0/5000"), dialect)
    assert member() == "a"
    begun, dialect.behind["a"] = now[0], 10**6
    assert member() == "b"
    # It is asked twice: by the connection that was used, and by a new one.
    assert 0 < now[0] - begun < 3 * replicas.PATIENCE
    dialect.behind["b"] = 10**6
    assert [member(), member()] == ["c", "c"]
    now[0] += replicas.RETURN_AFTER
    dialect.behind["a"] = 0
    assert member() == "a"


@dataclass
class Asked:
    """A connection to the primary, and what it answers."""

    answers: list[Any]
    autocommit: bool = False
    closed: bool = False

    def cursor(self) -> Any:
        """Return what answers the question."""

        def answer() -> Any:
            found = self.answers.pop(0)
            if isinstance(found, Exception):
                raise found
            return (found,)

        return SimpleNamespace(execute=lambda _question: None, fetchone=answer, close=lambda: None)

    def close(self) -> None:
        """Close the connection."""
        self.closed = True


def test_the_primary_is_asked_again_by_a_new_connection_and_later_if_it_does_not_answer(replicas: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(replicas, "time", SimpleNamespace(monotonic=lambda: now[0]))
    gone = OperationalError("recovery is in progress")
    offered: list[Any] = [Asked(["0/1", gone]), Asked(["0/2", gone]), OperationalError("no primary"), Asked(["0/3"])]
    used: list[Asked] = []

    def connect() -> Any:
        following = offered.pop(0)
        if isinstance(following, Exception):
            raise following
        used.append(following)
        return following

    primary = replicas.Primary(connect)
    assert primary.written() == "0/1"
    # The first connection leads to a former primary now.
    assert primary.written() == "0/2"
    assert primary.written() is None
    left = len(offered)
    assert primary.written() is None and len(offered) == left, "it is asked again at once"
    now[0] += replicas.ASK_AGAIN_AFTER
    assert primary.written() == "0/3"
    assert [(each.autocommit, each.closed) for each in used] == [(True, True), (True, True), (True, False)]


def test_a_read_does_not_wait_for_another_one_that_waits_for_the_primary(replicas: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "PATIENCE", 0.01)
    hanging, lost = threading.Event(), threading.Event()

    def connect() -> Any:
        hanging.set()
        assert lost.wait(30)
        raise OperationalError("timeout expired")

    primary = replicas.Primary(connect)
    first = threading.Thread(target=primary.written)
    first.start()
    try:
        assert hanging.wait(30)
        assert primary.written() is None and first.is_alive()
    finally:
        lost.set()
        first.join()


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
    monkeypatch.setattr(replicas, "primary_of", lambda _address: SimpleNamespace(written=lambda: None))
    replicas.install()
    uris = {
        "postgresql+psycopg2://mlflow@/mlflow?host=a,b&target_session_attrs=prefer-standby": True,
        "postgresql+psycopg2://mlflow@/mlflow?host=a,b&target_session_attrs=read-write": False,
        "postgresql+psycopg2://mlflow@replica/mlflow": False,
    }
    for uri, changed in uris.items():
        assert utils.create_sqlalchemy_engine(uri) is made[uri]
        listeners = [*made[uri].dialect.dispatch.do_connect, *made[uri].pool.dispatch.checkout]
        assert [listener.__name__ for listener in listeners] == (["connect", "check"] if changed else [])


def test_the_primary_is_looked_for_among_the_same_members(replicas: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Any] = []

    def create_engine(address: Any) -> Any:
        dialect = SimpleNamespace(
            create_connect_args=lambda url: ([], dict(url.query) | {"password": url.password}), connect=lambda **settings: tried.append(settings)
        )
        return SimpleNamespace(url=address, dialect=dialect)

    monkeypatch.setattr(sqlalchemy, "create_engine", create_engine)
    options = "host=a,b&port=1,2&target_session_attrs=prefer-standby&connect_timeout=3&tcp_user_timeout=10000&sslmode=verify-full"
    address = sqlalchemy.engine.make_url(f"postgresql+psycopg2://mlflow:secret@/mlflow?{options}")
    primary = replicas.primary_of(address)
    assert replicas.primary_of(sqlalchemy.engine.make_url(address.render_as_string(hide_password=False))) is primary, (
        "each engine asks by a connection of its own"
    )
    assert primary.written() is None
    (settings,) = tried
    assert settings == {"host": "a,b", "port": "1,2", "sslmode": "verify-full", "password": "secret", **replicas.ASKS_PRIMARY}
