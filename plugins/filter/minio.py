# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters for MinIO: its file of settings, whose quoting differs from systemd's, and the checksum of its executable on the control node."""

from __future__ import annotations

from collections.abc import Mapping
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


class FilterModule:
    """Register the filters with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {"file_sha256": file_sha256, "minio_environment": minio_environment}
