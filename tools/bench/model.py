"""How many requests a stack answers, and how large a stack must be: a model of the processor time that each part needs for a request.

A part with some cores answers as many requests per second as its cores have time for. The stack answers as many as its slowest part.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .collection import max_connections, most_connections
from .figures import Pair, percent

SERVER, DATABASE, STORE, PROXY, CLIENT = "the tracking server", "PostgreSQL", "MinIO", "HAProxy", "the client"
#: The parts that share the machine of a measurement.
PARTS = (SERVER, DATABASE, STORE, PROXY, CLIENT)
MACHINE = "the machine"
#: The part of a core that each tracking server of the row `replicas` may use, and the numbers of servers.
SHARE, COUNTS = 0.2, (1, 2, 4)
THROUGHPUT = f"16 operations, 10 clients, {percent(SHARE)} of a core for each server"

# Assumptions about people and trainings in the busiest minutes. None of them is measured.
BROWSING, PAGE_REQUESTS, PAGE_SECONDS = 0.2, 5, 30
TRAINING, LOG_SECONDS = 0.25, 2
#: Requests per second of one user, who may browse, train, or do neither.
REQUESTS_PER_USER = BROWSING * PAGE_REQUESTS / PAGE_SECONDS + TRAINING / LOG_SECONDS

# Choices.
#: The part of its cores that a part may use: more makes requests wait for each other.
BUSY = 0.6
#: The number of users from which the loss of a tracking server or a proxy, and of a store, must not stop them.
SPARE_FROM, CLUSTER_FROM = 100, 1000
#: Hosts of a cluster of PostgreSQL, and of a pool of MinIO.
CLUSTER, POOL = 3, 4
#: The sizes of hosts for tracking servers in cores, and the number of servers from which a larger size is taken.
SERVER_CORES, MANY_SERVERS = (2, 4, 8), 4
LEAST_CORES, LARGE_HOST = 2, 32
#: GiB of memory: for the system, for each worker with what it keeps of large answers, and for each connection to PostgreSQL.
SYSTEM_GIB, WORKER_GIB, DATABASE_GIB, CONNECTION_GIB = 1.0, 0.25, 2.0, 0.01
USERS = (10, 100, 1000, 10_000)


@dataclass(frozen=True)
class Part:
    """A part of a stack, or all parts on one machine."""

    name: str
    #: The cores that it may use.
    cores: float
    #: Seconds of processor time for each request.
    seconds: float

    @property
    def requests(self) -> float:
        """Return the requests per second that it can answer."""
        return self.cores / self.seconds


def slowest(parts: Iterable[Part]) -> Part:
    """Return the part that limits the others."""
    return min(parts, key=lambda part: part.requests)


def throughput_pair(count: int) -> tuple[str, str]:
    """Return the texts `what` and `ours` of the pair that compares several servers with one."""
    return THROUGHPUT, f"{count} servers"


def cost_text(part: str) -> str:
    """Return the text `what` of the pair with the processor time of a part."""
    return f"processor time of {part} for each request"


def measured_costs(pairs: Iterable[Pair]) -> dict[str, float]:
    """Return the seconds of processor time for each request of each part, measured with one server.

    :raises KeyError: If one was not measured.
    """
    found = {pair.what: statistics.median(pair.other_values) / 1000 for pair in pairs if pair.unit == "ms"}
    return {part: found[cost_text(part)] for part in PARTS}


def predicted(costs: Mapping[str, float], servers: int, share: float, cores: float) -> Part:
    """Return the part that limits servers of one worker on a machine that all parts share, with its requests per second.

    :param costs: Seconds of processor time for each request, by part.
    :param share: The cores that each server may use. Python code of a worker runs on one core at a time.
    :param cores: The cores of the machine.
    """
    return slowest([Part(SERVER, servers * min(share, 1), costs[SERVER]), Part(MACHINE, cores, sum(costs[part] for part in PARTS))])


def error(prediction: float, measured: float) -> float:
    """Return by how many percent a prediction is above what was measured."""
    return (prediction / measured - 1) * 100


def power(value: float, least: int = 1) -> int:
    """Return the lowest power of two that is not below a value."""
    return int(max(least, 2 ** math.ceil(math.log2(value)))) if value > 0 else least


@dataclass(frozen=True)
class Size:
    """A stack for a number of users. Cores and memory are those of each host."""

    users: int
    requests: float
    servers: int
    #: Of these servers, those that are there for the loss of one.
    spare: int
    server_cores: int
    server_gib: int
    database_hosts: int
    database_cores: int
    database_gib: int
    connections: int
    store_hosts: int
    store_cores: int
    proxies: int
    proxy_cores: int

    @property
    def workers(self) -> int:
        """Return the workers of each server: one for each core, because Python code of a worker runs on one core at a time."""
        return self.server_cores

    def parts(self, costs: Mapping[str, float]) -> list[Part]:
        """Return the parts with the cores that they should use: without spare servers, and without hosts that only stand by."""
        cores = {
            SERVER: (self.servers - self.spare) * self.server_cores,
            DATABASE: self.database_cores,
            STORE: self.store_hosts * self.store_cores,
            PROXY: self.proxy_cores if self.proxies else 0,
        }
        return [Part(name, count * BUSY, costs[name]) for name, count in cores.items() if count]

    def users_at_limit(self, costs: Mapping[str, float]) -> tuple[str, int]:
        """Return the part that is too small first if there are more users, and their number."""
        part = slowest(self.parts(costs))
        return part.name, int(part.requests / REQUESTS_PER_USER)


def connections_of(servers: int, workers: int) -> int:
    """Return the max_connections that the collection sets for these servers with users."""
    needed = most_connections([{"mlflow_server_workers": workers, "mlflow_server_auth": "basic"}] * servers)
    return max_connections(needed) or 100


def size(users: int, costs: Mapping[str, float]) -> Size:
    """Return the stack for a number of users.

    :param costs: Seconds of processor time for each request, by part.
    """
    requests = users * REQUESTS_PER_USER
    spare, clustered = int(users >= SPARE_FROM), users >= CLUSTER_FROM
    needed = {part: requests * costs[part] / BUSY for part in costs}
    server_cores = next((cores for cores in SERVER_CORES if math.ceil(needed[SERVER] / cores) < MANY_SERVERS), SERVER_CORES[-1])
    servers = max(1, math.ceil(needed[SERVER] / server_cores)) + spare
    connections = connections_of(servers, server_cores)
    store_hosts = POOL if clustered else 1
    return Size(
        users=users,
        requests=requests,
        servers=servers,
        spare=spare,
        server_cores=server_cores,
        server_gib=power(SYSTEM_GIB + WORKER_GIB * server_cores),
        database_hosts=CLUSTER if clustered else 1,
        database_cores=power(needed[DATABASE], LEAST_CORES),
        database_gib=power(DATABASE_GIB + CONNECTION_GIB * connections),
        connections=connections,
        store_hosts=store_hosts,
        store_cores=power(needed[STORE] / store_hosts, LEAST_CORES),
        proxies=2 * spare,
        proxy_cores=power(needed[PROXY], LEAST_CORES),
    )


def most_users(cost: float, cores: int = LARGE_HOST) -> int:
    """Return the users for whom a part on one host is enough.

    :param cost: Seconds of processor time for each request.
    """
    return int(Part("", cores * BUSY, cost).requests / REQUESTS_PER_USER)
