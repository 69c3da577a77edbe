# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for backups: the repository, and the data to back up."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.folders import AWKWARD
from ansible_collections.atlas.mlflow.plugins.module_utils.served_stores import read_artifacts, read_database
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.tls import authority_fault
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology import backup_hosts
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.stack import BACKUP_TIMER

REPOSITORY, ENDPOINT = "backup_repository", "backup_repository_s3_endpoint_url"
ON_A_DISK = "such as /var/backups/atlas-mlflow"
#: What the backup of a host reaches, by the names in the fact about it.
WAYS = {
    "postgres": "PostgreSQL",
    "endpoint": "the bucket of the artifacts",
    "backend": "the backend store of the tracking server",
    "artifacts": "the artifact store of the tracking server",
}


def of_postgres(given: RoleSettings) -> bool:
    """Return whether a PostgreSQL of the inventory is backed up."""
    return given.number("backup_postgres_port") > 0


def to_s3(given: RoleSettings) -> bool:
    """Return whether the repository is a bucket."""
    return given.text(REPOSITORY).startswith("s3://")


def repository_stays(given: RoleSettings) -> str:
    """The repository is on a disk."""
    folder = given.text(REPOSITORY)
    if not re.match("/(tmp|run|var/tmp|var/run|dev/shm)(/|$)", folder):
        return ""
    return f"{REPOSITORY} is {folder}, which is emptied when the host starts. Set a folder on a disk, {ON_A_DISK}."


def repository_is_seen_by_postgres(given: RoleSettings) -> str:
    """PostgreSQL can access the repository."""
    folder = given.text(REPOSITORY)
    if not re.match("/(home|root)(/|$)", folder) or not of_postgres(given):
        return ""
    return f"{REPOSITORY} is {folder}, and PostgreSQL, which archives its log there, sees no home folder. Set a folder elsewhere, {ON_A_DISK}."


def repository_has_a_plain_name(given: RoleSettings) -> str:
    """The folder of the repository has a name that systemd and Docker take as it is."""
    folder = given.text(REPOSITORY)
    if to_s3(given) or not AWKWARD.search(folder) and not (of_postgres(given) and re.search(r"\s", folder)):
        return ""
    return (
        f"{REPOSITORY} is {folder}, which has a space or a character with a meaning of its own for systemd or Docker. Use letters, digits and the signs "
        f". _ - + @ = ~, {ON_A_DISK}."
    )


def repository_is_a_place(given: RoleSettings) -> str:
    """The repository is a folder or a bucket."""
    place = given.text(REPOSITORY)
    if re.match("/.+", place) or re.match(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._/-]*)?$", place):
        return ""
    return f"{REPOSITORY} is {place}. Set the absolute path of a folder, or s3://BUCKET/PREFIX."


def endpoint_has_tls(given: RoleSettings) -> str:
    """pgBackRest accesses S3 only with TLS."""
    endpoint = given.text(ENDPOINT)
    if not to_s3(given) or re.match("https://[^/]+$", endpoint):
        return ""
    return f"{ENDPOINT} is {endpoint or 'empty'}, and pgBackRest speaks to S3 by TLS alone. Set https://HOST:PORT with no path."


def repository_has_an_account(given: RoleSettings) -> str:
    """There is an account for the bucket."""
    names = ("backup_repository_s3_access_key_id", "backup_repository_s3_secret_access_key")
    if not to_s3(given) or all(given.text(name) for name in names):
        return ""
    return f"{' or '.join(names)} is empty. Set both, of an account that may read, write and delete in the bucket of {REPOSITORY}."


def endpoint_is_of_a_bucket(given: RoleSettings) -> str:
    """A folder has no endpoint."""
    endpoint = given.text(ENDPOINT)
    if to_s3(given) or not endpoint:
        return ""
    return f"{ENDPOINT} is {endpoint}, and {REPOSITORY} is the folder {given.text(REPOSITORY)}. Set {REPOSITORY} to s3://BUCKET/PREFIX, or remove the endpoint."


def members_share_the_bucket(given: RoleSettings) -> str:
    """All members of a cluster have the bucket of the first one, because any of them may make a backup."""
    first = next((str(member["name"]) for member in given.planned("postgres_members") or []), given.host)
    if given.hosts is None or not of_postgres(given) or first == given.host:
        return ""
    there = given.hosts(first)
    if not to_s3(given) and not there.text(REPOSITORY).startswith("s3://"):
        return ""
    for name in (REPOSITORY, ENDPOINT):
        own, other = (place.rstrip("/") for place in (given.text(name), there.text(name)))
        if own != other:
            shown = f"{name} is {own or 'empty'} on {given.host} and {other or 'empty'} on {first}"
            return f"{shown}, and any member of a cluster may make a backup. Set it for the group postgres."
    return ""


def repository_is_not_the_artifacts(given: RoleSettings) -> str:
    """The repository is in another bucket than the artifacts."""
    place = given.text(REPOSITORY)
    if not to_s3(given) or place.removeprefix("s3://").partition("/")[0] != given.text("backup_artifacts_bucket"):
        return ""
    return f"{REPOSITORY} is {place}, the bucket of the artifacts: what takes them takes their backup, too. Name another bucket."


def authority_is_a_file(given: RoleSettings) -> str:
    """The CA file for the bucket's host exists."""
    return authority_fault(given, "backup_repository_s3_authority")


def artifacts_authority_is_a_file(given: RoleSettings) -> str:
    """The CA file for the host of the artifacts exists."""
    return authority_fault(given, "backup_s3_authority")


