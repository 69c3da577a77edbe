"""Both ways of the tracking servers to the primary of PostgreSQL, while it dies under a client that writes all along.

The servers change between the ways by `site.yml` once, and for the comparison by their settings alone, in turn: `ROUNDS=3` loses the primary three times with
each. No proxy and no tracking server is on its host, so that only the way to PostgreSQL differs. The last test prints the longest time without an acknowledged
request.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from parts import (
    PATRONICTL,
    SHARED,
    docker,
    has_address,
    holder,
    host,
    missing,
    other_primary,
    primaries,
    primary,
    server_environment,
    states,
    survives,
    synchronous,
    wait_whole,
)
from stack.support import address_of, changed, diagnosis, hosts_of, play, playbook, said
from stack.writing import Stack, finish, start, wait_for
from testinfra.host import Host

WAYS = ("hosts", "haproxy")
ROUNDS = int(os.environ.get("ROUNDS", "1"))
#: What was measured: the way, the seconds without an acknowledged request, and those from the loss to the last failed request.
MEASURED: list[tuple[str, float, float, int]] = []


@pytest.fixture(scope="module")
def stack(client: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Return the stack without reads of replicas, with a writer at work that uses the address of the proxies."""
    # Without these reads, the members need fewer connections, and PostgreSQL restarts. That is no part of the switch.
    site("hosts", tmp_path_factory.mktemp("hosts"))
    yield start(client, f"https://{SHARED}", retries=1)
    client.run("systemctl stop writer.service")
    # The tests that follow find the settings of the inventory.
    done = play(playbook("site", {}, tmp_path_factory.mktemp("inventory")), patience=900)
    assert done.returncode == 0, said(done)


def lead_apart(client: Host) -> None:
    """Let a member lead on whose host there is neither a proxy nor a tracking server."""
    apart = [name for name in hosts_of("postgres") if name not in (*hosts_of("haproxy"), *hosts_of("mlflow_servers"))]
    former = primary()
    if former not in apart:
        wait_for(lambda: synchronous_is(former, apart[0]), lambda: f"{apart[0]} cannot take over from {former}")
        host(former).check_output(f"{PATRONICTL} switchover atlas-mlflow --leader %s --candidate %s --force", former, apart[0])
        wait_for(lambda: primaries() == apart[:1], lambda: f"{apart[0]} does not take over")
    wait_whole(client)


def synchronous_is(first: str, name: str) -> bool:
    """Say whether a member is the synchronous replica of the primary, which alone may take over. Another one that is so is restarted."""
    now = synchronous(first)
    if now not in ("", name):
        host(now).check_output("systemctl restart patroni.service")
    return now == name


def site(way: str, folder: Path) -> set[str]:
    """Run site.yml with a way of the tracking servers to PostgreSQL, and return what it changed on each host."""
    # All requests go to the primary, and none misses a write that a replica has not replayed yet.
    over = {"mlflow_server_postgres_route": way, "mlflow_server_read_replicas": False}
    done = play(playbook("site", {}, folder), "--extra-vars", json.dumps(over), patience=900)
    return changed(done)


def asked() -> list[bool]:
    """Say of each tracking server whether it asks the proxies for the primary."""
    found = [line for name in hosts_of("mlflow_servers") for line in server_environment(name) if line.startswith("MLFLOW_BACKEND_STORE_URI=")]
    assert len(found) == len(hosts_of("mlflow_servers"))
    return [f"host={SHARED}," in line for line in found]


def take(way: str, client: Host) -> None:
    """Let the tracking servers take a way, which the proxies and the members know already."""
    addresses = {way: [address_of(host(name)) for name in hosts_of(group)] for way, group in (("hosts", "postgres"), ("haproxy", "haproxy"))}
    places = {"hosts": addresses["hosts"], "haproxy": [SHARED, *addresses["haproxy"]]}[way]
    port = {"hosts": "5432", "haproxy": "6433"}[way]
    listed = f"host={','.join(places)}\\&port={','.join([port] * len(places))}"
    for name in hosts_of("mlflow_servers"):
        script = f'/^MLFLOW_BACKEND_STORE_URI=/ s/host=[^&]*&port=[^&"]*/{listed}/'
        host(name).check_output("sed --in-place %s /etc/default/mlflow-server", script)
        host(name).check_output("systemctl restart mlflow-server.service")
        wait_for(lambda: not missing(client), lambda: "; ".join(missing(client)))
    assert set(asked()) == {way == "haproxy"}


