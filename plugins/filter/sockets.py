# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that finds who has a port that a service is to have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any, Union

from ansible_collections.atlas.mlflow.plugins.module_utils.sockets import Listener, collide

#: Words that PostgreSQL's setting knows an address by.
WORDS = {"localhost": "127.0.0.1", "*": "0.0.0.0"}


def port_takers(listeners: Iterable[Mapping[str, Any]], address: Union[str, list[str]], port: int, own: Iterable[str]) -> list[str]:
    """Return in words the sockets in whose way a service's socket would be, or that would take its traffic.

    :param listeners: The fact ``listeners`` of ``atlas.mlflow.host_facts``.
    :param address: IP address that the service listens on, or a list of them; ``localhost`` is 127.0.0.1 and ``*`` is 0.0.0.0. What is
        no address has no taker: that it is none is for the preflight to say.
    :param port: Its port.
    :param own: Units and containers (``container NAME``) that may have it: the service's own.
    """
    wanted = []
    for one in [address] if isinstance(address, str) else address:
        with contextlib.suppress(ValueError):
            wanted.append(Listener(ip_address(WORDS.get(one, one)), int(port)))
    taken = []
    for fact in listeners:
        other = Listener(ip_address(fact["address"]), fact["port"], fact["pid"], fact["process"], fact["group"])
        if other.group not in own and any(collide(other, one) for one in wanted):
            taken.append(f"{other.endpoint}, held by {other.owner}")
    return taken


class FilterModule:
    """Make the filter known to Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filter by its name."""
        return {"port_takers": port_takers}
