# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the inventory: groups that a stack needs, and hosts that a playbook needs in its limit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ansible_collections.atlas.mlflow.plugins.plugin_utils.members import size_fault

#: The fewest hosts of a pool of MinIO. With this number, a write needs three of four drives.
POOL_HOSTS = 4


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


def there_is_a_server(inventory: Inventory) -> Iterable[str]:
    """A stack has a tracking server."""
    if not inventory.groups.get("mlflow_servers"):
        yield "The inventory has no host in the group mlflow_servers. Put the tracking server's host there."


def pool_survives_the_loss_of_a_host(inventory: Inventory) -> Iterable[str]:
    """Several hosts of MinIO are one pool, which takes four of them, and proxies with its address."""
    count = len(inventory.groups.get("minio") or [])
    if 1 < count < POOL_HOSTS:
        yield (
            f"The group minio has {count} hosts. Fewer than {POOL_HOSTS} hosts would refuse writes as soon as one of them is lost, so they are no better than "
            f"one. Keep one, or put {POOL_HOSTS} or more there."
        )
    if count > 1 and not inventory.groups.get("haproxy"):
        yield f"The group minio has {count} hosts, and clients need one address for all of them. Put a host in the group haproxy, which passes their requests."


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


RULES = (cluster_has_a_majority, cluster_is_whole, there_is_a_server, pool_survives_the_loss_of_a_host, needed_hosts_are_in_the_limit)


def faults(inventory: Inventory) -> list[str]:
    """Return a sentence for each fault of an inventory.

    :param inventory: The inventory.
    """
    return [fault for rule in RULES for fault in rule(inventory)]
