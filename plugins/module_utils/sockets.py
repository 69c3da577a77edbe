# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the sockets on which processes listen, from C(/proc) (proc_pid_net(5)). C(judge_sockets) decides whether they are right."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, Union

from ansible_collections.atlas.mlflow.plugins.module_utils.processes import PROC, all_pids, describe

IPAddress = Union[IPv4Address, IPv6Address]

TCP_LISTEN = "0A"  # the kernel's state code, include/net/tcp_states.h


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket and its process; pid is 0 if the process could not be read."""

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

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Listener:
        """Return the socket from the plain data of C(as_dict)."""
        return cls(ip_address(plain["address"]), plain["port"], plain["pid"], plain["process"])

    def as_dict(self, own: bool) -> dict[str, str | int | bool]:
        """Return the socket as plain data; C(own) is whether the socket belongs to the unit."""
        return {"address": str(self.address), "port": self.port, "pid": self.pid, "process": self.process, "own": own}


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


def socket_inodes(pid: int, proc: Path = PROC) -> set[int]:
    """Return the inodes of a process's sockets; PermissionError if the process may not be read."""
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
        pass  # the process has ended
    return inodes


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

    The tables are those of the first process, because it may have its own network namespace.
    Raises PermissionError if a process may not be read: only root may read the processes of others.
    """
    pids = list(pids)
    sockets = read_tables(str(pids[0]) if pids else "self", proc)
    own = owners(pids, sockets, proc)
    rest = {inode: where for inode, where in sockets.items() if inode not in own and where[1] == port}
    others: Mapping[int, int] = {}
    if rest:  # only then read all processes
        others = owners((pid for pid in all_pids(proc) if pid not in pids), rest, proc, strict=False)

    def listener(inode: int, pid: int) -> Listener:
        return Listener(*sockets[inode], pid, *(describe(pid, proc) if pid else ()))

    return [listener(inode, pid) for inode, pid in own.items()], [listener(inode, others.get(inode, 0)) for inode in rest]


def read_all_listeners(proc: Path = PROC) -> list[Listener]:
    """Return every listener in this process's network namespace, with its process if this user may see it."""
    sockets = read_tables("self", proc)
    held = owners(all_pids(proc), sockets, proc, strict=False)
    return [Listener(*where, held.get(inode, 0), *(describe(held[inode], proc) if inode in held else ())) for inode, where in sockets.items()]


def collide(one: Listener, other: Listener) -> bool:
    """Return whether two sockets exclude each other: the same port, and the same address or a wildcard that includes the other address (ip(7), tcp(7))."""
    return one.port == other.port and (one.address == other.address or one.address.is_unspecified or other.address.is_unspecified)


def owners(pids: Iterable[int], inodes: Iterable[int], proc: Path, strict: bool = True) -> dict[int, int]:
    """Return the first process that has each of these sockets; strict: a process that cannot be read is an error."""
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
