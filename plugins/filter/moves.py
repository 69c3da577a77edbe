# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that decide which stores of a tracking server move to others with their data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.stack import artifacts, database
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import CONTAINERS
from ansible_collections.atlas.mlflow.plugins.plugin_utils.stores import STORES, Hosts, changed_stores, shown

#: The stores that move, each with the kinds that are taken along and the kind that it moves to.
MOVES = {"backend": (("sqlite",), "postgresql"), "users": (("sqlite",), "postgresql"), "artifacts": (("folder", "s3"), "s3")}
#: The variable with the stores of a tracking server that others have set up.
VARIABLE = "mlflow_server_take_over"
#: How many times the bytes of a store its data need in the new one. PostgreSQL has more indexes than SQLite, and the log of one transaction with all rows.
GROWTH = {"postgresql": 4.0, "s3": 1.1}


def store_moves(section: Mapping[str, Any], wanted: Mapping[str, str], hostvars: Hosts, groups: Mapping[str, list[str]], own: str) -> dict[str, Any]:
    """Return which stores of a tracking server move, and what prevents it.

    :param section: The section C(mlflow_server) of the host's fact C(stack).
    :param wanted: The stores in the settings, as ``changed_stores`` takes them.
    :param hostvars: The variables of all hosts.
    :param groups: The groups of the inventory.
    :param own: The tracking server's host.
    :returns: Among others, C(buckets), the former buckets on the same MinIO as the future ones, which the account of the servers must keep meanwhile.
    """
    changes = changed_stores(section, wanted, hostvars, groups, own)
    faults = [
        f"{own} would leave its {STORES[name]}, {shown(former)}, for {shown(present)}. This playbook takes along SQLite to PostgreSQL, and a folder or a "
        "bucket to S3, and nothing else. Copy the data by other means, and set mlflow_server_allow_store_change to true for one run of site.yml."
        for name, (former, present) in changes.items()
        if not (name in MOVES and former[0] in MOVES[name][0] and present[0] == MOVES[name][1])
    ]
    users = (section.get("stores") or {}).get("users") or {"login": "none"}
    if changes and users["login"] != wanted["login"]:
        faults.append(
            f"mlflow_server_auth of {own} would change from {users['login']} to {wanted['login']} together with the stores. Change it in a run of site.yml of "
            "its own, before or after."
        )
    # To go back, the role needs the former place of both.
    elif users["login"] != "none" and ("users" in changes) != ("backend" in changes):
        one, other = ("users", "backend") if "users" in changes else ("backend", "users")
        faults.append(f"The {STORES[one]} of {own} would move, and the {STORES[other]} would stay. Both move together, or none.")
    if changes and wanted["deployment"] in CONTAINERS:
        faults.append(
            f"{own} runs the tracking server in a container, whose stores this playbook does not move. Set mlflow_server_deployment to systemd, run site.yml "
            "with the former stores, run this playbook, and set it back."
        )
    return {
        "stores": {name: f"s3://{former[3]}" if former[0] == "s3" else former[3] for name, (former, _present) in changes.items()},
        "lines": [f"The {STORES[name]}: from {shown(former)} to {shown(present)}" for name, (former, present) in changes.items()],
        "faults": faults,
        "serves": bool(section.get("stores")),
        "buckets": [
            former[3].partition("/")[0]
            for former, present in changes.values()
            if former[0] == present[0] == "s3" and (former[1] in groups.get("minio", []) or former[1:3] == present[1:3])
        ],
        "foreign": False,
    }


def take_over(section: Mapping[str, Any], given: Mapping[str, Any], wanted: Mapping[str, str], first: bool, own: str, record: str = "") -> dict[str, Any]:
    """Return what a stack takes over of a tracking server that others have set up, in the form of :func:`store_moves`.

    :param section: The section C(mlflow_server) of the host's fact C(stack).
    :param given: The variable C(mlflow_server_take_over).
    :param wanted: The stores in the settings, as ``changed_stores`` takes them.
    :param first: Whether the host is the first tracking server, which copies.
    :param own: The tracking server's host.
    :param record: The record of an earlier run, see :func:`take_over_record`.
    """
    sources = {"backend": database(str(given.get("backend_store_uri") or ""))}
    if given.get("auth_store_uri"):
        sources["users"] = database(str(given["auth_store_uri"]))
    sources["artifacts"] = artifacts(str(given.get("artifacts") or ""), str(given.get("s3_endpoint_url") or ""))
    targets = {name: artifacts(wanted[name], wanted.get("endpoint", "")) if name == "artifacts" else database(wanted[name]) for name in sources}
    lines = [f"The {STORES[name]}: from {_place(source)}, which others have set up, to {_place(targets[name])}" for name, source in sources.items()]
    earlier = json.loads(record) if record else {}
    found = {"stores": {}, "lines": [], "faults": [], "serves": bool(section.get("stores")), "buckets": [], "foreign": True}
    if not first or (earlier.get("lines") == lines and earlier.get("done")):
        return found
    faults = [fault for fault in (_source_fault(name, source, targets[name]) for name, source in sources.items()) if fault]
    if "users" in sources and wanted["login"] != "basic":
        faults.append(
            f"auth_store_uri of {VARIABLE} has the users of MLflow's basic-auth app, and mlflow_server_auth of {own} is {wanted['login']}. Set basic."
        )
    if wanted["deployment"] in CONTAINERS:
        faults.append(f"{own} runs the tracking server in a container, which takes nothing over. Set mlflow_server_deployment to systemd for the run.")
    if found["serves"] and not earlier:
        faults.append(
            f"{own} has a tracking server with stores of its own, and the data of two servers are not merged. If nobody needs these data, run remove.yml with "
            f"mlflow_server_remove_data, postgres_remove_data and minio_remove_data. Otherwise leave out {VARIABLE}."
        )
    stores = {name: source["name"] if source.get("kind") in ("folder", "sqlite") else _place(source) for name, source in sources.items()}
    return {**found, "stores": stores, "lines": lines, "faults": faults}


