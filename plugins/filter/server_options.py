# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that find the value of an option of `mlflow server`, and compare the schemas of two releases."""

from __future__ import annotations

from typing import Any

from ansible_collections.atlas.mlflow.plugins.plugin_utils.schemas import schema_changes
from ansible_collections.atlas.mlflow.plugins.plugin_utils.server_options import option_value


class FilterModule:
    """Register the filters with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {"option_value": option_value, "schema_changes": schema_changes}
