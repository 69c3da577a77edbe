"""A server with the embedded stores moves to PostgreSQL and MinIO with its runs, users, models and artifacts. A move that fails changes nothing.

The tests build on one another, in this order.
"""

from __future__ import annotations

from typing import Any

import pytest
from contents import ADA, URL, Contents, search_as
from stack.support import assert_unchanged, play, playbook, said
from testinfra.host import Host

DATA = "/var/lib/mlflow"
PASSWORD = "password-of-admin"


def digests(server: Host) -> str:
    """Return the SHA-256 of each file of the embedded stores."""
    return server.check_output(f"find {DATA}/tracking.db {DATA}/auth.db {DATA}/artifacts -type f -exec sha256sum {{}} + | sort")


@pytest.fixture(scope="module")
def embedded(server_name: str) -> dict[str, Any]:
    """Return the settings of the server on its embedded stores."""
    users = [dict(zip(("name", "password"), ADA))]
    return {"mlflow_server_auth": "basic", "mlflow_server_admin_password": PASSWORD, "mlflow_server_users": users}


@pytest.fixture(scope="module")
def contents(server: Host) -> Contents:
    """Return the tracking server as a client on its host sees it."""
    return Contents(server, "/opt/mlflow/current/bin/python", URL, PASSWORD)


@pytest.fixture(scope="module")
def before(contents: Contents, server_name: str, embedded: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Give the server users and data, and return what a client sees of them."""
    done = play(playbook("site", {"mlflow_servers": {"hosts": {server_name: embedded}}}, tmp_path_factory.mktemp("before")))
    assert done.returncode == 0, done.stdout
    contents.seed()
    return contents.described()


@pytest.fixture(scope="module")
def command(server_name: str, embedded: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the command of the move: the same host is in the groups of the stores."""
    # The scenario names its SQLite file, which would stay the backend store.
    uri = "{{ _atlas_mlflow_plan.backend_store | atlas.mlflow.with_password(lookup('atlas.mlflow.secret', 'postgres_password')) }}"
    stores = {group: {"hosts": {server_name: {}}} for group in ("postgres", "minio")}
    over = {"mlflow_servers": {"hosts": {server_name: {**embedded, "mlflow_server_backend_store_uri": uri}}}, **stores}
    return playbook("move_stores", over, tmp_path_factory.mktemp("inventory"))


def test_a_check_run_says_what_would_move(before: Any, command: list[str]) -> None:
    done = play(command, "--check")
    assert done.returncode == 0, done.stdout
    assert f"from the file {DATA}/tracking.db to the postgresql database mlflow" in said(done), done.stdout
    assert f"from the folder {DATA}/artifacts to the bucket mlflow" in said(done), done.stdout
    assert f"from the file {DATA}/auth.db to the postgresql database mlflow_auth" in said(done), done.stdout
    assert_unchanged(done)


def test_a_server_that_cannot_be_verified_gets_its_former_stores_back(server: Host, contents: Contents, before: Any, command: list[str]) -> None:
    unit = server.file("/etc/default/mlflow-server").content_string
    # Nothing answers there, which is seen after the switch.
    done = play(command, "--extra-vars", '{"mlflow_server_url": "http://localhost:5999", "mlflow_server_start_timeout": 30}')
    # The same address is asked on the way back.
    assert done.returncode and "the server serves its former stores again, which are as they were. But it does not verify" in said(done), done.stdout
    assert server.file("/etc/default/mlflow-server").content_string == unit
    assert contents.described() == before
    assert not server.file("/etc/atlas-mlflow/move.json").exists


def test_everything_moves_and_the_former_stores_stay(server: Host, contents: Contents, before: Any, command: list[str]) -> None:
    files = digests(server)
    done = play(command)
    assert done.returncode == 0, done.stdout
    settings = server.file("/etc/default/mlflow-server").content_string
    assert "postgresql+psycopg2://" in settings and 'MLFLOW_ARTIFACTS_DESTINATION="proxied-s3://mlflow"' in settings and "sqlite" not in settings
    assert contents.described() == before
    assert search_as(server, *ADA) == 200
    assert search_as(server, ADA[0], "wrong") == 401
    assert digests(server) == files
    assert not server.file("/etc/atlas-mlflow/move.json").exists


def test_the_next_experiment_gets_a_new_number(contents: Contents, before: Any) -> None:
    assert contents.next_experiment("after the move") > max(int(number) for number, _name, _time in before["experiments"])


def test_a_second_run_moves_nothing(server: Host, command: list[str]) -> None:
    done = play(command)
    assert done.returncode == 0 and "No store of" in said(done), done.stdout
    assert_unchanged(done)
