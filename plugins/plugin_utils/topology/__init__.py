# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The groups of an inventory that form a stack, their hosts, and addresses."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from ansible_collections.atlas.mlflow.plugins.plugin_utils.settings import similar_names

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: Beginnings of the names of Docker's interfaces, by whose addresses no other host calls.
OF_CONTAINERS = ("docker", "br-", "veth")
#: The groups whose hosts form the stack.
GROUPS = ("mlflow_servers", "postgres", "minio", "haproxy", "prometheus")


def topology_hosts(groups: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the hosts of the topology, each once.

    :param groups: The groups of the inventory with their hosts.
    """
    return list(dict.fromkeys(host for group in GROUPS for host in groups.get(group, ())))


def missing_hosts(groups: Mapping[str, Iterable[str]], sources: Iterable[str], needed: Iterable[str] = GROUPS) -> str:
    """Return what is wrong with an inventory that has no host in any of the groups, or an empty string if it has one.

    :param groups: The groups of the inventory with their hosts.
    :param sources: The inventories.
    :param needed: Groups of which one must have a host.
    """
    wanted = list(needed)
    if any(list(groups.get(group, ())) for group in wanted):
        return ""
    # Here the user looks for a mistake, so that a distant likeness helps too.
    others = [group for group in groups if group not in ("all", "ungrouped", *wanted)]
    present = [text for group in others for text in similar_names([group], wanted, 0.6) or [group]]
    present += [f"{group} without a host" for group in wanted if group in groups]
    has = f"It has the group{'s' if len(present) > 1 else ''} {', '.join(present)}." if present else "It has no group, or is not there."
    return (
        f"The inventory {', '.join(map(str, sources)) or 'of Ansible'} has no host in the group{'s' if len(wanted) > 1 else ''} {', '.join(wanted)}. {has} "
        "Name the right inventory with -i, or put the tracking server's host in the group mlflow_servers. `ansible-inventory --graph` with the same -i shows "
        "what Ansible reads."
    )


def backup_hosts(groups: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the hosts that make backups: the host of the database, all members of a cluster, or the first tracking server if the database is embedded.

    :param groups: The groups of the inventory with their hosts.
    """
    return list(groups.get("postgres", ())) or list(groups.get("mlflow_servers", ()))[:1]


def ip_of(text: Any) -> Address | None:
    """Return the IP address in a text, with or without brackets, None if it is not one."""
    with contextlib.suppress(ValueError):
        return ip_address(str(text).strip("[]"))
    return None


def ip_version(text: Any) -> int:
    """Return the version of an IP address, with or without brackets: 4, 6, or 0 if the text is not an address."""
    address = ip_of(text)
    return address.version if address else 0


def is_loopback(text: Any) -> bool:
    """Return whether a text is an IP address of loopback."""
    address = ip_of(text)
    return bool(address and address.is_loopback)


def own_address(facts: Mapping[str, Any]) -> str:
    """Return the address of a host: that of its default route, or else the first one of its interfaces. Empty if none is known."""
    of_route = (facts.get("default_ipv4") or {}).get("address") or ""
    of_interfaces = [str(one["address"]) for one in facts.get("addresses") or [] if not str(one["interface"]).startswith(OF_CONTAINERS)]
    return str(of_route or next(iter(of_interfaces), ""))


def network_of(text: str) -> Network | None:
    """Return an address or a network, None if the text is neither."""
    with contextlib.suppress(ValueError):
        return ip_network(text, strict=False)
    return None
