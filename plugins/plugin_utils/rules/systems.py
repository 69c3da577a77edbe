# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rule for the operating system of a host."""

from __future__ import annotations

from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings

#: The supported systems: the name in os-release(5), the name for people, and the releases.
SUPPORTED = {"debian": ("Debian", ("12", "13")), "ubuntu": ("Ubuntu", ("22.04", "24.04"))}


def system_is_supported(given: RoleSettings) -> str:
    """The host runs a supported system. A host without the facts of its system is not judged."""
    name = str(given.facts.get("distribution_id", ""))
    _shown, releases = SUPPORTED.get(name, ("", ()))
    if not name or str(given.facts.get("distribution_version", "")) in releases or given.switch("atlas_mlflow_allow_unsupported_system"):
        return ""
    systems = " and ".join(f"{shown} {' or '.join(versions)}" for shown, versions in SUPPORTED.values())
    return (
        f"The host runs {given.facts.get('distribution_name') or name}, and this collection supports {systems}. Choose a host with one of them. For a system "
        "with the same packages, such as a derivative, set atlas_mlflow_allow_unsupported_system to true."
    )
