# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the addresses and ports of the services, and for conflicts with other processes."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.container_data import UNITS
from ansible_collections.atlas.mlflow.plugins.module_utils.sockets import Listener, collide
from ansible_collections.atlas.mlflow.plugins.plugin_utils.postgres import clusters, major_version
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology import network_of
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.services import LOOPBACK

#: Words for addresses in PostgreSQL's settings.
WORDS = {"localhost": LOOPBACK, "*": "0.0.0.0"}
#: The message for a store whose port belongs to its former service or container.
STAY = "Data do not move between a service and a container by themselves"
ADDRESS = r"^([0-9.]+|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*)$"
#: Roles whose own rules compare their ports with each other.
COMPARED = ("haproxy", "minio", "metrics")
#: The addresses on which each role's service listens.
LISTENED = {
    "mlflow_server": ("mlflow_server_host",),
    "postgres": ("postgres_listen_addresses",),
    "minio": ("minio_listen_address",),
    "haproxy": ("haproxy_listen_address", "haproxy_metrics_address"),
    "metrics": ("metrics_listen_address",),
    "prometheus": ("prometheus_listen_address",),
}
#: A name or an address with a port, without scheme and path.
HOST_AND_PORT = r"^([^/:]+|\[[0-9a-fA-F:.]+\]):[0-9]+$"


def networks_fault(name: str, clients: Iterable[Any]) -> str:
    """Return what is wrong with a list of addresses and networks, or an empty text. A name could mean another host tomorrow.

    :param name: The variable that has the list.
    """
    wrong = [str(client) for client in clients if not network_of(str(client))]
    return f"{name} has {', '.join(wrong)}. Give addresses or networks, such as 10.0.0.7 or 10.1.0.0/24." if wrong else ""


def plain(address: Any) -> str:
    """Return the IP address that a word for one means, and any other text as it is."""
    return WORDS.get(str(address), str(address))


def port_conflicts(listeners: Iterable[Mapping[str, Any]], address: str | list[str], port: int, own: Iterable[str]) -> list[str]:
    """Return in words the sockets that prevent a service from opening its socket, or that would take its traffic.

    :param listeners: The fact ``listeners`` of ``atlas.mlflow.host_facts``.
    :param address: IP address that the service listens on, or a list of them; ``localhost`` is 127.0.0.1 and ``*`` is 0.0.0.0. A text that is
        not an address has no conflicts, because another rule refuses it.
    :param port: Its port.
    :param own: Units and containers (``container NAME``) that may have the port: the service's own.
    """
    wanted = _wanted([address] if isinstance(address, str) else address, port)
    taken = []
    for fact in listeners:
        other = Listener(ip_address(fact["address"]), fact["port"], fact["pid"], fact["process"], fact["group"])
        if other.group not in own and any(collide(other, listener) for listener in wanted):
            taken.append(f"{other.endpoint}, held by {other.owner}")
    return taken


def _wanted(addresses: Iterable[str], port: int) -> list[Listener]:
    """Return the sockets that a service opens. A text that is not an address is left out."""
    found = []
    for one in addresses:
        with contextlib.suppress(ValueError):
            found.append(Listener(ip_address(plain(one)), int(port)))
    return found


def ports_are_apart(given: RoleSettings) -> str:
    """No other service that the plan puts on the host has a port of the role on the same address."""
    for one, other in itertools.combinations(given.planned("ports") or [], 2):
        roles = {one["role"], other["role"]}
        if given.role not in roles or len(roles) == 1 and given.role in COMPARED:
            continue
        sockets = itertools.product(_wanted(one["addresses"], one["number"]), _wanted(other["addresses"], other["number"]))
        if any(collide(*pair) for pair in sockets):
            return f"{one['name']} and {other['name']} are {one['number']}, and {given.host} has both services. Set one of them to another port."
    return ""


def is_port(number: int) -> bool:
    """Return whether a number can be a port."""
    return 0 < number < 65536


def address_fault(name: str, address: str) -> str:
    """Return what is wrong with an address to listen on, or an empty text."""
    return "" if re.match(ADDRESS, address) else f"{name} is {address}. Set an IP address to listen on; 0.0.0.0 is all."


def port_fault(name: str, port: int) -> str:
    """Return what is wrong with a port, or an empty text."""
    return "" if is_port(port) else f"{name} is {port}. Set a port between 1 and 65535."


def port_taken(given: RoleSettings, address: str | list[str], own: Iterable[str], way: str, *others: int) -> str:
    """Return the message for a role's port that another process has, or an empty text.

    :param address: The address on which the role's service listens.
    :param own: The role's own units and containers.
    :param way: The end of the sentence: the consequence, or the fix.
    :param others: More ports of the service; 0 means none.
    """
    port = given.number(f"{given.role}_port")
    found = [one for wanted in (port, *others) if wanted for one in port_conflicts(given.facts.get("listeners") or [], address, wanted, own)]
    return f"{given.role}_port is {port}, and {'; '.join(found)}. Stop that process, or set another port{way}" if found else ""


