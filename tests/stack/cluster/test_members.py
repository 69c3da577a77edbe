"""Members of the cluster of PostgreSQL join, leave and are replaced while a client logs runs, and no acknowledged run is lost.

The tests share one writer, and run in this order: each leaves the cluster whole, with the members that the next one expects. A change of the members ends with
`site.yml`, whose next run changes nothing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from parts import (
    PATRONICTL,
    SHARED,
    docker,
    etcd_members,
    host,
    other_primary,
    primaries,
    said,
    sql,
    synchronous,
    wait_whole,
)
from stack.support import PATIENCE, ROOT, assert_unchanged, hosts_of, playbook
from stack.support import said as line_of
from stack.writing import Fault, Stack, finish, start, wait_for
from testinfra.host import Host

#: The tables whose rows belong to runs, and what each member has of those that were begun before a moment.
TABLES = ("runs", "params", "tags", "metrics", "latest_metrics")
ROWS = "SELECT count(*), md5(string_agg(row::text, ' ' ORDER BY row::text)) FROM {table} row JOIN runs run USING (run_uuid) WHERE run.start_time < {before}"
#: Where a member that leaves keeps its data.
KEPT = "ls --directory /var/lib/postgresql/*/main.removed-* /var/lib/etcd/atlas-mlflow.removed-*"


@pytest.fixture(scope="module")
def stack(client: Host) -> Iterator[Stack]:
    """Return the stack, with a writer at work that uses the address of the proxies."""
    yield start(client, f"https://{SHARED}", retries=1)
    client.run("systemctl stop writer.service")


@pytest.fixture
def members() -> list[str]:
    """Return the members of the inventory."""
    return hosts_of("postgres")


@pytest.fixture
def spares(members: list[str]) -> list[str]:
    """Return two hosts that may become members: one with another part of the stack, and one with none."""
    return [*(name for name in hosts_of("minio") if name not in members), *hosts_of("spares")]


def run(command: Sequence[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a playbook that sets up members, to its end."""
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=3 * PATIENCE, check=False, env=environment)


def succeed(command: Sequence[str], *arguments: str) -> str:
    """Run a playbook that must succeed, and return what it said."""
    done = run(command, *arguments)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    return done.stdout


def inspect(name: str, form: str) -> str:
    """Return what Docker says of a host."""
    return subprocess.run(["docker", "inspect", "--format", form, name], check=True, capture_output=True, text=True).stdout.strip()


def assert_settled(site: Sequence[str]) -> None:
    """See that `site.yml` changes nothing."""
    assert_unchanged(run(site))


def with_members(names: Sequence[str]) -> dict[str, Any]:
    """Return what is laid over the inventory so that the group has more members."""
    return {"postgres": {"hosts": {name: {} for name in names}}}


def rows(name: str, before: int) -> list[str]:
    """Return count and digest of the rows that belong to runs, on a host."""
    return [sql(name, ROWS.format(table=table, before=before), "mlflow") for table in TABLES]


def assert_alike(names: Sequence[str]) -> None:
    """See that the members of etcd are the members, and that all have the same rows."""
    assert {name: etcd_members(name) for name in names} == {name: sorted(names) for name in names}
    # The last runs may still get rows.
    before = int((time.time() - 10) * 1000)

    def found() -> dict[str, list[str]]:
        return {name: rows(name, before) for name in names}

    wait_for(lambda: len({str(one) for one in found().values()}) == 1, lambda: str(found()))
    assert all(re.match(r"[1-9]\d*\|", one) for one in rows(names[0], before)), found()


@contextmanager
def keeps(stack: Stack, name: str, after: Sequence[str], now: Sequence[str] = ()) -> Iterator[Fault]:
    """Change the members, and see that no acknowledged run is missing and that all members have the same rows.

    :param after: The members after the change.
    :param now: The members before it, by default those of the inventory.
    """
    wait_whole(stack.client, now)
    with stack.survives(name, "the playbook") as fault:
        yield fault
        fault.mended = time.time()
    wait_whole(stack.client, after)
    checked = stack.check(fault.begun)
    assert checked["missing"] == [], checked
    fault.failed = stack.failed(fault.begun)
    assert_alike(after)


