# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the proxy: its servers, its health checks, and its limits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address

from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.sockets import (
    HOST_AND_PORT,
    address_fault,
    is_port,
    networks_fault,
    port_conflicts,
)
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology import network_of

#: The name of a server, as it stands in the settings of HAProxy and in a Host header.
SERVER_NAME = "^[A-Za-z0-9_.-]+$"
SECONDS = ("request_timeout", "client_timeout", "server_timeout", "check_interval", "check_timeout")


def haproxy_is_ours(given: RoleSettings) -> str:
    """An HAProxy that somebody else has set up stays as it is."""
    foreign = given.stack.get("foreign") or []
    if not foreign:
        return ""
    return (
        f"{given.host} has settings of its own in /etc/haproxy/haproxy.cfg ({', '.join(foreign)}), and the role would replace them. Take another host for the "
        "group haproxy. Or take this one out of the group, let its HAProxy pass requests to the tracking servers, and set mlflow_server_proxies and "
        "mlflow_server_url. If nobody needs these settings any more, move the file away."
    )


def status_is_one(given: RoleSettings) -> str:
    """The status of a healthy server is a status or a range, or a list of these."""
    status = given.text("haproxy_check_status")
    one = "[1-5][0-9][0-9](-[1-5][0-9][0-9])?"
    if re.match(f"^{one}(,{one})*$", status):
        return ""
    return f"haproxy_check_status is {status}. Set a status, such as 200, a range, such as 200-499, or several with commas."


def check_has_a_password(given: RoleSettings) -> str:
    """The health checks have a name and a password, or neither."""
    if bool(given.text("haproxy_check_user")) == bool(given.text("haproxy_check_password")):
        return ""
    return "One of haproxy_check_user and haproxy_check_password is set and the other is empty. Set both, or neither where the servers have no users."


def servers_are_there(given: RoleSettings) -> str:
    """There is at least one server behind the proxy."""
    if given.items("haproxy_servers"):
        return ""
    return "haproxy_servers is empty. Put hosts in the group mlflow_servers, and use the playbook atlas.mlflow.site, or give each server's name and address."


def servers_have_names(given: RoleSettings) -> str:
    """Each server has a name that it accepts in the Host header."""
    names = [str(server["name"]) for server in given.items("haproxy_servers")]
    if all(re.match(SERVER_NAME, name) for name in names):
        return ""
    return f"haproxy_servers has {', '.join(names)}. Give each server a name of letters, digits, dots and hyphens that it answers to."


def servers_have_addresses(given: RoleSettings) -> str:
    """Each server has a host and a port."""
    addresses = [str(server["address"]) for server in given.items("haproxy_servers")]
    if all(re.match(HOST_AND_PORT, address) for address in addresses):
        return ""
    return f"haproxy_servers has {', '.join(addresses)}. Give each address as HOST:PORT, with no scheme or path."


def prefix_is_a_path(given: RoleSettings) -> str:
    """A static prefix starts with a slash and does not end with one."""
    prefix = given.text("haproxy_static_prefix")
    if not prefix or re.match("/[^ ]*[^/ ]$", prefix):
        return ""
    return f"haproxy_static_prefix is {prefix}. It starts with a slash, does not end with one, and has no space."


def limits_are_numbers(given: RoleSettings) -> str:
    """At least one connection is allowed, and the body of a request may have at least one byte."""
    connections, size = given.number("haproxy_max_connections"), given.number("haproxy_max_body_bytes")
    if connections > 0 and size >= 0:
        return ""
    return (
        f"haproxy_max_connections is {connections}, and haproxy_max_body_bytes is {size}. Set 1 connection or more, and a number of bytes, or 0 for no limit."
    )


def times_are_seconds(given: RoleSettings) -> str:
    """Each time is at least one second."""
    wrong = [f"haproxy_{name}" for name in SECONDS if given.number(f"haproxy_{name}") < 1]
    return f"{', '.join(wrong)} is less than 1. Set seconds." if wrong else ""


def _variables_with(given: RoleSettings, port: int, stores: Sequence[str]) -> list[str]:
    """Return the variables by which the proxy already has a port.

    :param stores: Beginnings of the variables of the stores that count, if the proxy passes connections to them.
    """
    passed = [f"{store}_port" for store in stores if given.items(f"{store}_servers")]
    return [name for name in ("haproxy_port", "haproxy_redirect_port", *passed) if given.number(name) == port]


