"""Bad input is refused before a host is touched, with a message that names the variable and the way out."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from ansible_collections.atlas.mlflow.plugins.action.preflight import ActionModule
from ansible_collections.atlas.mlflow.plugins.filter.stack import kept_of_stack
from ansible_collections.atlas.mlflow.plugins.module_utils.stack import fingerprint
from ansible_collections.atlas.mlflow.plugins.plugin_utils import rules
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings
from ansible_collections.atlas.mlflow.plugins.plugin_utils.secrets import SECRETS
from in_process import act, facts_of_this_machine, role_variables, trusted
from playbook_forks import ansible_playbook

ROOT = Path(__file__).resolve().parents[3]

#: A port that something else has on the host.
TAKEN = 4100
#: What is known of the host.
FACTS: dict[str, Any] = {
    "architecture": "x86_64",
    "distribution_release": "bookworm",
    "processor_nproc": 2,
    "default_ipv4": {"address": "192.0.2.7"},
    "listeners": [{"address": "127.0.0.1", "port": TAKEN, "pid": 4711, "process": "other", "group": "other.service"}],
    "packages": {"postgresql-15": [{"version": "15.3"}]},
}

#: A system without this collection's support, and one with it.
FEDORA = {"distribution_id": "fedora", "distribution_version_id": "40", "distribution_name": "Fedora Linux 40 (Server Edition)"}
NOBLE = {"distribution_id": "ubuntu", "distribution_version_id": "24.04", "distribution_release": "noble", "distribution_name": "Ubuntu 24.04.1 LTS"}

BOOKWORM = {"distribution_id": "debian", "distribution_version_id": "12", "distribution_name": "Debian GNU/Linux 12 (bookworm)"}
JAMMY = {"distribution_id": "ubuntu", "distribution_version_id": "22.04", "distribution_release": "jammy", "distribution_name": "Ubuntu 22.04.5 LTS"}
PODMAN = {"mlflow_server_deployment": "podman"}

#: Systems of which the roles know the documentation only: a release that is too old, and one that the user accepts or not.
OLD_EL = {"distribution_id": "rhel", "distribution_version_id": "9.2", "distribution_name": "Red Hat Enterprise Linux 9.2 (Plow)", "os_family": "RedHat"}
EL = {"distribution_id": "rocky", "distribution_version_id": "9.6", "distribution_name": "Rocky Linux 9.6 (Blue Onyx)", "os_family": "RedHat"}
ALMA = {"distribution_id": "almalinux", "distribution_version_id": "10.0", "distribution_name": "AlmaLinux 10.0 (Purple Lion)", "os_family": "RedHat"}


def on_el(facts: dict[str, Any] | None = None, system: dict[str, Any] | None = None, **given: Any) -> dict[str, Any]:
    """Return the variables of a host with Enterprise Linux that the user accepts."""
    return {"atlas_mlflow_allow_unrun_system": True, "postgres_version": "", **given, "ansible_facts": {**(system or EL), "packages": {}, **(facts or {})}}


#: A certificate that is no server's.
AUTHORITY = str(ROOT / "tests/stack/embedded/authority.pem")
#: Users who log in, with all that takes.
BASIC = {"mlflow_server_auth": "basic", "mlflow_server_admin_password": "long-enough-password", "mlflow_server_flask_secret_key": "long-enough-secret"}
DATABASE = "postgresql+psycopg2://u:canary-secret@db/m"

#: The plan of a tracking server with a cluster.
REPLICAS = {
    "_atlas_mlflow_plan": {
        "backend_store": "postgresql+psycopg2://mlflow@/mlflow?host=a,b,c&target_session_attrs=read-write",
        "read_replica_store": "postgresql+psycopg2://mlflow@/mlflow?host=b,c,a&target_session_attrs=prefer-standby",
    }
}

#: A further user of PostgreSQL.
OTHER = {"name": "grafana", "password": "long-enough-password", "databases": ["grafana"], "clients": ["10.0.0.0/24"]}

#: A further account of MinIO.
PHOTOS = {"access_key": "photos", "secret_key": "long-enough-secret", "buckets": ["photos"]}

#: What a proxy asks.
SERVERS = [{"name": "one", "address": "10.0.0.7:5001"}]

#: What is known of a proxy, and settings with which it shares an address, which it has.
PROXY = {
    "addresses": [{"interface": "eth0", "address": "192.0.2.7", "prefix": 24}, {"interface": "eth0", "address": "192.0.2.9", "prefix": 32}],
    "stack": {"haproxy": {"keepalived": "ours"}},
}
SHARED = {
    "haproxy_virtual_address": "192.0.2.9/24",
    "haproxy_virtual_secret": "eightlet",
    "atlas_mlflow_ip": "192.0.2.7",
    "ansible_facts": PROXY,
    "_atlas_mlflow_plan": {"proxies": ["case", "two"], "virtual_addresses": {"case": "192.0.2.9 51", "two": "192.0.2.9 51"}},
}

#: Two tracking servers.
TWO = {"mlflow_servers": ["case", "two"]}
#: Stores that a tracking server already serves, as the facts tell of it.
SERVED = {"stores": {"backend": {"kind": "postgresql", "host": "db", "port": "5432", "name": "m"}}, "secrets": {}, "seen": "noon: 3 runs"}

#: A cluster of PostgreSQL that a host has, as the facts tell of it.
FORMER = {"version": "15", "name": "main", "ours": True, "upgrade": ""}

#: The same on Enterprise Linux.
OWN_EL = {"version": "13", "name": "main", "ours": True, "upgrade": "", "data": "/var/lib/pgsql/data", "start": "auto"}

#: Hosts of a cluster of PostgreSQL, the first of which is the case.
MEMBERS = [{"name": name, "address": f"192.0.2.{number}", "ip": f"192.0.2.{number}"} for number, name in enumerate(("case", "two", "three"), 7)]
#: What a cluster takes.
CLUSTER = {
    "inventory_hostname": "case",
    "atlas_mlflow_tls": True,
    "_atlas_mlflow_plan": {"postgres_members": MEMBERS, "tls_certificate": "/own.pem", "tls_key": "/own.key", "tls_authority": "/authority.pem"},
    "postgres_replication_password": "long-enough-password",
    "postgres_rewind_password": "long-enough-password",
    "postgres_etcd_port": 2379,
}


#: PgBouncer beside PostgreSQL.
POOLER = {"postgres_pgbouncer": True}


def listener(port: int, unit: str) -> dict[str, Any]:
    """Return the facts of a unit that listens on loopback."""
    return {"address": "127.0.0.1", "port": port, "pid": 1, "process": "other", "group": unit}


def member(name: str = "two", of: list[dict[str, Any]] | None = None, there: dict[str, Any] | None = None, **facts: Any) -> dict[str, Any]:
    """Return the variables of a host of a cluster, and of its first host, with what is known of the two."""
    known = {"hostvars": {"case": there or {}}, "ansible_facts": {**FACTS, **facts}}
    return {**CLUSTER, **known, "inventory_hostname": name, "postgres_members": MEMBERS if of is None else of, "etcd_members": MEMBERS if of is None else of}


#: How a backup that is set up reaches the stores.
REACHES = {"postgres": ["5432", "", ""], "endpoint": ""}

#: What a host of a cluster that exists has.
JOINED = {"postgres": {"members": ["case", "three", "two"]}, "etcd": {"member": True}}

#: What the facts of a host say of its etcd.
ASKED = {"command": ["etcdctl", "--command-timeout=10s", "--endpoints=https://192.0.2.8:2379", "--cacert=/authority.pem"], "members": [], "healthy": True}


def present(*names: str, **more: Any) -> dict[str, Any]:
    """Return the plan of a cluster whose etcd has members, and other variables."""
    known = {one["name"]: one["address"] for one in MEMBERS}
    listed = [{"id": "1f", "name": name, "url": f"https://{known.get(name, '192.0.2.99')}:2380"} for name in names]
    return {"_atlas_mlflow_plan": {**CLUSTER["_atlas_mlflow_plan"], "etcd_present": listed}, **more}


def joins(variables: dict[str, Any]) -> dict[str, Any]:
    """Return the variables of a case whose run sets up the backup of a cluster."""
    return {**variables, "_atlas_mlflow_plan": {**variables["_atlas_mlflow_plan"], "backup_joins": True}}


#: The first host belongs to a cluster.
OTHERS = {"there": {"ansible_facts": {"stack": JOINED}}}


def pool(*drives: str, hosts: int = 4, **own: Any) -> dict[str, Any]:
    """Return the plan of a pool of MinIO, of which the case is the first host.

    :param own: What differs for the first host.
    """
    names = ["case", "two", "three", "four", *(f"more{number}" for number in range(5, hosts + 1))][:hosts]
    listed = [{"name": name, "address": name, "port": 9000, "scheme": "http", "drives": list(drives or ("/var/lib/minio",))} for name in names]
    listed[0] |= own
    return {"_atlas_mlflow_plan": {"minio_pools": [listed], "minio_host": "case", "minio_listen_address": "10.0.0.1"}}


def pools_file(*hosts: str, drive: str = "/var/lib/minio") -> dict[str, Any]:
    """Return the facts of a host of a pool."""
    return {"ansible_facts": {"stack": {"minio": {"pools": [[f"https://{host}:9000{drive}" for host in hosts]]}}}}


#: A backup's repository on S3.
ON_S3 = {
    "backup_repository": "s3://kept/atlas",
    "backup_repository_s3_endpoint_url": "https://minio:9000",
    "backup_repository_s3_access_key_id": "backup",
    "backup_repository_s3_secret_access_key": "canary-secret",
}

#: Settings with which OpenID Connect passes, for cases in which one of them does not.
OIDC = {
    "mlflow_server_auth": "oidc",
    "mlflow_server_admin_password": "long-enough-password",
    "mlflow_server_flask_secret_key": "long-enough-key",
    "mlflow_server_oidc_discovery_url": "https://login.example.org/.well-known/openid-configuration",
    "mlflow_server_oidc_client_id": "mlflow",
    "mlflow_server_oidc_client_secret": "canary-secret",
    "mlflow_server_oidc_redirect_uri": "https://mlflow.example.org/callback",
    "mlflow_server_oidc_groups": ["data-science"],
}


def beside(outer: str, inner: str) -> dict[str, Any]:
    """Return the plan of a host with a folder in another one, each given as its variable and its path. The outer one is removed with the programs of its role."""
    roles = ("mlflow_server", "minio", "postgres", "backup")
    folders = [
        {"role": next(role for role in roles if text.startswith(role)), "name": text.split()[0], "path": text.split()[1], "removed": removed, "shared": False}
        for text, removed in ((outer, "always"), (inner, "never"))
    ]
    return {"_atlas_mlflow_plan": {"folders": folders}}


#: What each role needs for a container.
CONTAINERS: dict[str, dict[str, Any]] = {role: {f"{role}_deployment": "container"} for role in ("mlflow_server", "postgres", "minio")}
CONTAINERS["postgres"] |= {"postgres_superuser_password": "long-enough-password"}

#: The images that a user can name, with what else they need.
DIGEST = f"sha256:{'0' * 64}"
IMAGES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("mlflow_server", "mlflow_server_image", {"mlflow_server_image_source": "custom"}),
    ("mlflow_server", "mlflow_server_image_base", {"mlflow_server_image_source": "build"}),
    ("postgres", "postgres_image", {"postgres_version": "17"}),
    ("minio", "minio_image", {}),
)


def logs_in(store: str, kind: str, name: str, secret: str, login: str, **given: Any) -> dict[str, Any]:
    """Return the inventory of a store, whose tracking server has logged in until now."""
    served = {"stores": {store: {"kind": kind, "host": "case", "port": "", "name": name}}, "logins": {secret: login}, "secrets": {}}
    group = {"backend": "postgres", "artifacts": "minio"}[store]
    server = {"ansible_facts": {"stack": {"mlflow_server": served}}, **given}
    return {"groups": {"mlflow_servers": ["two"], group: ["case"]}, "hostvars": {"case": {}, "two": server}}


def owns(login: str, name: str = "mlflow", **given: Any) -> dict[str, Any]:
    """Return the inventory of a PostgreSQL, in which the tracking server has logged in until now."""
    return logs_in("backend", "postgresql", name, "postgres_password", login, **given)


def writes(login: str, name: str = "mlflow/prefix", **given: Any) -> dict[str, Any]:
    """Return the inventory of a MinIO, in which the tracking server has logged in until now."""
    return logs_in("artifacts", "s3", name, "minio_secret_key", login, **given)


def runs_as(role: str, uid: str, stored: dict[str, Any], **given: Any) -> dict[str, Any]:
    """Return the variables of a host whose service has data, and runs as the user with a number. The users mlflow and minio have 990 and 991."""
    accounts = {name: ["x", number, number, "", "/", "/usr/sbin/nologin"] for name, number in (("mlflow", "990"), ("minio", "991"), ("other", "995"))}
    return {**given, "ansible_facts": {"getent_passwd": accounts, "stack": {role: {"uid": uid, **stored}}}}


#: A store of a tracking server on its own host, as the facts tell of it.
ON_HOST = {"stores": {"backend": {"kind": "sqlite", "host": "", "port": "", "name": "/var/lib/mlflow/mlflow.db"}}}


def has_served(release: str, wanted: str, **given: Any) -> dict[str, Any]:
    """Return the variables of a host whose tracking server has served with a release, and gets another one. Its database is PostgreSQL."""
    database = {"mlflow_server_backend_store_uri": "postgresql+psycopg2://m:p@db/m"}
    return {**database, "mlflow_server_version": wanted, "ansible_facts": {"stack": {"mlflow_server": {"stores": {}, "release": release}}}, **given}


#: The variables with the addresses on which a role listens, with what else they need, and the addresses of a host.
LISTENING: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("mlflow_server", "mlflow_server_host", {}),
    ("minio", "minio_listen_address", {}),
    ("haproxy", "haproxy_listen_address", {}),
    ("haproxy", "haproxy_metrics_address", {"haproxy_metrics_port": 8405}),
    ("metrics", "metrics_listen_address", {"metrics_enabled": True}),
    ("prometheus", "prometheus_listen_address", {}),
)
HERE = {"addresses": [{"interface": "eth0", "address": "192.0.2.7", "prefix": 24}, {"interface": "eth1", "address": "10.0.0.7", "prefix": 24}]}


def administered(password: str, **stored: str) -> dict[str, Any]:
    """Return the facts of a host with a PostgreSQL in a container, whose administrator has a password."""
    return {"ansible_facts": {"stack": {"postgres": {**stored, "secrets": {"postgres_superuser_password": fingerprint(password)}}}}}


#: The role of a variable, by the beginning of its name.
ROLE_OF = {"mlflow": "mlflow_server", **{role: role for role in ("postgres", "etcd", "minio", "haproxy", "metrics", "prometheus")}}


def same_port(*names: str) -> dict[str, Any]:
    """Return the plan of a host with two services on one port."""
    ports = [{"role": ROLE_OF[name.split("_")[0]], "name": name, "number": 4200, "addresses": ["127.0.0.1"]} for name in names]
    return {"_atlas_mlflow_plan": {"ports": ports}}


#: Role, variables, and what the message must say.
BAD: list[tuple[str, dict[str, Any], list[str]]] = [
    ("mlflow_server", {"mlflow_server_version": "2.9.0"}, ["mlflow_server_version is 2.9.0", "3.17.2", "mlflow_server_lock_file"]),
    ("mlflow_server", {"mlflow_server_lock_file": "/no/such.txt"}, ["mlflow_server_lock_file is /no/such.txt, which is no file on the control node. Correct"]),
    ("mlflow_server", {"mlflow_server_lock_file": "no/such.txt"}, ["no/such.txt, which is no file on the control node", "folders of the playbook"]),
    ("mlflow_server", {"mlflow_server_gc_older_than": "a month"}, ["mlflow_server_gc_older_than is a month", "30d"]),
    ("mlflow_server", {"mlflow_server_port": 0}, ["mlflow_server_port is 0"]),
    ("mlflow_server", {"mlflow_server_port": "http"}, ["mlflow_server_port", "int"]),
    ("mlflow_server", {"mlflow_server_workers": 0}, ["mlflow_server_workers is 0"]),
    ("mlflow_server", {"mlflow_server_artifact_mode": "presigned"}, ["mlflow_server_artifact_mode", "proxied, direct"]),
    ("mlflow_server", {"mlflow_server_artifact_mode": "direct"}, ["artifact store is not S3", "mlflow_server_artifacts_destination"]),
    (
        "mlflow_server",
        {"mlflow_server_artifact_mode": "direct", "mlflow_server_artifacts_destination": "s3://b", "mlflow_server_s3_endpoint_url": "http://127.0.0.1:9000"},
        ["leads each client to itself"],
    ),
    (
        "mlflow_server",
        {"mlflow_server_artifact_mode": "direct", "mlflow_server_artifacts_destination": "s3://b", "mlflow_server_version": "3.0.1"},
        ["hands out no links", "3.15.0"],
    ),
    ("mlflow_server", {"mlflow_server_extra_args": ["--host", "127.0.0.1"]}, ["--host: Set mlflow_server_host"]),
    ("mlflow_server", {"mlflow_server_extra_args": ["--port=5000"]}, ["--port: Set mlflow_server_port"]),
    ("mlflow_server", {"mlflow_server_extra_args": ["--no-such-option"]}, ["--no-such-option", "does not know", "--expose-prometheus"]),
    ("mlflow_server", {"mlflow_server_extra_args": ["--gunicorn-opts", "--bind 127.0.0.1:5000"]}, ["--bind", "second socket"]),
    ("mlflow_server", {"mlflow_server_extra_args": ["--gunicorn-opts", "--timeout 60"]}, ["--gunicorn-opts", "no --allowed-hosts", "--uvicorn-opts"]),
    ("mlflow_server", {"mlflow_server_extra_args": ["--default-artifact-root", "s3://b"]}, ["--default-artifact-root", "Leave it out"]),
    ("mlflow_server", {"mlflow_server_extra_args": "--host 0.0.0.0\n--port 5001"}, ["mlflow_server_extra_args", "write it as a list"]),
    ("mlflow_server", {"mlflow_server_environment": {"GUNICORN_CMD_ARGS": "--bind 0.0.0.0:5001"}}, ["GUNICORN_CMD_ARGS", "mlflow_server_port"]),
    ("mlflow_server", {"mlflow_server_environment": {"MLFLOW_GUNICORN_OPTS": "--timeout 300"}}, ["MLFLOW_GUNICORN_OPTS: This release", "Use --uvicorn-opts"]),
    ("mlflow_server", {"mlflow_server_environment": {"MLFLOW_HOST": "0.0.0.0"}}, ["MLFLOW_HOST: Set mlflow_server_host"]),
    (
        "mlflow_server",
        {"mlflow_server_lock_file": "/etc/hostname", "mlflow_server_extra_args": ["--expose-prometheus", "/var/lib/mlflow/metrics"]},
        ["has no prometheus-flask-exporter"],
    ),
    ("mlflow_server", {"mlflow_server_environment": {"PORT": "5001"}}, ["PORT: MLflow does not read it"]),
    ("mlflow_server", {"mlflow_server_backend_store_uri": "postgresql://u:canary-secret@db/m"}, ["names no driver", "postgresql+psycopg2://"]),
    ("mlflow_server", {"mlflow_server_backend_store_uri": "/var/lib/mlflow"}, ["not a database URI"]),
    (
        "mlflow_server",
        {"mlflow_server_backend_store_uri": "postgresql+psycopg2://u:can@ry#7@db/m"},
        ["mlflow_server_backend_store_uri", "percent-encoded", "@ as %40"],
    ),
    # As from a look-up in an environment that has no password.
    (
        "mlflow_server",
        {"mlflow_server_backend_store_uri": "postgresql+psycopg2://mlflow:@db.example.com:5432/mlflow"},
        ["mlflow_server_backend_store_uri has an empty password", "write USER@HOST"],
    ),
    ("mlflow_server", {"mlflow_server_backend_store_uri": "file:///srv/mlruns"}, ["not a database URI"]),
    *(
        (
            "mlflow_server",
            {"mlflow_server_backend_store_uri": DATABASE, "mlflow_server_version": "3.10.1", name: value},
            [f"{name} is set, and MLflow 3.10.1 has no --read-replica-backend-store-uri", "mlflow_server_version to 3.17.2"],
        )
        for name, value in (("mlflow_server_read_replicas", True), ("mlflow_server_read_replica_store_uri", DATABASE.replace("@db", "@replica")))
    ),
    *(
        ("mlflow_server", {"mlflow_server_postgres_route": "haproxy", "groups": groups, **more}, ["mlflow_server_postgres_route is haproxy, and", *words])
        for groups, more, words in [
            ({**TWO, "postgres": ["a", "b", "c"]}, {}, ["the group haproxy has no host. Leave it out"]),
            ({**TWO, "haproxy": ["e"], "postgres": ["a"]}, {}, ["the group postgres has 1 host(s)", "3, 5 or 7 into the group postgres"]),
            (TWO, {}, ["the group haproxy has no host and the group postgres has 0 host(s)"]),
            (
                {**TWO, "haproxy": ["e"], "postgres": ["a", "b", "c"]},
                {"mlflow_server_backend_store_uri": DATABASE, **REPLICAS},
                ["mlflow_server_backend_store_uri is not the cluster", "Leave one of the two out"],
            ),
        ]
    ),
    ("mlflow_server", {"mlflow_server_postgres_route": "pgbouncer"}, ["mlflow_server_postgres_route", "hosts, haproxy"]),
    ("mlflow_server", {"mlflow_server_read_replicas": True}, ["mlflow_server_read_replicas is true, and the group postgres has no cluster"]),
    *(
        ("mlflow_server", {"mlflow_server_backend_store_uri": DATABASE, "mlflow_server_read_replica_store_uri": uri}, words)
        for uri, words in (
            ("postgresql://u:canary-secret@db/m", ["mlflow_server_read_replica_store_uri is not a database URI that names its driver"]),
            (DATABASE, ["mlflow_server_read_replica_store_uri is mlflow_server_backend_store_uri", "Set the URI of a replica"]),
            ("postgresql+psycopg2://u:can@ry#7@db/m", ["mlflow_server_read_replica_store_uri has a password that is not percent-encoded"]),
        )
    ),
    ("mlflow_server", {"mlflow_server_read_replica_store_uri": DATABASE}, ["mlflow_server_backend_store_uri is SQLite, which has no replicas"]),
    (
        "mlflow_server",
        {"mlflow_server_read_replicas": True, "mlflow_server_backend_store_uri": DATABASE, **REPLICAS},
        ["mlflow_server_read_replicas is true, and mlflow_server_backend_store_uri is not the cluster of the group postgres", "Leave one of the two out"],
    ),
    (
        "mlflow_server",
        {"mlflow_server_read_replicas": True, "mlflow_server_environment": {"MLFLOW_REGISTRY_STORE_URI": DATABASE}, **REPLICAS},
        ["mlflow_server_read_replicas is set, and mlflow_server_environment has a MLFLOW_REGISTRY_STORE_URI", "Leave one of the two out"],
    ),
    (
        "mlflow_server",
        {"mlflow_server_environment": {"MLFLOW_READ_REPLICA_BACKEND_STORE_URI": DATABASE}},
        ["MLFLOW_READ_REPLICA_BACKEND_STORE_URI: Set mlflow_server_read_replicas or mlflow_server_read_replica_store_uri"],
    ),
    (
        "mlflow_server",
        {"mlflow_server_backend_store_uri": "sqlite:////srv/tracking.db"},
        ["mlflow_server_backend_store_uri is sqlite", "/srv belongs to the system"],
    ),
    ("mlflow_server", {"mlflow_server_artifacts_destination": "mlartifacts"}, ["mlflow_server_artifacts_destination is mlartifacts", "not an absolute path"]),
    *(
        (role, given, [f"{name} is /opt, and remove.yml removes that folder", "Name a folder of its own, such as /opt/mlflow"])
        for role, name in (
            ("mlflow_server", "mlflow_server_install_dir"),
            ("mlflow_server", "mlflow_server_uv_dir"),
            ("minio", "minio_install_dir"),
            ("postgres", "postgres_uv_dir"),
        )
        for given in ({**(CLUSTER if role == "postgres" else {}), name: "/opt"},)
    ),
    *(
        (role, beside(f"{outer} /srv/stack", f"{inner} /srv/stack/part"), [f"{inner} is /srv/stack/part, which lies in /srv/stack ({outer})"])
        for outer, inner in (("mlflow_server_install_dir", "minio_data_dir"), ("postgres_uv_dir", "backup_repository"))
        for role in (outer.removesuffix("_install_dir").removesuffix("_uv_dir"), inner.partition("_")[0])
    ),
    *(
        (role, same_port(*names), [f"{names[0]} and {names[1]} are 4200, and case has both services. Set one of them to another port"])
        for names in (
            ("mlflow_server_port", "minio_console_port"),
            ("postgres_port", "haproxy_metrics_port"),
            ("etcd_peer_port", "metrics_node_port"),
            ("postgres_port", "prometheus_port"),
            ("postgres_port", "postgres_pgbouncer_port"),
            ("postgres_patroni_port", "postgres_pgbouncer_port"),
            ("postgres_pgbouncer_port", "etcd_client_port"),
            ("minio_port", "haproxy_minio_port"),
            ("postgres_port", "haproxy_postgres_port"),
            ("postgres_pgbouncer_port", "haproxy_postgres_port"),
        )
        for role in {ROLE_OF[name.split("_")[0]]: True for name in names}
    ),
    *(
        (role, {f"{role}_os_user": user}, [f"{role}_os_user is {user or 'empty'}", words])
        for role in ("mlflow_server", "minio")
        for user, words in [
            ("root", "a user of the system or of a package"),
            ("postgres", "Set a name of its own, such as m"),
            ("www-data", "remove.yml removes it with the data"),
            ("", "Set the name of a user"),
            ("ml flow", "of letters, digits"),
        ]
    ),
    *(
        (role, {"_atlas_mlflow_plan": {"accounts": {name: "svc", "other_os_user": "svc", "third_os_user": "third"}}}, [f"{name} and other_os_user are svc"])
        for role, name in (("mlflow_server", "mlflow_server_os_user"), ("minio", "minio_os_user"), ("metrics", "metrics_postgres_user"))
    ),
    ("mlflow_server", {"mlflow_server_data_dir": "/home/ada"}, ["mlflow_server_data_dir is /home/ada", "the home folder of a user"]),
    ("mlflow_server", {"mlflow_server_environment": {"MLFLOW_REGISTRY_STORE_URI": "sqlite:///registry.db"}}, ["MLFLOW_REGISTRY_STORE_URI of", "four slashes"]),
    (
        "mlflow_server",
        {"mlflow_server_static_prefix": "/mlflow", "mlflow_server_version": "3.10.1"},
        ["mlflow_server_static_prefix is /mlflow", "3.12.0 or newer"],
    ),
    ("mlflow_server", {"mlflow_server_url": "http://fd00::7:5001"}, ["mlflow_server_url has an IPv6 address without brackets"]),
    ("mlflow_server", {"mlflow_server_webhook_key": ""}, ["mlflow_server_webhook_key is empty", "atlas.mlflow.site"]),
    ("mlflow_server", {"mlflow_server_webhook_key": "canary-secret"}, ["mlflow_server_webhook_key is no Fernet key", "the same on all servers"]),
    ("mlflow_server", {"mlflow_server_kek_passphrase": "short"}, ["mlflow_server_kek_passphrase has 5 characters"]),
    ("mlflow_server", {"mlflow_server_former_webhook_keys": ["canary-secret"]}, ["mlflow_server_former_webhook_keys has an item"]),
    ("mlflow_server", {"mlflow_server_environment": {"MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": "canary-secret"}}, ["Set mlflow_server_webhook_key"]),
    ("minio", {"minio_data_dir": "/tmp/minio"}, ["minio_data_dir is /tmp/minio", "gone after a restart"]),
    ("mlflow_server", {"mlflow_server_names": ["http://mlflow.example.com:5001"]}, ["bare host names"]),
    ("mlflow_server", {"mlflow_server_cors_allowed_origins": ["notebooks.example.com"]}, ["mlflow_server_cors_allowed_origins has notebooks.example.com"]),
    ("mlflow_server", {"mlflow_server_static_prefix": "mlflow/"}, ["starts with a slash"]),
    ("mlflow_server", {"mlflow_server_s3_access_key_id": "only"}, ["mlflow_server_s3_secret_access_key", "Set both"]),
    ("mlflow_server", {"mlflow_server_deployment": "docker"}, ["mlflow_server_deployment", "systemd, container"]),
    (
        "mlflow_server",
        {**PODMAN, "ansible_facts": {**FACTS, **BOOKWORM}},
        ["mlflow_server_deployment is podman", "Debian GNU/Linux 12 (bookworm) has Podman 4.3.1", "Debian 13", "mlflow_server_deployment to container"],
    ),
    ("mlflow_server", {**PODMAN, "ansible_facts": {**FACTS, **JAMMY}}, ["Ubuntu 22.04.5 LTS has Podman 3.4.4", "4.9 or newer"]),
    ("mlflow_server", {**PODMAN, "ansible_facts": {**FACTS, **NOBLE, "packages": {"podman": [{"version": "4.4.1+ds1-1"}]}}}, ["has Podman 4.4.1+ds1-1"]),
    (
        "mlflow_server",
        {
            **PODMAN,
            "_atlas_mlflow_plan": {"container_engines": {"mlflow_server": "podman", "minio": "docker"}, "container_networks": {"minio": "atlas-network"}},
        },
        ["mlflow_server_deployment is podman, and minio_deployment is container on the same host", "do not reach each other", "to container or systemd"],
    ),
    ("mlflow_server", {**PODMAN, "mlflow_server_host": "::"}, ["mlflow_server_host is ::", "has no IPv6", "0.0.0.0"]),
    ("mlflow_server", {**CONTAINERS["mlflow_server"], "mlflow_server_host": "::"}, ["mlflow_server_host is ::", "for IPv6 alone", "Set 0.0.0.0"]),
    ("minio", {**CONTAINERS["minio"], "minio_listen_address": "0::0"}, ["minio_listen_address is 0::0", "for IPv6 alone"]),
    *(
        case
        for role, address, others in (("postgres", {"postgres_listen_addresses": ["::1"]}, "minio"), ("minio", {"minio_listen_address": "::"}, "postgres"))
        for case in (
            (
                role,
                {f"{role}_deployment": "podman", "ansible_facts": {**FACTS, **BOOKWORM}},
                [f"{role}_deployment is podman", "Debian GNU/Linux 12 (bookworm) has Podman 4.3.1", f"{role}_deployment to container"],
            ),
            (
                role,
                {f"{role}_deployment": "podman", "_atlas_mlflow_plan": {"container_engines": {role: "podman", others: "docker"}}},
                [f"{role}_deployment is podman, and {others}_deployment is container on the same host", "to container or systemd"],
            ),
            (role, {f"{role}_deployment": "podman", **address}, [f"{next(iter(address))} is ::", "has no IPv6", "0.0.0.0"]),
            (
                role,
                {f"{role}_deployment": "podman", f"{role}_container_volume": "/srv/data"},
                [f"{role}_container_volume is /srv/data", "Set the name of a volume"],
            ),
            (
                role,
                {f"{role}_deployment": "podman", "ansible_facts": {"stack": {role: {"volume": f"atlas-{role}-data"}}}},
                [f"{role}_deployment is podman", f"the Docker volume atlas-{role}-data", f"{role}_allow_data_change"],
            ),
            (
                role,
                {f"{role}_deployment": "container", "ansible_facts": {"stack": {role: {"podman_volume": f"atlas-{role}-data"}}}},
                [f"{role}_deployment is container", f"the Podman volume atlas-{role}-data", f"{role}_allow_data_change"],
            ),
        )
    ),
    *(
        (role, {**CONTAINERS[role], f"{role}_container_name": "db", "ansible_facts": {"foreign_containers": {"docker": ["db"], "podman": []}}}, [seen])
        for role in CONTAINERS
        for seen in (f"{role}_container_name is db", "the role would remove it. Set another name, or rename that container (docker rename)")
    ),
    (
        "postgres",
        {"postgres_user": "tracking", **owns("mlflow")},
        [
            "postgres_user is tracking, and the tables belong to mlflow, the login of the tracking server on two",
            "If the owner is to have another name, rename it in PostgreSQL (ALTER ROLE ",
            "postgres_allow_data_change to true for one run",
        ],
    ),
    *(
        (
            role,
            {**given, variable: "192.0.2.8", "ansible_facts": HERE},
            [f"{variable} has 192.0.2.8, an address that case does not have", "192.0.2.7, 10.0.0.7"],
        )
        for role, variable, given in LISTENING
    ),
    (
        "postgres",
        {"postgres_listen_addresses": ["localhost", "192.0.2.7", "192.0.2.8"], "ansible_facts": HERE},
        ["postgres_listen_addresses has 192.0.2.8, an address that case does not have"],
    ),
    *(
        (role, {variable: number}, [f"{variable} is {number}. Set {least} or more"])
        for role, variable, number, least in (
            ("mlflow_server", "mlflow_server_stores_timeout", -70, 1),
            ("mlflow_server", "mlflow_server_start_timeout", "0", 1),
            ("mlflow_server", "mlflow_server_migration_timeout", -1, 0),
            ("mlflow_server", "mlflow_server_drain_timeout", -1, 0),
            ("mlflow_server", "mlflow_server_verify_artifact_bytes", 0, 1),
            ("minio", "minio_drain_timeout", -1, 0),
            ("postgres", "postgres_replica_timeout", 0, 1),
            ("postgres", "postgres_connections", -5, 0),
        )
    ),
    *(
        (role, {**CONTAINERS[role], f"{role}_container_{what}": name}, [f"{role}_container_{what} is {name or 'empty'}. Set a name of letters"])
        for role in CONTAINERS
        for what in ("name", "network")
        for name in ("", "the stack", "x", "_db")
    ),
    (
        "postgres",
        {**CONTAINERS["postgres"], **administered("the-former-password", volume="atlas-postgres-data")},
        ["postgres_superuser_password is not the one of the present data", "ALTER ROLE postgres PASSWORD", "postgres_allow_data_change"],
    ),
    (
        "mlflow_server",
        has_served("3.10.1", "3.17.2"),
        ["mlflow_server_version is 3.17.2, and release 3.10.1 serves, whose database has an older schema", "Run upgrade.yml"],
    ),
    *(
        ("mlflow_server", has_served("3.17.2", "3.10.1", **given), ["release 3.17.2 has served, whose database an older release cannot read", "restore.yml"])
        for given in ({}, {"mlflow_server_backend_store_upgrade": True}, {"mlflow_server_backend_store_uri": "sqlite:////var/lib/mlflow/mlflow.db"})
    ),
    (
        "mlflow_server",
        {"mlflow_server_workspaces": False, "ansible_facts": {"stack": {"mlflow_server": {"stores": {}, "workspaces": True}}}},
        ["mlflow_server_workspaces is false, and the tracking server has workspaces", "mlflow_server_allow_store_change to true for one run"],
    ),
    *(
        (
            "mlflow_server",
            runs_as("mlflow_server", "990", ON_HOST, mlflow_server_os_user=user, **given),
            [f"mlflow_server_os_user is {user}, and the files in /var/lib/mlflow/mlflow.db belong to mlflow (number 990)", "mlflow_server_allow_store_change"],
        )
        for user in ("other", "new")
        for given in ({}, CONTAINERS["mlflow_server"])
    ),
    ("minio", runs_as("minio", "991", {"folder": "/var/lib/minio"}, minio_os_user="other"), ["the files in /var/lib/minio belong to minio (number 991)"]),
    ("minio", runs_as("minio", "991", {"pools": [["http://a:9000/d"]]}, minio_os_user="other"), ["the files in the drives of its pool belong to minio"]),
    (
        "minio",
        runs_as("minio", "991", {"volume": "atlas-minio-data"}, minio_image="minio/minio:1", **CONTAINERS["minio"]),
        ["minio_container_user is 0:0, and the files in the Docker volume atlas-minio-data belong to minio (number 991)", "minio_allow_data_change"],
    ),
    (
        "postgres",
        runs_as(
            "postgres", "999", {"volume": "atlas-postgres-data"}, postgres_image="postgres:17-alpine", postgres_container_user="70:70", **CONTAINERS["postgres"]
        ),
        ["postgres_container_user is 70:70", "belong to the user with the number 999", "postgres_allow_data_change"],
    ),
    ("minio", {"minio_deployment": "podman", "ansible_facts": {"foreign_containers": {"podman": ["atlas-minio"]}}}, ["(podman rename)"]),
    # A container of another role.
    *(
        (
            role,
            {
                **CONTAINERS[role],
                f"{role}_port": 7001,
                "ansible_facts": {**FACTS, "listeners": [listener(7001, "container web")], "own_containers": {"other": ["web"]}},
            },
            [f"{role}_port is 7001, and", "container web"],
        )
        for role in CONTAINERS
    ),
    *(
        (role, {**CONTAINERS[role], f"{role}_container_volume": volume}, [f"{role}_container_volume is {volume}", "Set the name of a volume"])
        for role in ("postgres", "minio")
        for volume in ("/srv/data", "./data", "a b", "x")
    ),
    (
        "mlflow_server",
        {**PODMAN, "mlflow_server_environment": {"PROMETHEUS_MULTIPROC_DIR": "/srv/the metrics"}},
        ["PROMETHEUS_MULTIPROC_DIR of mlflow_server_environment has the folder /srv/the metrics"],
    ),
    ("mlflow_server", {**PODMAN, "mlflow_server_data_dir": "/srv/all runs"}, ["mlflow_server_data_dir has the folder /srv/all runs", "without spaces"]),
    (
        "mlflow_server",
        {"mlflow_server_deployment": "container", "mlflow_server_install_dir": "/srv/venv"},
        ["mlflow_server_install_dir is /srv/venv", "whose image holds the server"],
    ),
    (
        "mlflow_server",
        {"mlflow_server_deployment": "container", "mlflow_server_lock_file": "/etc/hostname"},
        ["mlflow_server_lock_file is set", "mlflow_server_image_source to build"],
    ),
    ("mlflow_server", {"mlflow_server_deployment": "container", "mlflow_server_image": "mlflow:3"}, ["mlflow_server_image_source custom"]),
    ("mlflow_server", {"mlflow_server_deployment": "container", "mlflow_server_image_source": "custom"}, ["mlflow_server_image is empty"]),
    (
        "mlflow_server",
        {"mlflow_server_deployment": "container", "mlflow_server_image_source": "custom", "mlflow_server_image": "mlflow:latest"},
        ["another image tomorrow", "digest"],
    ),
    ("mlflow_server", {"mlflow_server_auth": "ldap"}, ["mlflow_server_auth", "none, basic"]),
    ("mlflow_server", {**BASIC, "mlflow_server_admin_password": "short"}, ["mlflow_server_admin_password has 5 characters", "12 or more"]),
    ("mlflow_server", {**BASIC, "mlflow_server_admin_password": "password1234"}, ["mlflow_server_admin_password is the one that old releases"]),
    ("mlflow_server", {**BASIC, "mlflow_server_admin_password": "canary-secret-\n-of-two"}, ["a character that is lost on the way"]),
    ("mlflow_server", {**BASIC, "mlflow_server_admin_user": "the:admin"}, ["mlflow_server_admin_user is the:admin"]),
    ("mlflow_server", {**BASIC, "mlflow_server_flask_secret_key": ""}, ["mlflow_server_flask_secret_key has 0 characters", "the same on all servers"]),
    ("mlflow_server", {**BASIC, "mlflow_server_default_permission": "WRITE"}, ["mlflow_server_default_permission", "READ, USE, EDIT, MANAGE, NO_PERMISSIONS"]),
    ("mlflow_server", {**BASIC, "mlflow_server_auth_store_uri": "postgresql://u:canary-secret@db/m"}, ["mlflow_server_auth_store_uri", "names its driver"]),
    (
        "mlflow_server",
        {**BASIC, "mlflow_server_auth_store_uri": DATABASE, "mlflow_server_backend_store_uri": DATABASE},
        ["mlflow_server_auth_store_uri is the backend store", "a database of its own"],
    ),
    ("mlflow_server", {**BASIC, "mlflow_server_lock_file": "/etc/hostname"}, ["mlflow_server_lock_file has no Flask-WTF", "mlflow[auth]"]),
    ("mlflow_server", {"mlflow_server_users": [{"name": "ada", "password": "adas-own-password"}]}, ["mlflow_server_auth is none", "has no users"]),
    ("mlflow_server", {**BASIC, "mlflow_server_users": [{"name": "ada"}]}, ["mlflow_server_users gives ada no password of 12 or more"]),
    ("mlflow_server", {**BASIC, "mlflow_server_users": [{"name": "ada", "password": "too-short"}]}, ["gives ada no password of 12 or more"]),
    (
        "mlflow_server",
        {**BASIC, "mlflow_server_users": [{"name": "admin", "password": "adas-own-password"}]},
        ["mlflow_server_users are admin. Give each a name of its own"],
    ),
    ("mlflow_server", {**BASIC, "mlflow_server_users": [{"name": "a da", "state": "absent"}]}, ["mlflow_server_users are a da."]),
    (
        "mlflow_server",
        {**BASIC, "mlflow_server_users": [{"name": "ada", "password": "canary-secret-of-ada", "experiments": {"churn": "WRITE"}}]},
        ["has the permission WRITE", "READ, USE, EDIT, MANAGE, NO_PERMISSIONS, DEFAULT"],
    ),
    (
        "mlflow_server",
        {**BASIC, "mlflow_server_users": [{"name": "ada", "password": "canary-secret-of-ada", "prompts": {"greeting": "WRITE"}}]},
        ["has the permission WRITE", "READ, USE, EDIT, MANAGE, NO_PERMISSIONS, DEFAULT"],
    ),
    (
        "mlflow_server",
        {
            **BASIC,
            "mlflow_server_version": "3.10.1",
            "mlflow_server_users": [{"name": "ada", "password": "canary-secret-of-ada", "mcp_servers": {"team/tools": "USE"}}],
        },
        ["gives ada permissions in mcp_servers, and release 3.10.1 has none for them", "3.15.0 or newer"],
    ),
    (
        "mlflow_server",
        {
            **BASIC,
            "mlflow_server_version": "3.10.1",
            "mlflow_server_users": [
                {"name": "ada", "password": "canary-secret-of-ada", "registered_models": {"a": "READ", "b": "READ"}, "prompts": {"a": "READ", "b": "EDIT"}}
            ],
        },
        ["gives ada on b one permission in registered_models and another one in prompts", "release 3.10.1 keeps one for both"],
    ),
    ("mlflow_server", {**BASIC, "mlflow_server_users": [{"name": "ada", "pasword": "canary-secret-of-ada"}]}, ["pasword", "mlflow_server_users"]),
    ("mlflow_server", {"mlflow_server_extra_args": ["--app-name", "basic-auth"]}, ["--app-name: Set mlflow_server_auth"]),
    ("mlflow_server", {"mlflow_server_environment": {"MLFLOW_AUTH_ADMIN_PASSWORD": "canary-secret"}}, ["Set mlflow_server_admin_password"]),
    ("postgres", {"postgres_users": [{**OTHER, "databases": ["mlflow"]}]}, ["the databases of postgres_users are mlflow, mlflow", "a name of its own"]),
    ("postgres", {"postgres_users": [OTHER, OTHER]}, ["postgres_users has grafana. Give each user a name of its own"]),
    ("postgres", {"postgres_users": [{**OTHER, "name": "mlflow_rotation"}]}, ["postgres_users has mlflow_rotation", "not one of"]),
    ("postgres", {"postgres_users": [{**OTHER, "name": 'a" all'}]}, ["postgres_users has a", "letters, digits"]),
    ("postgres", {"postgres_users": [{**OTHER, "password": "canary-pass"}]}, ["The password of grafana in postgres_users has fewer than 12 characters"]),
    ("postgres", {"postgres_users": [{**OTHER, "clients": ["all trust"]}]}, ["The clients of postgres_users have all trust"]),
    ("postgres", {"postgres_users": [{"name": "grafana"}]}, ["missing required arguments: password"]),
    ("postgres", {"postgres_more_databases": ["mlflow"]}, ["the databases of postgres_users are mlflow, mlflow, grafana", "a name of its own"]),
    ("mlflow_server", {"mlflow_server_port": TAKEN}, ["mlflow_server_port is", "127.0.0.1:", "held by", "Stop that process"]),
    ("mlflow_server", {**OIDC, "mlflow_server_oidc_discovery_url": ""}, ["mlflow_server_oidc_discovery_url is empty", "/.well-known/openid-configuration"]),
    ("mlflow_server", {**OIDC, "mlflow_server_oidc_discovery_url": "http://login.example.org/.well-known/openid-configuration"}, ["starts with https://"]),
    (
        "mlflow_server",
        {**OIDC, "mlflow_server_oidc_discovery_url": "https://login.example.org/"},
        ["mlflow_server_oidc_discovery_url is https://login.example.org/"],
    ),
    ("mlflow_server", {**OIDC, "mlflow_server_oidc_client_id": ""}, ["mlflow_server_oidc_client_id or mlflow_server_oidc_client_secret is empty"]),
    ("mlflow_server", {**OIDC, "mlflow_server_oidc_client_secret": ""}, ["mlflow_server_oidc_client_id or mlflow_server_oidc_client_secret is empty"]),
    ("mlflow_server", {**OIDC, "mlflow_server_oidc_redirect_uri": "http://mlflow.example.org/callback"}, ["never by plain HTTP", "atlas_mlflow_tls"]),
    ("mlflow_server", {**OIDC, "mlflow_server_oidc_redirect_uri": "https://mlflow.example.org/"}, ["https://NAME/callback"]),
    ("mlflow_server", {**OIDC, "mlflow_server_oidc_groups": []}, ["mlflow_server_oidc_groups is empty", "nobody could log in"]),
    ("mlflow_server", {**OIDC, "mlflow_server_oidc_groups": ["a,b"]}, ["has a name with a comma"]),
    ("mlflow_server", {**OIDC, "mlflow_server_admin_password": "short"}, ["mlflow_server_admin_password has 5 characters", "mlflow_server_auth is oidc"]),
    ("mlflow_server", {**OIDC, "mlflow_server_static_prefix": "/mlflow"}, ["mlflow_server_static_prefix is /mlflow", "pages at the root"]),
    (
        "mlflow_server",
        {"mlflow_server_workspaces": True, "mlflow_server_version": "3.5.1"},
        ["mlflow_server_workspaces is true, and MLflow 3.5.1 has no --enable-workspaces", "3.17.2 or 3.10.1"],
    ),
    ("mlflow_server", {**OIDC, "mlflow_server_jobs_enabled": True}, ["mlflow_server_jobs_enabled is true", "jobs cannot log in"]),
    ("mlflow_server", {**OIDC, "mlflow_server_version": "3.10.1"}, ["fits no release older than 3.17.2", "mlflow_server_version is 3.10.1"]),
    ("mlflow_server", {**OIDC, "mlflow_server_lock_file": "/etc/hostname"}, ["mlflow_server_lock_file has no mlflow-oidc-auth"]),
    ("mlflow_server", {**OIDC, "mlflow_server_deployment": "container"}, ["mlflow_server_image_source is official", "Set mlflow_server_image_source to build"]),
    (
        "mlflow_server",
        {**OIDC, "mlflow_server_environment": {"OIDC_CLIENT_SECRET": "canary-secret"}},
        ["OIDC_CLIENT_SECRET: Set mlflow_server_oidc_client_secret"],
    ),
    (
        "mlflow_server",
        {**OIDC, "mlflow_server_users": [{"name": "ada", "password": "adas-own-password"}]},
        ["mlflow_server_auth is oidc", "has no users from here"],
    ),
    ("mlflow_server", {**OIDC, "mlflow_server_auth": "saml"}, ["mlflow_server_auth", "none, basic, oidc"]),
    ("postgres", {"postgres_deployment": "container"}, ["postgres_superuser_password has 0 characters"]),
    ("postgres", {"postgres_deployment": "container", "postgres_repository": "pgdg"}, ["postgres_repository is pgdg", "whose image holds PostgreSQL"]),
    ("postgres", {"postgres_deployment": "container", "postgres_image": "postgres"}, ["postgres_image is postgres", "tag other than latest"]),
    ("postgres", {"postgres_deployment": "container", "postgres_container_user": "postgres"}, ["postgres_container_user is postgres", "999:999"]),
    ("postgres", {"postgres_port": TAKEN}, ["postgres_port is", "held by", "pg_dump"]),
    ("minio", {"minio_image": "minio:RELEASE.2025"}, ["minio_deployment is systemd", "Set minio_deployment to container"]),
    ("minio", {"minio_deployment": "container", "minio_image": "minio:latest"}, ["another release tomorrow"]),
    *(
        (role, {**CONTAINERS[role], **given, variable: f"{image}:17@{DIGEST}"}, [f"{variable} is {image}:17@", "leave out the tag"])
        for role, variable, given in IMAGES
        for image in ("one", "registry.example.com:5000/team/one")
    ),
    *(
        (role, {**CONTAINERS[role], **given, variable: f"one@{DIGEST}", **archived}, [f"{variable} is one@", seen, "has no digest"])
        for role, variable, given in IMAGES
        for archived, seen in (
            ({f"{role}_image_archive": "/srv/one.tar"}, f"{role}_image_archive is /srv/one.tar"),
            *([({"atlas_mlflow_bundle": "/srv/bundle.tar"}, "atlas_mlflow_bundle is set")] if variable != "mlflow_server_image_base" else []),
        )
    ),
    ("minio", {"minio_deployment": "container", "minio_image": "minio:1", "minio_container_user": "minio"}, ["as numbers, such as 0:0"]),
    ("minio", {"minio_port": TAKEN}, ["minio_port is", "held by", "mc mirror"]),
    (
        "postgres",
        {"postgres_version": "17", "ansible_facts": {"postgres_clusters": [FORMER]}},
        ["postgres_version is 17", "the data are those of PostgreSQL 15", "upgrade_postgres.yml"],
    ),
    (
        "postgres",
        {"postgres_version": "15", "ansible_facts": {"postgres_clusters": [{**FORMER, "upgrade": "begun"}]}},
        ["was cut short", "upgrade_postgres.yml again"],
    ),
    (
        "postgres",
        {"ansible_facts": {"postgres_restoring": {"to": "atlas-20260504T023000Z", "postgres": {}}}},
        ["to atlas-20260504T023000Z was interrupted", "Run restore.yml again, with backup_restore_to set to atlas-20260504T023000Z", "restoring.json"],
    ),
    (
        "postgres",
        member("case", stack={**JOINED, "postgres": {**JOINED["postgres"], "version": "15"}}),
        ["postgres_version is 17", "the data are those of PostgreSQL 15", "upgrade_postgres.yml"],
    ),
    (
        "postgres",
        member("case", stack={**JOINED, "postgres": {**JOINED["postgres"], "version": "17", "upgrade": {"from": "15", "phase": "switched"}}}),
        ["was cut short", "upgrade_postgres.yml again"],
    ),
    (
        "postgres",
        {"postgres_settings": {"max_connections": 100}, "postgres_connections": 98},
        ["max_connections 100", "may open 98", "mlflow_server_workers", "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE"],
    ),
    ("postgres", {"postgres_password": "short"}, ["postgres_password has 5 characters"]),
    *((role, member("case", MEMBERS[:2]), ["2 hosts, and none of two is a majority"]) for role in ("postgres", "etcd")),
    ("postgres", {**CLUSTER, "postgres_deployment": "container"}, ["postgres_deployment is container", "Patroni starts, stops and rewinds"]),
    *((role, {**CLUSTER, f"{role}_tls_authority": ""}, [f"{role}_tls_authority is empty", "atlas_mlflow_tls to true"]) for role in ("postgres", "etcd")),
    *(
        (role, {**CLUSTER, f"{role}_tls_certificate": AUTHORITY, f"{role}_tls_key": AUTHORITY}, [f"{role}_tls_certificate and {role}_tls_key do not fit"])
        for role in ("postgres", "etcd")
    ),
    ("etcd", {**CLUSTER, "etcd_tls_key": ""}, ["One of etcd_tls_certificate and etcd_tls_key"]),
    *(
        (role, {**CLUSTER, "atlas_mlflow_tls": False, f"{role}_tls_authority": "/no/such.pem"}, [f"{role}_tls_authority is /no/such.pem, which is no file"])
        for role in ("postgres", "etcd")
    ),
    # On the first host alone, on a later one alone, and on both.
    *(
        ("postgres", {**member(there=there), **here}, [f"{name} differ between two and case", "for the group postgres"])
        for name, one, other in (
            ("postgres_database", "other", "third"),
            ("postgres_settings", {"max_connections": 300}, {"max_connections": 400}),
            ("etcd_client_port", 3379, 4379),
            ("etcd_peer_port", 3380, 4380),
        )
        for there, here in (({name: one}, {}), ({}, {name: one}), ({name: one}, {name: other}))
    ),
    (
        "postgres",
        {**member(there={"ansible_facts": {"distribution_release": "trixie"}}), "postgres_version": ""},
        ["two has PostgreSQL 15 and case has 17", "Set postgres_version"],
    ),
    (
        "postgres",
        member("case", MEMBERS[:1] + MEMBERS[2:] + [{**MEMBERS[1], "name": "four"}], stack=JOINED),
        ["the cluster of case, three, two", "four", "no majority"],
    ),
    ("postgres", member("case", [], stack=JOINED), ["case is a member of the cluster of case, three, two, and the group postgres has case"]),
    ("postgres", {**member(postgres_clusters=[{**FORMER, "version": "17"}])}, ["two has a PostgreSQL of its own", "pg_dropcluster --stop 17 main"]),
    ("postgres", member("case", postgres_clusters=[{**FORMER, "version": "17", "data": "/srv/pg"}]), ["are in /srv/pg", "/var/lib/postgresql/17/main"]),
    (
        "postgres",
        member("case", stack={"backup": {"repository": "/backup", "reaches": REACHES, "secrets": {}}}),
        ["case has the backup of one host", "Set backup_repository of all members to s3://BUCKET/PREFIX", "atlas-mlflow-backup.timer"],
    ),
    (
        "backup",
        {**member(there={"backup_repository": "s3://kept/atlas"}), "backup_postgres_port": 5432},
        ["backup_repository is /var/backups/atlas-mlflow on two and s3://kept/atlas on case", "Set it for the group postgres"],
    ),
    (
        "backup",
        {**member(there={"backup_repository": "/mnt/backups"}), **ON_S3, "backup_postgres_port": 5432},
        ["backup_repository is s3://kept/atlas on two and /mnt/backups on case"],
    ),
    (
        "backup",
        {**member(there={**ON_S3, "backup_repository_s3_endpoint_url": "https://other:9000"}), **ON_S3, "backup_postgres_port": 5432},
        ["backup_repository_s3_endpoint_url is https://minio:9000 on two and https://other:9000 on case"],
    ),
    ("postgres", {**CLUSTER, "postgres_rewind_password": "short"}, ["postgres_rewind_password has 5 characters"]),
    ("postgres", {**POOLER, "postgres_deployment": "container"}, ["postgres_pgbouncer is true, and postgres_deployment is container", "to systemd"]),
    ("postgres", {**POOLER, "postgres_pgbouncer_port": 70000}, ["postgres_pgbouncer_port is 70000"]),
    (
        "postgres",
        {**POOLER, "ansible_facts": {**FACTS, "listeners": [listener(6432, "other.service")]}},
        ["postgres_pgbouncer_port is 6432, and 127.0.0.1:6432"],
    ),
    ("postgres", {**POOLER, "ansible_facts": {**FACTS, "listeners": [listener(7000, "pgbouncer.service")]}}, ["runs a PgBouncer that this collection did not"]),
    ("postgres", {**POOLER, "groups": TWO, "postgres_pgbouncer_pool_size": 5}, ["postgres_pgbouncer_pool_size is 5", "Set 6 or more"]),
    ("postgres", {**POOLER, "postgres_clients": ["web.example.com", "10.0.0.7"]}, ["postgres_clients has web.example.com, and PgBouncer knows no names"]),
    (
        "postgres",
        {**POOLER, "postgres_settings": {"max_connections": 30}, "postgres_connections": 200, "postgres_more_databases": ["mlflow_auth"]},
        ["max_connections 30", "PgBouncer may open 40", "smaller postgres_pgbouncer_pool_size"],
    ),
    (
        "postgres",
        {"_atlas_mlflow_plan": {"postgres_more_databases": ["mlflow_auth"]}, "postgres_users": [{**OTHER, "databases": ["mlflow_auth"]}]},
        ["the databases of postgres_users are mlflow, mlflow_auth, mlflow_auth"],
    ),
    ("postgres", {**CLUSTER, "postgres_patroni_port": 0}, ["postgres_patroni_port is 0"]),
    (
        "postgres",
        {**CLUSTER, "postgres_watchdog": "required", "ansible_facts": {**FACTS, "watchdog": False}},
        ["postgres_watchdog is required, and case has no /dev/watchdog", "modprobe softdog", "automatic"],
    ),
    ("etcd", {**CLUSTER, "ansible_facts": {"listeners": [{**FACTS["listeners"][0], "address": "192.0.2.7", "port": 2380}]}}, ["etcd_peer_port is 2380, and"]),
    ("etcd", member(**OTHERS), ["two has no data of etcd, and case already form a cluster", "does not answer with a majority"]),
    ("etcd", {**member(**OTHERS), **present("case", "two", "three")}, ["case know it as a member that has", "replace_postgres_member.yml", "=two"]),
    (
        "etcd",
        {**member(**OTHERS, stack=JOINED), **present("case", "three")},
        ["two has data of etcd (/var/lib/etcd/atlas-mlflow), and case form a cluster that it does not belong to", "/var/lib/postgresql/15/main"],
    ),
    (
        "postgres",
        {**member("new", [MEMBERS[0], {**MEMBERS[1], "name": "new"}, MEMBERS[2]], **OTHERS, stack=JOINED), **present("case", "two", "three")},
        ["new belongs to the cluster of case, three, two", "Restore its name in the inventory (two)", "atlas_mlflow_address"],
    ),
    (
        "etcd",
        {**member(**OTHERS, stack=JOINED), **present("case", "two", "three"), "etcd_peer_port": 2390},
        ["etcd_peer_port is 2390", "call two at https://192.0.2.8:2380", "Set etcd_peer_port to 2380"],
    ),
    (
        "etcd",
        {**member(**OTHERS, stack=JOINED, etcd=ASKED), **present("case", "two", "three"), "etcd_client_port": 2390},
        ["etcd_client_port is 2390", "the etcd that runs on two serves Patroni at 2379", "Set etcd_client_port to 2379"],
    ),
    (
        "etcd",
        {**member(of=[MEMBERS[0], {**MEMBERS[1], "address": "10.0.0.8", "ip": "10.0.0.8"}, MEMBERS[2]], **OTHERS, stack=JOINED), **present("case", "two")},
        ["The address of two is 10.0.0.8", "call it at https://192.0.2.8:2380", "Set atlas_mlflow_address of two to 192.0.2.8", "postgres_member=two"],
    ),
    # The same with a name, to which the IP address of the host does not belong any more.
    (
        "etcd",
        {**member(of=[MEMBERS[0], {**MEMBERS[1], "address": "two.lan", "ip": "10.0.0.8"}, MEMBERS[2]], **OTHERS, stack=JOINED), **present("case", "two")},
        ["The address of two is 10.0.0.8"],
    ),
    (
        "postgres",
        {**member("case", stack=JOINED), **present("case", "two", "three", "four")},
        ["four belongs to the cluster, and is not in the group postgres", "remove_postgres_member.yml or replace_postgres_member.yml", "=four"],
    ),
    (
        "postgres",
        {**member("case", postgres_clusters=[{**FORMER, "version": "17"}]), "hostvars": {"two": {"ansible_facts": {"stack": JOINED}}}},
        ["case has a PostgreSQL of its own", "become a copy of the cluster of two", "pg_dropcluster --stop 17 main"],
    ),
    ("etcd", {"etcd_peer_prot": 2381}, ["etcd_peer_prot (did you mean etcd_peer_port?)"]),
    ("postgres", {"postgres_repository": "pgdg", "postgres_version": ""}, ["postgres_version"]),
    ("postgres", {"postgres_repository": "apt"}, ["postgres_repository", "distribution, pgdg"]),
    ("postgres", {"postgres_port": 70000}, ["postgres_port is 70000"]),
    ("minio", {"minio_install_method": "file"}, ["minio_file is empty"]),
    ("minio", {"minio_install_method": "file", "minio_file": "/no/such/minio"}, ["minio_file is /no/such/minio, which is not there"]),
    ("minio", {"minio_install_method": "file", "minio_file": __file__, "minio_file_sha256": "0" * 64}, ["with the sha256", "minio_file_sha256"]),
    ("minio", {"minio_install_method": "source", "minio_flavour": "silo"}, ["minio_flavour is silo"]),
    ("minio", {"minio_sha256": "latest"}, ["minio_sha256"]),
    ("minio", {"minio_root_password": "minioadmin"}, ["minio_root_password has 10 characters", "atlas.mlflow.site"]),
    ("minio", {"minio_secret_key": "canary-key"}, ["minio_secret_key has 10 characters"]),
    ("minio", {"minio_access_key": "atlas-root"}, ["must differ"]),
    ("minio", {"minio_bucket": "My_Bucket"}, ["minio_bucket is My_Bucket"]),
    ("mlflow_server", {"mlflow_server_prot": 5002}, ["mlflow_server_prot (did you mean mlflow_server_port?)"]),
    ("postgres", {"postgres_pasword": "long-enough-password"}, ["postgres_pasword (did you mean postgres_password?)"]),
    ("minio", {"minio_buckets": ["mlflow"]}, ["minio_buckets (did you mean minio_bucket?)"]),
    ("mlflow_server", {"mlflow_server_environment": {"MLFLOW TIMEOUT": 5}}, ["mlflow_server_environment has MLFLOW TIMEOUT: this is no name"]),
    ("mlflow_server", {"mlflow_server_environment": {"MLFLOW_ARGS": ["a", "b"]}}, ["MLFLOW_ARGS: its value is a list or a dictionary"]),
    ("mlflow_server", {"mlflow_server_environment": ["MLFLOW_ARGS=1"]}, ["mlflow_server_environment", "dict"]),
    ("mlflow_server", {"mlflow_server_download_environment": {"HTTPS-PROXY": "http://proxy:3128"}}, ["HTTPS-PROXY"]),
    ("postgres", {"postgres_download_environment": {"HTTPS_PROXY": ["proxy:3128"]}}, ["postgres_download_environment has HTTPS_PROXY: its value is a list"]),
    ("backup", {"backup_download_environment": {"HTTPS_PROXY": None}}, ["backup_download_environment has HTTPS_PROXY: its value is empty (null)"]),
    (
        "postgres",
        {
            "postgres_repository": "pgdg",
            "postgres_version": "17",
            "postgres_download_environment": {"NO_PROXY": "a:b@c", "HTTPS_PROXY": "http://u:canary-secret@proxy:3128"},
        },
        ["postgres_download_environment has a password in HTTPS_PROXY, and postgres_pgdg_key_url is a URL", "postgres_pgdg_key_url to its path"],
    ),
    ("postgres", {"postgres_settings": {"work_mem": None}}, ["postgres_settings has work_mem: its value is empty (null). Remove the line"]),
    ("postgres", {"postgres_settings": {"max connections": 200}}, ["postgres_settings has max connections: this is no name"]),
    ("postgres", {"postgres_settings": {"max_connections": {"value": 200}}}, ["max_connections: its value is a list"]),
    ("postgres", {"postgres_settings": {"listen_addresses": "*"}}, ["listen_addresses: Set postgres_listen_addresses"]),
    ("postgres", {"postgres_settings": {"password_encryption": "md5"}}, ["password_encryption: It is scram-sha-256"]),
    ("minio", {"minio_environment": {"MINIO_ROOT_PASSWORD": "canary-secret"}}, ["MINIO_ROOT_PASSWORD: Set minio_root_password"]),
    ("minio", {"minio_environment": {"MINIO-SITE": "eu"}}, ["MINIO-SITE"]),
    ("mlflow_server", {"mlflow_server_port": -5001}, ["mlflow_server_port is -5001"]),
    ("mlflow_server", {"mlflow_server_workers": "many"}, ["mlflow_server_workers", "int"]),
    ("mlflow_server", {"mlflow_server_jobs_enabled": "perhaps"}, ["mlflow_server_jobs_enabled", "bool"]),
    ("mlflow_server", {"mlflow_server_host": "everywhere"}, ["mlflow_server_host is everywhere"]),
    (
        "mlflow_server",
        {"mlflow_server_deployment": "container", "mlflow_server_image_source": "custom", "mlflow_server_image": "mlflow@sha256:abc"},
        ["mlflow_server_image is mlflow@sha256:abc"],
    ),
    ("postgres", {"postgres_listen_addresses": ["db.example.com"]}, ["postgres_listen_addresses has db.example.com"]),
    (
        "postgres",
        {"postgres_listen_addresses": ["localhost"], "_atlas_mlflow_plan": {"postgres_listen_addresses": ["localhost", "10.0.0.7"]}},
        ["postgres_listen_addresses has 127.0.0.1, and this stack connects to PostgreSQL at 10.0.0.7. Add 10.0.0.7"],
    ),
    (
        "postgres",
        {
            "postgres_listen_addresses": ["10.0.0.7"],
            "_atlas_mlflow_plan": {"postgres_listen_addresses": ["localhost", "10.0.0.7"], "postgres_server_here": True},
        },
        ["this stack connects to PostgreSQL at 127.0.0.1, 10.0.0.7. Add 127.0.0.1"],
    ),
    (
        "postgres",
        {
            "postgres_deployment": "container",
            "postgres_listen_addresses": ["10.0.0.7"],
            "_atlas_mlflow_plan": {"postgres_listen_addresses": ["localhost", "10.0.0.7"]},
        },
        ["this stack connects to PostgreSQL at 127.0.0.1, 10.0.0.7. Add 127.0.0.1"],
    ),
    *(
        (
            "postgres",
            {**given, "postgres_listen_addresses": ["::"], "_atlas_mlflow_plan": {"postgres_listen_addresses": ["localhost"], "postgres_server_here": True}},
            ["postgres_listen_addresses has ::, and this stack connects to PostgreSQL at 127.0.0.1. Add 127.0.0.1"],
        )
        for given in ({}, CONTAINERS["postgres"])
    ),
    (
        "minio",
        {"minio_listen_address": "127.0.0.1", "_atlas_mlflow_plan": {"minio_needed_address": "10.0.0.7"}},
        ["minio_listen_address is 127.0.0.1, and this stack connects to MinIO at 10.0.0.7. Leave the variable out"],
    ),
    (
        "minio",
        {"minio_data_dir": "/mnt/minio", "ansible_facts": {"stack": {"minio": {"folder": "/var/lib/minio"}}}},
        ["minio_data_dir is /mnt/minio", "MinIO has its data in /var/lib/minio", "minio_allow_data_change"],
    ),
    (
        "minio",
        {"minio_deployment": "container", "minio_container_volume": "new", "ansible_facts": {"stack": {"minio": {"volume": "atlas-minio-data"}}}},
        ["minio_container_volume is new", "the Docker volume atlas-minio-data", "minio_allow_data_change"],
    ),
    (
        "postgres",
        {"postgres_deployment": "container", "postgres_container_volume": "new", "ansible_facts": {"stack": {"postgres": {"volume": "atlas-postgres-data"}}}},
        ["postgres_container_volume is new", "the Docker volume atlas-postgres-data", "postgres_allow_data_change"],
    ),
    *(
        (
            "postgres",
            {"postgres_deployment": "container", "postgres_superuser_password": "long-enough-password", "postgres_image": image},
            ["postgres_container_user is 999:999", image, "Set postgres_container_user to 70:70"],
        )
        for image in ("postgres:17-alpine", "docker.io/library/postgres:17.6-alpine3.22", "registry.example.com:5000/postgres:18-alpine")
    ),
    ("minio", {"minio_drives": ["/srv/disk1"]}, ["minio_drives is /srv/disk1", "settings of a pool"]),
    ("minio", {"minio_drives": ["/tmp/disk1"], **pool("/tmp/disk1")}, ["minio_drives[0] is /tmp/disk1"]),
    ("minio", {"minio_deployment": "container", **pool()}, ["minio_deployment is container, and the group minio has several hosts"]),
    ("minio", {"minio_listen_address": "127.0.0.1", **pool()}, ["minio_listen_address is 127.0.0.1, and the other hosts"]),
    ("minio", pool(scheme="https"), ["two, three, four has no certificate for MinIO"]),
    ("minio", pool(hosts=3), ["Pool 1 of the group minio has 3 of its hosts"]),
    ("minio", pool("/srv/disk1", drives=["/srv/disk1", "/srv/disk2"]), ["case has 2, two has 1"]),
    ("minio", pool(hosts=17), ["17 drives, which no size", "16 or 18"]),
    ("minio", {"minio_environment": {"MINIO_STORAGE_CLASS_STANDARD": "EC:1"}, **pool("/a", "/b", "/c", "/d")}, ["a write needs 15", "more parity"]),
    ("minio", {"minio_environment": {"MINIO_STORAGE_CLASS_STANDARD": "EC:3"}, **pool()}, ["EC:3, and a set of 4 drives takes 1 to 2"]),
    ("minio", {**pool(), "ansible_facts": {"drive_devices": {"/": 1, "/var/lib/minio": 1}}}, ["/var/lib/minio is on the root file system", "to 1 in"]),
    (
        "minio",
        {"minio_drives": ["/srv/a", "/srv/b"], **pool("/srv/a", "/srv/b"), "ansible_facts": {"drive_devices": {"/": 1, "/srv/a": 2, "/srv/b": 2}}},
        ["Two of minio_drives (/srv/a, /srv/b) are on the same file system"],
    ),
    (
        "minio",
        {**pool(), "ansible_facts": {"stack": {"minio": {"folder": "/var/lib/minio"}}}},
        [
            "The group minio has 4 hosts, and MinIO has its data on case alone, in /var/lib/minio",
            "four or more new hosts",
            "run playbooks/move_stores.yml, which copies",
        ],
    ),
    # Another order, one host more, one host alone, and another drive.
    ("minio", {**pool(), **pools_file("two", "case", "three", "four")}, ["of the hosts two, case, three, four", "in this order"]),
    ("minio", {**pool(hosts=5), **pools_file("case", "two", "three", "four")}, ["another minio_pool"]),
    ("minio", pools_file("case", "two", "three", "four"), ["The host belongs to a pool of MinIO of the hosts case, two, three, four"]),
    ("minio", {**pool("/srv/disk1"), **pools_file("case", "two", "three", "four")}, ["with the drives /var/lib/minio"]),
    (
        "mlflow_server",
        {"_atlas_mlflow_plan": {"front_authority": "/no/such.pem", "tls_authority": ""}},
        ["atlas_mlflow_tls_authority is /no/such.pem, which is no file on the control node"],
    ),
    (
        "haproxy",
        {"ansible_facts": {"stack": {"haproxy": {"foreign": ["frontend www", "backend shop"]}}}},
        ["case has settings of its own in /etc/haproxy/haproxy.cfg (frontend www, backend shop)", "mlflow_server_proxies", "move the file away"],
    ),
    ("haproxy", {"haproxy_minio_servers": SERVERS, "haproxy_minio_port": 80}, ["haproxy_minio_port is 80, and haproxy_port is 80"]),
    ("haproxy", {"haproxy_minio_servers": SERVERS, "haproxy_minio_port": TAKEN}, ["held by"]),
    ("haproxy", {"haproxy_postgres_servers": SERVERS, "haproxy_postgres_port": 80}, ["haproxy_postgres_port is 80, and so is haproxy_port"]),
    ("haproxy", {"haproxy_postgres_servers": SERVERS, "haproxy_postgres_port": TAKEN}, ["held by"]),
    ("haproxy", {"haproxy_postgres_servers": SERVERS, "haproxy_metrics_port": 6433}, ["haproxy_metrics_port is 6433, and so is haproxy_postgres_port"]),
    (
        "haproxy",
        {
            "haproxy_postgres_servers": SERVERS,
            "hostvars": {"case": {}, "two": {"haproxy_postgres_port": 7000}},
            "_atlas_mlflow_plan": {"proxies": ["case", "two"]},
        },
        ["haproxy_postgres_port is 6433 on case, 7000 on two", "the same on all proxies"],
    ),
    ("haproxy", {"haproxy_postgres_servers": [{"name": "a", "address": "db1"}]}, ["haproxy_postgres_servers has a at db1", "HOST:PORT"]),
    ("haproxy", {"haproxy_postgres_servers": [{"name": "a"}]}, ["address", "haproxy_postgres_servers"]),
    ("minio", {"minio_listen_address": "minio"}, ["minio_listen_address is minio"]),
    ("minio", {"minio_console_port": 9000}, ["two different ports"]),
    *(
        (role, {f"{role}_tls_certificate": certificate, f"{role}_tls_key": key}, words)
        for role in ("mlflow_server", "postgres", "minio", "haproxy")
        for certificate, key, words in [
            (AUTHORITY, "", ["One of", "_tls_key is set and the other is empty"]),
            ("/no/such.pem", "/no/such.key", ["/no/such.pem is no file on the control node; /no/such.key is no file"]),
            (AUTHORITY, AUTHORITY, ["authority.pem holds no private key in PEM"]),
        ]
    ),
    ("mlflow_server", {"mlflow_server_workers": None}, ["mlflow_server_workers is empty (null). Remove the line to get the default"]),
    ("postgres", {"postgres_tls_certificate": None, "postgres_tls_key": None}, ["postgres_tls_certificate is empty (null)", "postgres_tls_key is empty"]),
    ("postgres", {"postgres_users": [{**OTHER, "clients": None}]}, ["postgres_users[0].clients is empty (null)"]),
    ("minio", {"minio_tls_authority": "/no/such.pem"}, ["minio_tls_authority is /no/such.pem"]),
    ("minio", {"minio_tls_authority": __file__}, [f"minio_tls_authority is {__file__}, which holds no certificate in PEM"]),
    ("prometheus", {"prometheus_tls_authority": "/no/such.pem"}, ["prometheus_tls_authority is /no/such.pem, which is no file"]),
    ("backup", {"backup_s3_authority": "/no/such.pem"}, ["backup_s3_authority is /no/such.pem, which is no file"]),
    *(
        (role, {**given, f"{role}_ca_certificate": "/no/such.crt"}, [f"{role}_ca_certificate is /no/such.crt, which is no file"])
        for role in rules.RULES
        for given in ([CLUSTER] if role == "etcd" else [{}])
    ),
    ("haproxy", {"atlas_mlflow_ca_certificate": "/no/such.crt"}, ['"atlas_mlflow_ca_certificate is /no/such.crt, which is no file']),
    # Only the inventory's own CA file is made later.
    ("minio", {"atlas_mlflow_tls": True, "minio_tls_authority": "/no/such.pem"}, ["minio_tls_authority is /no/such.pem"]),
    ("mlflow_server", {"mlflow_server_tls_authority": "/no/such.pem"}, ["mlflow_server_tls_authority is /no/such.pem"]),
    ("haproxy", {"haproxy_servers_tls_authority": "/no/such.pem"}, ["haproxy_servers_tls_authority is /no/such.pem"]),
    ("haproxy", {"haproxy_prot": 8443}, ["haproxy_prot (did you mean haproxy_port?)"]),
    ("haproxy", {"haproxy_listen_address": "proxy"}, ["haproxy_listen_address is proxy"]),
    ("haproxy", {"haproxy_port": 0}, ["haproxy_port is 0", "between 1 and 65535"]),
    ("haproxy", {"haproxy_port": TAKEN}, ["haproxy_port is", "held by", "Stop that process"]),
    ("haproxy", {"haproxy_redirect_port": 80}, ["haproxy_redirect_port is 80", "haproxy_tls_certificate"]),
    ("haproxy", {"haproxy_redirect_port": TAKEN}, ["held by", "Stop that process"]),
    ("haproxy", {"haproxy_servers": []}, ["haproxy_servers is empty", "mlflow_servers"]),
    ("haproxy", {"haproxy_servers": [{"name": "one", "address": "http://one:5001"}]}, ["haproxy_servers has http://one:5001", "HOST:PORT"]),
    ("haproxy", {"haproxy_servers": [{"name": "number one", "address": "one:5001"}]}, ["haproxy_servers has number one", "name of letters"]),
    ("haproxy", {"haproxy_servers": [{"name": "one"}]}, ["address", "haproxy_servers"]),
    ("haproxy", {"haproxy_static_prefix": "mlflow/"}, ["haproxy_static_prefix is mlflow/", "starts with a slash"]),
    ("haproxy", {"haproxy_hsts_seconds": 3600}, ["haproxy_hsts_seconds is 3600", "haproxy_tls_certificate"]),
    ("haproxy", {"haproxy_metrics_port": -1}, ["haproxy_metrics_port is -1", "between 1 and 65535", "0 for no metrics"]),
    ("haproxy", {"haproxy_metrics_port": 80}, ["haproxy_metrics_port is 80, and so is haproxy_port"]),
    (
        "haproxy",
        {"haproxy_metrics_port": 9000, "haproxy_minio_servers": SERVERS},
        ["haproxy_metrics_port is 9000, and so is haproxy_minio_port"],
    ),
    ("haproxy", {"haproxy_metrics_port": TAKEN}, ["haproxy_metrics_port is", "held by", "Stop that process"]),
    ("haproxy", {"haproxy_metrics_address": "proxy"}, ["haproxy_metrics_address is proxy", "IP address"]),
    ("haproxy", {"haproxy_metrics_clients": ["10.0.0.7", "prometheus"]}, ["haproxy_metrics_clients has prometheus. Give addresses"]),
    (
        "haproxy",
        {"haproxy_metrics_port": 8405, "haproxy_metrics_clients": ["127.0.0.1", "10.1.0.0/24"]},
        ["haproxy_metrics_clients has 10.1.0.0/24, and haproxy_metrics_address is 127.0.0.1", "0.0.0.0"],
    ),
    ("haproxy", {"haproxy_max_connections": 0}, ["haproxy_max_connections is 0"]),
    ("haproxy", {"haproxy_max_body_bytes": -5}, ["haproxy_max_body_bytes is -5", "0 for no limit"]),
    ("haproxy", {"haproxy_request_timeout": 0, "haproxy_check_interval": -5}, ["haproxy_request_timeout, haproxy_check_interval is less than 1"]),
    ("haproxy", {"haproxy_check_user": "admin"}, ["haproxy_check_password", "Set both"]),
    ("haproxy", {"haproxy_check_status": "ok"}, ["haproxy_check_status is ok", "200-499"]),
    ("haproxy", {"haproxy_client_timeout": "1m"}, ["haproxy_client_timeout", "int"]),
    *(
        ("haproxy", {**SHARED, **given}, words)
        for given, words in [
            ({"haproxy_virtual_address": "shared"}, ["haproxy_virtual_address is shared", "10.0.0.9/24"]),
            ({"haproxy_virtual_address": "fd00::9"}, ["haproxy_virtual_address is fd00::9", "IPv4"]),
            ({"_atlas_mlflow_plan": {"proxies": ["case"]}}, ["haproxy_virtual_address is 192.0.2.9", "group haproxy has 1 host"]),
            (
                {"_atlas_mlflow_plan": {"proxies": ["case", "two"], "virtual_addresses": {"case": "192.0.2.9 51", "two": " 51"}}},
                ["must be the same on all proxies", "case has 192.0.2.9 with haproxy_virtual_router_id 51", "two has none with"],
            ),
            ({"hostvars": {"two": {"atlas_mlflow_ip": "192.0.2.9"}}}, ["haproxy_virtual_address is 192.0.2.9, which is the address of two"]),
            (
                {"haproxy_virtual_address": "10.9.0.9"},
                ["haproxy_virtual_address is 10.9.0.9", "eth0, whose network is 192.0.2.0/24", "haproxy_virtual_interface"],
            ),
            ({"haproxy_virtual_interface": "eth7"}, ["eth7, which has no address, or which case does not have"]),
            ({"atlas_mlflow_ip": "10.9.0.7"}, ["no interface of case has 10.9.0.7", "Set atlas_mlflow_address of case to one of 192.0.2.7"]),
            ({"haproxy_listen_address": "192.0.2.9"}, ["haproxy_listen_address is 192.0.2.9", "before the host has it", "0.0.0.0"]),
            ({"haproxy_virtual_router_id": 256}, ["haproxy_virtual_router_id is 256", "from 1 to 255"]),
            ({"haproxy_virtual_secret": "canary-secret"}, ["haproxy_virtual_secret does not have eight letters and digits"]),
            ({"ansible_facts": {**PROXY, "stack": {"haproxy": {"keepalived": "other"}}}}, ["case has settings of its own in /etc/keepalived/keepalived.conf"]),
        ]
    ),
    ("firewall", {"firewall_allowed": [{"protocol": "tcp", "sources": ["any"]}]}, ["firewall_allowed", "has 0", "between 1 and 65535"]),
    ("metrics", {"metrics_node_prot": 9100}, ["metrics_node_prot (did you mean metrics_node_port?)"]),
    (
        "metrics",
        {"_atlas_mlflow_plan": {"metrics": True, "container_networks": {"minio": "n"}}},
        ["minio_deployment is container", "atlas_mlflow_metrics: false"],
    ),
    (
        "metrics",
        {"_atlas_mlflow_plan": {"metrics": True, "container_networks": {"mlflow_server": "n"}, "container_engines": {"mlflow_server": "podman"}}},
        ["mlflow_server_deployment is podman: the exporters"],
    ),
    (
        "metrics",
        {
            "metrics_enabled": True,
            "metrics_listen_address": "127.0.0.1",
            "atlas_mlflow_ip": "192.0.2.7",
            "_atlas_mlflow_plan": {
                "metrics_clients": ["192.0.2.7", "192.0.2.8"],
                "metrics_unreached": {"metrics_listen_address": "127.0.0.1", "mlflow_server_host": "::1"},
            },
        },
        [
            "metrics_listen_address is 127.0.0.1, and mlflow_server_host is ::1, and the metrics are read from 192.0.2.8, which reaches no loopback address",
            "Leave metrics_listen_address and mlflow_server_host out",
        ],
    ),
    ("metrics", {"metrics_listen_address": "prometheus"}, ["metrics_listen_address is prometheus", "IP address"]),
    ("metrics", {"metrics_enabled": True, "metrics_node_port": 91000}, ["metrics_node_port is 91000", "between 1 and 65535"]),
    ("metrics", {"metrics_enabled": True, "metrics_node_port": TAKEN}, [f"metrics_node_port is {TAKEN}", "held by", "set another port"]),
    (
        "metrics",
        {"metrics_postgres_port": 9100, "_atlas_mlflow_plan": {"metrics": True, "metrics_of_postgres": True}},
        ["metrics_node_port and metrics_postgres_port are the same"],
    ),
    ("metrics", {"atlas_mlflow_metrics_clients": ["prometheus.corp"]}, ["atlas_mlflow_metrics_clients has prometheus.corp", "10.1.0.0/24"]),
    ("metrics", {"metrics_postgres_user": "postgres"}, ["metrics_postgres_user is postgres", "a name of its own"]),
    ("metrics", {"metrics_tls_certificate": "/etc/hostname"}, ["One of metrics_tls_certificate and metrics_tls_key is set"]),
    ("metrics", {"metrics_tls_certificate": AUTHORITY, "metrics_tls_key": AUTHORITY}, ["metrics_tls_certificate and metrics_tls_key do not fit"]),
    ("prometheus", {"prometheus_alert": {}}, ["prometheus_alert (did you mean prometheus_alerts?)"]),
    ("prometheus", {"prometheus_listen_address": "localhost"}, ["prometheus_listen_address is localhost", "IP address"]),
    ("prometheus", {"prometheus_port": TAKEN}, [f"prometheus_port is {TAKEN}", "held by"]),
    ("prometheus", {"prometheus_port": 0}, ["prometheus_port is 0", "between 1 and 65535"]),
    ("prometheus", {"prometheus_retention": "30"}, ["prometheus_retention is 30", "such as 30d"]),
    ("prometheus", {"prometheus_alerts": {"ServerDown": {"for": "5m"}}}, ["prometheus_alerts: ServerDown is no alert", "MlflowServerDown"]),
    (
        "prometheus",
        {"prometheus_alerts": {"ProxyDown": {"enabled": "maybe", "for": 5, "severity": None}, "HostDown": {"for": "5 m", "expr": " ", "severity": ["page"]}}},
        [
            "prometheus_alerts.ProxyDown.enabled is 'maybe', which is not a boolean",
            "prometheus_alerts.ProxyDown.for is 5. Set a number with a unit",
            "prometheus_alerts.ProxyDown.severity is empty (null)",
            "prometheus_alerts.HostDown.for is 5 m.",
            "prometheus_alerts.HostDown.expr is an empty text",
            "prometheus_alerts.HostDown.severity is ['page'], which is not text",
        ],
    ),
    ("prometheus", {"prometheus_scrape_interval": "0s", "prometheus_retention": "1h2d"}, ["prometheus_retention is 1h2d, prometheus_scrape_interval is 0s"]),
    ("prometheus", {"prometheus_alertmanagers": ["http://alerts:9093"]}, ["prometheus_alertmanagers has http://alerts:9093", "HOST:PORT"]),
    (
        "mlflow_server",
        {"mlflow_server_metrics": True, "mlflow_server_version": "3.0.1"},
        ["mlflow_server_metrics is true, and MLflow 3.0.1 cannot keep others from its metrics", "3.5 or newer"],
    ),
    ("firewall", {"firewall_allow": []}, ["firewall_allow (did you mean firewall_allowed?)"]),
    ("firewall", {"firewall_allowed": [{"port": 9100, "sources": ["monitor.example.com"]}]}, ["firewall_allowed has monitor.example.com", "10.0.0.0/24"]),
    ("firewall", {"firewall_allowed": [{"port": 9100}]}, ["sources", "firewall_allowed"]),
    ("firewall", {"firewall_allowed": [{"port": 91000, "sources": ["any"]}]}, ["has 91000"]),
    ("firewall", {"firewall_ssh_ports": []}, ["firewall_ssh_ports is empty", "lock you out"]),
    ("firewall", {"firewall_undo_seconds": 1}, ["firewall_undo_seconds is 1"]),
    (
        "postgres",
        {
            "postgres_deployment": "container",
            "postgres_superuser_password": "long-enough-password",
            "postgres_version": "",
            "postgres_image": f"reg:5000/postgres@sha256:{'4' * 64}",
        },
        ["postgres_image is reg:5000/postgres", "does not tell the major version", "postgres_version"],
    ),
    (
        "haproxy",
        {"_atlas_mlflow_plan": {"servers_with_tls": {"one": False, "two": True}}},
        ["mlflow_server_tls_certificate is set, and haproxy_servers_tls is not", "plain HTTP to two"],
    ),
    (
        "haproxy",
        {
            "haproxy_servers": SERVERS,
            "haproxy_servers_tls": True,
            "_atlas_mlflow_plan": {"proxied_servers": SERVERS, "servers_with_tls": {"one": False, "two": True}},
        },
        ["haproxy_servers_tls is true, and mlflow_server_tls_certificate is empty for one,", "atlas_mlflow_tls to true"],
    ),
    (
        "mlflow_server",
        {"mlflow_server_host": "127.0.0.1", "_atlas_mlflow_plan": {"proxies": ["balancer"]}},
        ["mlflow_server_host is 127.0.0.1", "the proxy on balancer", "0.0.0.0"],
    ),
    (
        "mlflow_server",
        {"hostvars": {"case": {"mlflow_server_static_prefix": "/ml"}, "two": {}}, "groups": {"mlflow_servers": ["two", "case"]}},
        ["mlflow_server_static_prefix is empty on two and /ml on case", "set it for the group mlflow_servers"],
    ),
    (
        "mlflow_server",
        {"mlflow_server_deployment": "container", "mlflow_server_container_network": "apart", "_atlas_mlflow_plan": {"container_networks": {"minio": "team"}}},
        ["mlflow_server_container_network is apart, and minio_container_network is team", "atlas_mlflow_container_network"],
    ),
    ("backup", {"backup_passphrase": "short"}, ["backup_passphrase has 5 characters"]),
    ("backup", {"backup_repository": "backups"}, ["backup_repository is backups", "absolute path"]),
    ("backup", {**ON_S3, "backup_repository_s3_endpoint_url": "http://minio:9000"}, ["backup_repository_s3_endpoint_url is http://minio:9000", "TLS alone"]),
    ("backup", {**ON_S3, "backup_repository_s3_access_key_id": ""}, ["backup_repository_s3_access_key_id", "Set both"]),
    ("backup", {"backup_repository_s3_endpoint_url": "https://minio:9000"}, ["is the folder /var/backups/atlas-mlflow"]),
    ("backup", {**ON_S3, "backup_artifacts_bucket": "kept", "backup_s3_endpoint_url": "http://minio:9000"}, ["the bucket of the artifacts"]),
    ("backup", {**ON_S3, "backup_repository_s3_authority": "/no/such/file"}, ["backup_repository_s3_authority is /no/such/file"]),
    ("backup", {"backup_repository": "s3://Bad_Bucket"}, ["backup_repository is s3://Bad_Bucket", "s3://BUCKET/PREFIX"]),
    ("backup", {"backup_repository": "/tmp/backups"}, ["backup_repository is /tmp/backups", "emptied when the host starts"]),
    ("backup", {"backup_repository": "/home/ada/backups", "backup_postgres_port": 5432}, ["backup_repository is /home/ada/backups", "sees no home folder"]),
    ("backup", {"backup_keep_full": 0}, ["backup_keep_full is 0", "1 or more"]),
    ("backup", {"backup_full_every_days": "weekly"}, ["backup_full_every_days", "int"]),
    ("backup", {"mlflow_server_backend_store_uri": "postgresql+psycopg2://u:canary-secret@db/m"}, ["does not have in the group postgres"]),
    ("backup", {"mlflow_server_artifacts_destination": "s3://elsewhere"}, ["s3://elsewhere", "backup_artifacts_bucket"]),
    ("backup", {"backup_artifacts_bucket": "b", "backup_s3_endpoint_url": "minio:9000"}, ["backup_s3_endpoint_url is minio:9000"]),
    (
        "backup",
        {"_atlas_mlflow_plan": {"minio_host": "store", "minio_listen_address": "127.0.0.1"}},
        ["minio_listen_address is 127.0.0.1 on store, and the backup is made on case"],
    ),
    *(
        ("postgres", {"postgres_user": user}, [f"postgres_user is {user or 'empty'}. Give the owner of the databases a name of its own", "atlas_replication"])
        for user in (
            "postgres",
            "Postgres",
            "my user",
            "atlas_replication",
            "atlas_rewind",
            "atlas_metrics",
            "pg_monitor",
            "all",
            "+mlflow",
            "@users",
            "a,b",
            "",
        )
    ),
    ("postgres", {"postgres_user": "scraper", "postgres_metrics_user": "scraper"}, ["postgres_user is scraper"]),
    *(
        ("postgres", {name: value}, [f"{name} has {database}, a database of PostgreSQL itself or a word of pg_hba.conf", "Give the database another name"])
        for database in ("postgres", "template1", "all", "replication")
        for name, value in (
            ("postgres_database", database),
            ("postgres_more_databases", [database]),
            ("postgres_users", [{**OTHER, "databases": [database]}]),
        )
    ),
    ("postgres", {"postgres_users": [{**OTHER, "name": "public"}]}, ["postgres_users has public"]),
    *(
        (role, {name: schedule}, [f"{name} is {schedule}, which is no calendar event of systemd", "Sun *-*-* 04:00:00"])
        for role, name in (
            ("mlflow_server", "mlflow_server_gc_schedule"),
            ("postgres", "postgres_maintenance_schedule"),
            ("backup", "backup_schedule"),
            ("metrics", "metrics_schedule"),
            ("metrics", "metrics_backup_check_schedule"),
        )
        for schedule in ("every sunday", "nightly", "0 2 * * *")
    ),
    ("metrics", {"metrics_enabled": True, "metrics_schedule": ""}, ["metrics_schedule is empty", "such as *:0/5"]),
    *(
        (role, {**CONTAINERS[role], f"{role}_container_{name}": value}, [f"{role}_container_{name} is {value}. Set a number", words])
        for role in ("mlflow_server", "postgres", "minio")
        for name, value, words in (
            ("memory", "2 gigs", "such as 512m or 2g"),
            ("memory", "two", "2g"),
            ("cpus", "two", "such as 2 or 1.5"),
            ("cpus", "1,5", "1.5"),
        )
    ),
    ("backup", {"backup_repository": "/mnt/my backups", "backup_postgres_port": 5432}, ["backup_repository is /mnt/my backups, which has a space"]),
    *(
        ("backup", {"backup_repository": f"/mnt/{name}"}, ["which has a space or a character with a meaning of its own", "such as /var/backups/atlas-mlflow"])
        for name in ("100%", "a:b", "$HOME", "a,b")
    ),
    ("minio", {"minio_accounts": [PHOTOS, PHOTOS]}, ["minio_accounts has photos. Give each account a name of its own"]),
    (
        "minio",
        {"minio_accounts": [{**PHOTOS, "access_key": "mlflow"}]},
        ["minio_accounts has mlflow", "not one of atlas-root, atlas-metrics, mlflow, mlflow-rotation"],
    ),
    (
        "minio",
        {"minio_accounts": [{**PHOTOS, "secret_key": "canary"}]},
        ["photos in minio_accounts: set a secret_key of 12 to 40 characters, and buckets or a policy"],
    ),
    ("minio", {"minio_accounts": [{**PHOTOS, "secret_key": "canary-secret" * 4}]}, ["photos in minio_accounts: set a secret_key of 12 to 40 characters"]),
    (
        "minio",
        {"minio_secret_key": "canary-secret" * 4},
        ["minio_secret_key has 52 characters, and MinIO takes 40 at most for a service account", "openssl rand -hex 16"],
    ),
    *(
        ("minio", {name: account, "_atlas_mlflow_plan": {"minio_metrics_account": account}}, [f"{name} is {account}, and MinIO takes 3 to 20 characters"])
        for name in ("minio_access_key", "minio_metrics_access_key")
        for account in ("mlflow-artifacts-production", "ml=flow", "ml flow", "ml,flow", "m" * 21)
    ),
    (
        "minio",
        {"minio_metrics_secret_key": "canary-secret" * 4, "_atlas_mlflow_plan": {"minio_metrics_account": "atlas-metrics"}},
        ["minio_metrics_secret_key has 52 characters"],
    ),
    ("minio", {"minio_accounts": [{"access_key": "photos", "secret_key": "long-enough-secret"}]}, ["photos in minio_accounts: set a secret_key"]),
    ("minio", {"minio_accounts": [{**PHOTOS, "buckets": ["Photos"]}]}, ["minio_accounts has the bucket Photos. S3 takes 3 to 63"]),
    ("minio", {"minio_accounts": [{**PHOTOS, "state": "gone"}]}, ["must be one of", "gone"]),
    ("minio", {"minio_download_environment": {"HTTPS-PROXY": "http://proxy:3128"}}, ["minio_download_environment has HTTPS-PROXY"]),
    ("postgres", {"postgres_version": "", "ansible_facts": {"distribution_release": "sid"}}, ["postgres_version is empty and sid is not known"]),
    # The name of the system is the only message: every other one may be wrong.
    *((role, {"ansible_facts": FEDORA}, ["runs Fedora Linux 40 (Server", "Debian 12 or 13 and Ubuntu 22.04 or 24.04"]) for role in sorted(rules.RULES)),
    *((role, {"ansible_facts": EL}, ["runs Rocky Linux 9.6", "nobody has run them", "atlas_mlflow_allow_unrun_system"]) for role in ("minio", "haproxy")),
    ("minio", on_el(system=OLD_EL), ["Red Hat Enterprise Linux 9.2 (Plow), which has no Python 3.12", "9.4 or newer"]),
    *((role, on_el(atlas_mlflow_bundle="/own.tar"), ["case runs Enterprise Linux, while a bundle"]) for role in sorted(rules.RULES)),
    *((role, on_el(), ["no packages of Prometheus", "atlas_mlflow_metrics to false"]) for role in ("metrics", "prometheus")),
    ("backup", on_el(), ["no packages of pgBackRest and rclone", "Debian or Ubuntu"]),
    *(
        (role, on_el(**{f"{role}_deployment": "container"}), [f"{role}_deployment is container", "no package of Docker", "to systemd"])
        for role in ("mlflow_server", "postgres", "minio")
    ),
    *((role, {**on_el(EL), **CLUSTER, "ansible_facts": EL}, ["no packages of Patroni and etcd", "Leave one host"]) for role in ("postgres", "etcd")),
    ("postgres", on_el(postgres_repository="pgdg", postgres_version="16"), ["postgres_repository is pgdg", "Set it to distribution"]),
    ("postgres", on_el(postgres_version="17"), ["postgres_version is 17, and case runs Enterprise Linux 9, which has PostgreSQL 15 and 16"]),
    ("postgres", on_el(system=ALMA, postgres_version="15"), ["Enterprise Linux 10, which has PostgreSQL 16. Set"]),
    ("postgres", on_el(postgres_port=5433), ["postgres_port is 5433", "SELinux"]),
    ("postgres", on_el(postgres_pgbouncer=True), ["postgres_pgbouncer is true", "case runs Enterprise Linux", "no PgBouncer"]),
    ("postgres", on_el({"postgres_clusters": [OWN_EL]}), ["the data in /var/lib/pgsql/data are those of PostgreSQL 13", "--upgrade), or set postgres_version"]),
    (
        "postgres",
        on_el({"postgres_clusters": [{**OWN_EL, "version": "16", "ours": False}]}),
        ["/var/lib/pgsql/data has data of PostgreSQL that this role has not made", "postgres_allow_data_change"],
    ),
    ("minio", {**on_el(), **pool()}, ["The group minio has several hosts", "Leave one host"]),
    ("haproxy", on_el(haproxy_virtual_address="192.0.2.9/24"), ["haproxy_virtual_address is set", "keepalived"]),
    ("minio", {"ansible_facts": {"distribution_id": "debian", "distribution_version_id": "11"}}, ["The host runs debian", "Debian 12 or 13"]),
    (
        "mlflow_server",
        {"groups": TWO},
        ["The group mlflow_servers has 2 hosts, and the backend store is SQLite", "mlflow_server_artifacts_destination is a folder of each"],
    ),
    ("mlflow_server", {**BASIC, "groups": TWO, "mlflow_server_backend_store_uri": DATABASE}, ["2 hosts, and mlflow_server_auth_store_uri is SQLite"]),
    ("mlflow_server", {**BASIC, "mlflow_server_auth_store_uri": "postgresql+psycopg2://u:can@ry#7@db/m"}, ["mlflow_server_auth_store_uri has a password"]),
    ("mlflow_server", {**BASIC, "mlflow_server_auth_store_uri": "postgresql+psycopg2://u:@db/m"}, ["mlflow_server_auth_store_uri has an empty password"]),
    (
        "mlflow_server",
        {"mlflow_server_artifacts_destination": "s3://b", "mlflow_server_s3_endpoint_url": "http://minio:9000/b"},
        ["mlflow_server_s3_endpoint_url is http://minio:9000/b", "with no path"],
    ),
    (
        "mlflow_server",
        {"mlflow_server_tls_certificate": AUTHORITY, "mlflow_server_tls_key": AUTHORITY, "mlflow_server_jobs_enabled": "yes"},
        ["mlflow_server_jobs_enabled is true, and MLflow's jobs call their server by plain HTTP"],
    ),
    (
        "mlflow_server",
        {"mlflow_server_tls_certificate": AUTHORITY, "mlflow_server_tls_key": AUTHORITY, "mlflow_server_url": "http://mlflow.example.org:5001"},
        ["mlflow_server_url is http://mlflow.example.org:5001", "Start it with https://"],
    ),
    ("mlflow_server", {"ansible_facts": {"mlflow_upgrade_from": "3.10.1"}}, ["An upgrade from 3.10.1 was cut short", "upgrade.yml"]),
    (
        "mlflow_server",
        {"ansible_facts": {"stack": {"mlflow_server": SERVED}}},
        [
            "would leave its backend store, the postgresql database m on db:5432, for the file /var/lib/mlflow/mlflow.db",
            "the verification saw at noon: 3 runs",
            "mlflow_server_allow_store_change",
        ],
    ),
]
#: As the playbook makes it.
WEBHOOK_KEY = "Abcdefghijklmnopqrstuvwxyz0123456789Abcdef" + "A="
GOOD = {
    "mlflow_server": {
        "mlflow_server_extra_args": ["--uvicorn-opts", "--timeout-keep-alive 300"],
        "mlflow_server_environment": {"MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": 5},
        "mlflow_server_workspaces": True,
        "mlflow_server_webhook_key": WEBHOOK_KEY,
        "mlflow_server_kek_passphrase": "long-enough-passphrase",
    },
    "postgres": {"postgres_password": "long-enough-password", "postgres_version": "17", "postgres_users": [OTHER, {**OTHER, "name": "two", "databases": []}]},
    "etcd": {},
    "minio": {
        "minio_root_password": "long-enough-password",
        "minio_secret_key": "long-enough-secret",
        "minio_accounts": [PHOTOS, {"access_key": "former", "state": "absent"}],
    },
    "backup": {"backup_passphrase": "long-enough-passphrase"},
    "firewall": {"firewall_enabled": True, "firewall_allowed": [{"port": 9100, "sources": ["10.0.0.0/24", "2001:db8::/32", "any"]}]},
    "haproxy": {"haproxy_servers": [{"name": "one", "address": "192.0.2.1:5001"}]},
    "metrics": {},
    "prometheus": {"prometheus_alerts": {"BackupTooOld": {"for": "6h"}}, "_atlas_mlflow_plan": {"metrics_targets": [], "minio_metrics_account": ""}},
}


#: What a rule takes and returns, as it is annotated.
RULE = {"given": "RoleSettings", "return": "str"}


class Seen(NamedTuple):
    """What the preflight says of a case: whether it passes, its words, and which rules it breaks."""

    passed: bool
    words: str
    broken: frozenset[Callable[[RoleSettings], str]]


def variables(role: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return all variables of a case. The inventory gives the good settings to all hosts, and the others to the host of the case."""
    own = {**GOOD[role], **given, "ansible_facts": {**FACTS, **given.get("ansible_facts", {})}}
    found = role_variables(role, own)
    of_hosts = {found["inventory_hostname"]: trusted(own), **found["hostvars"]}
    return {**found, "hostvars": {name: {**trusted(GOOD[role]), **of_host} for name, of_host in of_hosts.items()}}


