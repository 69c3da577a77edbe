"""The hosts of the cluster as they see themselves: which one is the primary, has the address or leads, and what is missing until all parts are whole."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import testinfra
from stack.support import REPLICAS, address_of, ask, hosts_of
from stack.writing import Fault, Stack, wait_for
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

#: The address that the proxies share.
SHARED = str(AnsibleRunner.get_runner(os.environ["MOLECULE_INVENTORY_FILE"]).get_variables(hosts_of("haproxy")[0])["haproxy_virtual_address"])
#: Seconds for which a fault lasts at least, so that the proxies' checks, Patroni and the client meet it.
LASTS = 12
TLS = "/etc/atlas-mlflow/tls"
#: Patroni's program for operators.
PATRONICTL = "/usr/local/bin/patronictl"
#: Prints the states of all servers of HAProxy, by the names of the backend and the server.
STATES = """
import json, socket
with socket.socket(socket.AF_UNIX) as haproxy:
    haproxy.connect("/run/haproxy/stats.sock")
    haproxy.sendall(b"show stat\\n")
    head, *rows = [line.split(",") for line in b"".join(iter(lambda: haproxy.recv(65536), b"")).decode().splitlines() if line]
print(json.dumps({f"{row[0]}/{row[1]}": row[head.index("status")] for row in rows if row[1] not in ("FRONTEND", "BACKEND")}))
"""


def host(name: str) -> Host:
    """Return a host by its name."""
    return testinfra.get_host(f"docker://{name}")


def docker(action: str, *names: str) -> None:
    """Kill or start hosts, all at once."""
    subprocess.run(["docker", action, *names], check=True, capture_output=True)


def said(name: str, command: str, *arguments: str) -> str:
    """Return what a command says on a host, empty if it fails there or the host does not run."""
    done = host(name).run(command, *arguments)
    return done.stdout.strip() if done.rc == 0 else ""


def sql(name: str, query: str, database: str = "postgres") -> str:
    """Return what PostgreSQL on a host answers, empty if it does not run."""
    return said(name, "timeout 10 sudo -u postgres psql --no-psqlrc --tuples-only --no-align --dbname %s --command %s", database, query)


def accepts_writes(name: str) -> bool:
    """Say whether PostgreSQL on a host is no replica. Of two that are cut off from each other, both may be none for a while."""
    return sql(name, "SELECT pg_is_in_recovery()") == "f"


def primaries(names: Sequence[str] = ()) -> list[str]:
    """Return which hosts, of some or of all, have a PostgreSQL that is no replica."""
    return [name for name in names or hosts_of("postgres") if accepts_writes(name)]


def primary() -> str:
    """Return the host of the primary."""
    (found,) = primaries()
    return found


def synchronous(of: str) -> str:
    """Return the replica that has each write before the client has its answer.

    :param of: The primary.
    """
    return sql(of, "SELECT application_name FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum') LIMIT 1")


def patroni_release(client: Host, name: str) -> str:
    """Return the release of Patroni that answers on a host, empty if none does."""
    answer = ask(client, f"https://{address_of(host(name))}:8008/patroni")
    return str(answer.json()["patroni"]["version"]) if answer.status in (200, 503) else ""


def other_primary(former: str) -> str:
    """Wait until another host has the primary, and return the host."""
    rest = [name for name in hosts_of("postgres") if name != former]
    journal = "journalctl --unit patroni --lines 20 --no-pager"
    wait_for(lambda: primaries(rest), lambda: "\n".join([f"no other primary than {former}", *(f"{name}: {said(name, journal)}" for name in rest)]))
    return primaries(rest)[0]


def ask_etcd(name: str, command: str) -> Any:
    """Return what etcd on a host answers, nothing if it does not run."""
    files = f"--cacert={TLS}/etcd-authority.pem --cert={TLS}/etcd.pem --key={TLS}/etcd.key"
    own = said(name, "hostname --ip-address")
    return json.loads(said(name, f"ETCDCTL_API=3 etcdctl --endpoints=https://{own}:2379 {files} {command} --write-out json") or "null")


def etcd_members(name: str) -> list[str]:
    """Return the members of etcd, as that on a host says. The name of one that has never started is empty."""
    return sorted(member.get("name", "") for member in (ask_etcd(name, "member list") or {"members": []})["members"])


def etcd(name: str) -> tuple[bool, int]:
    """Return whether a member of etcd leads, and in which term. A term of 0 means that there is no answer."""
    answer = ask_etcd(name, "endpoint status")
    if not answer:
        return False, 0
    # A member that knows no leader leaves it out.
    status = answer[0]["Status"]
    return status.get("leader") == status["header"]["member_id"], status["raftTerm"]


def etcd_leader(names: Sequence[str] = ()) -> str:
    """Return which of some or all hosts leads etcd, empty if none of them does."""
    return next((name for name in names or hosts_of("postgres") if etcd(name)[0]), "")


def has_address(name: str) -> bool:
    """Say whether a proxy has the shared address."""
    return f" {SHARED}/" in said(name, "ip -4 -o address")


def holder() -> str:
    """Return the proxy that has the shared address."""
    (found,) = (name for name in hosts_of("haproxy") if has_address(name))
    return found


def only_minio() -> str:
    """Return the host that has MinIO alone."""
    (name,) = set(hosts_of("minio")) - set(hosts_of("postgres"))
    return name


def states(name: str) -> dict[str, str]:
    """Return how a proxy sees the servers behind it, empty if it does not run."""
    return json.loads(said(name, "python3 -c %s", STATES) or "{}")


def objects(name: str) -> set[str]:
    """Return the objects of which a host of MinIO has a part, as they lie on its drive."""
    return set(said(name, "find /var/lib/minio/mlflow -name xl.meta").splitlines())


def missing(client: Host, members: Sequence[str] = ()) -> list[str]:
    """Return what is missing until each part has all of its hosts again, so that it survives the loss of another one.

    :param members: Those of PostgreSQL, by default the hosts of the group.
    """
    proxies, stores, servers = (hosts_of(group) for group in ("haproxy", "minio", "mlflow_servers"))
    # One host of MinIO alone is behind no proxy, and cannot be spared.
    stores = stores if len(stores) > 1 else []
    members = members or hosts_of("postgres")
    with ThreadPoolExecutor() as pool:
        spare = pool.map(lambda name: ask(client, f"https://{address_of(host(name))}:9000/minio/health/cluster?maintenance=true").status, stores)
        writing, seen, terms, addresses = (
            pool.map(each, names) for each, names in ((accepts_writes, members), (states, proxies), (etcd, members), (has_address, proxies))
        )
        found = [f"{name} cannot spare a host of MinIO" for name, status in zip(stores, spare, strict=True) if status != 200]
        first = [name for name, writes in zip(members, writing, strict=True) if writes]
        led = list(terms)
        for name, servers_seen in zip(proxies, seen, strict=True):
            # Of the members of PostgreSQL, only the primary is up.
            leading = [state for server, state in servers_seen.items() if server.startswith("postgres/") and state.startswith("UP")]
            rest = {server: state for server, state in servers_seen.items() if not server.startswith("postgres/")}
            down = [f"{server} {state}" for server, state in rest.items() if not state.startswith("UP")]
            found += [f"{name} sees {', '.join(down) or len(rest)}"] if down or len(rest) < len(stores) + len(servers) else []
            found += [f"{name} sees {len(leading)} primaries"] if len(servers_seen) > len(rest) and len(leading) != 1 else []
        found += [f"the proxies with the address are {held}" for held in [list(addresses)] if sum(held) != 1]
    found += [f"the primaries are {first}"] if len(first) != 1 else []
    if len(first) == 1:
        streaming = sql(first[0], REPLICAS)
        found += [f"{streaming} replicas of {len(members) - 1} stream, and are synchronous"] if streaming != f"{len(members) - 1} 1" else []
        # Patroni lets no replica take over before it has recorded the synchronous one in etcd, seconds after PostgreSQL has it.
        known = ask(client, f"https://{address_of(host(first[0]))}:8008/cluster").body
        found += [] if "sync_standby" in known else [f"Patroni has recorded no synchronous replica: {known}"]
    found += [f"the terms of etcd are {led}"] if [leads for leads, _term in led].count(True) != 1 or 0 in [term for _leads, term in led] else []
    return found


def wait_whole(client: Host, members: Sequence[str] = ()) -> None:
    """Wait until each part has all of its hosts again.

    :param members: Those of PostgreSQL, by default the hosts of the group.
    """
    wait_for(lambda: not missing(client, members), lambda: "; ".join(missing(client, members)))


def server_environment(name: str) -> list[str]:
    """Return the variables with which the tracking server on a host runs."""
    return said(name, "tr '\\0' '\\n' < /proc/$(systemctl show --property MainPID --value mlflow-server.service)/environ").splitlines()


@contextmanager
def survives(stack: Stack, name: str, mend: Callable[[], object], healed_by: str = "the others", lasts: float = LASTS) -> Iterator[Fault]:
    """Make a fault, see that the stack serves and has lost nothing while it lasts, mend it, and see that nothing is lost when all parts are whole again.

    :param mend: Ends the fault, and is called in any case.
    :param lasts: Seconds for which the fault lasts at least after the stack serves.
    """
    wait_whole(stack.client)
    try:
        with stack.survives(name, healed_by) as fault:
            yield fault
            served = stack.wait_served(fault.mended)
            time.sleep(lasts)
        fault.served = served
    finally:
        mend()
    wait_whole(stack.client)
    checked = stack.check(fault.begun)
    assert checked["missing"] == [], checked
    # Until the end of the fault's consequences.
    fault.failed = stack.failed(fault.begun)
