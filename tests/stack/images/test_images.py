"""A server in a container that goes from one source of its image to another, on the same data. The tests build on one another, in this order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from stack.support import ask, assert_kept_run, assert_unchanged, base_url, play, playbook, release, said
from testinfra.host import Host

OLD, NEW = "3.5.1", "3.17.2"
REGISTRY = "127.0.0.1:5000/mlflow/mlflow"
DATABASE = "/var/lib/mlflow/mlflow.db"


def command(name: str, server_name: str, folder: Path, **variables: str) -> list[str]:
    """Return the command that runs a playbook with the scenario's inventory, which names the new release."""
    return playbook(name, {"mlflow_servers": {"hosts": {server_name: {"mlflow_server_version": NEW, **variables}}}}, folder)


def container(server: Host, what: str) -> str:
    """Return what Docker says of the server's container."""
    return server.check_output("docker inspect --format %s atlas-mlflow-server", f"{{{{{what}}}}}")


def query(server: Host, sql: str) -> str:
    """Return what the embedded database answers, and keep what is changed."""
    script = "import sqlite3, sys; base = sqlite3.connect(sys.argv[1]); print(base.execute(sys.argv[2]).fetchall()); base.commit()"
    return server.check_output("python3 -c %s %s %s", script, DATABASE, sql)


def assert_metrics(server: Host) -> None:
    """See that Prometheus finds metrics of the requests."""
    answer = ask(server, f"{base_url('localhost')}/metrics")
    assert answer.status == 200 and "mlflow_http_request_total{" in answer.body, answer


@pytest.fixture(scope="module")
def built(server: Host) -> str:
    """Return the image that was built for the old release."""
    (name,) = server.check_output("docker image ls --format '{{.Repository}}:{{.Tag}}' atlas-mlflow/mlflow").split()
    assert name.rpartition("-")[0] == f"atlas-mlflow/mlflow:{OLD}"
    return name


def test_the_drivers_were_added_to_the_image_that_had_none(server: Host, built: str) -> None:
    for image, code in ((f"{REGISTRY}:v{OLD}", 1), (built, 0)):
        assert server.run("docker run --rm --entrypoint python %s -c 'import psycopg2, psycopg, boto3'", image).rc == code, image
    assert_metrics(server)


def test_an_upgrade_that_fails_goes_back_to_the_image_and_the_database(server: Host, server_name: str, built: str, tmp_path: Path) -> None:
    revision = query(server, "SELECT version_num FROM alembic_version")
    # A table in the way of one that the new release makes, when others have been changed already.
    query(server, "CREATE TABLE guardrails (in_the_way int)")
    done = play(command("upgrade", server_name, tmp_path))
    assert done.returncode and f"The upgrade to {NEW} failed, and was rolled back: release {OLD} serves again" in said(done), done.stdout
    assert "guardrails" in said(done)
    assert (release(server), container(server, ".Config.Image")) == (OLD, built)
    assert query(server, "SELECT version_num FROM alembic_version") == revision
    assert_kept_run(server)
    query(server, "DROP TABLE guardrails")


def test_an_upgrade_switches_the_image_to_the_variant_that_has_drivers(server: Host, server_name: str, tmp_path: Path) -> None:
    done = play(command("upgrade", server_name, tmp_path))
    assert done.returncode == 0 and f"Release {NEW} replaced {OLD}." in said(done), done.stdout
    assert (release(server), container(server, ".Config.Image")) == (NEW, f"{REGISTRY}:v{NEW}-full")
    assert_kept_run(server)
    assert_metrics(server)
    # A start changes no schema from now on.
    assert "--upgrade" not in container(server, "json .Args")


def test_a_second_upgrade_changes_nothing(server_name: str, tmp_path: Path) -> None:
    assert_unchanged(play(command("upgrade", server_name, tmp_path)))


def test_a_custom_image_runs_by_its_digest(server: Host, server_name: str, tmp_path: Path) -> None:
    tag, before, content = (container(server, what) for what in (".Config.Image", ".Id", ".Image"))
    digest = server.check_output("docker image inspect --format '{{index .RepoDigests 0}}' %s", tag)
    # So that it has to be fetched.
    server.check_output("docker image rm --force %s", tag)
    done = play(command("site", server_name, tmp_path, mlflow_server_image_source="custom", mlflow_server_image=digest))
    assert done.returncode == 0, done.stdout
    assert container(server, ".Config.Image") == digest and re.fullmatch(f"{REGISTRY}@sha256:[0-9a-f]+", digest)
    assert (container(server, ".Id") != before, container(server, ".Image")) == (True, content)
    assert_kept_run(server)


def test_artifacts_are_in_the_folder_that_is_named(server: Host) -> None:
    """And not in a layer of the container, which goes with it."""
    assert server.check_output("find /srv/mlflow/artifacts -name kept.txt -exec cat {} +") == "written by the oldest release"
