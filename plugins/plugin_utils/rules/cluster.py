# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for a cluster of PostgreSQL: several hosts in the group postgres, with Patroni and etcd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.atlas.mlflow.plugins.module_utils.etcd import client_port
from ansible_collections.atlas.mlflow.plugins.plugin_utils.certificates import certificate_faults, client_faults
from ansible_collections.atlas.mlflow.plugins.plugin_utils.members import has_started, is_of, majority, named, size_fault, strangers
from ansible_collections.atlas.mlflow.plugins.plugin_utils.postgres import major_version
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.keys import length_fault
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.sockets import port_conflicts, port_fault
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.tls import authority_fault
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology import network_of
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.stack import BACKUP_TIMER

#: Settings that all members of a cluster share.
SHARED = (
    "etcd_client_port",
    "etcd_peer_port",
    "postgres_database",
    "postgres_more_databases",
    "postgres_user",
    "postgres_users",
    "postgres_port",
    "postgres_patroni_port",
    "postgres_repository",
    "postgres_settings",
    "postgres_pgbouncer",
    "postgres_pgbouncer_port",
    "postgres_pgbouncer_pool_size",
)


def members(given: RoleSettings) -> list[dict[str, Any]]:
    """Return the members of the cluster, empty if the database has one host."""
    return given.items(f"{given.role}_members")


def cluster_has_a_majority(given: RoleSettings) -> str:
    """A cluster has a number of members with which a loss leaves a majority."""
    return size_fault(len(members(given)))


def cluster_is_of_packages(given: RoleSettings) -> str:
    """The members of a cluster run as services."""
    if not members(given) or not given.in_container:
        return ""
    return (
        f"postgres_deployment is {given.deployment}, and the group postgres has several hosts. Patroni starts, stops and rewinds PostgreSQL as its own "
        "process, which an image of PostgreSQL alone does not have. Set postgres_deployment to systemd for the group postgres; the tracking servers may be "
        "containers."
    )


def cluster_has_tls(given: RoleSettings) -> str:
    """Members of a cluster use TLS among each other."""
    missing = [name for name in ("certificate", "authority") if not given.text(f"{given.role}_tls_{name}")]
    if not members(given) or not missing:
        return ""
    return (
        f"The group postgres has several hosts, which send passwords and data to each other, and {given.role}_tls_{missing[0]} is empty. Set "
        "atlas_mlflow_tls to true for all hosts. With certificates of your own, set postgres_tls_certificate and postgres_tls_key, etcd_tls_certificate and "
        "etcd_tls_key, and atlas_mlflow_tls_authority."
    )


def cluster_certificate_is_for_clients(given: RoleSettings) -> str:
    """A user's own certificate of a member is valid as that of a server and of a client."""
    name = f"{given.role}_tls_certificate"
    certificate, key = given.text(name), given.text(f"{given.role}_tls_key")
    if not members(given) or not certificate or certificate == given.planned("tls_certificate"):
        return ""
    own = [str(member["address"]) for member in members(given) if member["name"] == given.host]
    faults = certificate_faults(certificate, key, own, read=given.files.read) or client_faults(certificate, given.files.read)
    return (
        f"{name} and {given.role}_tls_key do not fit: {'; '.join(faults)}. Members of the cluster log in to each other with it. Give others." if faults else ""
    )


def cluster_authority_is_a_file(given: RoleSettings) -> str:
    """The CA file of the members exists. The inventory's own is created after the preflight."""
    return authority_fault(given, f"{given.role}_tls_authority") if members(given) else ""


def cluster_settings_are_alike(given: RoleSettings) -> str:
    """The members of a cluster have the same settings, because each of them may become the primary, and all call each other at the same ports."""
    first = members(given)[0]["name"] if members(given) else given.host
    if first == given.host or first not in given.hostvars:
        return ""
    there = given.hostvars[first]
    version, wanted = (
        major_version(str(text or ""), facts)
        for text, facts in (
            (given.text("postgres_version"), given.facts),
            (there.get("postgres_version"), there.get("ansible_facts") or {}),
        )
    )
    if wanted and version != wanted:
        return (
            f"{given.host} has PostgreSQL {version} and {first} has {wanted}: a replica must have the major version of its primary. Set postgres_version for "
            "the group postgres, or use the same release of the distribution on all its hosts."
        )
    differ = _different(given, first)
    return (
        f"{', '.join(differ)} differ between {given.host} and {first}. Each member of a cluster may become the primary, and all call each other at the same "
        "ports: set them for the group postgres."
        if differ
        else ""
    )


