"""People log in by an OpenID provider: the whole code flow with its login page and its page for consent, and what is refused on the way."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from stack.support import PORT, ask, authority, run_python, secrets_folder
from testinfra.host import Host

BROWSER = (Path(__file__).parent / "browser.py").read_text(encoding="utf-8")
PROVIDER = "https://oidc-provider:8443"
#: Gives the role's account a password in a store of its own, under one name and another, and under a person's. Runs by the release's Python.
ACCOUNTS = """
import json, sys, tempfile
from atlas_mlflow import schema, stores, users_oidc
from atlas_mlflow.login import Config
from mlflow_oidc_auth.db.models import SqlUser
from sqlalchemy.orm import Session
json.load(sys.stdin)
with tempfile.TemporaryDirectory() as folder:
    uri = f"sqlite:///{folder}/users.db"
    engine = stores.make_engine(uri)
    print(schema.migrate(engine, False, users_oidc.read_schema), file=sys.stderr)
    given = [("one", "p" * 12), ("one", "p" * 12), ("one", "q" * 12), ("two", "q" * 12)]
    said = [users_oidc.give_password(engine, Config("oidc", uri, *login)) for login in given]
    with Session(engine) as session, session.begin():
        session.add(SqlUser(username="person", display_name="A person"))
    try:
        said.append(users_oidc.give_password(engine, Config("oidc", uri, "person", "q" * 12)))
    except stores.StoreError as error:
        said.append(str(error))
    with Session(engine) as session:
        print(json.dumps([said, {user.username: [user.is_admin, user.active] for user in session.query(SqlUser)}]))
