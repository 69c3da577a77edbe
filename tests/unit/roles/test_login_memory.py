"""A login is checked slowly once, and counts only while the store has the same hash. Within a request, the store is asked each question once."""

from __future__ import annotations

import asyncio
import base64
import pickle
import sys
import types
from datetime import UTC, datetime, timedelta
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from server_package import load

NAME, RIGHT, WRONG = "ada", "the-right-password", "a-wrong-password"


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module with the memory."""
    return load(monkeypatch, "login_memory")


@pytest.fixture
def basic(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module for MLflow's basic-auth app."""
    return load(monkeypatch, "login_memory_basic")


@pytest.fixture
def oidc(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module for the plugin for OpenID Connect."""
    return load(monkeypatch, "login_memory_oidc")


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module with the store for checks of rights."""
    return load(monkeypatch, "checked_store")


class User:
    """Stands in for MLflow's class for a user, of a release that lists the rights in it."""

    def __init__(self, id_: int, username: str, password_hash: str, is_admin: bool, rights: Any = None) -> None:
        """Take the columns, and the rights."""
        self._id, self._username, self._password_hash, self._is_admin, self._rights = id_, username, password_hash, is_admin, rights

    id = property(lambda self: self._id)
    username = property(lambda self: self._username)
    is_admin = property(lambda self: self._is_admin)
    rights = property(lambda self: self._rights)


class Users:
    """Stands in for MLflow's store of users. Notes each slow check and each question."""

    def __init__(self) -> None:
        """Begin with one user, who has one right."""
        self.passwords = {NAME: RIGHT}
        self.slow: list[str] = []
        self.asked: list[tuple[Any, ...]] = []
        self.during_check = lambda: None

    def _hash_of(self, name: str) -> str:
        """Return what the store has in place of the password."""
        return f"hash of {self.passwords[name]}"

    def authenticate_user(self, username: str, password: str, *, use_primary: bool = False) -> bool:
        """Check a password slowly."""
        self.slow.append(password)
        right = username in self.passwords and self.passwords[username] == password
        self.during_check()
        return right

    def get_user(self, username: str) -> User:
        """Return a user with the rights."""
        self.asked.append(("get_user", username))
        return User(1, username, self._hash_of(username), False, ["READ"])

    def list_grants(self, user_id: int, workspace: str, resource_types: set[str]) -> list[str]:
        """Return rights."""
        self.asked.append(("list_grants", user_id, workspace, *sorted(resource_types)))
        return ["READ"]

    def update_user(self, username: str, password: str) -> None:
        """Change a password."""
        self.passwords[username] = password


@pytest.fixture
def users(basic: ModuleType) -> Any:
    """Return the store with a memory, over the one that stands in for MLflow's. ``reads`` has the names of the rows that were read."""

    def read_user(store: Any, name: str) -> Any:
        store.reads.append(name)
        return SimpleNamespace(id=1, username=name, password_hash=store._hash_of(name), is_admin=False) if name in store.passwords else None

    store = basic.remembering(Users, User, read_user)()
    store.reads = []
    return store


def in_a_request(memory: ModuleType, serve: Any) -> Any:
    """Return what a function returns that is called in a thread while a request is served."""
    answers = []

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        answers.append(await asyncio.to_thread(serve))

    asyncio.run(memory.AnswersOfEachRequest(app)({"type": "http"}, None, None))
    return answers[0]


def test_a_right_password_is_checked_slowly_once(users: Any) -> None:
    assert [users.authenticate_user(NAME, RIGHT) for _ in range(5)] == [True] * 5
    assert users.slow == [RIGHT]
    # Each of the later requests has read the stored hash.
    assert len(users.reads) >= 5


def test_a_wrong_password_is_never_remembered(users: Any) -> None:
    assert [users.authenticate_user(NAME, WRONG) for _ in range(3)] == [False] * 3
    assert users.authenticate_user(NAME, RIGHT)
    assert not users.authenticate_user(NAME, WRONG)
    assert users.slow == [WRONG, WRONG, WRONG, RIGHT, WRONG]


def test_a_name_that_does_not_exist_is_answered_by_mlflow(users: Any) -> None:
    assert not users.authenticate_user("nobody", RIGHT)
    assert not users.authenticate_user(None, None)
    assert users.slow == [RIGHT, None]


@pytest.mark.parametrize("change", [lambda users: users.passwords.update({NAME: "another"}), lambda users: users.passwords.pop(NAME)])
def test_a_changed_password_and_a_removed_user_are_refused_at_the_next_request(users: Any, change: Any) -> None:
    """The change is made by another worker: this one is not told."""
    assert users.authenticate_user(NAME, RIGHT)
    change(users)
    assert not users.authenticate_user(NAME, RIGHT)


def test_a_password_that_changes_during_the_slow_check_is_not_remembered(users: Any) -> None:
    """The hash that was read before is not the one that the password was checked against."""
    users.during_check = lambda: users.passwords.update({NAME: "another"})
    assert users.authenticate_user(NAME, RIGHT)
    users.during_check = lambda: None
    users.passwords[NAME] = RIGHT
    assert users.authenticate_user(NAME, RIGHT)
    assert users.slow == [RIGHT, RIGHT]


def test_a_check_with_options_is_mlflows_own(users: Any) -> None:
    assert users.authenticate_user(NAME, RIGHT)
    assert users.authenticate_user(NAME, RIGHT, use_primary=True)
    assert users.slow == [RIGHT, RIGHT]


def test_the_memory_is_bounded_and_forgets_what_was_used_least_recently(memory: ModuleType) -> None:
    logins = memory.LoginMemory(size=3)
    for number in range(3):
        logins.remember(f"user{number}", RIGHT, "hash")
    assert logins.knows("user0", RIGHT, "hash")
    logins.remember("user3", RIGHT, "hash")
    assert [logins.knows(f"user{number}", RIGHT, "hash") for number in range(4)] == [True, False, True, True]
    for number in range(100):
        logins.remember(f"other{number}", RIGHT, "hash")
    assert len(logins._known) == 3


def test_the_memory_has_no_password_and_no_name_in_clear_text(users: Any) -> None:
    assert users.authenticate_user(NAME, RIGHT)
    assert len(users._logins._known) == 1
    kept = pickle.dumps({name: value for name, value in vars(users._logins).items() if name != "_lock"})
    for text in (RIGHT, NAME, users._hash_of(NAME)):
        assert text.encode() not in kept


def test_each_process_has_a_key_of_its_own(memory: ModuleType) -> None:
    one, two = memory.LoginMemory(), memory.LoginMemory()
    one.remember(NAME, RIGHT, "hash")
    two.remember(NAME, RIGHT, "hash")
    assert set(one._known) != set(two._known)


@pytest.mark.parametrize(("one", "two"), [(("ab", "c", "d"), ("a", "bc", "d")), (("a", "b", "cd"), ("a", "bc", "d")), (('a","', "b", "c"), ("a", '","b', "c"))])
def test_a_login_is_not_mistaken_for_another(memory: ModuleType, one: tuple[str, str, str], two: tuple[str, str, str]) -> None:
    logins = memory.LoginMemory()
    logins.remember(*one)
    assert logins.knows(*one) and not logins.knows(*two)


def test_a_request_asks_each_question_once(memory: ModuleType, users: Any) -> None:
    assert users.authenticate_user(NAME, RIGHT)
    users.reads.clear()

    def serve() -> list[Any]:
        checks = [users.authenticate_user(NAME, RIGHT) for _ in range(4)]
        seen = [users.get_user(NAME).is_admin for _ in range(3)]
        rights = [users.list_grants(1, "default", {"experiment", "run"}) for _ in range(2)]
        return [*checks, *seen, *rights, users.list_grants(1, "default", {"run"})]

    assert in_a_request(memory, serve) == [True] * 4 + [False] * 3 + [["READ"]] * 3
    assert users.reads == [NAME]
    assert users.asked == [("list_grants", 1, "default", "experiment", "run"), ("list_grants", 1, "default", "run")]


def test_the_next_request_asks_again(memory: ModuleType, users: Any) -> None:
    for _ in range(2):
        in_a_request(memory, lambda: users.list_grants(1, "default", {"run"}))
    assert users.asked == [("list_grants", 1, "default", "run")] * 2


def test_requests_at_the_same_time_do_not_share_answers(memory: ModuleType, users: Any) -> None:
    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        for _ in range(3):
            users.list_grants(1, "default", {"run"})
            await asyncio.sleep(0.001)

    async def serve() -> None:
        served = memory.AnswersOfEachRequest(app)
        await asyncio.gather(*(served({"type": "http"}, None, None) for _ in range(3)))

    asyncio.run(serve())
    assert users.asked == [("list_grants", 1, "default", "run")] * 3


def test_what_a_request_leaves_behind_asks_again(memory: ModuleType, users: Any) -> None:
    """A task that goes on after the answer, such as a stream, has the context of its request."""

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        users.list_grants(1, "default", {"run"})
        later.append(asyncio.ensure_future(go_on()))

    async def go_on() -> None:
        await asyncio.sleep(0.01)
        users.list_grants(1, "default", {"run"})

    async def serve() -> None:
        await memory.AnswersOfEachRequest(app)({"type": "http"}, None, None)
        await later[0]

    later: list[Any] = []
    asyncio.run(serve())
    assert users.asked == [("list_grants", 1, "default", "run")] * 2


def test_a_request_that_writes_to_the_store_asks_again(memory: ModuleType, users: Any) -> None:
    def serve() -> tuple[bool, bool]:
        before = users.authenticate_user(NAME, RIGHT)
        users.update_user(NAME, "another")
        return before, users.authenticate_user(NAME, RIGHT)

    assert in_a_request(memory, serve) == (True, False)


def test_an_error_is_not_an_answer(memory: ModuleType) -> None:
    def ask() -> int:
        asked.append(1)
        raise ValueError

    def serve() -> None:
        for _ in range(2):
            with pytest.raises(ValueError):
                memory.once("question", ask)

    asked: list[int] = []
    in_a_request(memory, serve)
    assert len(asked) == 2


def test_rights_that_a_release_lists_in_a_user_are_read_if_they_are_used(users: Any) -> None:
    user = users.get_user(NAME)
    assert (user.id, user.username, user.is_admin, users.asked) == (1, NAME, False, [])
    assert isinstance(user, User)
    assert [user.rights, user.rights] == [["READ"], ["READ"]]
    assert users.asked == [("get_user", NAME)]


def test_a_check_of_rights_reads_the_experiment_of_a_run_and_nothing_else(checked: ModuleType) -> None:
    def get_run(number: str) -> Any:
        loaded.append(number)
        return SimpleNamespace(info=SimpleNamespace(experiment_id="7", status="FINISHED"), data="data of the run")

    loaded: list[str] = []
    store = checked.CheckedStore(SimpleNamespace(get_run=get_run, get_experiment="its own"), {"known": "7"}.get)
    run = store.get_run("known")
    assert (run.info.experiment_id, loaded) == ("7", [])
    assert (run.info.status, run.data, loaded) == ("FINISHED", "data of the run", ["known"])
    # MLflow says why there is none.
    assert store.get_run("unknown").info.experiment_id == "7" and loaded == ["known", "unknown"]
    assert store.get_experiment == "its own"


def test_a_check_of_the_plugin_reads_the_name_of_an_experiment_and_nothing_else(checked: ModuleType) -> None:
    def get_experiment(number: str) -> Any:
        loaded.append(number)
        return SimpleNamespace(experiment_id=number, name="loaded", tags="tags")

    loaded: list[str] = []
    store = checked.CheckedExperiments(SimpleNamespace(get_experiment=get_experiment), {}.get, lambda number: {7: (7, "churn")}.get(int(number)))
    experiment = store.get_experiment("7")
    assert (experiment.experiment_id, experiment.name, loaded) == ("7", "churn", [])
    assert (experiment.tags, loaded) == ("tags", ["7"])
    # MLflow takes other forms of a number, and says why there is no experiment.
    for number in ("8", "07", "\u0667", 7, None):
        assert store.get_experiment(number).name == "loaded"
    assert loaded == ["7", "8", "07", "\u0667", 7, None]


class Plugin:
    """Stands in for the plugin and its database: one account, whose login was used just now."""

    def __init__(self, oidc: ModuleType) -> None:
        """Begin with the right password, or a token with a prefix."""
        now = datetime.now(UTC).replace(tzinfo=None)
        facts = {"is_admin": 1, "active": 1, "is_service_account": 0, "service_account_source": None}
        self.row: Any = SimpleNamespace(token_hash=RIGHT, expires_at=now + timedelta(hours=1), last_used_at=now, **facts)
        self.slow: list[str] = []
        self.reads: list[tuple[str, str | None]] = []
        self.during_check = lambda: None
        logins = oidc.Logins(self.read, lambda text: text.partition("_")[0] if "_" in text else None, timedelta(minutes=1))
        authenticate, facts_of = oidc.authenticating(self.check, logins), oidc.reading(lambda _middleware, name: ("slow", name), lambda _name: self.row)

        async def log_in(name: str, password: str) -> Any:
            header = "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
            let_in, who, _why = await authenticate(None, header)
            return facts_of(None, who) if let_in else False

        self.log_in = lambda password, name=NAME: asyncio.run(log_in(name, password))

    def read(self, name: str, prefix: str | None) -> Any:
        """Read the row."""
        self.reads.append((name, prefix))
        return self.row

    async def check(self, _middleware: Any, header: str) -> Any:
        """Check a login slowly, and whether it has expired."""
        name, password = base64.b64decode(header[6:]).decode().split(":", 1)
        self.slow.append(password)
        right = self.row is not None and password == self.row.token_hash and self.row.expires_at > datetime.now(UTC).replace(tzinfo=None)
        self.during_check()
        return right, name.lower() if right else None, ""


FACTS = (True, True, "", (False, None))


@pytest.fixture
def plugin(oidc: ModuleType) -> Plugin:
    """Return a stand-in for the plugin with the memory."""
    return Plugin(oidc)


@pytest.mark.parametrize("login", [RIGHT, "prefix_and-a-token"])
def test_a_login_is_checked_slowly_once_for_the_plugin_and_comes_with_the_facts(plugin: Plugin, login: str) -> None:
    plugin.row.token_hash = login
    assert [plugin.log_in(login, "Ada") for _ in range(3)] == [FACTS] * 3
    assert plugin.slow == [login]
    # One query for each, two more around the slow check.
    assert plugin.reads == [("ada", "prefix" if "_" in login else None)] * 4
    assert not plugin.log_in(WRONG) and not plugin.log_in(WRONG)
    assert plugin.slow == [login, WRONG, WRONG]


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (lambda row: vars(row).update(token_hash="another"), False),
        (lambda row: vars(row).update(expires_at=row.expires_at - timedelta(hours=2)), False),
        # The plugin notes that it was used.
        (lambda row: vars(row).update(last_used_at=row.last_used_at - timedelta(minutes=2)), FACTS),
        (lambda row: vars(row).update(last_used_at=None), FACTS),
        # The plugin says why somebody may not log in.
        (lambda row: vars(row).update(active=0), ("slow", NAME)),
    ],
)
def test_a_changed_or_expired_login_and_a_user_who_is_out_are_the_plugins(plugin: Plugin, change: Any, answer: Any) -> None:
    assert plugin.log_in(RIGHT) == FACTS
    change(plugin.row)
    assert plugin.log_in(RIGHT) == answer
    assert plugin.slow == [RIGHT, RIGHT]


