# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Search for options in a list of arguments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def has_option(argv: Iterable[str], *names: str) -> bool:
    """Return whether a list of arguments has an option, under any of its names, with its value as the next argument or after an equals sign."""
    return any(word.split("=")[0] in names for word in argv)


def option(argv: Sequence[str], name: str) -> str:
    """Return an option's value in a list of arguments, empty if the option is not given."""
    for index, word in enumerate(argv):
        if word == name:
            return argv[index + 1] if index + 1 < len(argv) else ""
        if word.startswith(name + "="):
            return word.partition("=")[2]
    return ""
