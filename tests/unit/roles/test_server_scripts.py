"""What starts the tracking server and asks for its health, and what is decided about a store's schema."""

from __future__ import annotations

import base64
import io
import json
import os
import pwd
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from server_package import LIB, load

HEAD, OLD = "head0000", "old00000"


class Refused(Exception):
    """Stands in for SQLAlchemy's errors."""


class FakeDatabase:
    """Stands in for SQLAlchemy, Alembic and MLflow: a database with a revision and tables, and a list of what was done to it."""

    def __init__(self, dialect: str, revision: str, tables: list[str]) -> None:
        self.dialect = SimpleNamespace(name=dialect)
        self.url = SimpleNamespace(render_as_string=lambda hide_password: f"{dialect}://***@db/mlflow", database="/nowhere/mlflow.db")
        self.revision, self.tables = revision, tables
        self.done: list[str] = []

    def connect(self) -> FakeDatabase:
        return self

    def __enter__(self) -> FakeDatabase:
        return self

    def __exit__(self, *_exc: object) -> None:
        pass

    #: Whether the user may make tables, and what the database says to who reads them.
    may_create, refuses = True, ""

    def execute(self, statement: str, given: dict[str, Any] | None = None) -> Any:
        if "has_schema_privilege" in statement:
            return SimpleNamespace(fetchone=lambda: ("m", "mlflow", self.may_create))
        if self.refuses and "version_num" in statement:
            raise Refused(f"{self.refuses}\n[SQL: SELECT]")
        if "lock" in statement:
            self.done.append(statement.split("(")[0].removeprefix("SELECT "))
        elif "users" in statement:
            self.done.append(statement.split()[0])
            self.given = given or {}
            return SimpleNamespace(fetchone=lambda: self.administrator)
        else:
            self.noted_in = statement.split()[-1]
        return SimpleNamespace(fetchone=lambda: (self.revision,) if self.revision else None)

    #: The administrator's row: the password's hash, and whether it is one.
    administrator: tuple[str, bool] | None = None

    def begin(self) -> FakeDatabase:
        return self

    #: What stands in an upgrade's way.
    in_the_way = ""

    def upgrade(self, _engine: Any) -> None:
        if self.in_the_way:
            error = Refused("in SQLAlchemy's words, with a statement of many lines")
            error.orig = Exception(f"{self.in_the_way}\nLINE 2: CREATE TABLE")  # type: ignore[attr-defined]
            raise error
        self.done.append("upgraded")

    def migrate(self, _engine: Any, to: str) -> None:
        self.done.append(f"migrated to {to}")

    def modules(self) -> dict[str, ModuleType]:
        """Return the modules that the script imports."""

        def module(name: str, **members: Any) -> ModuleType:
            made = ModuleType(name)
            made.__dict__.update(members)
            return made

        utils = module(
            "mlflow.store.db.utils",
            _get_latest_schema_revision=lambda: HEAD,
            _get_alembic_config=lambda _url: None,
            _initialize_tables=lambda _engine: self.done.append("made"),
            _upgrade_db=self.upgrade,
        )
        scripts = SimpleNamespace(get_current_head=lambda: HEAD, walk_revisions=lambda: [SimpleNamespace(revision=HEAD), SimpleNamespace(revision=OLD)])
        db = module("mlflow.store.db", utils=utils)
        store = module("mlflow.store", db=db)
        return {
            "mlflow": module("mlflow", store=store),
            "mlflow.store": store,
            "mlflow.store.db": db,
            "mlflow.store.db.utils": utils,
            "mlflow.server": module("mlflow.server"),
            "mlflow.server.auth": module("mlflow.server.auth"),
            "mlflow.server.auth.db": module("mlflow.server.auth.db", utils=module("utils", _get_alembic_config=lambda _url: None, migrate=self.migrate)),
            "werkzeug": module("werkzeug"),
            "werkzeug.security": module(
                "werkzeug.security",
                check_password_hash=lambda kept, given: kept == f"hash of {given}",
                generate_password_hash=lambda given: f"hash of {given}",
            ),
            "alembic": module("alembic"),
            "alembic.script": module("alembic.script", ScriptDirectory=SimpleNamespace(from_config=lambda _config: scripts)),
            "sqlalchemy": module(
                "sqlalchemy",
                exc=SimpleNamespace(SQLAlchemyError=Refused),
                text=str,
                inspect=lambda _engine: SimpleNamespace(get_table_names=lambda: self.tables),
            ),
        }


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return the modules of the server's own code that are tested here."""
    return SimpleNamespace(**{name: load(monkeypatch, name) for name in ("folders", "login", "prepare", "schema", "stores", "users")})


