# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find versions of PostgreSQL, and a host's clusters that Debian's tools have created."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible.module_utils.compat.version import LooseVersion
from ansible_collections.atlas.mlflow.plugins.module_utils.cluster_members import healthy_members

#: The major version in each distribution.
OF_DISTRIBUTION = {"bookworm": "15", "trixie": "17", "jammy": "14", "noble": "16"}
#: The newest one that releases 9 (as a stream of a module) and 10 both have.
OF_ENTERPRISE_LINUX = "16"


def major_version(wanted: Any, facts: Mapping[str, Any]) -> str:
    """Return the major version of the packages, empty if it is not known.

    :param wanted: The version in the settings. If it is empty, use the version of the distribution.
    :param facts: The facts of the host.
    """
    own = OF_ENTERPRISE_LINUX if facts.get("os_family") == "RedHat" else OF_DISTRIBUTION.get(str(facts.get("distribution_release", "")), "")
    return str(wanted) or own


def image_version(image: str, wanted: Any) -> str:
    """Return the major version in an image, empty if it is not known.

    :param image: The image. Its tag contains the version; a registry's port and a digest do not count.
    :param wanted: The version in the settings, for an image without such a tag.
    """
    tag = re.search(r"(?<=:)[0-9]+(?=[^/:]*$)", image.partition("@")[0])
    return tag[0] if tag else str(wanted)


def clusters(facts: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Return the clusters with other versions than the wanted one that belong to the role or that nothing uses.

    :param facts: The facts of the host.
    :param version: The wanted major version.
    :returns: ``former``: the cluster whose data the wanted version does not have (empty if there is none). ``older``: clusters of older versions, which
        remain after upgrades. ``failed``: clusters of upgrades that were rolled back.
    """
    section = (facts.get("stack") or {}).get("postgres") or {}
    if section.get("members"):
        return _of_patroni(section, version)
    found = facts.get("postgres_clusters") or []
    main = [cluster for cluster in found if cluster["name"] == "main"]
    groups = [re.fullmatch(r"postgresql@(.*)-main[.]service", listener["group"]) for listener in facts.get("listeners") or []]
    running = {match[1] for match in groups if match}
    others = [cluster for cluster in main if cluster["version"] != version and (cluster["ours"] or cluster["version"] not in running)]
    others.sort(key=lambda cluster: LooseVersion(str(cluster["version"])))
    begun = [cluster for cluster in others if cluster["upgrade"]]
    without_data = [] if any(cluster["version"] == version for cluster in main) else others
    return {
        "former": ([{}] + (begun or without_data))[-1],
        "older": [cluster for cluster in others if version and LooseVersion(str(cluster["version"])) < LooseVersion(version)],
        "failed": [cluster for cluster in found if cluster["name"] == "failed"],
    }


def _of_patroni(section: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Return the same for a host whose PostgreSQL Patroni runs.

    :param section: The section C(postgres) of the fact C(stack).
    :param version: The wanted major version.
    """
    note, present = section.get("upgrade") or {}, str(section.get("version") or "")
    start = str(note.get("from") or present)
    former = {"version": start, "name": "main", "upgrade": note.get("phase", ""), "primary": note.get("primary", "")}
    older = [one for one in section.get("data") or [] if version and LooseVersion(one) < LooseVersion(version)]
    return {
        "former": former if start and (note or start != version) else {},
        "older": [{"version": one, "name": "main"} for one in sorted(older, key=LooseVersion)],
        "failed": [],
    }


#: The phases of an upgrade of several members, from the one that an interrupted run must undo first. All members have a phase before any of them has the next.
PHASES = ("begun", "checking", "switched")


def begun_upgrade(formers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return from which version an upgrade of all members starts, and the phase of one that was interrupted.

    :param formers: For each member the cluster whose data the wanted version does not have, empty if there is none.
    :returns: C(version), C(upgrade) and C(primary), which are empty if there is nothing to upgrade. A member that has no record any more, of an upgrade
        that was interrupted at its end, counts as the others.
    """
    found = [former for former in formers if former]
    phases = [str(former.get("upgrade") or "") for former in found]
    # A member without a record beside one with a record is either before the first phase or after the last one.
    phase = next((one for one in PHASES if one in phases), "")
    first: Mapping[str, Any] = next((former for former in found if former.get("upgrade") == phase), {})
    return {"version": str(first.get("version") or ""), "upgrade": phase, "primary": str(first.get("primary") or "")}


def unready(rows: Iterable[Mapping[str, Any]], members: Iterable[str], settings: Mapping[str, Any]) -> str:
    """Return why a cluster cannot be upgraded as it is, or an empty text.

    :param rows: The output of `patronictl list`.
    :param members: The members of the cluster.
    :param settings: The settings of the cluster.
    """
    listed = list(rows)
    healthy = healthy_members(listed)
    if not any(row.get("Role") == "Leader" and row.get("Member") in healthy for row in listed):
        return "The cluster has no primary. Repair it before: `patronictl list` shows what its members lack."
    lacking = [member for member in members if member not in healthy]
    if lacking:
        return (
            f"{', '.join(lacking)} does not follow the primary, so the present data would have fewer copies to go back to. Repair it before: `patronictl "
            "list` shows what it lacks. For a lost host, run replace_postgres_member.yml."
        )
    if settings.get("pause"):
        return "The cluster is paused, and Patroni would not run the new version. Resume it: patronictl resume."
    return ""


def changed_counts(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return which tables have another number of rows after an upgrade, or an empty text.

    :param before: The numbers of rows by table, by database.
    :param after: The same after the upgrade.
    """
    told = {f"{database}.{table}": rows for database, tables in before.items() for table, rows in tables.items()}
    found = {f"{database}.{table}": rows for database, tables in after.items() for table, rows in tables.items()}
    differ = [name for name in sorted({*told, *found}) if told.get(name) != found.get(name)]
    return "; ".join(f"{name} had {told.get(name, 'no table')}, and has {found.get(name, 'no table')}" for name in differ)


def quoted(name: str, mark: str = '"') -> str:
    """Return a name in the form of SQL, or a text with the other mark."""
    return mark + name.replace(mark, mark * 2) + mark


def restore_plan(database: str, more: Iterable[str]) -> dict[str, Any]:
    """Return how the dumps from before an upgrade are restored beside the databases, and then take their names.

    :param database: The database of the backend store.
    :param more: The additional databases.
    :returns: C(databases), each with its C(present) name, its C(dump), and the names of the restored database (C(kept)) and of the one that it replaces
        (C(failed)); C(size), the query of their bytes before the restore; C(end), which ends the sessions in all of them; C(switch), the
        statements that change the names.
    """
    # PostgreSQL cuts names after 63 bytes, so a longer one could be that of another database.
    dumps = {database: "before-upgrade.dump", **{name: name for name in more if name != database}}
    databases = [{"present": name, "dump": dump, "kept": f"{name[:48]}_kept", "failed": f"{name[:48]}_failed_upgrade"} for name, dump in dumps.items()]

    def listed(*kinds: str) -> str:
        return ", ".join(quoted(one[kind], "'") for one in databases for kind in kinds)

    renamed = (("present", "failed"), ("kept", "present"))
    every = listed("present", "kept", "failed")
    return {
        "databases": databases,
        "size": f"SELECT coalesce(sum(pg_database_size(datname)), 0) FROM pg_database WHERE datname IN ({listed('present')})",
        "end": f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname IN ({every}) AND pid <> pg_backend_pid()",
        "switch": [f"ALTER DATABASE {quoted(one[former])} RENAME TO {quoted(one[name])}" for one in databases for former, name in renamed],
    }
