# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for PostgreSQL: versions, connections, databases, and an upgrade to another major version."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.common.text.formatters import bytes_to_human
from ansible.module_utils.compat.version import LooseVersion
from ansible_collections.atlas.mlflow.plugins.module_utils.images import build_secrets
from ansible_collections.atlas.mlflow.plugins.plugin_utils.connections import DEFAULT, RESERVED, max_connections, pooled_connections
from ansible_collections.atlas.mlflow.plugins.plugin_utils.postgres import clusters, major_version
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.cluster import quorum
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.keys import LENGTH
from ansible_collections.atlas.mlflow.plugins.plugin_utils.secrets import second_user
from ansible_collections.atlas.mlflow.plugins.plugin_utils.stores import server_logins

#: Names of databases and users, as they can stand in pg_hba.conf.
NAME = "^[A-Za-z_][A-Za-z0-9_-]*$"
#: The name of the owner, which may be an account of a directory.
OWNER = "^[A-Za-z_][A-Za-z0-9_@.-]*$"
#: Users of PostgreSQL and of this collection, and words of pg_hba.conf and SQL.
RESERVED_USERS = ("postgres", "atlas_metrics", "atlas_replication", "atlas_rewind", "all", "none", "public")
#: The section of the documentation, in the collection, with the steps to another major version of PostgreSQL in a container.
IMAGE_STEPS = "docs/install/containers.md (Update images)"
#: Databases of PostgreSQL, and words of pg_hba.conf.
RESERVED_DATABASES = ("postgres", "template0", "template1", "all", "sameuser", "samerole", "samegroup", "replication")


def version_of(given: RoleSettings) -> str:
    """Return the wanted major version, empty if it is not known."""
    return major_version(given.text("postgres_version"), given.facts)


def former(given: RoleSettings) -> Mapping[str, Any]:
    """Return the cluster whose data the wanted version does not have, empty if there is none."""
    found: Mapping[str, Any] = clusters(given.facts, version_of(given))["former"]
    return found


def own_clusters(given: RoleSettings) -> list[Mapping[str, Any]]:
    """Return the clusters of the host that may belong to this role."""
    return [cluster for cluster in given.facts.get("postgres_clusters") or [] if cluster["name"] == "main"]


def more_databases(given: RoleSettings) -> list[str]:
    """Return the additional databases of the owner: that of MLflow's users, and those of the inventory."""
    return list(dict.fromkeys(str(name) for name in [*(given.planned("postgres_more_databases") or []), *given.items("postgres_more_databases")]))


def connections_are_enough(given: RoleSettings) -> str:
    """A max_connections that the user sets is enough for the workers of all tracking servers."""
    most, wanted = given.table("postgres_settings").get("max_connections"), server_connections(given)
    if most is None or _whole(most) >= wanted + RESERVED:
        return ""
    if given.flag("postgres_pgbouncer"):
        return (
            f"postgres_settings has max_connections {most}, of which PostgreSQL keeps 3, and PgBouncer may open {wanted}. Raise it, or set a smaller "
            "postgres_pgbouncer_pool_size."
        )
    return (
        f"postgres_settings has max_connections {most}, of which PostgreSQL keeps 3, and the workers of all tracking servers may open {wanted}. Raise it, "
        "run fewer workers (mlflow_server_workers), or set smaller pools in mlflow_server_environment (MLFLOW_SQLALCHEMYSTORE_POOL_SIZE, 5 by default, and "
        "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW, 10)."
    )


def server_connections(given: RoleSettings) -> int:
    """Return how many connections PostgreSQL itself may get: those of all workers, or of PgBouncer in their place."""
    wanted = given.number("postgres_connections")
    if not given.flag("postgres_pgbouncer"):
        return wanted
    return pooled_connections(wanted, given.number("postgres_pgbouncer_pool_size"), 1 + len(more_databases(given)))


