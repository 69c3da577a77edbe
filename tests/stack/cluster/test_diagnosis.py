"""The diagnosis names what is broken in a cluster, a pool or a shared address, and no fault that follows from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from parts import (
    PATRONICTL,
    SHARED,
    docker,
    etcd,
    etcd_leader,
    has_address,
    holder,
    host,
    only_minio,
    primary,
    said,
    sql,
    states,
    synchronous,
    wait_whole,
)
from stack.support import diagnosis, hosts_of, stack_hosts
from stack.writing import wait_for
from testinfra.host import Host


def replica() -> str:
    """Return a replica that is not the synchronous one, so that the primary waits for nothing."""
    first = primary()
    return next(name for name in hosts_of("postgres") if name not in (first, synchronous(first)))


@contextmanager
def stopped(unit: str, *names: str) -> Iterator[None]:
    """Stop a service on hosts."""
    for name in names:
        host(name).check_output("systemctl stop %s", unit)
    try:
        yield
    finally:
        for name in names:
            host(name).check_output("systemctl start %s", unit)


@contextmanager
def rule(name: str, chain: str) -> Iterator[None]:
    """Add a rule of nftables on a host."""
    host(name).check_output("nft %s", f"table inet broken {{ {chain} }}")
    try:
        yield
    finally:
        host(name).check_output("nft delete table inet broken")


@contextmanager
def host_lost() -> Iterator[None]:
    """Kill a host. The others wait for its answers for some seconds, until they know that it is gone."""
    name = only_minio()
    docker("kill", name)
    try:
        wait_for(lambda: states(holder())[f"minio/{name}"].startswith("DOWN"), lambda: f"the proxy sees {states(holder())}")
        time.sleep(6)
        yield
    finally:
        docker("start", name)


def etcd_lost() -> AbstractContextManager[None]:
    """Stop etcd on a replica."""
    return stopped("etcd", replica())


@contextmanager
def majority_lost() -> Iterator[None]:
    """Stop etcd on all members but one. The primary goes on, because it reaches all other members."""
    with stopped("etcd", *hosts_of("postgres")[1:]):
        wait_for(lambda: etcd_leader() == "", lambda: f"etcd has a leader: {[etcd(name) for name in hosts_of('postgres')]}")
        yield


def no_primary() -> AbstractContextManager[None]:
    """Stop Patroni on all members."""
    return stopped("patroni", *hosts_of("postgres"))


def member_lost() -> AbstractContextManager[None]:
    """Stop Patroni on a replica."""
    return stopped("patroni", replica())


@contextmanager
def replica_apart() -> Iterator[None]:
    """Let a replica reach PostgreSQL of no other member. The tracking server on its host reaches it."""
    name = replica()
    with rule(name, "chain out { type filter hook output priority 0; meta skuid postgres tcp dport 5432 reject with tcp reset; };"):
        wait_for(lambda: sql(name, "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'") == "0", lambda: f"{name} still streams")
        # The primary notices when it sends.
        wait_for(lambda: name not in sql(primary(), "SELECT application_name FROM pg_stat_replication"), lambda: f"the primary still knows {name}")
        yield


@contextmanager
def replica_late() -> Iterator[None]:
    """Stop the process that replays on a replica while the primary writes two megabytes. Patroni ends a pause of the replay at once."""
    name = replica()
    host(name).check_output("pkill -STOP -f '^postgres: .*: startup '")
    try:
        assert sql(primary(), "SELECT pg_logical_emit_message(true, 'test', repeat('x', 2000000))"), "the primary wrote nothing"
        # A replica is late if its oldest write has waited for ten seconds.
        time.sleep(11)
        yield
    finally:
        host(name).check_output("pkill -CONT -f '^postgres: .*: startup '")


@contextmanager
def two_primaries() -> Iterator[None]:
    """Promote a replica by hand while Patroni is paused. Afterwards it gets the data of the primary again."""
    name, first = replica(), primary()
    host(first).check_output(f"{PATRONICTL} pause --wait")
    try:
        host(name).check_output("sudo -u postgres psql --command 'SELECT pg_promote()'")
        yield
    finally:
        host(first).check_output(f"{PATRONICTL} resume --wait")
        # It has a timeline of its own, and nothing that was acknowledged.
        wait_for(lambda: said(first, f"{PATRONICTL} reinit --force --wait atlas-mlflow {name}") != "", lambda: f"{name} is not copied again")


def store_lost() -> AbstractContextManager[None]:
    """Stop MinIO on a host."""
    return stopped("minio", only_minio())


def stores_lost() -> AbstractContextManager[None]:
    """Stop MinIO on half of the hosts: the pool gives objects, and takes none."""
    return stopped("minio", *hosts_of("minio")[-2:])


@contextmanager
def drive_read_only() -> Iterator[None]:
    """Mount the drive of a host read-only."""
    name = only_minio()
    host(name).check_output("mount --bind /var/lib/minio /var/lib/minio && mount -o remount,bind,ro /var/lib/minio")
    try:
        yield
    finally:
        host(name).check_output("umount /var/lib/minio")


def spare_keepalived_lost() -> AbstractContextManager[None]:
    """Stop keepalived on the proxy without the address."""
    first = holder()
    return stopped("keepalived", *(name for name in hosts_of("haproxy") if name != first))


def all_keepalived_lost() -> AbstractContextManager[None]:
    """Stop keepalived on all proxies, so that none has the address."""
    return stopped("keepalived", *hosts_of("haproxy"))


@contextmanager
def deaf_proxies() -> Iterator[None]:
    """Let the proxies not hear each other."""
    one, two = hosts_of("haproxy")
    deaf = "chain in { type filter hook input priority 0; ip protocol 112 drop; };"
    with rule(one, deaf), rule(two, deaf):
        wait_for(lambda: has_address(one) and has_address(two), lambda: f"one of them does not take {SHARED}")
        yield


@dataclass(frozen=True)
class Broken:
    """Something that is broken, and the faults that the diagnosis names."""

    make: Callable[[], AbstractContextManager[None]]
    faults: tuple[str, ...]


BROKEN = {
    broken.make.__name__: broken
    for broken in (
        Broken(host_lost, ("host-unreachable",)),
        Broken(etcd_lost, ("etcd-member-missing",)),
        Broken(majority_lost, ("etcd-without-quorum",)),
        Broken(no_primary, ("cluster-member-missing", "cluster-without-primary")),
        Broken(member_lost, ("cluster-member-missing",)),
        Broken(replica_apart, ("replica-not-streaming",)),
        Broken(replica_late, ("replica-lags",)),
        Broken(store_lost, ("pool-host-missing",)),
        Broken(stores_lost, ("pool-host-missing", "pool-without-write-quorum")),
        Broken(drive_read_only, ("pool-drive-missing",)),
        Broken(spare_keepalived_lost, ("keepalived-not-running",)),
        Broken(all_keepalived_lost, ("keepalived-not-running",)),
        Broken(deaf_proxies, ("virtual-address-twice",)),
        Broken(two_primaries, ("cluster-two-primaries",)),
    )
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_diagnosis_names_the_fault_and_no_other(client: Host, tmp_path: Path, name: str) -> None:
    broken = BROKEN[name]
    wait_whole(client)
    with broken.make():
        status, found, printed = diagnosis(tmp_path)
    assert (found, status == 0) == (sorted(broken.faults), False), printed[-6000:]
    wait_whole(client)


def test_the_diagnosis_of_a_whole_stack_finds_nothing(client: Host, tmp_path: Path) -> None:
    wait_whole(client)
    status, found, printed = diagnosis(tmp_path)
    assert (status, found) == (0, []), printed[-6000:]
    assert "The stack" in printed and len(stack_hosts()) == len({*hosts_of("postgres"), *hosts_of("minio"), *hosts_of("haproxy")})