def minio_port_is_one(given: RoleSettings) -> str:
    """The port for a pool of MinIO is valid, and no other variable of the proxy has it."""
    if not given.items("haproxy_minio_servers"):
        return ""
    port, own = given.number("haproxy_minio_port"), (given.number("haproxy_port"), given.number("haproxy_redirect_port"))
    if is_port(port) and port not in own:
        return ""
    return f"haproxy_minio_port is {port}, and haproxy_port is {own[0]}. Set two different ports between 1 and 65535."


def postgres_port_is_one(given: RoleSettings) -> str:
    """The port for PostgreSQL is valid, the same on all proxies, and no other variable of the proxy has it."""
    if not given.items("haproxy_postgres_servers"):
        return ""
    port = given.number("haproxy_postgres_port")
    own = _variables_with(given, port, ("haproxy_minio",))
    if own or not is_port(port):
        seen = f", and so is {own[0]}" if own else ""
        return f"haproxy_postgres_port is {port}{seen}. Set a port between 1 and 65535 that no other variable of the proxy has, for all proxies."
    ports = {name: str(variables.get("haproxy_postgres_port", port)) for name, variables in given.hostvars.items() if name in (given.planned("proxies") or [])}
    if len(set(ports.values())) > 1:
        listed = ", ".join(f"{one} on {name}" for name, one in ports.items())
        return f"haproxy_postgres_port is {listed}, and must be the same on all proxies. Set it for the group haproxy."
    return ""


def postgres_servers_are_members(given: RoleSettings) -> str:
    """Each member of a cluster has a name and an address."""
    wrong = [
        f"{server['name']} at {server['address']}"
        for server in given.items("haproxy_postgres_servers")
        if not re.match(SERVER_NAME, str(server["name"])) or not re.match(HOST_AND_PORT, str(server["address"]))
    ]
    if not wrong:
        return ""
    return f"haproxy_postgres_servers has {', '.join(wrong)}. Give each host a name of letters, digits, dots and hyphens, and its address as HOST:PORT."


def metrics_address_is_one(given: RoleSettings) -> str:
    """The metrics are at an IP address."""
    return address_fault("haproxy_metrics_address", given.text("haproxy_metrics_address"))


def metrics_port_is_free(given: RoleSettings) -> str:
    """The port of the metrics is valid, no other variable of the proxy has it, and no other process listens there."""
    port = given.number("haproxy_metrics_port")
    if not port:
        return ""
    own = _variables_with(given, port, ("haproxy_minio", "haproxy_postgres"))
    if own or not is_port(port):
        seen = f", and so is {own[0]}" if own else ""
        return f"haproxy_metrics_port is {port}{seen}. Set a port between 1 and 65535 that no other variable of the proxy has, or 0 for no metrics."
    found = port_conflicts(given.facts.get("listeners") or [], given.text("haproxy_metrics_address"), port, ["haproxy.service"])
    return f"haproxy_metrics_port is {port}, and {'; '.join(found)}. Stop that process, or set another port." if found else ""


def metrics_clients_are_networks(given: RoleSettings) -> str:
    """Those who may read the metrics are addresses and networks."""
    return networks_fault("haproxy_metrics_clients", given.items("haproxy_metrics_clients"))


def metrics_are_reached_by_clients(given: RoleSettings) -> str:
    """Clients on other hosts reach the address of the metrics."""
    address, networks = given.text("haproxy_metrics_address"), [network_of(str(client)) for client in given.items("haproxy_metrics_clients")]
    # A Prometheus on the same host has the host's address here, and uses loopback.
    own = network_of(str(given.variable("atlas_mlflow_ip")))
    elsewhere = [str(network) for network in networks if network and not network.is_loopback and network != own]
    if not given.number("haproxy_metrics_port") or not elsewhere or address_fault("", address) or not ip_address(address).is_loopback:
        return ""
    return (
        f"haproxy_metrics_clients has {', '.join(elsewhere)}, and haproxy_metrics_address is {address}, which no other host reaches. Set "
        "haproxy_metrics_address to an address of the host, or to 0.0.0.0, or leave haproxy_metrics_clients out."
    )
