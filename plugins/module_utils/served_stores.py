# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stores that a tracking server really uses, read from the settings of its service, and what a backup includes of them.

The backup's program runs a copy of this file on its host, so the file needs only Python. Results contain no user name and no password.
"""

from __future__ import annotations

import configparser
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

#: The settings of a unit and of a container. A move between the two removes the former settings.
UNIT_SETTINGS = "/etc/default/mlflow-server"
CONTAINER_SETTINGS = "/etc/atlas-mlflow/mlflow-server.json"
#: The path in a container of the host's folder /etc/atlas-mlflow.
INSIDE, OUTSIDE = "/run/secrets/", "/etc/atlas-mlflow/"

#: The stores that are databases, with their names for people.
DATABASES = {"backend": "backend store", "registry": "registry store", "users": "store of users"}
#: The variable for each of these stores.
VARIABLES = {
    "backend": "mlflow_server_backend_store_uri",
    "registry": "MLFLOW_REGISTRY_STORE_URI in mlflow_server_environment",
    "users": "mlflow_server_auth_store_uri",
}
LOOPBACK = ("localhost", "127.0.0.1", "::1")

_LINE = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"')
# As SQLAlchemy reads it. Other texts with an @ may contain a part of a password.
_URI = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?:[^:/@]*(?::[^@]*)?@)?"
    r"(?:\[(?P<ipv6>[^\]@]*)\]|(?P<host>[^/:?@]*))(?::(?P<port>\d*))?(?:/(?P<database>[^?@]*))?(?:\?(?P<query>.*))?"
)

Store = dict[str, Any]


def read_unit_settings(text: str) -> dict[str, str]:
    """Return the variables in a file that the role wrote for a unit's ``EnvironmentFile=``."""
    found = (_LINE.fullmatch(line.strip()) for line in text.splitlines())
    return {match[1]: re.sub(r"\\(.)", r"\1", match[2]) for match in found if match}


def read_database(uri: str) -> Store:
    """Return the store in a database's URI, without the user and the password."""
    match = _URI.fullmatch(uri)
    scheme = uri.partition("://")[0]
    if not match:
        return {"kind": "other", "what": f"{scheme}://..."}
    if scheme.partition("+")[0] == "sqlite":
        return {"kind": "sqlite", "path": uri.partition(":///")[2].partition("?")[0]}
    query = parse_qs(match["query"] or "")
    host = ",".join(query.get("host", [match["ipv6"] or match["host"] or ""]))
    port = ",".join(query.get("port", [match["port"] or "5432"]))
    database = ",".join(query.get("dbname", [match["database"] or ""]))
    if scheme.partition("+")[0] not in ("postgresql", "postgres"):
        return {"kind": "other", "what": f"{scheme}://{host}/{database}"}
    return {"kind": "postgresql", "host": host, "port": port, "database": database}


def read_artifacts(destination: str, endpoint: str) -> Store:
    """Return the store in an artifact destination."""
    plain = destination.removeprefix("proxied-").removeprefix("file://")
    if plain.startswith("/"):
        return {"kind": "folder", "path": plain.rstrip("/")}
    if plain.startswith("s3://"):
        return {"kind": "s3", "place": plain.removeprefix("s3://").strip("/"), "endpoint": endpoint}
    return {"kind": "other", "what": plain}


def read_stores(environment: Mapping[str, Any], users: str = "") -> dict[str, Store]:
    """Return a service's stores by their purpose: backend, registry, users, artifacts.

    :param environment: The service's environment.
    :param users: The text of the file that the login app reads, empty if the service has no users.
    """
    backend = str(environment["MLFLOW_BACKEND_STORE_URI"])
    stores = {"backend": read_database(backend)}
    registry = str(environment.get("MLFLOW_REGISTRY_STORE_URI") or backend)
    if read_database(registry) != stores["backend"]:
        stores["registry"] = read_database(registry)
    if users:
        parser = configparser.ConfigParser()
        parser.read_string(users)
        stores["users"] = read_database(parser["mlflow"]["database_uri"])
    stores["artifacts"] = read_artifacts(str(environment.get("MLFLOW_ARTIFACTS_DESTINATION") or ""), str(environment.get("MLFLOW_S3_ENDPOINT_URL") or ""))
    return stores