def _different(given: RoleSettings, first: str) -> list[str]:
    """Return the shared settings that a member does not have as the first one has them. A setting that the inventory does not give is the default."""
    if given.hosts is None:
        return []
    pairs = {name: (given.hosts(first).value(name), given.hosts(given.host).value(name)) for name in SHARED}
    # A number may be given as text.
    return [name for name, (one, other) in pairs.items() if one != other and str(one) != str(other)]


def _seen(given: RoleSettings, name: str) -> Sequence[str]:
    """Return the members of the cluster that a host already belongs to."""
    return given.stack_of("postgres", name).get("members") or []


def _present(given: RoleSettings) -> list[dict[str, str]]:
    """Return the members that etcd has now, empty if no majority of them answers."""
    return list(given.planned("etcd_present") or [])


def _leaving(given: RoleSettings) -> list[str]:
    """Return the members that playbooks/replace_postgres_member.yml removes in this run, before it adds others."""
    return named(given.variable("postgres_member", [])) if given.switch("postgres_member_replaced") else []


def cluster_keeps_its_members(given: RoleSettings) -> str:
    """A member leaves a cluster by its own playbook, which tells etcd of it. New members join by site.yml, if etcd can agree on it."""
    present, wanted = _seen(given, given.host), sorted(str(member["name"]) for member in members(given))
    if present and not wanted:
        return (
            f"{given.host} is a member of the cluster of {', '.join(present)}, and the group postgres has {given.host} alone. A cluster does not become one "
            "host. Restore the group."
        )
    gone = strangers(members(given), _present(given), _leaving(given)) if wanted else []
    if gone:
        return (
            f"{', '.join(gone)} belongs to the cluster, and is not in the group postgres. Remove it by remove_postgres_member.yml or "
            f"replace_postgres_member.yml -e postgres_member={','.join(gone)}, or restore the group."
        )
    if present and sorted(present) != wanted and not _present(given):
        return (
            f"{given.host} is a member of the cluster of {', '.join(present)}, and the group postgres has {', '.join(wanted)}. etcd must agree on each change "
            "of the members, and no majority of it answers. Start etcd on the members before, or restore the group."
        )
    return ""


def cluster_member_keeps_its_name(given: RoleSettings) -> str:
    """A member keeps its name in the inventory, by which Patroni calls it: a run would not find the primary by another name, and would change no database."""
    present = _seen(given, given.host)
    if not members(given) or not present or given.host in present or given.host in _leaving(given):
        return ""
    former = [name for name in present if name not in {member["name"] for member in members(given)}]
    return (
        f"{given.host} belongs to the cluster of {', '.join(present)}, where Patroni calls it by another name. Restore its name in the inventory"
        f"{' (' + former[0] + ')' if len(former) == 1 else ''}, and give another address by ansible_host or atlas_mlflow_address. If it is another host with a "
        f"copy of such a disk, run `systemctl disable --now patroni etcd` there, and move /etc/patroni/config.yml away."
    )


def cluster_member_is_known(given: RoleSettings) -> str:
    """A host has the data of etcd if and only if etcd knows it as a member: otherwise it has lost what it has agreed to, or it was removed."""
    others = [member["name"] for member in members(given) if member["name"] != given.host and _seen(given, member["name"])]
    own = next((member for member in members(given) if member["name"] == given.host), None)
    if not others or not own or given.host in _leaving(given):
        return ""
    has_data, known = bool(given.stack_of("etcd")), has_started(own, _present(given))
    if not _present(given) and not has_data:
        return (
            f"{given.host} has no data of etcd, and {', '.join(others)} already form a cluster, whose etcd does not answer with a majority. Start etcd there "
            "before."
        )
    if not _present(given) or has_data == known:
        return ""
    if known:
        return (
            f"{given.host} has no data of etcd, and {', '.join(others)} know it as a member that has. If the host was set up again from nothing, run "
            f"replace_postgres_member.yml -e postgres_member={given.host}. Otherwise restore its data."
        )
    return (
        f"{given.host} has data of etcd (/var/lib/etcd/atlas-mlflow), and {', '.join(others)} form a cluster that it does not belong to any more. On "
        f"{given.host}, run `systemctl disable --now patroni etcd`, and move that folder and /var/lib/postgresql/{_version(given)}/main to other names: the "
        "host then joins with a copy of the primary's data."
    )


