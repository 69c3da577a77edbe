# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters for MinIO: its file of settings, whose quoting differs from systemd's, and the checksum of its executable on the control node."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.atlas.mlflow.plugins.plugin_utils import checksums
from ansible_collections.atlas.mlflow.plugins.plugin_utils.environment import environment_lines


def minio_environment(variables: Mapping[str, Any]) -> str:
    """Write the lines of a file for ``MINIO_CONFIG_ENV_FILE``, sorted by name.

    MinIO removes the quotes at both ends of a value and does not change the rest: a backslash stays a backslash.

    :param variables: Names and values; a value of ``None`` omits the variable, a boolean is written as ``true`` or ``false``.
    :returns: ``NAME="value"`` lines, each ended by a line feed.
    :raises AnsibleFilterError: If a value has a line break. The message names the variable and not its value, which may be a secret.
    """
    return environment_lines("minio_environment", variables)


def file_sha256(path: str) -> str:
    """Return the sha256 of a file on the control node.

    :param path: Its path.
    :returns: The checksum in hexadecimal.
    :raises AnsibleFilterError: If the file cannot be read.
    """
    try:
        return checksums.file_sha256(path)
    except OSError as error:
        raise AnsibleFilterError(f"{path} cannot be read: {error}") from error


def minio_pools(pools: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    """Write the configuration file in which MinIO reads its pools (``minio server --config``). JSON is YAML too.

    :param pools: The hosts of each pool, each with its ``scheme``, ``address``, ``port`` and ``drives``.
    """
    listed = [{"args": [f"{one['scheme']}://{one['address']}:{one['port']}{drive}" for one in hosts for drive in one["drives"]]} for hosts in pools]
    return json.dumps({"version": "v2", "pools": listed}, indent=2) + "\n"


def minio_restart(files: Mapping[str, Any], alike: Collection[str], other_executable: bool) -> str:
    """Return how a host of a pool restarts: ``together`` with the others, ``in turn``, ``start`` if it only does not run, or empty if nothing is to do.

    A host that starts waits for others with the same executable, settings and pools. If an interrupted run has left changed files, it is not known which.

    :param files: The result of ``atlas.mlflow.files``.
    :param alike: The files that must be the same on all hosts when one starts.
    :param other_executable: Whether the executable is not the one that served.
    """
    if files["settled"] and not other_executable:
        return ""
    if other_executable or set(alike) & set(files["changed_paths"]):
        return "together"
    if files["changed"]:
        return "in turn"
    return "together" if files["stale"] else "start"


class FilterModule:
    """Register the filters with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {"file_sha256": file_sha256, "minio_environment": minio_environment, "minio_pools": minio_pools, "minio_restart": minio_restart}
