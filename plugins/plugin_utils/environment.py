# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write environment files: lines ``NAME="value"``, whatever the quoting. No value may end its line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def refuse_line_breaks(what: str, text: str) -> None:
    """Refuse a text with a character that would end its line.

    :param what: A description of the text for the message; never a secret.
    :raises AnsibleFilterError: If the text has a line break or a NUL.
    """
    if any(character in text for character in "\n\r\0"):
        raise AnsibleFilterError(f"{what} holds a line break or a NUL, which would cut it in two: remove it")


def environment_lines(caller: str, variables: Mapping[str, Any], quote: Callable[[str], str] = str) -> str:
    """Write ``NAME="value"`` lines, sorted by name and each ended by a line feed.

    :param caller: The name of the filter, for the message.
    :param variables: Names and values; a value of ``None`` omits the variable, a boolean is written as ``true`` or ``false``.
    :param quote: Escapes a value for its place between double quotes. By default the value is not changed.
    :raises AnsibleFilterError: If a value has a line break. The message names the variable and not its value, which may be a secret.
    """
    if not isinstance(variables, Mapping):
        raise AnsibleFilterError(f"{caller} takes a dictionary of names and values")
    lines = []
    for name in sorted(variables):
        value = variables[name]
        if value is None:
            continue
        text = str(value).lower() if isinstance(value, bool) else str(value)
        refuse_line_breaks(f"The environment variable {name}", text)
        lines.append(f'{name}="{quote(text)}"\n')
    return "".join(lines)
