"""A pool of MinIO gets a second pool while a client logs runs, and no acknowledged run is lost.

The tests share one writer, and run in this order.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import testinfra
from stack.support import address_of, ask, assert_unchanged, connect, host_of, hosts_of, play, playbook, said
from stack.writing import Stack, finish, start, wait_for
from testinfra.host import Host

#: Seconds for `site.yml` with eight hosts of MinIO.
LONG = 900


@pytest.fixture(scope="module")
def stack(client: Host) -> Iterator[Stack]:
    """Return the stack, with a writer at work that uses the proxy."""
    yield start(client, f"https://{hosts_of('haproxy')[0]}", retries=1)
    client.run("systemctl stop writer.service")


@pytest.fixture(scope="module")
def over() -> dict[str, object]:
    """Return what is laid over the inventory: the hosts of the second pool."""
    return {"minio": {"hosts": {name: {"minio_pool": 2} for name in hosts_of("spares")}}}


@pytest.fixture(scope="module")
def site(over: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the command that sets up the stack with both pools."""
    return playbook("site", over, tmp_path_factory.mktemp("inventory"))


def objects(name: str) -> set[str]:
    """Return the objects of which a host has a part, as they lie on its drive."""
    done = testinfra.get_host(f"docker://{name}").run("find /var/lib/minio/mlflow -name xl.meta")
    return set(done.stdout.splitlines())


def spares_one(name: str) -> bool:
    """Say whether a host of MinIO sees that each pool can lose a host. The firewall lets the proxy ask."""
    address = address_of(testinfra.get_host(f"docker://{name}"))
    return ask(host_of("haproxy"), f"https://{address}:9000/minio/health/cluster?maintenance=true").status == 200


def wait_whole(names: list[str]) -> None:
    """Wait until each host of MinIO sees all that it needs to lose one."""
    wait_for(lambda: all(spares_one(name) for name in names), lambda: str({name: spares_one(name) for name in names}))


def test_three_hosts_are_no_second_pool(stack: Stack, tmp_path: Path) -> None:
    over = {"minio": {"hosts": {name: {"minio_pool": 2} for name in hosts_of("spares")[:3]}}}
    done = play(playbook("site", over, tmp_path))
    assert done.returncode and "or more in each pool (minio_pool)" in said(done), done.stdout


def test_a_second_pool_joins(stack: Stack, site: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    names, spares = hosts_of("minio"), hosts_of("spares")
    stack.wait_served(time.time())
    before = {name: objects(name) for name in names}
    assert all(before.values())
    with stack.survives("a second pool joins", "site.yml") as fault:
        done = play(site, patience=LONG)
        assert done.returncode == 0, done.stdout[-5000:]
        fault.mended = time.time()
    wait_whole(names + spares)
    ended = [entry["at"] for entry in fault.failed]
    with capsys.disabled():
        print(f"\n{len(fault.failed)} requests failed, in {max(ended) - min(entry['began'] for entry in fault.failed) if ended else 0:.1f} s")
    # The writer deletes nothing, and MinIO moves nothing from one pool to another.
    assert all(before[name] <= objects(name) for name in names)
    assert stack.check(0)["missing"] == []


def test_the_firewalls_let_only_the_stack_in(client: Host) -> None:
    front = host_of("haproxy")
    for name in (hosts_of("minio")[0], hosts_of("spares")[0]):
        member = testinfra.get_host(f"docker://{name}")
        assert (connect(front, member, 9000), connect(client, member, 9000)) == (["open"], ["dropped"])


def test_new_artifacts_go_to_both_pools(stack: Stack) -> None:
    names, spares = hosts_of("minio"), hosts_of("spares")
    first = len(objects(names[0]))
    wait_for(lambda: all(objects(name) for name in spares), lambda: str({name: len(objects(name)) for name in spares}))
    wait_for(lambda: len(objects(names[0])) > first, lambda: f"no object of {first} is new in the first pool")
    assert stack.check(0)["missing"] == []


def test_a_second_run_changes_nothing(site: list[str]) -> None:
    assert_unchanged(play(site, patience=LONG))


def test_each_pool_may_lose_a_host(stack: Stack) -> None:
    lost = [hosts_of("minio")[1], hosts_of("spares")[1]]
    with stack.survives("a host of each pool killed") as fault:
        subprocess.run(["docker", "kill", *lost], check=True, capture_output=True)
        stack.wait_served(time.time() + 10)
        subprocess.run(["docker", "start", *lost], check=True, capture_output=True)
        fault.mended = time.time()
    wait_whole(hosts_of("minio") + hosts_of("spares"))


def test_the_second_pool_does_not_leave(stack: Stack, tmp_path: Path) -> None:
    done = play(playbook("site", {}, tmp_path))
    assert done.returncode and "The hosts of a pool, their order in the group minio, and their drives stay as they are" in said(done), done.stdout
    stack.wait_served(time.time())


def test_all_that_was_ever_acknowledged_is_there(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    table, missing = finish(stack, "pool_expansion")
    with capsys.disabled():
        print(f"\n{table}")
    assert missing == []