def read_host(root: Path = Path("/")) -> dict[str, Store] | None:
    """Return the stores of this host's tracking server, None if the host has no tracking server.

    :param root: The folder that replaces the host's root.
    """
    found = [path for path in (root / name.lstrip("/") for name in (UNIT_SETTINGS, CONTAINER_SETTINGS)) if path.exists()]
    if not found:
        return None
    newest = max(found, key=lambda path: path.stat().st_mtime_ns)
    text = newest.read_text(encoding="utf-8")
    environment: Mapping[str, Any] = json.loads(text) if newest.suffix == ".json" else read_unit_settings(text)
    config = str(environment.get("MLFLOW_AUTH_CONFIG_PATH") or "")
    if config.startswith(INSIDE):
        config = OUTSIDE + config.removeprefix(INSIDE)
    return read_stores(environment, (root / config.lstrip("/")).read_text(encoding="utf-8") if config else "")


def lies_in(place: str, folder: str) -> bool:
    """Return whether a place is a folder or is below it."""
    return place == folder or place.startswith(folder.rstrip("/") + "/")


@dataclass(frozen=True)
class Here:
    """What the backup's host has, and can reach.

    :param name: The host's name in the inventory.
    :param addresses: The host's names and addresses, the name of PostgreSQL's container, and the addresses of the members of a cluster.
    :param postgres_ports: The ports of the host's PostgreSQL, empty if it has none.
    :param bucket: The bucket with a prefix that is backed up, empty for a folder.
    :param endpoint: The endpoint through which this host reaches the bucket.
    :param minio: The host of the inventory's MinIO with its names and addresses, and the name of its container.
    :param elsewhere: Beginnings of places whose artifacts are backed up by other means.
    """

    name: str
    addresses: Sequence[str] = ()
    postgres_ports: Sequence[str] = ()
    bucket: str = ""
    endpoint: str = ""
    minio: Sequence[str] = ()
    elsewhere: Sequence[str] = ()


@dataclass
class Plan:
    """What a backup includes, and what it cannot include.

    :param databases: Databases of the host's PostgreSQL, by their purpose.
    :param files: Files of SQLite, by their purpose.
    :param folder: The folder of the artifacts, empty if they are in a bucket.
    :param faults: Data that are not included, each with the fix.
    """

    databases: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    folder: str = ""
    faults: list[str] = field(default_factory=list)


def make_plan(servers: Mapping[str, Mapping[str, Store] | None], here: Here) -> Plan:
    """Return what a backup includes of the stores that the tracking servers use.

    :param servers: The stores of each tracking server's host, None for a host without a tracking server.
    :param here: The stores and addresses of the backup's host.
    """
    plan = Plan()
    for server, stores in servers.items():
        if stores is None:
            plan.faults.append(f"{server} has no settings of a tracking server, so what it stores is not known. Run site.yml first.")
            continue
        for role in DATABASES:
            if role in stores:
                _add_database(plan, here, server, role, stores[role])
        _add_artifacts(plan, here, server, stores["artifacts"])
    plan.faults = list(dict.fromkeys(plan.faults))
    return plan


def _add_database(plan: Plan, here: Here, server: str, role: str, store: Store) -> None:
    what = f"The {DATABASES[role]} of {server}"
    out = f"Set {VARIABLES[role]} to a database that is, or leave it out."
    if store["kind"] == "sqlite":
        path = store["path"]
        if not path.startswith("/"):
            plan.faults.append(f"{what} is SQLite at {path or 'no path'}, which is no absolute path of a file, so it is not backed up. {out}")
        elif server != here.name:
            plan.faults.append(f"{what} is the file {path} of that host, and is not backed up: the backup is made on {here.name}. {out}")
        else:
            plan.files[role] = path
    elif store["kind"] == "postgresql":
        database = store["database"]
        if not _is_postgres_here(here, server, store):
            plan.faults.append(
                f"{what} is the database {database} at {store['host'] or 'no host'}:{store['port']}, which is not the PostgreSQL of {here.name} "
                f"({', '.join(here.addresses) or 'no address'}, port {', '.join(here.postgres_ports) or 'none'}), so it is not backed up. "
                f"Put its host in the group postgres, or set {VARIABLES[role]} to that PostgreSQL."
            )
        elif plan.databases.setdefault(role, database) != database:
            plan.faults.append(f"{what} is the database {database}, and another server's is {plan.databases[role]}. Set {VARIABLES[role]} alike.")
    else:
        plan.faults.append(f"{what} is {store['what']}, neither SQLite nor PostgreSQL, so it is not backed up. {out}")