def preflight(role: str, given: dict[str, Any], **arguments: Any) -> Seen:
    """Hold the variables of a case against the rules, as the task does."""
    broken: set[Callable[[RoleSettings], str]] = set()

    def noted(rule: Callable[[RoleSettings], str]) -> Callable[[RoleSettings], str]:
        def ask(given: RoleSettings) -> str:
            if fault := rule(given):
                broken.add(rule)
            return fault

        return ask

    with pytest.MonkeyPatch.context() as patch:
        for table in (rules.FIRST, rules.RULES, rules.UPGRADE, rules.REMOVAL):
            for name, listed in table.items():
                patch.setitem(table, name, tuple(map(noted, listed)))
        result = act(ActionModule, {"role": role, **arguments}, variables(role, given))
    return Seen(not result["failed"], json.dumps(result), frozenset(broken))


@pytest.mark.parametrize(
    ("role", "given"),
    [
        # A host of PostgreSQL alone is set up by its socket.
        ("postgres", {"postgres_listen_addresses": ["10.0.0.7"], "_atlas_mlflow_plan": {"postgres_listen_addresses": ["localhost", "10.0.0.7"]}}),
        ("postgres", {"postgres_listen_addresses": ["*"], "_atlas_mlflow_plan": {"postgres_listen_addresses": ["localhost", "10.0.0.7"]}}),
        ("postgres", {"postgres_listen_addresses": ["127.0.0.1", "10.0.0.7", "10.1.0.7"], "_atlas_mlflow_plan": {"postgres_server_here": True}}),
        ("postgres", {"postgres_listen_addresses": ["localhost"]}),
        ("minio", {"minio_listen_address": "127.0.0.1", "_atlas_mlflow_plan": {"minio_needed_address": "127.0.0.1"}}),
        ("minio", {"minio_listen_address": "0.0.0.0", "_atlas_mlflow_plan": {"minio_needed_address": "10.0.0.7"}}),
        # Another address of the host.
        ("minio", {"minio_listen_address": "10.1.0.7", "_atlas_mlflow_plan": {"minio_needed_address": "10.0.0.7"}}),
    ],
)
def test_a_store_may_listen_on_other_addresses_that_its_clients_reach(role: str, given: dict[str, Any]) -> None:
    found = preflight(role, given)
    assert found.passed, found.words


