# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for several tracking servers."""

from __future__ import annotations

from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.alike import differences


def servers_are_alike(given: RoleSettings) -> str:
    """A tracking server has the settings of the first one, except those that concern its host."""
    names = given.groups.get("mlflow_servers") or []
    if given.hosts is None or given.host not in names[1:]:
        return ""
    others = [given.hosts(name) for group in ("postgres", "mlflow_servers") for name in given.groups.get(group) or []]
    return " ".join(differences(given.hosts(names[0]), given.hosts(given.host), others))
