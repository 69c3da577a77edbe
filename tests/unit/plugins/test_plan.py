"""What each host is told of the others, by examples. What holds for all inventories is in test_topology_properties.py."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from ansible.errors import AnsibleError
from ansible_collections.atlas.mlflow.plugins.action.plan import ActionModule, play_secrets
from ansible_collections.atlas.mlflow.plugins.filter.backup import backup_plan
from ansible_collections.atlas.mlflow.plugins.filter.uris import with_password
from ansible_collections.atlas.mlflow.plugins.module_utils.served_stores import read_stores
from ansible_collections.atlas.mlflow.plugins.module_utils.stack import database
from ansible_collections.atlas.mlflow.plugins.module_utils.uris import not_encoded
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import default_of
from ansible_collections.atlas.mlflow.plugins.plugin_utils.settings import specifications
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology import backup_hosts
from in_process import act, trusted

Groups = dict[str, list[str]]
Hosts = dict[str, dict[str, Any]]
Plans = dict[str, dict[str, Any]]


def host(name: str, number: int, **given: Any) -> dict[str, Any]:
    """Return the variables of a host as playbooks/internal/facts.yml leaves them."""
    ip = f"10.0.0.{number}"
    known = {"inventory_hostname": name, "inventory_dir": "/inventory", "ansible_facts": {"processor_nproc": 4, "hostname": name}}
    return {**known, "atlas_mlflow_ip": ip, "atlas_mlflow_address": ip, "atlas_mlflow_names": [name, f"{name}.example.com", ip], **given}


def plans(groups: Groups, hosts: Hosts, part: str = "all") -> Plans:
    """Return the plan of each host."""
    hostvars = {name: trusted(variables) for name, variables in hosts.items()}
    return {name: act(ActionModule, {"part": part}, {**variables, "groups": groups, "hostvars": hostvars}) for name, variables in hostvars.items()}


@pytest.mark.parametrize(
    ("settings", "connections"), [({}, 4 * 2 * 15), ({"mlflow_server_workers": "1"}, 2 * 15), ({"mlflow_server_auth": "basic"}, 4 * (3 * 15 + 4))]
)
def test_connections_are_counted_by_the_workers_of_the_settings_or_the_cores(settings: dict[str, Any], connections: int) -> None:
    hosts = {"web": host("web", 1, **settings), "db": host("db", 2)}
    assert plans({"mlflow_servers": ["web"], "postgres": ["db"]}, hosts)["db"]["postgres_connections"] == connections


@pytest.mark.parametrize("value", [None, "", []])
def test_an_address_that_is_not_known_is_an_error_that_names_the_host(value: Any) -> None:
    hosts = {"web": host("web", 1), "db": host("db", 2, atlas_mlflow_ip=value, atlas_mlflow_address=value)}
    groups = {"mlflow_servers": ["web"], "postgres": ["db"]}
    with pytest.raises(AnsibleError, match=r"atlas_mlflow_(ip|address) of db is not known in this run: import playbooks/internal/facts.yml before"):
        plans(groups, hosts)
    # Who only asks as people do needs no address.
    assert plans(groups, hosts, "users")["web"]["client_url"] == "http://web:5001"


@pytest.mark.parametrize(
    ("groups", "settings", "url"),
    [
        ({"mlflow_servers": ["web"]}, {}, "http://web:5001"),
        ({"mlflow_servers": ["web"]}, {"atlas_mlflow_tls": True, "mlflow_server_static_prefix": "/ml"}, "https://web:5001/ml"),
        ({"mlflow_servers": ["web"], "haproxy": ["edge"]}, {"mlflow_server_static_prefix": "/ml"}, "http://edge/ml"),
        ({"mlflow_servers": ["web"], "haproxy": ["edge"]}, {"atlas_mlflow_tls": "yes"}, "https://edge"),
        ({"mlflow_servers": ["web"], "haproxy": ["edge"]}, {"haproxy_port": "8080"}, "http://edge:8080"),
        ({"mlflow_servers": ["web"], "haproxy": ["edge"]}, {"mlflow_server_url": "https://ml.corp/ml"}, "https://ml.corp/ml"),
    ],
)
def test_clients_ask_by_the_url_of_people_or_by_a_name(groups: Groups, settings: dict[str, Any], url: str) -> None:
    assert plans(groups, {"web": host("web", 1, **settings), "edge": host("edge", 2, **settings)}, "users")["edge"]["client_url"] == url


#: A tracking server and MinIO on one host, and what that host's plan then has.
BESIDE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"minio_listen_address": "127.0.0.1", "s3_endpoint_url": "http://127.0.0.1:9000", "backup_s3_endpoint_url": "http://127.0.0.1:9000"}),
    # Clients are sent to the endpoint too, and a certificate of the inventory is not for loopback.
    ({"minio_listen_address": "0.0.0.0", "mlflow_server_artifact_mode": "direct"}, {"s3_endpoint_url": "http://10.0.0.1:9000"}),
    (
        {"minio_listen_address": "0.0.0.0", "minio_tls_certificate": "/own/minio.pem"},
        {"s3_endpoint_url": "https://10.0.0.1:9000", "backup_s3_endpoint_url": "https://10.0.0.1:9000"},
    ),
    ({"atlas_mlflow_deployment": "container"}, {"s3_endpoint_url": "http://atlas-minio:9000", "backup_s3_endpoint_url": "http://127.0.0.1:9000"}),
    # Docker's network is that of the containers, whichever variable names it.
    ({"atlas_mlflow_deployment": "container", "atlas_mlflow_container_network": "team"}, {"firewall_container_network": "team"}),
    ({"mlflow_server_deployment": "container", "mlflow_server_container_network": "apart"}, {"firewall_container_network": "apart"}),
    ({"mlflow_server_deployment": "container"}, {"firewall_container_engine": "docker", "container_engines": {"mlflow_server": "docker"}}),
    ({"mlflow_server_deployment": "podman"}, {"firewall_container_engine": "podman", "firewall_container_network": "atlas-network"}),
    # A container does not reach the host's loopback.
    ({"mlflow_server_deployment": "podman"}, {"minio_listen_address": "10.0.0.1", "s3_endpoint_url": "http://10.0.0.1:9000"}),
    ({}, {"firewall_container_network": "", "container_networks": {}}),
]


@pytest.mark.parametrize(("settings", "planned"), BESIDE)
def test_a_store_beside_its_server_is_asked_where_it_listens(settings: dict[str, Any], planned: dict[str, Any]) -> None:
    known = plans({"mlflow_servers": ["web"], "minio": ["web"]}, {"web": host("web", 1, **settings)})["web"]
    assert {name: known[name] for name in planned} == planned


def test_the_backup_asks_a_store_in_a_container_by_the_address_if_that_listens_there_alone() -> None:
    hosts = {name: host(name, number, atlas_mlflow_deployment="container") for number, name in enumerate(["web", "other"], 1)}
    known = plans({"mlflow_servers": ["web", "other"], "postgres": ["web"], "minio": ["web"]}, hosts)["web"]
    assert known["minio_listen_address"] == "10.0.0.1"
    assert known["s3_endpoint_url"] == "http://atlas-minio:9000"
    assert known["backup_s3_endpoint_url"] == "http://10.0.0.1:9000"


def behind_nat(name: str, number: int, **given: Any) -> dict[str, Any]:
    """Return the variables of a host that the others reach by an address that it does not have."""
    own = host(name, number, **given)
    own["ansible_facts"] |= {"default_ipv4": {"address": f"192.168.0.{number}"}, "addresses": [{"address": f"192.168.0.{number}", "interface": "eth0"}]}
    return own


def test_a_host_behind_a_nat_listens_on_its_own_address_and_is_called_by_the_other_one() -> None:
    hosts = {"web": behind_nat("web", 1), "db": behind_nat("db", 2), "store": behind_nat("store", 3), "eye": behind_nat("eye", 4)}
    groups = {"mlflow_servers": ["web"], "postgres": ["db"], "minio": ["store"], "prometheus": ["eye"]}
    known = plans(groups, hosts)
    assert known["db"]["postgres_listen_addresses"] == ["localhost", "192.168.0.2"]
    assert known["store"]["minio_listen_address"] == known["store"]["minio_needed_address"] == "192.168.0.3"
    assert known["db"]["metrics_address"] == "192.168.0.2"
    # The others call, and are seen, by the other addresses.
    assert urlsplit(known["web"]["backend_store"]).hostname == "10.0.0.2" and known["web"]["s3_endpoint_url"] == "http://10.0.0.3:9000"
    assert known["db"]["postgres_clients"] == ["10.0.0.1"] and {"port": 5432, "sources": ["10.0.0.1"]} in known["db"]["firewall_needed"]
    called = {target["address"] for target in known["eye"]["metrics_targets"] if target["host"] == "db"}
    assert called == {"10.0.0.2:9100", "10.0.0.2:9187"}
    # An address that moves between hosts, for which the kernel is prepared, is not one of a NAT.
    hosts["db"]["ansible_facts"]["binds_any_address"] = True
    assert plans(groups, hosts)["db"]["postgres_listen_addresses"] == ["localhost", "10.0.0.2"]


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({}, "10.0.0.1:5001"),
        # The server listens on the interface of another network alone.
        ({"mlflow_server_host": "10.1.0.1"}, "10.1.0.1:5001"),
        ({"mlflow_server_host": "10.0.0.1"}, "10.0.0.1:5001"),
        ({"mlflow_server_host": "::"}, "10.0.0.1:5001"),
        # A name may lead there.
        ({"mlflow_server_host": "10.1.0.1", "atlas_mlflow_address": "web.corp"}, "web.corp:5001"),
    ],
)
def test_a_proxy_asks_a_server_where_it_listens(given: dict[str, Any], address: str) -> None:
    known = plans({"mlflow_servers": ["web"], "haproxy": ["edge"]}, {"web": host("web", 1, **given), "edge": host("edge", 2)})
    assert known["edge"]["proxied_servers"] == [{"name": "web", "address": address}]
    behind = behind_nat("web", 1, mlflow_server_host="192.168.0.1")
    assert plans({"mlflow_servers": ["web"], "haproxy": ["edge"]}, {"web": behind, "edge": host("edge", 2)})["edge"]["proxied_servers"][0]["address"] == (
        "10.0.0.1:5001"
    )


@pytest.mark.parametrize(("pools", "wanted"), [(False, ["10.0.0.1", "WEB.EXAMPLE.COM"]), (True, ["10.0.0.1"])])
def test_a_client_with_a_name_may_log_in_from_its_address(pools: bool, wanted: list[str]) -> None:
    """PostgreSQL finds the name of a client by a reverse look-up, which has no answer or another one in many networks."""
    hosts = {"web": host("web", 1, atlas_mlflow_address="WEB.EXAMPLE.COM"), "db": host("db", 2, postgres_pgbouncer=pools)}
    assert plans({"mlflow_servers": ["web"], "postgres": ["db"]}, hosts)["db"]["postgres_clients"] == wanted


@pytest.mark.parametrize(
    ("settings", "own", "of_backup"),
    [
        ({"mlflow_server_deployment": "container"}, "192.168.0.1", "192.168.0.1"),
        # Clients are sent there too.
        ({"mlflow_server_artifact_mode": "direct"}, "10.0.0.1", "192.168.0.1"),
        ({"atlas_mlflow_address": "store.example.com", "mlflow_server_deployment": "container"}, "store.example.com", "store.example.com"),
    ],
)
def test_a_host_behind_a_nat_calls_itself_by_its_own_address(settings: dict[str, Any], own: str, of_backup: str) -> None:
    known = plans({"mlflow_servers": ["web"], "minio": ["web"]}, {"web": behind_nat("web", 1, **settings)})["web"]
    assert (known["s3_endpoint_url"], known["backup_s3_endpoint_url"]) == (f"http://{own}:9000", f"http://{of_backup}:9000")
    assert known["minio_listen_address"] == "192.168.0.1"


def test_people_call_each_server_behind_a_proxy_by_the_names_of_all() -> None:
    names = {"a": ["a.corp"], "b": ["b.corp"], "edge": []}
    hosts = {
        name: host(name, number, mlflow_server_names=own, mlflow_server_url="https://Front.corp:8443") for number, (name, own) in enumerate(names.items(), 1)
    }
    known = plans({"mlflow_servers": ["a", "b"], "haproxy": ["edge"]}, hosts)
    assert known["a"]["called_names"] == known["b"]["called_names"] == ["edge", "edge.example.com", "10.0.0.3", "a.corp", "b.corp", "Front.corp"]
    # Without a proxy, a server is called by its own.
    assert plans({"mlflow_servers": ["a", "b"]}, hosts)["a"]["called_names"] == ["Front.corp"]


def test_a_certificate_is_for_an_address_without_brackets() -> None:
    hosts = {"web": host("web", 1, mlflow_server_names=["[FD00::9]"], mlflow_server_url="https://[fd00::7]:5001")}
    assert {"fd00::9", "fd00::7"} <= set(plans({"mlflow_servers": ["web"]}, hosts)["web"]["certificate_names"])


@pytest.mark.parametrize(("settings", "suffix"), [({}, ""), ({"haproxy_port": 8443}, ":8443"), ({"haproxy_port": "443", "atlas_mlflow_tls": True}, "")])
def test_the_proxys_port_is_behind_a_name_unless_it_is_that_of_the_scheme(settings: dict[str, Any], suffix: str) -> None:
    groups = {"mlflow_servers": ["web"], "haproxy": ["edge"]}
    assert plans(groups, {"web": host("web", 1, **settings), "edge": host("edge", 2, **settings)})["web"]["proxy_suffix"] == suffix


@pytest.mark.parametrize(
    ("settings", "speak"),
    [
        ({}, {"a": False, "b": False}),
        ({"atlas_mlflow_tls": True}, {"a": False, "b": False}),
        ({"atlas_mlflow_tls": True, "haproxy_servers_tls": "yes"}, {"a": True, "b": True}),
        ({"haproxy_servers_tls": True}, {"a": False, "b": False}),
    ],
)
def test_servers_behind_a_proxy_speak_tls_if_it_is_told_so(settings: dict[str, Any], speak: dict[str, bool]) -> None:
    hosts = {name: host(name, number, **settings) for number, name in enumerate(["a", "b", "edge"], 1)}
    groups = {"mlflow_servers": ["a", "b"], "haproxy": ["edge"]}
    assert plans(groups, hosts)["edge"]["servers_with_tls"] == speak
    hosts["b"]["mlflow_server_tls_certificate"] = "/own/b.pem"
    assert plans(groups, hosts)["edge"]["servers_with_tls"] == {**speak, "b": True}


def test_each_default_is_read_with_its_type() -> None:
    """A default is in the roles alone, and the code reads it as its specification types it."""
    root = Path(__file__).resolve().parents[3]
    text = "".join(path.read_text() for path in (root / "plugins/plugin_utils/topology").glob("*.py"))
    types = {"text": ("str", "path"), "number": ("int",), "flag": ("bool",), "items": ("list",)}
    options = specifications(root / "roles")
    read = re.findall(r"\.(text|number|flag|items)\(f?\"([a-z_{}.A-Z]+)\"\)", text)
    plain = [(kind, name) for kind, name in read if "{" not in name]
    assert len(plain) > 10
    assert [(kind, name) for kind, name in plain if options[name].get("type", "str") not in types[kind]] == []


#: A cluster of three hosts, on the first of which a tracking server runs too.
CLUSTER: Groups = {"mlflow_servers": ["one", "web"], "postgres": ["one", "two", "three"]}


def cluster(**settings: Any) -> Plans:
    """Return the plans of the hosts of a cluster and of a tracking server."""
    return plans(CLUSTER, {name: host(name, number, atlas_mlflow_tls=True, **settings) for number, name in enumerate(("one", "two", "three", "web"), 1)})


@pytest.mark.parametrize("server", ["one", "web"])
def test_a_server_gets_all_members_of_a_cluster_and_connects_to_the_one_that_takes_writes(server: str) -> None:
    uri = cluster(postgres_port=6432, mlflow_server_auth="basic")[server]["backend_store"]
    url = urlsplit(with_password(uri, "p@ss/wörd"))
    # Without a host before the path, the driver reads the hosts in the query.
    assert (url.username, unquote(url.password or ""), url.hostname, url.path) == ("mlflow", "p@ss/wörd", None, "/mlflow")
    options = dict(parse_qsl(url.query))
    assert (options["host"], options["port"]) == ("10.0.0.1,10.0.0.2,10.0.0.3", "6432,6432,6432")
    assert (options["target_session_attrs"], options["sslmode"]) == ("read-write", "verify-full")
    assert not not_encoded(with_password(uri, "p@ss/wörd"))
    everywhere = "10.0.0.1,10.0.0.2,10.0.0.3"
    assert database(uri) == {"kind": "postgresql", "host": "10.0.0.1", "port": "6432", "name": "mlflow", "hosts": everywhere}


def test_reads_go_to_replicas_and_each_server_begins_with_another_member() -> None:
    found = cluster(postgres_port=6432)
    hosts = {}
    for server in ("one", "web"):
        options = dict(parse_qsl(urlsplit(found[server]["read_replica_store"]).query))
        writes = dict(parse_qsl(urlsplit(found[server]["backend_store"]).query))
        # Without a replica, the primary answers.
        assert (options["target_session_attrs"], options["port"]) == ("prefer-standby", "6432,6432,6432")
        assert {**writes, "host": options["host"], "target_session_attrs": "prefer-standby"} == options
        hosts[server] = options["host"].split(",")
    assert hosts == {"one": ["10.0.0.1", "10.0.0.2", "10.0.0.3"], "web": ["10.0.0.2", "10.0.0.3", "10.0.0.1"]}
    assert plans({"mlflow_servers": ["web"], "postgres": ["one"]}, {"web": host("web", 1), "one": host("one", 2)})["web"]["read_replica_store"] == ""


def test_members_of_a_cluster_open_their_ports_to_each_other() -> None:
    found = cluster(etcd_client_port=3379)["two"]["firewall_needed"]
    others = ["10.0.0.1", "10.0.0.3"]
    assert {opening["port"]: sorted(opening["sources"]) for opening in found} == {
        5432: ["10.0.0.1", "10.0.0.3", "10.0.0.4"],
        3379: others,
        2380: others,
        8008: others,
    }


def test_members_of_a_cluster_have_certificates_for_clients_and_listen_to_each_other() -> None:
    found = cluster()
    assert {name: plan["certificate_usages"] for name, plan in found.items() if name != "web"} == dict.fromkeys(
        ("one", "two", "three"), ["serverAuth", "clientAuth"]
    )
    assert found["web"]["certificate_usages"] == ["serverAuth"]
    assert found["three"]["postgres_listen_addresses"] == ["localhost", "10.0.0.3"]
    assert found["three"]["postgres_members"][1] == {"name": "two", "address": "10.0.0.2", "ip": "10.0.0.2"}
    # The primary may be on another host than the server.
    assert found["two"]["postgres_clients"] == ["10.0.0.1", "10.0.0.4"]


def memory(found: Plans, name: str) -> list[tuple[str, int]]:
    """Return the services of a host with their memory."""
    return [(part["what"], part["mebibytes"]) for part in found[name]["memory"]]


def test_the_memory_of_a_host_is_that_of_all_its_services() -> None:
    names = ("all", "web")
    groups = {"mlflow_servers": list(names), **dict.fromkeys(("postgres", "minio", "haproxy"), ["all"])}
    found = plans(groups, {name: host(name, number, mlflow_server_workers="1") for number, name in enumerate(names, 1)})
    assert memory(found, "all") == [("PostgreSQL with 60 connections", 128 + 60 * 5), ("MinIO", 1000), ("MLflow with 1 worker", 310), ("HAProxy", 50)]
    assert [part["role"] for part in found["all"]["memory"]] == ["postgres", "minio", "mlflow_server", "haproxy"]
    assert memory(found, "web") == [("MLflow with 1 worker", 310)]


@pytest.mark.parametrize(
    ("settings", "server", "database"),
    [
        ({}, 310 + 3 * 120, 128 + 120 * 5),
        ({"mlflow_server_workers": 2, "mlflow_server_jobs_enabled": "yes"}, 430 + 8 * 170, 128 + 300 * 5),
        ({"postgres_settings": {"shared_buffers": "2GB"}}, 670, 2048 + 600),
        ({"postgres_settings": {"shared_buffers": 65536}}, 670, 512 + 600),
        ({"postgres_settings": {"shared_buffers": "lots"}}, 670, 728),
    ],
)
def test_memory_follows_from_the_settings(settings: dict[str, Any], server: int, database: int) -> None:
    found = plans({"mlflow_servers": ["web"], "postgres": ["db"]}, {name: host(name, number, **settings) for number, name in enumerate(("web", "db"), 1)})
    assert [mebibytes for name in ("web", "db") for _what, mebibytes in memory(found, name)] == [server, database]


def test_a_member_of_a_cluster_needs_memory_for_etcd_and_patroni() -> None:
    assert memory(cluster(mlflow_server_workers=1), "two") == [("PostgreSQL with 60 connections", 128 + 300 + 150)]


def test_one_host_is_no_cluster() -> None:
    alone = plans(
        {"mlflow_servers": ["web"], "postgres": ["one"]}, {name: host(name, number, atlas_mlflow_tls=True) for number, name in enumerate(("one", "web"), 1)}
    )
    assert alone["one"]["postgres_members"] == [] and alone["one"]["certificate_usages"] == ["serverAuth"]
    assert [opening["port"] for opening in alone["one"]["firewall_needed"]] == [5432]


def pool(**settings: Any) -> Plans:
    """Return the plans of a pool of MinIO on four hosts, of two proxies, a tracking server and a database."""
    names = ("one", "two", "three", "four", "edge", "other", "web", "db")
    hosts = {name: host(name, number, **settings) for number, name in enumerate(names, 1)}
    return plans({"mlflow_servers": ["web"], "minio": list(names[:4]), "haproxy": ["edge", "other"], "postgres": ["db"]}, hosts)


def test_a_pool_is_asked_by_the_proxies() -> None:
    found = pool(atlas_mlflow_tls=True, haproxy_minio_port=9443)
    assert {found[name]["s3_endpoint_url"] for name in ("web", "one", "edge")} == {"https://10.0.0.5:9443"}
    assert found["db"]["backup_s3_endpoint_url"] == "https://10.0.0.5:9443"
    # A server has the address of a proxy until the run that gives the proxies an address of their own.
    assert found["db"]["minio_names"] == ["10.0.0.5", "edge", "edge.example.com", "10.0.0.6", "other", "other.example.com"]
    shared = {"haproxy_virtual_address": "10.0.0.99/24", "ansible_facts": {"stack": {"haproxy": {"virtual_address": "10.0.0.98"}}}}
    assert {"10.0.0.99", "10.0.0.98", "10.0.0.5"} <= set(pool(**shared)["db"]["minio_names"])
    assert found["edge"]["proxied_stores"][3] == {"name": "four", "address": "10.0.0.4:9000"} and found["edge"]["proxied_stores_tls"]
    assert [found[name]["minio_listen_address"] for name in ("one", "four")] == ["10.0.0.1", "10.0.0.4"]


def test_a_pool_is_open_for_its_hosts_and_the_proxies_and_the_proxies_for_its_clients() -> None:
    found = pool()
    assert found["two"]["firewall_needed"] == [{"port": 9000, "sources": [f"10.0.0.{number}" for number in (1, 3, 4, 5, 6)]}]
    assert found["other"]["firewall_needed"] == [{"port": 80, "sources": ["any"]}, {"port": 9000, "sources": ["10.0.0.7", "10.0.0.8"]}]
    assert pool(mlflow_server_artifact_mode="direct")["edge"]["firewall_needed"][1] == {"port": 9000, "sources": ["any"]}


def test_the_backup_of_each_member_of_a_cluster_reads_a_pool_by_the_proxies_which_let_it_in() -> None:
    """Any member may make the backup."""
    names = ("one", "two", "three", "four", "edge", "web", "a", "b", "c")
    hosts = {name: host(name, number, atlas_mlflow_tls=True, haproxy_minio_port=9443) for number, name in enumerate(names, 1)}
    groups = {"mlflow_servers": ["web"], "minio": list(names[:4]), "haproxy": ["edge"], "postgres": list("abc")}
    found = plans(groups, hosts)
    for member in backup_hosts(groups):
        known = found[member]
        here = {"name": member, "bucket": "mlflow", "endpoint": known["backup_s3_endpoint_url"], "minio": known["minio_names"]}
        here |= {"addresses": [one["address"] for one in known["postgres_members"]], "postgres_ports": [known["postgres_port"]]}
        settings = {"MLFLOW_BACKEND_STORE_URI": found["web"]["backend_store"], "MLFLOW_ARTIFACTS_DESTINATION": found["web"]["artifacts_destination"]}
        served = {"web": read_stores({**settings, "MLFLOW_S3_ENDPOINT_URL": found["web"]["s3_endpoint_url"]})}
        plan = backup_plan(served, here)
        assert (plan["faults"], plan["databases"]) == ([], {"backend": "mlflow"})
        assert {"port": 9443, "sources": [f"10.0.0.{number}" for number in (6, 7, 8, 9)]} in found["edge"]["firewall_needed"]


def test_the_hosts_of_a_pool_know_all_its_drives_in_the_order_of_the_inventory() -> None:
    hosts = {name: host(name, number, minio_drives=["/a", "/b"]) for number, name in enumerate(("one", "two", "three", "four", "web"), 1)}
    hosts |= {name: host(name, number, minio_pool=2) for number, name in enumerate(("five", "six", "seven", "eight"), 6)}
    groups = {"mlflow_servers": ["web"], "haproxy": ["web"], "minio": ["five", "six", "three", "one", "two", "four", "seven", "eight"]}
    found = plans(groups, hosts)
    assert found["one"]["minio_pools"] == found["eight"]["minio_pools"]
    assert [[one["name"] for one in listed] for listed in found["one"]["minio_pools"]] == [["three", "one", "two", "four"], ["five", "six", "seven", "eight"]]
    assert found["one"]["minio_pools"][0][0] == {"name": "three", "address": "10.0.0.3", "port": 9000, "scheme": "http", "drives": ["/a", "/b"]}
    assert found["one"]["minio_pools"][1][3]["drives"] == ["/var/lib/minio"]


def test_one_host_of_minio_is_no_pool() -> None:
    found = plans(
        {"mlflow_servers": ["web"], "minio": ["one"], "haproxy": ["edge"]}, {name: host(name, number) for number, name in enumerate(("web", "one", "edge"), 1)}
    )
    assert found["one"]["minio_pools"] == [] and found["edge"]["proxied_stores"] == [] and found["web"]["s3_endpoint_url"] == "http://10.0.0.2:9000"
    assert [opening["port"] for opening in found["edge"]["firewall_needed"]] == [80]


@pytest.mark.parametrize(
    ("play", "inventory", "found"),
    [
        ({"minio_root_password": "of-the-play"}, {}, ["minio_root_password"]),
        ({"minio_root_password": "{{ vault }}", "postgres_password": "x"}, {}, ["postgres_password", "minio_root_password"]),
        # The default of a role, and what the inventory sets.
        ({"minio_root_password": default_of("minio_root_password")}, {}, []),
        ({"minio_root_password": "x"}, {"minio_root_password": "x"}, []),
        ({}, {}, []),
    ],
)
def test_the_plan_names_the_secrets_of_the_play(play: dict[str, str], inventory: dict[str, str], found: list[str]) -> None:
    given = {"inventory_hostname": "db", "hostvars": {"db": inventory}, **inventory, **play}
    assert default_of("minio_root_password") and default_of("no_such_variable") is None
    assert play_secrets(given) == found
