# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that write an inventory."""

from __future__ import annotations

from typing import Any

from ansible_collections.atlas.mlflow.plugins.plugin_utils.new_inventory import new_inventory


class FilterModule:
    """Register the filters with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {"new_inventory": new_inventory}
