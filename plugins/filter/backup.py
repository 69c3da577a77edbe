# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that decides what a backup includes of the stores that tracking servers use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.served_stores import Here, make_plan, own_places


def backup_plan(servers: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a backup includes, and what it cannot include.

    :param servers: The stores of each tracking server's host, as the module served_stores returns them.
    :param here: The stores and addresses of the backup's host.
    """
    texts: dict[str, Any] = {
        name: [str(item) for item in value if str(item)] if isinstance(value, (list, tuple)) else str(value) for name, value in here.items()
    }
    places = [place for stores in servers.values() if stores for place in own_places(stores["artifacts"])]
    plan = make_plan({server: stores or None for server, stores in servers.items()}, Here(**texts))
    return {**asdict(plan), "places": list(dict.fromkeys(places))}


class FilterModule:
    """Register the filter with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filter by its name."""
        return {"backup_plan": backup_plan}
