# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host's stack already has: the stores that its services use, and fingerprints of the secrets that they use.

All of it is read from the settings of the services, so a stack that an older release of the collection set up is known as well.
No secret leaves the host. A fingerprint is a salted scrypt hash: it shows whether another file has the same secret.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import posixpath
import pwd
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from ansible_collections.atlas.mlflow.plugins.module_utils.container_data import read_container_data
from ansible_collections.atlas.mlflow.plugins.module_utils.haproxy import BACKEND
from ansible_collections.atlas.mlflow.plugins.module_utils.seen import recall, words
from ansible_collections.atlas.mlflow.plugins.module_utils.uris import read_uri

#: Where ``playbooks/remove.yml`` stores what it reads before it removes the settings, for data and backups that remain.
KEPT = "etc/atlas-mlflow/kept.json"
#: The pools of several hosts of MinIO, in the form of MinIO's own configuration file.
MINIO_POOLS = "etc/atlas-mlflow/minio-pools.json"
#: The record of an upgrade of a cluster of PostgreSQL, and the folder with a folder for the data of each major version.
POSTGRES_UPGRADE, POSTGRES_DATA = "etc/patroni/upgrade.json", "var/lib/postgresql"
#: The record of the verification.
SEEN = "etc/atlas-mlflow/seen.json"
#: The data of the role etcd.
ETCD_DATA = "var/lib/etcd/atlas-mlflow"
#: Secrets in the environment of the tracking server, by the names of their files on the control node.
ENVIRONMENT = {
    "AWS_SECRET_ACCESS_KEY": "minio_secret_key",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "mlflow_flask_secret_key",
    "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": "mlflow_webhook_key",
    "MLFLOW_CRYPTO_KEK_PASSPHRASE": "mlflow_kek_passphrase",
}
#: The name of the instance of VRRP in the settings that the role haproxy writes for keepalived.
VIRTUAL_INSTANCE = "atlas_mlflow_proxies"
#: The sections in the settings of HAProxy that the package of Enterprise Linux has. That of Debian has none.
PACKAGED = {"frontend main", "backend static", "backend app"}
#: The text that a generated Fernet key has after the secret.
FERNET_END = "A="


def fingerprint(secret: str, salt: bytes = b"") -> str:
    """Return a fingerprint of a secret.

    :param secret: The secret.
    :param salt: Random bytes; by default new random bytes.
    """
    salt = salt or os.urandom(16)
    digest = hashlib.scrypt(secret.encode(), salt=salt, n=2**13, r=8, p=1, maxmem=2**25, dklen=32)
    return f"scrypt:{salt.hex()}:{digest.hex()}"


def matches(secret: str, mark: str) -> bool:
    """Return whether a fingerprint belongs to a secret.

    :param secret: The secret; an empty one matches nothing.
    :param mark: A result of ``fingerprint``.
    """
    return bool(secret) and hmac.compare_digest(fingerprint(secret, bytes.fromhex(mark.split(":")[1])), mark)


def fingerprints(secrets: Mapping[str, str]) -> dict[str, str]:
    """Return the fingerprint of each secret, by its name. The cores share the work, since scrypt runs without Python's lock.

    :param secrets: Secrets by their names. Those that are empty have no fingerprint.
    """
    given = {name: secret for name, secret in secrets.items() if secret}
    with ThreadPoolExecutor() as pool:
        return dict(zip(given, pool.map(fingerprint, given.values())))


