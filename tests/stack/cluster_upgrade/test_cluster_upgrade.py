"""A cluster of PostgreSQL is taken to a new major version with its data.

The tests build on one another, in this order: what is refused, what goes back, what is interrupted, and at last the upgrade.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import testinfra
from stack.support import (
    assert_kept_run,
    assert_unchanged,
    base_url,
    cut_short,
    hosts_of,
    play,
    playbook,
    primary_of,
    query,
    replicas_of,
    said,
    wait_for_answer,
)
from stack.writing import wait_for
from testinfra.host import Host

OLD, NEW = "15", "17"
#: Seconds for a playbook that upgrades the cluster, or goes back and upgrades it.
LONG = 1800
PATRONICTL = "sudo -u postgres /usr/local/bin/patronictl"
BACKUP = "python3 /opt/atlas-mlflow/backup/atlas_mlflow_backup.py"
#: A digest of the rows of MLflow's runs and models.
DIGEST = "SELECT string_agg(md5(t::text), ',' ORDER BY t::text) FROM (SELECT run_uuid, name, status, start_time FROM runs) t"
PARAMS = "SELECT string_agg(run_uuid || key || value, ',' ORDER BY run_uuid, key) FROM params"


@pytest.fixture(scope="module")
def members() -> dict[str, Host]:
    """Return the members by their names."""
    return {name: testinfra.get_host(f"docker://{name}") for name in hosts_of("postgres")}


@pytest.fixture(scope="module")
def over(members: dict[str, Host]) -> dict[str, object]:
    """Return what is laid over the scenario's inventory: the new major version."""
    return {"postgres": {"hosts": {name: {"postgres_version": NEW} for name in members}}}


