# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the address that several proxies share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Interface, ip_interface

from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings

NAME = "haproxy_virtual_address"
#: Addresses to listen on that include an address that the host does not have yet.
ALL = ("0.0.0.0", "::")


def virtual_address(given: RoleSettings) -> IPv4Interface | None:
    """Return the address that the proxies share, None if there is none or it is no IPv4 address."""
    try:
        found = ip_interface(given.text(NAME))
    except ValueError:
        return None
    return found if isinstance(found, IPv4Interface) else None


def addresses(given: RoleSettings) -> Iterator[tuple[str, IPv4Interface]]:
    """Return the addresses of the host, each with its interface. The shared address is not among them."""
    shared = virtual_address(given)
    for entry in given.facts.get("addresses") or []:
        found = IPv4Interface(f"{entry['address']}/{entry['prefix']}")
        if shared is None or found.ip != shared.ip:
            yield str(entry["interface"]), found


def virtual_address_is_one(given: RoleSettings) -> str:
    """The shared address is an IPv4 address, with or without the length of a prefix."""
    text = given.text(NAME)
    if not text or virtual_address(given):
        return ""
    return f"{NAME} is {text}. Set an unused IPv4 address in the network of the proxies, such as 10.0.0.9 or 10.0.0.9/24, or leave it out."


def virtual_address_has_two_proxies(given: RoleSettings) -> str:
    """Two proxies or more share an address."""
    proxies = given.planned("proxies") or []
    if not given.text(NAME) or len(proxies) > 1:
        return ""
    return f"{NAME} is {given.text(NAME)}, and the group haproxy has {len(proxies)} host(s). Put two hosts or more there, or leave {NAME} out."


def virtual_address_is_the_same(given: RoleSettings) -> str:
    """All proxies have the same shared address and the same number of their group."""
    settings = given.planned("virtual_addresses") or {}
    if len(set(settings.values())) < 2:
        return ""
    parts = {name: value.partition(" ") for name, value in settings.items()}
    listed = "; ".join(f"{name} has {address or 'none'} with haproxy_virtual_router_id {number}" for name, (address, _space, number) in parts.items())
    return f"{NAME} and haproxy_virtual_router_id must be the same on all proxies, and {listed}. Set both for the group haproxy."


def virtual_address_is_unused(given: RoleSettings) -> str:
    """The shared address belongs to no host of the inventory."""
    shared = virtual_address(given)
    if shared is None:
        return ""
    text = str(shared.ip)
    owners = [name for name, variables in given.hostvars.items() if text in (variables.get("atlas_mlflow_ip"), variables.get("atlas_mlflow_address"))]
    return f"{NAME} is {text}, which is the address of {owners[0]}. Set an address that no host has." if owners else ""


def virtual_address_has_an_interface(given: RoleSettings) -> str:
    """The shared address is in a network of its interface, and the host's own address belongs to an interface."""
    shared = virtual_address(given)
    if shared is None:
        return ""
    own, found = str(given.variable("atlas_mlflow_ip")), list(addresses(given))
    of_own = next((interface for interface, address in found if str(address.ip) == own), "")
    if not of_own:
        return (
            f"{NAME} is set, and no interface of {given.host} has {own}, with which the other proxies reach it. Set atlas_mlflow_address of {given.host} to "
            f"one of {', '.join(str(address.ip) for _interface, address in found) or 'its addresses'}."
        )
    wanted = given.text("haproxy_virtual_interface") or of_own
    networks = [address.network for interface, address in found if interface == wanted]
    if any(shared.ip in network for network in networks):
        return ""
    seen = f"whose network is {', '.join(map(str, networks))}" if networks else f"which has no address, or which {given.host} does not have"
    return (
        f"{NAME} is {shared.ip}, and its interface on {given.host} is {wanted}, {seen}. Clients there would not find the address. Set an address of that "
        "network, or set haproxy_virtual_interface."
    )


def virtual_address_is_listened_on(given: RoleSettings) -> str:
    """HAProxy listens on the shared address, also on the proxies that do not have it."""
    listen = given.text("haproxy_listen_address")
    if not given.text(NAME) or listen in ALL:
        return ""
    return (
        f"haproxy_listen_address is {listen}, and {NAME} is {given.text(NAME)}, on which HAProxy must listen before the host has it. Leave "
        "haproxy_listen_address at 0.0.0.0."
    )


def virtual_router_id_is_one(given: RoleSettings) -> str:
    """The number of the proxies' group fits into a byte and is not zero."""
    number = given.number("haproxy_virtual_router_id")
    return "" if 0 < number < 256 else f"haproxy_virtual_router_id is {number}. Set a number from 1 to 255 that no other router with VRRP in the network has."


def virtual_secret_is_one(given: RoleSettings) -> str:
    """The secret of the proxies has eight letters and digits."""
    if not given.text(NAME) or re.fullmatch("[A-Za-z0-9]{8}", given.text("haproxy_virtual_secret")):
        return ""
    return "haproxy_virtual_secret does not have eight letters and digits, which is all that VRRP sends. Set such a secret, or leave it out to generate one."


def keepalived_is_ours(given: RoleSettings) -> str:
    """A keepalived that somebody else has set up stays as it is."""
    if not given.text(NAME) or given.stack.get("keepalived") != "other":
        return ""
    return (
        f"{NAME} is set, and {given.host} has settings of its own in /etc/keepalived/keepalived.conf. Remove them, or keep that keepalived for the address and "
        f"leave {NAME} out."
    )
