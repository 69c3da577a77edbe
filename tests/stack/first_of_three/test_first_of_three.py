"""One host of PostgreSQL becomes the first of three with its data and its backups, by two more hosts in the inventory. The three are upgraded and restored.

The tests build on one another, in this order.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import testinfra
from stack.support import assert_kept_run, assert_unchanged, hosts_of, play, playbook, primary_of, query, replicas_of, said
from stack.writing import wait_for
from testinfra.host import Host

#: Seconds for a playbook.
LONG = 900
OLD, NEW = "15", "17"
BACKUP = "python3 /opt/atlas-mlflow/backup/atlas_mlflow_backup.py"
DIGEST = "SELECT count(*) || md5(string_agg(digest, ',' ORDER BY n)) FROM numbers"
PARAMS = "SELECT string_agg(run_uuid || key || value, ',' ORDER BY run_uuid, key) FROM params"


@pytest.fixture(scope="module")
def members() -> dict[str, Host]:
    """Return the hosts that are members in the end, the first one first."""
    return {name: testinfra.get_host(f"docker://{name}") for name in hosts_of("postgres") + hosts_of("spares")}


@pytest.fixture(scope="module")
def first(members: dict[str, Host]) -> Host:
    """Return the host that has the data."""
    return next(iter(members.values()))


@pytest.fixture(scope="module")
def content(first: Host) -> list[str]:
    """Return what the database has before other hosts join."""
    query(first, "DROP TABLE IF EXISTS numbers; CREATE TABLE numbers AS SELECT n, md5(n::text) AS digest FROM generate_series(1, 20000) n")
    return seen(first)


@pytest.fixture(scope="module")
def over() -> dict[str, object]:
    """Return what is laid over the inventory: the further members."""
    return {"postgres": {"hosts": {name: {} for name in hosts_of("spares")}}}


@pytest.fixture(scope="module")
def newer(members: dict[str, Host]) -> dict[str, object]:
    """Return the same with a new major version."""
    return {"postgres": {"hosts": {name: {"postgres_version": NEW} for name in members}}}


@pytest.fixture(scope="module")
def site(over: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the command that sets up the three members."""
    return playbook("site", over, tmp_path_factory.mktemp("inventory"))


def seen(host: Host) -> list[str]:
    """Return the content of a member."""
    return [query(host, DIGEST), query(host, PARAMS)]


def state(members: dict[str, Host]) -> list[tuple[str, str]]:
    """Return when PostgreSQL was started on each member, and its role."""
    return [(query(host, "SELECT pg_postmaster_start_time()"), query(host, "SELECT pg_is_in_recovery()")) for host in members.values()]


def points(members: dict[str, Host]) -> list[dict[str, Any]]:
    """Return the points that can be restored, which all members see alike."""
    (listed,) = {host.check_output(f"{BACKUP} list") for host in members.values()}
    return list(json.loads(listed))


def kinds(members: dict[str, Host]) -> list[tuple[str, str]]:
    """Return the kind of each point, and the version of its PostgreSQL."""
    return [(point["kind"].partition(" ")[0], point["version"]) for point in points(members)]


def wait_for_replicas(first: Host) -> None:
    """Wait until two replicas stream from the primary, one of them synchronously."""
    wait_for(lambda: replicas_of(first) == "2 1", lambda: replicas_of(first))


def test_two_hosts_are_no_cluster(first: Host, content: list[str], tmp_path: Path) -> None:
    over = {"postgres": {"hosts": {hosts_of("spares")[0]: {}}}}
    done = play(playbook("site", over, tmp_path), patience=LONG)
    assert done.returncode and "2 hosts, and none of two is a majority" in said(done), done.stdout
    assert seen(first) == content


def test_the_backup_of_one_host_is_not_left_to_fail(first: Host, members: dict[str, Host], content: list[str], tmp_path: Path) -> None:
    """Nobody knows that all members mount a folder from one share."""
    of_a_disk = {"backup_repository": "/var/backups/atlas-mlflow", "backup_repository_s3_endpoint_url": ""}
    done = play(playbook("site", {"postgres": {"hosts": dict.fromkeys(members, of_a_disk)}}, tmp_path), patience=LONG)
    assert done.returncode and "has the backup of one host" in said(done), done.stdout[-5000:]
    assert "Set backup_repository of all members to s3://BUCKET/PREFIX, and this playbook sets up their backup" in said(done), done.stdout[-5000:]
    assert seen(first) == content and first.service("atlas-mlflow-backup.timer").is_running


def test_a_bucket_of_the_first_host_alone_is_refused(first: Host, members: dict[str, Host], content: list[str], tmp_path: Path) -> None:
    *_others, last = members
    over = {"postgres": {"hosts": {**dict.fromkeys(members, {}), last: {"backup_repository": "s3://elsewhere/atlas"}}}}
    done = play(playbook("site", over, tmp_path), patience=LONG)
    assert done.returncode and f"backup_repository is s3://elsewhere/atlas on {last} and" in said(done), done.stdout[-5000:]
    assert seen(first) == content and not any(host.file("/etc/patroni/config.yml").exists for host in members.values())


def test_a_check_run_changes_nothing(first: Host, members: dict[str, Host], content: list[str], site: list[str]) -> None:
    before = query(first, "SELECT pg_postmaster_start_time()")
    done = play(site, "--check", patience=LONG)
    assert done.returncode == 0, done.stdout[-5000:]
    assert query(first, "SELECT pg_postmaster_start_time()") == before and seen(first) == content
    assert kinds({"first": first}) == [("full", OLD)]
    assert not any(host.file("/etc/patroni/config.yml").exists or host.file("/var/lib/etcd/atlas-mlflow").exists for host in members.values())


