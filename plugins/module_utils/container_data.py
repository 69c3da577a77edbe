# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the containers of the roles in Docker, and the data of PostgreSQL's and MinIO's, in Docker and in Podman."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from ansible_collections.atlas.mlflow.plugins.module_utils.quadlet import quadlet_file, quadlet_volume

#: Files of the host that each role mounts into its container. They identify the container, whatever its name is.
MARKS = {"postgres": "/etc/atlas-mlflow/postgres/password", "minio": "/etc/atlas-mlflow/minio.env"}
#: The same for all roles. The container of the tracking server has no volume.
OWN_MARKS = {**MARKS, "mlflow_server": "/etc/atlas-mlflow/mlflow-server.json"}
#: The units that Quadlet makes of the containers of Podman.
UNITS = {"postgres": "atlas-postgres.service", "minio": "atlas-minio.service"}
#: The path of the volume in a container.
TARGETS = {"postgres": ("/var/lib/postgresql", "/var/lib/postgresql/data"), "minio": ("/data",)}


def read_data_version(folder: Path) -> str:
    """Return the major version of the PostgreSQL that wrote the data in a volume, empty if there are no data.

    :param folder: The volume's folder on the host. From version 18 on, the data are in a subfolder of the version.
    """
    found = [path for path in (folder / "PG_VERSION", *folder.glob("*/docker/PG_VERSION")) if path.is_file()]
    versions = [path.read_text(encoding="utf-8").strip() for path in found]
    return max(versions, key=lambda version: float(version or 0), default="")


def read_podman_data(folder_of: Callable[[str], str], root: Path = Path("/")) -> dict[str, dict[str, str]]:
    """Return the volume of Podman with the data of each role's container, and for PostgreSQL the version of the data.

    Podman removes a container that stops, so the description of the container tells its volume.

    :param folder_of: Returns the folder of a volume of Podman, empty if there is no such volume.
    :param root: Where the host's files are, for tests.
    """
    found: dict[str, dict[str, str]] = {}
    for role, unit in UNITS.items():
        path = root / quadlet_file(unit)[1:]
        volume = quadlet_volume(path.read_text(encoding="utf-8"), TARGETS[role]) if path.is_file() else ""
        folder = folder_of(volume) if volume else ""
        if folder:
            found[role] = {"podman_volume": volume}
            if role == "postgres":
                found[role]["podman_version"] = read_data_version(Path(folder))
    return found


def read_container_data(described: str) -> dict[str, dict[str, str]]:
    """Return the volume of Docker with the data of each role's container, and for PostgreSQL the version of the data.

    :param described: Output of C(docker inspect) for containers. If a role has two containers, a running one counts, or else the newest.
    """
    found: dict[str, dict[str, str]] = {}
    for container in sorted(json.loads(described), key=lambda one: (bool(one["State"]["Running"]), str(one["Created"]))):
        mounts = container.get("Mounts") or []
        for role, mark in MARKS.items():
            if mark not in [mount.get("Source") for mount in mounts]:
                continue
            for mount in mounts:
                if mount.get("Type") == "volume" and mount.get("Destination") in TARGETS[role]:
                    found[role] = {"volume": str(mount["Name"])}
                    if role == "postgres":
                        found[role]["version"] = read_data_version(Path(mount["Source"]))
    return found


def read_container_names(described: str) -> dict[str, list[str]]:
    """Return the names of each role's containers in Docker. After a change of the name, a role has a container with the former one.

    :param described: Output of C(docker inspect) for containers.
    """
    found: dict[str, list[str]] = {}
    for container in json.loads(described):
        sources = [mount.get("Source") for mount in container.get("Mounts") or []]
        for role in [role for role, mark in OWN_MARKS.items() if mark in sources]:
            found.setdefault(role, []).append(str(container["Name"]).lstrip("/"))
    return {role: sorted(names) for role, names in found.items()}