def _listened_addresses(given: RoleSettings) -> dict[str, list[str]]:
    """Return the addresses on which the role's service listens, by their variables."""
    if given.role == "metrics" and not given.flag("metrics_enabled"):
        return {}
    names = [name for name in LISTENED[given.role] if name != "haproxy_metrics_address" or given.number("haproxy_metrics_port")]
    return {name: [str(one) for one in given.items(name)] if given.role == "postgres" else [given.text(name)] for name in names}


def _is_elsewhere(address: str, own: Iterable[str]) -> bool:
    """Return whether an IPv4 address belongs to no interface of the host. Another rule refuses a text that is no address."""
    try:
        wanted = ip_address(plain(address))
    except ValueError:
        return False
    return wanted.version == 4 and not (wanted.is_loopback or wanted.is_unspecified) and str(wanted) not in own


def addresses_are_the_host_s(given: RoleSettings) -> str:
    """The service listens on addresses that its host has. With another one, it would not start again. Those of IPv6 are not known."""
    own = [str(entry["address"]) for entry in given.facts.get("addresses") or []]
    if not own or given.facts.get("binds_any_address"):
        return ""
    wrong = [f"{name} has {one}" for name, listed in _listened_addresses(given).items() for one in listed if _is_elsewhere(one, own)]
    if not wrong:
        return ""
    return (
        f"{wrong[0]}, an address that {given.host} does not have, so that the service could not start. The host has {', '.join(own)}. Set one of them, or "
        "0.0.0.0 for all. For an address that moves between hosts, set the kernel's net.ipv4.ip_nonlocal_bind to 1 on the host."
    )


def container_owners(given: RoleSettings) -> list[str]:
    """Return what has the ports of a store's container: its unit with Podman, or Docker's process for the container."""
    return [UNITS[given.role]] if given.deployment == "podman" else docker_owners(given)


def docker_owners(given: RoleSettings) -> list[str]:
    """Return how listeners name the role's container in Docker, also one with a former name, which the role replaces."""
    names = [given.text(f"{given.role}_container_name"), *((given.facts.get("own_containers") or {}).get(given.role) or [])]
    return [f"container {name}" for name in names]


def docker_serves_ipv4(given: RoleSettings) -> str:
    """A port in Docker is published for IPv4: on ``::`` a service takes both families, and Docker publishes a port for IPv6 alone."""
    name = {"mlflow_server": "mlflow_server_host", "minio": "minio_listen_address"}[given.role]
    address = given.text(name)
    if given.deployment != "container" or not re.match(ADDRESS, address) or ip_address(address) != ip_address("::"):
        return ""
    return f"{name} is {address}, which Docker publishes for IPv6 alone, and this stack connects by IPv4. Set 0.0.0.0, or an address of the host."


def mlflow_listens_on_an_address(given: RoleSettings) -> str:
    """The tracking server listens on an IP address."""
    return address_fault("mlflow_server_host", given.text("mlflow_server_host"))


def mlflow_is_reached_by_proxies(given: RoleSettings) -> str:
    """The tracking server listens on more than loopback if a proxy is on another host."""
    address = plain(given.text("mlflow_server_host"))
    elsewhere = [name for name in given.planned("proxies") or [] if name != given.host]
    if not elsewhere or not re.match(ADDRESS, address) or not ip_address(address).is_loopback:
        return ""
    return (
        f"mlflow_server_host is {address}, and the proxy on {elsewhere[0]} reaches no loopback address of {given.host}. Set mlflow_server_host to 0.0.0.0, or "
        "to an address of the host that the proxy reaches."
    )


def mlflow_port_is_one(given: RoleSettings) -> str:
    """The tracking server's port is valid."""
    return port_fault("mlflow_server_port", given.number("mlflow_server_port"))


def mlflow_port_is_free(given: RoleSettings) -> str:
    """Nothing else has the tracking server's port, also on a more specific address. A move between unit and container frees the role's own port first."""
    own = ["mlflow-server.service", *docker_owners(given)]
    return port_taken(given, given.text("mlflow_server_host"), own, ": it would take the tracking server's traffic, or keep it from starting.")


def postgres_listens_on_addresses(given: RoleSettings) -> str:
    """PostgreSQL listens on IP addresses, or on addresses for which it has a word."""
    wrong = [str(address) for address in given.items("postgres_listen_addresses") if address not in WORDS and not re.match(ADDRESS, str(address))]
    return f"postgres_listen_addresses has {', '.join(wrong)}. Give IP addresses, localhost, or * for all." if wrong else ""


