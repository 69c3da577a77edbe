# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus reads in a stack: each service that has metrics, and where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.names import bracketed
from ansible_collections.atlas.mlflow.plugins.plugin_utils.names import name_in
from ansible_collections.atlas.mlflow.plugins.plugin_utils.prometheus import DAY
from ansible_collections.atlas.mlflow.plugins.plugin_utils.schedules import longest_gap
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology import is_loopback, network_of
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.hosts import Host
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.services import Service
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.stack import Stack

#: The variable with the address on which each kind of service has its metrics.
LISTENS = {"node": "metrics_listen_address", "postgres": "metrics_listen_address", "mlflow": "mlflow_server_host", "minio": "minio_listen_address"}


@dataclass(frozen=True)
class Target:
    """A service whose metrics Prometheus reads."""

    #: The kind of the service.
    job: str
    #: The name of its host in the inventory.
    host: str
    #: Address and port.
    address: str
    scheme: str = "http"
    path: str = "/metrics"
    #: The name in its certificate, if the address is not in the certificate.
    server_name: str = ""
    #: Whether its certificate is checked with the CA file of the stack, and not with the authorities that the host of Prometheus trusts.
    authority: bool = True

    @property
    def facts(self) -> dict[str, Any]:
        """Return the target as a plain value."""
        return asdict(self)


def _target(stack: Stack, job: str, service: Service, listens: str, port: int, tls: bool, **more: str) -> Target:
    """Return the target of a service with metrics of its own.

    :param listens: The address on which it has them.
    """
    host = service.host
    name = _certified_name(stack, job, service) if tls else ""
    checked = job != "haproxy" or not stack.proxies_have_others or any(one.given("prometheus_tls_authority") is not None for one in (*stack.prometheus, host))
    return Target(job, host.name, _place(host.called_at(listens), port), "https" if tls else "http", server_name=name, authority=checked, **more)


def _certified_name(stack: Stack, job: str, service: Service) -> str:
    """Return the name that the certificate of a service is for, empty if that is the address of its host. The rules for certificates ask for these names."""
    host = service.host
    if host.own_tls is not None and not host.own_certificate(service.ROLE):
        return host.name
    if job == "haproxy":
        return name_in(host.given_text("haproxy_url")) or name_in(stack.user_url)
    # The proxies check a server by its name in the inventory.
    return "" if job == "minio" else host.name if stack.proxies else name_in(host.given_text("mlflow_server_url"))


def _place(address: str, port: int) -> str:
    """Return address and port."""
    return f"{bracketed(address)}:{port}"


def _exporter(stack: Stack, job: str, host: Host, port: int) -> Target:
    """Return the target of an exporter."""
    address = host.called_at(stack.exporter_address(host))
    is_own = host.own_tls is not None and not host.own_certificate("metrics")
    tls = host.speaks_tls("metrics")
    # A certificate from the inventory is for the address by which others call the host.
    name = host.name if is_own else "" if address == host.address or is_loopback(address) else host.address
    return Target(job, host.name, _place(address, port), "https" if tls else "http", server_name=name if tls else "")


def _hosts(stack: Stack) -> dict[str, Host]:
    """Return the hosts that have metrics, by their names."""
    services = [*stack.servers, *stack.databases, *stack.stores, *stack.proxies]
    hosts = {service.name: service.host for service in services} | {host.name: host for host in stack.prometheus}
    return {name: host for name, host in hosts.items() if stack.has_metrics(host)}


def alert_limits(stack: Stack) -> dict[str, int]:
    """Return the least limits in seconds that the schedules of the hosts allow, by the names of alerts. An alert with a longer limit keeps it.

    :param stack: The services of the inventory.
    """
    hosts = _hosts(stack)
    written = max((longest_gap(host.text("metrics_schedule")) or 0 for host in hosts.values()), default=0)
    backup = max((longest_gap(hosts[name].text("backup_schedule")) or 0 for name in stack.backup_hosts if name in hosts), default=0)
    # A backup is seen when the metrics are written next. The alert itself waits long enough if this is within an hour.
    return {"BackupTooOld": max(backup, DAY) + (written if written > DAY // 24 else 0), "MetricsTooOld": written}


def targets(stack: Stack) -> list[Target]:
    """Return all targets, those of the hosts first.

    :param stack: The services of the inventory.
    """
    chosen = _hosts(stack)
    found = [_exporter(stack, "node", host, host.number("metrics_node_port")) for host in chosen.values()]
    for server in stack.servers:
        if server.name in chosen:
            found.append(_target(stack, "mlflow", server, server.host.text("mlflow_server_host"), server.port, stack.serves_tls(server.host)))
    for proxy in stack.proxies:
        if proxy.name in chosen and (port := proxy.metrics_port(True)):
            found.append(_target(stack, "haproxy", proxy, stack.proxy_metrics_address(proxy), port, proxy.tls))
    found += [_exporter(stack, "postgres", one.host, one.host.number("metrics_postgres_port")) for one in stack.databases if one.name in chosen]
    path = "/minio/v2/metrics/cluster"
    for store in stack.stores:
        if store.name in chosen:
            found.append(_target(stack, "minio", store, stack.store_listen_address(store.host), store.port, store.tls, path=path))
    return found


def unreached(stack: Stack, host: Host, found: Iterable[Target]) -> dict[str, str]:
    """Return the variables of a host that keep metrics on loopback although another host reads them, each with its address.

    A rule of the role haproxy compares the proxy's address with those who may read there.

    :param stack: The services of the inventory.
    :param host: The host.
    :param found: All targets.
    """
    readers = [network for client in stack.metrics_clients(host) if (network := network_of(client)) and not network.is_loopback]
    jobs = ["node", "postgres"] if any(network != network_of(host.ip) for network in readers) else []
    # Others may read what they reach. A Prometheus of the inventory reads all targets.
    jobs += ["mlflow", "minio"] if any(one.name != host.name for one in stack.prometheus) else []
    addresses = {target.job: target.address.rpartition(":")[0].strip("[]") for target in found if target.host == host.name}
    return {LISTENS[job]: addresses[job] for job in jobs if job in addresses and is_loopback(addresses[job])}