def _whole(value: Any) -> int:
    """Return a value as a whole number, 0 if it is not one."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0


def connections(given: RoleSettings) -> str:
    """Return the number of possible connections, for the report of a run."""
    wanted = given.number("postgres_connections")
    most = given.table("postgres_settings").get("max_connections") or max_connections(wanted) or DEFAULT
    pooled = f", for which PgBouncer opens {server_connections(given)} at most" if given.flag("postgres_pgbouncer") else ""
    return f"The workers of all tracking servers may open {wanted} connections{pooled}, and max_connections is {most}. {quorum(given)}".rstrip()


def no_upgrade_was_cut_short(given: RoleSettings) -> str:
    """No upgrade is unfinished on the host."""
    noted = given.stack.get("upgrade") or any(cluster["upgrade"] for cluster in own_clusters(given))
    if given.switch("_postgres_upgrading") or not noted:
        return ""
    return "An upgrade of this host's PostgreSQL was cut short. Run upgrade_postgres.yml again, with the inventory that it was begun with."


def no_restore_was_interrupted(given: RoleSettings) -> str:
    """No restore is unfinished on the host."""
    record = given.facts.get("postgres_restoring")
    if not record:
        return ""
    return (
        f"A restore of this host's PostgreSQL to {record['to']} was interrupted, and its data may be incomplete. Run restore.yml again, with backup_restore_to "
        f"set to {record['to']} or to another point. If PostgreSQL has been repaired in another way, remove /etc/atlas-mlflow/restoring.json on the host."
    )


def data_are_of_this_role(given: RoleSettings) -> str:
    """On Enterprise Linux, the data are not somebody else's: its package creates none, and the role would replace who may log in (pg_hba.conf)."""
    foreign = [cluster for cluster in own_clusters(given) if not cluster["ours"]]
    if given.facts.get("os_family") != "RedHat" or given.in_container or not foreign or given.flag("postgres_allow_data_change"):
        return ""
    return (
        f"{foreign[0]['data']} has data of PostgreSQL that this role has not made, and would get its settings and its pg_hba.conf. Use that database by "
        "mlflow_server_backend_store_uri and leave the host out of the group postgres, or move the folder away. If the role may take it over, set "
        "postgres_allow_data_change to true for one run."
    )


def data_are_of_the_version(given: RoleSettings) -> str:
    """No empty database is set up next to the data of another version."""
    if given.switch("_postgres_upgrading") or given.in_container or not former(given) or former(given)["upgrade"]:
        return ""
    version = former(given)["version"]
    if given.facts.get("os_family") == "RedHat":
        return (
            f"postgres_version is {version_of(given)}, and the data in {former(given)['data']} are those of PostgreSQL {version}. Upgrade them as the "
            f'documentation of the host\'s system says (postgresql-setup --upgrade), or set postgres_version to "{version}".'
        )
    return (
        f"postgres_version is {version_of(given)}, and the data are those of PostgreSQL {version}: an empty database would be set up beside them. Run "
        f'upgrade_postgres.yml, which takes them along, or set postgres_version to "{version}".'
    )


def version_is_known(given: RoleSettings) -> str:
    """The major version of the packages is known."""
    if given.in_container or version_of(given):
        return ""
    release = given.facts.get("distribution_release", "")
    return f"postgres_version is empty and {release} is not known to this role: set postgres_version to the major version that its packages carry."


def key_of_pgdg_comes_without_a_password(given: RoleSettings) -> str:
    """Nobody sees the password of the proxy by which the key of PGDG is downloaded: Ansible's own module takes it by a command line."""
    name, key = "postgres_download_environment", given.text("postgres_pgdg_key_url")
    if given.in_container or given.text("postgres_repository") != "pgdg" or "://" not in key or given.variable("atlas_mlflow_bundle"):
        return ""
    having = [variable for variable, value in given.table(name).items() if build_secrets({variable: value})]
    if not having:
        return ""
    return (
        f"{name} has a password in {', '.join(having)}, and postgres_pgdg_key_url is a URL: the list of processes would show the password while the key is "
        "downloaded. Copy the key to the hosts by other means, such as /etc/apt/keyrings/postgresql.asc, and set postgres_pgdg_key_url to its path."
    )


