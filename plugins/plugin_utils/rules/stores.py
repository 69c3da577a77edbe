# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the stores of a tracking server: database, artifacts, and the folders on its host."""

from __future__ import annotations

import re

from ansible.module_utils.compat.version import LooseVersion
from ansible_collections.atlas.mlflow.plugins.module_utils.folders import COLLECTION, folder_faults
from ansible_collections.atlas.mlflow.plugins.module_utils.uris import ENCODED, not_encoded
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.releases import known_version, options_facts, read_options, shipped
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.users import has_users
from ansible_collections.atlas.mlflow.plugins.plugin_utils.server_options import find
from ansible_collections.atlas.mlflow.plugins.plugin_utils.stores import store_changes

#: The first release whose server offers downloads by links to S3.
DIRECT_SINCE = "3.15.0"
BACKEND, USERS, DESTINATION = "mlflow_server_backend_store_uri", "mlflow_server_auth_store_uri", "mlflow_server_artifacts_destination"
WORKSPACES_OPTION = "--enable-workspaces"
REPLICA, REPLICA_OPTION = "mlflow_server_read_replica_store_uri", "--read-replica-backend-store-uri"
ENDPOINT = "mlflow_server_s3_endpoint_url"


def is_sqlite(uri: str) -> bool:
    """Return whether a database is a file."""
    return uri.startswith("sqlite:")


def on_s3(given: RoleSettings) -> bool:
    """Return whether artifacts are in a bucket."""
    return given.text(DESTINATION).startswith("s3://")


def servers(given: RoleSettings) -> int:
    """Return how many tracking servers the inventory has."""
    return len(given.groups.get("mlflow_servers") or [])


def no_store_is_left(given: RoleSettings) -> str:
    """The tracking server keeps its stores."""
    if given.flag("mlflow_server_allow_store_change") or not given.stack:
        return ""
    wanted = {
        "backend": given.text(BACKEND),
        "registry": str(given.table("mlflow_server_environment").get("MLFLOW_REGISTRY_STORE_URI") or ""),
        "artifacts": given.text(DESTINATION),
        "endpoint": given.text(ENDPOINT),
        "users": given.text(USERS) if has_users(given) else "",
        "login": given.text("mlflow_server_auth"),
    }
    changes = store_changes(given.stack, wanted, given.hostvars, given.groups, given.host)
    if not changes:
        return ""
    seen = given.stack.get("seen")
    counted = f"the verification saw at {seen}" if seen else "no verification has counted it yet"
    return (
        f"The tracking server would leave {', and '.join(changes)}: nobody would see what is there any more ({counted}). If a group of the inventory is "
        "missing or misspelled (postgres, minio), or a variable of a store is not meant, correct it. If the move is meant, run playbooks/move_stores.yml, "
        "which takes the data of SQLite, of a folder and of a bucket along, or copy the data by other means and set mlflow_server_allow_store_change to true "
        "for one run."
    )


def folders_can_be_the_service_s(given: RoleSettings) -> str:
    """The folders that settings name can belong to the service."""
    reserved = {name: given.text(name) for name in ("mlflow_server_install_dir", "mlflow_server_uv_dir")} | COLLECTION
    places, scratch = given.variable("_mlflow_server_places"), given.variable("_mlflow_server_scratch_places")
    return " ".join(folder_faults(places, given.text("mlflow_server_os_user"), reserved, scratch))


def backend_names_its_driver(given: RoleSettings) -> str:
    """The URI names the driver for PostgreSQL."""
    if not re.match("postgres(ql)?:", given.text(BACKEND)):
        return ""
    return f"{BACKEND} names no driver, and which one SQLAlchemy takes then depends on its version. Start it with postgresql+psycopg2://."


def backend_is_a_database(given: RoleSettings) -> str:
    """The backend store is a database."""
    if re.match("(?!file:)[a-z0-9+]+://", given.text(BACKEND)):
        return ""
    return f"{BACKEND} is not a database URI. Set postgresql+psycopg2://USER:PASSWORD@HOST:PORT/DATABASE, or leave it out for SQLite in mlflow_server_data_dir."


def _without_password(uri: str) -> str:
    """Return a URI without its password."""
    return re.sub("(://[^:@/]*):[^@/]*@", r"\1@", uri)


def _password_fault(given: RoleSettings, name: str, uri: str) -> str:
    """Return what is wrong with the password in a database's URI, without any part of the URI; or an empty text."""
    # A database of the inventory has a password of its own.
    planned = [given.planned(store) for store in ("backend_store", "read_replica_store", "auth_store")]
    if re.match("[a-z0-9+]+://[^:@/]*:@", uri) and _without_password(uri) not in planned:
        return (
            f"{name} has an empty password (USER:@HOST). If the password comes from the environment of the control node or from a look-up, set it there, for "
            "each run. If the database asks for no password, write USER@HOST."
        )
    return f"{name} has a password that is not percent-encoded. In the URI, {ENCODED}." if not_encoded(uri) else ""


