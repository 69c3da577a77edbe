# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that return the hosts of a stack and their names and addresses, find hosts that are not known well enough, and say how to use a stack.

The playbooks name their hosts by a filter of this file. So Ansible loads the collection's filters once, before it forks a process for each task. Otherwise
each task that uses a filter compiles all of them again, which takes a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible import context
from ansible.errors import AnsibleFilterError
from ansible_collections.atlas.mlflow.plugins.plugin_utils.how_to_use import how_to_use
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology import GROUPS, backup_hosts, ip_version, missing_hosts, own_address, topology_hosts


def host_calls(variables: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the address, the IP address and the names by which the other hosts reach a host.

    :param variables: The host's variables with its facts, an entry of ``hostvars``. ``atlas_mlflow_address`` may be a name of a certificate.
    :param facts: The host's facts in a registered result, if they are not among its variables.
    """
    known: Mapping[str, Any] = variables.get("ansible_facts") or {}
    facts = known if facts is None else {fact.removeprefix("ansible_"): value for fact, value in facts.items()}
    name = variables["inventory_hostname"]
    found = own_address(facts)
    address = variables.get("atlas_mlflow_address") or found or name
    names = [name, variables.get("ansible_host"), facts.get("hostname"), facts.get("fqdn"), address, found]
    return {
        "address": address,
        "ip": address if ip_version(address) else found or address,
        "names": list(dict.fromkeys(str(one) for one in names if one)),
    }


def unread_hosts(results: Iterable[Mapping[str, Any]], hostvars: Mapping[str, Mapping[str, Any]], proxies: Iterable[str]) -> list[str]:
    """Return a sentence for each host that a limited run needs and about which it knows too little.

    :param results: Results of ``atlas.mlflow.host_facts``, one for each host that ``--limit`` leaves out, with the host as ``item``.
    :param hostvars: The variables of all hosts. A host that cannot be read is accepted if ``atlas_mlflow_address`` is its IP address.
    :param proxies: Hosts that clients reach by any of their names. Only the facts of a host have all of its names.
    """
    needs_names = set(proxies)
    sentences = []
    for result in results:
        host = result["item"]
        if not (result.get("failed") or result.get("unreachable")):
            continue
        given = ip_version(hostvars[host].get("atlas_mlflow_address"))
        if given and host not in needs_names:
            continue
        seen = "it cannot be reached" if result.get("unreachable") else "its facts cannot be read"
        way = "" if host in needs_names else f", or set atlas_mlflow_address of {host} to its IP address"
        sentences.append(
            f"--limit leaves out {host}, with whose address and names the other hosts are configured, and {seen}. "
            f"Make sure that `ansible -m ansible.builtin.setup {host}` works{way}."
        )
    return sentences


def checked_groups(groups: Mapping[str, Iterable[str]], *needed: str) -> Mapping[str, Iterable[str]]:
    """Return the groups as they are, if the inventory has a host for the playbook.

    A play that has no host is a success for Ansible, and so is a playbook whose inventory is missing or has only misspelled groups.

    :param groups: The groups of the inventory with their hosts.
    :param needed: Groups of which one must have a host. By default all groups of the stack.
    :raises AnsibleFilterError: If no host is there. A check of the syntax needs none.
    """
    fault = missing_hosts(groups, context.CLIARGS.get("inventory") or (), needed or GROUPS)
    if fault and not context.CLIARGS.get("syntax"):
        raise AnsibleFilterError(fault)
    return groups


class FilterModule:
    """Register the filters with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {
            "backup_hosts": backup_hosts,
            "checked_groups": checked_groups,
            "host_calls": host_calls,
            "how_to_use": how_to_use,
            "topology_hosts": topology_hosts,
            "unread_hosts": unread_hosts,
        }
