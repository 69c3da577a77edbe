# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The IPv4 addresses of a host's interfaces, from the kernel."""

from __future__ import annotations

import array
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Callable

#: Requests to the kernel: the addresses of all interfaces, and the network mask of one (netdevice(7)).
SIOCGIFCONF = 0x8912
SIOCGIFNETMASK = 0x891B


def read_addresses(answer: bytes, ask: Callable[[bytes], bytes]) -> list[dict[str, str | int]]:
    """Return the IPv4 addresses in an answer of the kernel, except loopback, each with its interface and the length of its prefix.

    :param answer: Entries of 40 bytes (struct ifreq): an interface's name, and from byte 16 a socket's address, whose IPv4 address is at byte 20.
    :param ask: Returns the same entry with a network mask in place of the address.
    """
    found: list[dict[str, str | int]] = []
    for start in range(0, len(answer), 40):
        entry = answer[start : start + 40]
        name, address = entry[:16].rstrip(b"\0").decode(), ipaddress.ip_address(entry[20:24])
        if not address.is_loopback:
            network = ipaddress.IPv4Network(f"0.0.0.0/{ipaddress.ip_address(ask(entry)[20:24])}")
            found.append({"interface": name.partition(":")[0], "address": str(address), "prefix": network.prefixlen})
    return found


def own_addresses() -> list[dict[str, str | int]]:
    """Return the IPv4 addresses of the host's interfaces, except loopback. The address that proxies share is among them on the proxy that has it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        space = array.array("B", bytes(40 * 1024))
        place, size = space.buffer_info()
        used = struct.unpack("iP", fcntl.ioctl(probe, SIOCGIFCONF, struct.pack("iP", size, place)))[0]
        return read_addresses(space.tobytes()[:used], lambda entry: fcntl.ioctl(probe, SIOCGIFNETMASK, entry))