def test_a_removed_user_is_out_and_an_administrator_no_longer_one_at_the_next_request(plugin: Plugin) -> None:
    assert plugin.log_in(RIGHT) == FACTS
    plugin.row.is_admin, plugin.row.is_service_account, plugin.row.service_account_source = 0, 1, "internal"
    assert plugin.log_in(RIGHT) == (False, True, "", (True, "internal"))
    assert plugin.slow == [RIGHT]
    plugin.row = None
    assert plugin.log_in(RIGHT) is False


def test_a_login_that_changes_during_the_slow_check_of_the_plugin_is_not_remembered(plugin: Plugin) -> None:
    plugin.during_check = lambda: vars(plugin).update(row=SimpleNamespace(**{**vars(plugin.row), "token_hash": "another"}))
    assert plugin.log_in(RIGHT) == FACTS
    plugin.during_check = lambda: None
    plugin.row.token_hash = RIGHT
    assert plugin.log_in(RIGHT) == FACTS
    assert plugin.slow == [RIGHT, RIGHT]


@pytest.mark.parametrize("header", ["Basic", "Basic ?", "Basic " + base64.b64encode(b"no colon").decode(), "Basic " + base64.b64encode(b"\xff:x").decode()])
def test_a_header_that_is_no_login_is_refused_by_the_plugin(oidc: ModuleType, header: str) -> None:
    async def slow(_middleware: Any, given: str) -> Any:
        return False, None, f"refused {given}"

    logins = oidc.Logins(lambda *_: pytest.fail("a query"), lambda _text: None, timedelta(minutes=1))
    assert asyncio.run(oidc.authenticating(slow, logins)(None, header)) == (False, None, f"refused {header}")


