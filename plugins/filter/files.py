# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that build lists of files, mounts and ports, and names of images and of descriptions of containers."""

from __future__ import annotations

from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.images import full_image_name
from ansible_collections.atlas.mlflow.plugins.module_utils.quadlet import quadlet_file
from ansible_collections.atlas.mlflow.plugins.plugin_utils.files import (
    as_files,
    binds,
    container_limits,
    docker_memory,
    has_docker,
    owned_by,
    published_ports,
    socket_address,
    under,
)


class FilterModule:
    """Register the filters with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {
            "as_files": as_files,
            "files_under": under,
            "owned_by": owned_by,
            "binds": binds,
            "container_limits": container_limits,
            "docker_memory": docker_memory,
            "has_docker": has_docker,
            "full_image_name": full_image_name,
            "published_ports": published_ports,
            "quadlet_file": quadlet_file,
            "socket_address": socket_address,
        }
