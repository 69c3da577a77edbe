# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan: what each host of a stack needs to know of the other hosts, as plain values without secrets.

The defaults of the roles use these values, so a variable of a role in the inventory always has precedence.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.container_data import UNITS
from ansible_collections.atlas.mlflow.plugins.plugin_utils.names import unique
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.hosts import Host
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.metrics import alert_limits, targets, unreached
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.parts import parts_plan
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.services import HAPROXY_METRICS_PORT, ArtifactStore, TrackingServer
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.stack import Stack


def server_plan(stack: Stack, host: Host) -> dict[str, Any]:
    """Return how to reach the tracking server of a host from the host itself, whoever set up the server."""
    return {
        "scheme": "https" if stack.serves_tls(host) else "http",
        "host": host.text("mlflow_server_host"),
        "port": host.number("mlflow_server_port"),
        "static_prefix": host.text("mlflow_server_static_prefix"),
        "users": host.text("mlflow_server_auth") != "none",
        "admin_user": host.text("mlflow_server_admin_user"),
        "names": TrackingServer(host).public_names,
        "container_name": host.text("mlflow_server_container_name"),
        "data_dir": host.text("mlflow_server_data_dir"),
    }


def removal_plan(stack: Stack, host: Host) -> list[str]:
    """Return the roles whose data playbooks/remove.yml removes, for the stores that a host uses. A store without its own host belongs to this host."""
    owners = {"mlflow_server": host, "postgres": stack.database.host if stack.database else host, "minio": stack.store.host if stack.store else host}
    return [role for role, owner in owners.items() if owner.flag(f"{role}_remove_data")]


def users_plan(stack: Stack, host: Host) -> dict[str, Any]:
    """Return what a host needs to know to use the stack like its users. It contains no address of another host."""
    own, first = host.own_tls, stack.first_server
    certificate, key = (own.certificate, own.key) if own else ("", "")
    return {
        "secrets_dir": host.secrets_dir,
        "tls_dir": f"{host.secrets_dir}/tls",
        "tls_authority": host.authority,
        "front_authority": stack.front_authority(host),
        "tls_certificate": certificate,
        "tls_key": key,
        "server_tls_certificate": certificate if stack.servers_speak_tls else "",
        "server_tls_key": key if stack.servers_speak_tls else "",
        "tls_renew_days": host.number("atlas_mlflow_tls_renew_days"),
        "tracking_server": server_plan(stack, host),
        "uv_dir": host.text("mlflow_server_uv_dir"),
        "verifies": host.flag("mlflow_server_verify"),
        "server_in_container": host.in_container("mlflow_server"),
        "proxies": [proxy.name for proxy in stack.proxies],
        "proxy_scheme": stack.proxy_scheme,
        "proxy_port": stack.proxy_port,
        "virtual_address": stack.virtual_address,
        "proxy_suffix": stack.proxy_endpoint("").suffix,
        "user_url": stack.user_url,
        "client_url": stack.client_url,
        "database_elsewhere": stack.database_elsewhere,
        "static_prefix": stack.static_prefix,
        "auth": stack.auth,
        "admin_user": first.host.text("mlflow_server_admin_user") if first else "",
        "servers": [server.name for server in stack.servers],
        "first_server": first.name if first else "",
        "server_is_first": first is None or first.name == host.name,
        "server_is_alone": len(stack.servers) < 2,
        "servers_with_tls": stack.servers_with_tls,
        "server_names": stack.public_names,
        "postgres_host": stack.database.name if stack.database else "",
        "minio_host": stack.store.name if stack.store else "",
        "cluster_members": [member.name for member in stack.cluster],
        "pgbouncers": [database.name for database in stack.databases if database.pools],
        "pool_members": [store.name for hosts in stack.pools for store in hosts],
        "pool_drives": [drive for hosts in stack.pools for store in hosts if store.name == host.name for drive in store.drives],
    }


def check_status(stack: Stack) -> str:
    """Return the status of a tracking server's good answer to a proxy's check.

    While several servers get a new administrator's password in turn, the proxies have the former one. A server needs its database to refuse it.
    """
    if stack.auth == "basic" and len(stack.servers) > 1:
        return "200,401"
    return "200" if stack.auth in ("none", "basic") else "200-499"


def proxies_plan(stack: Stack, host: Host) -> dict[str, Any]:
    """Return what a proxy needs to know of the tracking servers, and the tracking servers of the proxies."""
    return {
        "called_names": stack.called_names(host),
        "proxy_addresses": [proxy.host.ip for proxy in stack.proxies],
        "proxy_urls": stack.proxy_urls,
        "virtual_addresses": stack.virtual_addresses,
        "proxied_servers": stack.proxied_servers(host),
        # Without MLflow's own users there is no password for the proxy's health check, which then only checks that a server answers.
        "check_user": stack.first_server.host.text("mlflow_server_admin_user") if stack.first_server and stack.auth == "basic" else "",
        "check_status": check_status(stack),
    }


