# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that checks whether the certificate of a host from the inventory's own authority is current."""

from __future__ import annotations

from typing import Any

from ansible_collections.atlas.mlflow.plugins.plugin_utils.certificates import own_is_current


class FilterModule:
    """Register the filter with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filter by its name."""
        return {"certificate_is_current": own_is_current}
