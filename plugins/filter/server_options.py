# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that finds the value of an option of `mlflow server`."""

from __future__ import annotations

from typing import Any

from ansible_collections.atlas.mlflow.plugins.plugin_utils.server_options import option_value


class FilterModule:
    """Register the filter with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filter by its name."""
        return {"option_value": option_value}
