# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that write the two kinds of quoting of systemd, so that arguments and values are not changed, and read a file of settings again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.atlas.mlflow.plugins.module_utils.stack import read_environment
from ansible_collections.atlas.mlflow.plugins.plugin_utils.environment import environment_lines, refuse_line_breaks

_IN_A_FILE = str.maketrans({character: "\\" + character for character in '\\"$`'})


def systemd_argv(argv: Iterable[Any]) -> str:
    """Quote an argument list for a unit's ``ExecStart=``.

    systemd expands ``%`` specifiers and ``$`` variables even between quotes (systemd.service(5), "Command lines"),
    so both are doubled.

    :param argv: The executable and its arguments, each a string or a number.
    :returns: One line, each argument between double quotes.
    :raises AnsibleFilterError: If an argument has a line break, or the list is a string.
    """
    if isinstance(argv, (str, bytes)) or not isinstance(argv, Iterable):
        raise AnsibleFilterError("systemd_argv takes a list of arguments, not a command line in one string")
    quoted = []
    for argument in argv:
        text = str(argument)
        refuse_line_breaks(f"The argument {text!r}", text)
        text = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
        quoted.append(f'"{text}"')
    return " ".join(quoted)


def systemd_environment(variables: Mapping[str, Any]) -> str:
    """Write the lines of a file for a unit's ``EnvironmentFile=``, sorted by name.

    Between double quotes only ``\\``, ``"``, ``$`` and ````` need a backslash in such a file, and nothing is expanded
    (systemd.exec(5), "EnvironmentFile=").

    :param variables: Names and values; a value of ``None`` omits the variable, a boolean is written as
        ``true`` or ``false``.
    :returns: ``NAME="value"`` lines, each ended by a line feed.
    :raises AnsibleFilterError: If a value has a line break. The message names the variable and not its value,
        which may be a secret.
    """
    return environment_lines("systemd_environment", variables, lambda text: text.translate(_IN_A_FILE))


class FilterModule:
    """Register the filters with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {"read_environment": read_environment, "systemd_argv": systemd_argv, "systemd_environment": systemd_environment}