def cluster_overwrites_nothing(given: RoleSettings) -> str:
    """Only the first member of a new cluster may have data: the others become copies of it."""
    others = [member["name"] for member in members(given) if member["name"] != given.host and _seen(given, member["name"])]
    is_first = bool(members(given)) and members(given)[0]["name"] == given.host
    if not members(given) or not _own_cluster(given) or is_first and not others:
        return ""
    if is_first:
        return (
            f"{given.host} has a PostgreSQL of its own (/var/lib/postgresql/{_version(given)}/main), and it would become a copy of the cluster of "
            f"{', '.join(others)}. If nobody needs its data, run `pg_dropcluster --stop {_version(given)} main` there."
        )
    return (
        f"{given.host} has a PostgreSQL of its own (/var/lib/postgresql/{_version(given)}/main), and it would become a copy of {members(given)[0]['name']}. "
        f"If its data are the ones to keep, make {given.host} the first host of the group postgres. If nobody needs them, run `pg_dropcluster --stop "
        f"{_version(given)} main` there."
    )


def cluster_takes_over_its_data(given: RoleSettings) -> str:
    """The data of one host, which become those of the first member, are where Patroni expects them."""
    data, expected = _own_cluster(given).get("data", ""), f"/var/lib/postgresql/{_version(given)}/main"
    if not members(given) or members(given)[0]["name"] != given.host or data in ("", expected):
        return ""
    return (
        f"The data of PostgreSQL on {given.host} are in {data}, and the first member of a cluster takes them over in {expected}. Stop PostgreSQL, move the "
        "folder there, and correct data_directory in its postgresql.conf."
    )


def cluster_has_no_backup_of_one_host(given: RoleSettings) -> str:
    """The backup of one host is not left to fail: it archives what that host writes, and the primary of a cluster may be another one.

    With a repository in a bucket, site.yml sets up the backup of the cluster.
    """
    backup = given.stack_of("backup")
    # After remove.yml, only the repository of a backup is known, and nothing of it is on the host.
    if not members(given) or not backup.get("reaches") or backup.get("of_cluster") or given.planned("backup_joins"):
        return ""
    return (
        f"{given.host} has the backup of one host (/etc/atlas-mlflow/backup.json), and a cluster is backed up in another way. Set backup_repository of all "
        "members to s3://BUCKET/PREFIX, and this playbook sets up their backup. For the folder of a share that all members mount, disable "
        "atlas-mlflow-backup.timer on the host and move that file away, run this playbook again, and then backup.yml. The former backups stay: only one host "
        "can be restored from them."
    )


def backup_was_turned_off(given: RoleSettings) -> str:
    """A cluster that grew from one host, whose backup was turned off for that, has a backup again."""
    timer, backup = BACKUP_TIMER in (given.facts.get("timers") or []), given.stack_of("backup")
    if given.role != "postgres" or not members(given) or not timer or backup or given.planned("backup_joins"):
        return ""
    return (
        f"{given.host} has {BACKUP_TIMER} without the settings of a backup: the backup of one host was turned off, and {given.host} makes none as a member of "
        f"the cluster. Run backup.yml. If you want no backups, remove /etc/systemd/system/{BACKUP_TIMER} there."
    )


def all_members_have_the_backup(given: RoleSettings) -> str:
    """A member that joins a cluster with backups in a folder, or gets a new copy of the data, has the backup of the cluster."""
    if given.role != "postgres" or given.planned("backup_joins") or given.stack_of("backup") or backup_was_turned_off(given):
        return ""
    others = [str(member["name"]) for member in members(given) if given.stack_of("backup", str(member["name"])).get("of_cluster")]
    if not others:
        return ""
    return (
        f"{given.host} has no settings of a backup, and those of the cluster are on {', '.join(others)}: {given.host} makes none if it is its turn. "
        "Run backup.yml after this playbook."
    )