def test_the_facts_of_one_user_are_not_those_of_another(oidc: ModuleType) -> None:
    facts = oidc.reading(lambda _middleware, name: ("slow", name), lambda _name: None)
    oidc._facts.set(("one", FACTS))
    assert facts(None, "two") == ("slow", "two")
    assert facts(None, "one") == ("slow", "one")


@pytest.mark.parametrize("row", [None, SimpleNamespace(active=False, is_admin=True)], ids=["no user or no answer", "not active"])
def test_who_may_not_log_in_gets_the_plugins_own_answer(oidc: ModuleType, row: Any) -> None:
    facts = oidc.reading(lambda _middleware, name: ("slow", name), {"one": row}.get)
    assert facts(None, "one") == ("slow", "one")


def test_the_facts_about_an_active_user_are_read_at_each_request(oidc: ModuleType) -> None:
    rows = {"one": SimpleNamespace(active=1, is_admin=0, is_service_account=0, service_account_source=None)}
    facts = oidc.reading(lambda _middleware, _name: "slow", rows.get)
    assert facts(None, "one") == (False, True, "", (False, None))
    rows["one"] = SimpleNamespace(active=1, is_admin=1, is_service_account=1, service_account_source="internal")
    assert facts(None, "one") == (True, True, "", (True, "internal"))
    rows["one"].active = 0
    assert facts(None, "one") == "slow"