def migrate(monkeypatch: pytest.MonkeyPatch, package: SimpleNamespace, database: FakeDatabase, upgrade: bool = False) -> str:
    """Run the decision about a database's schema."""
    for name, module in database.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    said: str = package.schema.migrate(database, upgrade)
    return said


def test_an_empty_database_gets_its_tables_while_no_other_server_may(monkeypatch: pytest.MonkeyPatch, package: SimpleNamespace) -> None:
    database = FakeDatabase("postgresql", "", [])
    assert migrate(monkeypatch, package, database) == f"Made the schema at revision {HEAD}."
    assert database.done == ["pg_advisory_lock", "made", "pg_advisory_unlock"]


def test_a_schema_of_this_release_is_left_alone(monkeypatch: pytest.MonkeyPatch, package: SimpleNamespace) -> None:
    database = FakeDatabase("postgresql", HEAD, ["alembic_version", "runs"])
    assert "is at revision" in migrate(monkeypatch, package, database)
    assert database.done == ["pg_advisory_lock", "pg_advisory_unlock"]


@pytest.mark.parametrize(
    ("revision", "tables", "said"),
    [
        (OLD, ["alembic_version"], "Make a backup"),
        ("new00000", ["alembic_version"], "a newer one made it"),
        ("", ["somebody_elses"], "name an empty one"),
    ],
)
def test_a_schema_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch, package: SimpleNamespace, revision: str, tables: list[str], said: str) -> None:
    database = FakeDatabase("postgresql", revision, tables)
    with pytest.raises(package.stores.StoreError, match=said):
        migrate(monkeypatch, package, database)
    assert "upgraded" not in database.done and "made" not in database.done


def test_an_older_schema_is_brought_up_when_that_is_asked_for(monkeypatch: pytest.MonkeyPatch, package: SimpleNamespace) -> None:
    database = FakeDatabase("postgresql", OLD, ["alembic_version"])
    assert migrate(monkeypatch, package, database, upgrade=True) == f"Brought the schema from revision {OLD} to {HEAD}."
    assert database.done == ["pg_advisory_lock", "upgraded", "pg_advisory_unlock"]


def test_what_a_database_refuses_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch, package: SimpleNamespace) -> None:
    database = FakeDatabase("postgresql", OLD, ["alembic_version"])
    database.in_the_way = 'relation "guardrails" already exists'
    with pytest.raises(package.stores.StoreError) as refused:
        migrate(monkeypatch, package, database, upgrade=True)
    assert str(refused.value) == f"The schema of the backend store could not be brought to revision {HEAD}: {database.in_the_way}"
    assert database.done == ["pg_advisory_lock", "pg_advisory_unlock"]


@pytest.mark.parametrize(
    ("tables", "may_create", "refuses", "said"),
    [
        ([], False, "", 'ALTER DATABASE "mlflow" OWNER TO "m"'),
        (["alembic_version"], True, "permission denied for table alembic_version", "GRANT ALL ON ALL TABLES"),
        (["alembic_version"], True, "connection to server was lost", "connection to server was lost"),
        ([], True, "", ""),
    ],
)
def test_a_database_that_the_user_may_not_use_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, package: SimpleNamespace, tables: list[str], may_create: bool, refuses: str, said: str
) -> None:
    database = FakeDatabase("postgresql", "", tables)
    database.may_create, database.refuses = may_create, refuses
    for name, module in database.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(package.stores, "make_engine", lambda _uri: database)
    monkeypatch.setattr(package.stores, "wait", lambda _questions, _timeout: None)
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "postgresql+psycopg2://m@db/mlflow")
    monkeypatch.setattr(sys, "stderr", printed := io.StringIO())
    assert package.prepare.run(package.prepare.parser("").parse_args(["--lone-server"])) == (1 if said else 0)
    assert said in printed.getvalue() and len(printed.getvalue().splitlines()) == bool(said)