"""
SEARCH = "api/2.0/mlflow/experiments/search?max_results=10"


def person(client: Host, server_name: str, login: str, **more: Any) -> dict[str, Any]:
    """Let a person log in from the client host, and return what came of it.

    :param more: What is not as usual: ``tampered`` with on the way back, another ``answer`` to the question for consent, an ``experiment`` to make.
    """
    provider = (secrets_folder().parent / ".provider" / "provider.pem").read_text(encoding="utf-8")
    given = {
        "server": f"https://{server_name}:{PORT}",
        "provider": PROVIDER,
        "authorities": authority() + provider,
        "login": login,
        "password": (secrets_folder() / "oidc_person_password").read_text(encoding="utf-8").strip(),
        "answer": "accept",
        "tampered": {},
        "experiment": "",
        **more,
    }
    result: dict[str, Any] = run_python(client, BROWSER, given)
    return result


def pages(result: dict[str, Any]) -> list[str]:
    """Return the pages that a person came by, without their queries."""
    return [url.split("?")[0] for _status, url in result["visited"]]


@pytest.fixture(scope="module")
def ann(client: Host, server_name: str) -> dict[str, Any]:
    """Return what came of the login of a person who may, and who logs a run and makes a token."""
    ends = (datetime.now(UTC) + timedelta(days=30)).isoformat()
    return person(client, server_name, "ann", experiment=f"of-ann-{time.time_ns()}", token_ends=ends)


def test_a_person_logs_in_by_the_providers_pages_and_logs_a_run(ann: dict[str, Any], server_name: str) -> None:
    here = f"https://{server_name}:{PORT}"
    way = [f"{here}/login", f"{PROVIDER}/oauth/authorize", f"{PROVIDER}/login", f"{PROVIDER}/auth/password", f"{here}/callback"]
    assert list(dict.fromkeys(pages(ann)))[: len(way)] == way
    assert "error" not in ann["ended"]
    assert (ann["search"], ann["artifact"]) == (200, "what a person writes")


def test_a_person_is_no_administrator_and_is_out_after_the_logout(ann: dict[str, Any]) -> None:
    assert ann["users"] == 403
    assert ann["after_logout"] == 401


def test_a_token_of_the_person_lets_a_program_in(ann: dict[str, Any], client: Host, server_name: str) -> None:
    url = f"https://{server_name}:{PORT}/{SEARCH}"
    right, wrong = ["ann@example.org", ann["token"]["token"]], ["ann@example.org", ann["token"]["token"][:-1] + "?"]
    assert ann["experiment"] in [one["experiment_id"] for one in ask(client, url, login=right).json()["experiments"]]
    assert ask(client, url, login=wrong).status == 401


def test_a_person_who_is_no_longer_active_is_out_at_the_next_request(ann: dict[str, Any], client: Host, server: Host, server_name: str) -> None:
    url, login = f"https://{server_name}:{PORT}/{SEARCH}", ["ann@example.org", ann["token"]["token"]]
    change = "import sqlite3; base = sqlite3.connect('/home/mlflow/data/oidc.db'); base.execute('{}'); base.commit()"
    seen = []
    for active in (0, 1):
        server.check_output("python3 -c %s", change.format(f'update users set active = {active} where username like "ann%"'))
        seen.append(ask(client, url, login=login).status)
    assert seen == [401, 200]


def test_a_changed_right_counts_at_the_next_request_on_each_worker(ann: dict[str, Any], client: Host, server: Host, server_name: str) -> None:
    """The database is changed by another process, so no worker is told."""
    base, login = f"https://{server_name}:{PORT}", ["ann@example.org", ann["token"]["token"]]
    change = "import sqlite3; base = sqlite3.connect('/home/mlflow/data/oidc.db'); base.execute({!r}); base.commit()"
    seen = []
    for permission in ("MANAGE", "NO_PERMISSIONS", "MANAGE"):
        statement = f"update experiment_permissions set permission = '{permission}' where experiment_id = '{ann['experiment']}'"
        server.check_output("python3 -c %s", change.format(statement))
        # Enough connections for several workers to get one.
        statuses = {ask(client, f"{base}/api/2.0/mlflow/experiments/get?experiment_id={ann['experiment']}", login=login).status for _ in range(6)}
        listed = {ann["experiment"] in [one["experiment_id"] for one in ask(client, f"{base}/{SEARCH}", login=login).json()["experiments"]] for _ in range(6)}
        seen.append((statuses, listed))
    assert seen == [({200}, {True}), ({403}, {False}), ({200}, {True})]


def test_the_release_of_the_plugin_is_known(server: Host, ann: dict[str, Any]) -> None:
    """A release that is not known would be slow: one request after the other in each worker."""
    log = server.check_output("journalctl --unit mlflow-server --no-pager --output cat")
    assert "Included MLflow" in log or "mounted at /" in log or "Application startup complete" in log
    assert "release of the plugin" not in log and "handles each request, because its form in this release is not known" not in log


def test_a_member_of_the_administrators_group_is_administrator(client: Host, server_name: str) -> None:
    assert person(client, server_name, "eve")["users"] == 200


def test_a_person_of_another_group_is_refused(client: Host, server_name: str) -> None:
    bob = person(client, server_name, "bob")
    assert "not+allowed+to+login" in bob["ended"]
    assert bob["search"] == 401


@pytest.mark.parametrize("tampered", [{"state": "of-another-login"}, {"code": "never-given-out"}])
def test_what_comes_back_from_the_provider_is_refused_when_it_is_not_what_it_gave(client: Host, server_name: str, tampered: dict[str, str]) -> None:
    result = person(client, server_name, "ann", tampered=tampered)
    assert f"https://{server_name}:{PORT}/callback" in pages(result)
    assert "error" in result["ended"]
    assert result["search"] == 401


def test_a_person_who_does_not_consent_is_not_let_in(client: Host, server_name: str) -> None:
    result = person(client, server_name, "dan", answer="deny")
    assert [200, f"{PROVIDER}/oauth/authorize"] in [[status, url.split("?")[0]] for status, url in result["visited"]]
    assert any("/callback?error=access_denied" in url for _status, url in result["visited"])
    assert "error" in result["ended"]
    assert result["search"] == 401


@pytest.mark.parametrize("path", [SEARCH, "ajax-" + SEARCH, "api/3.0/mlflow/server-info", "api/2.0/mlflow-artifacts/artifacts", "graphql", ""])
def test_nobody_is_let_in_without_a_login(client: Host, server_name: str, path: str) -> None:
    assert ask(client, f"https://{server_name}:{PORT}/{path}", login=None).status == 401


def test_the_account_of_the_role_has_one_password(client: Host, server_name: str) -> None:
    url = f"https://{server_name}:{PORT}/{SEARCH}"
    for password in ("password1234", ""):
        assert ask(client, url, login=["admin", password]).status == 401
    assert ask(client, url).status == 200


def test_the_account_of_the_role_is_one_and_never_a_persons(server: Host) -> None:
    said, accounts = run_python(server, ACCOUNTS, None, python="/opt/mlflow/current/bin/python")
    assert [line[:4] for line in said[:4]] == ["Gave", "", "Gave", "Gave"]
    assert "person is a person, who logs in by the provider: set mlflow_server_admin_user to another name" in said[4]
    assert accounts == {"one": [True, False], "two": [True, True], "person": [False, True]}


def test_data_are_in_the_folders_that_are_named(server: Host) -> None:
    """The sandbox of the unit opens the one home folder, and no other."""
    assert {"mlflow.db", "oidc.db"} <= set(server.file("/home/mlflow/data").listdir())
    assert server.file("/srv/mlflow artifacts").user == "mlflow" and server.file("/srv/mlflow artifacts").listdir()
    pid = server.check_output("systemctl show --property MainPID --value mlflow-server.service")
    server.check_output("mkdir -p /home/somebody")
    server.check_output("grep '^tmpfs /home tmpfs ro,' /proc/%s/mounts", pid)
    assert server.check_output("ls -A /proc/%s/root/home /proc/%s/root/home/mlflow", pid, pid).split() == [
        f"/proc/{pid}/root/home:",
        "mlflow",
        f"/proc/{pid}/root/home/mlflow:",
        "data",
    ]