def _is_postgres_here(here: Here, server: str, store: Store) -> bool:
    # A cluster has several hosts, with one port for all or a port for each.
    if not here.postgres_ports or not all(port in here.postgres_ports for port in store["port"].split(",")):
        return False
    return (
        all(host in here.addresses for host in store["host"].split(",")) or server == here.name and (store["host"] in LOOPBACK or store["host"].startswith("/"))
    )


def _add_artifacts(plan: Plan, here: Here, server: str, store: Store) -> None:
    what = f"The artifacts of {server}"
    if store["kind"] == "folder":
        if server != here.name:
            plan.faults.append(
                f"{what} are in the folder {store['path']} of that host, and are not backed up: the backup is made on {here.name}. "
                "Put a host in the group minio, or set mlflow_server_artifacts_destination to s3://BUCKET."
            )
        elif here.bucket:
            plan.faults.append(
                f"{what} are in the folder {store['path']}, and the backup takes the bucket {here.bucket}. Leave backup_artifacts_bucket out, and the group "
                "minio if nothing is in it, or set mlflow_server_artifacts_destination to that bucket."
            )
        else:
            plan.folder = store["path"]
    elif store["kind"] == "s3":
        if not here.bucket or not lies_in(store["place"], here.bucket):
            plan.faults.append(
                f"{what} are in s3://{store['place']}, and the backup takes {'the bucket ' + here.bucket if here.bucket else 'no bucket'}. "
                f"Set backup_artifacts_bucket to {store['place']}, backup_s3_endpoint_url and the account's keys."
            )
        elif _is_minio(here, server, store["endpoint"]) != _is_minio(here, here.name, here.endpoint):
            plan.faults.append(
                f"{what} are at the endpoint {store['endpoint'] or 'of Amazon S3'}, and the backup takes the bucket {here.bucket} of {here.endpoint}. "
                f"Set backup_s3_endpoint_url to the endpoint that {server} uses, and the account's keys."
            )
    elif not any(store["what"].startswith(place) for place in here.elsewhere):
        plan.faults.append(
            f"{what} are at {store['what'] or 'no place that the settings tell'}, which is neither a folder nor S3, so they are not backed up. "
            "Back them up by other means, and list that place in backup_artifacts_elsewhere."
        )


def _is_minio(here: Here, server: str, endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    return bool(here.minio) and (host in [name.lower() for name in here.minio] or server == here.minio[0] and host in LOOPBACK)


def own_places(artifacts: Store) -> list[str]:
    """Return the beginnings of locations, in experiments and runs, whose artifacts are in the artifact store, or that refer to another record.

    :param artifacts: The artifact store, as :func:`read_artifacts` returns it.
    """
    places = ["mlflow-artifacts:/", "models:/", "runs:/"]
    if artifacts["kind"] == "folder":
        places += [f"{scheme}{artifacts['path']}/" for scheme in ("", "file://", "file:")]
    elif artifacts["kind"] == "s3":
        places.append(f"s3://{artifacts['place']}/")
    return places


def is_own(location: str, own: Sequence[str]) -> bool:
    """Return whether a location is in the artifact store. A location that names another server is in this store too.

    :param own: The result of :func:`own_places`.
    """
    if re.match("mlflow-artifacts://[^/]", location):
        return False
    return any(location.startswith(place) or location + "/" == place for place in own)
