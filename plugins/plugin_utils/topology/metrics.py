# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus reads in a stack: each service that has metrics, and where."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.names import bracketed
from ansible_collections.atlas.mlflow.plugins.plugin_utils.names import name_in
from ansible_collections.atlas.mlflow.plugins.plugin_utils.prometheus import DAY
from ansible_collections.atlas.mlflow.plugins.plugin_utils.schedules import longest_gap
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.hosts import Host
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.services import LOOPBACK, Service
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.stack import Stack


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

    @property
    def facts(self) -> dict[str, Any]:
        """Return the target as a plain value."""
        return asdict(self)


def _target(stack: Stack, job: str, service: Service, port: int, tls: bool, **more: str) -> Target:
    """Return the target of a service at the address of its host."""
    host = service.host
    # A certificate of the inventory's own authority has the name of the host. Another one has the name that people use, or the address of the host.
    is_own = host.own_tls is not None and not host.own_certificate(service.ROLE)
    listens = host.text("mlflow_server_host") if job == "mlflow" else stack.store_listen_address(host) if job == "minio" else ""
    listens = stack.metrics_address(host) if job == "haproxy" and host.given("haproxy_metrics_address") is None else listens
    # Others call a host by its address, which may be a name. A service on loopback is read on its own host alone.
    address = host.address if listens in ("", "0.0.0.0", "::", host.ip) else listens
    public = "" if job == "minio" else name_in(stack.user_url) or name_in(host.given_text("mlflow_server_url"))
    return Target(job, host.name, _place(address, port), "https" if tls else "http", server_name="" if not tls else host.name if is_own else public, **more)


def _place(address: str, port: int) -> str:
    """Return address and port."""
    return f"{bracketed(address)}:{port}"


def _exporter(stack: Stack, job: str, host: Host, port: int) -> Target:
    """Return the target of an exporter, which listens on loopback if Prometheus is only on its host."""
    address = LOOPBACK if stack.metrics_address(host) == LOOPBACK else host.address
    is_own = host.own_tls is not None and not host.own_certificate("metrics")
    tls = host.speaks_tls("metrics")
    return Target(job, host.name, _place(address, port), "https" if tls else "http", server_name=host.name if tls and is_own else "")


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
    found += [_target(stack, "mlflow", server, server.port, stack.serves_tls(server.host)) for server in stack.servers if server.name in chosen]
    for proxy in stack.proxies:
        if proxy.name in chosen and (port := proxy.metrics_port(True)):
            found.append(_target(stack, "haproxy", proxy, port, proxy.tls))
    found += [_exporter(stack, "postgres", one.host, one.host.number("metrics_postgres_port")) for one in stack.databases if one.name in chosen]
    path = "/minio/v2/metrics/cluster"
    found += [_target(stack, "minio", store, store.port, store.tls, path=path) for store in stack.stores if store.name in chosen]
    return found