class Database:
    """Stands in for SQLAlchemy: an engine that refuses as often as it is told, with the errors given."""

    def __init__(self, *errors: Exception) -> None:
        """Take the errors of the first queries."""
        self.errors = list(errors)
        self.dialect, self.url = SimpleNamespace(name="postgresql", driver="psycopg"), "postgresql://"

    def connect(self) -> Any:
        """Return a connection that is an object to enter and leave."""
        return self

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def execute(self, _statement: Any, values: dict[str, Any]) -> list[Any]:
        """Answer with the values."""
        if self.errors:
            raise self.errors.pop(0)
        return [values]


class SQLAlchemyError(Exception):
    """Stands in for the error of this name."""


class DBAPIError(SQLAlchemyError):
    """Stands in for the error of this name."""

    def __init__(self, invalidated: bool) -> None:
        """Take whether the connection is closed."""
        self.connection_invalidated = invalidated


@pytest.mark.parametrize(
    ("errors", "rows"),
    [
        ([], [{"name": NAME}]),
        ([DBAPIError(True)], [{"name": NAME}]),
        ([DBAPIError(True), DBAPIError(True)], None),
        ([DBAPIError(False)], None),
        ([SQLAlchemyError()], None),
        ([ValueError()], None),
    ],
)
def test_a_closed_connection_is_replaced_once(monkeypatch: pytest.MonkeyPatch, errors: list[Exception], rows: Any) -> None:
    database = Database(*errors)
    fake = types.ModuleType("sqlalchemy")
    fake.exc = SimpleNamespace(DBAPIError=DBAPIError, SQLAlchemyError=SQLAlchemyError)  # type: ignore[attr-defined]
    fake.create_engine = lambda _url, **given: made.append(given) or database  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sqlalchemy", fake)
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_POOL_RECYCLE", "300")
    made: list[dict[str, Any]] = []
    module = load(monkeypatch, "quick_rows")
    assert module.QuickRows(database).read("statement", name=NAME) == rows
    assert [given["pool_recycle"] for given in made] == [300]
    # The connections of another database are MLflow's.
    database.dialect.name = "mysql"
    assert module.QuickRows(database).read("statement", name=NAME) == [{"name": NAME}] and len(made) == 1