def test_two_hosts_join(stack: Stack, members: list[str], spares: list[str], tmp_path: Path) -> None:
    site = playbook("site", with_members(spares), tmp_path)
    started = {name: sql(name, "SELECT pg_postmaster_start_time()") for name in members}
    with keeps(stack, "two members join by site.yml", members + spares) as fault:
        succeed(site)
    assert fault.failed == []
    assert {name: sql(name, "SELECT pg_postmaster_start_time()") for name in members} == started, "PostgreSQL was restarted"
    assert_settled(site)


def test_a_removal_that_leaves_no_cluster_is_refused(stack: Stack, members: list[str], spares: list[str], tmp_path: Path) -> None:
    """Each refusal says why and what else to do, and nothing was touched."""
    remove, (first, *replicas) = playbook("remove_postgres_member", with_members(spares), tmp_path), members
    present = members + spares
    before = [(etcd_members(name), sql(name, "SELECT pg_postmaster_start_time()"), said(name, "ls /var/lib/postgresql/*")) for name in present]
    refusals = {
        first: ("the cluster has 4 members", "Or remove 1 more in the same run"),
        ",".join(members): ("the cluster has 2 members", "run replace_postgres_member.yml"),
        "nobody": ("nobody: etcd has no member of this name", "run site.yml"),
        ",".join(present): ("at least one of its hosts must be a member that stays",),
    }
    for names, words in refusals.items():
        done = run(remove, "-e", f"postgres_member={names}")
        assert done.returncode != 0 and all(word in line_of(done) for word in words), done.stdout
    host(replicas[0]).check_output("systemctl stop etcd.service")
    try:
        done = run(remove, "-e", f"postgres_member={','.join(spares)}")
    finally:
        host(replicas[0]).check_output("systemctl start etcd.service")
    assert done.returncode != 0 and "needs 3 to agree on a change" in line_of(done) and "Start etcd on more of them" in line_of(done), done.stdout
    wait_whole(stack.client, present)
    assert [(etcd_members(name), sql(name, "SELECT pg_postmaster_start_time()"), said(name, "ls /var/lib/postgresql/*")) for name in present] == before


def test_the_primary_and_a_replica_are_removed(stack: Stack, members: list[str], spares: list[str], tmp_path: Path) -> None:
    present = members + spares
    wait_whole(stack.client, present)
    (former,) = primaries(present)
    replicas = [name for name in members if name != former]
    # Only the synchronous replica can become the primary, and Patroni chooses it from those that stream.
    for name in replicas:
        host(name).check_output("systemctl stop patroni.service")
    wait_for(lambda: synchronous(former) in spares, lambda: f"{synchronous(former)} is synchronous")
    leaving = synchronous(former)
    # Patroni says with a code of success that it did not switch.
    switch = f"sudo -u postgres {PATRONICTL} switchover --candidate {leaving} --force"
    wait_for(lambda: primaries(present) == [leaving] or "Successfully" in said(leaving, switch), lambda: said(leaving, switch))
    for name in replicas:
        host(name).check_output("systemctl start patroni.service")
    wait_whole(stack.client, present)
    assert primaries(present) == [leaving]
    (tmp_path / "after").mkdir()
    remove, site = playbook("remove_postgres_member", with_members(spares), tmp_path), playbook("site", {}, tmp_path / "after")
    with keeps(stack, "the primary and a replica are removed, and site.yml", members, present):
        told = succeed(remove, "-e", f"postgres_member={','.join(spares)}")
        assert all(f"Data of PostgreSQL on {name}: /var/lib/postgresql" in re.sub(r"\s+", " ", told) for name in spares), told[-3000:]
        assert all(etcd_members(name) == sorted(members) for name in members)
        succeed(site)
    assert all(len(said(name, KEPT).split()) == 2 for name in spares), "data of a member that left are gone"
    assert all(said(name, "systemctl is-active patroni etcd || true").split() == ["inactive", "inactive"] for name in spares)
    assert_settled(site)


def lose(stack: Stack, name: str) -> None:
    """Remove a host with all of its volumes, and wait until another member leads."""
    docker("rm", "--force", "--volumes", name)
    # The client mounts the disk too, so that it outlives the host.
    (disk,) = (mount["Destination"] for mount in json.loads(inspect(stack.client.backend.name, "{{json .Mounts}}")) if mount["Name"] == f"{name}-disk")
    stack.client.check_output("find %s -mindepth 1 -delete", disk)
    if not primaries([one for one in hosts_of("postgres") if one != name]):
        other_primary(name)