@pytest.mark.parametrize(
    ("destination", "shared"),
    [("s3://b", True), ("gs://b/mlflow", True), ("abfss://c@account.dfs.core.windows.net/m", True), ("/srv/artifacts", False), ("file:///srv/a", False)],
)
def test_several_servers_share_any_artifact_store_but_a_folder(destination: str, shared: bool) -> None:
    found = preflight("mlflow_server", {"groups": TWO, "mlflow_server_backend_store_uri": DATABASE, "mlflow_server_artifacts_destination": destination})
    assert found.passed == shared == ("is a folder of each" not in found.words), found.words


@pytest.fixture(scope="module")
def seen() -> dict[int, Seen]:
    """Return what the preflight says of every bad case."""
    return {number: preflight(role, given) for number, (role, given, _) in enumerate(BAD)}


@pytest.mark.parametrize("number", range(len(BAD)), ids=lambda number: f"{BAD[number][0]}-{'-'.join(BAD[number][1])}-{number}")
def test_a_bad_value_is_refused_in_the_preflight(seen: dict[int, Seen], number: int) -> None:
    assert not seen[number].passed
    for words in BAD[number][2]:
        assert words in seen[number].words
    assert "canary-secret" not in seen[number].words


#: What an upgrade finds: a role, its variables, and what the message must say.
UPGRADES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("mlflow_server", {}, ["does not say its release at port 5001", "site.yml"]),
    ("mlflow_server", {"mlflow_server_upgrade_from": "9.0.0"}, ["mlflow_server_version is 3.17.2, and 9.0.0 is installed", "restore.yml"]),
    (
        "mlflow_server",
        {"mlflow_server_upgrade_from": "3.4.0", "mlflow_server_upgrade_wanted": True, "mlflow_server_lock_file": "/etc/hostname"},
        ["With mlflow_server_lock_file and the release 3.4.0, a failed upgrade could not go back", "3.10.1"],
    ),
    (
        "mlflow_server",
        {
            "mlflow_server_upgrade_from": "3.10.1",
            "mlflow_server_upgrade_wanted": True,
            "mlflow_server_deployment": "container",
            "mlflow_server_image_source": "custom",
        },
        ["With mlflow_server_image_source, a failed upgrade", "for this one run with mlflow_server_backend_store_upgrade set to true"],
    ),
    ("mlflow_server", {"mlflow_server_upgrade_from": "3.10.1", "mlflow_server_backend_store_uri": DATABASE}, ["could not be brought back", "for this one run"]),
    ("postgres", on_el({"postgres_clusters": [OWN_EL]}), ["case runs Enterprise Linux, which has the programs of one version", "postgresql-setup --upgrade"]),
    (
        "postgres",
        {"postgres_deployment": "container"},
        ["an image holds the programs of one major version", "by the steps in docs/install/containers.md (Update images)"],
    ),
    ("postgres", {}, ["The host has no PostgreSQL to upgrade"]),
    ("postgres", {"postgres_version": "14", "ansible_facts": {"postgres_clusters": [FORMER]}}, ["postgres_version is 14, and the host has PostgreSQL 15"]),
    ("postgres", {"ansible_facts": {"postgres_clusters": [FORMER], "packages": {}}}, ["The package postgresql-15 is not installed"]),
    (
        "postgres",
        {"ansible_facts": {"postgres_clusters": [FORMER]}, "__postgres_offered": {"rc": 100, "stderr": "Reading\nE: Unable to locate package\n"}},
        ["postgresql-17 cannot be installed", "(E: Unable to locate package)", "postgres_repository to pgdg"],
    ),
    (
        "postgres",
        {"postgres_version": "14", **member("case", stack={"postgres": {"members": ["case"], "version": "15"}})},
        ["postgres_version is 14, and the host has PostgreSQL 15"],
    ),
    (
        "postgres",
        {"ansible_facts": {"postgres_clusters": [FORMER]}, "__postgres_leftover": {"stat": {"exists": True}}},
        ["/var/lib/postgresql/17/main has data already"],
    ),
    (
        "postgres",
        {
            "ansible_facts": {"postgres_clusters": [FORMER]},
            "__postgres_measured": {"stdout": "2147483648\t/var"},
            "__postgres_left": {"stdout": "Avail\n1073741824\n"},
        },
        ["PostgreSQL 15 take 2.00 GB", "3.00 GB at most", "has 1.00 GB left"],
    ),
]
#: Variables with which an upgrade goes on.
UPGRADABLE: list[tuple[str, dict[str, Any]]] = [
    ("postgres", {**member("case", stack={"postgres": {"members": ["case"], "version": "15"}}), "__postgres_offered": {"rc": 0, "stderr": ""}}),
    (
        "postgres",
        {"ansible_facts": {"postgres_clusters": [FORMER]}, "postgres_repository": "pgdg", "__postgres_offered": {"rc": 100, "stderr": "E: none"}},
    ),
    ("mlflow_server", {"mlflow_server_upgrade_from": "3.10.1", "mlflow_server_upgrade_wanted": True}),
    (
        "postgres",
        {"ansible_facts": {"postgres_clusters": [FORMER]}, "__postgres_measured": {"stdout": "1024\t/var"}, "__postgres_left": {"stdout": "Avail\n4096\n"}},
    ),
]