def longest_pause(stack: Stack, since: float, until: float) -> float:
    """Return the longest time between two acknowledged requests."""
    times = [entry["at"] for entry in stack.entries(since) if "done" in entry and entry["at"] <= until]
    return max(later - earlier for earlier, later in itertools.pairwise(times))


def test_the_servers_take_the_way_through_the_proxies(stack: Stack, tmp_path: Path) -> None:
    wait_whole(stack.client)
    with survives(stack, "switched to haproxy by site.yml", lambda: None, "nothing to heal", lasts=0) as fault:
        site("haproxy", tmp_path)
        fault.mended = time.time()
    assert fault.failed == [] and all(asked())
    assert site("haproxy", tmp_path) == {"changed=0"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", range(ROUNDS))
def test_the_primary_dies(stack: Stack, way: str, number: int) -> None:
    wait_whole(stack.client)
    take(way, stack.client)
    lead_apart(stack.client)
    former = primary()
    with survives(stack, f"{way}, round {number + 1}: primary's host killed: {former}", lambda: docker("start", former)) as fault:
        docker("kill", former)
        new = other_primary(former)
        for name in hosts_of("haproxy") if way == "haproxy" else []:
            wait_for(partial(passes, name, new, former), partial(seen_by, name))
    last = max([entry["at"] for entry in fault.failed], default=fault.begun) - fault.begun
    MEASURED.append((way, longest_pause(stack, fault.begun - 10, fault.served + 5), last, len(fault.failed)))
    assert MEASURED[-1][1] < 60


def test_a_proxy_that_alone_finds_no_primary_gives_the_address_away(stack: Stack, tmp_path: Path) -> None:
    take("haproxy", stack.client)
    lead_apart(stack.client)
    blind = holder()
    (other,) = (name for name in hosts_of("haproxy") if name != blind)
    with survives(stack, f"proxy cut off from Patroni: {blind}", lambda: host(blind).check_output("nft delete table inet cut"), lasts=0):
        # Its own member of the cluster answers on the same port, and is no part of the cut.
        cut = 'table inet cut { chain out { type filter hook output priority 0; oifname != "lo" tcp dport 8008 drop; }; }'
        host(blind).check_output("nft %s", cut)
        wait_for(lambda: not any(state.startswith("UP") for state in databases(blind).values()), partial(seen_by, blind))
        wait_for(lambda: has_address(other) and not has_address(blind), lambda: f"{other} does not take the address")
        status, found, printed = diagnosis(tmp_path)
        assert (status == 0, found) == (False, ["proxy-without-primary"]), printed[-6000:]
    assert holder() == other


def databases(name: str) -> dict[str, str]:
    """Return how a proxy sees the members of PostgreSQL."""
    return {server: state for server, state in states(name).items() if server.startswith("postgres/")}


def passes(name: str, new: str, former: str) -> bool:
    """Say whether a proxy passes connections to a new primary, and none to the former one."""
    seen = states(name)
    return seen[f"postgres/{new}"].startswith("UP") and seen[f"postgres/{former}"].startswith("DOWN")


def seen_by(name: str) -> str:
    """Return in words how a proxy sees the servers behind it."""
    return f"{name} sees {states(name)}"


def test_the_way_back_closes_the_proxies(stack: Stack, tmp_path: Path) -> None:
    """The run that switches keeps the way open until the servers have left it. The next one closes it."""
    with survives(stack, "hosts: switched back by site.yml", lambda: None, "nothing to heal", lasts=0) as fault:
        for _run in range(2):
            seen = site("hosts", tmp_path)
        fault.mended = time.time()
    assert fault.failed == [] and seen != {"changed=0"} and not any(asked())
    assert not any(server.startswith("postgres/") for name in hosts_of("haproxy") for server in states(name))
    assert site("hosts", tmp_path) == {"changed=0"}


def test_all_that_was_ever_acknowledged_is_there(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    table, missing = finish(stack, "route")
    with capsys.disabled():
        print(f"\n{table}")
        for way, pause, last, failed in MEASURED:
            print(f"{way:<8} {pause:>5.1f} s without an acknowledged request, {last:>5.1f} s to the last failed one, {failed} failed")
    assert missing == []
