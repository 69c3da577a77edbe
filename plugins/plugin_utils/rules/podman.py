# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for containers of Podman."""

from __future__ import annotations

import re

from ansible_collections.atlas.mlflow.plugins.module_utils.folders import named_folders
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import CONTAINERS, RoleSettings

#: The oldest Podman whose Quadlet knows what the units use.
NEEDED = (4, 9)
#: The Podman of supported distributions in which it is too old, by the name in os-release(5) and the release.
OLDER = {("debian", "12"): "4.3.1", ("ubuntu", "22.04"): "3.4.4"}
#: The name of a volume. Quadlet takes one that ends with .volume for a unit of its own.
VOLUMES = {"podman": r"[A-Za-z0-9][A-Za-z0-9_.-]*(?<!\.volume)", "container": r"[A-Za-z0-9][A-Za-z0-9_.-]+"}
#: Variables of mlflow_server_environment that name folders.
FOLDERS = ("MLFLOW_REGISTRY_STORE_URI", "TMPDIR", "PROMETHEUS_MULTIPROC_DIR")
#: Characters of a path that Quadlet or systemd read as something else.
SPECIAL = re.compile(r"[\s:,\"'\\$%]")


def podman_is_new_enough(given: RoleSettings) -> str:
    """The host's Podman has Quadlet, which makes units of systemd from the descriptions of containers. It came with Podman 4.4."""
    if given.deployment != "podman":
        return ""
    installed = ((given.facts.get("packages") or {}).get("podman") or [{}])[0].get("version", "")
    system = (str(given.facts.get("distribution_id", "")), str(given.facts.get("distribution_version_id", "")))
    version = re.sub(r"^\d+:", "", installed) or OLDER.get(system, "")
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if not version or numbers >= NEEDED:
        return ""
    return (
        f"{given.role}_deployment is podman, and {given.facts.get('distribution_name') or given.host} has Podman {version}, whose Quadlet is missing or too "
        f"old: Podman {'.'.join(map(str, NEEDED))} or newer is needed. Choose a host with Debian 13 or Ubuntu 24.04, or set {given.role}_deployment to "
        "container (Docker) or systemd."
    )


def containers_have_one_engine(given: RoleSettings) -> str:
    """Docker and Podman have networks of their own, so containers of one host that call each other are in one of both."""
    engine = CONTAINERS.get(given.deployment, "")
    others = {role: other for role, other in (given.planned("container_engines") or {}).items() if role != given.role and other != engine}
    if not engine or not others:
        return ""
    words = {program: word for word, program in CONTAINERS.items()}
    seen = " and ".join(f"{role}_deployment is {words[other]}" for role, other in others.items())
    return (
        f"{given.role}_deployment is {given.deployment}, and {seen} on the same host: Docker and Podman have networks of their own, so their containers do "
        f"not reach each other. Set {given.role}_deployment to {words[next(iter(others.values()))]} or systemd."
    )


def _ipv6_fault(given: RoleSettings, name: str, addresses: list[str]) -> str:
    """Return a sentence if a container of Podman would listen on IPv6. The network of its containers has IPv4 alone, so that port would lead nowhere."""
    wrong = [address for address in addresses if ":" in address]
    if given.deployment != "podman" or not wrong:
        return ""
    return f"{name} is {', '.join(wrong)}, and the network of Podman's containers has no IPv6. Set an IPv4 address, or 0.0.0.0 for all."


def mlflow_listens_on_ipv4(given: RoleSettings) -> str:
    """The tracking server listens on IPv4."""
    fault = _ipv6_fault(given, "mlflow_server_host", [given.text("mlflow_server_host")])
    return fault and f"{fault} A proxy in front of the server may listen on IPv6."


def postgres_listens_on_ipv4(given: RoleSettings) -> str:
    """PostgreSQL listens on IPv4."""
    return _ipv6_fault(given, "postgres_listen_addresses", [str(address) for address in given.items("postgres_listen_addresses")])


def minio_listens_on_ipv4(given: RoleSettings) -> str:
    """MinIO listens on IPv4."""
    return _ipv6_fault(given, "minio_listen_address", [given.text("minio_listen_address")])


def volume_is_a_name(given: RoleSettings) -> str:
    """The data of a store are on a volume, and not in a folder: Podman would mount the folder, and nobody would remove or look for it. Docker refuses it."""
    name = f"{given.role}_container_volume"
    if not given.in_container or re.fullmatch(VOLUMES[given.deployment], given.text(name)):
        return ""
    return (
        f"{name} is {given.text(name)}. Set the name of a volume, of letters, digits, and the characters _ . - after the first. To have the data on another "
        "disk, create a volume there before."
    )


def mlflow_folders_are_plain(given: RoleSettings) -> str:
    """The folders of the tracking server have names that Quadlet takes as they are."""
    if given.deployment != "podman":
        return ""
    environment = given.table("mlflow_server_environment")
    names = ("mlflow_server_data_dir", "mlflow_server_backend_store_uri", "mlflow_server_artifacts_destination", "mlflow_server_auth_store_uri")
    places = {name: given.text(name) for name in names}
    places |= {f"{name} of mlflow_server_environment": str(environment.get(name) or "") for name in FOLDERS}
    special = [f"{name} has the folder {folder}" for name, place in places.items() for folder in named_folders({name: place}) if SPECIAL.search(folder)]
    if not special:
        return ""
    return f"{'; '.join(special)}. Podman needs a name without spaces, quotes and the characters : , $ % and \\."