def backend_password_is_complete(given: RoleSettings) -> str:
    """The password in the URI is not empty, and is percent-encoded."""
    return _password_fault(given, BACKEND, given.text(BACKEND))


def users_password_is_complete(given: RoleSettings) -> str:
    """The password in the URI of the users' database is not empty, and is percent-encoded."""
    return _password_fault(given, USERS, given.text(USERS)) if has_users(given) else ""


def backend_is_shared(given: RoleSettings) -> str:
    """Several servers share their database."""
    if servers(given) < 2 or not is_sqlite(given.text(BACKEND)):
        return ""
    return (
        f"The group mlflow_servers has {servers(given)} hosts, and the backend store is SQLite, a file that they cannot share. Put a host in the group "
        f"postgres, or set {BACKEND}."
    )


def _option_fault(given: RoleSettings, seen: str, option: str) -> str:
    """Return what is wrong if the release lacks an option of `mlflow server`, or an empty text.

    :param seen: What needs the option, as a part of the sentence.
    """
    if find(options_facts(given).get("options") or [], option):
        return ""
    able = [release for release in shipped(given) if find(read_options(release)["options"], option)]
    return f"{seen}, and MLflow {known_version(given)} has no {option}. Leave it out, or set mlflow_server_version to {' or '.join(able)}."


def workspaces_are_known_to_the_release(given: RoleSettings) -> str:
    """The release has workspaces."""
    return _option_fault(given, "mlflow_server_workspaces is true", WORKSPACES_OPTION) if given.flag("mlflow_server_workspaces") else ""


def workspaces_are_not_left(given: RoleSettings) -> str:
    """Workspaces are not turned off unintentionally: MLflow does not start without them while they have something."""
    if not given.stack.get("workspaces") or given.flag("mlflow_server_workspaces") or given.flag("mlflow_server_allow_store_change"):
        return ""
    return (
        "mlflow_server_workspaces is false, and the tracking server has workspaces. MLflow does not start without them while experiments, models, prompts or "
        "webhooks are in another workspace than default. Set it to true. If they are to be turned off, remove the other workspaces "
        "(atlas.mlflow.mlflow_workspace with on_removal), and set mlflow_server_allow_store_change to true for one run."
    )


def proxies_pass_to_a_cluster(given: RoleSettings) -> str:
    """Proxies pass connections to PostgreSQL only if there are proxies, and a cluster behind them."""
    if given.text("mlflow_server_postgres_route") != "haproxy":
        return ""
    lacking = []
    if not given.groups.get("haproxy"):
        lacking.append("the group haproxy has no host")
    if len(given.groups.get("postgres") or []) < 2:
        lacking.append(f"the group postgres has {len(given.groups.get('postgres') or [])} host(s), of which none can take over")
    if lacking:
        return (
            f"mlflow_server_postgres_route is haproxy, and {' and '.join(lacking)}. Leave it out, or put hosts into the group haproxy, and 3, 5 or 7 into the "
            "group postgres."
        )
    if _without_password(given.text(BACKEND)) != given.planned("backend_store"):
        return f"mlflow_server_postgres_route is haproxy, and {BACKEND} is not the cluster of the group postgres. Leave one of the two out."
    return ""


def read_replicas_are_known_to_the_release(given: RoleSettings) -> str:
    """The release can read from replicas."""
    name = "mlflow_server_read_replicas" if given.flag("mlflow_server_read_replicas") else REPLICA if given.text(REPLICA) else ""
    return _option_fault(given, f"{name} is set", REPLICA_OPTION) if name else ""


def read_replicas_are_there(given: RoleSettings) -> str:
    """There are replicas to read from."""
    if not given.flag("mlflow_server_read_replicas") or given.text(REPLICA):
        return ""
    return (
        "mlflow_server_read_replicas is true, and the group postgres has no cluster with replicas. Leave it out, or put 3, 5 or 7 hosts there. For a "
        f"replica of your own database, set {REPLICA}."
    )