@pytest.fixture(scope="module")
def seen_of_upgrades() -> list[Seen]:
    """Return what the preflight says of every upgrade that cannot be done."""
    return [preflight(role, given, upgrade=True) for role, given, _ in UPGRADES]


@pytest.mark.parametrize("number", range(len(UPGRADES)))
def test_an_upgrade_that_cannot_be_done_is_refused(seen_of_upgrades: list[Seen], number: int) -> None:
    assert not seen_of_upgrades[number].passed
    for words in UPGRADES[number][2]:
        assert words in seen_of_upgrades[number].words
    assert "canary-secret" not in seen_of_upgrades[number].words


@pytest.mark.parametrize(("role", "given"), UPGRADABLE, ids=lambda value: value if isinstance(value, str) else "")
def test_an_upgrade_that_can_be_done_goes_on(role: str, given: dict[str, Any]) -> None:
    assert preflight(role, given, upgrade=True).passed


#: What a removal finds: a role, its variables, and what the message must say.
REMOVALS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("mlflow_server", {"mlflow_server_data_dir": "/srv", "mlflow_server_remove_data": True}, ["mlflow_server_data_dir is /srv, and remove.yml removes"]),
    ("minio", {"minio_install_dir": "/usr/local"}, ["minio_install_dir is /usr/local, and remove.yml removes that folder"]),
    ("postgres", {**CLUSTER, "postgres_uv_dir": "/opt"}, ["postgres_uv_dir is /opt, and remove.yml removes that folder"]),
    *(
        (
            role,
            beside(f"{outer} /srv/stack", "backup_repository /srv/stack/backups"),
            [f"backup_repository is /srv/stack/backups, which lies in /srv/stack ({outer})"],
        )
        for role, outer in (("mlflow_server", "mlflow_server_uv_dir"), ("minio", "minio_install_dir"), ("postgres", "postgres_uv_dir"))
    ),
    *(
        (
            role,
            {**CONTAINERS[role], f"{role}_container_name": "db", "ansible_facts": {"foreign_containers": {"docker": ["db"]}}},
            [f"{role}_container_name is db", "the role would remove it"],
        )
        for role in CONTAINERS
    ),
]


