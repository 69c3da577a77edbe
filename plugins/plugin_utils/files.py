# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build lists of files for the module atlas.mlflow.files, and lists of mounts and ports for containers."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.names import bracketed
from ansible_collections.atlas.mlflow.plugins.plugin_utils.names import unique

#: Words for addresses to listen on, in Docker's form.
ADDRESSES = {"localhost": "127.0.0.1", "*": "0.0.0.0"}


def as_files(paths: Iterable[str] | Mapping[str, str], **attributes: Any) -> list[dict[str, Any]]:
    """Return entries of ``atlas.mlflow.files`` that have the same attributes.

    :param paths: The paths, or the texts of files by their paths.
    :param attributes: The attributes of all of them, such as ``state`` and ``mode``.
    """
    if isinstance(paths, Mapping):
        return [{"path": path, "content": content, **attributes} for path, content in paths.items()]
    return [{"path": path, **attributes} for path in paths]


def under(contents: Mapping[str, str], folder: str) -> list[dict[str, Any]]:
    """Return entries of ``atlas.mlflow.files`` for files that everybody can read, and for their folders.

    :param contents: The texts by their paths below the folder.
    :param folder: The folder. It is one of the entries.
    """
    folders = unique(posixpath.normpath(posixpath.join(folder, posixpath.dirname(path))) for path in contents)
    return as_files(folders, state="directory", mode="0755") + as_files({f"{folder}/{path}": text for path, text in contents.items()}, mode="0644")


def owned_by(user: str) -> dict[str, str]:
    """Return the owner and the group of files.

    :param user: Both as ``USER:GROUP``.
    """
    owner, _colon, group = user.partition(":")
    return {"owner": owner, "group": group or owner}


def binds(sources: Iterable[str | tuple[str, str]], **attributes: Any) -> list[dict[str, Any]]:
    """Return bind mounts of a container.

    :param sources: Paths on the host, each with its path in the container if the two differ.
    :param attributes: More attributes of all of them, such as ``read_only``.
    """
    pairs = [(source, source) if isinstance(source, str) else tuple(source) for source in sources]
    return [{"type": "bind", "source": source, "target": target, **attributes} for source, target in pairs]


def container_limits(memory: Any, cpus: Any) -> str:
    """Return the limits of a container as a part of its label, so that other limits recreate it. Empty without limits.

    Docker refuses to change the memory of a container that exists without its swap.

    :param memory: The memory, empty for no limit.
    :param cpus: The number of cores, empty for no limit.
    """
    return "".join(f" {name}={value}" for name, value in (("memory", memory), ("cpus", cpus)) if value)


def docker_memory(memory: Any) -> str:
    """Return a size of memory in Docker's own form. Ansible's module does not read 2gb and 2GiB, which the rules accept."""
    return re.sub(r"(?i)(?<=[kmgtp])i?b?$", "", str(memory))


def has_docker(packages: Mapping[str, Any]) -> bool:
    """Return whether a host has Docker, from the fact C(packages) of C(atlas.mlflow.host_facts): that of the distribution or that of Docker itself."""
    return bool({"docker.io", "docker-ce"} & packages.keys())


def published_ports(addresses: str | Iterable[str], port: Any, inner: Any) -> list[str]:
    """Return the addresses and ports on which Docker publishes a container's port.

    :param addresses: The addresses of the host, ``localhost``, or ``*`` for all.
    :param port: The port of the host. If it is 0, the port is not published.
    :param inner: The port in the container.
    """
    if not int(port):
        return []
    listed = [addresses] if isinstance(addresses, str) else addresses
    return [f"{address}:{int(port)}:{int(inner)}" for address in dict.fromkeys(bracketed(ADDRESSES.get(address, address)) for address in listed)]


def socket_address(host: str, port: Any = "") -> str:
    """Return a host with a port in the form of a URL: an IPv6 address in brackets.

    :param host: The name or address.
    :param port: The port; without it, the host alone.
    """
    return bracketed(host) + (f":{port}" if str(port) else "")