def pgdg_needs_a_version(given: RoleSettings) -> str:
    """A version is chosen for a repository that has several."""
    if given.text("postgres_repository") != "pgdg" or given.text("postgres_version"):
        return ""
    return 'postgres_repository is pgdg, which carries several versions. Set postgres_version to the one you want, such as "17".'


def databases_have_names_of_their_own(given: RoleSettings) -> str:
    """All databases have different names."""
    names = [given.text("postgres_database"), *more_databases(given)]
    names += [str(name) for user in given.items("postgres_users") for name in user.get("databases") or []]
    if all(re.match(NAME, name) for name in names) and len(set(names)) == len(names):
        return ""
    return (
        f"postgres_database, postgres_more_databases and the databases of postgres_users are {', '.join(names)}. Give each database a name of its own, of "
        "letters, digits, underscores and hyphens."
    )


def databases_are_no_system_s(given: RoleSettings) -> str:
    """No database is one of PostgreSQL's own, to which the role would let its users in, and whose owner it would change."""
    named = {
        "postgres_database": [given.text("postgres_database")],
        "postgres_more_databases": more_databases(given),
        "postgres_users": [str(name) for user in given.items("postgres_users") for name in user.get("databases") or []],
    }
    wrong = [f"{setting} has {name}" for setting, names in named.items() for name in names if name.lower() in RESERVED_DATABASES]
    if not wrong:
        return ""
    return f"{', '.join(wrong)}, a database of PostgreSQL itself or a word of pg_hba.conf. Give the database another name than {', '.join(RESERVED_DATABASES)}."


def _taken(given: RoleSettings) -> list[str]:
    """Return the names of users that no further user may have, without that of the owner."""
    return sorted({*RESERVED_USERS, given.text("postgres_metrics_user")} - {""})


def owner_has_a_name_of_its_own(given: RoleSettings) -> str:
    """The owner of the databases is no other user: the role takes the rights of a superuser from it."""
    name = given.text("postgres_user")
    if re.match(OWNER, name) and name.lower() not in _taken(given) and not name.startswith("pg_"):
        return ""
    return (
        f"postgres_user is {name or 'empty'}. Give the owner of the databases a name of its own, of letters, digits and the signs _ - . @, that begins with "
        f"a letter, and not with pg_, and is not one of {', '.join(_taken(given))}."
    )


def owner_keeps_its_tables(given: RoleSettings) -> str:
    """The owner of the databases is the one to whom the tables in them belong: another owner of a database has no right to its tables."""
    owner = given.text("postgres_user")
    logins = server_logins(given.hostvars, given.groups, "backend", given.text("postgres_database"))
    others = {host: login for host, login in logins.items() if login not in (owner, second_user(owner))}
    if given.flag("postgres_allow_data_change") or not others:
        return ""
    host, former = next(iter(others.items()))
    return (
        f"postgres_user is {owner}, and the tables belong to {former}, the login of the tracking server on {host}: {owner} could not read them. Set "
        f'postgres_user to {former}. If the owner is to have another name, rename it in PostgreSQL (ALTER ROLE "{former}" RENAME TO "{owner}"), and set '
        "postgres_allow_data_change to true for one run."
    )


def users_have_names_of_their_own(given: RoleSettings) -> str:
    """All users have different names, and none has the name of a user of this collection."""
    names = [str(user["name"]) for user in given.items("postgres_users")]
    taken = {*_taken(given), given.text("postgres_user"), second_user(given.text("postgres_user"))}
    wrong = [name for name in names if not re.match(NAME, name) or names.count(name) > 1 or name in taken or name.startswith("pg_")]
    if not wrong:
        return ""
    return (
        f"postgres_users has {', '.join(sorted(set(wrong)))}. Give each user a name of its own, of letters, digits, underscores and hyphens, and not one of "
        f"{', '.join(sorted(taken))}."
    )


def user_passwords_are_long(given: RoleSettings) -> str:
    """The passwords of further users are long."""
    short = [str(user["name"]) for user in given.items("postgres_users") if len(str(user["password"])) < LENGTH]
    return f"The password of {', '.join(short)} in postgres_users has fewer than {LENGTH} characters. Set a longer one." if short else ""


