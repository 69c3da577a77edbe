# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the data of PostgreSQL and MinIO: no run changes the folder, the volume or the cluster of a store's data unintentionally."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.atlas.mlflow.plugins.plugin_utils.postgres import image_version
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import CONTAINERS, RoleSettings
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.postgres import IMAGE_STEPS, own_clusters

#: For each role: the name of its service, and the content of its data.
SERVICES = {"postgres": ("PostgreSQL", "databases"), "minio": ("MinIO", "artifacts")}
#: The page of the documentation, in the collection, with the steps by which the data of a store move to another deployment.
STEPS = "docs/operations/move_deployment.md"
#: The kinds of places of data: a volume of each program that runs containers.
VOLUMES = {"docker": "Docker volume", "podman": "Podman volume"}


def volume_kind(deployment: str) -> str:
    """Return the kind of the volume that a container of this deployment has, empty for a service."""
    return VOLUMES.get(CONTAINERS.get(deployment, ""), "")


def present_place(section: Mapping[str, Any], deployment: str, present_clusters: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Return the place of a store's data, as a kind and a name; both are empty if there are no data.

    :param section: The role's section in the fact C(stack) of C(atlas.mlflow.host_facts).
    :param deployment: How the store will run. If there are several places, the one of this deployment is in use.
    :param present_clusters: The clusters of PostgreSQL on the host, from the fact C(postgres_clusters).
    """
    places = [(VOLUMES["docker"], str(section.get("volume") or "")), (VOLUMES["podman"], str(section.get("podman_volume") or ""))]
    places += [("folder", str(section.get("folder") or ""))]
    places += [("cluster", f"{cluster['version']}/{cluster['name']}") for cluster in present_clusters if cluster.get("ours")]
    there = [place for place in places if place[1]]
    of_volume = volume_kind(deployment)
    kinds = [of_volume] if of_volume else ["folder", "cluster"]
    return next((place for place in there if place[0] in kinds), there[0] if there else ("", ""))


def place_in_words(kind: str, name: str) -> str:
    """Return how a message names the place of data: a folder by its path, and all else with its kind."""
    return name if kind == "folder" else f"the {kind} {name}"


def data_fault(
    section: Mapping[str, Any],
    role: str,
    deployment: str,
    volume: str,
    folder: str = "",
    image: str = "",
    version: str = "",
    present_clusters: Sequence[Mapping[str, Any]] = (),
    allowed: bool = False,
) -> str:
    """Return a sentence if a setting would make a store leave its data, or if the store could not read them.

    :param section: The role's section in the fact C(stack) of C(atlas.mlflow.host_facts).
    :param role: C(postgres) or C(minio).
    :param deployment: C(systemd), C(container) or C(podman).
    :param volume: The volume of the container.
    :param folder: The folder of MinIO's service.
    :param image: The image of PostgreSQL.
    :param version: The major version of PostgreSQL in this image.
    :param present_clusters: The clusters of PostgreSQL on the host, from the fact C(postgres_clusters).
    :param allowed: Whether the user wants other data.
    """
    service, content = SERVICES[role]
    kind, name = present_place(section, deployment, present_clusters)
    of_volume = volume_kind(deployment)
    wanted = (of_volume, volume) if of_volume else ("cluster", "") if role == "postgres" else ("folder", posixpath.normpath(folder))
    if (kind, posixpath.normpath(name) if kind == "folder" else name) == wanted:
        written = str(section.get("podman_version" if kind == VOLUMES["podman"] else "version") or "")
        if of_volume and version and written not in ("", version):
            return (
                f"postgres_image is {image}, of PostgreSQL {version}, and the {kind} {name} has data of PostgreSQL {written}, which PostgreSQL {version} "
                f"cannot read. Set postgres_image to one of PostgreSQL {written}. To change the version, dump the databases and load them into a new volume "
                f"by the steps in {IMAGE_STEPS} of the collection."
            )
        return ""
    if allowed or not kind or (kind, wanted[0]) == ("cluster", "cluster"):
        return ""
    if kind != wanted[0]:
        variable, value = f"{role}_deployment", deployment
    else:
        variable, value = (f"{role}_container_volume", volume) if of_volume else (f"{role}_data_dir", folder)
    if kind != wanted[0]:
        copy = f"move the data by the steps in {STEPS} of the collection"
    elif kind == "folder":
        copy = "stop minio.service, move the folder"
    else:
        copy = f"stop {service}, copy the data from this volume to the other one, as step 4 in {STEPS} of the collection does"
    return (
        f"{variable} is {value}, and {service} has its data in {place_in_words(kind, name)}: nobody would see the {content} there "
        f"any more. If the move is meant, {copy}, and set {role}_allow_data_change to true for one run."
    )


def pool_fault(section: Mapping[str, Any], host: str, pools: Sequence[Sequence[Mapping[str, Any]]], allowed: bool = False) -> str:
    """Return a sentence if a host of MinIO would leave its data: a pool keeps its drives in their order, and one host does not become a pool.

    :param section: The role's section in the fact C(stack) of C(atlas.mlflow.host_facts).
    :param host: The host's name in the inventory.
    :param pools: The pools of the plan.
    :param allowed: Whether the user wants other data.
    """
    present = [[(urlsplit(url).hostname, urlsplit(url).path) for url in args] for args in section.get("pools") or []]
    wanted = [[(str(one["address"]).strip("[]").lower(), drive) for one in hosts for drive in one["drives"]] for hosts in pools]
    kind, name = present_place(section, "systemd", [])
    if allowed or wanted and wanted[: len(present)] == present and not kind:
        return ""
    if not present:
        if not kind:
            return ""
        return (
            f"The group minio has {sum(map(len, pools))} hosts, and MinIO has its data on {host} alone, in {place_in_words(kind, name)}: the format of one "
            f"drive, which cannot grow into a pool. Put {host} alone in the group minio again, or put four or more new hosts there in its place and run "
            "playbooks/move_stores.yml, which copies the artifacts into the pool and switches the tracking servers."
        )
    hosts = [", ".join(dict.fromkeys(str(name) for name, _drive in pool)) for pool in present]
    drives = ", ".join(dict.fromkeys(drive for _name, drive in present[0]))
    return (
        f"The host belongs to a pool of MinIO of the hosts {'; then '.join(hosts)}, with the drives {drives}. "
        "The hosts of a pool, their order in the group minio, and their drives stay as they are: MinIO would refuse the drives. Give the group minio these "
        "hosts in this order. To add space, put four or more further hosts with another minio_pool there. To use other data, set minio_allow_data_change to "
        "true for one run."
    )


def postgres_keeps_its_data(given: RoleSettings) -> str:
    """PostgreSQL keeps its data, unless the user wants other data."""
    return data_fault(
        given.stack,
        "postgres",
        given.text("postgres_deployment"),
        given.text("postgres_container_volume"),
        image=given.text("postgres_image"),
        version=image_version(given.text("postgres_image"), given.text("postgres_version")),
        present_clusters=own_clusters(given),
        allowed=given.flag("postgres_allow_data_change"),
    )


def minio_keeps_its_data(given: RoleSettings) -> str:
    """MinIO keeps its data, unless the user wants other data."""
    pools = given.planned("minio_pools") or []
    if pools or given.stack.get("pools"):
        return pool_fault(given.stack, given.host, pools, allowed=given.flag("minio_allow_data_change"))
    return data_fault(
        given.stack,
        "minio",
        given.text("minio_deployment"),
        given.text("minio_container_volume"),
        folder=given.text("minio_data_dir"),
        allowed=given.flag("minio_allow_data_change"),
    )
