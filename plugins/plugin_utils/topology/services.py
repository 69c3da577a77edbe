# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services of a stack on their hosts, and how each is reached: by which endpoint, and with or without TLS."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.hosts import Host

LOOPBACK = "127.0.0.1"
#: Addresses to listen on that include loopback.
REACHED_BY_LOOPBACK = ("0.0.0.0", LOOPBACK)
#: The ports of the services inside their containers. They are published on the ports in the settings.
PORT_IN_CONTAINER = {"postgres": 5432, "minio": 9000}
#: The suffix of the users' database, by the kind of login. Each kind has its own database, because their tables for the schema revision have the same name.
USERS_DATABASES = {"basic": "_auth", "oidc": "_oidc"}
#: Over a network, a connection to a lost peer is closed after some seconds. The kernel's own limits are a quarter of an hour or two hours.
NETWORK_OPTIONS = ("connect_timeout=10", "tcp_user_timeout=10000", "keepalives_idle=30", "keepalives_interval=5", "keepalives_count=3")
#: The same with a cluster, whose hosts are tried one after the other: a lost host must not delay the next one. A connection without traffic to a lost primary
#: is closed before a replica takes over. A request that took such a connection from the pool later would wait until C(tcp_user_timeout) is over.
CLUSTER_OPTIONS = ("connect_timeout=3", "tcp_user_timeout=10000", "keepalives_idle=5", "keepalives_interval=2", "keepalives_count=3")
#: The path of the CA file on each tracking server's host.
AUTHORITY_ON_HOST = "/etc/atlas-mlflow/tls/authority.pem"
POSTGRES_SOCKETS = "/var/run/postgresql"
#: The port of HAProxy's metrics if the stack has metrics and the inventory sets no port.
HAPROXY_METRICS_PORT = 8405
#: Variables of a server's host that determine the number of its connections.
CONNECTION_SETTINGS = (
    "mlflow_server_environment",
    "mlflow_server_workers",
    "mlflow_server_jobs_enabled",
    "mlflow_server_backend_store_uri",
    "mlflow_server_auth",
    "mlflow_server_auth_store_uri",
    "mlflow_server_read_replicas",
    "mlflow_server_read_replica_store_uri",
)


@dataclass(frozen=True)
class Endpoint:
    """The place where a service is reached."""

    host: str
    port: int
    scheme: str = ""

    @property
    def suffix(self) -> str:
        """Return the port as a part of a URL: empty for the default port of the scheme."""
        return "" if self.port == {"https": 443, "http": 80}.get(self.scheme) else f":{self.port}"

    @property
    def url(self) -> str:
        """Return the URL of the endpoint."""
        return f"{self.scheme}://{self.host}{self.suffix}"

    def __str__(self) -> str:
        """Return host and port."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Link:
    """How a tracking server reaches the database."""

    #: None means the socket of the service on the same host.
    endpoint: Endpoint | None
    #: PostgreSQL's word for the check of its certificate; empty without TLS.
    verify: str = ""
    over_network: bool = False


class Service:
    """A service of the stack on one host."""

    ROLE = ""

    def __init__(self, host: Host) -> None:
        """Take the host."""
        self.host = host

    @property
    def name(self) -> str:
        """Return the host's name in the inventory."""
        return self.host.name

    @property
    def tls(self) -> bool:
        """Return whether the service uses TLS."""
        return self.host.speaks_tls(self.ROLE)

    @property
    def in_container(self) -> bool:
        """Return whether the service runs in a container."""
        return self.host.in_container(self.ROLE)

    @property
    def engine(self) -> str:
        """Return the program that runs the container of the service, empty if there is none."""
        return self.host.engine(self.ROLE)

    @property
    def port(self) -> int:
        """Return the port of the service on the host."""
        return self.host.number(f"{self.ROLE}_port")

    @property
    def network(self) -> str:
        """Return the network of the service's container, on which containers reach each other by their names."""
        return self.host.text(f"{self.ROLE}_container_network")

    @property
    def container_name(self) -> str:
        """Return the name of the service's container, by which other containers on its host reach it."""
        return self.host.text(f"{self.ROLE}_container_name")

    @property
    def inside(self) -> Endpoint:
        """Return the endpoint for other containers on the same host."""
        return Endpoint(self.container_name, PORT_IN_CONTAINER[self.ROLE])


