# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which processes belong to a systemd unit, what they listen on, and whether that is right.

Facts come from C(systemctl show), the control group's C(cgroup.procs) and C(/proc) (proc_pid_net(5)).
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Union

from ansible_collections.atlas.mlflow.plugins.module_utils.findings import Finding

IPAddress = Union[IPv4Address, IPv6Address]

PROC = Path("/proc")
CGROUP_ROOTS = tuple(Path("/sys/fs/cgroup", name) for name in ("", "systemd", "unified"))
UNIT_PROPERTIES = ("LoadState", "ActiveState", "SubState", "MainPID", "ControlGroup", "NRestarts")

WAITS_FOR_RESTART = "activating/auto-restart"  # systemd's states of a unit that has ended and is about to be started again
MLFLOW_DEFAULT = (ip_address("127.0.0.1"), 5000)  # what `mlflow server` binds without arguments
TCP_LISTEN = "0A"  # the kernel's state code, include/net/tcp_states.h


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket and the process that holds it; pid 0 where that could not be read."""

    address: IPAddress
    port: int
    pid: int = 0
    process: str = ""
    group: str = ""  # last part of the process's control group: a systemd unit or a container

    @property
    def endpoint(self) -> str:
        """Return C(address:port), with brackets around an IPv6 address."""
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"

    @property
    def owner(self) -> str:
        """Return the process in words."""
        if not self.pid:
            return "a process that this user may not look into"
        return f"{self.process} (pid {self.pid}{', ' + self.group if self.group else ''})"

    def as_dict(self, own: bool) -> dict[str, Union[str, int, bool]]:
        """Return the socket as plain data; own says whether the unit holds it."""
        return {"address": str(self.address), "port": self.port, "pid": self.pid, "process": self.process, "own": own}


@dataclass(frozen=True)
class Unit:
    """The state and processes of a systemd unit, or of a container, the main one first; log is how to read what it says.

    restarts counts how often the service manager has started it again since an operator did.
    """

    name: str
    state: str
    pids: tuple[int, ...]
    log: str = ""
    restarts: int = 0

    @property
    def ends(self) -> int:
        """Return how often it has ended by itself since an operator started it."""
        return self.restarts + (self.state == WAITS_FOR_RESTART)


def address_of(field: str) -> IPAddress:
    """Decode an address of /proc/net/tcp: 32-bit words in hexadecimal, each in the host's byte order."""
    words = [field[start : start + 8] for start in range(0, len(field), 8)]
    packed = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    address = ip_address(packed)
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def listening(table: str) -> Iterator[tuple[int, IPAddress, int]]:
    """Yield inode, address and port of each listening socket in the text of /proc/net/tcp or tcp6."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == TCP_LISTEN:
            address, port = fields[1].split(":")
            yield int(fields[9]), address_of(address), int(port, 16)


def parse_unit(name: str, output: str, proc: Path = PROC, cgroup_roots: Iterable[Path] = CGROUP_ROOTS) -> Unit:
    """Return the unit that C(systemctl show) describes, with the processes of its control group.

    Falls back to the main process and its descendants where the group cannot be read.
    """
    values: dict[str, str] = dict(line.partition("=")[::2] for line in output.splitlines())
    main = int(values.get("MainPID") or 0)
    state = "/".join(values.get(key, "") for key in ("ActiveState", "SubState"))
    if values.get("LoadState") == "not-found":
        state = "not found"
    pids = group_pids(values.get("ControlGroup", ""), cgroup_roots) or (descendants(main, proc) if main else set())
    return Unit(name, state, main_first(pids, main), f"journalctl -u {name}", int(values.get("NRestarts") or 0))


def main_first(pids: Iterable[int], main: int) -> tuple[int, ...]:
    """Return processes in order, the main one before the others."""
    return tuple(sorted(pids, key=lambda pid: (pid != main, pid)))


def group_pids(group: str, roots: Iterable[Path]) -> set[int]:
    """Return the processes of a control group and the groups below it; empty for the root group."""
    pids: set[int] = set()
    if not group.strip("/"):
        return pids
    for root in roots:
        for procs in Path(root, group.lstrip("/")).rglob("cgroup.procs"):
            try:
                pids.update(int(pid) for pid in procs.read_text(encoding="ascii").split())
            except OSError:
                continue  # the group went away, or is threaded
    return pids - {0}  # 0: a process of another PID namespace


def stat_fields(pid: int, proc: Path = PROC) -> list[str]:
    """Return a process's fields from its state on: the third and following of proc_pid_stat(5); OSError where it is gone."""
    # The name before them stands in brackets and may hold anything: count behind the last one.
    return (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def seconds_after_boot(pid: int, proc: Path = PROC) -> float:
    """Return how long after the host's boot a process was started (proc_pid_stat(5), field 22); OSError where it is gone."""
    return int(stat_fields(pid, proc)[19]) / os.sysconf("SC_CLK_TCK")


def parent_of(pid: int, proc: Path = PROC) -> int:
    """Return the process that started another one; OSError where that is gone."""
    return int(stat_fields(pid, proc)[1])


def descendants(main: int, proc: Path = PROC) -> set[int]:
    """Return a process and all that it started, as far as they still are its children's children."""
    parents: dict[int, int] = {}
    for stat in proc.glob("[0-9]*/stat"):
        pid = int(stat.parent.name)
        try:
            parents[pid] = parent_of(pid, proc)
        except OSError:
            continue
    family = {main} & parents.keys()
    grown = True
    while grown:
        children = {pid for pid, parent in parents.items() if parent in family} - family
        family |= children
        grown = bool(children)
    return family


def socket_inodes(pid: int, proc: Path = PROC) -> set[int]:
    """Return the inodes of the sockets that a process holds; PermissionError where it may not be looked into."""
    inodes = set()
    try:
        for entry in os.scandir(proc / str(pid) / "fd"):
            try:
                match = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(entry.path))
            except FileNotFoundError:
                continue
            if match:
                inodes.add(int(match.group(1)))
    except (FileNotFoundError, ProcessLookupError):
        pass  # it ended meanwhile
    return inodes


