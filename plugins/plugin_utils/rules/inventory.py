# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the inventory: groups that a stack needs, and hosts that a playbook needs in its limit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.cluster import size_fault

#: The groups that may have only one host, each with the way to use more.
SINGLE = {
    "minio": "set mlflow_server_artifacts_destination and mlflow_server_s3_endpoint_url to a cluster of your own",
}


@dataclass(frozen=True)
class Inventory:
    """The groups of an inventory, and the hosts of a run."""

    groups: Mapping[str, list[str]]
    #: The hosts of the run.
    selected: tuple[str, ...]
    #: The hosts that the playbook needs.
    needed: tuple[str, ...] = ()
    #: The value of --limit.
    limit: str = ""
    #: What to do instead if the database is a cluster and the playbook cannot act on one. Empty if it can.
    single_database: str = ""


def there_is_a_server(inventory: Inventory) -> Iterable[str]:
    """A stack has a tracking server."""
    if not inventory.groups.get("mlflow_servers"):
        yield "The inventory has no host in the group mlflow_servers. Put the tracking server's host there."


def stores_are_single(inventory: Inventory) -> Iterable[str]:
    """Each store of the collection has one host."""
    for group, way in SINGLE.items():
        count = len(inventory.groups.get(group) or [])
        if count > 1:
            yield f"The group {group} has {count} hosts, and only one is supported. Keep one, or {way}."


def needed_hosts_are_in_the_limit(inventory: Inventory) -> Iterable[str]:
    """The hosts that the playbook needs are in the run."""
    missing = [host for host in dict.fromkeys(inventory.needed) if host not in inventory.selected]
    if missing:
        yield (
            f"--limit {inventory.limit} leaves out {', '.join(missing)}, on which this playbook has to act as well. Run it without --limit, or add these "
            "hosts to the limit."
        )


def cluster_has_a_majority(inventory: Inventory) -> Iterable[str]:
    """A loss leaves a majority of the database's cluster."""
    if fault := size_fault(len(inventory.groups.get("postgres") or [])):
        yield f"{fault} Or set mlflow_server_backend_store_uri to a database of your own."


def cluster_is_whole(inventory: Inventory) -> Iterable[str]:
    """A run that acts on a member of the database's cluster acts on all of them: they are configured with each other, and one after the other."""
    members = inventory.groups.get("postgres") or []
    missing = [host for host in members if host not in inventory.selected]
    if len(members) > 1 and missing and len(missing) < len(members):
        yield (
            f"--limit {inventory.limit} leaves out {', '.join(missing)}, which form a cluster with the other hosts of the group postgres. Add them to the "
            "limit, or leave out all of them."
        )


def database_is_single(inventory: Inventory) -> Iterable[str]:
    """A playbook that cannot act on a cluster of PostgreSQL refuses it."""
    count = len(inventory.groups.get("postgres") or [])
    if inventory.single_database and count > 1:
        yield f"The group postgres has {count} hosts, and this playbook does not support a cluster yet. {inventory.single_database}"


RULES = (cluster_has_a_majority, cluster_is_whole, database_is_single, there_is_a_server, stores_are_single, needed_hosts_are_in_the_limit)


def faults(inventory: Inventory) -> list[str]:
    """Return a sentence for each fault of an inventory.

    :param inventory: The inventory.
    """
    return [fault for rule in RULES for fault in rule(inventory)]
