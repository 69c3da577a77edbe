# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Members of a cluster of PostgreSQL that join or leave: what etcd and Patroni say of them, and what a run does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.atlas.mlflow.plugins.module_utils.cluster_members import MEMBER_RUNS

#: A member as the plan lists it: its name, and the address by which the other members reach it.
Member = Mapping[str, Any]
#: A member as etcd lists it: its id, its name, which is empty before its first start, and the URL for the other members.
Entry = Mapping[str, str]
#: A row of `patronictl list`.
Row = Mapping[str, Any]
#: The fewest members of a cluster.
FEWEST = 3


def majority(members: int) -> int:
    """Return how many members of etcd must agree."""
    return members // 2 + 1


def size_fault(count: int) -> str:
    """Return why a cluster cannot have so many hosts, or an empty text.

    :param count: The number of hosts in the group postgres.
    """
    if count < 2 or count in (3, 5, 7):
        return ""
    if count == 2:
        return (
            "The group postgres has 2 hosts, and none of two is a majority: if one is lost, the other cannot know whether it may take writes. Keep one, or "
            "add a third."
        )
    if count > 7:
        return f"The group postgres has {count} hosts, and each write of etcd waits for a majority of them. Keep 3, 5 or 7."
    return (
        f"The group postgres has {count} hosts. etcd needs {majority(count)} of {count}, so the cluster survives the loss of {count - majority(count)}, as "
        f"one of {count - 1} does, with one more host that can fail. Keep {count - 1}, or add one."
    )


def named(value: Any) -> list[str]:
    """Return the names in a variable that is a list, or text with commas."""
    given = value.split(",") if isinstance(value, str) else list(value or [])
    return [name for name in dict.fromkeys(str(one).strip() for one in given) if name]


def _address(url: str) -> str:
    """Return the name or address in a URL."""
    return urlsplit(url).hostname or ""


def shown(entry: Entry) -> str:
    """Return a word for a member of etcd: its name, or its address if it has never started."""
    return entry["name"] or _address(entry["url"])


def is_of(entry: Entry, member: Member) -> bool:
    """Return whether a member of etcd is a host, by its name or by its address."""
    return entry["name"] == member["name"] or _address(entry["url"]) == str(member["address"]).strip("[]").lower()


def strangers(members: Sequence[Member], present: Iterable[Entry], leaving: Iterable[str] = ()) -> list[str]:
    """Return the members of etcd that are none of the hosts, and do not leave."""
    others = [entry for entry in present if not any(is_of(entry, member) for member in members)]
    return [shown(entry) for entry in others if shown(entry) not in set(leaving)]


def has_started(member: Member, present: Iterable[Entry]) -> bool:
    """Return whether etcd has a host as a member that has started before."""
    return any(is_of(entry, member) and entry["name"] for entry in present)


def etcd_join(members: Sequence[Member], present: Sequence[Entry], port: Any) -> dict[str, Any]:
    """Return which hosts join an etcd that exists, and the members with which each host starts.

    The hosts join one after the other: etcd compares the list that a new member starts with to its own.

    :param members: The hosts of the group postgres.
    :param present: The members of the etcd that exists, empty if there is none.
    :param port: The port for the other members.
    :returns: C(joining), the names of the hosts that join, in their order; C(unknown), those of which etcd must be told; C(initial), the list for each host.
    """
    urls = {str(member["name"]): f"https://{member['address']}:{port}" for member in members}
    if not present:
        return {"joining": [], "unknown": [], "initial": dict.fromkeys(urls, ",".join(f"{name}={url}" for name, url in urls.items()))}
    known = {str(member["name"]): any(is_of(entry, member) for entry in present) for member in members}
    # An interrupted run may have told etcd of a host that has not started.
    joining = sorted((str(member["name"]) for member in members if not has_started(member, present)), key=lambda name: not known[name])
    lists = [f"{entry['name'] or next((str(one['name']) for one in members if is_of(entry, one)), 'unknown')}={entry['url']}" for entry in present]
    initial = dict.fromkeys(urls, ",".join(lists))
    for name in joining:
        lists += [] if known[name] else [f"{name}={urls[name]}"]
        initial[name] = ",".join(lists)
    return {"joining": joining, "unknown": [name for name in joining if not known[name]], "initial": initial}


def staying(group: Iterable[str], leaving: Any) -> list[str]:
    """Return the hosts of the group postgres that stay."""
    return [host for host in group if host not in named(leaving)]


def running_members(rows: Iterable[Row], names: Iterable[str]) -> list[str]:
    """Return which of some members run, as Patroni says."""
    return [str(row["Member"]) for row in rows if row["Member"] in set(names) and row.get("State") in MEMBER_RUNS]


def primary_of(rows: Iterable[Row]) -> str:
    """Return the primary, empty if there is none."""
    return next((str(row["Member"]) for row in rows if row.get("Role") == "Leader" and row.get("State") in MEMBER_RUNS), "")


def next_primary(rows: Sequence[Row], leaving: Iterable[str], synchronous: bool = False) -> str:
    """Return the member that becomes the primary if the primary leaves, empty if none can.

    With synchronous replication, only the synchronous replica has all writes. Otherwise it is the one with the least lag. After each change of the primary,
    there is no synchronous replica for some seconds: Patroni records it in etcd after PostgreSQL has it, and until then Patroni lets no replica take over.

    :param rows: The output of `patronictl list`.
    :param leaving: The members that leave.
    :param synchronous: Whether the replication of the cluster is synchronous.
    """
    replicas = [row for row in rows if row.get("Role") in ("Sync Standby", "Replica") and row.get("State") in MEMBER_RUNS]
    stays = [row for row in replicas if row["Member"] not in set(leaving)]
    chosen = [row for row in replicas if row["Role"] == "Sync Standby"]
    usable = [row for row in stays if row in chosen] if chosen or synchronous else stays
    ranked = sorted(usable, key=lambda row: row["Receive Lag"] if isinstance(row.get("Receive Lag"), int) else 1 << 30)
    return str(ranked[0]["Member"]) if ranked else ""