class DriversError(Exception):
    """Stands in for psycopg2's error."""

    def __init__(self, pgcode: str | None = None) -> None:
        """Take PostgreSQL's code for it."""
        self.pgcode = pgcode


class Driver:
    """Stands in for psycopg2: a driver, its connection and the cursor in one, which fails as often as it is told and notes what it is sent."""

    Error = DriversError
    description = (("id",), ("?column?",))

    def __init__(self, *errors: Exception) -> None:
        """Take the errors of the first calls."""
        self.errors = list(errors)
        self.sent: list[Any] = []
        self.closed, self.connections, self.autocommit = False, 0, False

    def connect(self, **_given: Any) -> Driver:
        """Return a new connection."""
        self.connections += 1
        self.closed = False
        return self

    def cursor(self) -> Driver:
        """Return the cursor of the connection, which commits each statement."""
        assert self.autocommit
        return self

    def close(self) -> None:
        """Close the connection."""
        self.closed = True

    def execute(self, text: str, values: Any = None) -> None:
        """Note a statement with its values."""
        self.sent.append(text if values is None else (text, values))
        if self.errors:
            raise self.errors.pop(0)

    def fetchall(self) -> list[Any]:
        """Return one row."""
        return [(1, "x")]


def direct_of(monkeypatch: pytest.MonkeyPatch, driver: Driver, text: str, lost: bool = False, recycle: int = -1) -> Any:
    """Return a function that reads one row by a stand-in for psycopg2.

    :param text: The statement, as SQLAlchemy writes it.
    :param lost: Whether errors mean that the connection is lost.
    """
    module = load(monkeypatch, "quick_rows")
    dialect = SimpleNamespace(dbapi=driver, create_connect_args=lambda _url: ([], {}), is_disconnect=lambda *_given: lost)
    direct = module.Direct(SimpleNamespace(dialect=dialect, url="postgresql://"), recycle)
    compiled = type("Compiled", (), {"__str__": lambda _self: text, "params": {"limit": 1, "name": None}})()
    statement = type("Statement", (), {"compile": lambda _self, **_given: compiled})()
    return lambda **values: direct.read(statement, values)