def create(name: str, image: str) -> None:
    """Make an empty host with the name and the address of one that was lost."""
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "--inventory", os.path.dirname(os.environ["MOLECULE_INVENTORY_FILE"])]
    succeed([*command, "--limit", name, "-e", f"testbed_image={image}", str(ROOT / "tools/testbed/hosts/create.yml")])
    assert said(name, "ls /var/lib/postgresql /etc/patroni") == ""


def with_another(folder: Path, former: str, instead: str) -> Path:
    """Return the folder of an inventory in which another host has the place of one in the group of PostgreSQL."""
    scenario = Path(os.environ["MOLECULE_INVENTORY_FILE"])
    shutil.copytree(scenario.parent, folder, ignore=shutil.ignore_patterns(".secrets"))
    (folder / ".secrets").symlink_to(scenario.parent / ".secrets")
    groups = yaml.safe_load(scenario.read_text(encoding="utf-8"))
    members = groups["postgres"]["hosts"]
    groups["postgres"]["hosts"] = {instead if name == former else name: settings for name, settings in members.items()}
    (folder / scenario.name).write_text(yaml.safe_dump(groups), encoding="utf-8")
    return folder


def test_a_lost_host_is_replaced(stack: Stack, members: list[str], tmp_path: Path) -> None:
    """Its container and all of its volumes are gone, and a new host has its name and its address."""
    (name,) = set(members) - set(hosts_of("mlflow_servers"))
    site, replace = playbook("site", {}, tmp_path), playbook("replace_postgres_member", {}, tmp_path)
    image = inspect(name, "{{.Config.Image}}")
    with keeps(stack, f"lost host replaced: {name}", members) as fault:
        lose(stack, name)
        create(name, image)
        refused = run(site)
        assert refused.returncode != 0 and f"replace_postgres_member.yml -e postgres_member={name}" in line_of(refused), refused.stdout[-5000:]
        succeed(replace, "-e", f"postgres_member={name}")
    assert fault.served
    assert_settled(site)


def test_a_host_of_another_name_takes_the_place_of_a_lost_one(stack: Stack, members: list[str], tmp_path: Path) -> None:
    """The lost host is set up again without PostgreSQL, for its other parts. In the end, it takes its place back from the host that still runs."""
    (name,), (instead,) = set(members) - set(hosts_of("mlflow_servers")), hosts_of("spares")
    site, replace = playbook("site", {}, tmp_path), playbook("replace_postgres_member", {}, tmp_path)
    another = [site[0], "--inventory", str(with_another(tmp_path / "another", name, instead))]
    present = [instead if one == name else one for one in members]
    image = inspect(name, "{{.Config.Image}}")
    with keeps(stack, f"{name} replaced by {instead}", present, members):
        lose(stack, name)
        create(name, image)
        succeed([*another, replace[-1], "-e", f"postgres_member={name}"])
    assert_settled([*another, site[-1]])
    assert said(name, "ls /var/lib/postgresql /etc/patroni") == ""
    with keeps(stack, f"{instead} replaced by {name}", members, present):
        succeed(replace, "-e", f"postgres_member={instead}")
    assert said(instead, "systemctl is-active patroni etcd || true").split() == ["inactive", "inactive"]
    assert_settled(site)


def test_a_running_member_gets_a_new_copy(stack: Stack, members: list[str], tmp_path: Path) -> None:
    """It is the primary: it gives its role to another member, and its data stay under another name."""
    (name,) = primaries(members)
    site, replace = playbook("site", {}, tmp_path), playbook("replace_postgres_member", {}, tmp_path)
    with keeps(stack, f"primary replaced by a new copy: {name}", members):
        succeed(replace, "-e", f"postgres_member={name}")
    assert primaries(members) != [name] and len(said(name, KEPT).split()) == 2
    # It has left the cluster, and so it makes no backup until the next run of backup.yml.
    assert not any(host(name).file(path).exists for path in ("/etc/atlas-mlflow/backup.json", "/etc/systemd/system/atlas-mlflow-backup.timer"))
    assert_settled(site)


def test_all_that_was_ever_acknowledged_is_there(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    table, missing = finish(stack, "cluster_members")
    with capsys.disabled():
        print(f"\n{table}")
    assert missing == []
