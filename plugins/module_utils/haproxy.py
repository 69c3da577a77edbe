# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drain a server of a running HAProxy before a restart, and put it back into service.

The master process of HAProxy passes commands to its workers: ``@1`` is the present worker, and ``@!PID`` any other one. After a reload, the former worker
lives until its last request has ended.
"""

from __future__ import annotations

import csv
import io
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

#: The socket of the master process. Commands on it have all permissions, and only root and HAProxy's own user can open it.
MASTER = "/run/haproxy/master.sock"
#: The backends with the tracking servers and with the hosts of a pool of MinIO.
BACKEND, STORES = "mlflow_servers", "minio"
#: The backend with the members of a cluster of PostgreSQL, of which the primary alone passes its check.
DATABASES = "postgres"
#: Seconds for one answer of HAProxy, and between two questions.
PATIENCE, PAUSE = 5, 0.2
#: Seconds to wait for another server that gets requests, such as one that has just started.
GRACE = 30
#: Bits of srv_admin_state in ``show servers state``: the kinds of maintenance, and of draining (management.txt of HAProxy).
_MAINTENANCE, _DRAINED = 0x01 | 0x02 | 0x04 | 0x20 | 0x40, 0x08 | 0x10
#: srv_op_state of a server that passes its health checks.
_RUNNING = "2"

Ask = Callable[[str], str]


class HaproxyError(Exception):
    """HAProxy refuses a command."""


@dataclass(frozen=True)
class Server:
    """A server of the backend, as HAProxy knows it."""

    #: Whether it passes its health checks.
    running: bool
    drained: bool
    #: Whether an administrator has taken it out of service.
    in_maintenance: bool
    port: int = 0
    tls: bool = False

    @property
    def serves(self) -> bool:
        """Return whether it gets new requests."""
        return self.running and not self.drained and not self.in_maintenance


@dataclass(frozen=True)
class Outcome:
    """What was done with a server, and what the user should know."""

    changed: bool = False
    #: Requests that were still open at the end.
    requests: int = 0
    #: Why nothing was done; not a fault.
    skipped: str = ""
    #: What the user should look after.
    warning: str = ""


def asker(path: str) -> Ask:
    """Return a function that sends a command to the socket of HAProxy's master process, and returns the answer.

    The function raises OSError if HAProxy does not run or does not answer.
    """

    def ask(command: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(path)
            connection.sendall(f"{command}\n".encode())
            # The master keeps the connection open until its client has sent everything.
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile(encoding="utf-8", errors="replace") as answer:
                return answer.read()

    return ask


class Proxy:
    """A running HAProxy."""

    def __init__(self, ask: Ask, backend: str = BACKEND) -> None:
        """Take the function that asks HAProxy, and the backend with the servers."""
        self._ask = ask
        self._backend = backend

    def servers(self) -> dict[str, Server]:
        """Return the servers of the backend by name, empty if HAProxy has no such backend.

        :raises OSError: If HAProxy does not run or does not answer.
        """
        lines = [line.split() for line in self._ask(f"@1 show servers state {self._backend}").splitlines()]
        heading = next((line[1:] for line in lines if line[:1] == ["#"]), [])
        found = {}
        for line in lines:
            row = dict(zip(heading, line))
            if heading and row.get("be_name") == self._backend:
                bits = int(row["srv_admin_state"])
                found[row["srv_name"]] = Server(
                    row["srv_op_state"] == _RUNNING, bool(bits & _DRAINED), bool(bits & _MAINTENANCE), int(row["srv_port"]), row["srv_use_ssl"] == "1"
                )
        return found

    def open_requests(self, name: str) -> int:
        """Return how many requests a server still answers or will get, from all workers of HAProxy, former ones too.

        :raises OSError: If HAProxy does not run or does not answer.
        """
        processes = [line.split() for line in self._ask("show proc").splitlines()]
        workers = [process[0] for process in processes if process[1:2] == ["worker"]]
        return sum(int(row["scur"] or 0) + int(row["qcur"] or 0) for worker in workers for row in self._statistics(f"@!{worker}") if row["svname"] == name)

    def check(self, name: str) -> str:
        """Return the result of a server's last health check in HAProxy's words."""
        rows = [row for row in self._statistics("@1") if row["svname"] == name]
        return " ".join(filter(None, (rows[0]["status"], rows[0]["check_status"], rows[0]["check_code"], rows[0]["last_chk"]))) if rows else ""

    def _statistics(self, worker: str) -> list[dict[str, str]]:
        """Return the statistics of the backend's servers (type 4) from a worker."""
        table = self._ask(f"{worker} show stat {self._backend} 4 -1")
        return [row for row in csv.DictReader(io.StringIO(table.lstrip("# "))) if row.get("pxname") == self._backend]

    def set_state(self, name: str, state: str) -> None:
        """Set the state of a server: ``drain`` or ``ready``.

        :raises HaproxyError: If HAProxy refuses.
        :raises OSError: If HAProxy does not run or does not answer.
        """
        said = self._ask(f"@1 set server {self._backend}/{name} state {state}").strip()
        if said:
            raise HaproxyError(f"HAProxy refuses the state {state} of the server {name}: {said}")


