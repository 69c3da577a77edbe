# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the folders that remove.yml removes as a whole: none is the system's, and none has a folder in it that belongs to another part of the stack."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.folders import is_below, of_system, removal_faults
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings

#: Folders of the programs of each role.
PROGRAMS = {
    "mlflow_server": ("mlflow_server_install_dir", "mlflow_server_uv_dir"),
    "minio": ("minio_install_dir",),
    "postgres": ("postgres_patroni_install_dir", "postgres_uv_dir"),
}
#: Folders with data that no variable names.
FIXED = {
    "the folder of the collection": "/opt/atlas-mlflow",
    "the folder of PostgreSQL's data": "/var/lib/postgresql",
    "the folder of PostgreSQL's data on Enterprise Linux": "/var/lib/pgsql",
    "the folder of etcd's data": "/var/lib/etcd",
    "the folder of the backup and the metrics": "/var/lib/atlas-mlflow",
    "the folder of Prometheus's data": "/var/lib/atlas-mlflow-prometheus",
    "the folder of Docker": "/var/lib/docker",
    "the folder of Podman": "/var/lib/containers",
}


def _programs(given: RoleSettings) -> dict[str, str]:
    """Return the folders of the role's programs on the host. Only members of a cluster have Patroni."""
    names = PROGRAMS[given.role] if given.role != "postgres" or given.items("postgres_members") else ()
    return {name: given.text(name) for name in names}


def _data(given: RoleSettings) -> dict[str, str]:
    """Return the folder of the role's data that is removed as a whole. Of a pool, only the contents of the drives are removed."""
    has_drives = given.role == "minio" and (given.in_container or given.planned("minio_pools"))
    return {} if given.role == "postgres" or has_drives else {f"{given.role}_data_dir": given.text(f"{given.role}_data_dir")}


def _user(given: RoleSettings) -> str:
    """Return the user that runs the role's service."""
    return "postgres" if given.role == "postgres" else given.text(f"{given.role}_os_user")


def removed_programs_are_no_system_s(given: RoleSettings) -> str:
    """The folders of programs, which remove.yml removes, are not the system's or a user's."""
    return " ".join(removal_faults(_programs(given), _user(given)))


def removed_folders_are_no_system_s(given: RoleSettings) -> str:
    """The same for all folders that the present removal removes. An earlier release of the collection accepted others."""
    data = _data(given) if given.flag(f"{given.role}_remove_data") else {}
    return " ".join(removal_faults({**_programs(given), **data}, _user(given)))


def _inside(given: RoleSettings) -> Iterator[tuple[Mapping[str, Any], str, str]]:
    """Yield each folder that a removal removes, with the name and the path of a folder in it that belongs to another part of the stack."""
    folders = given.planned("folders") or []
    for outer in folders:
        removed = posixpath.normpath(outer["path"])
        # A folder of the system is refused by another rule.
        if outer["removed"] == "never" or of_system(removed):
            continue
        # Paths that are not absolute have rules of their own.
        others = [one for one in folders if one["role"] != outer["role"] and not one["shared"] and one["path"].startswith("/")]
        for inner in others:
            if given.role in (outer["role"], inner["role"]) and is_below(posixpath.normpath(inner["path"]), removed):
                yield outer, inner["name"], inner["path"]
        if given.role == outer["role"]:
            yield from ((outer, name, path) for name, path in FIXED.items() if is_below(path, removed))


def _sentence(outer: Mapping[str, Any], name: str, path: str) -> str:
    """Return what is wrong with a folder in another one."""
    when = f" if {outer['role']}_remove_data is true" if outer["removed"] == "with data" else ""
    return (
        f"{name} is {path}, which lies in {outer['path']} ({outer['name']}), and remove.yml removes that folder{when}. "
        f"Set {outer['name'] if name in FIXED else name} to a folder elsewhere."
    )


def folders_are_apart(given: RoleSettings) -> str:
    """No folder that a removal removes has the data, the programs or the backups of another part of the stack in it."""
    return " ".join(dict.fromkeys(_sentence(*found) for found in _inside(given)))


def removal_takes_no_other_folder(given: RoleSettings) -> str:
    """The present removal removes no folder of another part of the stack with a folder of this role."""
    removed = given.planned("data_removed") or []
    found = [one for one in _inside(given) if one[0]["role"] == given.role and (one[0]["removed"] == "always" or given.role in removed)]
    return " ".join(dict.fromkeys(_sentence(*one) for one in found))