@pytest.mark.parametrize("password", ["Red@hat321#", "a@b/c", "@@@@hat"])
def test_a_password_that_is_not_encoded_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, package: SimpleNamespace, password: str) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", SimpleNamespace())
    with pytest.raises(package.stores.StoreError, match="percent-encoded") as raised:
        package.stores.make_engine(f"postgresql+psycopg2://m:{password}@127.0.0.1/m")
    assert "hat" not in str(raised.value)


@pytest.mark.parametrize("in_the_way", ["", "table guardrails already exists"])
def test_an_embedded_database_is_backed_up_and_put_back_where_a_migration_fails(
    monkeypatch: pytest.MonkeyPatch, package: SimpleNamespace, tmp_path: Path, in_the_way: str
) -> None:
    database = FakeDatabase("sqlite", OLD, ["alembic_version"])
    database.in_the_way, database.url.database = in_the_way, str(tmp_path / "mlflow.db")
    half_done = "CREATE TABLE half_done (number INTEGER)"
    with closing(sqlite3.connect(database.url.database)) as file:
        file.execute("CREATE TABLE runs (number INTEGER)")
    upgrade = database.upgrade

    def change(engine: Any) -> None:
        with closing(sqlite3.connect(database.url.database)) as file:
            file.execute(half_done)
        upgrade(engine)

    monkeypatch.setattr(database, "upgrade", change)
    if in_the_way:
        with pytest.raises(package.stores.StoreError, match=in_the_way):
            migrate(monkeypatch, package, database)
    else:
        assert "The backup is" in migrate(monkeypatch, package, database)
    with closing(sqlite3.connect(database.url.database)) as file:
        tables = [row[0] for row in file.execute("SELECT name FROM sqlite_master ORDER BY name")]
    assert tables == (["runs"] if in_the_way else ["half_done", "runs"])
    assert len(list(tmp_path.glob("mlflow.db.*.bak"))) == (0 if in_the_way else 1)


def prepare_users(monkeypatch: pytest.MonkeyPatch, package: SimpleNamespace, folder: Path, database: FakeDatabase, upgrade: bool = False) -> list[str]:
    """Prepare the store of users."""
    for name, module in database.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(package.stores, "make_engine", lambda _uri: database)
    monkeypatch.setattr(package.stores, "database_problem", lambda _engine, _store: "")
    (folder / "auth.ini").write_text("[mlflow]\ndatabase_uri = postgresql://u:p%%40@db/a\nadmin_username = admin\nadmin_password = 12%%of-a-password\n")
    said: list[str] = package.users.prepare({"MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini")}, 1, HEAD, upgrade)
    return said


def test_an_empty_store_of_users_gets_its_schema_and_its_administrator(monkeypatch: pytest.MonkeyPatch, package: SimpleNamespace, tmp_path: Path) -> None:
    database = FakeDatabase("postgresql", "", [])
    assert prepare_users(monkeypatch, package, tmp_path, database) == [f"Made the schema at revision {HEAD}.", "Made the administrator admin."]
    assert database.done[1] == "migrated to head" and database.done[-2] == "INSERT"
    assert database.given == {"name": "admin", "hash": "hash of 12%of-a-password", "yes": True}


@pytest.mark.parametrize(
    ("row", "said", "last"),
    [
        (("hash of 12%of-a-password", True), [], "SELECT"),
        (("hash of password1234", True), ["Gave the administrator admin the configured password."], "UPDATE"),
        (("hash of 12%of-a-password", False), ["Gave the administrator admin the configured password."], "UPDATE"),
    ],
)
def test_an_administrator_gets_the_configured_password(
    monkeypatch: pytest.MonkeyPatch, package: SimpleNamespace, tmp_path: Path, row: tuple[str, bool], said: list[str], last: str
) -> None:
    database = FakeDatabase("postgresql", HEAD, ["alembic_version_auth", "alembic_version", "users"])
    database.administrator = row
    assert prepare_users(monkeypatch, package, tmp_path, database) == said
    assert database.noted_in == "alembic_version_auth" and database.done[-2] == last