def read_replica_is_one_of_the_backend(given: RoleSettings) -> str:
    """The replica is a database over the network, and its URI can be read."""
    uri = given.text(REPLICA)
    if not uri:
        return ""
    if _without_password(uri) == given.planned("read_replica_store") and _without_password(given.text(BACKEND)) != given.planned("backend_store"):
        return (
            f"mlflow_server_read_replicas is true, and {BACKEND} is not the cluster of the group postgres, so its replicas have other data. Leave one of the "
            f"two out, or set {REPLICA} to a replica of {BACKEND}."
        )
    registry = str(given.table("mlflow_server_environment").get("MLFLOW_REGISTRY_STORE_URI") or "")
    if registry and registry != given.text(BACKEND):
        name = "mlflow_server_read_replicas" if given.flag("mlflow_server_read_replicas") else REPLICA
        return (
            f"{name} is set, and mlflow_server_environment has a MLFLOW_REGISTRY_STORE_URI: MLflow would read models from the replica too, which has none. "
            "Leave one of the two out."
        )
    if not re.match("(postgresql|mysql|mssql)[+][a-z0-9]+://", uri):
        return f"{REPLICA} is not a database URI that names its driver. Set postgresql+psycopg2://USER:PASSWORD@HOST:PORT/DATABASE, or leave it out."
    if uri == given.text(BACKEND):
        return f"{REPLICA} is {BACKEND}, which reads as well. Set the URI of a replica, or leave it out."
    if is_sqlite(given.text(BACKEND)):
        return f"{REPLICA} is set, and {BACKEND} is SQLite, which has no replicas. Set {BACKEND} to the primary of that database."
    return _password_fault(given, REPLICA, uri)


def users_database_names_its_driver(given: RoleSettings) -> str:
    """The users' database is a database, and its URI names the driver."""
    if not has_users(given) or re.match("(sqlite|postgresql[+][a-z0-9]+)://", given.text(USERS)):
        return ""
    return (
        f"{USERS} is not a database URI that names its driver. Set postgresql+psycopg2://USER:PASSWORD@HOST:PORT/DATABASE, or leave it out for SQLite in "
        "mlflow_server_data_dir."
    )


def users_have_a_database_of_their_own(given: RoleSettings) -> str:
    """The users' database differs from the backend store, because the names of tables are the same."""
    if not has_users(given) or given.text(USERS) != given.text(BACKEND):
        return ""
    return f"{USERS} is the backend store, whose tables clash with those of the users. Set the URI of a database of its own."


def users_database_is_shared(given: RoleSettings) -> str:
    """Several servers share the database of users."""
    if servers(given) < 2 or not has_users(given) or not is_sqlite(given.text(USERS)):
        return ""
    return (
        f"The group mlflow_servers has {servers(given)} hosts, and {USERS} is SQLite, a file that they cannot share. Put a host in the group postgres, or "
        f"set {USERS}."
    )


def artifacts_are_shared(given: RoleSettings) -> str:
    """Several servers share their artifacts."""
    if servers(given) < 2 or re.match("(?!file:)[a-z0-9+.-]+:", given.text(DESTINATION)):
        return ""
    return (
        f"The group mlflow_servers has {servers(given)} hosts, and {DESTINATION} is a folder of each. Put a host in the group minio, or set {DESTINATION} to "
        "s3://BUCKET."
    )


def endpoint_has_no_path(given: RoleSettings) -> str:
    """The S3 endpoint is a host with or without a port."""
    endpoint = given.text(ENDPOINT)
    if not on_s3(given) or not endpoint or re.match("https?://[^/]+$", endpoint):
        return ""
    return f"{ENDPOINT} is {endpoint}. Set http://HOST:PORT or https://HOST:PORT with no path: the bucket stands in {DESTINATION}."


def s3_keys_are_two(given: RoleSettings) -> str:
    """An account has both keys, or neither if the host has its own role."""
    if bool(given.text("mlflow_server_s3_access_key_id")) == bool(given.text("mlflow_server_s3_secret_access_key")):
        return ""
    return (
        "One of mlflow_server_s3_access_key_id and mlflow_server_s3_secret_access_key is set and the other is empty. Set both, or neither where the host "
        "has a role of its own."
    )


def is_direct(given: RoleSettings) -> bool:
    """Return whether the server sends clients to the S3 endpoint."""
    return given.text("mlflow_server_artifact_mode") != "proxied"


def direct_artifacts_are_on_s3(given: RoleSettings) -> str:
    """Direct artifacts are on S3, because only S3 has links."""
    if not is_direct(given) or on_s3(given):
        return ""
    return f"mlflow_server_artifact_mode is direct, and the artifact store is not S3. Set {DESTINATION} to s3://BUCKET."


def direct_artifacts_are_known_to_the_release(given: RoleSettings) -> str:
    """The release offers links to S3."""
    version = given.text("mlflow_server_version")
    if not is_direct(given) or given.text("mlflow_server_lock_file") or LooseVersion(version) >= LooseVersion(DIRECT_SINCE):
        return ""
    return (
        f"mlflow_server_artifact_mode is direct, and release {version} hands out no links to S3: it takes {DIRECT_SINCE} or newer. Set "
        "mlflow_server_version, or the mode proxied."
    )


def direct_artifacts_are_not_on_loopback(given: RoleSettings) -> str:
    """Clients can reach the S3 endpoint."""
    endpoint = given.text(ENDPOINT)
    if not is_direct(given) or not re.search("//(localhost|127[.])", endpoint):
        return ""
    return (
        f"mlflow_server_artifact_mode is direct, and {ENDPOINT} is {endpoint}, which leads each client to itself. Set a name or an address that the clients "
        "reach too."
    )
