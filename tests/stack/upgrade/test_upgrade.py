"""A server that is taken from the oldest release to the newest: by an upgrade that fails, by some that are cut short, and by one that is not.

The tests build on one another, in this order.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from stack.support import ask, assert_kept_run, base_url, cut_short, playbook_command, query, run_playbook
from testinfra.host import Host

OLD, NEW = "3.0.1", "3.17.2"


@pytest.fixture(scope="module")
def command(server_name: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the command that upgrades: the scenario's inventory, which names the new release now."""
    over = tmp_path_factory.mktemp("inventory") / "release.yml"
    over.write_text(f"mlflow_servers: {{hosts: {{{server_name}: {{mlflow_server_version: {NEW}}}}}}}\n")
    return playbook_command("upgrade.yml", over)


def release(server: Host) -> str:
    """Return the release that answers."""
    return ask(server, f"{base_url('localhost')}/version").body


def test_a_release_given_on_the_command_line_is_refused(server: Host, command: list[str]) -> None:
    done = run_playbook(command, "--extra-vars", f"mlflow_server_version={NEW}")
    assert done.returncode and "Set mlflow_server_version in the inventory" in re.sub(r"\s+", " ", done.stdout), done.stdout
    assert release(server) == OLD


def test_an_upgrade_that_fails_is_rolled_back_with_its_database(server: Host, command: list[str]) -> None:
    revision = query(server, "SELECT version_num FROM alembic_version")
    # A table in the way of one that a later release makes, when others have been changed already.
    query(server, "CREATE TABLE entity_associations (in_the_way int)")
    done = run_playbook(command)
    said = re.sub(r"\s+", " ", done.stdout)
    assert done.returncode and f"The upgrade to {NEW} failed, and was rolled back: release {OLD} serves again" in said, done.stdout
    assert "entity_associations" in said
    assert release(server) == OLD
    assert query(server, "SELECT version_num FROM alembic_version") == revision
    assert_kept_run(server)
    query(server, "DROP TABLE entity_associations")


@pytest.mark.parametrize(
    "task",
    [
        "atlas.mlflow.mlflow_server : Stop the service",
        "atlas.mlflow.postgres : Keep the database",
        "atlas.mlflow.mlflow_server : Make the release the current one, and write the unit and the settings with secrets that systemd reads as root",
        "atlas.mlflow.mlflow_server : Start it, anew where something it runs with has changed",
        "atlas.mlflow.mlflow_server : Ask the tracking server on its own host",
    ],
)
def test_an_upgrade_may_be_cut_short_anywhere(server: Host, command: list[str], tmp_path: Path, task: str) -> None:
    cut_short([server], command, task, tmp_path / "log")
    assert server.file("/etc/atlas-mlflow/upgrade-from").content_string.strip() == OLD


def test_and_is_run_again_to_its_end(server: Host, command: list[str]) -> None:
    done = run_playbook(command)
    assert done.returncode == 0 and f"Release {NEW} serves, where {OLD} did." in re.sub(r"\s+", " ", done.stdout), done.stdout
    assert release(server) == NEW
    assert_kept_run(server)
    assert not server.file("/etc/atlas-mlflow/upgrade-from").exists
    # A start changes no schema from now on.
    assert "--upgrade" not in server.check_output("systemctl cat mlflow-server.service")


def test_a_second_upgrade_changes_nothing(command: list[str]) -> None:
    done = run_playbook(command)
    assert done.returncode == 0 and set(re.findall(r"changed=\d+", done.stdout)) == {"changed=0"}, done.stdout
