# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the stores that a tracking server would leave, from what its host already has and from the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.stack import artifacts, database
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import defaults_of, stack_of
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology import topology_hosts

Hosts = Mapping[str, Mapping[str, Any]]
#: A store's kind, host, port and name.
Place = tuple[str, str, str, str]
#: The default names of the stores' containers.
CONTAINERS = {role: str(defaults_of(role)[f"{role}_container_name"]) for role in ("postgres", "minio")}
#: The stores of a tracking server in words.
STORES = {"backend": "backend store", "registry": "registry store", "artifacts": "artifact store", "users": "store of users"}


def _former_containers(variables: Mapping[str, Any], role: str) -> list[str]:
    """Return the names of a role's containers on a host, as its settings may still have them."""
    return ((variables.get("ansible_facts") or {}).get("own_containers") or {}).get(role) or []


def _calls(variables: Mapping[str, Any], host: str) -> list[str]:
    """Return the names and addresses of a host."""
    calls = [host, *(variables.get("atlas_mlflow_names") or []), variables.get("atlas_mlflow_address"), variables.get("atlas_mlflow_ip")]
    return [str(name).lower() for name in calls if name]


def _shared_addresses(variables: Mapping[str, Any]) -> list[str]:
    """Return the address that a proxy shares with others by its settings, and the one that it shares now."""
    found = [str(variables.get("haproxy_virtual_address") or "").partition("/")[0], str(stack_of(variables, "haproxy").get("virtual_address") or "")]
    return [address for address in found if address]


def aliases(hostvars: Hosts, groups: Mapping[str, list[str]], own: str, of_artifacts: bool = False) -> dict[str, str]:
    """Return the inventory's name of a host for each name and address that may stand for this host in a host's settings.

    :param own: The host with the settings. Its loopback, its sockets and its containers are the host itself.
    :param of_artifacts: Whether the settings are those of an artifact store. A pool of MinIO is one store at each of its hosts and proxies: its first host.
        In the same way, a cluster of PostgreSQL is one database at each of its members and at the proxies: its first member.
    """
    known = {}
    for host in topology_hosts(groups):
        known.update(dict.fromkeys(_calls(hostvars[host], host), host))
    beside = [
        name
        for role in ("postgres", "minio")
        for host in groups.get(role, [])[:1] or [own]
        for name in (CONTAINERS[role], hostvars[host].get(f"{role}_container_name"), *_former_containers(hostvars[host], role))
        if name
    ]
    known.update(dict.fromkeys(["", "localhost", "127.0.0.1", "::1", "0.0.0.0", *beside], own))
    pool, cluster, proxies = groups.get("minio", []), groups.get("postgres", []), groups.get("haproxy", [])
    shared = [address for host in proxies for address in _shared_addresses(hostvars[host])]
    if of_artifacts and len(pool) > 1:
        ways = [name for host in (*pool, *proxies) for name in _calls(hostvars[host], host)]
        known.update(dict.fromkeys([*ways, *shared], pool[0]))
    if not of_artifacts and len(cluster) > 1:
        # A proxy that has a PostgreSQL of its own passes no connections on for it.
        passing = [host for host in proxies if host not in cluster and not stack_of(hostvars[host], "postgres")]
        known.update(dict.fromkeys([*(name for host in passing for name in _calls(hostvars[host], host)), *shared], cluster[0]))
    return known


def _own_stores(hostvars: Hosts, groups: Mapping[str, list[str]]) -> dict[str, str]:
    """Return the names and addresses of proxies that had a MinIO before, each with its host. There, the address of the pool was that of another store."""
    hosts = [host for host in groups.get("haproxy", []) if host not in groups.get("minio", [])]
    former = [host for host in hosts if stack_of(hostvars[host], "minio")]
    return {name: host for host in former for name in _calls(hostvars[host], host)}


def place(store: Mapping[str, str], known: Mapping[str, str], managed: Mapping[str, Sequence[str]], cluster: Sequence[str] = ()) -> Place:
    """Return the identity of a store: its kind, host, port and name. A host of the group for a kind of store has one store of it, on any port.

    :param managed: The hosts of the inventory with a store, by its kind.
    :param cluster: The hosts of the group postgres. A database is the same on all of them.
    """
    if store["kind"] in ("sqlite", "folder"):
        return store["kind"], "", "", store["name"]
    host = known.get(store["host"], store["host"]) if store["host"] or store["kind"] == "postgresql" else ""
    # Members of a cluster come and go, and the others have the database as before.
    hosts = [host, *(known.get(one.strip("[]"), one) for one in store.get("hosts", "").split(",") if one)]
    if store["kind"] == "postgresql" and any(one in cluster for one in hosts):
        host = cluster[0]
    port = store["port"] or ("5432" if store["kind"] == "postgresql" else "")
    return store["kind"], host, "" if host in managed.get(store["kind"], ()) else port, store["name"]


