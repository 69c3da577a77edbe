# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the firewall: sources, ports, and the rollback."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Any

from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.sockets import is_port
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology import network_of

SOURCE = "^(any|[0-9.]+(/[0-9]+)?|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(/[0-9]+)?)$"


def openings(given: RoleSettings) -> list[Mapping[str, Any]]:
    """Return the open ports, each with its sources."""
    return given.items("firewall_needed") + given.items("firewall_allowed")


def sources_are_networks(given: RoleSettings) -> str:
    """Sources are addresses and networks."""
    wrong = [str(source) for opening in openings(given) for source in opening["sources"] if not re.match(SOURCE, str(source))]
    way = "Give addresses or networks, such as 10.0.0.7 or 10.0.0.0/24, or any for everybody."
    return f"firewall_needed or firewall_allowed has {', '.join(wrong)} among its sources. {way}" if wrong else ""


def ports_are_ports(given: RoleSettings) -> str:
    """Ports in openings are ports."""
    of_tcp = [opening for opening in openings(given) if opening.get("protocol", "tcp") == "tcp"]
    ports = [int(opening.get("port") or 0) for opening in of_tcp] + [int(port) for port in given.items("firewall_ssh_ports")]
    wrong = [str(port) for port in ports if not is_port(port)]
    return f"firewall_allowed or firewall_ssh_ports has {', '.join(wrong)}. Set ports between 1 and 65535." if wrong else ""


def ssh_is_open(given: RoleSettings) -> str:
    """The port of SSH is open."""
    return "" if given.items("firewall_ssh_ports") else "firewall_ssh_ports is empty, which would lock you out. Name the ports of SSH, or leave it out."


def firewalld_closes_the_ports(given: RoleSettings) -> str:
    """The ports of Enterprise Linux are open: firewalld closes them, and starts with the host by default."""
    facts = given.facts
    if given.role != "firewall" or facts.get("os_family") != "RedHat" or "firewalld" not in (facts.get("packages") or {}) or given.flag("firewall_enabled"):
        return ""
    return f"firewalld is installed on {given.host}, and may close the ports of the stack. Set atlas_mlflow_firewall to true, or open them by firewall-cmd."


def _has_port(ports: str, port: int) -> bool:
    """Return whether a rule of ufw is for a port: for all, for one, or for lists and ranges, such as C(80,5000:5010)."""
    ranges = [part.partition(":") for part in ports.split(",") if part != "any"]
    return ports == "any" or any(int(first) <= port <= int(last or first) for first, _colon, last in ranges if first.isdecimal())


def _covers(rule: str, source: str) -> bool:
    """Return whether a rule of ufw lets a source in."""
    given, wanted = network_of(rule), network_of("0.0.0.0/0" if source == "any" else source)
    # Of IPv6, the facts have no rules.
    return wanted is None or wanted.version == 6 or isinstance(given, IPv4Network) and isinstance(wanted, IPv4Network) and wanted.subnet_of(given)


def ufw_closes_the_ports(given: RoleSettings) -> str:
    """The ports of the stack are open in ufw. What it closes, no rule of the role firewall opens. It does not see the ports of containers."""
    ufw = given.facts.get("ufw") or {}
    if given.role != "firewall" or not ufw:
        return ""
    inside = {int(port["number"]) for port in given.planned("ports") or [] if port["role"] in (given.planned("container_engines") or {})}
    # The host itself comes by loopback.
    own = str(given.variable("atlas_mlflow_ip"))
    closed = [
        (int(opening["port"]), str(source))
        for opening in given.planned("firewall_needed") or []
        if opening.get("port") and int(opening["port"]) not in inside
        for source in opening["sources"]
        if str(source) != own
        and not any(_has_port(str(rule["ports"]), int(opening["port"])) and _covers(str(rule["source"]), str(source)) for rule in ufw["open"])
    ]
    if not closed:
        return ""
    port, source = closed[0]
    listed = ", ".join(f"{port} from {source}" for port, source in closed)
    return (
        f"ufw is active on {given.host}, and closes ports that the stack needs, also with atlas_mlflow_firewall: {listed}. Open them by ufw, such as with `ufw "
        f"allow proto tcp from {source} to any port {port}`, or disable ufw, and set atlas_mlflow_firewall to true, which opens these ports and no others."
    )


def there_is_time_to_connect_again(given: RoleSettings) -> str:
    """There are some seconds to reach the host before new rules are rolled back."""
    seconds = given.number("firewall_undo_seconds")
    return f"firewall_undo_seconds is {seconds}, too few to reach the host again. Set 10 or more." if seconds < 10 else ""