@pytest.fixture(scope="module")
def seen_of_removals() -> list[Seen]:
    """Return what the preflight says of every removal that would remove too much."""
    return [preflight(role, given, removal=True) for role, given, _ in REMOVALS]


@pytest.mark.parametrize("number", range(len(REMOVALS)))
def test_a_removal_that_would_remove_too_much_is_refused(seen_of_removals: list[Seen], number: int) -> None:
    assert not seen_of_removals[number].passed
    for words in REMOVALS[number][2]:
        assert words in seen_of_removals[number].words


@pytest.mark.parametrize("role", rules.REMOVAL)
def test_a_removal_needs_no_secret_and_reports_nothing_else(role: str) -> None:
    found = preflight(role, {f"{role}_remove_data": True, "ansible_facts": FEDORA}, removal=True)
    assert found.passed and "msg" not in json.loads(found.words), found.words


#: Permissions that only newer releases keep.
NEWER = [
    {
        "name": "ada",
        "password": "canary-secret-of-ada",
        "registered_models": {"greeting": "DEFAULT"},
        "prompts": {"greeting": "EDIT"},
        "mcp_servers": {"team/tools": "USE"},
    }
]


@pytest.mark.parametrize(
    ("role", "given"),
    [
        *((role, {}) for role in GOOD),
        *((role, CLUSTER) for role in ("postgres", "etcd")),
        # A default that is repeated on a later member alone, as text and as a number.
        *(("postgres", {**member(), "postgres_database": "mlflow", "etcd_client_port": port}) for port in (2379, "2379")),
        ("postgres", member("case", stack={"backup": {"repository": "/backup", "of_cluster": True, "reaches": REACHES, "secrets": {}}})),
        # After remove.yml, the backup is not on the host any more, and the repository is known.
        ("postgres", member("case", stack=kept_of_stack({"backup": {"repository": "/backup", "of_cluster": False, "reaches": REACHES, "secrets": {}}}, []))),
        # The backup of one host, in whose place the run sets up that of the cluster, and a member with the bucket of the first one, or with its folder.
        ("backup", {**member(there={**ON_S3, "backup_repository": "s3://kept/atlas/"}), **ON_S3, "backup_postgres_port": 5432}),
        ("postgres", joins(member("case", stack={"backup": {"repository": "s3://kept/atlas", "reaches": REACHES, "secrets": {}}}))),
        ("backup", {**member(there={"backup_repository": "/mnt/one"}), "backup_repository": "/mnt/other", "backup_postgres_port": 5432}),
        ("postgres", member("case", postgres_clusters=[{**FORMER, "version": "17", "data": "/var/lib/postgresql/17/main", "start": "auto"}])),
        ("postgres", member(postgres_clusters=[{**FORMER, "version": "17", "start": "disabled"}])),
        *((role, member(there={"ansible_facts": {"stack": JOINED}}, stack=JOINED)) for role in ("postgres", "etcd")),
        # A new member, and one that was set up again from nothing and is about to be removed from etcd.
        *((role, {**member(**OTHERS), **present("case", "three")}) for role in ("postgres", "etcd")),
        ("etcd", {**member(**OTHERS), **present("case", "two", "three", postgres_member="two", postgres_member_replaced=True)}),
        # A watchdog that is there, one that need not be, and one host, which has no use for it.
        ("postgres", {**CLUSTER, "postgres_watchdog": "required", "ansible_facts": {**FACTS, "watchdog": True}}),
        ("postgres", {**CLUSTER, "postgres_watchdog": "automatic", "ansible_facts": {**FACTS, "watchdog": False}}),
        ("postgres", {"postgres_watchdog": "required", "ansible_facts": {**FACTS, "watchdog": False}}),
        # Members that are called where they are, one of them by a name now, and one that gets another address by its replacement.
        ("etcd", {**member(**OTHERS, stack=JOINED, etcd=ASKED), **present("case", "two", "three")}),
        # Ports of a cluster that does not exist yet.
        ("etcd", {**member(), "etcd_client_port": 2390, "etcd_peer_port": 2391}),
        (
            "etcd",
            {**member(of=[MEMBERS[0], {**MEMBERS[1], "address": "two.lan"}, MEMBERS[2]], **OTHERS, stack=JOINED), **present("case", "two", "three")},
        ),
        (
            "etcd",
            {
                **member(of=[MEMBERS[0], {**MEMBERS[1], "address": "10.0.0.8", "ip": "10.0.0.8"}, MEMBERS[2]], **OTHERS, stack=JOINED),
                **present("case", "two", "three", postgres_member="two", postgres_member_replaced=True),
            },
        ),
        # A member that is about to be replaced, and one that was replaced.
        ("postgres", {**member("case", stack=JOINED), **present("case", "two", "four", postgres_member="four", postgres_member_replaced=True)}),
        ("postgres", {**member("case", MEMBERS[:2] + [{**MEMBERS[2], "name": "four"}], stack=JOINED), **present("case", "two")}),
        ("mlflow_server", {"mlflow_server_backend_store_uri": DATABASE, "mlflow_server_read_replica_store_uri": DATABASE.replace("@db", "@replica")}),
        ("mlflow_server", {"mlflow_server_read_replicas": True, **REPLICAS}),
        (
            "mlflow_server",
            {"mlflow_server_postgres_route": "haproxy", "groups": {"mlflow_servers": ["case"], "haproxy": ["e"], "postgres": ["a", "b", "c"]}, **REPLICAS},
        ),
        *(("postgres", {"postgres_user": user, "postgres_database": "ml-flow"}) for user in ("m@corp", "ml.flow", "Mlflow-2", "_mlflow")),
        *(
            (role, {**CONTAINERS[role], f"{role}_container_memory": memory, f"{role}_container_cpus": cpus})
            for role in CONTAINERS
            for memory, cpus in (("512m", "1.5"), ("2G", "2"), ("2GiB", 2), (536870912, 0.5), ("1.5g", ""), ("", ".5"))
        ),
        *((role, {**CONTAINERS[role], **given, variable: f"one@{DIGEST}"}) for role, variable, given in IMAGES),
        *((role, {**CONTAINERS[role], **given, variable: "registry:5000/one:17"}) for role, variable, given in IMAGES),
        *((role, {**CONTAINERS[role], **given, variable: "one:17", f"{role}_image_archive": "/srv/one.tar"}) for role, variable, given in IMAGES),
        *(
            (role, {**given, "ansible_facts": {"foreign_containers": {"docker": ["db"], "podman": [f"atlas-{role}", "atlas-mlflow-server"]}}})
            for role in CONTAINERS
            for given in (CONTAINERS[role], {})
        ),
        ("postgres", owns("mlflow")),
        # A rotation of the password.
        ("postgres", owns("mlflow_rotation")),
        ("postgres", {"postgres_user": "tracking", **owns("mlflow"), "postgres_allow_data_change": True}),
        # Another database, and a login that the server's own settings name.
        ("postgres", {"postgres_user": "tracking", **owns("mlflow", "other")}),
        ("postgres", {"postgres_user": "tracking", **owns("mlflow", mlflow_server_backend_store_uri="postgresql+psycopg2://mlflow@case/mlflow")}),
        *(
            (role, {**given, variable: address, "ansible_facts": {**HERE, **facts}})
            for role, variable, given in LISTENING
            for address, facts in (
                ("10.0.0.7", {}),
                ("127.0.0.1", {}),
                ("0.0.0.0", {}),
                ("fd00::7", {}),
                ("192.0.2.8", {"binds_any_address": True}),
                ("192.0.2.8", {"addresses": []}),
            )
        ),
        *((role, {f"{role}_container_name": "", f"{role}_container_network": "the stack"}) for role in CONTAINERS),
        ("postgres", {**CONTAINERS["postgres"], **administered("long-enough-password", volume="atlas-postgres-data")}),
        ("postgres", {**CONTAINERS["postgres"], **administered("the-former-password", volume="atlas-postgres-data"), "postgres_allow_data_change": True}),
        # There are no data yet.
        ("postgres", {**CONTAINERS["postgres"], **administered("the-former-password")}),
        # Nothing listens there.
        ("haproxy", {"haproxy_metrics_address": "192.0.2.8", "ansible_facts": HERE}),
        ("haproxy", {"haproxy_metrics_address": "192.0.2.8", "haproxy_metrics_port": "0", "ansible_facts": HERE}),
        ("metrics", {"metrics_listen_address": "192.0.2.8", "metrics_enabled": "false", "ansible_facts": HERE}),
        ("postgres", {"postgres_listen_addresses": ["localhost", "*", "10.0.0.7"], "ansible_facts": HERE}),
        *(
            ("mlflow_server", has_served(served, wanted, **given))
            for served, wanted, given in (
                ("3.17.2", "3.17.2", {}),
                # No verification has told its release, or nobody knows its schema.
                ("", "3.17.2", {}),
                ("3.12.0", "3.17.2", {}),
                ("3.10.1", "3.17.2", {"mlflow_server_backend_store_upgrade": True}),
                ("3.10.1", "3.17.2", {"mlflow_server_allow_store_change": True}),
                ("3.10.1", "3.17.2", {"_mlflow_server_upgrading": True}),
                ("3.10.1", "3.17.2", {"mlflow_server_backend_store_uri": "sqlite:////var/lib/mlflow/mlflow.db"}),
            )
        ),
        *(
            ("mlflow_server", {**given, "ansible_facts": {"stack": {"mlflow_server": {"stores": {}, "workspaces": True}}}})
            for given in ({"mlflow_server_workspaces": True}, {"mlflow_server_workspaces": False, "mlflow_server_allow_store_change": True})
        ),
        ("mlflow_server", runs_as("mlflow_server", "990", ON_HOST, mlflow_server_allow_store_change=True, mlflow_server_os_user="other")),
        ("mlflow_server", runs_as("mlflow_server", "990", {"stores": {}}, mlflow_server_os_user="other")),
        ("minio", runs_as("minio", "991", {"folder": "/var/lib/minio"})),
        ("minio", runs_as("minio", "991", {"folder": "/var/lib/minio"}, minio_os_user="other", minio_allow_data_change=True)),
        # Nothing is there yet, as after a run that was interrupted.
        ("minio", runs_as("minio", "991", {}, minio_os_user="other")),
        ("minio", runs_as("minio", "0", {"volume": "atlas-minio-data"}, minio_image="minio/minio:1", **CONTAINERS["minio"])),
        ("postgres", runs_as("postgres", "999", {"volume": "atlas-postgres-data"}, **CONTAINERS["postgres"])),
        # The role replaces its container of a former name, which still has the port.
        *(
            (
                role,
                {
                    **CONTAINERS[role],
                    f"{role}_port": 7001,
                    f"{role}_container_name": "another",
                    "ansible_facts": {
                        **FACTS,
                        "listeners": [{**listener(7001, "container former"), "process": "docker-proxy"}],
                        "own_containers": {role: ["former"]},
                    },
                },
            )
            for role in CONTAINERS
        ),
        *((role, {**CONTAINERS[role], f"{role}_container_volume": "data.volume"}) for role in ("postgres", "minio")),
        ("postgres", {"postgres_listen_addresses": ["::", "127.0.0.1"], "_atlas_mlflow_plan": {"postgres_listen_addresses": ["localhost"]}}),
        ("postgres", {"postgres_listen_addresses": ["::", "*"], "_atlas_mlflow_plan": {"postgres_listen_addresses": ["localhost", "10.0.0.7"]}}),
        ("mlflow_server", {"mlflow_server_host": "::"}),
        ("mlflow_server", {**CONTAINERS["mlflow_server"], "mlflow_server_host": "fd00::7"}),
        ("minio", {**CONTAINERS["minio"], "minio_listen_address": "fd00::7"}),
        # Nothing reads the limits of a service.
        ("minio", {"minio_container_memory": "two"}),
        ("metrics", {"metrics_schedule": "", "metrics_enabled": False}),
        # Used alone, with an address in the plan that the role has by default.
        (
            "metrics",
            {
                "metrics_enabled": True,
                "_atlas_mlflow_plan": {"metrics_address": "192.0.2.7", "metrics_unreached": {"metrics_listen_address": "127.0.0.1"}},
            },
        ),
        ("prometheus", {"prometheus_alerts": {"ProxyDown": {"enabled": "false"}, "HostDown": {"for": 0, "expr": "up == 0", "severity": 1, "enabled": 1}}}),
        ("prometheus", {"prometheus_retention": "1y2w3d4h5m6s7ms"}),
        ("metrics", {"metrics_backup_check_schedule": "", "metrics_enabled": True}),
        ("backup", {"backup_schedule": "", "backup_repository": "/mnt/my backups"}),
        ("backup", {"backup_schedule": "Sat,Sun 04:00 Europe/Berlin", "backup_repository": "/mnt/team@host/backups_1.2", "backup_postgres_port": 5432}),
        ("mlflow_server", OIDC),
        ("mlflow_server", BASIC),
        ("mlflow_server", {**BASIC, "mlflow_server_users": NEWER}),
        ("mlflow_server", {"ansible_facts": NOBLE}),
        *((role, on_el(system=system)) for role in ("mlflow_server", "postgres", "minio", "haproxy", "firewall") for system in (EL, ALMA)),
        ("postgres", on_el({"postgres_clusters": [{**OWN_EL, "version": "15"}]}, postgres_version="15")),
        ("postgres", on_el({"postgres_clusters": [{**OWN_EL, "version": "16", "ours": False}]}, postgres_allow_data_change=True)),
        ("mlflow_server", {"ansible_facts": FEDORA, "atlas_mlflow_allow_unsupported_system": "true"}),
        ("mlflow_server", {**BASIC, "mlflow_server_version": "3.10.1", "mlflow_server_users": [{**NEWER[0], "state": "absent"}]}),
    ],
)
def test_good_values_pass_the_preflight(role: str, given: dict[str, Any]) -> None:
    found = preflight(role, given)
    assert found.passed, found.words