@pytest.fixture(scope="module")
def command(over: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the command that upgrades."""
    return playbook("upgrade_postgres", over, tmp_path_factory.mktemp("inventory"))


@pytest.fixture(scope="module")
def content(members: dict[str, Host]) -> list[str]:
    """Return what the databases have before the first upgrade. The writer's run, and rows enough that a lost one is seen."""
    host = primary_of(members)
    query(host, "DROP TABLE IF EXISTS numbers; CREATE TABLE numbers AS SELECT n, md5(n::text) AS digest FROM generate_series(1, 20000) n")
    return seen(host)


def versions(members: dict[str, Host]) -> set[str]:
    """Return the major versions that serve."""
    return {query(host, "SHOW server_version").partition(".")[0] for host in members.values()}


def seen(host: Host) -> list[str]:
    """Return the content of a member, that must be the same after an upgrade."""
    numbers = query(host, "SELECT count(*) || md5(string_agg(digest, ',' ORDER BY n)) FROM numbers")
    return [numbers, query(host, DIGEST), query(host, PARAMS)]


def started(members: dict[str, Host]) -> list[str]:
    """Return when PostgreSQL was started on each member."""
    return [query(host, "SELECT pg_postmaster_start_time()") for host in members.values()]


def wait_for_members(members: dict[str, Host]) -> None:
    """Wait until two replicas follow the primary, one of them synchronously."""
    wait_for(lambda: replicas_of(primary_of(members)) == "2 1", lambda: replicas_of(primary_of(members)))


def assert_old(server: Host, members: dict[str, Host], content: list[str]) -> None:
    """See that all members serve the former version with all of its data."""
    wait_for_members(members)
    assert versions(members) == {OLD}
    assert [seen(host) for host in members.values()] == [content] * 3
    assert_kept_run(server)
    assert not any(host.file(f"/var/lib/postgresql/{NEW}/main").exists for host in members.values())
    assert not any(host.file("/etc/patroni/upgrade.json").exists for host in members.values())


def test_another_major_version_is_not_set_up_beside_the_data(
    server: Host, members: dict[str, Host], content: list[str], over: dict[str, object], tmp_path: Path
) -> None:
    done = play(playbook("site", over, tmp_path), patience=LONG)
    assert done.returncode and "the data are those of PostgreSQL 15" in said(done) and "Run upgrade_postgres.yml" in said(done), done.stdout
    assert not any(host.package(f"postgresql-{NEW}").is_installed for host in members.values())
    assert_old(server, members, content)


def test_a_check_run_says_what_would_be_done(members: dict[str, Host], command: list[str]) -> None:
    done = play(command, "--check", patience=LONG)
    assert done.returncode == 0 and "PostgreSQL 15 would be taken to 17." in said(done), done.stdout
    assert "and the cluster stop until" in said(done), done.stdout
    assert_unchanged(done)
    assert not any(host.package(f"postgresql-{NEW}").is_installed for host in members.values())


def test_a_version_that_no_package_has_is_refused(members: dict[str, Host], tmp_path: Path) -> None:
    over = {"postgres": {"hosts": {name: {"postgres_version": "99"} for name in members}}}
    done = play(playbook("upgrade_postgres", over, tmp_path), patience=LONG)
    assert done.returncode and "The package postgresql-99 cannot be installed" in said(done), done.stdout


def test_a_paused_cluster_is_refused(members: dict[str, Host], command: list[str]) -> None:
    primary_of(members).check_output(f"{PATRONICTL} pause --wait")
    try:
        done = play(command, patience=LONG)
    finally:
        primary_of(members).check_output(f"{PATRONICTL} resume --wait")
    assert done.returncode and "The cluster is paused" in said(done), done.stdout


def test_data_that_pg_upgrade_refuses_stop_nothing(server: Host, members: dict[str, Host], content: list[str], command: list[str]) -> None:
    # A type that version 16 no longer takes from an older one.
    query(primary_of(members), "CREATE TABLE in_the_way (id regproc)")
    before, served = started(members), server.check_output("systemctl show --property ActiveEnterTimestamp mlflow-server.service")
    done = play(command, patience=LONG)
    query(primary_of(members), "DROP TABLE in_the_way")
    assert done.returncode and "is not possible as it is. Nothing was stopped, and PostgreSQL 15 serves as before" in said(done), done.stdout
    assert "reg* data types" in said(done), done.stdout
    assert started(members) == before
    assert server.check_output("systemctl show --property ActiveEnterTimestamp mlflow-server.service") == served
    assert_old(server, members, content)


def test_one_whose_servers_do_not_verify_is_rolled_back(server: Host, members: dict[str, Host], content: list[str], command: list[str]) -> None:
    # The servers prove themselves by an artifact, too.
    server.check_output("systemctl stop minio.service")
    try:
        done = play(command, "--extra-vars", "mlflow_server_stores_timeout=5", patience=LONG)
    finally:
        server.check_output("systemctl start minio.service")
    assert done.returncode and "The upgrade to PostgreSQL 17 failed, and was rolled back: PostgreSQL 15 serves again" in said(done), done.stdout
    assert "But a tracking server does not verify on it" in said(done), "it cannot, without MinIO"
    # Without MinIO, it is started again and again.
    assert wait_for_answer(server, f"{base_url('localhost')}/health").status == 200
    assert_old(server, members, content)
    kept = [host.check_output(f"ls --directory /var/lib/postgresql/{NEW}/main.failed-*") for host in members.values()]
    assert len(kept) == 3, "it may have been written to"


def test_an_upgrade_may_be_cut_short(members: dict[str, Host], content: list[str], command: list[str], tmp_path: Path) -> None:
    cut_short(list(members.values()), command, "atlas.mlflow.postgres : Copy the data of the primary to the new version", tmp_path / "log", LONG)
    notes = [json.loads(host.file("/etc/patroni/upgrade.json").content_string) for host in members.values()]
    assert {(note["from"], note["to"], note["phase"]) for note in notes} == {(OLD, NEW, "begun")}


def test_and_is_run_again_to_its_end(
    server: Host, members: dict[str, Host], content: list[str], command: list[str], over: dict[str, object], tmp_path: Path
) -> None:
    done = play(playbook("site", over, tmp_path), patience=LONG)
    assert done.returncode and "was cut short. Run upgrade_postgres.yml again" in said(done), done.stdout
    done = play(command, patience=LONG)
    assert done.returncode == 0 and "PostgreSQL 17 replaced 15." in said(done), done.stdout
    wait_for_members(members)
    assert versions(members) == {NEW}
    assert [seen(host) for host in members.values()] == [content] * 3
    assert_kept_run(server)
    assert query(primary_of(members), "SHOW data_checksums") == "on"
    assert query(primary_of(members), "SELECT count(*) FROM pg_stats WHERE tablename = 'numbers'") != "0", "it has been analyzed"
    assert all(host.file(f"/var/lib/postgresql/{OLD}/main/PG_VERSION").exists for host in members.values())


def test_backups_go_on(members: dict[str, Host]) -> None:
    host = primary_of(members)
    points = json.loads(host.check_output(f"{BACKUP} list"))
    assert [point["version"] for point in points] == [OLD, NEW], points
    assert "the same as in the source" in host.check_output(f"{BACKUP} check")


def test_a_second_upgrade_changes_nothing_and_site_goes_on(command: list[str], over: dict[str, object], tmp_path: Path) -> None:
    for argv in (command, playbook("site", over, tmp_path)):
        assert_unchanged(play(argv, patience=LONG))


def test_another_member_becomes_the_primary(server: Host, members: dict[str, Host], content: list[str], over: dict[str, object], tmp_path: Path) -> None:
    before = primary_of(members)
    done = play(playbook("switch_over_postgres", over, tmp_path), patience=LONG)
    assert done.returncode == 0, done.stdout
    wait_for_members(members)
    assert primary_of(members) is not before
    assert_kept_run(server)


def test_the_former_data_are_removed_when_that_is_said(server: Host, members: dict[str, Host], content: list[str], command: list[str]) -> None:
    done = play(command, "--extra-vars", "postgres_remove_older=true", patience=LONG)
    assert done.returncode == 0, done.stdout
    for host in members.values():
        assert host.check_output("ls --directory /var/lib/postgresql/*/*") == f"/var/lib/postgresql/{NEW}/main"
        assert not host.package(f"postgresql-{OLD}").is_installed
    assert [seen(host) for host in members.values()] == [content] * 3
    assert_kept_run(server)
    assert_unchanged(play(command, "--extra-vars", "postgres_remove_older=true", patience=LONG))