def test_one_host_becomes_the_first_of_three(server: Host, first: Host, members: dict[str, Host], content: list[str], site: list[str]) -> None:
    identifier = "SELECT system_identifier FROM pg_control_system()"
    before = query(first, identifier)
    done = play(site, patience=LONG)
    assert done.returncode == 0, done.stdout[-5000:]
    wait_for_replicas(first)
    assert query(first, "SELECT pg_is_in_recovery()") == "f", "the host with the data is the primary"
    assert {query(host, identifier) for host in members.values()} == {before}, "the data are those of the one host"
    assert [seen(host) for host in members.values()] == [content] * 3
    assert_kept_run(server)


def test_the_same_run_has_set_up_the_backup_of_the_cluster_in_the_same_repository(members: dict[str, Host]) -> None:
    assert kinds(members) == [("full", OLD), ("dump", OLD)]
    assert all("the same as in the source" in host.check_output(f"{BACKUP} check") for host in members.values())
    assert all(host.service("atlas-mlflow-backup.timer").is_running for host in members.values())
    # Nobody would remove the log of a backup of one host.
    assert {query(host, "SHOW archive_mode") for host in members.values()} == {"off"}


def test_a_second_run_changes_nothing(site: list[str]) -> None:
    assert_unchanged(play(site, patience=LONG))


def test_check_runs_of_the_playbooks_for_members_change_nothing(members: dict[str, Host], over: dict[str, object], tmp_path: Path) -> None:
    (spare,), names = hosts_of("others"), list(members)
    # The new host in the place of the last one, and two more hosts of which one pair is about to leave.
    replaced = {"postgres": {"hosts": {names[1]: {}, spare: {}}}}
    before = state(members)
    runs = {
        ("switch_over_postgres", ""): over,
        ("update_postgres", ""): over,
        ("replace_postgres_member", names[2]): replaced,
        ("remove_postgres_member", names[2]): over,
    }
    for number, ((name, leaving), laid) in enumerate(runs.items()):
        (tmp_path / str(number)).mkdir()
        done = play(
            playbook(name, laid, tmp_path / str(number)),
            "--check",
            *(("--extra-vars", json.dumps({"postgres_member": leaving})) if leaving else ()),
            patience=LONG,
        )
        # Two members would be left.
        refused = name == "remove_postgres_member"
        assert bool(done.returncode) == refused, done.stdout[-5000:]
        assert ("the cluster has 2 members" in said(done)) == refused, done.stdout[-5000:]
        assert state(members) == before, name
    assert not testinfra.get_host(f"docker://{spare}").file("/etc/patroni/config.yml").exists


def test_one_host_is_not_made_of_a_cluster(first: Host, content: list[str], tmp_path: Path) -> None:
    done = play(playbook("site", {}, tmp_path), patience=LONG)
    assert done.returncode and "A cluster does not become one host" in said(done), done.stdout
    assert seen(first) == content


def test_the_backup_of_the_one_host_is_not_restored_to_the_cluster(
    members: dict[str, Host], content: list[str], over: dict[str, object], tmp_path: Path
) -> None:
    done = play(playbook("restore", over, tmp_path), "--extra-vars", json.dumps({"backup_restore_to": points(members)[0]["name"]}), patience=LONG)
    assert done.returncode and "is a backup of one host, and the group postgres is a cluster" in said(done), done.stdout[-5000:]
    assert [seen(host) for host in members.values()] == [content] * 3


def test_the_cluster_is_upgraded(server: Host, members: dict[str, Host], content: list[str], newer: dict[str, object], tmp_path: Path) -> None:
    done = play(playbook("upgrade_postgres", newer, tmp_path), patience=2 * LONG)
    assert done.returncode == 0 and f"PostgreSQL {NEW} replaced {OLD}." in said(done), done.stdout[-5000:]
    wait_for_replicas(primary_of(members))
    assert {query(host, "SHOW server_version").partition(".")[0] for host in members.values()} == {NEW}
    assert [seen(host) for host in members.values()] == [content] * 3
    assert_kept_run(server)
    assert kinds(members) == [("full", OLD), ("dump", OLD), ("dump", NEW)]


@pytest.mark.parametrize("version", [NEW, OLD])
def test_the_cluster_is_restored(server: Host, members: dict[str, Host], content: list[str], newer: dict[str, object], tmp_path: Path, version: str) -> None:
    """Also to the point before its upgrade."""
    query(primary_of(members), "DELETE FROM numbers WHERE n > 10; DELETE FROM params")
    wanted = max(point["name"] for point in points(members) if "dumps" in point and point["version"] == version)
    done = play(playbook("restore", newer, tmp_path), "--extra-vars", json.dumps({"backup_restore_to": wanted}), patience=LONG)
    assert done.returncode == 0 and f"Restored {wanted}" in said(done), done.stdout[-5000:]
    wait_for_replicas(primary_of(members))
    assert [seen(host) for host in members.values()] == [content] * 3
    assert_kept_run(server)


def test_site_goes_on(newer: dict[str, object], tmp_path: Path) -> None:
    assert_unchanged(play(playbook("site", newer, tmp_path), patience=LONG))