def times_are_one_or_more(given: RoleSettings) -> str:
    """At least one full backup is made and kept."""
    every, keep = given.number("backup_full_every_days"), given.number("backup_keep_full")
    return "" if every > 0 and keep > 0 else f"backup_full_every_days is {every} and backup_keep_full is {keep}. Set each to 1 or more."


def database_is_of_the_inventory(given: RoleSettings) -> str:
    """The database is on a host of the inventory."""
    if of_postgres(given) or str(given.variable("mlflow_server_backend_store_uri", "sqlite:")).startswith("sqlite:"):
        return ""
    return "mlflow_server_backend_store_uri names a database that the inventory does not have in the group postgres. Back it up on its own host."


def bucket_is_named(given: RoleSettings) -> str:
    """The bucket of the artifacts is named, with its endpoint."""
    destination = str(given.variable("mlflow_server_artifacts_destination"))
    if given.text("backup_artifacts_bucket") or not destination.startswith("s3:"):
        return ""
    return (
        f"mlflow_server_artifacts_destination is {destination}, which the inventory does not have in the group minio. Set backup_artifacts_bucket, "
        "backup_s3_endpoint_url and the account's keys."
    )


def artifacts_endpoint_has_no_path(given: RoleSettings) -> str:
    """The endpoint of the artifacts is a host with or without a port."""
    endpoint = given.text("backup_s3_endpoint_url")
    if not given.text("backup_artifacts_bucket") or re.match("https?://[^/]+$", endpoint):
        return ""
    return f"backup_s3_endpoint_url is {endpoint}. Set http://HOST:PORT or https://HOST:PORT with no path."


def _ways(given: RoleSettings) -> dict[str, Any]:
    """Return how the backup of the host reaches the stores after this run, in the form of the fact about the present backup."""
    container = bool(given.planned("container_postgres"))
    wanted: dict[str, Any] = {"endpoint": str(given.variable("backup_s3_endpoint_url") or given.planned("backup_s3_endpoint_url"))}
    if given.planned("postgres_port"):
        places = [given.planned(name) if container else "" for name in ("postgres_container_name", "postgres_container_engine")]
        wanted["postgres"] = [str(5432 if container else given.planned("postgres_port")), *places]
    if given.host in (given.groups.get("mlflow_servers") or []):
        uri = str(given.variable("mlflow_server_backend_store_uri") or given.planned("backend_store"))
        destination = str(given.variable("mlflow_server_artifacts_destination") or given.planned("artifacts_destination"))
        wanted["backend"] = read_database(uri) if uri else {}
        wanted["artifacts"] = (
            read_artifacts(destination, str(given.variable("mlflow_server_s3_endpoint_url") or given.planned("s3_endpoint_url"))) if destination else {}
        )
    return wanted


def backup_reaches_the_stores(given: RoleSettings) -> str:
    """The backup, which backup.yml sets up, finds the stores where this run leaves them."""
    there = given.stack_of("backup").get("reaches") or {}
    role = "postgres" if given.host in (given.groups.get("postgres") or []) else "mlflow_server"
    if given.role != role or not there or given.planned("backup_joins"):
        return ""
    wanted = _ways(given)
    moved = [words for name, words in WAYS.items() if there.get(name) and wanted.get(name) and there[name] != wanted[name]]
    if not moved:
        return ""
    return (
        f"The backup on {given.host} was set up with another way to {' and to '.join(moved)} than this run leaves, and may fail. Run backup.yml afterwards, "
        "which sets it up again."
    )


def further_databases_have_another_backup(given: RoleSettings) -> str:
    """The backup of a cluster takes dumps of the databases of MLflow alone. The first member reports it."""
    members = given.planned("postgres_members") or []
    if given.role != "backup" or not members or members[0]["name"] != given.host:
        return ""
    taken = given.planned("postgres_more_databases") or []
    names = [str(name) for name in given.variable("postgres_more_databases", []) if name not in taken]
    names += [str(name) for user in given.variable("postgres_users", []) for name in user.get("databases") or []]
    if not names:
        return ""
    return (
        f"The backup of a cluster takes only the databases of MLflow, and not {', '.join(names)} (postgres_more_databases, postgres_users). Back these up by "
        "other means, such as pg_dump on a replica."
    )


def minio_is_reached(given: RoleSettings) -> str:
    """MinIO listens on more than loopback if the backup runs on another host."""
    host = given.planned("minio_host")
    if host in ("", given.host):
        return ""
    if given.planned("minio_listen_address") != "127.0.0.1":
        return ""
    return (
        f"minio_listen_address is 127.0.0.1 on {host}, and the backup is made on {given.host}, where the database is. Set minio_listen_address to the "
        "address of MinIO's host."
    )


def database_has_moved(given: RoleSettings) -> str:
    """A host that no longer has the database makes no backups of it. The first host that makes the backups tells."""
    former = given.planned("former_backup_hosts")
    if not former or given.role != ("postgres" if given.groups.get("postgres") else "mlflow_server") or given.host != backup_hosts(given.groups)[0]:
        return ""
    return (
        f"{', '.join(former)} still {'has' if len(former) == 1 else 'have'} {BACKUP_TIMER}, but the database is on {given.host} now: what is backed up there "
        f"is the former one. Run backup.yml, which sets up the backup on {given.host} and then stops the former one. If you want no backups, stop "
        f"{BACKUP_TIMER} there, and remove it from /etc/systemd/system."
    )
