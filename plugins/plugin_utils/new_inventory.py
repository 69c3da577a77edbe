# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new inventory from one of the shipped examples, with its comments."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Sequence

import yaml
from ansible.errors import AnsibleFilterError

#: A host of an example, and what stands there for names of users, for the user and for the shared address.
HOST = re.compile(r"^    (localhost|[a-z0-9]+\.example\.com):$", re.MULTILINE)
NAMES = re.compile(r"mlflow_server_names: \[.*\]")
USER = re.compile(r"^( +)ansible_user: .*$", re.MULTILINE)
ADDRESS = re.compile(r"haproxy_virtual_address: \S+")
LOCAL = "      ansible_connection: local\n"
#: What a host may be called. An inventory takes more, such as ranges, which are no single hosts.
PLAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._:-]*[A-Za-z0-9])?")


def split(given: str | Sequence[str] | None) -> list[str]:
    """Return the words of a text with commas or blanks, or the list as it is. An answer that nobody gives is empty."""
    return [word for word in re.split(r"[,\s]+", given) if word] if isinstance(given, str) else [str(word) for word in given or ()]


def is_address(word: str) -> bool:
    """Return whether a word is an address of IPv4 or IPv6, with or without the length of its network's prefix."""
    try:
        ipaddress.ip_interface(word)
    except ValueError:
        return False
    return True


def new_inventory(example: str, hosts: str | Sequence[str], names: str | Sequence[str] = (), user: str = "", address: str = "") -> str:
    """Return the text of an example with other hosts.

    :param example: The text of an inventory in `inventories/`.
    :param hosts: The hosts, in the order of the example, as a list or with commas.
    :param names: Names by which people open MLflow.
    :param user: The user for SSH, empty for the one who runs Ansible.
    :param address: The address that several proxies share.
    :raises AnsibleFilterError: If the number of hosts is another one, a host or a name is none, or the address is none.
    """
    shown = list(dict.fromkeys(HOST.findall(example)))
    given, called = split(hosts), split(names)
    for word in (*given, *called):
        if not PLAIN.fullmatch(word.removeprefix("*.")):
            raise AnsibleFilterError(f"inventory_hosts and inventory_names have {word!r}, which is no name and no address: separate them by commas")
    if len(set(given)) != len(given):
        raise AnsibleFilterError(f"inventory_hosts has a host twice: {', '.join(given)}")
    if len(given) != len(shown):
        raise AnsibleFilterError(
            f"inventory_hosts has {len(given)} hosts, and this topology needs {len(shown)}, in this order: {', '.join(shown)}. "
            "Choose another inventory_topology, or give as many hosts"
        )
    if ADDRESS.search(example) and not is_address(address):
        raise AnsibleFilterError(f"inventory_address is {address or 'empty'}: set it to an unused address in the network of the proxies, which they share")
    hosts_of = dict(zip(shown, given, strict=True))

    def host(found: re.Match[str]) -> str:
        name = hosts_of[found[1]]
        # YAML reads some names as numbers or as true and false.
        key = json.dumps(name) if ":" in name or yaml.safe_load(name) != name else name
        return f"    {key}:" + (f"\n{LOCAL}".rstrip() if name == "localhost" else "")

    text = HOST.sub(host, example.replace(LOCAL, ""))
    text = NAMES.sub("mlflow_server_names: " + json.dumps(called), text)
    text = ADDRESS.sub(f"haproxy_virtual_address: {json.dumps(address) if ':' in address else address}", text)
    return USER.sub(lambda found: f"{found[1]}ansible_user: {json.dumps(user)}" if user else f"{found[1]}# ansible_user: admin", text)