def take_over_record(moves: Mapping[str, Any], done: bool) -> str:
    """Return the record of what was taken over, as JSON. After a failure, it tells the next run that the stores of the server are its own copies.

    :param moves: The result of :func:`take_over`.
    :param done: Whether the server serves the copies.
    """
    return json.dumps({"lines": moves["lines"], "done": done}, indent=2) + "\n"


def _place(store: Mapping[str, str]) -> str:
    """Return a store for a message, without login."""
    return shown((store.get("kind", ""), store.get("host", ""), store.get("port", ""), store.get("name", "")))


def _source_fault(name: str, source: Mapping[str, str], target: Mapping[str, str]) -> str:
    """Return why a store cannot be taken over, or an empty text."""
    kinds = {"artifacts": ("folder", "s3")}.get(name, ("sqlite", "postgresql"))
    option = {"backend": "backend_store_uri", "users": "auth_store_uri", "artifacts": "artifacts"}[name]
    kind = source.get("kind", "")
    if kind.startswith(("mysql", "mssql")):
        return (
            f"{option} of {VARIABLE} is a database of {kind}, whose driver is in no release's lock, and which compares text in another way. Copy this database "
            "to SQLite or PostgreSQL first, and name the copy."
        )
    if kind not in kinds or (kind in ("sqlite", "folder") and not source["name"].startswith("/")):
        wanted = (
            "the absolute path of a folder or s3://BUCKET/PREFIX" if name == "artifacts" else "sqlite:////PATH or postgresql+psycopg2://USER:PASSWORD@HOST/DB"
        )
        return f"{option} of {VARIABLE} cannot be taken over. Set {wanted}. A folder of MLflow's file store is converted by `mlflow migrate-filestore`."
    if target.get("kind") != MOVES[name][1]:
        return (
            f"{VARIABLE} takes data to PostgreSQL and S3, and the {STORES[name]} would be {_place(target)}. Put hosts in the groups postgres and minio, or set "
            "mlflow_server_backend_store_uri and mlflow_server_artifacts_destination."
        )
    return ""


def move_conflicts(moves: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return why the stores of these servers cannot move together: the servers must serve the same bucket, and all of them.

    :param moves: The result of :func:`store_moves` for each tracking server, by its name.
    """
    moving = [host for host, found in moves.items() if found["stores"]]
    if not moving:
        return []
    faults = []
    if len(moving) > 1 and any(not place.startswith("s3://") for host in moving for place in moves[host]["stores"].values()):
        faults.append(
            f"{_listed(moving)} have stores of their own, and the data of several servers are not merged. Leave one of them in the group mlflow_servers."
        )
    elif len({tuple(moves[host]["lines"]) for host in moving}) > 1:
        places = " ".join(f"{host}: {'; '.join(moves[host]['lines'])}." for host in moving)
        faults.append(f"{_listed(moving)} would leave different stores, and these are not merged. {places} Correct the settings of these hosts.")
    if done := [host for host, found in moves.items() if found["serves"] and not found["stores"]]:
        faults.append(
            f"{_listed(done)} already serves the stores in the settings, and {_listed(moving)} other ones. Nothing is merged. If a run of this playbook was "
            "interrupted while it switched the servers, which it does after it has compared the copies, run site.yml with mlflow_server_allow_store_change set "
            "to true. Otherwise correct the settings."
        )
    return faults


def _listed(hosts: Sequence[str]) -> str:
    """Return hosts for a message."""
    return " and ".join(hosts)


def space_faults(sizes: Mapping[str, str], spaces: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each file system that is too small for what moves to it.

    A store outside of the inventory, and one on several hosts, is not judged.

    :param sizes: The line of ``du --bytes --summarize`` for each store that moves, by its purpose. It is empty if the store has no files yet.
    :param spaces: For each kind of store, the C(hosts) of the inventory, and their results of ``df --block-size=1 --output=avail,target`` in C(df).
    """
    needed: dict[tuple[str, str], tuple[int, float]] = {}
    for purpose, line in sizes.items():
        kind = MOVES[purpose][1]
        if len(spaces[kind]["hosts"]) != 1 or not line:
            continue
        free, mount = spaces[kind]["df"][0]["stdout_lines"][-1].split(maxsplit=1)
        key = spaces[kind]["hosts"][0], mount
        needed[key] = int(free), needed.get(key, (0, 0.0))[1] + int(line.split()[0]) * GROWTH[kind]
    return [
        f"{host} has {free / 2**20:.0f} MiB free in {mount}, and what moves there needs about {size / 2**20:.0f} MiB. Make room, and run the playbook again."
        for (host, mount), (free, size) in needed.items()
        if size > free
    ]


class FilterModule:
    """Register the filters with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {
            "store_moves": store_moves,
            "move_conflicts": move_conflicts,
            "space_faults": space_faults,
            "take_over": take_over,
            "take_over_record": take_over_record,
        }