def control_groups(pid: int, proc: Path = PROC) -> list[str]:
    """Return the paths of a process's control groups that tell units and containers apart, none where they cannot be read (cgroups(7))."""
    try:
        lines = (proc / str(pid) / "cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line.split(":", 2)[2] for line in lines if re.match(r"0::|\d+:name=systemd:", line)]


def describe(pid: int, proc: Path = PROC) -> tuple[str, str]:
    """Return a process's name and the last part of its control group, empty where they cannot be read."""

    def text(name: str) -> str:
        try:
            return (proc / str(pid) / name).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""

    return text("comm"), max((group.rstrip("/").rpartition("/")[2] for group in control_groups(pid, proc)), key=len, default="")


def all_pids(proc: Path = PROC) -> list[int]:
    """Return every process that is seen, in order."""
    return sorted(int(path.name) for path in proc.glob("[0-9]*"))


def read_tables(process: str, proc: Path = PROC) -> dict[int, tuple[IPAddress, int]]:
    """Return address and port of each listening socket by its inode, in the network namespace of a process: its number, or C(self)."""
    sockets: dict[int, tuple[IPAddress, int]] = {}
    for name in ("tcp", "tcp6"):
        try:
            table = (proc / process / "net" / name).read_text(encoding="ascii")
        except (FileNotFoundError, ProcessLookupError):
            continue
        sockets.update({inode: (address, number) for inode, address, number in listening(table)})
    return sockets


def read_listeners(pids: Iterable[int], port: int, proc: Path = PROC) -> tuple[list[Listener], list[Listener]]:
    """Return the listeners of these processes, and those of all others on the same port.

    The tables are those of the first process, so that a network namespace of its own is respected.
    Raises PermissionError where a process may not be looked into: only root may look into others' processes.
    """
    pids = list(pids)
    sockets = read_tables(str(pids[0]) if pids else "self", proc)
    own = owners(pids, sockets, proc)
    rest = {inode: where for inode, where in sockets.items() if inode not in own and where[1] == port}
    others: Mapping[int, int] = {}
    if rest:  # only then is it worth to walk through all processes
        others = owners((pid for pid in all_pids(proc) if pid not in pids), rest, proc, strict=False)

    def listener(inode: int, pid: int) -> Listener:
        return Listener(*sockets[inode], pid, *(describe(pid, proc) if pid else ()))

    return [listener(inode, pid) for inode, pid in own.items()], [listener(inode, others.get(inode, 0)) for inode in rest]


def read_all_listeners(proc: Path = PROC) -> list[Listener]:
    """Return every listener in this process's network namespace, with its owner as far as this user may see it."""
    sockets = read_tables("self", proc)
    held = owners(all_pids(proc), sockets, proc, strict=False)
    return [Listener(*where, held.get(inode, 0), *(describe(held[inode], proc) if inode in held else ())) for inode, where in sockets.items()]


def collide(one: Listener, other: Listener) -> bool:
    """Say whether two sockets cannot both serve: one port, and one address or a wildcard that holds the other's (ip(7), tcp(7))."""
    return one.port == other.port and (one.address == other.address or one.address.is_unspecified or other.address.is_unspecified)


def owners(pids: Iterable[int], inodes: Iterable[int], proc: Path, strict: bool = True) -> dict[int, int]:
    """Return for each of these sockets the first process that holds it; strict: an unreadable one is an error."""
    wanted = set(inodes)
    found: dict[int, int] = {}
    for pid in pids:
        try:
            held = socket_inodes(pid, proc) & wanted
        except PermissionError:
            if strict:
                raise
            continue
        for inode in held:
            found.setdefault(inode, pid)
    return found


def judge(unit: Unit, own: list[Listener], others: list[Listener], address: IPAddress, port: int) -> list[Finding]:
    """Compare what a unit's processes listen on with the one socket that they should have."""
    wanted = Listener(address, port)
    takers = [other for other in others if takes_traffic(other, wanted)]
    right = [one for one in own if one.port == port and (one.address == address or str(address) == "::" and one.address.is_unspecified)]
    wrong = [one for one in own if one not in right]
    expected = f"{unit.name} listens on {wanted.endpoint}"
    if not any(one.address == address for one in right):
        seen = ", ".join(sorted({one.endpoint for one in own})) or f"no listening socket in its {len(unit.pids)} processes ({unit.state})"
        if own:
            return [Finding("listen", expected, seen, wrong_socket_cause(own, wanted))] + [shadow(unit, other, wanted) for other in takers]
        return [Finding("listen", expected, seen, no_socket_cause(unit, takers))]
    findings = [Finding("listen", expected + " and on nothing else", f"also {one.endpoint}, {one.owner}", extra_socket_cause(one)) for one in wrong]
    return findings + [shadow(unit, other, wanted) for other in takers]


def takes_traffic(other: Listener, wanted: Listener) -> bool:
    """Say whether another socket takes connections that are meant for the wanted one.

    The kernel prefers the more specific address, and a wildcard of either family is less specific than
    any address; an IPv6 socket beside 0.0.0.0 gets those who resolve the name to IPv6, as localhost does.
    """
    return other.port == wanted.port and (other.address == wanted.address or wanted.address.is_unspecified)


def shadow(unit: Unit, other: Listener, wanted: Listener) -> Finding:
    """Return the finding for another process's socket that takes the unit's traffic."""
    if other.address == wanted.address:
        cause = "both share the port (SO_REUSEPORT), and the kernel deals connections out to both"
    elif other.address.version == 6 and wanted.address.version == 4:
        cause = "who resolves a name to IPv6 first, as localhost often does, reaches that process"
    else:
        cause = "the more specific address takes the traffic to it"
    seen = f"{other.endpoint} held by {other.owner}"
    return Finding("shadow", f"nothing but {unit.name} on port {wanted.port}", seen, f"{cause}: stop it, or give it another port")


def wrong_socket_cause(own: list[Listener], wanted: Listener) -> str:
    """Explain why processes listen, but not where they should."""
    places = {(one.address, one.port) for one in own}
    if MLFLOW_DEFAULT in places:
        return (
            "127.0.0.1:5000 is MLflow's own default, so its arguments did not arrive: a newline cut the command's shell string, "
            "or GUNICORN_CMD_ARGS or PORT was set, which MLflow ignores (it reads --host, --port, MLFLOW_HOST and MLFLOW_PORT)"
        )
    if any(number == wanted.port for _address, number in places):
        reach = " and only this machine can reach it" if all(address.is_loopback for address, _port in places) else ""
        return f"--host or MLFLOW_HOST has another address than the configured one{reach}; or the running service was started before the change"
    return "--port or MLFLOW_PORT has another number than the configured one (PORT is ignored); or the running service was started before the change"


def extra_socket_cause(extra: Listener) -> str:
    """Explain a socket that the unit has beside the right one."""
    if (extra.address, extra.port) == MLFLOW_DEFAULT:
        return "a --bind in --gunicorn-opts or --uvicorn-opts, or a second server without arguments in the same unit"
    return "a --bind in --gunicorn-opts, or a process that the service started and that serves something of its own"


def no_socket_cause(unit: Unit, takers: list[Listener]) -> str:
    """Explain why a unit listens on nothing."""
    if takers:
        return f"the port is taken: {takers[0].endpoint} is held by {takers[0].owner}"
    if unit.state == "not found":
        return "there is no unit of this name: it was not installed, or is called otherwise"
    if not unit.pids:
        return f"the service is not running: see {unit.log}"
    return f"it is still starting, or waits for a store: see {unit.log}"
