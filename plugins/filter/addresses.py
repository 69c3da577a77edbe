# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that finds addresses by which the hosts of a stack could not reach each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology import ip_version


def address_faults(hosts: Iterable[str], hostvars: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each host that the other hosts could not reach.

    URLs, rules for logins and rules of the firewall use these addresses, and the rules are written for IPv4.

    :param hosts: All hosts of the topology. A single host needs no address.
    :param hostvars: The variables of all hosts, with ``atlas_mlflow_address`` and ``atlas_mlflow_ip``.
    """
    names, faults = list(hosts), []
    for name in names:
        address, ip = (hostvars[name].get(f"atlas_mlflow_{what}") or "" for what in ("address", "ip"))
        if ip_version(address) == 6:
            faults.append(f"atlas_mlflow_address of {name} is {address}, and the collection makes URLs of IPv4 addresses and names alone. Set one of these.")
        elif len(names) > 1 and ip and ip_version(ip) != 4:
            faults.append(
                f"{name} has no IPv4 address that is known, and the hosts of a stack reach one another by IPv4. Give the host one, and set "
                f"atlas_mlflow_address of {name} to it."
            )
    return faults + _shared_addresses(names, hostvars)


def _shared_addresses(names: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each address that several machines have, as on the network by which each machine of VirtualBox reaches others.

    Names of one machine, which has one name of its own, may share its address.
    """
    machines: dict[str, dict[str, tuple[str, ...]]] = {}
    for name in names:
        facts = hostvars[name].get("ansible_facts") or {}
        own = tuple(str(entry["address"]) for entry in facts.get("addresses") or [])
        # Behind a NAT, several hosts may be reached by one address that none of them has. A name may lead to another address of the host.
        if (address := str(hostvars[name].get("atlas_mlflow_address"))) in own:
            machines.setdefault(address, {})[name] = (str(facts.get("hostname")), *own)
    faults = []
    for address, hosts in machines.items():
        if len(set(hosts.values())) > 1:
            known = "; ".join(f"{name} has {', '.join(own)}" for name, (_hostname, *own) in hosts.items())
            faults.append(
                f"{' and '.join(hosts)} have the same address, {address}, by which the others would reach each of them. Set atlas_mlflow_address of each to an "
                f"address that no other host has: {known}."
            )
    return faults


class FilterModule:
    """Register the filter with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filter by its name."""
        return {"address_faults": address_faults}
