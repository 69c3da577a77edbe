# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the stores that a tracking server would leave, from what its host already has and from the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.stack import artifacts, database
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import defaults_of
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology import topology_hosts

Hosts = Mapping[str, Mapping[str, Any]]
#: A store's kind, host, port and name.
Place = tuple[str, str, str, str]
#: The default names of the stores' containers.
CONTAINERS = {role: str(defaults_of(role)[f"{role}_container_name"]) for role in ("postgres", "minio")}
#: The stores of a tracking server in words.
STORES = {"backend": "backend store", "registry": "registry store", "artifacts": "artifact store", "users": "store of users"}


def aliases(hostvars: Hosts, groups: Mapping[str, list[str]], own: str) -> dict[str, str]:
    """Return the inventory's name of a host for each name and address that may stand for this host in a host's settings.

    :param own: The host with the settings. Its loopback, its sockets and its containers are the host itself.
    """
    known = {}
    for host in topology_hosts(groups):
        variables = hostvars[host]
        calls = [host, *(variables.get("atlas_mlflow_names") or []), variables.get("atlas_mlflow_address"), variables.get("atlas_mlflow_ip")]
        known.update({str(name).lower(): host for name in calls if name})
    beside = [
        name
        for role in ("postgres", "minio")
        for host in groups.get(role, [])[:1] or [own]
        for name in (CONTAINERS[role], hostvars[host].get(f"{role}_container_name"))
        if name
    ]
    known.update(dict.fromkeys(["", "localhost", "127.0.0.1", "::1", "0.0.0.0", *beside], own))
    return known


def place(store: Mapping[str, str], known: Mapping[str, str], managed: Mapping[str, Sequence[str]], cluster: Sequence[str] = ()) -> Place:
    """Return the identity of a store: its kind, host, port and name. A host of the group for a kind of store has one store of it, on any port.

    :param managed: The hosts of the inventory with a store, by its kind.
    :param cluster: The hosts of the group postgres. A database is the same on all of them.
    """
    if store["kind"] in ("sqlite", "folder"):
        return store["kind"], "", "", store["name"]
    host = known.get(store["host"], store["host"]) if store["host"] or store["kind"] == "postgresql" else ""
    if store["kind"] == "postgresql" and host in cluster:
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
    known = aliases(hostvars, groups, own)
    # The proxy of a pool may be on the host of a former MinIO.
    managed = {"postgresql": groups.get("postgres", []), "s3": groups.get("minio", [])}
    changes: dict[str, tuple[Place, Place]] = {}
    for name in STORES:
        before, after = serves.get(name, {}), will[name]
        if not before.get("kind") or not after.get("kind") or before.get("login") != after.get("login"):
            continue
        former, present = (place(one, known, managed, groups.get("postgres", [])) for one in (before, after))
        if former != present and not (name == "registry" and changes.get("backend") == (former, present)):
            changes[name] = (former, present)
    return changes


def store_changes(section: Mapping[str, Any], wanted: Mapping[str, str], hostvars: Hosts, groups: Mapping[str, list[str]], own: str) -> list[str]:
    """Return a part of a sentence for each store that a tracking server uses now and would not use any more, see :func:`changed_stores`."""
    changes = changed_stores(section, wanted, hostvars, groups, own)
    return [f"its {STORES[name]}, {shown(former)}, for {shown(present)}" for name, (former, present) in changes.items()]
