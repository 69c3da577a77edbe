# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that return versions and clusters of PostgreSQL, and the healthy members of a cluster."""

from __future__ import annotations

from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.cluster_members import healthy_members
from ansible_collections.atlas.mlflow.plugins.plugin_utils.postgres import (
    begun_upgrade,
    changed_counts,
    clusters,
    image_version,
    major_version,
    restore_plan,
    unready,
)


class FilterModule:
    """Register the filters with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {
            "postgres_version": major_version,
            "postgres_image_version": image_version,
            "postgres_clusters": clusters,
            "postgres_restore_plan": restore_plan,
            "postgres_unready": unready,
            "postgres_upgrade": begun_upgrade,
            "healthy_members": healthy_members,
            "row_count_changes": changed_counts,
        }