def test_an_older_store_of_users_is_brought_up_when_that_is_asked_for(monkeypatch: pytest.MonkeyPatch, package: SimpleNamespace, tmp_path: Path) -> None:
    database = FakeDatabase("postgresql", OLD, ["alembic_version", "users"])
    with pytest.raises(package.stores.StoreError, match="The schema of the store of users is at revision .* Make a backup"):
        prepare_users(monkeypatch, package, tmp_path, database)
    assert "migrated to head" not in database.done
    assert prepare_users(monkeypatch, package, tmp_path, database, upgrade=True)[0] == f"Brought the schema from revision {OLD} to {HEAD}."


def test_an_installation_without_what_users_need_says_so(monkeypatch: pytest.MonkeyPatch, package: SimpleNamespace, tmp_path: Path) -> None:
    database = FakeDatabase("postgresql", "", [])
    monkeypatch.setattr(database, "modules", lambda: {**FakeDatabase.modules(database), "mlflow.server.auth.db": None})
    with pytest.raises(package.stores.StoreError, match=r"Add Flask-WTF to the lock or the image \(mlflow\[auth\]\)"):
        prepare_users(monkeypatch, package, tmp_path, database)


def test_a_service_without_users_has_nothing_prepared(package: SimpleNamespace) -> None:
    assert package.users.prepare({}, 1, HEAD, False) == [] and package.login.log_in({}) == {}


def start(folder: Path, settings: dict[str, Any], command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run the start script with a stand-in for the preparation of the stores, which fails where a setting says so."""
    (folder / "atlas_mlflow").mkdir()
    (folder / "atlas_mlflow" / "__init__.py").write_text(f"__path__.append({str(LIB / 'atlas_mlflow')!r})\n")
    (folder / "atlas_mlflow" / "prepare.py").write_text(
        "import argparse, os\ndef parser(description):\n    return argparse.ArgumentParser()\ndef run(given):\n    return int(os.environ.get('FAILS', 0))\n"
    )
    (folder / "settings.json").write_text(json.dumps(settings))
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    call = [sys.executable, "-m", "atlas_mlflow.start", "--settings", str(folder / "settings.json"), "--", *command]
    return subprocess.run(call, capture_output=True, text=True, env=environment, cwd=folder, check=False)


def test_the_start_script_becomes_the_server_with_its_settings(tmp_path: Path) -> None:
    show = [sys.executable, "-c", "import os, sys; print(os.environ['TEXT'], os.environ['TRUTH'], os.environ['NUMBER'], sys.argv[1:])", "--host", "a b\nc"]
    done = start(tmp_path, {"TEXT": 'a $b "c"', "TRUTH": True, "NUMBER": 5}, show)
    assert done.stdout == "a $b \"c\" true 5 ['--host', 'a b\\nc']\n", done.stderr


def test_the_start_script_does_not_start_a_server_whose_stores_are_not_ready(tmp_path: Path) -> None:
    done = start(tmp_path, {"FAILS": 3}, [sys.executable, "-c", "print('started')"])
    assert (done.returncode, done.stdout) == (3, "")


def check_health(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the health check."""
    environment = {**os.environ, "PYTHONPATH": str(LIB)}
    return subprocess.run([sys.executable, "-m", "atlas_mlflow.health", *arguments], capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (403, 1)])
def test_the_health_check_asks_the_api(tmp_path: Path, status: int, code: int) -> None:
    asked = []
    users = tmp_path / "auth.ini"
    users.write_text("[mlflow]\ndatabase_uri = sqlite:///x\nadmin_username = admin\nadmin_password = 12%%of-a-password\n")

    class Api(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append((self.path, self.headers["Authorization"]))
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Api) as api:
        threading.Thread(target=api.handle_request, daemon=True).start()
        done = check_health(f"http://127.0.0.1:{api.server_port}/prefix", str(users))
    assert done.returncode == code, done.stderr
    login = base64.b64encode(b"admin:12%of-a-password").decode()
    assert asked == [("/prefix/api/2.0/mlflow/experiments/search", f"Basic {login}")]
    assert (str(status) in done.stderr) == (code == 1)


def test_the_health_check_fails_where_nothing_listens() -> None:
    done = check_health("http://127.0.0.1:9")
    assert done.returncode == 1 and "does not answer" in done.stderr


#: Prints what the module finds wrong. Its text is an argument, as the user who is nobody may not be able to read the file.
ASK_FOLDERS = """
import json, sys, types
folders = types.ModuleType("folders")
exec(sys.argv[1], folders.__dict__)
print(json.dumps(folders.problems(json.loads(sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4])))
"""


