# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the services of a stack use of one host, each with its variable: folders, ports and accounts.

Rules compare them, because each role knows only its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.folders import folder_of
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import default_of
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.hosts import Host
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.services import LOOPBACK, ArtifactStore, Service
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.stack import Stack

#: Settings of a tracking server that may name a folder outside of its folder of data.
STORES = ("mlflow_server_backend_store_uri", "mlflow_server_auth_store_uri", "mlflow_server_artifacts_destination")


@dataclass(frozen=True)
class Folder:
    """A folder of a role on a host."""

    role: str
    #: The variable that names it.
    name: str
    path: str
    #: When remove.yml removes the folder: always, with the data of the role, or never.
    removed: str = "never"
    #: Whether it has only programs that the next run installs again, so that roles may share it.
    shared: bool = False


@dataclass(frozen=True)
class Port:
    """A port on which a role listens on a host."""

    role: str
    #: The variable that names it.
    name: str
    number: int
    addresses: tuple[str, ...]


def _has(host: Host, services: Sequence[Service]) -> bool:
    """Return whether a host has one of these services."""
    return any(service.name == host.name for service in services)


def _folders(stack: Stack, host: Host) -> Iterator[Folder]:
    """Yield the folders of the roles on a host."""
    if _has(host, stack.servers):
        role = "mlflow_server"
        yield Folder(role, "mlflow_server_install_dir", host.text("mlflow_server_install_dir"), "always")
        yield Folder(role, "mlflow_server_uv_dir", host.text("mlflow_server_uv_dir"), "always", shared=True)
        yield Folder(role, "mlflow_server_data_dir", host.text("mlflow_server_data_dir"), "with data")
        # Only the folder is taken of a URI, which may have a password.
        places = {name: host.given_text(name) for name in STORES}
        environment = host.given("mlflow_server_environment")
        if isinstance(environment, dict):
            places["MLFLOW_REGISTRY_STORE_URI of mlflow_server_environment"] = str(environment.get("MLFLOW_REGISTRY_STORE_URI") or "")
        yield from (Folder(role, name, folder) for name, place in places.items() if (folder := folder_of(place)))
    if _has(host, stack.stores):
        yield Folder("minio", "minio_install_dir", host.text("minio_install_dir"), "always")
        if not host.in_container("minio"):
            name = "minio_drives" if host.items("minio_drives") else "minio_data_dir"
            yield from (Folder("minio", name, drive, "with data") for drive in ArtifactStore(host).drives)
    if stack.is_member(host):
        yield Folder("postgres", "postgres_patroni_install_dir", host.text("postgres_patroni_install_dir"), "always")
        yield Folder("postgres", "postgres_uv_dir", host.text("postgres_uv_dir"), "always", shared=True)
    if host.name in stack.backup_hosts:
        yield Folder("backup", "backup_repository", host.given_text("backup_repository") or str(default_of("backup_repository")))


def _ports(stack: Stack, host: Host) -> Iterator[Port]:
    """Yield the ports of the roles on a host. A container publishes its port on the same addresses as a service."""

    def port(role: str, name: str, *addresses: str, number: int | None = None) -> Port:
        return Port(role, name, host.number(name) if number is None else number, addresses)

    if _has(host, stack.servers):
        yield port("mlflow_server", "mlflow_server_port", host.text("mlflow_server_host"))
    for database in stack.databases:
        if database.name == host.name:
            given = host.given("postgres_listen_addresses")
            listens = [str(address) for address in host.items("postgres_listen_addresses")] if given is not None else stack.database_addresses(host)
            yield port("postgres", "postgres_port", *listens)
            if database.pools:
                yield port("postgres", "postgres_pgbouncer_port", *listens)
            if stack.cluster:
                yield port("postgres", "postgres_patroni_port", host.ip)
                yield port("etcd", "etcd_client_port", host.ip, LOOPBACK)
                yield port("etcd", "etcd_peer_port", host.ip)
    if _has(host, stack.stores):
        listens = [stack.store_listen_address(host)]
        yield port("minio", "minio_port", *listens)
        yield port("minio", "minio_console_port", *listens)
    for proxy in stack.proxies:
        if proxy.name == host.name:
            listens = [host.text("haproxy_listen_address")]
            yield port("haproxy", "haproxy_port", *listens, number=proxy.port)
            yield port("haproxy", "haproxy_redirect_port", *listens)
            if host.items("haproxy_minio_servers") if host.given("haproxy_minio_servers") is not None else stack.proxied_stores:
                yield port("haproxy", "haproxy_minio_port", *listens)
            if host.items("haproxy_postgres_servers") if host.given("haproxy_postgres_servers") is not None else stack.proxied_databases:
                yield port("haproxy", "haproxy_postgres_port", *listens)
            yield port("haproxy", "haproxy_metrics_port", stack.proxy_metrics_address(proxy), number=proxy.metrics_port(stack.has_metrics(host)))
    if stack.has_metrics(host) and (host.given("metrics_enabled") is None or host.flag("metrics_enabled")):
        address = stack.exporter_address(host)
        yield port("metrics", "metrics_node_port", address)
        if stack.exports_postgres(host):
            yield port("metrics", "metrics_postgres_port", address)
    if any(one.name == host.name for one in stack.prometheus):
        yield port("prometheus", "prometheus_port", host.text("prometheus_listen_address"))


def parts_plan(stack: Stack, host: Host) -> dict[str, Any]:
    """Return what the services of a host use of it, as plain values.

    :param stack: The services of the inventory.
    :param host: The host.
    """
    accounts = [name for name, services in (("mlflow_server_os_user", stack.servers), ("minio_os_user", stack.stores)) if _has(host, services)]
    accounts += ["metrics_postgres_user"] if stack.exports_postgres(host) else []
    return {
        "folders": [asdict(folder) for folder in _folders(stack, host)],
        "ports": [{**asdict(port), "addresses": list(port.addresses)} for port in _ports(stack, host) if port.number],
        "accounts": {name: host.text(name) for name in accounts},
    }