@dataclass(frozen=True)
class Wanted:
    """A server as it is, or will be after its restart. None: not known."""

    name: str
    port: int | None = None
    tls: bool | None = None

    def not_used(self, servers: dict[str, Server]) -> str:
        """Return why the state of the server must not be changed, empty if it may be."""
        if self.name not in servers:
            return f"HAProxy has no server {self.name} yet."
        known = servers[self.name]
        if known.in_maintenance:
            return f"The server {self.name} is in maintenance, and stays so."
        if (self.port, self.tls) != (self.port and known.port, self.tls if self.tls is None else known.tls):
            return f"HAProxy has another port or TLS setting for the server {self.name}, until its own settings are written."
        return ""


def _first_look(proxy: Proxy, wanted: Wanted, drained: bool, apply: bool) -> tuple[Outcome, bool]:
    """Return what a wanted state changes, and whether to go on and set it.

    :param drained: Whether the server will be drained.
    :param apply: Whether to do it, or only to return what would be done.
    """
    servers = proxy.servers()
    if skipped := wanted.not_used(servers):
        return Outcome(skipped=skipped), False
    return Outcome(servers[wanted.name].drained != drained), apply


def drain(proxy: Proxy, wanted: Wanted, wait: float, apply: bool = True, clock: Callable[[], float] = time.monotonic) -> Outcome:
    """Let a server get no new requests, and wait until its present ones have ended.

    If no other server gets requests within some seconds, the server is not drained.

    :param wait: The most seconds to wait for the end of requests.
    :param apply: Whether to do it, or only to return what would be done.
    :raises HaproxyError: If HAProxy refuses.
    :raises OSError: If HAProxy does not run or does not answer.
    """
    found, goes_on = _first_look(proxy, wanted, True, apply)
    if not goes_on:
        return found
    name, end = wanted.name, clock() + GRACE
    while not any(server.serves for other, server in proxy.servers().items() if other != name):
        if clock() >= end:
            return Outcome(warning=f"The server {name} was not drained, because no other server gets requests. Its restart interrupts requests.")
        time.sleep(PAUSE)
    if found.changed:
        proxy.set_state(name, "drain")
    end = clock() + wait
    while (requests := proxy.open_requests(name)) and clock() < end:
        time.sleep(PAUSE)
    warning = f"{requests} requests to the server {name} were still open after {wait:g} s. Its restart may interrupt them." if requests else ""
    return Outcome(found.changed, requests, warning=warning)


def make_ready(proxy: Proxy, wanted: Wanted, wait: float, apply: bool = True, clock: Callable[[], float] = time.monotonic) -> Outcome:
    """Let a server get requests again, and wait until it passes its health checks.

    A server that answers and is not found healthy is no failure, because HAProxy may have other settings than the server until its own turn.

    :param wait: The most seconds to wait.
    :param apply: Whether to do it, or only to return what would be done.
    :raises HaproxyError: If HAProxy refuses.
    :raises OSError: If HAProxy does not run or does not answer.
    """
    found, goes_on = _first_look(proxy, wanted, False, apply)
    if not goes_on:
        return found
    name, end = wanted.name, clock() + wait
    if found.changed:
        proxy.set_state(name, "ready")
    while wait and not proxy.servers()[name].running:
        if clock() >= end:
            return Outcome(found.changed, warning=f"HAProxy does not find the server {name} healthy after {wait:g} s. Its last check: {proxy.check(name)}")
        time.sleep(PAUSE)
    return found


def drained_servers(path: str = MASTER) -> list[dict[str, str]]:
    """Return the servers that the HAProxy on this host does not give requests because they are drained. Empty without a running HAProxy."""
    found = []
    try:
        for backend in (BACKEND, STORES):
            servers = sorted(Proxy(asker(path), backend).servers().items())
            found += [{"backend": backend, "name": name} for name, server in servers if server.drained and not server.in_maintenance]
    except OSError:
        return []
    return found
