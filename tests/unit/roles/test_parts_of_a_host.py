"""Folders, ports and accounts of the services of one host are compared before a host is touched: each role knows only its own."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from ansible_collections.atlas.mlflow.plugins.action.plan import ActionModule as Plan
from ansible_collections.atlas.mlflow.plugins.action.preflight import ActionModule as Preflight
from in_process import act, role_variables, trusted

#: What each role needs so that it passes.
GOOD: dict[str, dict[str, Any]] = {
    "mlflow_server": {
        "mlflow_server_webhook_key": "Abcdefghijklmnopqrstuvwxyz0123456789AbcdefA=",
        "mlflow_server_kek_passphrase": "long-enough-passphrase",
        "mlflow_server_s3_secret_access_key": "{{ 'long-enough-secret' if mlflow_server_s3_access_key_id else '' }}",
    },
    "postgres": {"postgres_password": "long-enough-password", "postgres_version": "17", "postgres_superuser_password": "long-enough-password"},
    "minio": {"minio_root_password": "long-enough-password", "minio_secret_key": "long-enough-secret"},
    "haproxy": {},
    "metrics": {},
    "prometheus": {},
    "backup": {"backup_passphrase": "long-enough-passphrase"},
}
#: The groups of a host with all services.
ALL = {group: ["one"] for group in ("mlflow_servers", "postgres", "minio", "haproxy", "prometheus")}
#: The same with containers, which have no metrics.
CONTAINERS = {group: listed for group, listed in ALL.items() if group != "prometheus"}
#: The role of each group.
ROLES = {"mlflow_servers": "mlflow_server"}
#: Groups whose roles have no rules for a removal.
UNREMOVED = ("haproxy", "prometheus")


def host(name: str, number: int, **given: Any) -> dict[str, Any]:
    """Return the variables of a host as playbooks/internal/facts.yml leaves them."""
    ip = f"10.0.0.{number}"
    facts = {"architecture": "x86_64", "processor_nproc": 2, "distribution_release": "bookworm", "packages": {}, "listeners": []}
    known = {"inventory_hostname": name, "inventory_dir": "/inventory", "ansible_facts": facts}
    return {**known, "atlas_mlflow_ip": ip, "atlas_mlflow_address": ip, "atlas_mlflow_names": [name, ip], **given}


def said(given: dict[str, Any], groups: dict[str, list[str]] | None = None, **arguments: Any) -> dict[str, str]:
    """Return what the preflight of each role of the first host says against the settings, which all hosts have. Roles that pass are left out."""
    groups = ALL if groups is None else groups
    names = sorted({name for listed in groups.values() for name in listed})
    hosts = {name: host(name, number, **given) for number, name in enumerate(names, 1)}
    hostvars = {name: trusted(variables) for name, variables in hosts.items()}
    plan = act(Plan, {"part": "all"}, {**hostvars["one"], "groups": groups, "hostvars": hostvars})
    roles = [ROLES.get(group, group) for group, listed in groups.items() if "one" in listed and not (arguments and group in UNREMOVED)]
    roles += [] if arguments else [*(["metrics"] if plan["metrics"] else []), "backup"]
    found = {}
    for role in roles:
        known = {"groups": groups, "hostvars": hostvars, "_atlas_mlflow_plan": {**plan, "secrets_dir": ""}}
        result = act(Preflight, {"role": role, **arguments}, role_variables(role, {**GOOD[role], **hosts["one"], **known}))
        if result["failed"]:
            found[role] = " ".join(result["msg"]) if isinstance(result["msg"], list) else str(result["msg"])
    assert "canary" not in json.dumps(plan)
    return found


def test_a_host_with_all_services_and_their_defaults_passes() -> None:
    assert said({}) == {}
    assert said({"atlas_mlflow_deployment": "container"}, CONTAINERS) == {}


#: Folders that a removal removes, and that belong to the system.
SYSTEM = (
    "/",
    "/opt",
    "/srv",
    "/usr",
    "/usr/local",
    "/usr/local/bin",
    "/var",
    "/var/lib",
    "/home",
    "/home/ada",
    "/root",
    "/etc",
    "/etc/mlflow",
    "/mnt",
    "/data",
)


@pytest.mark.parametrize("folder", SYSTEM)
@pytest.mark.parametrize(
    ("role", "name"), [("mlflow_server", "mlflow_server_install_dir"), ("mlflow_server", "mlflow_server_uv_dir"), ("minio", "minio_install_dir")]
)
def test_a_folder_of_the_system_is_not_removed_with_programs(role: str, name: str, folder: str) -> None:
    for arguments in ({}, {"removal": True}):
        told = said({name: folder}, **arguments)
        assert f"{name} is {folder}, and remove.yml removes that folder" in told[role], told


@pytest.mark.parametrize("name", ["postgres_patroni_install_dir", "postgres_uv_dir"])
def test_a_folder_of_the_system_is_not_removed_with_patroni(name: str) -> None:
    members = {"postgres": ["one", "two", "three"]}
    assert f"{name} is /opt, and remove.yml removes that folder" in said({name: "/opt"}, members)["postgres"]
    # One host of PostgreSQL has no Patroni.
    assert name not in said({name: "/opt"}).get("postgres", "")


@pytest.mark.parametrize("folder", ["/opt/mlflow", "/srv/stack/mlflow", "/usr/local/mlflow", "/home/ada/mlflow", "/storage"])
def test_a_folder_of_its_own_may_be_removed(folder: str) -> None:
    assert said({"mlflow_server_install_dir": folder}) == {}


#: Settings of one host, the roles that refuse them, and the words.
INSIDE: list[tuple[dict[str, Any], set[str], list[str]]] = [
    (
        {"mlflow_server_install_dir": "/srv/stack", "minio_data_dir": "/srv/stack/objects"},
        {"mlflow_server", "minio"},
        ["minio_data_dir is /srv/stack/objects, which lies in /srv/stack (mlflow_server_install_dir), and remove.yml removes that folder. Set minio_data_dir"],
    ),
    (
        {"mlflow_server_install_dir": "/srv/stack", "backup_repository": "/srv/stack/backups"},
        {"mlflow_server", "backup"},
        ["backup_repository is /srv/stack/backups, which lies in /srv/stack"],
    ),
    ({"minio_install_dir": "/srv/stack", "mlflow_server_data_dir": "/srv/stack"}, {"mlflow_server", "minio"}, ["mlflow_server_data_dir is /srv/stack"]),
    ({"minio_install_dir": "/srv/stack", "mlflow_server_install_dir": "/srv/stack/mlflow"}, {"mlflow_server", "minio"}, ["mlflow_server_install_dir is"]),
    (
        {"mlflow_server_data_dir": "/srv/mlflow", "backup_repository": "/srv/mlflow/backups/"},
        {"mlflow_server", "backup"},
        ["backup_repository is /srv/mlflow/backups/, which lies in /srv/mlflow", "removes that folder if mlflow_server_remove_data is true"],
    ),
    ({"minio_data_dir": "/srv/objects", "backup_repository": "/srv/objects"}, {"minio", "backup"}, ["if minio_remove_data is true"]),
    (
        {"minio_data_dir": "/srv/objects", "mlflow_server_artifacts_destination": "/srv/objects/old"},
        {"mlflow_server", "minio"},
        ["mlflow_server_artifacts_destination is /srv/objects/old"],
    ),
    (
        {"minio_data_dir": "/srv/objects", "mlflow_server_environment": {"MLFLOW_REGISTRY_STORE_URI": "sqlite:////srv/objects/registry/models.db"}},
        {"mlflow_server", "minio"},
        ["MLFLOW_REGISTRY_STORE_URI of mlflow_server_environment is /srv/objects/registry"],
    ),
    (
        {"mlflow_server_install_dir": "/var/lib/postgresql"},
        {"mlflow_server"},
        ["the folder of PostgreSQL's data is /var/lib/postgresql, which lies in", "Set mlflow_server_install_dir to a folder elsewhere"],
    ),
    ({"mlflow_server_uv_dir": "/opt/atlas-mlflow"}, {"mlflow_server"}, ["the folder of the collection is /opt/atlas-mlflow"]),
    ({"minio_data_dir": "/var/lib/atlas-mlflow-prometheus"}, {"minio"}, ["the folder of Prometheus's data is", "Set minio_data_dir to a folder elsewhere"]),
    # Of the same role.
    (
        {"mlflow_server_uv_dir": "/srv/mlflow", "mlflow_server_data_dir": "/srv/mlflow/data"},
        {"mlflow_server"},
        ["mlflow_server_data_dir is /srv/mlflow/data, which lies in /srv/mlflow (mlflow_server_uv_dir), and remove.yml removes that"],
    ),
]


@pytest.mark.parametrize(("given", "roles", "words"), INSIDE)
def test_a_folder_in_one_that_a_removal_removes_is_refused(given: dict[str, Any], roles: set[str], words: list[str]) -> None:
    told = said(given)
    assert set(told) == roles
    assert all(word in told[role] for role in roles for word in words), told


@pytest.mark.parametrize(
    "given",
    [
        {"mlflow_server_data_dir": "/srv/stack/mlflow", "minio_data_dir": "/srv/stack/minio", "backup_repository": "/srv/stack/backups"},
        {"mlflow_server_data_dir": "/srv/stack", "backup_repository": "/srv/stack-backups"},
        {"backup_repository": "/srv/stack", "mlflow_server_data_dir": "/srv/stack/mlflow"},
        {"backup_repository": "/srv"},
        # Roles share uv, which the next run installs again.
        {"mlflow_server_uv_dir": "/opt/uv", "minio_uv_dir": "/opt/uv"},
        # What one role removes is its own.
        {"mlflow_server_data_dir": "/srv/mlflow", "mlflow_server_install_dir": "/srv/mlflow/release"},
    ],
)
def test_folders_side_by_side_pass(given: dict[str, Any]) -> None:
    assert said(given) == {}


def test_folders_of_different_hosts_are_not_compared() -> None:
    given = {"mlflow_server_data_dir": "/srv/stack", "minio_data_dir": "/srv/stack/objects"}
    assert said(given, {"mlflow_servers": ["one"], "minio": ["two"], "postgres": ["two"]}) == {}
    # Containers keep their objects on a volume.
    assert said({**given, "atlas_mlflow_deployment": "container"}, CONTAINERS) == {}


def test_a_removal_refuses_only_what_it_would_remove() -> None:
    given = {"mlflow_server_data_dir": "/srv/mlflow", "backup_repository": "/srv/mlflow/backups"}
    assert said(given, removal=True) == {}
    removed = {"mlflow_server_remove_data": True}
    assert "backup_repository is /srv/mlflow/backups" in said({**given, **removed}, removal=True)["mlflow_server"]
    assert "mlflow_server_data_dir is /srv, and remove.yml" in said({"mlflow_server_data_dir": "/srv", **removed}, removal=True)["mlflow_server"]
    assert said({"mlflow_server_data_dir": "/srv", "minio_data_dir": "/mnt"}, removal=True) == {}
    assert "minio_data_dir is /mnt, and remove.yml" in said({"minio_data_dir": "/mnt", "minio_remove_data": "yes"}, removal=True)["minio"]
    told = said({"mlflow_server_install_dir": "/srv/stack", "minio_data_dir": "/srv/stack/objects"}, removal=True)
    assert set(told) == {"mlflow_server"} and "minio_data_dir is /srv/stack/objects" in told["mlflow_server"]


#: Settings of a host with all services, whose metrics are read by another host too, and two variables with the same port.
SAME_PORT: list[tuple[dict[str, Any], str, str, int]] = [
    ({"haproxy_port": 5001}, "mlflow_server_port", "haproxy_port", 5001),
    ({"mlflow_server_port": "9000"}, "mlflow_server_port", "minio_port", 9000),
    ({"minio_console_port": 9090, "minio_listen_address": "0.0.0.0"}, "minio_console_port", "prometheus_port", 9090),
    ({"mlflow_server_port": 9100}, "mlflow_server_port", "metrics_node_port", 9100),
    ({"mlflow_server_port": 9187}, "mlflow_server_port", "metrics_postgres_port", 9187),
    ({"mlflow_server_port": 8405}, "mlflow_server_port", "haproxy_metrics_port", 8405),
    ({"mlflow_server_port": 6432, "postgres_pgbouncer": True}, "mlflow_server_port", "postgres_pgbouncer_port", 6432),
    ({"postgres_port": 9090}, "postgres_port", "prometheus_port", 9090),
    ({"haproxy_port": 5432, "haproxy_listen_address": "::"}, "postgres_port", "haproxy_port", 5432),
    ({"mlflow_server_port": 80}, "mlflow_server_port", "haproxy_port", 80),
]


@pytest.mark.parametrize(("given", "one", "other", "number"), SAME_PORT)
def test_two_services_of_a_host_with_one_port_are_refused(given: dict[str, Any], one: str, other: str, number: int) -> None:
    told = said(given)
    assert len(told) == 2, told
    for words in told.values():
        assert words == f"{one} and {other} are {number}, and one has both services. Set one of them to another port."


def test_containers_with_one_published_port_are_refused() -> None:
    told = said({"atlas_mlflow_deployment": "container", "mlflow_server_port": 9000}, CONTAINERS)
    assert "mlflow_server_port and minio_port are 9000" in told["mlflow_server"]


@pytest.mark.parametrize(
    ("given", "one", "other"),
    [
        ({}, "minio_port", "haproxy_minio_port"),
        ({"haproxy_postgres_port": 5432, "haproxy_minio_port": 9001}, "postgres_port", "haproxy_postgres_port"),
        ({"postgres_pgbouncer_port": 5432, "haproxy_minio_port": 9001}, "postgres_port", "postgres_pgbouncer_port"),
        ({"postgres_pgbouncer_port": 2379, "haproxy_minio_port": 9001}, "postgres_pgbouncer_port", "etcd_client_port"),
    ],
)
def test_the_ports_of_a_proxy_and_of_members_on_one_host_are_compared(given: dict[str, Any], one: str, other: str) -> None:
    members = {"mlflow_servers": ["one"], "postgres": ["one", "two", "three"], "minio": ["one", "two", "three", "four"], "haproxy": ["one"]}
    settings = {"atlas_mlflow_tls": True, "postgres_pgbouncer": True, "mlflow_server_postgres_route": "haproxy"}
    told = " ".join(said({**settings, **given}, members).values())
    assert re.search(rf"\b{one} and {other} are \d+, and one has both services", told), told


@pytest.mark.parametrize(
    ("name", "number"), [("mlflow_server_port", 2379), ("mlflow_server_port", 8008), ("postgres_port", 2380), ("postgres_patroni_port", 5432)]
)
def test_the_ports_of_a_cluster_are_compared(name: str, number: int) -> None:
    members = {"mlflow_servers": ["one"], "postgres": ["one", "two", "three"]}
    told = said({name: number, "atlas_mlflow_tls": True}, members)
    assert f"are {number}, and one has both services" in " ".join(told.values())


@pytest.mark.parametrize(
    ("given", "groups"),
    [
        # The same port on different addresses.
        ({"mlflow_server_host": "127.0.0.1", "haproxy_listen_address": "10.0.0.1", "haproxy_port": 5001}, ALL),
        ({"mlflow_server_port": 9090, "mlflow_server_host": "10.0.0.1"}, ALL),
        # What does not run.
        ({"mlflow_server_port": 9100}, CONTAINERS),
        ({"mlflow_server_port": 9100, "atlas_mlflow_metrics": False}, CONTAINERS),
        ({"mlflow_server_port": 6432}, ALL),
        ({"mlflow_server_port": 2379}, ALL),
        ({"mlflow_server_port": 6433}, ALL),
        # Two hosts.
        ({"mlflow_server_port": 9000}, {"mlflow_servers": ["one"], "minio": ["two"], "postgres": ["two"]}),
        ({"haproxy_port": 5001, "mlflow_server_url": "http://one:5001"}, {"haproxy": ["one"], "mlflow_servers": ["two"]}),
    ],
)
def test_a_port_that_is_free_when_all_services_run_passes(given: dict[str, Any], groups: dict[str, list[str]]) -> None:
    assert said(given, groups) == {}


def test_two_roles_of_a_host_have_users_of_their_own() -> None:
    told = said({"mlflow_server_os_user": "svc", "minio_os_user": "svc"})
    assert set(told) == {"mlflow_server", "minio"}
    assert told["minio"] == "minio_os_user and mlflow_server_os_user are svc, and one has both services. Set a user of its own for each."
    assert set(said({"minio_os_user": "mlflow"})) == {"mlflow_server", "minio"}
    assert "mlflow_server_os_user and metrics_postgres_user are atlas_metrics" in said({"mlflow_server_os_user": "atlas_metrics"})["mlflow_server"]
    # On two hosts they are two users, and there is no exporter of PostgreSQL.
    apart = {"mlflow_servers": ["one"], "minio": ["two"], "postgres": ["two"]}
    assert said({"mlflow_server_os_user": "svc", "minio_os_user": "svc"}, apart) == {}
    assert said({"mlflow_server_os_user": "ml-ops", "minio_os_user": "svc.minio"}) == {}
