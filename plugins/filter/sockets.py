# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that finds who has a port that a service is to have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.atlas.mlflow.plugins.module_utils.sockets import Listener, collide


def port_takers(listeners: Iterable[Mapping[str, Any]], address: str, port: int, own: Iterable[str]) -> list[str]:
    """Return in words the sockets in whose way a service's socket would be, or that would take its traffic.

    :param listeners: The fact ``listeners`` of ``atlas.mlflow.host_facts``.
    :param address: IP address that the service listens on; ``localhost`` is 127.0.0.1.
    :param port: Its port.
    :param own: Units and containers (``container NAME``) that may have it: the service's own.
    :raises AnsibleFilterError: When the address is none.
    """
    try:
        wanted = Listener(ip_address("127.0.0.1" if address == "localhost" else address), int(port))
    except ValueError as error:
        raise AnsibleFilterError(f"{address} is no IP address") from error
    taken = []
    for fact in listeners:
        other = Listener(ip_address(fact["address"]), fact["port"], fact["pid"], fact["process"], fact["group"])
        if other.group not in own and collide(other, wanted):
            taken.append(f"{other.endpoint}, held by {other.owner}")
    return taken


class FilterModule:
    """Make the filter known to Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filter by its name."""
        return {"port_takers": port_takers}
