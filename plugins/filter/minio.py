# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that writes the file of settings that MinIO reads by itself, whose dialect is not systemd's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def minio_environment(variables: Mapping[str, Any]) -> str:
    """Write the lines of a file for ``MINIO_CONFIG_ENV_FILE``, sorted by name.

    MinIO removes the quotes at both ends of a value and takes the rest to the letter: a backslash there is a backslash.

    :param variables: Names and values; a value of ``None`` leaves the variable out, a boolean is written as ``true`` or ``false``.
    :returns: ``NAME="value"`` lines, each ended by a line feed.
    :raises AnsibleFilterError: When a value holds a line break; the message names the variable and not its value, which may be a secret.
    """
    if not isinstance(variables, Mapping):
        raise AnsibleFilterError("minio_environment takes a dictionary of names and values")
    lines = []
    for name in sorted(variables):
        value = variables[name]
        if value is None:
            continue
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if any(character in text for character in "\n\r\0"):
            raise AnsibleFilterError(f"The environment variable {name} holds a line break or a NUL, which would cut it in two: remove it")
        lines.append(f'{name}="{text}"\n')
    return "".join(lines)


class FilterModule:
    """Make the filter known to Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filter by its name."""
        return {"minio_environment": minio_environment}