def test_a_statement_is_prepared_once_for_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    read = direct_of(monkeypatch, driver, "SELECT 'a%%' WHERE name = %(name)s OR %(name)s = %(other)s LIMIT %(limit)s")
    assert [read(name=NAME, other=2) for _ in range(4)] == [[(1, "x")]] * 4
    prepared = [text for text in driver.sent if isinstance(text, str)]
    # Once for each of the two connections.
    assert len(prepared) == driver.connections == 2
    assert prepared[0].endswith(" AS SELECT 'a%' WHERE name = $1 OR $1 = $2 LIMIT $3")
    name = prepared[0].split()[1]
    assert driver.sent[1] == (f"EXECUTE {name} (%(name)s, %(other)s, %(limit)s)", {"limit": 1, "name": NAME, "other": 2})
    assert read(name=NAME, other=2)[0].id == 1
    # Another statement has another name, also on a connection that others use.
    read = direct_of(monkeypatch, another := Driver(), "SELECT %(name)s")
    read(name=NAME)
    assert another.sent[0].split()[1] != name


def test_a_lost_connection_is_replaced_and_other_errors_are_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(DriversError())
    read = direct_of(monkeypatch, driver, "SELECT %(name)s", lost=True)
    assert read(name=NAME) == [(1, "x")] and driver.connections == 2
    for error in (DriversError("42P01"), ValueError()):
        driver = Driver(error)
        read = direct_of(monkeypatch, driver, "SELECT %(name)s")
        assert read(name=NAME) is None and driver.connections == 1
        assert read(name=NAME) == [(1, "x")]
    driver = Driver()
    monkeypatch.setattr(driver, "connect", lambda: (_ for _ in ()).throw(DriversError()))
    read = direct_of(monkeypatch, driver, "SELECT %(name)s", lost=True)
    assert read(name=NAME) is None


def test_behind_a_program_that_shares_connections_nothing_is_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(DriversError("26000"))
    read = direct_of(monkeypatch, driver, "SELECT %(name)s")
    assert read(name=NAME) == read(name=NAME) == [(1, "x")]
    assert driver.sent[1:] == [("SELECT %(name)s", {"limit": 1, "name": NAME})] * 2


def test_a_connection_is_replaced_at_its_age(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    read = direct_of(monkeypatch, driver, "SELECT %(name)s", recycle=0)
    assert [read(name=NAME) for _ in range(3)] and driver.connections == 3
