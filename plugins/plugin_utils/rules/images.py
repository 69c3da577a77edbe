# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for images and containers."""

from __future__ import annotations

import re

from ansible_collections.atlas.mlflow.plugins.plugin_utils.postgres import image_version
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import CONTAINERS, RoleSettings, defaults_of

#: An image that does not change: with a tag other than latest, or with its digest.
PINNED = r"[^@]*(:(?!latest$)[^:/@]+|@sha256:[0-9a-f]{64})$"
#: Limits of a container, as Docker and Podman read them.
MEMORY = r"\d+([.]\d+)? ?([kmgtp]i?)?b?"
CPUS = r"\d+([.]\d*)?|[.]\d+"
#: The name of a container or a network.
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]+"
#: User and group of PostgreSQL in the official images on Alpine.
ALPINE_USER = "70:70"


def limits_can_be_read(given: RoleSettings) -> str:
    """The limits of a container are an amount of memory and a number of cores."""
    memory, cpus = (f"{given.role}_container_{name}" for name in ("memory", "cpus"))
    if not given.in_container:
        return ""
    if given.text(memory) and not re.fullmatch(MEMORY, given.text(memory), re.IGNORECASE):
        return f"{memory} is {given.text(memory)}. Set a number with a unit, such as 512m or 2g."
    if given.text(cpus) and not re.fullmatch(CPUS, given.text(cpus)):
        return f"{cpus} is {given.text(cpus)}. Set a number of cores, such as 2 or 1.5."
    return ""


def container_has_a_name(given: RoleSettings) -> str:
    """The container and its network have names that Docker and Podman take."""
    names = (f"{given.role}_container_name", f"{given.role}_container_network")
    wrong = [f"{name} is {given.text(name) or 'empty'}" for name in names if given.in_container and not re.fullmatch(NAME, given.text(name))]
    return f"{' and '.join(wrong)}. Set a name of letters, digits, and the characters _ . - after the first." if wrong else ""


def container_is_the_role_s(given: RoleSettings) -> str:
    """No container of others has the name of the role's container, which would take its place and remove it."""
    variable = f"{given.role}_container_name"
    others = (given.facts.get("foreign_containers") or {}).get(CONTAINERS.get(given.deployment, "")) or []
    if given.text(variable) not in others:
        return ""
    return (
        f"{variable} is {given.text(variable)}, and the host has a container of this name that this role did not make: the role would remove it. Set another "
        f"name, or rename that container ({CONTAINERS[given.deployment]} rename)."
    )


def mlflow_has_no_folder_of_releases(given: RoleSettings) -> str:
    """There is no folder of releases for a container: the image has the server."""
    folder = given.text("mlflow_server_install_dir")
    if not given.in_container or folder == defaults_of("mlflow_server")["mlflow_server_install_dir"]:
        return ""
    return (
        f"mlflow_server_install_dir is {folder}, and mlflow_server_deployment is {given.deployment}, whose image holds the server. Remove the folder, or set "
        "mlflow_server_deployment to systemd."
    )


def mlflow_lock_is_built(given: RoleSettings) -> str:
    """A lock is used only for an image that is built."""
    source = given.text("mlflow_server_image_source")
    if not given.in_container or not given.text("mlflow_server_lock_file") or source == "build":
        return ""
    return (
        f"mlflow_server_lock_file is set, and mlflow_server_image_source is {source}, which takes nothing from a lock. Set mlflow_server_image_source to "
        "build, or remove the lock."
    )


def mlflow_shares_the_network(given: RoleSettings) -> str:
    """All containers of a host are on one network, on which they reach each other by their names."""
    own = given.text("mlflow_server_container_network")
    others = {role: network for role, network in (given.planned("container_networks") or {}).items() if role != given.role and network != own}
    if not given.in_container or not others:
        return ""
    seen = ", and ".join(f"{role}_container_network is {network}" for role, network in others.items())
    return (
        f"mlflow_server_container_network is {own}, and {seen}: containers of one host reach one another on one network. Set "
        "atlas_mlflow_container_network instead."
    )


def mlflow_image_is_custom(given: RoleSettings) -> str:
    """An image is named if the image source is custom, and only then."""
    source, image = given.text("mlflow_server_image_source"), given.text("mlflow_server_image")
    if (source == "custom") == bool(image):
        return ""
    return (
        f"mlflow_server_image_source is {source}, and mlflow_server_image is {image or 'empty'}. Set mlflow_server_image with mlflow_server_image_source "
        "custom, and only then."
    )


