# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host says of its own system, in os-release(5)."""

from __future__ import annotations


def read_os_release(text: str) -> dict[str, str]:
    """Return the settings of an os-release file (os-release(5)).

    :param text: Lines of ``NAME=value``, values bare or quoted.
    """
    settings = {}
    for line in text.splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.lstrip().startswith("#"):
            settings[name.strip()] = value.strip().strip("\"'")
    return settings


def own_os_release() -> dict[str, str]:
    """Return the settings of this host, empty if it has none."""
    try:
        with open("/etc/os-release", encoding="utf-8") as file:
            return read_os_release(file.read())
    except OSError:
        return {}
