# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that compute the hosts and origins that a server must accept from the names of the server."""

from __future__ import annotations

from typing import Any

from ansible_collections.atlas.mlflow.plugins.plugin_utils.names import allowed_hosts, allowed_origins, host_names, listed_hosts


class FilterModule:
    """Register the filters with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {
            "host_names": host_names,
            "allowed_hosts": allowed_hosts,
            "listed_hosts": listed_hosts,
            "allowed_origins": allowed_origins,
        }
