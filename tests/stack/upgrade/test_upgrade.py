"""A server that is taken from the oldest release to the newest: by an upgrade that fails, by some that are cut short, and by one that is not.

The tests build on one another, in this order.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from stack.support import (
    PATIENCE,
    ROOT,
    assert_kept_run,
    assert_unchanged,
    base_url,
    cut_short,
    play,
    play_until,
    playbook,
    query,
    release,
    said,
    wait_for_answer,
)
from testinfra.host import Host

OLD, NEW = "3.0.0", "3.17.2"


@pytest.fixture(scope="module")
def command(server_name: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the command that upgrades: the scenario's inventory, which names the new release now."""
    over = {"mlflow_servers": {"hosts": {server_name: {"mlflow_server_version": NEW}}}}
    return playbook("upgrade", over, tmp_path_factory.mktemp("inventory"))


def test_a_release_given_on_the_command_line_is_refused(server: Host, command: list[str]) -> None:
    done = play(command, "--extra-vars", f"mlflow_server_version={NEW}")
    assert done.returncode and "Set mlflow_server_version in the inventory" in said(done), done.stdout
    assert release(server) == OLD


def test_a_check_run_says_what_would_be_done_and_does_nothing(server: Host, command: list[str]) -> None:
    done = play(command, "--check", "--diff")
    assert done.returncode == 0 and f"MLflow {OLD} would be taken to {NEW}." in said(done), done.stdout
    assert release(server) == OLD and not server.file("/etc/atlas-mlflow/upgrade-from").exists


def test_a_lock_of_ones_own_is_refused_as_nothing_could_be_gone_back_to(server: Host, command: list[str]) -> None:
    done = play(command, "--extra-vars", f"mlflow_server_lock_file={ROOT}/roles/mlflow_server/files/releases/{NEW}/requirements.txt")
    assert done.returncode and "With mlflow_server_lock_file, a failed upgrade could not go back" in said(done), done.stdout
    assert release(server) == OLD


def test_an_upgrade_that_fails_is_rolled_back_with_its_database(server: Host, command: list[str]) -> None:
    revision = query(server, "SELECT version_num FROM alembic_version")
    # A table in the way of one that a later release makes, when others have been changed already.
    query(server, "CREATE TABLE entity_associations (in_the_way int)")
    done = play(command)
    message = said(done)
    assert done.returncode and f"The upgrade to {NEW} failed, and was rolled back: release {OLD} serves again" in message, done.stdout
    assert "entity_associations" in message
    assert release(server) == OLD
    assert query(server, "SELECT version_num FROM alembic_version") == revision
    assert_kept_run(server)
    query(server, "DROP TABLE entity_associations")


def test_an_installation_that_fills_the_disk_leaves_the_server_as_it_is(server: Host, command: list[str]) -> None:
    releases = "/opt/mlflow/releases"
    # A small file system in the releases' place, with the present one in it.
    server.check_output(
        f"mkdir /run/present && mount --bind {releases}/{OLD} /run/present && mount -t tmpfs -o size=20m small {releases}"
        f" && mkdir {releases}/{OLD} && mount --bind /run/present {releases}/{OLD}"
    )
    try:
        done = play(command)
    finally:
        server.check_output(f"umount {releases}/{OLD} && umount {releases} && umount /run/present")
    assert done.returncode and "No space left on device" in said(done) and "Stop the tracking server's service" not in done.stdout, done.stdout
    assert release(server) == OLD


def test_a_dump_that_fills_the_disk_ends_the_upgrade_before_the_database_is_touched(server: Host, command: list[str]) -> None:
    folder = "/var/lib/postgresql/atlas-mlflow-upgrade"
    server.check_output(f"mount -t tmpfs -o size=16k,uid=postgres,mode=0700 small {folder}")
    try:
        done = play(command)
    finally:
        server.check_output(f"umount {folder}")
    assert done.returncode and f"failed before the database was touched: release {OLD} serves again" in said(done), done.stdout
    assert "No space left on device" in said(done), done.stdout
    assert release(server) == OLD