def mlflow_image_is_pinned(given: RoleSettings) -> str:
    """The image does not change."""
    image = given.text("mlflow_server_image")
    if not image or re.match(PINNED, image):
        return ""
    return (
        f"mlflow_server_image is {image}, which may be another image tomorrow, and brings another schema with it. Name its digest (NAME@sha256:...), or a "
        "tag other than latest."
    )


def _images(given: RoleSettings) -> dict[str, str]:
    """Return the images that the host takes as the user names them, by their variables."""
    names: tuple[str, ...] = (f"{given.role}_image",)
    if given.role == "mlflow_server":
        names = {"custom": names, "build": ("mlflow_server_image_base",)}.get(given.text("mlflow_server_image_source"), ())
    return {name: given.text(name) for name in names} if given.in_container else {}


def images_have_one_name(given: RoleSettings) -> str:
    """An image in Docker has a tag or a digest: Ansible's modules do not find one that has both in its name."""
    found = [f"{name} is {image}" for name, image in _images(given).items() if re.search(r":[^/:@]+@", image)]
    if not found or given.deployment != "container":
        return ""
    more = ", and set postgres_version to its major version" if given.role == "postgres" else ""
    return f"{found[0]}, with a tag and a digest. Docker keeps a pulled image by its digest alone: leave out the tag before the digest{more}."


def images_are_archived_by_a_tag(given: RoleSettings) -> str:
    """An image from an archive or a bundle has a tag, because archives have no digests."""
    archive, bundle = given.text(f"{given.role}_image_archive"), str(given.variable("atlas_mlflow_bundle"))
    # The image that is built on this base is in the bundle.
    found = [f"{name} is {image}" for name, image in _images(given).items() if "@" in image and (archive or bundle and name != "mlflow_server_image_base")]
    if not found:
        return ""
    seen = "atlas_mlflow_bundle is set" if bundle else f"{given.role}_image_archive is {archive}"
    return f"{seen}, and {found[0]}: an archive of an image has no digest. Give the image a tag (docker tag) before you save it, and name this tag."


def container_user_is_numbers(given: RoleSettings) -> str:
    """The user of the image is given as numbers."""
    name = f"{given.role}_container_user"
    user = given.text(name)
    if re.match("^[0-9]+:[0-9]+$", user):
        return ""
    return f"{name} is {user}. Give the image's user and group as numbers, such as {defaults_of(given.role)[name]}."


def postgres_user_is_the_images(given: RoleSettings) -> str:
    """An official image on Alpine has the user number of Alpine. Nothing is known of other images."""
    image, user = given.text("postgres_image"), given.text("postgres_container_user")
    on_alpine = re.search(r"(^|/)postgres:[^/@]*alpine", image)
    if not given.in_container or not on_alpine or user.partition(":")[0] == ALPINE_USER.partition(":")[0]:
        return ""
    return (
        f"postgres_container_user is {user}, and postgres_image is {image}, which is built on Alpine: PostgreSQL's user there is {ALPINE_USER}, and no other "
        f"can start it. Set postgres_container_user to {ALPINE_USER}."
    )


def postgres_has_no_repository(given: RoleSettings) -> str:
    """There is no package repository for a container: the image has PostgreSQL."""
    repository = given.text("postgres_repository")
    if not given.in_container or repository == "distribution":
        return ""
    return (
        f"postgres_repository is {repository}, and postgres_deployment is {given.deployment}, whose image holds PostgreSQL. Remove postgres_repository, or set "
        "postgres_deployment to systemd."
    )


def postgres_image_has_a_version(given: RoleSettings) -> str:
    """The major version in the image is known."""
    if not given.in_container or image_version(given.text("postgres_image"), given.text("postgres_version")):
        return ""
    image = given.text("postgres_image")
    return f"postgres_image is {image}, which does not tell the major version in it, and where its data lie goes by that. Set postgres_version."


def postgres_image_is_pinned(given: RoleSettings) -> str:
    """The image does not change."""
    image = given.text("postgres_image")
    if not given.in_container or re.match(PINNED, image):
        return ""
    return f"postgres_image is {image}, which may be another release tomorrow that cannot read the data. Name a tag other than latest, or the digest."


def minio_image_is_pinned(given: RoleSettings) -> str:
    """The image does not change."""
    image = given.text("minio_image")
    if not image or re.match(PINNED, image):
        return ""
    return f"minio_image is {image}, which may be another release tomorrow. Name a tag other than latest, or the digest."


def minio_image_is_for_a_container(given: RoleSettings) -> str:
    """An image is only used for a container."""
    image = given.text("minio_image")
    if not image or given.in_container:
        return ""
    return f"minio_image is {image}, and minio_deployment is systemd, which runs no image. Set minio_deployment to container or podman."