def slot_of(member: str) -> str:
    """Return the name of the replication slot that Patroni makes for a member: lower case, with an underscore for a dot, a hyphen or a space."""
    return re.sub("[^a-z0-9_]", lambda found: "_" if found[0] in "-. " else f"u{ord(found[0]):04d}", member.lower())[:63]


def etcd_speaker(facts: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the host whose etcd is asked and told of changes: one with a majority, or else one that answers. Empty if there is none.

    :param facts: The facts of hosts, by their names.
    """
    answers = [host for host, known in facts.items() if (known.get("etcd") or {}).get("members")]
    return next((host for host in answers if facts[host]["etcd"]["healthy"]), (answers or [""])[0])


def member_removal(
    facts: Mapping[str, Mapping[str, Any]], leaving: Any, rows: Sequence[Row], reached: Mapping[str, Any], replaced: bool = False
) -> dict[str, Any]:
    """Return how members are removed, or why they are not.

    :param facts: The facts of the members that stay, by the names of their hosts.
    :param leaving: The members to remove.
    :param rows: The output of `patronictl list`.
    :param reached: The facts of the hosts to remove, by their names. They are empty if Ansible does not reach the host.
    :param replaced: Whether the run adds members to the cluster afterwards.
    :returns: C(faults), a sentence for each reason to do nothing; C(ids), the members of etcd to remove; C(primary), the present primary; C(rest), the
        members that remain.
    """
    names, speaker, primary = named(leaving), etcd_speaker(facts), primary_of(rows)
    healthy = [host for host, known in facts.items() if (known.get("etcd") or {}).get("healthy")]
    if not names:
        return _refused("postgres_member is empty. Give the member to remove: -e postgres_member=HOST, or HOST,HOST for several.")
    if not speaker:
        return _refused(
            f"No host of the group postgres apart from {', '.join(names)} runs etcd ({', '.join(facts) or 'none is left'}). Start etcd on the members that "
            "stay, or correct postgres_member."
        )
    present = facts[speaker]["etcd"]["members"]
    entries = {name: next((entry for entry in present if name in (entry["name"], _address(entry["url"]))), None) for name in names}
    faults = []
    unknown = [name for name, entry in entries.items() if not entry]
    if unknown:
        faults.append(
            f"{', '.join(unknown)}: etcd has no member of this name. Its members are {', '.join(shown(entry) for entry in present)}. If an earlier run was "
            "interrupted after the removal, run site.yml with the inventory as it shall be."
        )
    needed = majority(len(present))
    if len(healthy) < needed:
        faults.append(
            f"etcd has {len(present)} members and needs {needed} to agree on a change, and of those that stay {len(healthy)} "
            f"({', '.join(healthy) or 'none'}) can. Start etcd on more of them before, so that the cluster keeps its majority."
        )
    rest = [shown(entry) for entry in present if entry not in entries.values()]
    if not replaced and not unknown and (len(rest) < FEWEST or size_fault(len(rest))):
        faults.append(_rest_fault(names, rest))
    faults += _alive_faults(names, rows, reached)
    if not primary:
        faults.append("The cluster has no primary. Repair it before: patronictl list shows what its members lack.")
    if primary in names and not faults and not [row for row in rows if row["Member"] in rest and row.get("State") in MEMBER_RUNS]:
        faults.append(f"{primary} is the primary, and no replica that stays runs. Repair one before: patronictl list shows what they lack.")
    ids = [entry["id"] for entry in entries.values() if entry]
    return {"faults": faults, "ids": ids, "primary": primary, "rest": rest}


def _refused(fault: str) -> dict[str, Any]:
    """Return the answer for a removal that cannot be planned."""
    return {"faults": [fault], "ids": [], "primary": "", "rest": []}


def _rest_fault(names: Sequence[str], rest: Sequence[str]) -> str:
    """Return why so many members cannot remain."""
    smaller = max((size for size in (3, 5) if size < len(rest)), default=0)
    several = f" Or remove {len(rest) - smaller} more in the same run (-e postgres_member=HOST,HOST)." if smaller else ""
    return (
        f"Without {', '.join(names)}, the cluster has {len(rest)} members ({', '.join(rest) or 'none'}), and it needs 3, 5 or 7: fewer than 3 have no majority "
        f"after a loss, and an even number survives no more losses than one member less. To put another host in its place, run replace_postgres_member.yml."
        f"{several}"
    )


def _alive_faults(names: Sequence[str], rows: Sequence[Row], reached: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each member that runs where Ansible cannot stop it."""
    faults = []
    for name in running_members(rows, names):
        if not reached.get(name):
            faults.append(
                f"Patroni says that {name} runs, and Ansible does not reach it to stop it there. Keep {name} in the inventory with the variables of its "
                "connection, inside or outside the group postgres. Or stop it yourself on the host: systemctl disable --now patroni etcd."
            )
        elif not (reached[name].get("stack") or {}).get("etcd"):
            faults.append(
                f"Patroni says that {name} runs, and the host that Ansible reaches by this name has no data of etcd: it is another machine. Stop the former "
                "one there: systemctl disable --now patroni etcd."
            )
    return faults
