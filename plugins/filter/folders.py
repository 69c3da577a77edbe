# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that find the folders that a service's settings name, and open them in its unit."""

from __future__ import annotations

from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.folders import named_folders, sandbox, sqlite_file


class FilterModule:
    """Register the filters with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {
            "named_folders": named_folders,
            "sandbox_folders": sandbox,
            "sqlite_file": sqlite_file,
        }