def shown(found: Place) -> str:
    """Return a store's place in words."""
    kind, host, port, name = found
    at = f" on {host}{':' if port else ''}{port}" if host else ""
    return {"sqlite": f"the file {name}", "folder": f"the folder {name}", "s3": f"the bucket {name}{at}"}.get(kind, f"the {kind} database {name}{at}")


def changed_stores(
    section: Mapping[str, Any], wanted: Mapping[str, str], hostvars: Hosts, groups: Mapping[str, list[str]], own: str
) -> dict[str, tuple[Place, Place]]:
    """Return the former and the future place of each store that a tracking server uses now and would not use any more.

    :param section: The section C(mlflow_server) of the fact C(stack) of C(atlas.mlflow.host_facts).
    :param wanted: The stores in the settings: the URIs C(backend), C(registry) and C(users) with the kind of C(login), the destination C(artifacts), and
        C(endpoint), the URL of its S3. If C(registry) is empty, the backend store is used. Without C(users) there are no users.
    :param hostvars: The variables of all hosts.
    :param groups: The groups of the inventory.
    :param own: The tracking server's host.
    """
    serves = section.get("stores") or {}
    will: dict[str, dict[str, str]] = {
        "backend": database(wanted["backend"]),
        "registry": database(wanted.get("registry") or wanted["backend"]),
        "artifacts": artifacts(wanted["artifacts"], wanted.get("endpoint", "")),
        "users": {**database(wanted["users"]), "login": wanted["login"]} if wanted.get("users") else {},
    }
    known = {name: aliases(hostvars, groups, own, of_artifacts=name == "artifacts") for name in STORES}
    known["artifacts"] |= _own_stores(hostvars, groups)
    managed = {"postgresql": groups.get("postgres", []), "s3": groups.get("minio", [])}
    changes: dict[str, tuple[Place, Place]] = {}
    for name in STORES:
        before, after = serves.get(name, {}), will[name]
        if not before.get("kind") or not after.get("kind") or before.get("login") != after.get("login"):
            continue
        former, present = (place(one, known[name], managed, groups.get("postgres", [])) for one in (before, after))
        if former != present and not (name == "registry" and changes.get("backend") == (former, present)):
            changes[name] = (former, present)
    return changes


def store_changes(section: Mapping[str, Any], wanted: Mapping[str, str], hostvars: Hosts, groups: Mapping[str, list[str]], own: str) -> list[str]:
    """Return a part of a sentence for each store that a tracking server uses now and would not use any more, see :func:`changed_stores`."""
    changes = changed_stores(section, wanted, hostvars, groups, own)
    return [f"its {STORES[name]}, {shown(former)}, for {shown(present)}" for name, (former, present) in changes.items()]


def server_logins(hostvars: Hosts, groups: Mapping[str, list[str]], store: str, name: str) -> dict[str, str]:
    """Return with which login each tracking server uses a store of the inventory now, by the server's host. A login that its own settings name is not there.

    :param store: C(backend), which is in the group postgres, or C(artifacts), in the group minio.
    :param name: The database, or the bucket.
    """
    group, secret, variable = {
        "backend": ("postgres", "postgres_password", "mlflow_server_backend_store_uri"),
        "artifacts": ("minio", "minio_secret_key", "mlflow_server_s3_access_key_id"),
    }[store]
    found = {}
    for host in groups.get("mlflow_servers", []):
        section = stack_of(hostvars.get(host) or {}, "mlflow_server")
        login, used = (section.get("logins") or {}).get(secret), (section.get("stores") or {}).get(store) or {}
        if login and used.get("name", "").partition("/")[0] == name and variable not in hostvars[host]:
            place = aliases(hostvars, groups, host, of_artifacts=store == "artifacts").get(used["host"], used["host"])
            found.update({host: str(login)} if place in groups.get(group, []) else {})
    return found