@pytest.mark.parametrize(
    ("image", "user"), [("postgres:17-alpine", "70:70"), ("alpine.example.com/postgres:17", "999:999"), ("own/mypostgres:17-alpine", "999:999")]
)
def test_the_user_of_an_image_passes_the_preflight(image: str, user: str) -> None:
    given = {"postgres_deployment": "container", "postgres_superuser_password": "long-enough-password"}
    found = preflight("postgres", {**given, "postgres_image": image, "postgres_container_user": user})
    assert found.passed, found.words


def test_accounts_of_minio_have_the_lengths_that_minio_takes() -> None:
    given = {"minio_secret_key": "s" * 40, "minio_access_key": "a" * 20, "minio_accounts": [{**PHOTOS, "secret_key": "s" * 40}]}
    metrics = {"minio_metrics_access_key": "m" * 20, "minio_metrics_secret_key": "s" * 40, "_atlas_mlflow_plan": {"minio_metrics_account": "m" * 20}}
    # The administrator is no service account.
    found = preflight("minio", {**given, **metrics, "minio_root_password": "r" * 64, "minio_root_user": "administrator-of-the-objects"})
    assert found.passed, found.words
    assert all(len(secret.end) + secret.length <= 40 for name, secret in SECRETS.items() if name.startswith("minio_"))


