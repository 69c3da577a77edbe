# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host says of its own system, in os-release(5)."""

from __future__ import annotations

from collections.abc import Mapping

#: Enterprise Linux by its names in os-release(5): Red Hat's own, CentOS Stream, Rocky Linux, AlmaLinux and Oracle Linux.
ENTERPRISE_LINUX = ("rhel", "centos", "rocky", "almalinux", "ol")
#: The CA file of the host's trust store. Release 10 of Enterprise Linux has no other (https://docs.oracle.com/en/operating-systems/oracle-linux/certmanage/).
CA_FILES = {"Debian": "/etc/ssl/certs/ca-certificates.crt", "RedHat": "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"}


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


def family_of(settings: Mapping[str, str]) -> str:
    """Return the family of a system as ``setup`` names it, ``Debian`` or ``RedHat``. Empty for any other.

    :param settings: The settings of its os-release file.
    """
    names = {settings.get("ID", ""), *settings.get("ID_LIKE", "").split()}
    return "RedHat" if names & set(ENTERPRISE_LINUX) else "Debian" if "debian" in names else ""


def ca_file_of(settings: Mapping[str, str]) -> str:
    """Return the CA file of a system's trust store."""
    return CA_FILES.get(family_of(settings), CA_FILES["Debian"])