def database_plan(stack: Stack, host: Host) -> dict[str, Any]:
    """Return what the database needs to know of the tracking servers, and the tracking servers of the database."""
    database, clients = stack.database, stack.database_clients
    auth = host.text("mlflow_server_auth")
    return {
        "container_postgres": bool(database and database.in_container),
        "postgres_container_engine": database.engine if database else "",
        "postgres_container_unit": UNITS[database.ROLE] if database and database.engine == "podman" else "",
        "postgres_container_name": database.container_name if database and database.in_container else "",
        "postgres_container_user": database.host.text("postgres_container_user") if database else "",
        "postgres_port": database.port if database else 0,
        "postgres_listen_addresses": stack.database_addresses(host),
        "postgres_server_here": any(server.name == host.name for server in stack.servers),
        # PostgreSQL compares a name with that of the client's address in the DNS, which may be another one or none. PgBouncer knows no names.
        "postgres_clients": unique(call for client in clients for call in (client.ip, "" if database and database.pools else client.address)),
        "postgres_connections": stack.connections,
        "postgres_more_databases": stack.users_databases,
        "postgres_members": [{"name": member.name, "address": member.host.address, "ip": member.host.ip} for member in stack.cluster],
        "etcd_present": stack.etcd_present,
        "backup_joins": stack.backup_joins,
        "former_backup_hosts": stack.former_backup_hosts,
        "postgres_client_port": database.client_port if database else 0,
        "proxied_databases": stack.proxied_databases,
        "database_names": stack.database_names,
        "database_proxy_port": stack.database_proxies[0].postgres_port if stack.database_proxies else "",
        "postgres_etcd_port": database.host.number("etcd_client_port") if database else 0,
        "backend_store": stack.database_uri(host, database.database) if database else "",
        "read_replica_store": stack.replicas_uri(host),
        "auth_store": stack.database_uri(host, database.users_database(auth)) if database else "",
    }


def artifacts_plan(stack: Stack, host: Host) -> dict[str, Any]:
    """Return what the artifact store needs to know of its clients, and the clients of the artifact store."""
    store = stack.store
    return {
        "minio_listen_address": stack.store_listen_address(host),
        "minio_needed_address": store.needed_address(stack.servers) if store and not stack.pools else "",
        "minio_drives": ArtifactStore(host).drives,
        "minio_names": stack.store_names,
        "minio_address": stack.store_address,
        "minio_pools": [
            [{"name": one.name, "address": one.host.address, "port": one.port, "scheme": one.scheme, "drives": one.drives} for one in hosts]
            for hosts in stack.pools
        ],
        "proxied_stores": stack.proxied_stores,
        "proxied_stores_tls": bool(stack.pools and store and store.tls),
        "artifacts_destination": f"s3://{store.host.text('minio_bucket')}" if store else "",
        "s3_region": (store.host if store else host).text("minio_region"),
        "s3_access_key_id": store.host.text("minio_access_key") if store else "",
        "s3_endpoint_url": stack.store_url(host),
        "backup_s3_endpoint_url": stack.store_url(host, for_backup=True),
        # The inventory's own authority has made no certificate for an S3 endpoint outside the inventory, and perhaps none for the proxies of a pool.
        "store_authority": "" if host.own_tls and (not store or stack.store_address and stack.proxies_have_others) else host.authority,
    }


def metrics_plan(stack: Stack, host: Host) -> dict[str, Any]:
    """Return what a host needs to know of Prometheus, and Prometheus of the hosts."""
    found = targets(stack)
    of_database = stack.exports_postgres(host)
    return {
        "metrics": stack.has_metrics(host),
        "metrics_address": stack.metrics_address(host),
        "metrics_clients": stack.metrics_clients(host),
        "metrics_of_postgres": of_database,
        "postgres_metrics_user": host.text("metrics_postgres_user") if of_database else "",
        "haproxy_metrics_port": HAPROXY_METRICS_PORT if stack.has_metrics(host) else 0,
        "metrics_targets": [target.facts for target in found],
        "metrics_unreached": unreached(stack, host, found),
        "alert_limits": alert_limits(stack) if found else {},
        "minio_metrics_account": stack.store.host.text("minio_metrics_access_key") if any(target.job == "minio" for target in found) and stack.store else "",
    }


def host_plan(stack: Stack, host: Host) -> dict[str, Any]:
    """Return the whole plan of a host.

    :param stack: The services of the inventory. The addresses of the hosts must be known.
    :param host: The host.
    """
    networks = stack.container_networks(host)
    engines = stack.container_engines(host)
    return {
        **users_plan(stack, host),
        **proxies_plan(stack, host),
        **database_plan(stack, host),
        **artifacts_plan(stack, host),
        **metrics_plan(stack, host),
        **parts_plan(stack, host),
        "memory": stack.memory(host),
        "data_removed": removal_plan(stack, host),
        "own_names": [*host.names, host.address, host.ip],
        "certificate_names": stack.certificate_names(host),
        # Members of a cluster also log in to each other with their certificates.
        "certificate_usages": ["serverAuth", *(["clientAuth"] if stack.is_member(host) else [])],
        "firewall_needed": [opening.rule for opening in stack.openings(host)],
        "container_networks": networks,
        # Of these services, only the tracking server connects to others.
        "firewall_container_network": next(iter(networks.values()), ""),
        "container_engines": engines,
        "firewall_container_engine": next(iter(engines.values()), "docker"),
    }