def test_values_that_come_as_text_pass_the_preflight() -> None:
    text = {"mlflow_server_port": "5001", "mlflow_server_jobs_enabled": "false", "mlflow_server_workers": " 2 ", "mlflow_server_tls_authority": AUTHORITY}
    assert preflight("mlflow_server", {**OIDC, **text}).passed
    assert preflight("haproxy", {"haproxy_servers_tls": "no", "haproxy_port": "8080"}).passed


def test_metrics_on_loopback_are_reached_from_the_address_of_the_host() -> None:
    given = {"haproxy_metrics_port": 8405, "haproxy_metrics_clients": ["192.0.2.7"], "atlas_mlflow_ip": "192.0.2.7"}
    assert preflight("haproxy", given).passed
    assert "haproxy_metrics_clients has 192.0.2.8/32" in preflight("haproxy", {**given, "haproxy_metrics_clients": ["192.0.2.7", "192.0.2.8"]}).words


def test_proxies_may_share_an_address() -> None:
    assert preflight("haproxy", SHARED).passed
    assert preflight("haproxy", {**SHARED, "haproxy_virtual_address": "192.0.2.9", "haproxy_listen_address": "::"}).passed
    # An opening for VRRP needs no port.
    assert preflight("firewall", {"firewall_needed": [{"protocol": "vrrp", "sources": ["192.0.2.8"]}]}).passed


def test_a_server_behind_a_proxy_on_its_host_may_listen_on_loopback() -> None:
    given = {"mlflow_server_host": "127.0.0.1", "_atlas_mlflow_plan": {"proxies": ["target"]}, "inventory_hostname": "target"}
    found = preflight("mlflow_server", given)
    assert found.passed, found.words


def test_the_url_of_a_server_behind_proxies_has_the_scheme_of_the_proxies() -> None:
    given = {"mlflow_server_tls_certificate": AUTHORITY, "mlflow_server_tls_key": AUTHORITY, "mlflow_server_url": "http://mlflow.example.org"}
    assert rules.names.url_has_the_scheme in preflight("mlflow_server", given).broken
    assert rules.names.url_has_the_scheme not in preflight("mlflow_server", {**given, "_atlas_mlflow_plan": {"proxies": ["balancer"]}}).broken


def test_an_environment_may_leave_a_name_without_a_value() -> None:
    stack = {"mlflow_server": {"stores": {"registry": {"kind": "sqlite", "host": "", "port": "", "name": "/var/lib/mlflow/mlflow.db"}}}}
    assert preflight("mlflow_server", {"mlflow_server_environment": {"MLFLOW_REGISTRY_STORE_URI": None}, "ansible_facts": {"stack": stack}}).passed


def test_all_faults_of_a_host_are_told_at_once_in_the_order_of_the_rules() -> None:
    given = {"mlflow_server_workers": 0, "mlflow_server_host": "everywhere", "mlflow_server_port": "0"}
    told = json.loads(preflight("mlflow_server", given).words)["msg"]
    assert [fault.split()[0] for fault in told] == ["mlflow_server_host", "mlflow_server_port", "mlflow_server_workers"]


def test_a_fact_that_is_a_variable_too_is_no_misspelled_name() -> None:
    fact = {"postgres_clusters": []}
    given = {"postgres_password": "long-enough-password", "postgres_version": "17", **fact}
    assert preflight("postgres", {**given, "ansible_facts": {**FACTS, **fact}}).passed
    assert "postgres_clusters (did you mean postgres_users?)" in preflight("postgres", given).words


def test_a_secret_that_no_rule_reads_is_not_generated(tmp_path: Path) -> None:
    plan = {"_atlas_mlflow_plan": {"secrets_dir": str(tmp_path)}}
    assert preflight("mlflow_server", plan).passed
    assert not (tmp_path / "mlflow_admin_password").exists()
    unset = ("mlflow_server_admin_password", "mlflow_server_flask_secret_key")
    assert preflight("mlflow_server", {**{name: value for name, value in BASIC.items() if name not in unset}, **plan}).passed
    assert (tmp_path / "mlflow_admin_password").exists()


def test_postgres_tells_how_many_connections_there_may_be() -> None:
    assert "may open 120 connections, and max_connections is 150" in preflight("postgres", {"postgres_connections": 120}).words
    assert "works while 2 of them do: it survives the loss of 1." in preflight("postgres", CLUSTER).words
    assert "max_connections is 400" in preflight("postgres", {"postgres_settings": {"max_connections": 400}}).words


#: A host with two services, as its plan has them.
PARTS = [
    {"role": "postgres", "what": "PostgreSQL with 60 connections", "mebibytes": 428},
    {"role": "mlflow_server", "what": "MLflow with 2 workers", "mebibytes": 430},
]


