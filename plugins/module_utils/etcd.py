# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask etcd on a host which members it has."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.atlas.mlflow.plugins.module_utils.stack import read_environment

#: The settings that the role etcd writes.
SETTINGS = "etc/default/etcd"
#: The settings of etcd with which its clients reach it.
URL, AUTHORITY, CERTIFICATE, KEY = "ETCD_ADVERTISE_CLIENT_URLS", "ETCD_TRUSTED_CA_FILE", "ETCD_CERT_FILE", "ETCD_KEY_FILE"
#: Runs a command, and returns its code and its output.
Run = Callable[[list[str]], tuple[int, str]]


def client_command(root: Path) -> list[str]:
    """Return the beginning of each command that asks the etcd of a host, empty if the host has no settings of the role etcd.

    :param root: Where the host's files are.
    """
    path = root / SETTINGS
    if not path.exists():
        return []
    settings = read_environment(path.read_text(encoding="utf-8"))
    if not all(settings.get(name) for name in (URL, AUTHORITY, CERTIFICATE, KEY)):
        return []
    return [
        "etcdctl",
        "--command-timeout=10s",
        f"--endpoints={settings[URL].partition(',')[0]}",
        f"--cacert={settings[AUTHORITY]}",
        f"--cert={settings[CERTIFICATE]}",
        f"--key={settings[KEY]}",
    ]


def client_port(command: Sequence[str]) -> int:
    """Return the port at which a command asks the etcd of a host, 0 if there is none.

    :param command: What C(client_command) returns.
    """
    endpoints = [word.partition("=")[2] for word in command if word.startswith("--endpoints=")]
    return (urlsplit(endpoints[0]).port or 0) if endpoints else 0


def read_members(text: str) -> list[dict[str, str]]:
    """Return the members in the output of C(etcdctl member list --write-out=json).

    A member that was added, and has never started, has no name.

    :param text: The output.
    """
    members = json.loads(text).get("members") or []
    return [{"id": f"{one['ID']:x}", "name": one.get("name", ""), "url": (one.get("peerURLs") or [""])[0]} for one in members]


def read_etcd(run: Run, ports: Collection[int], root: Path = Path("/")) -> dict[str, Any]:
    """Return what etcd on a host says: its members, whether it has a majority, and the command that asks it. Empty if no etcd runs on the host.

    :param run: Runs a command.
    :param ports: The ports on which the host listens. Without a listener, each command would wait for its time-out.
    :param root: Where the host's files are, for tests.
    """
    command = client_command(root)
    if not command or client_port(command) not in ports:
        return {}
    code, listed = run([*command, "member", "list", "--write-out=json"])
    try:
        members = read_members(listed) if code == 0 else []
    except (ValueError, KeyError):
        members = []
    return {"command": command, "members": members, "healthy": bool(members) and run([*command, "endpoint", "health"])[0] == 0}
