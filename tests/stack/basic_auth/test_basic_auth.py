"""Users who log in: who is let in, and to what."""

from __future__ import annotations

import pytest
from stack.support import administrator, ask, base_url, login_of, query
from testinfra.host import Host

API = "/api/2.0/mlflow"
SEARCH = f"{API}/experiments/search?max_results=1"


def experiment(client: Host, base: str, name: str, who: tuple[str, str]) -> str:
    """Return an experiment's number, made by a user where it is not there."""
    found = ask(client, f"{base}{API}/experiments/get-by-name?experiment_name={name}")
    if found.status == 200:
        return str(found.json()["experiment"]["experiment_id"])
    return str(ask(client, f"{base}{API}/experiments/create", method="POST", body={"name": name}, login=who).json()["experiment_id"])


@pytest.mark.parametrize(
    "path",
    [
        SEARCH,
        "/",
        "/version",
        f"{API}/users/get?username=admin",
        "/ajax-api/2.0/mlflow/experiments/search?max_results=1",
        "/api/2.0/mlflow-artifacts/artifacts?path=0",
        "/graphql",
        "/signup",
    ],
)
def test_nobody_is_answered_without_a_login(client: Host, server_name: str, path: str) -> None:
    answer = ask(client, f"{base_url(server_name)}{path}", login=None)
    assert answer.status == 401, answer


def test_the_health_path_is_open_and_says_nothing(client: Host, server_name: str) -> None:
    answer = ask(client, f"{base_url(server_name)}/health", login=None)
    assert (answer.status, answer.body) == (200, "OK")


@pytest.mark.parametrize("who", [("admin", "password1234"), ("admin", "a-wrong-password"), ("admin", ""), ("nobody", "a-wrong-password"), ("", "")])
def test_a_wrong_login_is_refused(client: Host, server_name: str, who: tuple[str, str]) -> None:
    assert ask(client, f"{base_url(server_name)}{SEARCH}", login=who).status == 401


def test_a_reader_reads_and_does_not_write(client: Host, server_name: str) -> None:
    base, who = base_url(server_name), login_of("reader", "reader_anew")
    shared = experiment(client, base, "shared", administrator())  # type: ignore[arg-type]
    assert ask(client, f"{base}{API}/experiments/get?experiment_id={shared}", login=who).status == 200
    for call, body in (("runs/create", {"experiment_id": shared}), ("experiments/update", {"experiment_id": shared, "new_name": "mine"})):
        refused = ask(client, f"{base}{API}/{call}", method="POST", body=body, login=who)
        assert refused.status == 403, (call, refused)


def test_a_writer_logs_a_run_with_an_artifact_where_it_may_and_nowhere_else(client: Host, server_name: str) -> None:
    base, who = base_url(server_name), login_of("writer")
    shared = experiment(client, base, "shared", administrator())  # type: ignore[arg-type]
    closed = experiment(client, base, "closed", administrator())  # type: ignore[arg-type]
    run = ask(client, f"{base}{API}/runs/create", method="POST", body={"experiment_id": shared}, login=who).json()["run"]["info"]
    root = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
    stored = ask(client, f"{base}/api/2.0/mlflow-artifacts/artifacts/{root}/a.json", method="PUT", body={"by": "writer"}, login=who)
    assert stored.status == 200, stored
    # A body passes the application by, and its permissions count all the same.
    artifact, page, reader = f"{base}/api/2.0/mlflow-artifacts/artifacts/{root}/a.json", f"{base}/get-artifact?run_id={run['run_id']}&path=a.json", "reader"
    for login, expected in ((login_of(reader, "reader_anew"), 403), ((reader, "a-wrong-password"), 401), (None, 401)):
        assert ask(client, artifact, method="PUT", body={"by": "another"}, login=login).status == expected
    for url in (artifact, page):
        assert ask(client, url, login=login_of(reader, "reader_anew")).json() == {"by": "writer"}
        assert ask(client, url, login=None).status == 401
    assert ask(client, f"{base}{API}/runs/create", method="POST", body={"experiment_id": closed}, login=who).status == 403
    assert ask(client, f"{base}{API}/experiments/get?experiment_id={closed}", login=who).status == 403
    own = ask(client, f"{base}{API}/runs/create", method="POST", body={"experiment_id": closed})
    assert own.status == 200
    root = own.json()["run"]["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/")
    secret = f"{base}/api/2.0/mlflow-artifacts/artifacts/{root}/a.json"
    assert ask(client, secret, method="PUT", body={"by": "admin"}).status == 200
    for method, body in (("GET", None), ("PUT", {"by": "writer"})):
        assert ask(client, secret, method=method, body=body, login=who).status == 403
    assert ask(client, secret).json() == {"by": "admin"}


def test_only_a_writer_of_a_prompt_registers_a_version(client: Host, server_name: str) -> None:
    base, tag = f"{base_url(server_name)}{API}", {"key": "mlflow.prompt.is_prompt", "value": "true"}
    made = ask(client, f"{base}/registered-models/create", method="POST", body={"name": "prompt", "tags": [tag]})
    assert made.status == 200 or "already exists" in made.body, made
    version = {"name": "prompt", "source": "dummy-source", "tags": [tag, {"key": "mlflow.prompt.text", "value": "Say {{ word }}."}]}
    for login, status in ((login_of("writer"), 200), (login_of("reader", "reader_anew"), 403)):
        registered = ask(client, f"{base}/model-versions/create", method="POST", body=version, login=login)
        assert registered.status == status, (login[0], registered)


def test_only_an_administrator_makes_users(client: Host, server_name: str) -> None:
    body = {"username": "eve", "password": "eves-own-password"}
    refused = ask(client, f"{base_url(server_name)}{API}/users/create", method="POST", body=body, login=login_of("writer"))
    assert refused.status == 403, refused


def test_users_are_in_postgresql_in_a_database_of_their_own(postgres: Host, server: Host) -> None:
    assert query(postgres, "SELECT datname FROM pg_database WHERE datname LIKE 'mlflow%' ORDER BY 1").split() == ["mlflow", "mlflow_auth"]
    assert query(postgres, "SELECT count(*) FROM pg_tables WHERE tablename = 'users' AND schemaname = 'public'") == "0"
    assert not server.file("/var/lib/mlflow/auth.db").exists
    assert server.run("find / -xdev -name 'basic_auth.db' -not -path '/proc/*'").stdout == ""


def test_what_the_application_is_told_is_for_the_service_alone(server: Host) -> None:
    told = server.file("/etc/atlas-mlflow/mlflow-auth.ini")
    assert (told.user, told.group, told.mode) == ("mlflow", "mlflow", 0o400)
