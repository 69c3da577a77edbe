# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that count the connections to a database that tracking servers may open, and what the database needs for as many."""

from __future__ import annotations

from typing import Any

from ansible_collections.atlas.mlflow.plugins.plugin_utils.connections import max_connections, most_connections


class FilterModule:
    """Make the filters known to Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {"most_connections": most_connections, "max_connections": max_connections}
