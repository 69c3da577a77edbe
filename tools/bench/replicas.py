"""The row that compares several tracking servers behind a proxy with one: throughput, what a request costs each part, and artifacts through the proxy."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from tools.testbed import daemon
from tools.testbed.shell import TestbedError

from . import hosts, model, rows
from .collection import HaproxyError, Proxy
from .figures import Pair
from .hosts import Server, Stack, notice
from .model import COUNTS, SHARE
from .processor import Parts
from .rows import TRANSFERS, Options

STACK = Stack("replicas", {"mlflow_server_workers": 1}, servers=max(COUNTS), proxied=True)
PROXY_UNIT, PROXY_PORT = "haproxy.service", 80
#: The units of the parts on the first host, by the beginnings of their names. Debian's PostgreSQL has its version and cluster behind it.
STORES = {model.DATABASE: "postgresql@", model.STORE: "minio.service", model.PROXY: PROXY_UNIT}
FILES = "64 MB"
#: How far a server may exceed its share: it is given in periods of 100 ms.
TOLERANCE = 1.2
#: Seconds until the proxy uses exactly the wanted servers, and seconds of the load that makes the seed and warms the servers up.
PATIENCE, WARM_UP = 60, 5


@dataclass(frozen=True)
class Turn:
    """One load on a number of servers."""

    requests_per_second: float
    #: The cores that each part used on average.
    cores: dict[str, float]
    #: The cores of the machine that were idle.
    idle: float


def proxy_of(host: str) -> Proxy:
    """Return the proxy on a host."""
    script = (hosts.ON_HOST / "ask_proxy.py").read_text()
    return Proxy(lambda command: hosts.in_host(host, "python3", "-c", script, command))


def use(proxy: Proxy, wanted: Collection[str], clock: Callable[[], float] = time.monotonic) -> None:
    """Let a proxy use only some tracking servers, and wait until it does and the others have no open requests.

    :raises TestbedError: If it does not.
    """
    others = set(proxy.servers()) - set(wanted)
    end = clock() + PATIENCE
    try:
        for name in wanted:
            proxy.set_state(name, "ready")
        for name in others:
            proxy.set_state(name, "maint")
    except HaproxyError as error:
        raise TestbedError(str(error)) from error
    while {name for name, server in proxy.servers().items() if server.serves} != set(wanted) or any(proxy.open_requests(name) for name in others):
        if clock() >= end:
            raise TestbedError(f"HAProxy does not use exactly {', '.join(wanted)} after {PATIENCE} s.")
        time.sleep(0.5)


def limit(host: str, share: str) -> None:
    """Limit the tracking server of a host to a share of a core, without a restart. An empty share removes the limit."""
    hosts.in_host(host, "python3", "-c", (hosts.ON_HOST / "limit.py").read_text(), hosts.UNIT, share)


@contextlib.contextmanager
def limited(names: Iterable[str]) -> Iterator[None]:
    """Limit the tracking servers of hosts for a while."""
    names = list(names)
    try:
        for name in names:
            limit(name, f"{SHARE:.0%}")
        yield
    finally:
        for name in names:
            limit(name, "")


def parts_of(names: list[str]) -> Parts:
    """Return the units of each part, by the IDs of their containers."""
    ids = [daemon.identifier(name) for name in names]
    return {model.SERVER: [[one, hosts.UNIT] for one in ids]} | {part: [[ids[0], unit]] for part, unit in STORES.items()}


def turn(url: str, count: int, seconds: float, parts: Parts) -> Turn:
    """Send the load to the proxy while it uses a number of servers.

    :raises TestbedError: If too many requests fail, or the servers used more than their share.
    """
    result = rows.results_in_turns([url], 1, seconds, parts=parts)[0][0]
    if said := rows.failed_of([result], url):
        raise TestbedError(said)
    cores = {part: used / result["seconds"] for part, used in result["processor_seconds"].items()}
    if cores[model.SERVER] > count * SHARE * TOLERANCE:
        raise TestbedError(
            f"{count} tracking servers used {cores[model.SERVER]:.2f} cores, and may use {count * SHARE:.2f}: their CPUQuota has no effect here."
        )
    return Turn(result["requests_per_second"], cores, result["idle_seconds"] / result["seconds"])


def cost_of(part: str) -> Callable[[Turn], float]:
    """Return the function that returns the milliseconds of processor time that a part used for each request of a turn."""
    return lambda one: one.cores[part] / one.requests_per_second * 1000


def pairs_of(rounds: list[dict[int, list[Turn]]]) -> list[Pair]:
    """Return the pairs of all rounds, which have several turns for each number of servers. The value of a round is the mean of its turns."""

    def values(count: int, value: Callable[[Turn], float], least: float = 0.001) -> list[float]:
        # A part whose clock did not tick has used less than can be measured, and not nothing.
        return [max(least, statistics.mean(value(one) for one in given[count])) for given in rounds]

    def compared(what: str, unit: str, value: Callable[[Turn], float], count: int, more_is_better: bool = True, aim: float | None = None) -> Pair:
        return Pair("replicas", what, unit, "1 server", values(count, value), values(1, value), more_is_better, aim, f"{count} servers")

    most = max(COUNTS)
    found = []
    for count in COUNTS[1:]:
        what, _ = model.throughput_pair(count)
        found.append(compared(what, "requests/s", lambda one: one.requests_per_second, count, aim=1.8 if count == 2 else None))
    found += [compared(model.cost_text(part), "ms", cost_of(part), most, more_is_better=False) for part in model.PARTS]
    found.append(
        Pair(
            "replicas",
            "share of the processor that the tracking servers used",
            "%",
            "1 server",
            values(most, lambda one: one.cores[model.SERVER] / (most * SHARE) * 100),
            values(1, lambda one: one.cores[model.SERVER] / SHARE * 100),
            ours=f"{most} servers",
        )
    )
    found.append(compared("idle part of the machine", "%", lambda one: one.idle / (os.cpu_count() or 1) * 100, most))
    return found


def artifacts(host: str, rounds: int) -> list[Pair]:
    """Compare a large artifact through the proxy with one straight to the server, by plain requests."""
    count, size = TRANSFERS[FILES]
    server, proxy = Server(host, hosts.UNIT, hosts.PORT), Server(host, PROXY_UNIT, PROXY_PORT)
    seconds = hosts.with_servers_settings(host, hosts.ON_HOST / "transfer.py", server.url, str(size), str(count), str(rounds), "http,proxy", proxy.url)
    speeds = {way: [count * size / 1e6 / value for value in values] for way, values in seconds.items()}
    return [
        Pair("replicas", f"{FILES} {way}", "MB/s", "straight to the server", speeds[f"proxy {way}"], speeds[f"http {way}"], aim=0.9, ours="through HAProxy")
        for way in ("up", "down")
    ]


def replicas(options: Options) -> list[Pair]:
    """Compare two and four tracking servers behind a proxy with one, each with the same share of a core, and artifacts through the proxy with those without."""
    measured: list[dict[int, list[Turn]]] = []
    with hosts.running(STACK, options.keep) as stack:
        first, url, proxy = stack.hosts[0], Server(stack.hosts[0], PROXY_UNIT, PROXY_PORT).url, proxy_of(stack.hosts[0])
        # One server, so that both ways have the same one. The limit comes later, because artifacts need more than a share.
        use(proxy, [first])
        transfers = artifacts(first, options.rounds)
        use(proxy, stack.hosts)
        rows.results_in_turns([url], 1, WARM_UP)
        parts = parts_of(stack.hosts)
        with limited(stack.hosts):
            for number in range(options.rounds):
                turns: dict[int, list[Turn]] = {count: [] for count in COUNTS}
                # Up and down again, so that what fills up or warms up favours no number.
                for count in (*COUNTS, *reversed(COUNTS)):
                    use(proxy, stack.hosts[:count])
                    turns[count].append(turn(url, count, options.seconds, parts))
                measured.append(turns)
                said = (f"{count} servers {statistics.mean(one.requests_per_second for one in given):.1f}" for count, given in turns.items())
                notice(f"round {number + 1}: {', '.join(said)} requests/s")
    return [*pairs_of(measured), *transfers]


ROWS: dict[str, Callable[[Options], list[Pair]]] = {"replicas": replicas}
STACKS = {"replicas": [STACK]}