def _own_cluster(given: RoleSettings) -> Mapping[str, Any]:
    """Return the cluster that Debian's unit runs on a host, empty if there is none or if Patroni has taken it over."""
    found = [cluster for cluster in given.facts.get("postgres_clusters") or [] if cluster["name"] == "main" and cluster["version"] == _version(given)]
    return next((cluster for cluster in found if cluster.get("start") != "disabled" and not _seen(given, given.host)), {})


def _version(given: RoleSettings) -> str:
    """Return the wanted major version."""
    return major_version(given.variable("postgres_version"), given.facts)


def replication_passwords_are_long(given: RoleSettings) -> str:
    """The passwords with which the members of a cluster log in to each other are long."""
    if not members(given):
        return ""
    return length_fault(given, "postgres_replication_password") or length_fault(given, "postgres_rewind_password")


def required_watchdog_is_there(given: RoleSettings) -> str:
    """A member that must have a watchdog has one: without it, Patroni ends a primary, and makes no other one."""
    if not members(given) or given.text("postgres_watchdog") != "required" or given.facts.get("watchdog", True):
        return ""
    return (
        f"postgres_watchdog is required, and {given.host} has no /dev/watchdog: Patroni would not let it be the primary. Load the driver of one on each "
        "member, such as softdog (`modprobe softdog`, and its name in a file in /etc/modules-load.d), or set postgres_watchdog to automatic."
    )


def patroni_port_is_free(given: RoleSettings) -> str:
    """Nothing else has the port of Patroni's API."""
    return _cluster_port_fault(given, ("postgres_patroni_port",), "patroni.service")


def etcd_ports_are_free(given: RoleSettings) -> str:
    """Nothing else has the ports of etcd."""
    return _cluster_port_fault(given, ("etcd_client_port", "etcd_peer_port"), "etcd.service")


def etcd_stays_where_it_is_called(given: RoleSettings) -> str:
    """A member of etcd keeps the address and the port that the others call: they would lose it, and after the second one they have no majority."""
    own = next((member for member in members(given) if member["name"] == given.host), None)
    entry = next((entry for entry in _present(given) if own and is_of(entry, own)), None)
    if not own or not entry or given.host in _leaving(given):
        return ""
    called, port = urlsplit(entry["url"]), given.number("etcd_peer_port")
    if called.port != port:
        return (
            f"etcd_peer_port is {port}, and the members of the cluster call {given.host} at {entry['url']}. With another port, they would lose each other, and "
            f"the cluster its majority. Set etcd_peer_port to {called.port}."
        )
    if not network_of(called.hostname or "") or called.hostname == str(own["ip"]):
        return ""
    return (
        f"The address of {given.host} is {own['ip']}, and the members of the cluster call it at {entry['url']}. With other addresses, they would lose each "
        f"other, and the cluster its majority. Set atlas_mlflow_address of {given.host} to {called.hostname}. If the host no longer has that address, make "
        f"this the change of one host at a time, by replace_postgres_member.yml -e postgres_member={given.host}."
    )


def etcd_keeps_its_client_port(given: RoleSettings) -> str:
    """A running etcd keeps the port for its clients: Patroni would lose etcd on one member after the other, and with it the primary."""
    if not members(given):
        return ""
    port = given.number("etcd_client_port")
    seen = client_port((given.facts.get("etcd") or {}).get("command") or [])
    if seen in (0, port):
        return ""
    return (
        f"etcd_client_port is {port}, and the etcd that runs on {given.host} serves Patroni at {seen}. With another port, Patroni would lose etcd on one "
        f"member after the other, and the cluster its primary. Set etcd_client_port to {seen}."
    )


def _cluster_port_fault(given: RoleSettings, names: Sequence[str], unit: str) -> str:
    """Return what is wrong with ports of the cluster on a host, or an empty text."""
    address = next((str(member["ip"]) for member in members(given) if member["name"] == given.host), "")
    for name in names:
        port = given.number(name)
        if fault := port_fault(name, port):
            return fault
        if address and (taken := port_conflicts(given.facts.get("listeners") or [], address, port, [unit])):
            return f"{name} is {port}, and {'; '.join(taken)}. Stop that process, or set another port."
    return ""


def quorum(given: RoleSettings) -> str:
    """Return how many losses a cluster survives, for the report of a run. Empty without a cluster."""
    count = len(members(given))
    if not count:
        return ""
    needed = majority(count)
    return f"The cluster has {count} members and works while {needed} of them do: it survives the loss of {count - needed}."