def postgres_listens_for_its_clients(given: RoleSettings) -> str:
    """PostgreSQL listens where the tracking servers connect to it, and in a container where the role itself does."""
    name = "postgres_listen_addresses"
    listed = [plain(address) for address in given.items(name)]
    # PostgreSQL and Docker take :: for IPv6 alone.
    if "0.0.0.0" in listed:
        return ""
    needed = [plain(address) for address in given.planned(name) or []]
    if not (given.in_container or given.planned("postgres_server_here")):
        needed = [address for address in needed if address != LOOPBACK]
    missing = [address for address in needed if address not in listed]
    if not missing:
        return ""
    return f"{name} has {', '.join(listed)}, and this stack connects to PostgreSQL at {', '.join(needed)}. Add {', '.join(missing)}."


def postgres_port_is_one(given: RoleSettings) -> str:
    """PostgreSQL's port is valid."""
    return port_fault("postgres_port", given.number("postgres_port"))


def postgres_port_is_free(given: RoleSettings) -> str:
    """Nothing else has PostgreSQL's port, except a cluster that will be upgraded."""
    if given.in_container:
        own = container_owners(given)
    else:
        version = major_version(given.text("postgres_version"), given.facts)
        former = clusters(given.facts, version)["former"].get("version", "")
        own = ["patroni.service", *(f"postgresql@{version}-main.service" for version in (version, former))]
        own += ["postgresql.service"] if given.facts.get("os_family") == "RedHat" else []
    addresses = [str(address) for address in given.items("postgres_listen_addresses")]
    return port_taken(given, addresses, own, f". {STAY}: dump them (pg_dump), stop the old one, and load them.")


def minio_listens_on_an_address(given: RoleSettings) -> str:
    """MinIO listens on an IP address."""
    return address_fault("minio_listen_address", given.text("minio_listen_address"))


def minio_listens_for_its_clients(given: RoleSettings) -> str:
    """MinIO listens where the tracking servers connect to it."""
    address, needed = given.text("minio_listen_address"), str(given.planned("minio_needed_address"))
    if not needed or needed == LOOPBACK or not re.match(ADDRESS, address) or not ip_address(address).is_loopback:
        return ""
    return f"minio_listen_address is {address}, and this stack connects to MinIO at {needed}. Leave the variable out, or set it to this address or 0.0.0.0."


def minio_ports_are_two(given: RoleSettings) -> str:
    """MinIO's port is valid. Its console has no port or another one."""
    port, console = given.number("minio_port"), given.number("minio_console_port")
    if is_port(port) and 0 <= console < 65536 and port != console:
        return ""
    return f"minio_port is {port} and minio_console_port is {console}. Set two different ports between 1 and 65535, or minio_console_port to 0."


def minio_port_is_free(given: RoleSettings) -> str:
    """Nothing else has MinIO's port."""
    own = container_owners(given) if given.in_container else ["minio.service"]
    return port_taken(given, given.text("minio_listen_address"), own, f". {STAY}: copy the bucket (mc mirror), and stop the old one.")


def haproxy_listens_on_an_address(given: RoleSettings) -> str:
    """HAProxy listens on an IP address."""
    return address_fault("haproxy_listen_address", given.text("haproxy_listen_address"))


def haproxy_ports_are_ports(given: RoleSettings) -> str:
    """HAProxy's ports are valid. The port for plain HTTP is optional with https."""
    port, redirect = given.number("haproxy_port"), given.number("haproxy_redirect_port")
    if is_port(port) and 0 <= redirect < 65536:
        return ""
    return f"haproxy_port is {port}, and haproxy_redirect_port is {redirect}. Set ports between 1 and 65535, or no haproxy_redirect_port."


def haproxy_redirect_leads_to_https(given: RoleSettings) -> str:
    """Requests are redirected to https only if there is a certificate, and from another port."""
    port, redirect = given.number("haproxy_port"), given.number("haproxy_redirect_port")
    if not redirect or given.text("haproxy_tls_certificate") and redirect != port:
        return ""
    return (
        f"haproxy_redirect_port is {redirect}, from where requests are sent on to https at haproxy_port, which is {port}. Set haproxy_tls_certificate and "
        "two different ports, or leave haproxy_redirect_port out."
    )


def haproxy_ports_are_free(given: RoleSettings) -> str:
    """Nothing else has HAProxy's ports."""
    minio = given.number("haproxy_minio_port") if given.items("haproxy_minio_servers") else 0
    postgres = given.number("haproxy_postgres_port") if given.items("haproxy_postgres_servers") else 0
    return port_taken(given, given.text("haproxy_listen_address"), ["haproxy.service"], ".", given.number("haproxy_redirect_port"), minio, postgres)
