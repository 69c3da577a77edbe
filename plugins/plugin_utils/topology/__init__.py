# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The groups of an inventory that form a stack, their hosts, and addresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any

#: The groups whose hosts form the stack.
GROUPS = ("mlflow_servers", "postgres", "minio", "haproxy", "prometheus")


def topology_hosts(groups: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the hosts of the topology, each once.

    :param groups: The groups of the inventory with their hosts.
    """
    return list(dict.fromkeys(host for group in GROUPS for host in groups.get(group, ())))


def backup_hosts(groups: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the hosts that make backups: the host of the database, all members of a cluster, or the first tracking server if the database is embedded.

    :param groups: The groups of the inventory with their hosts.
    """
    return list(groups.get("postgres", ())) or list(groups.get("mlflow_servers", ()))[:1]


def ip_version(text: Any) -> int:
    """Return the version of an IP address, with or without brackets: 4, 6, or 0 if the text is not an address."""
    try:
        return ip_address(str(text).strip("[]")).version
    except ValueError:
        return 0
