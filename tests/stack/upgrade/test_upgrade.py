"""A server that is taken from the oldest release to the newest: by an upgrade that fails, by some that are cut short, and by one that is not.

The tests build on one another, in this order.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stack.support import ask, assert_kept_run, base_url, query
from testinfra.host import Host

ROOT = Path(__file__).resolve().parents[3]
OLD, NEW = "3.0.1", "3.17.2"
#: Seconds that a playbook may take to come to a task, or to its end.
PATIENCE = 300


@pytest.fixture(scope="module")
def command(server_name: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the command that upgrades: the scenario's inventory, which names the new release now."""
    over = tmp_path_factory.mktemp("inventory") / "release.yml"
    over.write_text(f"mlflow_servers: {{hosts: {{{server_name}: {{mlflow_server_version: {NEW}}}}}}}\n")
    inventory = os.environ["MOLECULE_INVENTORY_FILE"]
    playbook = str(ROOT / "playbooks" / "upgrade.yml")
    return [str(Path(sys.executable).parent / "ansible-playbook"), "--inventory", os.path.dirname(inventory), "--inventory", str(over), playbook]


def upgrade(command: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an upgrade to its end."""
    return subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, env={**os.environ, "ANSIBLE_NOCOLOR": "1"})


def cut_short(server: Host, command: list[str], task: str, output: Path) -> None:
    """Run an upgrade until it comes to a task, kill it there with all that it started on this machine, and let what it left on the host end.

    A module that Ansible has sent there goes on by itself: a verification would meet the next one's, which has the same experiment.
    """
    with output.open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True, env={**os.environ, "ANSIBLE_NOCOLOR": "1"})
    deadline = time.monotonic() + PATIENCE
    while f"TASK [{task}]" not in output.read_text() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert f"TASK [{task}]" in output.read_text(), output.read_text()[-3000:]
    # A module comes through its Python's input, so that there is no argument.
    while server.run("pgrep --full --exact '(/usr/bin/)?python3([.][0-9]+)?'").rc == 0 and time.monotonic() < deadline:
        time.sleep(0.5)


def release(server: Host) -> str:
    """Return the release that answers."""
    return ask(server, f"{base_url('localhost')}/version").body


def test_a_release_given_on_the_command_line_is_refused(server: Host, command: list[str]) -> None:
    done = upgrade(command, "--extra-vars", f"mlflow_server_version={NEW}")
    assert done.returncode and "Set mlflow_server_version in the inventory" in re.sub(r"\s+", " ", done.stdout), done.stdout
    assert release(server) == OLD


def test_an_upgrade_that_fails_is_rolled_back_with_its_database(server: Host, command: list[str]) -> None:
    revision = query(server, "SELECT version_num FROM alembic_version")
    # A table in the way of one that a later release makes, when others have been changed already.
    query(server, "CREATE TABLE entity_associations (in_the_way int)")
    done = upgrade(command)
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
    cut_short(server, command, task, tmp_path / "log")
    assert server.file("/etc/atlas-mlflow/upgrade-from").content_string.strip() == OLD


def test_and_is_run_again_to_its_end(server: Host, command: list[str]) -> None:
    done = upgrade(command)
    assert done.returncode == 0 and f"Release {NEW} serves, where {OLD} did." in re.sub(r"\s+", " ", done.stdout), done.stdout
    assert release(server) == NEW
    assert_kept_run(server)
    assert not server.file("/etc/atlas-mlflow/upgrade-from").exists
    # A start changes no schema from now on.
    assert "--upgrade" not in server.check_output("systemctl cat mlflow-server.service")


def test_a_second_upgrade_changes_nothing(command: list[str]) -> None:
    done = upgrade(command)
    assert done.returncode == 0 and set(re.findall(r"changed=\d+", done.stdout)) == {"changed=0"}, done.stdout