@pytest.mark.parametrize(("has", "warned"), [(858, False), (857, True), (7952, False)])
def test_one_role_of_a_host_tells_its_memory_and_warns_if_it_is_too_small(has: int, warned: bool) -> None:
    given = {"_atlas_mlflow_plan": {"memory": PARTS}, "ansible_facts": {"memtotal_mb": has}}
    found = preflight("postgres", given)
    assert found.passed and ("warnings" in json.loads(found.words)) == warned
    line = f"Memory under load: PostgreSQL with 60 connections 0.42 GiB + MLflow with 2 workers 0.42 GiB = 0.84 GiB of {has / 1024:.2f} GiB."
    assert line in found.words
    if warned:
        assert json.loads(found.words)["warnings"][0].startswith("case has 0.84 GiB of memory, and its services need about 0.84 GiB under load.")
    other = preflight("mlflow_server", given)
    assert other.passed and "emory" not in other.words
    alone = preflight("mlflow_server", {**given, "_atlas_mlflow_plan": {"memory": PARTS[1:]}})
    assert f"Memory under load: MLflow with 2 workers 0.42 GiB of {has / 1024:.2f} GiB." in alone.words


def test_a_closed_firewall_of_enterprise_linux_is_told() -> None:
    closed = on_el({"packages": {"firewalld": []}}, firewall_enabled=False)
    assert "Set atlas_mlflow_firewall to true" in preflight("firewall", closed).words
    assert all("warnings" not in preflight("firewall", given).words for given in ({**closed, "firewall_enabled": True}, on_el(firewall_enabled=False)))


def test_a_ca_file_may_have_comments_and_several_certificates(tmp_path: Path) -> None:
    text = Path(AUTHORITY).read_text()
    for number, (content, passes) in enumerate(((f"# Autorité\n{text}\n{text}", True), (text.replace("\n", "\nAAAA", 1), False), ("", False))):
        path = tmp_path / f"{number}.pem"
        path.write_text(content)
        found = preflight("prometheus", {"prometheus_tls_authority": str(path), "prometheus_ca_certificate": str(path)})
        assert found.passed == passes, found.words


def test_a_backup_that_was_turned_off_for_a_cluster_is_told() -> None:
    off = member("case", timers=["atlas-mlflow-backup.timer"])
    (warning,) = json.loads(preflight("postgres", off).words)["warnings"]
    assert "case makes none as a member of the cluster. Run backup.yml" in warning
    backup = {"backup": {"repository": "/mnt", "of_cluster": True, "secrets": {}}}
    silent = [joins(off), member("case", timers=["atlas-mlflow-backup.timer"], stack=backup), member("case"), {"ansible_facts": off["ansible_facts"]}]
    assert all("warnings" not in preflight("postgres", given).words for given in silent)
    assert "warnings" not in preflight("etcd", off).words


def test_a_member_without_the_backup_of_its_cluster_is_told() -> None:
    """A running member that gets a new copy of the data loses it, and three of them in a row would leave a cluster without backups."""
    backup = {"backup": {"repository": "/mnt", "of_cluster": True, "secrets": {}}}
    lacks = member(there={"ansible_facts": {"stack": backup}})
    (warning,) = json.loads(preflight("postgres", lacks).words)["warnings"]
    assert "two has no settings of a backup, and those of the cluster are on case" in warning and "Run backup.yml after this playbook" in warning
    of_one = member(there={"ansible_facts": {"stack": {"backup": {**backup["backup"], "of_cluster": False}}}})
    silent = [joins(lacks), member(there={"ansible_facts": {"stack": backup}}, stack=backup), of_one, member()]
    assert all("warnings" not in preflight("postgres", given).words for given in silent)
    off = member(there={"ansible_facts": {"stack": backup}}, timers=["atlas-mlflow-backup.timer"])
    assert len(json.loads(preflight("postgres", off).words)["warnings"]) == 1
    assert "warnings" not in preflight("etcd", lacks).words


def test_the_backup_of_a_database_that_was_moved_is_told_once() -> None:
    moved = {"inventory_hostname": "case", "_atlas_mlflow_plan": {"former_backup_hosts": ["old"]}, "groups": {"postgres": ["case"], "mlflow_servers": ["case"]}}
    (warning,) = json.loads(preflight("postgres", moved).words)["warnings"]
    assert "old still has atlas-mlflow-backup.timer, but the database is on case now" in warning and "Run backup.yml" in warning
    embedded = {**moved, "groups": {"mlflow_servers": ["case"]}}
    assert "old still has" in preflight("mlflow_server", embedded).words
    other = {**moved, "groups": {"postgres": ["new", "case", "more"]}}
    stays = {**moved, "_atlas_mlflow_plan": {"former_backup_hosts": []}}
    assert all("still has" not in preflight(*given).words for given in (("mlflow_server", moved), ("minio", moved), ("postgres", other), ("postgres", stays)))


def test_a_service_that_outlives_its_group_is_told() -> None:
    stored = {"mlflow_server": {"stores": {}, "secrets": {}}}

    def left(*units: str, groups: dict[str, list[str]] | None = None, **stack: Any) -> dict[str, Any]:
        facts = {"listeners": [listener(5001, unit) for unit in units], "stack": stack, "own_containers": {"mlflow_server": ["tracking"]}}
        return {"groups": groups or {"postgres": ["case"]}, "ansible_facts": facts}

    (warning,) = json.loads(preflight("firewall", left("mlflow-server.service", **stored)).words)["warnings"]
    assert warning.startswith("case still runs a tracking server of this collection, and is not in the group mlflow_servers any more")
    assert "`systemctl disable --now mlflow-server.service`" in warning
    assert "`docker rm --force tracking`" in preflight("firewall", left("container tracking", **stored)).words
    assert "case still runs a proxy" in preflight("firewall", left("haproxy.service")).words
    silent = [
        # Stopped, of others, or in its group.
        left("postgresql@17-main.service", **stored),
        left("mlflow-server.service"),
        left("haproxy.service", haproxy={"foreign": ["frontend www"], "secrets": {}}),
        left("mlflow-server.service", "haproxy.service", groups={"mlflow_servers": ["case"], "haproxy": ["case"]}, **stored),
    ]
    assert all("warnings" not in preflight("firewall", given).words for given in silent)
    assert "warnings" not in preflight("postgres", left("mlflow-server.service", **stored)).words


def test_an_account_that_the_servers_leave_is_told() -> None:
    (warning,) = json.loads(preflight("minio", {"minio_access_key": "tracking", **writes("mlflow")}).words)["warnings"]
    assert "That account keeps its rights" in warning and "minio_accounts: [{access_key: mlflow, state: absent}]" in warning
    silent = [
        writes("mlflow"),
        writes("mlflow-rotation"),
        {"minio_access_key": "tracking", **writes("mlflow", "other")},
        {"minio_access_key": "tracking", **writes("mlflow", mlflow_server_s3_access_key_id="mlflow")},
        {"minio_access_key": "tracking", **writes("mlflow"), "minio_accounts": [{"access_key": "mlflow", "state": "absent"}]},
    ]
    assert all("warnings" not in preflight("minio", given).words for given in silent)


def test_databases_that_the_backup_of_a_cluster_does_not_take_are_told() -> None:
    users = {"postgres_users": [{"name": "grafana", "databases": ["grafana"]}, {"name": "reader"}], "postgres_more_databases": ["mlflow_auth", "notes"]}
    plan = {"_atlas_mlflow_plan": {"postgres_members": MEMBERS, "postgres_more_databases": ["mlflow_auth"]}}
    (warning,) = json.loads(preflight("backup", {**plan, **users}).words)["warnings"]
    assert "takes only the databases of MLflow, and not notes, grafana (postgres_more_databases, postgres_users)" in warning
    # pgBackRest takes all databases of one host. Of several members, the first one reports it.
    silent = [users, plan, {**plan, "postgres_users": [{"name": "reader"}]}, {**plan, **users, "inventory_hostname": "two"}]
    assert all("warnings" not in preflight("backup", given).words for given in silent)
    assert "warnings" not in preflight("etcd", {**CLUSTER, **users}).words


def test_memory_that_is_not_known_is_not_told() -> None:
    found = preflight("mlflow_server", {"_atlas_mlflow_plan": {"memory": PARTS[1:]}})
    assert found.passed and "emory" not in found.words


def test_every_rule_of_the_package_is_in_the_table_of_a_role() -> None:
    listed = {rule for table in (rules.FIRST, rules.RULES, rules.UPGRADE, rules.REMOVAL) for of_role in table.values() for rule in of_role}
    listed |= {*rules.WARNINGS, *(rule for of_role in rules.NEWS.values() for rule in of_role)}
    modules = [module for module in vars(rules).values() if getattr(module, "__name__", "").startswith(f"{rules.__name__}.")]
    found = {
        value
        for module in modules
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", "") == module.__name__
        and getattr(value, "__annotations__", {}) == RULE
        # What returns a value of the settings says so.
        and not value.__doc__.startswith("Return ")
    }
    assert len(modules) > 10 and sorted(rule.__name__ for rule in found - listed) == []


def test_every_rule_is_broken_by_a_case(seen: dict[int, Seen], seen_of_upgrades: list[Seen], seen_of_removals: list[Seen]) -> None:
    broken = {(BAD[number][0], rule.__name__) for number, found in seen.items() for rule in found.broken}
    broken |= {(UPGRADES[number][0], rule.__name__) for number, found in enumerate(seen_of_upgrades) for rule in found.broken}
    broken |= {(REMOVALS[number][0], rule.__name__) for number, found in enumerate(seen_of_removals) for rule in found.broken}
    listed = {
        (role, rule.__name__) for table in (rules.FIRST, rules.RULES, rules.UPGRADE, rules.REMOVAL) for role, of_role in table.items() for rule in of_role
    }
    assert sorted(listed - broken) == []


#: Pools that pass, with what is printed.
POOLS: list[tuple[dict[str, Any], str]] = [
    ({**pool(), "ansible_facts": {"drive_devices": {"/": 1, "/var/lib/minio": 2}}}, "sets of 4 drives, 2 of them parity. 50 % of the space"),
    # The same hosts at other ports and with TLS.
    ({**pool(), **pools_file("case", "two", "three", "four")}, "Reads survive the loss of 2 hosts, writes of 1."),
    # One disk for all, as the user wants it.
    (
        {**pool(), "ansible_facts": {"drive_devices": {"/": 1, "/var/lib/minio": 1}}, "minio_environment": {"MINIO_ROOTDRIVE_THRESHOLD_SIZE": 1}},
        "4 hosts with 1 drive",
    ),
    (
        {**pool("/srv/a", "/srv/b"), "minio_drives": ["/srv/a", "/srv/b"], "ansible_facts": {"drive_devices": {"/": 1, "/srv/a": 2, "/srv/b": 3}}},
        "sets of 8 drives",
    ),
]


@pytest.mark.parametrize(("given", "words"), POOLS)
def test_a_pool_that_survives_a_host_passes_and_says_what_it_survives(given: dict[str, Any], words: str) -> None:
    found = preflight("minio", {"inventory_hostname": "case", **given})
    assert found.passed and words in found.words
    assert "MinIO:" not in preflight("minio", {"inventory_hostname": "two", **given}).words


def test_a_further_pool_leaves_the_first_as_it_is() -> None:
    known = pool()["_atlas_mlflow_plan"]
    second = [{**one, "name": f"new{number}", "address": f"new{number}"} for number, one in enumerate(known["minio_pools"][0])]
    given = {"_atlas_mlflow_plan": {**known, "minio_pools": [*known["minio_pools"], second]}, "inventory_hostname": "case"}
    assert preflight("minio", {**given, **pools_file("case", "two", "three", "four")}).passed
    given["_atlas_mlflow_plan"]["minio_pools"].reverse()
    assert "in this order" in preflight("minio", {**given, **pools_file("case", "two", "three", "four")}).words


#: What a role that is used alone has planned.
PLANNED = "{{ _atlas_mlflow_plan | default({}) }}"


def play(role: str) -> dict[str, Any]:
    """Return a play that runs a role alone on the hosts of a group of its name, and notes where it stopped and why."""
    return {
        "hosts": f"alone_{role}",
        "gather_facts": False,
        "tasks": [
            {
                "block": [{"ansible.builtin.include_role": {"name": f"atlas.mlflow.{role}"}}],
                "rescue": [
                    {
                        "ansible.builtin.set_fact": {
                            "seen": {"task": "{{ ansible_failed_task.name }}", "message": "{{ ansible_failed_result | to_json }}", "plan": PLANNED}
                        }
                    }
                ],
            }
        ],
    }


#: Hosts on which a role is used alone, with what is set for each; the task that it stops at, and what that says.
ALONE: dict[str, tuple[str, dict[str, Any], str, list[str]]] = {
    "mlflow": ("mlflow_server", {"mlflow_server_workers": "0"}, "Check the settings", ["mlflow_server_workers is 0. Set 1 or more."]),
    "typed": ("mlflow_server", {"mlflow_server_port": "http"}, "Validating arguments", ["mlflow_server_port", "int"]),
    "secret": (
        "mlflow_server",
        {"mlflow_server_auth": "basic", "mlflow_server_admin_password": "canary", "mlflow_server_admin_user": "a b"},
        "Check the settings",
        ["mlflow_server_admin_password has 6 characters", "mlflow_server_admin_user is a b"],
    ),
    "good": ("mlflow_server", {}, "Create MLflow's user", ['"rc": 126']),
    "database": ("postgres", {}, "Install postgresql-17", ['"rc": 126']),
}


@pytest.mark.parametrize("role", sorted(path.parents[1].name for path in ROOT.glob("roles/*/tasks/preflight.yml")))
def test_each_role_plans_and_checks_its_settings_before_anything_else(role: str) -> None:
    """In the same way as those that the next test runs."""
    plan, preflight, *_ = yaml.safe_load((ROOT / "roles" / role / "tasks/main.yml").read_text())
    assert plan["ansible.builtin.include_role"] == {"name": "atlas.mlflow.common", "tasks_from": "facts"}
    assert plan["when"] == "_atlas_mlflow_plan is not defined"
    assert preflight == {"name": "Run the preflight", "ansible.builtin.import_tasks": "preflight.yml"}
    first = yaml.safe_load((ROOT / "roles" / role / "tasks/preflight.yml").read_text())[0]
    assert first.keys() == {"name", "atlas.mlflow.preflight"} and first["atlas.mlflow.preflight"] == {"role": role}


@pytest.mark.parametrize("role", rules.REMOVAL)
def test_a_removal_is_checked_before_anything_is_removed(role: str) -> None:
    tasks = ROOT / "roles" / role / "tasks"
    assert yaml.safe_load((tasks / "remove.yml").read_text())[0]["ansible.builtin.import_tasks"] == "remove_preflight.yml"
    assert [task["atlas.mlflow.preflight"] for task in yaml.safe_load((tasks / "remove_preflight.yml").read_text())] == [{"role": role, "removal": True}]
    # The playbook checks all hosts before its first play that changes one.
    _facts, play, *_ = yaml.safe_load((ROOT / "playbooks/remove.yml").read_text())
    assert play["any_errors_fatal"]
    assert {"name": f"atlas.mlflow.{role}", "tasks_from": "remove_preflight"} in [task["ansible.builtin.include_role"] for task in play["tasks"]]


def test_ansible_playbook_refuses_in_roles_used_alone_and_in_the_playbooks(tmp_path: Path) -> None:
    """No module runs on a host but the one for the facts, so the first task that changes something fails, and the message shows that it did."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = str(listener.getsockname()[1])
    sudo, python = tmp_path / "sudo", tmp_path / "python"
    sudo.write_text('#!/bin/sh\nwhile [ "$1" != /bin/sh ]; do shift; done\nexec "$@"\n')
    # Nothing but the facts is read on the hosts of the playbook, which are this machine.
    (tmp_path / "here.json").write_text(facts_of_this_machine())
    python.write_text(f'#!/bin/sh\ncase "$*" in *host_facts*) exec cat {tmp_path}/here.json;; esac\nexit 126\n')
    # A role alone has made-up facts.
    (tmp_path / "facts.json").write_text(json.dumps({"changed": False, "ansible_facts": FACTS}))
    made_up = tmp_path / "made_up"
    made_up.write_text(f'#!/bin/sh\ncase "$*" in *host_facts*) exec cat {tmp_path}/facts.json;; esac\nexit 126\n')
    for program in (sudo, python, made_up):
        program.chmod(0o755)
    alone = {"ansible_connection": "local", "ansible_python_interpreter": str(made_up), "ansible_become_exe": str(sudo), "ansible_pipelining": False}
    inventory: dict[str, dict[str, Any]] = {f"alone_{role}": {"hosts": {}} for role, *_ in ALONE.values()}
    for name, (role, given, *_) in ALONE.items():
        inventory[f"alone_{role}"]["hosts"][name] = {**alone, **GOOD[role], **given}
    readable = {**alone, "ansible_python_interpreter": str(python)}
    own = {"atlas_mlflow_secrets_dir": str(tmp_path / "secrets"), "atlas_mlflow_address": "192.0.2.7"}
    # Text, as `-e postgres_port=...` gives it.
    inventory["postgres"] = {"hosts": {"db": {**readable, **own, "postgres_port": port}}}
    inventory["mlflow_servers"] = {"hosts": {"server": {**readable, **own}}}
    write = {
        "ansible.builtin.copy": {
            "content": "{{ dict(__names | zip(__names | map('extract', hostvars, 'seen'))) | to_json }}",
            "dest": str(tmp_path / "seen.json"),
        }
    }
    gather = {"hosts": next(iter(ALONE)), "gather_facts": False, "tasks": [{**write, "vars": {"__names": list(ALONE)}, "delegate_to": "localhost"}]}
    (tmp_path / "alone.yml").write_text(yaml.safe_dump([*(play(role) for role in dict.fromkeys(role for role, *_ in ALONE.values())), gather], sort_keys=False))
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
    playbooks = (tmp_path / "alone.yml", ROOT / "playbooks/site.yml")
    with listener:
        done = ansible_playbook(tmp_path, "-i", tmp_path / "hosts.yml", *playbooks, ANSIBLE_LOCALHOST_WARNING="false")
    assert (tmp_path / "seen.json").exists(), done.stdout[-3000:] + done.stderr[-3000:]
    seen = json.loads((tmp_path / "seen.json").read_text())
    for name, (_, _, task, words) in ALONE.items():
        assert task in seen[name]["task"] and all(word in seen[name]["message"] for word in words), seen[name]
    # A role alone knows the other hosts of the inventory.
    assert seen["good"]["plan"]["backend_store"].startswith(f"postgresql+psycopg2://mlflow@192.0.2.7:{port}/mlflow?")
    assert done.returncode != 0
    said = " ".join(done.stdout.partition("PLAY [Read the hosts and plan the stack")[2].split())
    assert f"postgres_port is {port}, and" in said and "held by" in said, said[-3000:]
    assert "PLAY [Create the certificates" not in said
    assert "canary" not in done.stdout
