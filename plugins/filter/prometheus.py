# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters for the configuration of Prometheus."""

from __future__ import annotations

from typing import Any

from ansible_collections.atlas.mlflow.plugins.plugin_utils.prometheus import minio_token, prometheus_rules, prometheus_scrapes


class FilterModule:
    """Register the filters with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {"minio_token": minio_token, "prometheus_rules": prometheus_rules, "prometheus_scrapes": prometheus_scrapes}