def matching(pairs: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the pairs of a secret and a fingerprint that belong together. The cores share the work.

    :param pairs: Pairs as ``matches`` takes them.
    """
    asked = list(pairs)
    with ThreadPoolExecutor() as pool:
        return {pair for pair, fits in zip(asked, pool.map(lambda pair: matches(*pair), asked)) if fits}


def database(uri: str) -> dict[str, str]:
    """Return which database a URI names, without login and driver: its kind, host, port and name. Empty if the URI cannot be read.

    An empty host is this host: a file, or a socket. For a URI with several hosts, the members of a cluster, this is the first one, and C(hosts) has all.

    :param uri: The URI, in SQLAlchemy's form.
    """
    kind = uri.partition(":")[0].partition("+")[0]
    if kind == "sqlite":
        path = uri.partition("://")[2].partition("?")[0]
        return {"kind": kind, "host": "", "port": "", "name": posixpath.normpath(path.removeprefix("/"))}
    parts = read_uri(uri)
    if not kind or parts.place.endswith("***"):
        return {}
    query = parse_qs(re.sub(r"^.*?\?(?=[\w.-]+=)", "", uri)) if re.search(r"\?[\w.-]+=", uri) else {}
    hosts = query.get("host", [parts.host])[0].lower()
    host = hosts.partition(",")[0]
    port = query.get("port", [parts.port])[0].partition(",")[0]
    found = {"kind": kind, "host": "" if host.startswith("/") else host.strip("[]"), "port": port, "name": unquote(parts.path.lstrip("/"))}
    return {**found, "hosts": hosts} if "," in hosts else found


def artifacts(destination: str, endpoint: str) -> dict[str, str]:
    """Return which artifact store a destination names: its kind, host, port, and its folder or bucket with a prefix.

    :param destination: A folder, or ``s3://BUCKET/PREFIX``, with or without the scheme's prefix ``proxied-``.
    :param endpoint: URL of the S3 endpoint; empty for AWS.
    """
    scheme, sign, rest = destination.removeprefix("proxied-").partition("://")
    if not sign or scheme == "file":
        return {"kind": "folder", "host": "", "port": "", "name": posixpath.normpath(rest if sign else scheme)}
    parts = read_uri(endpoint) if scheme == "s3" and endpoint else None
    name = rest.rpartition("@")[2].partition("?")[0].rstrip("/")
    return {"kind": scheme, "host": parts.host.strip("[]").lower() if parts else "", "port": parts.port if parts else "", "name": name}


def read_environment(text: str) -> dict[str, str]:
    """Return the variables of an environment file that ``atlas.mlflow.systemd_environment`` wrote.

    :param text: Lines of ``NAME="value"``.
    """
    found = {}
    for line in text.splitlines():
        name, separator, value = line.partition("=")
        if separator and re.fullmatch(r"\w+", name):
            found[name] = re.sub(r"\\(.)", r"\1", value[1:-1]) if value[:1] == '"' == value[-1:] else value
    return found


def newest(root: Path, *paths: str) -> Path | None:
    """Return the file that was written last, None if no file exists. An interrupted move between service and container leaves two files."""
    found = [root / path for path in paths if (root / path).exists()]
    return max(found, key=lambda path: path.stat().st_mtime) if found else None


def user_number(settings: Path, unit: Path) -> str:
    """Return the number of the user that runs a service: the one of its unit, or the owner of the settings of its container. Empty if it is not known.

    :param settings: The file with the settings of the service, which root has for a unit.
    :param unit: The file of its unit.
    """
    if settings.parent.name != "default":
        return str(settings.stat().st_uid)
    found = re.search(r"^User=(.+)$", unit.read_text(encoding="utf-8"), re.MULTILINE) if unit.exists() else None
    try:
        return str(pwd.getpwnam(found.group(1)).pw_uid) if found else ""
    except KeyError:
        return ""


def read_server(root: Path) -> dict[str, Any]:
    """Return the stores and the secrets of the tracking server."""
    path = newest(root, "etc/default/mlflow-server", "etc/atlas-mlflow/mlflow-server.json")
    if path is None:
        return {}
    text = path.read_text(encoding="utf-8")
    environment: Mapping[str, Any] = json.loads(text) if path.suffix == ".json" else read_environment(text)
    uri = str(environment.get("MLFLOW_BACKEND_STORE_URI", ""))
    secrets = {name: str(environment[variable]) for variable, name in ENVIRONMENT.items() if environment.get(variable)}
    if secrets.get("mlflow_webhook_key", "").endswith(FERNET_END):
        secrets["mlflow_webhook_key"] = secrets["mlflow_webhook_key"][: -len(FERNET_END)]
    secrets["postgres_password"] = unquote(read_uri(uri).password) if database(uri).get("kind") == "postgresql" else ""
    stores = {
        "backend": database(uri),
        "registry": database(str(environment.get("MLFLOW_REGISTRY_STORE_URI") or uri)),
        "artifacts": artifacts(str(environment.get("MLFLOW_ARTIFACTS_DESTINATION", "")), str(environment.get("MLFLOW_S3_ENDPOINT_URL") or "")),
    }
    login = root / "etc/atlas-mlflow/mlflow-auth.ini"
    if login.exists():
        lines = [line.partition(" = ") for line in login.read_text(encoding="utf-8").splitlines()]
        settings = {name: value.replace("%%", "%") for name, _sign, value in lines}
        secrets["mlflow_admin_password"] = settings.get("admin_password", "")
        stores["users"] = {**database(settings.get("database_uri", "")), "login": settings.get("app", "")}
    seen = recall(root / SEEN)
    return {
        "secrets": secrets,
        # Who logs in at the stores with which secret.
        "logins": {"postgres_password": unquote(read_uri(uri).user), "minio_secret_key": str(environment.get("AWS_ACCESS_KEY_ID") or "")},
        "stores": {name: store for name, store in stores.items() if store.get("kind")},
        "seen": f"{seen['at']}: {words(seen)}" if seen else "",
        # The release that has served last.
        "release": str(seen.get("release") or ""),
        "uid": user_number(path, root / "etc/systemd/system/mlflow-server.service"),
        "workspaces": str(environment.get("MLFLOW_ENABLE_WORKSPACES", "")).lower() == "true",
    }


def read_minio(root: Path) -> dict[str, Any]:
    """Return the secret of MinIO, and its data folder or the pools to which the host belongs."""
    path = newest(root, "etc/default/minio", "etc/atlas-mlflow/minio.env")
    if path is None:
        return {}
    section: dict[str, Any] = {"secrets": {"minio_root_password": read_environment(path.read_text(encoding="utf-8")).get("MINIO_ROOT_PASSWORD", "")}}
    unit = root / "etc/systemd/system/minio.service"
    section["uid"] = user_number(path, unit)
    if (pools := root / MINIO_POOLS).exists():
        section["pools"] = [pool["args"] for pool in json.loads(pools.read_text(encoding="utf-8"))["pools"]]
    elif path.name == "minio" and unit.exists():
        # The last argument, in the form of ``atlas.mlflow.systemd_argv``.
        folder = re.search(r'^ExecStart=.* "((?:[^"\\]|\\.)*)"$', unit.read_text(encoding="utf-8"), re.MULTILINE)
        section["folder"] = re.sub(r"\\(.)", r"\1", folder.group(1)).replace("%%", "%").replace("$$", "$") if folder else ""
    return section


def read_postgres(root: Path) -> dict[str, Any]:
    """Return the members of a cluster, the secrets that they share, the version and its upgrade, or the secret of a PostgreSQL in a container."""
    patroni = root / "etc/patroni/config.yml"
    if patroni.exists() and (settings := patroni_settings(patroni.read_text(encoding="utf-8"))):
        logins = settings["postgresql"]["authentication"]
        secrets = {f"postgres_{login}_password": logins[login]["password"] for login in ("replication", "rewind")}
        data = str(settings["postgresql"].get("data_dir", ""))
        note = root / POSTGRES_UPGRADE
        return {
            "members": sorted(settings["tags"]["atlas_mlflow_members"].split(",")),
            "secrets": secrets,
            "version": data.removeprefix(f"/{POSTGRES_DATA}/").partition("/")[0],
            "data": sorted(path.parts[-3] for path in (root / POSTGRES_DATA).glob("*/main/PG_VERSION")),
            "upgrade": json.loads(note.read_text(encoding="utf-8")) if note.exists() else {},
        }
    path = root / "etc/atlas-mlflow/postgres/password"
    if not path.exists():
        return {}
    return {"secrets": {"postgres_superuser_password": path.read_text(encoding="utf-8").strip()}, "uid": str(path.stat().st_uid)}


def patroni_settings(text: str) -> dict[str, Any]:
    """Return the settings of Patroni that the role postgres wrote, which are JSON below comments; empty if another tool wrote them."""
    try:
        settings: dict[str, Any] = json.loads("".join(line for line in text.splitlines() if not line.startswith("#")))
    except ValueError:
        return {}
    return settings if "atlas_mlflow_members" in (settings.get("tags") or {}) else {}


def read_etcd(root: Path) -> dict[str, Any]:
    """Return whether the host has the data of a member of etcd."""
    return {"member": True, "secrets": {}} if (root / ETCD_DATA / "member").exists() else {}


def read_backup(root: Path) -> dict[str, Any]:
    """Return the repository of the backup and its secret, whether it is the backup of a cluster of PostgreSQL, and how it reaches the stores."""
    path = root / "etc/atlas-mlflow/backup.json"
    if not path.exists():
        return {}
    settings = json.loads(path.read_text(encoding="utf-8"))
    postgres, served = settings.get("postgres") or {}, settings.get("served") or {}
    return {
        "repository": settings.get("repository", ""),
        "of_cluster": bool(postgres.get("member")),
        "reaches": {
            "postgres": [str(postgres.get(name) or "") for name in ("port", "container", "engine")] if postgres else [],
            "endpoint": str(((settings.get("artifacts") or {}).get("s3") or {}).get("endpoint") or ""),
            # What the tracking server of this host used when the backup was set up.
            **{name: served[name] for name in ("backend", "artifacts") if name in served},
        },
        "secrets": {"backup_passphrase": settings.get("passphrase", "")},
    }


def read_haproxy(root: Path) -> dict[str, Any]:
    """Return the address that keepalived moves between proxies, whether its settings are those of the role haproxy, and what others let HAProxy do."""
    path = root / "etc/keepalived/keepalived.conf"
    foreign = foreign_sections(root / "etc/haproxy/haproxy.cfg")
    others = {"foreign": foreign, "secrets": {}} if foreign else {}
    if not path.exists():
        return others
    text = path.read_text(encoding="utf-8")
    address = re.search(r"virtual_ipaddress \{\s+([0-9.]+)", text)
    ours = "ours" if VIRTUAL_INSTANCE in text.split() else "other"
    return {**others, "keepalived": ours, "virtual_address": address.group(1) if address else "", "secrets": {}}


def foreign_sections(path: Path) -> list[str]:
    """Return the sections by which HAProxy serves something, empty if the role haproxy or the package wrote its settings.

    :param path: The file with the settings.
    """
    if not path.exists():
        return []
    sections = re.findall(r"(?m)^\s*((?:frontend|backend|listen)\s+\S+)", path.read_text(encoding="utf-8", errors="replace"))
    found = [" ".join(section.split()) for section in sections]
    return [] if f"backend {BACKEND}" in found or set(found) <= PACKAGED else found


#: The function that reads each role's section.
READERS = {"mlflow_server": read_server, "minio": read_minio, "postgres": read_postgres, "etcd": read_etcd, "backup": read_backup, "haproxy": read_haproxy}


def read_stack(root: Path = Path("/"), containers: str = "[]", podman: Mapping[str, Mapping[str, str]] | None = None) -> dict[str, Any]:
    """Return what a host's stack has: a section for each role that has settings on the host. For a removed role, the section has what was kept.

    Without root permissions, settings with secrets are not read, and the result is empty.

    :param root: Where the host's files are, for tests.
    :param containers: Output of C(docker inspect) for the containers.
    :param podman: The data of the containers of Podman, from C(read_podman_data).
    """
    volumes = read_container_data(containers)
    found = {}
    try:
        kept = json.loads((root / KEPT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        kept = {}
    for role, read in READERS.items():
        try:
            section = read(root)
        except (OSError, ValueError):
            section = {}
        if section:
            section["secrets"] = fingerprints(section["secrets"])
            # The folder of a service has precedence over a container that a move from container to service has left.
            section |= {} if section.get("folder") or section.get("pools") else {**volumes.get(role, {}), **(podman or {}).get(role, {})}
        elif kept.get(role):
            section = kept[role]
        if section:
            found[role] = section
    return found
