"""Stores that are taken to other versions with their data in place: PostgreSQL to a minor and to a major one, MinIO to another executable.

The tests build on one another, in this order.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from stack.support import assert_kept_run, assert_unchanged, cut_short, play, playbook, query, said
from testinfra.host import Host

OLD, NEW = "15", "17"


@pytest.fixture(scope="module")
def over(server_name: str) -> dict[str, object]:
    """Return what is laid over the scenario's inventory: the new major version."""
    return {"postgres": {"hosts": {server_name: {"postgres_version": NEW}}}}


@pytest.fixture(scope="module")
def command(over: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the command that upgrades."""
    return playbook("upgrade_postgres", over, tmp_path_factory.mktemp("inventory"))


def version(server: Host) -> str:
    """Return the version of the PostgreSQL that serves, major and minor."""
    return query(server, "SHOW server_version").split()[0]


def test_a_minor_version_is_taken_by_the_playbook_and_not_by_itself(server: Host, tmp_path: Path) -> None:
    before = version(server)
    security = "s,^\\(deb .*\\)/debian/* bookworm main$,&\\n\\1/debian-security bookworm-security main,"
    server.check_output("sed --in-place %s /etc/apt/sources.list.d/bookworm.list", security)
    update = playbook("update_postgres", {}, tmp_path)
    done = play(update)
    assert done.returncode == 0, done.stdout
    after = version(server)
    assert before != after and before.split(".")[0] == after.split(".")[0] == OLD, (before, after)
    assert_kept_run(server)
    assert_unchanged(play(update))


def executable(server: Host) -> str:
    """Return the executable that MinIO's unit runs."""
    return server.check_output("systemctl show --property ExecStart --value minio.service").partition("path=")[2].partition(" ")[0]


def swap(server_name: str, folder: Path, executable: Path) -> subprocess.CompletedProcess[str]:
    """Run site.yml with another executable for MinIO."""
    return play(playbook("site", {"minio": {"hosts": {server_name: {"minio_file": str(executable)}}}}, folder))


def test_minio_is_rolled_back_to_the_executable_that_served(server: Host, server_name: str, tmp_path: Path) -> None:
    before = executable(server)
    broken = tmp_path / "minio"
    broken.write_text("#!/bin/sh\necho This is no object store >&2\nexit 3\n")
    done = swap(server_name, tmp_path, broken)
    assert done.returncode and f"does not serve, and was rolled back: {before} serves again, on the same data" in said(done), done.stdout
    assert "This is no object store" in said(done), done.stdout
    assert executable(server) == before and server.service("minio.service").is_running
    assert_kept_run(server)


def test_minio_is_taken_to_another_executable_with_its_data_in_place(server: Host, server_name: str, tmp_path: Path) -> None:
    before = executable(server)
    other = tmp_path / "minio"
    # The same program in a file of another checksum stands for another release.
    shutil.copy(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "atlas-mlflow" / "minio", other)
    with other.open("ab") as file:
        file.write(b"\n")
    done = swap(server_name, tmp_path, other)
    assert done.returncode == 0, done.stdout
    assert executable(server) != before and server.file(before).exists, "the former one stays, to go back to"
    assert_kept_run(server)
    # The scenario's inventory names the former one, and so goes back to it.
    done = play(playbook("site", {}, tmp_path))
    assert done.returncode == 0 and executable(server) == before, done.stdout


def test_another_major_version_is_not_set_up_beside_the_data(server: Host, over: dict[str, object], tmp_path: Path) -> None:
    done = play(playbook("site", over, tmp_path))
    assert done.returncode and "the data are those of PostgreSQL 15" in said(done) and "Run upgrade_postgres.yml" in said(done), done.stdout
    assert not server.package("postgresql-17").is_installed
    assert_kept_run(server)


def test_a_version_given_on_the_command_line_is_refused(command: list[str]) -> None:
    done = play(command, "--extra-vars", "postgres_version=17")
    assert done.returncode and "Set it in the inventory" in said(done), done.stdout


def test_an_upgrade_that_pg_upgrade_refuses_is_rolled_back(server: Host, command: list[str]) -> None:
    # A type that version 16 no longer takes from an older one: its columns name system catalogs that change from one to the next.
    query(server, "CREATE TABLE in_the_way (id regproc)")
    done = play(command)
    assert done.returncode and "The upgrade to PostgreSQL 17 failed, and was rolled back: PostgreSQL 15 serves again" in said(done), done.stdout
    assert "reg* data types" in said(done), done.stdout
    query(server, "DROP TABLE in_the_way")
    # On a host that was upgraded, its text was sorted by another library.
    query(server, "CREATE DATABASE sorted TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en' ENCODING UTF8")
    query(server, "UPDATE pg_database SET datcollversion = '1' WHERE datname = 'sorted'")
    assert version(server).startswith(OLD)
    assert_kept_run(server)
    assert not server.file("/etc/postgresql/17/main").exists


def test_one_whose_servers_do_not_verify_is_rolled_back(server: Host, command: list[str]) -> None:
    # The servers prove themselves by an artifact, too.
    server.check_output("systemctl stop minio.service")
    try:
        done = play(command, "--extra-vars", "mlflow_server_stores_timeout=5")
    finally:
        server.check_output("systemctl start minio.service")
    assert done.returncode and "The upgrade to PostgreSQL 17 failed, and was rolled back" in said(done), done.stdout
    assert "But a tracking server does not verify on it" in said(done), "it cannot, without MinIO"
    assert version(server).startswith(OLD)
    assert server.file("/etc/postgresql/17/failed/postgresql.conf").exists, "it may have been written to"


@pytest.mark.parametrize(
    ("task", "phase"),
    [
        ("atlas.mlflow.postgres : Dump the database of the backend store", "begun"),
        ("atlas.mlflow.postgres : Copy the cluster to the new version", "begun"),
        ("atlas.mlflow.postgres : Read the databases and their owners", "begun"),
        ("atlas.mlflow.mlflow_server : Probe the tracking server on its own host", "switched"),
    ],
)
def test_an_upgrade_may_be_cut_short_anywhere(server: Host, command: list[str], over: dict[str, object], tmp_path: Path, task: str, phase: str) -> None:
    cut_short([server], command, task, tmp_path / "log")
    assert server.file("/etc/postgresql/15/main/atlas-mlflow-upgrade").content_string.strip() == phase


def test_and_is_run_again_to_its_end(server: Host, command: list[str], over: dict[str, object], tmp_path: Path) -> None:
    done = play(playbook("site", over, tmp_path))
    assert done.returncode and "was cut short. Run upgrade_postgres.yml again" in said(done), done.stdout
    done = play(command)
    assert done.returncode == 0 and "PostgreSQL 17 replaced 15." in said(done), done.stdout
    assert version(server).startswith(NEW)
    assert_kept_run(server)


def test_the_new_cluster_has_the_settings_of_the_old_one_and_the_port(server: Host) -> None:
    assert "atlas-mlflow.conf" in query(server, "SELECT sourcefile FROM pg_settings WHERE name = 'port'")
    assert query(server, "SHOW port") == "5432"
    assert server.file("/etc/systemd/system/postgresql@17-main.service.d/atlas-mlflow.conf").exists
    lines = server.check_output("pg_lsclusters --no-header").splitlines()
    assert {tuple(line.split()[index] for index in (0, 1, 3)) for line in lines} >= {("15", "main", "down"), ("17", "main", "online")}, lines
    sorted_by = "SELECT datcollversion = pg_database_collation_actual_version(oid) FROM pg_database WHERE datname = 'sorted'"
    assert query(server, sorted_by) == "t"
    assert query(server, "SELECT count(*) FROM pg_stats WHERE tablename = 'experiments'") != "0", "it has been analyzed"


def test_backups_go_on_with_a_full_one_and_those_of_the_old_version_are_not_restored_to_the_new(server: Host) -> None:
    program = "python3 /opt/atlas-mlflow/backup/atlas_mlflow_backup.py"
    points = json.loads(server.check_output(f"{program} list"))
    assert [(point["kind"], point["version"]) for point in points] == [("full", OLD), ("full", NEW)]
    assert "status: ok" in server.check_output(f"{program} check")
    refused = server.run(f"{program} find --to %s", points[0]["name"])
    assert refused.rc == 1 and "is of PostgreSQL 15, and this host has PostgreSQL 17" in refused.stderr, refused


def test_a_second_upgrade_changes_nothing_and_site_goes_on(server: Host, command: list[str], over: dict[str, object], tmp_path: Path) -> None:
    for argv in (command, playbook("site", over, tmp_path)):
        assert_unchanged(play(argv))


def test_the_old_cluster_is_removed_when_that_is_said(server: Host, command: list[str]) -> None:
    done = play(command, "--extra-vars", "postgres_remove_older=true")
    assert done.returncode == 0, done.stdout
    assert [line.split()[:2] for line in server.check_output("pg_lsclusters --no-header").splitlines()] == [["17", "main"]]
    assert not server.package("postgresql-15").is_installed
    assert_kept_run(server)
