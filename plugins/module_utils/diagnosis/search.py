# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find a tracking server that does not run, by the command of its unit or container, whatever its name is."""

from __future__ import annotations

import json
import pwd
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.commands import Run

ENGINES = ("docker", "podman")
UNIT_FOLDERS = tuple(
    Path(folder)
    for folder in ("/etc/systemd/system", "/run/systemd/system", "/run/systemd/generator", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")
)
SCRIPT_SIZE = 65536  # bytes of a script that are read
#: A command that starts a tracking server, also after options and across a continued line.
STARTS = re.compile(r"(?<![\w-])mlflow['\"]?(?:[\\\s]+--?[\w-]+(?:=\S+)?)*[\\\s,'\"]+(?:server|ui)\b|(?<![\w./-])(?:mlflow\.server|atlas_mlflow\.serve)\b")


def words(value: str | Iterable[str] | None) -> list[str]:
    """Return a container's command or entry point as a list: Podman gives a string if Docker gives a list."""
    return [value] if isinstance(value, str) and value else list(value or ())


def command_of(inspected: Mapping[str, Any]) -> str:
    """Return the command of a container as one line."""
    config = inspected.get("Config", {})
    return " ".join([*words(config.get("Entrypoint")), *words(config.get("Cmd"))])


def calls_engine(command: str) -> bool:
    """Return whether a command is the client of an engine, or of a tool that starts several containers."""
    return bool(re.search(r"(?:^|[\s/;'\"])(?:docker|podman)(?:-compose)?\s", command))


def named_container(command: str) -> tuple[str, str]:
    """Return the engine and the name of the container that a command runs or starts, empty if it names none."""
    found = re.search(r"(?:^|[\s/;'\"])(docker|podman)\s(?:.*?\s)??(run|start)\s+(.*)", command, re.DOTALL)
    if not found:
        return "", ""
    name = re.search(r"(?:^|\s)--name[=\s]\s*([\w.-]+)", found.group(3)) if found.group(2) == "run" else re.search(r"([\w.-]+)\s*$", found.group(3))
    return (found.group(1), name.group(1)) if name else ("", "")


def monitored(argv: list[str]) -> str:
    """Return the identity of the container if a process is Podman's monitor of it (conmon), else an empty string."""
    if not argv or argv[0].rpartition("/")[2] != "conmon":
        return ""
    return next((argv[place + 1] for place, name in enumerate(argv[:-1]) if name in ("-c", "--cid")), "")


def starts_server(command: str, moved: Mapping[str, str] | None = None) -> bool:
    """Return whether a command starts a tracking server, directly or by a script that it names.

    :param moved: Paths on the host of files in a container, by their paths in the container.
    """
    if STARTS.search(command):
        return True
    for path in re.findall(r"/[^\s;\"']+", command):
        script = Path((moved or {}).get(path, path))
        try:
            if not script.is_file():
                continue
            with script.open("rb") as file:
                text = file.read(SCRIPT_SIZE)
        except OSError:
            continue
        if text.startswith(b"#!") and STARTS.search(re.sub(r"^\s*#.*", "", text.decode(errors="replace"), flags=re.MULTILINE)):
            return True
    return False


def units(run: Run, folders: Iterable[Path] = UNIT_FOLDERS) -> list[str]:
    """Return the units that start a tracking server. systemd itself does not list a unit that does not run and that no other unit requires."""
    found: dict[str, None] = {}
    for folder in folders:
        for path in sorted([*folder.glob("*.service"), *folder.glob("*.service.d/*.conf")]):
            name = path.parent.name[: -len(".d")] if path.suffix == ".conf" else path.name
            try:
                text = path.read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            commands = re.findall(r"^ExecStart=[@+!:-]*((?:.*\\\n)*.*)", text, re.MULTILINE)
            if any(starts_server(command) for command in commands):
                found.setdefault(name)
    names: list[str] = []
    for name in found:
        if "@." in name:
            listed = run(["systemctl", "list-units", "--all", "--plain", "--no-legend", "--", name.replace("@.", "@*.")])[1]
            names += [line.split()[0] for line in listed.splitlines() if line.strip()]
        else:
            names.append(name)
    return names


def podman_users(storage: str = ".local/share/containers/storage") -> list[int]:
    """Return the users who have their own containers of Podman."""
    return [user.pw_uid for user in pwd.getpwall() if user.pw_uid and Path(user.pw_dir, storage).is_dir()]


def stopped_containers(run: Run, engine: list[str], port: int) -> list[str]:
    """Return the containers that start a tracking server, the most likely first: those with the port, then those that ended last."""
    code, listed, _err = run([*engine, "ps", "--all", "--quiet", "--no-trunc"])
    if code or not listed.split():
        return []
    code, out, _err = run([*engine, "inspect", "--type", "container", *listed.split()])
    found = []
    for inspected in json.loads(out) if not code else ():
        bindings = (inspected.get("HostConfig", {}).get("PortBindings") or {}).values()
        has_port = any(str(one.get("HostPort")) == str(port) for binding in bindings for one in binding or ())
        moved = {mount.get("Destination", ""): mount["Source"] for mount in inspected.get("Mounts", []) if mount.get("Type") == "bind"}
        command = command_of(inspected)
        image = str(inspected.get("Config", {}).get("Image", ""))
        # A script in the image cannot be read. Its name and its port must be enough.
        if starts_server(command, moved) or has_port and "mlflow" in image + inspected["Name"]:
            found.append((has_port or str(port) in command, str(inspected["State"].get("FinishedAt", "")), inspected["Id"]))
    return [identity for _port, _when, identity in sorted(found, reverse=True)]