def test_a_database_that_is_lost_in_the_migration_comes_back_as_it_was(server: Host, command: list[str], tmp_path: Path) -> None:
    revision = query(server, "SELECT version_num FROM alembic_version")
    starts = "atlas.mlflow.mlflow_server : Start MLflow, or restart it if its files changed"
    process = play_until([*command, "--extra-vars", "mlflow_server_stores_timeout=5 mlflow_server_start_timeout=60"], starts, tmp_path / "log")
    # The migration has begun when its revision is another. One session waits for that: each statement in it sees what was committed before.
    changed = f"DO $$ BEGIN WHILE (SELECT version_num FROM alembic_version) = '{revision}' LOOP PERFORM pg_sleep(0.01); END LOOP; END $$"
    server.check_output("timeout 120 sudo -u postgres psql -XAtc %s mlflow && systemctl stop postgresql@15-main.service", changed)
    assert process.wait(PATIENCE)
    message = re.sub(r"\s+", " ", (tmp_path / "log").read_text())
    assert f"The upgrade to {NEW} failed, and was rolled back: release {OLD} serves again" in message, message[-3000:]
    assert release(server) == OLD
    assert query(server, "SELECT version_num FROM alembic_version") == revision
    assert_kept_run(server)


def test_a_server_that_does_not_verify_is_rolled_back(server: Host, command: list[str]) -> None:
    revision = query(server, "SELECT version_num FROM alembic_version")
    server.check_output("systemctl stop minio.service")
    try:
        done = play(command, "--extra-vars", "mlflow_server_stores_timeout=5")
    finally:
        server.check_output("systemctl start minio.service")
    assert done.returncode and f"The upgrade to {NEW} failed, and was rolled back: release {OLD} serves again" in said(done), done.stdout
    assert "But it does not verify" in said(done), "it cannot, without MinIO"
    # systemd starts it until MinIO lets it.
    assert wait_for_answer(server, f"{base_url('localhost')}/version").body == OLD
    assert query(server, "SELECT version_num FROM alembic_version") == revision
    assert_kept_run(server)


@pytest.mark.parametrize(
    "task",
    [
        "atlas.mlflow.mlflow_server : Stop the tracking server's service",
        "atlas.mlflow.postgres : Dump the database of the backend store",
        "atlas.mlflow.mlflow_server : Activate the release, and write MLflow's unit and settings",
        "atlas.mlflow.mlflow_server : Start MLflow, or restart it if its files changed",
        "atlas.mlflow.mlflow_server : Probe the tracking server on its own host",
    ],
)
def test_an_upgrade_may_be_cut_short_anywhere(server: Host, command: list[str], tmp_path: Path, task: str) -> None:
    cut_short([server], command, task, tmp_path / "log")
    assert server.file("/etc/atlas-mlflow/upgrade-from").content_string.strip() == OLD


def test_the_stack_is_not_set_up_over_an_upgrade_that_was_cut_short(server_name: str, tmp_path: Path) -> None:
    done = play(playbook("site", {"mlflow_servers": {"hosts": {server_name: {"mlflow_server_version": NEW}}}}, tmp_path))
    assert done.returncode and f"An upgrade from {OLD} was cut short on this host. Run upgrade.yml" in said(done), done.stdout


def test_and_is_run_again_to_its_end(server: Host, command: list[str]) -> None:
    done = play(command)
    assert done.returncode == 0 and f"Release {NEW} replaced {OLD}." in said(done), done.stdout
    assert release(server) == NEW
    assert_kept_run(server)
    assert not server.file("/etc/atlas-mlflow/upgrade-from").exists
    # A start changes no schema from now on.
    assert "--upgrade" not in server.check_output("systemctl cat mlflow-server.service")


def test_a_second_upgrade_changes_nothing(command: list[str]) -> None:
    assert_unchanged(play(command))
