# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All services of an inventory, and their relations."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.atlas.mlflow.plugins.plugin_utils.connections import most_connections, pooled_connections
from ansible_collections.atlas.mlflow.plugins.plugin_utils.memory import HAPROXY, MINIO, postgres_memory, server_memory
from ansible_collections.atlas.mlflow.plugins.plugin_utils.names import host_names, name_in, unique
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology import backup_hosts, ip_version, is_loopback
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.hosts import Host
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.services import (
    LOOPBACK,
    REACHED_BY_LOOPBACK,
    ArtifactStore,
    Database,
    Endpoint,
    Proxy,
    Service,
    TrackingServer,
)

#: The timer of the role backup.
BACKUP_TIMER = "atlas-mlflow-backup.timer"
#: Stands for all clients in the list of a port's clients.
ANYBODY = "any"


@dataclass(frozen=True)
class Opening:
    """A port that a firewall must open, and its clients."""

    #: A port of TCP, 0 for VRRP, which has no ports.
    port: int
    sources: tuple[str, ...]

    @property
    def rule(self) -> dict[str, Any]:
        """Return the opening as the role firewall takes it."""
        return {**({"port": self.port} if self.port else {"protocol": "vrrp"}), "sources": list(self.sources)}


class Stack:
    """All services of an inventory."""

    def __init__(self, groups: Mapping[str, list[str]], host: Callable[[str], Host]) -> None:
        """Take the groups of the inventory.

        :param groups: The groups with their hosts.
        :param host: Returns a host by its name in the inventory.
        """
        self.servers = [TrackingServer(host(name)) for name in groups.get("mlflow_servers") or []]
        self.databases = [Database(host(name)) for name in groups.get("postgres") or []]
        self.stores = [ArtifactStore(host(name)) for name in groups.get("minio") or []]
        self.proxies = [Proxy(host(name)) for name in groups.get("haproxy") or []]
        self.prometheus = [host(name) for name in groups.get("prometheus") or []]
        self.backup_hosts = backup_hosts({name: groups.get(name) or [] for name in ("postgres", "mlflow_servers")})

    @property
    def first_server(self) -> TrackingServer | None:
        """Return the server whose settings are used for settings that all servers share."""
        return self.servers[0] if self.servers else None

    @property
    def database(self) -> Database | None:
        """Return the database. In a cluster, the first member, whose settings are used for settings that all members share."""
        return self.databases[0] if self.databases else None

    @property
    def database_elsewhere(self) -> bool:
        """Return whether the backend store is a database outside of the inventory, which backup.yml refuses."""
        uri = self.first_server.host.given_text("mlflow_server_backend_store_uri") if self.first_server else ""
        return not self.database and uri != "" and not uri.startswith("sqlite:")

    @property
    def cluster(self) -> list[Database]:
        """Return the members of the database's cluster, empty if the database has one host."""
        return self.databases if len(self.databases) > 1 else []

    @property
    def etcd_present(self) -> list[dict[str, str]]:
        """Return the members that the cluster's etcd has now. Empty if no majority of it answers, as before the cluster is set up."""
        answers = [member.host.facts.get("etcd") or {} for member in self.cluster]
        return next((list(answer["members"]) for answer in answers if answer.get("healthy")), [])

    @property
    def backup_joins(self) -> bool:
        """Return whether the run sets up the backup on the members of a cluster, because some have a backup and not all have that of the cluster.

        That is so if one host with backups becomes the first member, or if members join a cluster with backups. All members reach a bucket. A folder may be
        the disk of one host, so a user sets up its backup.
        """
        if not self.cluster or not self.cluster[0].host.given_text("backup_repository").startswith("s3://"):
            return False
        facts = [member.host.facts for member in self.cluster]
        backups = [(known.get("stack") or {}).get("backup") or {} for known in facts]
        # For one host with backups, an earlier release of the collection asked the user to disable the timer and to move the settings away.
        known_before = any(backups) or any(BACKUP_TIMER in (known.get("timers") or []) for known in facts)
        return known_before and not all(backup.get("of_cluster") for backup in backups)

    @property
    def former_backup_hosts(self) -> list[str]:
        """Return the hosts that have the timer of a backup, but no longer the database: it was moved to another host."""
        services: list[Service] = [*self.servers, *self.databases, *self.stores, *self.proxies]
        hosts = {host.name: host for host in (*(service.host for service in services), *self.prometheus)}
        return [name for name, host in hosts.items() if name not in self.backup_hosts and BACKUP_TIMER in (host.facts.get("timers") or [])]

    def is_member(self, host: Host) -> bool:
        """Return whether a host is a member of the database's cluster."""
        return any(member.name == host.name for member in self.cluster)

    def database_uri(self, host: Host, name: str) -> str:
        """Return the URI of a database for the tracking server on a host, without the password. Empty without a database."""
        if not self.database:
            return ""
        if self.cluster and self.proxies and TrackingServer(host).asks_proxies:
            return self.database.uri_of_places(host, name, self._ways_by_proxies(host))
        return self.database.cluster_uri(host, name, self.cluster) if self.cluster else self.database.uri(host, name)

    def _ways_by_proxies(self, host: Host) -> list[Endpoint]:
        """Return the places at which the proxies pass connections to the primary: the address that they share, and each proxy, one on the same host first.

        The driver goes on to the next place if a host does not answer, or if the connection leads to a replica. A proxy that finds no primary accepts the
        connection and ends it, which the driver takes for the answer: so such a proxy gives the shared address away.
        """
        proxies = sorted(self.proxies, key=lambda proxy: proxy.name != host.name)
        addresses = unique([self.virtual_address, *(proxy.host.address for proxy in proxies)])
        return [Endpoint(address, self.proxies[0].postgres_port) for address in addresses]

    @functools.cached_property
    def database_proxies(self) -> list[Proxy]:
        """Return the proxies that pass connections to the primary of a cluster: those of the group haproxy if a tracking server asks them.

        A server that asked them until this run connects there until it has restarted, so that they stop only in the next run.
        """
        asked = [server for server in self.servers if server.asks_proxies or self._asked_proxies(server)]
        return self.proxies if self.cluster and asked else []

    def _asked_proxies(self, server: TrackingServer) -> bool:
        """Return whether a tracking server asks the proxies for the primary until this run."""
        found = server.present_database
        hosts = {str(found.get("host", "")), *str(found.get("hosts", "")).split(",")}
        return str(found.get("port", "")) in {str(proxy.postgres_port) for proxy in self.proxies} and bool(hosts & {name.lower() for name in self._proxy_names})

    @property
    def _proxy_names(self) -> list[str]:
        """Return the addresses by which tracking servers call the proxies, now and until this run."""
        return unique([self.virtual_address, *(name for proxy in self.proxies for name in (proxy.present_address, proxy.host.address))])

    @property
    def database_names(self) -> list[str]:
        """Return the names by which a member of a cluster is called through proxies, which its certificate must have."""
        return self._proxy_names if self.database_proxies else []

    @property
    def proxied_databases(self) -> list[dict[str, Any]]:
        """Return the members of a cluster for the proxies, each with the port of Patroni's API. Empty if no tracking server reaches them by proxies."""
        return [
            {"name": host_names([member.name])[0], "address": str(Endpoint(member.host.address, member.client_port)), "check_port": member.patroni_port}
            for member in (self.cluster if self.database_proxies else [])
        ]

    def replicas_uri(self, host: Host) -> str:
        """Return the URI of the replicas of a cluster for the tracking server on a host, without the password. Empty without a cluster.

        Without a replica, the primary is used. Each server begins with another member, so that they share the load.

        :param host: The host that connects.
        """
        if not self.database or not self.cluster:
            return ""
        names = [server.name for server in self.servers]
        first = names.index(host.name) % len(self.cluster) if host.name in names else 0
        members = [*self.cluster[first:], *self.cluster[:first]]
        return self.database.cluster_uri(host, self.database.database, members, session="prefer-standby")

    @property
    def store(self) -> ArtifactStore | None:
        """Return the artifact store, or the first host of its pool."""
        return self.stores[0] if self.stores else None

    @functools.cached_property
    def pools(self) -> list[list[ArtifactStore]]:
        """Return the hosts of each pool of the artifact store, in the order of the pools' numbers. Empty if the artifact store has one host."""
        numbers = sorted({store.pool_number for store in self.stores}) if len(self.stores) > 1 else []
        return [[store for store in self.stores if store.pool_number == number] for number in numbers]

    @property
    def store_address(self) -> str:
        """Return the name or address by which clients reach a pool: that of the proxies. Empty if the artifact store has one host."""
        return self.front_address if self.pools else ""

    @property
    def store_names(self) -> list[str]:
        """Return the names and addresses of the artifact store. The first one is the address of the proxies of a pool, or the host of a single store."""
        if not self.store:
            return []
        if not self.store_address:
            return [self.store.name, *self.store.host.names, self.store.container_name]
        return unique([self.store_address, *(name for proxy in self.proxies for name in (proxy.present_address, proxy.host.address, *proxy.host.names))])

    def store_url(self, host: Host, for_backup: bool = False) -> str:
        """Return the URL of the artifact store for the tracking server or the backup on a host. Empty without an artifact store."""
        if not self.store:
            return ""
        if self.store_address:
            return f"{self.proxy_scheme}://{Endpoint(self.store_address, self.proxies[0].minio_port)}"
        find = self.store.endpoint_of_backup if for_backup else self.store.endpoint
        return f"{self.store.scheme}://{find(host, self.servers)}"

    def store_listen_address(self, host: Host) -> str:
        """Return the address on which the artifact store on a host listens. The hosts of a pool reach each other at it."""
        if self.pools:
            return host.given_text("minio_listen_address") or host.listen_ip
        address = self.store.listen_address(self.servers) if self.store else LOOPBACK
        # MinIO listens on loopback in addition to an address that it gets, so its clients stay where they are.
        return self.metrics_address(host) if address == LOOPBACK and not host.given_text("minio_listen_address") and self.has_metrics(host) else address

    def has_metrics(self, host: Host) -> bool:
        """Return whether a host has metrics for Prometheus: as the inventory says, or if the inventory has a host with Prometheus."""
        return host.flag("atlas_mlflow_metrics") if host.given("atlas_mlflow_metrics") is not None else bool(self.prometheus)

    def metrics_clients(self, host: Host) -> list[str]:
        """Return the addresses and networks that may read the metrics of a host: those of Prometheus in the inventory, and those of others."""
        if not self.has_metrics(host):
            return []
        return unique([*(one.ip for one in self.prometheus), *(str(client) for client in host.items("atlas_mlflow_metrics_clients"))])

    def metrics_address(self, host: Host) -> str:
        """Return the address on which exporters listen by default: loopback if Prometheus is only on the same host."""
        return host.listen_ip if set(self.metrics_clients(host)) - {host.ip} else LOOPBACK

    def exporter_address(self, host: Host) -> str:
        """Return the address on which the exporters of a host listen."""
        return host.given_text("metrics_listen_address") or self.metrics_address(host)

    def proxy_metrics_address(self, proxy: Proxy) -> str:
        """Return the address on which a proxy has its metrics."""
        return proxy.host.given_text("haproxy_metrics_address") or self.metrics_address(proxy.host)

    def proxy_metrics_clients(self, proxy: Proxy) -> list[str]:
        """Return the addresses and networks that may read the metrics of a proxy."""
        given = proxy.host.given("haproxy_metrics_clients")
        return [str(client) for client in proxy.host.items("haproxy_metrics_clients")] if given is not None else self.metrics_clients(proxy.host)

    @property
    def proxied_stores(self) -> list[dict[str, str]]:
        """Return the hosts of the artifact store for the proxies. Empty if the artifact store has one host."""
        return [{"name": host_names([store.name])[0], "address": str(Endpoint(store.host.address, store.port))} for hosts in self.pools for store in hosts]

    @functools.cached_property
    def proxy_scheme(self) -> str:
        """Return the scheme of the proxies' URLs. The first proxy determines the port and the TLS of all proxies."""
        return "https" if self.proxies and self.proxies[0].tls else "http"

    @functools.cached_property
    def proxy_port(self) -> int:
        """Return the port of the proxies."""
        return self.proxies[0].port if self.proxies else 80

    @property
    def servers_with_tls(self) -> dict[str, bool]:
        """Return for each tracking server, by its name, whether it uses TLS."""
        return {server.name: self.serves_tls(server.host) for server in self.servers}

    def serves_tls(self, host: Host) -> bool:
        """Return whether the tracking server on a host uses TLS: with a certificate from the inventory, or from the own authority."""
        return host.speaks_tls("mlflow_server") and (self.servers_speak_tls or host.given("mlflow_server_tls_certificate") is not None)

    @property
    def servers_speak_tls(self) -> bool:
        """Return whether the tracking servers use TLS if each host has a certificate. Behind proxies, haproxy_servers_tls of the first proxy decides."""
        return not self.proxies or self.proxies[0].host.flag("haproxy_servers_tls")

    def proxy_endpoint(self, host: str) -> Endpoint:
        """Return the endpoint of a proxy with the name or address of its host."""
        return Endpoint(host, self.proxy_port, self.proxy_scheme)

    @property
    def proxy_urls(self) -> list[str]:
        """Return the URLs of the proxies: of the address that they share, if there is one, and of the address of each proxy."""
        addresses = [self.virtual_address, *(proxy.host.address for proxy in self.proxies)]
        return [self.proxy_endpoint(address).url for address in addresses if address]

    @property
    def virtual_address(self) -> str:
        """Return the address that the proxies share, empty if there is none. A rule refuses proxies with different ones."""
        return self.proxies[0].virtual_address if self.proxies else ""

    @property
    def virtual_addresses(self) -> dict[str, str]:
        """Return for each proxy, by its name, what must be the same on all: the address that they share, and the number of their group."""
        return {proxy.name: f"{proxy.host.text('haproxy_virtual_address')} {proxy.host.text('haproxy_virtual_router_id')}" for proxy in self.proxies}

    @property
    def front_address(self) -> str:
        """Return the name or address by which hosts reach all proxies as one, empty without a proxy."""
        return self.virtual_address or (self.proxies[0].host.address if self.proxies else "")

    @property
    def proxies_have_others(self) -> bool:
        """Return whether the proxies have a certificate of another authority than the hosts, whose own one clients then do not need."""
        return bool(self.proxies and self.proxies[0].host.own_tls and self.proxies[0].host.own_certificate("haproxy"))

    def front_authority(self, host: Host) -> str:
        """Return the CA file on the control node with which users of a tracking server check what they reach: the proxies, or the server itself.

        It is empty to use the authorities that their machines trust.
        """
        is_given = host.given("mlflow_server_tls_authority") is not None
        return host.given_text("atlas_mlflow_tls_authority") if self.proxies_have_others and not is_given else host.server_authority

    @property
    def user_url(self) -> str:
        """Return the URL for people from the inventory."""
        return self.first_server.host.given_text("mlflow_server_url") if self.first_server else ""

    @property
    def static_prefix(self) -> str:
        """Return the prefix of all paths of the tracking servers."""
        return self.first_server.host.text("mlflow_server_static_prefix") if self.first_server else ""

    @property
    def client_url(self) -> str:
        """Return the URL for clients: the URL for people, or that of the first host that clients reach."""
        if self.user_url or not self.first_server:
            return self.user_url
        server = self.first_server.by_name
        by_name = self.proxy_endpoint(self.virtual_address or self.proxies[0].name).url if self.proxies else f"{server.scheme}://{server}"
        return by_name + self.static_prefix

    @property
    def auth(self) -> str:
        """Return the kind of login of the tracking servers."""
        return self.first_server.auth if self.first_server else "none"

    @property
    def public_names(self) -> list[str]:
        """Return the names that people use for the tracking servers."""
        return list(dict.fromkeys(name for server in self.servers for name in server.public_names))

    def called_names(self, host: Host) -> list[str]:
        """Return the names that people use for the tracking server on a host, in addition to its own: behind proxies, each server gets all names."""
        front = [*(name for proxy in self.proxies for name in proxy.host.names), self.virtual_address, *self.public_names] if self.proxies else []
        return unique([*front, name_in(self.user_url), name_in(host.given_text("mlflow_server_url"))])

    def certificate_names(self, host: Host) -> list[str]:
        """Return the names in a certificate of the own authority: those of the host, of its containers, and those that people use."""
        containers = [host.text(f"{role}_container_name") for role in ("mlflow_server", "postgres", "minio")]
        urls = [name_in(self.user_url), name_in(host.given_text("mlflow_server_url"))]
        shared = [self.virtual_address] if any(proxy.name == host.name for proxy in self.proxies) else []
        shared += self.database_names if self.is_member(host) else []
        names = host_names([*host.names, *shared, "localhost", LOOPBACK, "::1", *urls, *containers, *self.public_names])
        return unique(name.strip("[]") for name in names)

    def proxied_servers(self, host: Host) -> list[dict[str, str]]:
        """Return the tracking servers from the point of view of a proxy on a host. A server on the same host is reached on loopback, if it listens there.

        A server that listens on one address of several is reached there. A name of its host stays, because it may lead there.
        """
        by_loopback = host.text("mlflow_server_host") in REACHED_BY_LOOPBACK
        found = {}
        for server in self.servers:
            own, listens = server.host.address, server.host.text("mlflow_server_host")
            address = server.host.called_at(listens) if ip_version(own) == ip_version(listens) and not is_loopback(listens) else own
            found[host_names([server.name])[0]] = str(Endpoint(LOOPBACK if by_loopback and own == host.address else address, server.port))
        return [{"name": name, "address": address} for name, address in found.items()]

    @property
    def connections(self) -> int:
        """Return how many connections to the database the workers of all servers may open at once."""
        return most_connections(server.connection_settings for server in self.servers)

    @property
    def server_connections(self) -> int:
        """Return how many of these connections PostgreSQL itself may get: with PgBouncer, only those of its pools."""
        database = self.database
        if not database or not database.pools:
            return self.connections
        return pooled_connections(self.connections, database.host.number("postgres_pgbouncer_pool_size"), 1 + len(self.users_databases))

    @property
    def users_databases(self) -> list[str]:
        """Return the names of the databases for MLflow's users that the servers need."""
        database = self.database
        found = (database.users_database(server.auth) for server in self.servers) if database else ()
        return list(dict.fromkeys(name for name in found if name))

    @property
    def database_clients(self) -> list[Host]:
        """Return the hosts that log in to the database over the network. The primary of a cluster may be on another host than the server.

        A server's connection through a proxy comes from the proxy.
        """
        if self.cluster:
            return list({service.name: service.host for service in [*self.servers, *self.database_proxies]}.values())
        return self.database.clients(self.servers) if self.database else []

    def database_addresses(self, host: Host) -> list[str]:
        """Return where PostgreSQL on a host listens: on loopback, and on its address only if a client is on another host, or members of a cluster."""
        others = any(one.users_clients for one in self.databases if one.name == host.name)
        return ["localhost", *([host.listen_ip] if self.database_clients or others or self.cluster else [])]

    @property
    def store_clients(self) -> list[str]:
        """Return the clients of the artifact store over the network: all in the artifact mode "direct", else the servers and the host of the backup."""
        if any(server.direct for server in self.servers):
            return [ANYBODY]
        asking = {service.name: service.host for service in [*self.servers, *self.databases]}
        return [host.ip for name, host in asking.items() if self.store_address or not self.store or name != self.store.name]

    def _store_sources(self, host: Host) -> list[str]:
        """Return from where the artifact store on a host is reached: from the clients, or in a pool from its other hosts and the proxies."""
        if len(self.stores) < 2:
            return self.store_clients
        return list(dict.fromkeys(service.host.ip for service in [*self.stores, *self.proxies] if service.name != host.name))

    def openings(self, host: Host) -> list[Opening]:
        """Return the ports that the firewall of a host must open."""
        found = []
        for server in self.servers:
            if server.name == host.name:
                behind = tuple(unique([*(proxy.host.ip for proxy in self.proxies), *self.metrics_clients(host)]))
                found.append(Opening(server.port, behind if self.proxies else (ANYBODY,)))
        for database in self.databases:
            if database.name == host.name:
                clients = [*(client.ip for client in self.database_clients), *host.items("postgres_clients")]
                others = [member.host.ip for member in self.cluster if member.name != host.name]
                found.append(Opening(database.port, tuple(unique([*map(str, clients), *database.users_clients, *others]))))
                found += [Opening(database.client_port, tuple(unique(map(str, clients))))] if database.pools else []
                found += [Opening(port, tuple(others)) for port in database.etcd_ports if others]
                asking = unique([*others, *(proxy.host.ip for proxy in self.database_proxies if proxy.name != host.name)])
                found += [Opening(database.patroni_port, tuple(asking))] if others else []
        for store in self.stores:
            if store.name == host.name:
                sources = self._store_sources(host)
                found.append(Opening(store.port, tuple(sources if ANYBODY in sources else unique([*sources, *self.metrics_clients(host)]))))
        for proxy in self.proxies:
            if proxy.name == host.name:
                found += [Opening(port, (ANYBODY,)) for port in (self.proxy_port, proxy.redirect_port) if port]
                found += [Opening(self.proxies[0].minio_port, tuple(self.store_clients))] if self.store_address else []
                found += [Opening(proxy.postgres_port, tuple(server.host.ip for server in self.servers))] if self.database_proxies else []
                port, readers = proxy.metrics_port(self.has_metrics(host)), tuple(self.proxy_metrics_clients(proxy))
                found += [Opening(port, readers)] if port and readers else []
                peers = tuple(peer.host.ip for peer in self.proxies if peer.name != host.name)
                found += [Opening(0, peers)] if self.virtual_address and peers else []
        return found + self._exporter_openings(host)

    def _exporter_openings(self, host: Host) -> list[Opening]:
        """Return the ports of the exporters of a host, for Prometheus on other hosts."""
        clients = tuple(client for client in self.metrics_clients(host) if client != host.ip)
        ports = [host.number("metrics_node_port"), *([host.number("metrics_postgres_port")] if self.exports_postgres(host) else [])]
        return [Opening(port, clients) for port in ports if clients]

    def exports_postgres(self, host: Host) -> bool:
        """Return whether a host has the exporter of PostgreSQL."""
        return self.has_metrics(host) and any(database.name == host.name for database in self.databases)

    def memory(self, host: Host) -> list[dict[str, Any]]:
        """Return the services of a host, each with its role, a name for people, and the mebibytes that it needs under load."""
        found: list[tuple[str, str, int]] = []
        for database in self.databases:
            if database.name == host.name:
                settings = host.value("postgres_settings")
                needed = postgres_memory(settings if isinstance(settings, dict) else {}, self.server_connections, bool(self.cluster))
                found.append((database.ROLE, f"PostgreSQL with {self.server_connections} connections", needed))
        found += [(store.ROLE, "MinIO", MINIO) for store in self.stores if store.name == host.name]
        for server in self.servers:
            if server.name == host.name:
                workers = host.number("mlflow_server_workers")
                needed = server_memory(workers, host.flag("mlflow_server_jobs_enabled"))
                found.append((server.ROLE, f"MLflow with {workers} worker{'' if workers == 1 else 's'}", needed))
        found += [(proxy.ROLE, "HAProxy", HAPROXY) for proxy in self.proxies if proxy.name == host.name]
        return [{"role": role, "what": what, "mebibytes": mebibytes} for role, what, mebibytes in found]

    def container_networks(self, host: Host) -> dict[str, str]:
        """Return the network of each service that runs in a container on a host, by the name of its role."""
        services: list[Service] = [*self.servers, *self.databases, *self.stores]
        return {service.ROLE: service.network for service in services if service.name == host.name and service.in_container}

    def container_engines(self, host: Host) -> dict[str, str]:
        """Return what runs each container of a host, ``docker`` or ``podman``, by the name of its role."""
        return {role: host.engine(role) for role in self.container_networks(host)}