class TrackingServer(Service):
    """A tracking server."""

    ROLE = "mlflow_server"

    @property
    def auth(self) -> str:
        """Return the kind of login."""
        return self.host.text("mlflow_server_auth")

    @property
    def direct(self) -> bool:
        """Return whether the server sends clients to the artifact store."""
        return self.host.text("mlflow_server_artifact_mode") == "direct"

    @property
    def asks_proxies(self) -> bool:
        """Return whether the server reaches a cluster of PostgreSQL by the proxies."""
        return self.host.text("mlflow_server_postgres_route") == "haproxy"

    @property
    def present_database(self) -> dict[str, Any]:
        """Return which database the server uses until this run, empty if it is not known."""
        stores = ((self.host.facts.get("stack") or {}).get("mlflow_server") or {}).get("stores") or {}
        return dict(stores.get("backend") or {})

    @property
    def public_names(self) -> list[str]:
        """Return the names that people use for the server, in addition to those that the inventory and its host know."""
        return [str(name) for name in self.host.items("mlflow_server_names")]

    @property
    def by_name(self) -> Endpoint:
        """Return the endpoint with the server's name in the inventory."""
        return Endpoint(self.name, self.port, "https" if self.tls else "http")

    @property
    def connection_settings(self) -> dict[str, Any]:
        """Return the settings of the host that determine how many connections the server may open."""
        return {"ansible_facts": self.host.facts, **{name: self.host.given(name) for name in CONNECTION_SETTINGS}}


class Database(Service):
    """The PostgreSQL of the backend store."""

    ROLE = "postgres"

    def clients(self, servers: Iterable[TrackingServer]) -> list[Host]:
        """Return the hosts that log in over the network."""
        return [server.host for server in servers if server.name != self.name]

    @property
    def users_clients(self) -> list[str]:
        """Return the addresses and networks from which users other than MLflow's log in."""
        return [str(client) for user in self.host.items("postgres_users") for client in user.get("clients") or []]

    def link(self, host: Host) -> Link:
        """Return how the tracking server on a host reaches the database.

        On the same host, a container reaches another one by its name on their network, and a service by its socket. A certificate from the
        inventory is not for loopback addresses, and on loopback the identity of the server needs no check.
        """
        here = host.name == self.name
        verify = "" if not self.tls else "verify-ca" if here and self.host.own_certificate(self.ROLE) else "verify-full"
        if not here:
            return Link(Endpoint(self.host.address, self.client_port), verify, over_network=True)
        if not host.in_container("mlflow_server"):
            return Link(Endpoint(LOOPBACK, self.client_port), verify)
        return Link(self.inside, verify) if self.in_container else Link(None)

    def options(self, link: Link, host: Host) -> list[str]:
        """Return the options of a URI for a link."""
        if link.endpoint is None:
            return [f"host={POSTGRES_SOCKETS}", f"port={self.client_port}"]
        return [*(NETWORK_OPTIONS if link.over_network else ()), *(self.check(link.verify, host) if link.verify else ())]

    def check(self, verify: str, host: Host) -> list[str]:
        """Return the options of a URI for the check of the database's certificate.

        :param verify: PostgreSQL's word for the check.
        :param host: The host that connects.
        """
        return [f"sslmode={verify}", f"sslrootcert={AUTHORITY_ON_HOST if host.server_authority else host.trust_store}"]

    def cluster_uri(self, host: Host, database: str, members: Sequence[Database], session: str = "read-write") -> str:
        """Return the URI of a database of a cluster for the tracking server on a host, without the password.

        The driver tries the members in this order until one accepts the kind of session. SQLAlchemy and libpq both read this form.

        :param host: The host that connects.
        :param database: The name of the database.
        :param members: The members of the cluster.
        :param session: The kind of session, in the words of libpq's C(target_session_attrs).
        """
        return self.uri_of_places(host, database, [Endpoint(member.host.address, member.client_port) for member in members], session)

    def uri_of_places(self, host: Host, database: str, places: Sequence[Endpoint], session: str = "read-write") -> str:
        """Return the URI of a database of a cluster that the driver looks for at several places, see :meth:`cluster_uri`."""
        listed = [f"host={','.join(place.host for place in places)}", f"port={','.join(str(place.port) for place in places)}"]
        options = [*listed, f"target_session_attrs={session}", *CLUSTER_OPTIONS, *self.check("verify-full", host)]
        return f"postgresql+psycopg2://{quote(self.host.text('postgres_user'))}@/{quote(database)}?{'&'.join(options)}"

    def uri(self, host: Host, database: str) -> str:
        """Return the URI of a database for the tracking server on a host, without the password."""
        link = self.link(host)
        options = "&".join(self.options(link, host))
        place = link.endpoint or ""
        return f"postgresql+psycopg2://{quote(self.host.text('postgres_user'))}@{place}/{quote(database)}{'?' if options else ''}{options}"

    @property
    def pools(self) -> bool:
        """Return whether PgBouncer runs beside PostgreSQL. A rule refuses it beside a container."""
        return self.host.flag("postgres_pgbouncer") and not self.in_container

    @property
    def client_port(self) -> int:
        """Return the port to which tracking servers connect: that of PgBouncer if there is one, else of PostgreSQL."""
        return self.host.number("postgres_pgbouncer_port") if self.pools else self.port

    @property
    def etcd_ports(self) -> list[int]:
        """Return the ports of etcd, on which only the members of a cluster call each other."""
        return [self.host.number(name) for name in ("etcd_client_port", "etcd_peer_port")]

    @property
    def patroni_port(self) -> int:
        """Return the port of Patroni's API."""
        return self.host.number("postgres_patroni_port")

    @property
    def database(self) -> str:
        """Return the name of the backend store's database."""
        return self.host.text("postgres_database")

    def users_database(self, auth: str) -> str:
        """Return the name of the users' database for a kind of login, empty if no database is needed."""
        return self.database + USERS_DATABASES[auth] if auth in USERS_DATABASES else ""


