"""Faults under a cluster that a client writes to all along: no loss of a host stops the stack, and no acknowledged run is lost.

The tests share one writer, whose client repeats a request once, and run in this order. Each waits until all parts are whole, sees that its fault happened,
and adds a line to the table that the last one prints. No fault of MinIO follows another one: after its health says that it serves, a host needs 20 seconds to
find all others.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from parts import (
    PATRONICTL,
    SHARED,
    accepts_writes,
    docker,
    etcd,
    etcd_leader,
    has_address,
    holder,
    host,
    objects,
    only_minio,
    other_primary,
    patroni_release,
    primary,
    said,
    server_environment,
    sql,
    states,
    survives,
    synchronous,
    wait_whole,
)
from stack.support import ROOT, address_of, ask, assert_unchanged, cut_short, hosts_of, play, playbook, stack_hosts
from stack.writing import Stack, finish, start, wait_for
from testinfra.host import Host

#: What keepalived asks whether HAProxy serves.
CHECK = "/usr/local/sbin/atlas-mlflow-haproxy-serves"
#: The settings of Patroni's unit.
DROP_IN = "/etc/systemd/system/patroni.service.d/atlas-mlflow.conf"


@pytest.fixture(scope="module")
def stack(client: Host) -> Iterator[Stack]:
    """Return the stack, with a writer at work that uses the address of the proxies."""
    yield start(client, f"https://{SHARED}", retries=1)
    client.run("systemctl stop writer.service")


def test_the_primarys_host_is_killed(stack: Stack) -> None:
    former = primary()
    with survives(stack, f"primary's host killed: {former}", lambda: docker("start", former)):
        docker("kill", former)
        new = other_primary(former)
    # All parts are whole, so the former primary streams from the new one.
    assert primary() == new and not accepts_writes(former)


def test_the_host_of_the_address_is_killed(stack: Stack) -> None:
    """It has a tracking server too."""
    former = holder()
    (other,) = (name for name in hosts_of("haproxy") if name != former)
    with survives(stack, f"host of the address killed: {former}", lambda: docker("start", former)):
        docker("kill", former)
        wait_for(lambda: has_address(other), lambda: f"{other} does not take the address")
        wait_for(lambda: states(other)[f"mlflow_servers/{former}"].startswith("DOWN"), lambda: f"the proxy sees {states(other)}")
    assert holder() == other, "the address moved back"


def test_the_address_leaves_a_host_that_goes_on(stack: Stack) -> None:
    """The tracking server there has connections to MinIO that had the address at both ends. A request that takes one of them does not wait for an answer."""
    former = holder()
    (other,) = (name for name in hosts_of("haproxy") if name != former)
    listing = f"http://{address_of(host(former))}:5001/api/2.0/mlflow-artifacts/artifacts?path="

    def ends() -> str:
        return said(former, "ss --no-header --tcp --numeric state established %s", f"src {SHARED} and dst {SHARED} and dport = :9100")

    wait_for(lambda: ask(host(former), listing).status == 200 and ends(), lambda: f"{former} is not connected to {SHARED}")
    # The check of HAProxy fails, and HAProxy goes on.
    host(former).check_output("cp --archive %s %s.intact && cp /bin/false %s", CHECK, CHECK, CHECK)
    try:
        wait_for(lambda: has_address(other) and not has_address(former), lambda: f"{other} does not take the address")
        begun = time.time()
        answers = [ask(host(former), listing).status for _number in range(3)]
        took = time.time() - begun
    finally:
        host(former).check_output("mv %s.intact %s", CHECK, CHECK)
    assert (answers, ends()) == ([200] * 3, "") and took < 10, f"{answers} took {took:.1f} s"


def test_a_host_of_minio_is_killed(stack: Stack) -> None:
    name = only_minio()
    with survives(stack, f"MinIO's host killed: {name}", lambda: docker("start", name)) as fault:
        docker("kill", name)
        wait_for(lambda: states(holder())[f"minio/{name}"].startswith("DOWN"), lambda: f"the proxy sees {states(holder())}")
    assert fault.failed == []


#: Rules of nftables on the primary's host. The first drops all packets, the second what goes to the other members: others still reach the former primary.
MEMBERS_PORTS = "{ 2379, 2380, 5432, 8008 }"
CUTS = {
    "both ways": "chain in { type filter hook input priority 0; iifname != lo drop; }; chain out { type filter hook output priority 0; oifname != lo drop; };",
    "one way": (
        f"chain out {{ type filter hook output priority 0; ip daddr {{ MEMBERS }} tcp dport {MEMBERS_PORTS} drop; "
        f"ip daddr {{ MEMBERS }} tcp sport {MEMBERS_PORTS} drop; }};"
    ),
}


@pytest.mark.parametrize("way", CUTS)
def test_the_primary_is_cut_off(stack: Stack, way: str) -> None:
    former = primary()
    others = ", ".join(address_of(host(name)) for name in hosts_of("postgres") if name != former)
    with survives(stack, f"primary cut off, {way}: {former}", lambda: host(former).check_output("nft delete table inet cut")):
        host(former).check_output("nft %s", f"table inet cut {{ {CUTS[way].replace('MEMBERS', others)} }}")
        new = other_primary(former)
        # It runs, so it must have given up by itself.
        wait_for(lambda: not accepts_writes(former), lambda: f"{former} and {new} both accept writes: {said(former, 'journalctl -u patroni --lines 20')}")
    assert primary() == new


def test_a_rolling_restart(stack: Stack, tmp_path: Path) -> None:
    servers = hosts_of("mlflow_servers")
    site = playbook("site", {"all": {"vars": {"mlflow_server_environment": {"MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": 6}}}}, tmp_path)
    with survives(stack, "rolling restart by site.yml", lambda: None, "nothing to heal", lasts=0) as fault:
        done = play(site)
        assert done.returncode == 0, done.stdout[-3000:]
        fault.mended = time.time()
    assert all("MLFLOW_SQLALCHEMYSTORE_POOL_SIZE=6" in server_environment(name) for name in servers)
    assert fault.failed == []


def test_the_leader_of_etcd_is_lost(stack: Stack) -> None:
    former, leader = primary(), etcd_leader()
    others = [name for name in hosts_of("postgres") if name != leader]
    term = etcd(leader)[1]
    with survives(stack, f"leader of etcd killed: {leader}", lambda: host(leader).check_output("systemctl start etcd.service")):
        host(leader).check_output("systemctl kill --signal KILL etcd.service && systemctl stop etcd.service")
        wait_for(lambda: etcd_leader(others), lambda: f"none of {others} leads")
    assert etcd(leader)[1] > term
    # The primary needs etcd, and asks another member.
    assert primary() == former


def test_a_drive_of_minio_is_lost(stack: Stack) -> None:
    *others, name = hosts_of("minio")
    other = others[0]
    before: set[str] = set()
    with survives(stack, f"drive of MinIO emptied: {name}", lambda: None, "MinIO") as fault:
        host(name).check_output("find /var/lib/minio -mindepth 1 -delete || find /var/lib/minio -mindepth 1 -delete")
        before = objects(other)
    assert before
    wait_for(lambda: before <= objects(name), lambda: f"{len(before - objects(name))} of {len(before)} objects are not healed")
    assert fault.failed == []


#: Each makes PostgreSQL take another file for its log.
SWITCH = "SELECT txid_current(), pg_switch_wal()"


def test_the_disk_of_a_replica_is_full(stack: Stack) -> None:
    first = primary()
    name = synchronous(first)
    full = "/var/lib/postgresql/full"

    def streams() -> bool:
        sql(first, SWITCH)
        return sql(first, f"SELECT state FROM pg_stat_replication WHERE application_name = '{name}'") == "streaming"

    with survives(stack, f"disk full of the synchronous replica: {name}", lambda: host(name).check_output("rm --force %s", full)):
        host(name).check_output("head --bytes 4G /dev/zero > %s; df /var/lib/postgresql | grep ' 100%% '", full)
        wait_for(lambda: not streams(), lambda: f"{name} streams with a full disk")
        wait_for(lambda: synchronous(first) not in ("", name), lambda: f"no other replica is synchronous: {synchronous(first)}")
    assert "No space left on device" in host(name).check_output("cat /var/log/postgresql/*.log; journalctl -u patroni --no-pager")
    assert primary() == first


#: Where site.yml is killed: while a tracking server that the proxies have drained restarts, and after that, so that the last run has to end all of it.
PHASES = {
    "a server is drained": "atlas.mlflow.mlflow_server : Drain the tracking server at the proxies",
    "a server starts": "atlas.mlflow.mlflow_server : Wait for the first answer of the tracking server",
}


def test_site_is_killed_and_run_again(stack: Stack, tmp_path: Path) -> None:
    site = playbook("site", {"all": {"vars": {"mlflow_server_environment": {"MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": 7}}}}, tmp_path)
    with survives(stack, "site.yml killed twice, and run to its end", lambda: None, "site.yml", lasts=0) as fault:
        for number, phase in enumerate(PHASES.values()):
            cut_short(stack_hosts(), site, phase, tmp_path / str(number))
        done = play(site)
        fault.mended = time.time()
        assert done.returncode == 0, done.stdout[-3000:]
    assert all("MLFLOW_SQLALCHEMYSTORE_POOL_SIZE=7" in server_environment(name) for name in hosts_of("mlflow_servers"))
    assert fault.failed == []
    assert_unchanged(play(site))


def test_patroni_of_the_distribution_is_replaced(stack: Stack, tmp_path: Path) -> None:
    """PostgreSQL runs on meanwhile, also with the primary."""
    members = hosts_of("postgres")
    for name in sorted(members, key=accepts_writes):
        host(name).check_output(r"sed --in-place 's|^ExecStart=.*/opt/.*|ExecStart=/usr/bin/patroni /etc/patroni/config.yml|' %s", DROP_IN)
        host(name).check_output("systemctl daemon-reload && systemctl restart patroni.service")
        wait_whole(stack.client)
    first, started = primary(), [sql(name, "SELECT pg_postmaster_start_time()") for name in members]
    packaged = {patroni_release(stack.client, name) for name in members}
    with survives(stack, "Patroni of the distribution replaced by site.yml", lambda: None, "nothing to heal", lasts=0) as fault:
        done = play(playbook("site", {}, tmp_path))
        assert done.returncode == 0, done.stdout[-3000:]
        fault.mended = time.time()
    assert fault.failed == []
    assert primary() == first and [sql(name, "SELECT pg_postmaster_start_time()") for name in members] == started
    (pinned,) = {patroni_release(stack.client, name) for name in members}
    assert packaged.isdisjoint({pinned}) and f"patroni=={pinned} " in (ROOT / "roles/postgres/files/patroni.txt").read_text()
    assert "pause: true" not in host(first).check_output(f"{PATRONICTL} show-config")


def test_a_switch_over(stack: Stack, tmp_path: Path) -> None:
    former = primary()
    with survives(stack, "switch-over by playbook", lambda: None, "nothing to heal", lasts=0) as fault:
        done = play(playbook("switch_over_postgres", {}, tmp_path))
        fault.mended = time.time()
        assert done.returncode == 0, done.stdout[-3000:]
    assert primary() != former


def test_all_that_was_ever_acknowledged_is_there(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    table, missing = finish(stack, "cluster")
    with capsys.disabled():
        print(f"\n{table}")
    assert missing == []