def folder_problems(folders: list[Path], environment: dict[str, str], users: str = "") -> list[str]:
    """Return what the module finds wrong with folders, as another user if this one is root, who could write to each."""
    nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    text = (LIB / "atlas_mlflow/folders.py").read_text(encoding="utf-8")
    command = ["/usr/bin/python3", "-c", ASK_FOLDERS, text, json.dumps([str(folder) for folder in folders]), json.dumps(environment), users]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", env={"USER": "mlflow"}, **nobody)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def open_folder() -> Any:
    """Return a folder that everybody may enter and write to."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        yield Path(name)


def test_a_folder_that_the_service_cannot_write_to_is_named_with_the_way_out(open_folder: Path) -> None:
    assert folder_problems([open_folder], {}) == []
    closed, hidden = open_folder / "closed", open_folder / "hidden" / "inner"
    closed.mkdir(0o555)
    hidden.mkdir(parents=True)
    hidden.parent.chmod(0o000)
    owner = pwd.getpwuid(os.geteuid()).pw_name
    one, two = folder_problems([closed, hidden], {})
    assert one == (
        f"The folder {closed} cannot be written by the user mlflow: it belongs to {owner} and has mode 0555. Run `chown -R mlflow: {closed}` on the host."
    )
    assert two.startswith(f"The folder {hidden} cannot be reached by the user mlflow: Permission denied.")
    hidden.parent.chmod(0o700)


def test_a_database_or_an_experiment_of_another_user_is_named(open_folder: Path) -> None:
    database, experiment = open_folder / "tracking.db", open_folder / "artifacts" / "7"
    experiment.mkdir(0o755, parents=True)
    experiment.parent.chmod(0o777)
    (experiment.parent / "lost+found").mkdir(0o000)
    database.touch(0o444)
    if os.geteuid():
        experiment.chmod(0o555)
    settings = {"MLFLOW_BACKEND_STORE_URI": f"sqlite:///{database}?timeout=20", "MLFLOW_ARTIFACTS_DESTINATION": f"file://{experiment.parent}"}
    found = folder_problems([open_folder, experiment.parent], settings)
    assert [problem.split(" cannot")[0] for problem in found] == [f"The folder {experiment}", f"The file {database}"]
    # MLflow's basic-auth app could read the users, and the administrator would not get the configured password.
    (users,) = folder_problems([open_folder], {}, f"sqlite:///{database}")
    assert users.startswith(f"The file {database} cannot be written by the user mlflow")
    assert folder_problems([open_folder], {}, "postgresql+psycopg2://u:p@db/mlflow_auth") == []


def test_the_file_of_the_users_is_checked_before_the_start(package: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "mlflow-auth.ini"
    config.write_text("[mlflow]\ndatabase_uri = sqlite:////srv/basic_auth.db\nadmin_username = admin\nadmin_password = p\n")
    monkeypatch.setattr(package.folders, "problems", lambda _folders, _environment, users: [f"The users are {users or 'none'}."])
    given = package.prepare.parser("").parse_args([])
    for environment, said in (({"MLFLOW_AUTH_CONFIG_PATH": str(config)}, "sqlite:////srv/basic_auth.db"), ({}, "none")):
        with pytest.raises(package.stores.StoreError, match=f"^The users are {said}[.]$"):
            package.prepare.prepare(environment, given)


def test_metrics_of_a_former_start_are_removed_and_nothing_else_is(package: SimpleNamespace, tmp_path: Path) -> None:
    names = ["counter_12.db", "histogram_12.db", "gauge_max_7.db", "gauge_livesum_7.db", "mlflow.db", "counter_12.db.bak", "counter_x.db", "auth.db"]
    for name in names:
        (tmp_path / name).write_text("")
    package.folders.forget_metrics(str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == set(names[4:])
    package.folders.forget_metrics(str(tmp_path / "none"))


def test_what_an_upload_left_is_removed_before_the_start(package: SimpleNamespace, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("a folder's link does not lead the removal away")
    spool = tmp_path / "tmp"
    (spool / "tmp1" / "deep").mkdir(parents=True)
    (spool / "tmp1" / "deep" / "part").write_text("half an upload")
    (spool / "link").symlink_to(tmp_path)
    package.folders.empty(str(spool))
    assert list(spool.iterdir()) == [] and kept.exists()