class ArtifactStore(Service):
    """The MinIO of the artifact store."""

    ROLE = "minio"

    @property
    def drives(self) -> list[str]:
        """Return the folders in which the host keeps its part of a pool."""
        return [str(drive) for drive in self.host.items("minio_drives")] or [self.host.text("minio_data_dir")]

    @property
    def pool_number(self) -> int:
        """Return the number of the pool to which the host belongs."""
        return self.host.number("minio_pool")

    def listen_address(self, servers: list[TrackingServer]) -> str:
        """Return the address on which the only host of an artifact store listens.

        Loopback is enough if all its clients are on the same host and can use loopback. This excludes clients in the artifact mode "direct", containers,
        which cannot reach the host's loopback, and a certificate from the inventory, which is not for loopback.
        """
        return self.host.given_text("minio_listen_address") or self.needed_address(servers)

    def needed_address(self, servers: list[TrackingServer]) -> str:
        """Return the address at which the clients of the only host of an artifact store connect to it, whatever the inventory sets."""
        here = bool(servers) and all(server.name == self.name for server in servers)
        apart = any(server.direct or (server.in_container and not self.in_container) for server in servers)
        return LOOPBACK if here and not apart and not self.host.own_certificate(self.ROLE) else self.host.listen_ip

    def _beside(self, host: Host) -> bool:
        """Return whether the tracking server on a host reaches the artifact store by the name of its container."""
        both = host.name == self.name and host.in_container("mlflow_server") and self.in_container
        return both and not TrackingServer(host).direct and not self.host.own_certificate(self.ROLE)

    def endpoint(self, host: Host, servers: list[TrackingServer]) -> Endpoint:
        """Return the endpoint for the tracking server on a host, to which it also sends clients in the artifact mode "direct"."""
        if self._beside(host):
            return self.inside
        server = TrackingServer(host)
        return self._outside(host, servers, by_address=server.in_container or server.direct, for_clients=server.direct)

    def endpoint_of_backup(self, host: Host, servers: list[TrackingServer]) -> Endpoint:
        """Return the endpoint for the backup, which runs on a host and not in a container."""
        return self._outside(host, servers)

    def _outside(self, host: Host, servers: list[TrackingServer], by_address: bool = False, for_clients: bool = False) -> Endpoint:
        """Return the endpoint for a host: loopback on the same host, if the store listens there and has no certificate from the inventory, else its address.

        :param by_address: Whether the host's own client cannot use the host's loopback.
        :param for_clients: Whether clients elsewhere get the endpoint too.
        """
        here = host.name == self.name and not self.host.own_certificate(self.ROLE)
        if here and not by_address and self.listen_address(servers) in REACHED_BY_LOOPBACK:
            return Endpoint(LOOPBACK, self.port)
        # A NAT need not lead a host back to itself.
        by_own = here and not for_clients and self.host.address == self.host.ip
        return Endpoint(self.host.listen_ip if by_own else self.host.address, self.port)

    @property
    def scheme(self) -> str:
        """Return the scheme of the artifact store's URLs."""
        return "https" if self.tls else "http"


class Proxy(Service):
    """An HAProxy in front of the tracking servers."""

    ROLE = "haproxy"

    @property
    def port(self) -> int:
        """Return the proxy's port: the default port of its scheme, unless the settings have another one."""
        given = self.host.given("haproxy_port")
        return self.host.number("haproxy_port") if given is not None else 443 if self.tls else 80

    @property
    def minio_port(self) -> int:
        """Return the port on which the proxy passes requests to a pool of MinIO."""
        return self.host.number("haproxy_minio_port")

    @property
    def postgres_port(self) -> int:
        """Return the port on which the proxy passes connections to the primary of a cluster of PostgreSQL."""
        return self.host.number("haproxy_postgres_port")

    def metrics_port(self, has_metrics: bool) -> int:
        """Return the port of HAProxy's metrics, 0 if there is none.

        :param has_metrics: Whether the host has metrics for Prometheus.
        """
        given = self.host.given("haproxy_metrics_port")
        return self.host.number("haproxy_metrics_port") if given is not None else HAPROXY_METRICS_PORT if has_metrics else 0

    @property
    def virtual_address(self) -> str:
        """Return the address that the proxies share, without the length of its network's prefix, empty if there is none."""
        return self.host.text("haproxy_virtual_address").partition("/")[0]

    @property
    def present_address(self) -> str:
        """Return the address that the proxies share until this run, empty if there is none."""
        return str(((self.host.facts.get("stack") or {}).get("haproxy") or {}).get("virtual_address") or "")

    @property
    def redirect_port(self) -> int:
        """Return the port from which requests are redirected to https, 0 if there is none."""
        return self.host.number("haproxy_redirect_port")