def users_have_clients_with_addresses(given: RoleSettings) -> str:
    """The clients of further users are addresses or networks, or names."""
    clients = [str(client) for user in given.items("postgres_users") for client in user.get("clients") or []]
    wrong = [client for client in clients if not re.match(r"^[A-Za-z0-9][A-Za-z0-9.:/_-]*$", client)]
    return f"The clients of postgres_users have {', '.join(wrong)}. Give addresses or networks, such as 10.0.0.7 or 10.0.0.0/24." if wrong else ""


def upgrade_is_not_of_an_image(given: RoleSettings) -> str:
    """An upgrade is not for a container: an image has the programs of one major version only."""
    if not given.in_container:
        return ""
    return (
        f"postgres_deployment is {given.deployment}, and an image holds the programs of one major version, where an upgrade takes those of two. Dump the "
        f"databases and load them into a new volume by the steps in {IMAGE_STEPS} of the collection."
    )


def upgrade_has_something_to_upgrade(given: RoleSettings) -> str:
    """The host has a cluster to upgrade."""
    if given.in_container or own_clusters(given) or given.stack.get("members"):
        return ""
    return "The host has no PostgreSQL to upgrade. Run site.yml, which sets it up."


def upgrade_leads_to_a_newer_version(given: RoleSettings) -> str:
    """An upgrade leads to a newer version: an older one cannot read the data."""
    if not former(given) or LooseVersion(version_of(given)) > LooseVersion(str(former(given)["version"])):
        return ""
    version = former(given)["version"]
    return (
        f"postgres_version is {version_of(given)}, and the host has PostgreSQL {version}, whose data an older version cannot read. Set postgres_version to "
        f"{version} or newer."
    )


def upgrade_has_the_former_programs(given: RoleSettings) -> str:
    """The former version is installed, because its programs read the data."""
    if not former(given) or f"postgresql-{former(given)['version']}" in (given.facts.get("packages") or {}):
        return ""
    return f"The package postgresql-{former(given)['version']} is not installed, and its programs read the data that are to be taken along. Install it."


def upgrade_has_the_new_programs(given: RoleSettings) -> str:
    """The wanted version can be installed. The repository of the PostgreSQL project is added later."""
    offered = given.variable("__postgres_offered", {}) or {}
    if not former(given) or given.text("postgres_repository") == "pgdg" or not offered.get("rc"):
        return ""
    said = (str(offered.get("stderr") or "").strip().splitlines() or ["apt-get said nothing"])[-1]
    return (
        f"The package postgresql-{version_of(given)} cannot be installed on {given.host} ({said}). Set postgres_version to a version that the distribution "
        "has, or set postgres_repository to pgdg."
    )


def upgrade_overwrites_nothing(given: RoleSettings) -> str:
    """The wanted version has no data that the playbook did not create."""
    if former(given).get("upgrade") or not ((given.variable("__postgres_leftover", {}) or {}).get("stat") or {}).get("exists"):
        return ""
    return f"/var/lib/postgresql/{version_of(given)}/main has data already that this playbook has not made. Move them away."


def upgrade_has_room(given: RoleSettings) -> str:
    """There is space for a copy and a dump of the data. A dump is compressed and has no indexes."""
    size = _counted(given, "__postgres_measured", 0)
    # An interrupted upgrade needs no more space: its copy is removed or kept.
    needed = 0 if former(given).get("upgrade") else int(size * 1.5)
    free = _counted(given, "__postgres_left", -1)
    if needed <= free:
        return ""
    return (
        f"The data of PostgreSQL {former(given).get('version', '')} take {bytes_to_human(size)}, and a copy and a dump of them {bytes_to_human(needed)} at "
        f"most, where /var/lib/postgresql has {bytes_to_human(free)} left. Make room."
    )


def _counted(given: RoleSettings, name: str, field: int) -> int:
    """Return a number in the output of a command, 0 if the command did not run."""
    words = str((given.variable(name, {}) or {}).get("stdout") or "0").split()
    return _whole(words[field])
