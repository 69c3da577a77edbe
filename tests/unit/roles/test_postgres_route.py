"""The way of tracking servers to the primary of a cluster through the proxies: who asks whom, who lets whom in, and what HAProxy does."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from ansible_collections.atlas.mlflow.plugins.module_utils.served_stores import read_stores
from ansible_collections.atlas.mlflow.plugins.module_utils.stack import database

from inventories import Case, Run

#: A member has a tracking server and a proxy too.
GROUPS = {"haproxy": ["a", "edge"], "mlflow_servers": ["a", "web"], "postgres": ["a", "b", "c"]}
BY_PROXY = {"mlflow_server_postgres_route": "haproxy"}
COMMON = {"atlas_mlflow_tls": True, "atlas_mlflow_firewall": True}
NAMES = ("a", "edge", "web", "b", "c")
A, EDGE, WEB, B, C = (f"10.0.0.{number}" for number in range(1, 6))


def run(groups: dict[str, list[str]] | None = None, **given: Any) -> Run:
    """Return what a run knows of a cluster, two proxies and two tracking servers."""
    return Run(Case(groups or GROUPS, {name: {**COMMON, **given} for name in NAMES}), secrets={"postgres_password": "p"})


def ways(known: Run, server: str, store: str = "backend_store") -> tuple[str, str, dict[str, str]]:
    """Return the hosts, the ports and the other options of a tracking server's URI."""
    options = dict(parse_qsl(urlsplit(known.plans[server][store]).query))
    return options.pop("host"), options.pop("port"), options


def config(known: Run, name: str = "edge") -> str:
    """Return the settings of HAProxy."""
    text: str = known.value(name, "haproxy", "_haproxy_config")
    return text


def opened(known: Run, name: str) -> dict[int, list[str]]:
    """Return who may reach each port of a host."""
    return {opening["port"]: sorted(opening["sources"]) for opening in known.plans[name]["firewall_needed"] if "port" in opening}


def present(host: str, port: str = "6433") -> dict[str, Any]:
    """Return the facts of a tracking server that uses a database."""
    uri = f"postgresql+psycopg2://mlflow@/mlflow?host={host}&port={port}"
    return {"processor_nproc": 4, "stack": {"mlflow_server": {"stores": {"backend": database(uri)}, "secrets": {}}}}


def test_a_server_asks_the_members_unless_it_is_told_otherwise() -> None:
    known = run()
    assert ways(known, "web")[:2] == (f"{A},{B},{C}", "5432,5432,5432")
    assert "postgres" not in config(known) and known.plans["edge"]["proxied_databases"] == []
    assert 6433 not in opened(known, "edge") and EDGE not in opened(known, "b")[8008] + opened(known, "b")[5432]
    assert EDGE not in known.plans["b"]["postgres_clients"] and EDGE not in known.plans["b"]["certificate_names"]


@pytest.mark.parametrize("store", ["backend_store", "auth_store"])
def test_a_server_asks_the_shared_address_and_then_each_proxy_that_on_its_own_host_first(store: str) -> None:
    shared = run(**BY_PROXY, haproxy_virtual_address="10.0.0.99/24", mlflow_server_auth="basic")
    hosts, ports, options = ways(shared, "web", store)
    assert (hosts, ports) == (f"10.0.0.99,{A},{EDGE}", "6433,6433,6433")
    # A proxy that still passes to a former primary is left for the next one.
    assert options["target_session_attrs"] == "read-write"
    assert (options["sslmode"], options["sslrootcert"]) == ("verify-full", "/etc/atlas-mlflow/tls/authority.pem")
    alone = run({**GROUPS, "haproxy": ["edge", "a"]}, **BY_PROXY, haproxy_postgres_port=7000, mlflow_server_auth="basic")
    assert ways(alone, "web", store)[:2] == (f"{EDGE},{A}", "7000,7000")
    assert ways(alone, "a", store)[:2] == (f"{A},{EDGE}", "7000,7000")


@pytest.mark.parametrize("route", [{}, BY_PROXY])
def test_connections_to_a_lost_primary_are_closed_before_a_replica_takes_over(route: dict[str, Any]) -> None:
    known = run(**route)
    options = {name: int(value) for name, value in ways(known, "web")[2].items() if value.isdecimal()}
    with_traffic = options["tcp_user_timeout"] / 1000
    without = options["keepalives_idle"] + options["keepalives_interval"] * options["keepalives_count"]
    assert max(with_traffic, without) < known.value("b", "postgres", "_postgres_cluster_settings")["ttl"]


def test_reads_of_replicas_go_to_the_members() -> None:
    assert ways(run(**BY_PROXY), "web", "read_replica_store") == ways(run(), "web", "read_replica_store")


def test_clients_that_the_user_adds_join_the_servers() -> None:
    known = run(postgres_clients=["10.9.0.0/24"])
    assert {A, WEB, "10.9.0.0/24"} <= set(opened(known, "b")[5432])
    allowed = known.value("b", "postgres", "lookup('ansible.builtin.template', 'pg_hba.conf.j2')")
    assert all(re.search(rf"^hostssl .* {re.escape(client)} ", allowed, re.MULTILINE) for client in (f"{A}/32", f"{WEB}/32", "10.9.0.0/24"))


@pytest.mark.parametrize(
    ("client", "rule"), [("WEB", "WEB"), ("web-1.example.com", "web-1.example.com"), ("10.9.0.7", "10.9.0.7/32"), ("fd00::7", "fd00::7/128")]
)
def test_an_address_that_may_log_in_gets_a_mask_and_a_name_none(client: str, rule: str) -> None:
    allowed = run(postgres_clients=[client]).value("b", "postgres", "lookup('ansible.builtin.template', 'pg_hba.conf.j2')")
    assert re.search(rf"^hostssl .*  {re.escape(rule)}  scram", allowed, re.MULTILINE)


def test_each_name_by_which_a_member_is_called_is_in_its_certificate() -> None:
    known = run(**BY_PROXY, haproxy_virtual_address="10.0.0.99")
    for member in GROUPS["postgres"]:
        assert set(ways(known, "web")[0].split(",")) <= set(known.plans[member]["certificate_names"])
    assert "10.0.0.99" not in known.plans["web"]["certificate_names"]


def test_the_members_let_the_proxies_in_and_the_proxies_the_servers() -> None:
    known = run(**BY_PROXY)
    assert opened(known, "edge")[6433] == [A, WEB]
    assert opened(known, "b")[5432] == [A, EDGE, WEB, C] and opened(known, "b")[8008] == [A, EDGE, C]
    # etcd is for the members alone.
    assert opened(known, "b")[2379] == opened(known, "b")[2380] == [A, C]
    hba = known.value("b", "postgres", "lookup('ansible.builtin.template', 'pg_hba.conf.j2')")
    assert re.findall(r"^hostssl mlflow .*", hba, re.MULTILINE)[-3:] == [f"hostssl mlflow  +mlflow  {one}/32  scram-sha-256" for one in (A, WEB, EDGE)]
    assert "host    mlflow" not in hba


def test_haproxy_passes_to_the_primary_and_ends_sessions_of_a_member_that_is_down() -> None:
    text = config(run(**BY_PROXY))
    frontend, _, backend = text.partition("\nfrontend postgres\n")[2].partition("\nbackend postgres\n")
    assert "mode tcp" in frontend and "bind 0.0.0.0:6433\n" in frontend and "ssl" not in frontend
    assert "mode tcp" in backend and " uri /primary " in backend and "http-check expect status 200\n" in backend
    (checks,) = re.findall(r"default-server (.*)", backend)
    assert "check check-ssl " in checks and "on-marked-down shutdown-sessions" in checks
    assert "verify required ca-file /etc/atlas-mlflow/tls/haproxy-authority.pem" in checks
    servers = [line.split() for line in backend.splitlines() if line.strip().startswith("server ")]
    assert servers == [["server", *f"{name} {ip}:5432 port 8008 verifyhost {name} check-sni {name}".split()] for name, ip in (("a", A), ("b", B), ("c", C))]
    # What checks them is on the host, and nothing else of the file differs but the number of connections.
    files = run(**BY_PROXY).value("edge", "haproxy", "_haproxy_files | map(attribute='path') | list")
    assert "/etc/atlas-mlflow/tls/haproxy-authority.pem" in files
    count = run().plans["edge"]["postgres_connections"]
    rest = text.partition("\n\nfrontend postgres\n")[0]
    assert (
        re.sub(r"\n    # The connections of clients .*\n    maxconn 2000", "", rest).replace(f"maxconn {2000 + count + 50}", "maxconn 2000").strip()
        == config(run()).strip()
    )


def test_a_pool_of_minio_and_a_cluster_share_the_proxies() -> None:
    pool = {**GROUPS, "minio": ["a", "web", "b", "c"]}
    text = config(run(pool, **BY_PROXY, haproxy_minio_port=9443, minio_deployment="systemd"))
    assert re.findall(r"^(?:frontend|backend) (\S+)", text, re.MULTILINE) == ["mlflow", "mlflow_servers", "minio", "minio", "postgres", "postgres"]


def test_clients_leave_the_connections_to_postgresql_free() -> None:
    known = run(**BY_PROXY, haproxy_max_connections=100)
    count = known.plans["edge"]["postgres_connections"]
    assert re.findall(r"maxconn (\d+)", config(known)) == [str(100 + count + 50), "100", str(count + 50)]


def test_the_switch_restarts_no_proxy() -> None:
    """A changed drop-in would restart all proxies at once, and a changed configuration is only read again."""
    ways, plain = [run(**way, haproxy_max_connections=100) for way in (BY_PROXY, {})], run({**GROUPS, "postgres": ["b"]}, haproxy_max_connections=100)
    before, after = (known.value("edge", "haproxy", "lookup('ansible.builtin.template', 'drop-in.conf.j2')") for known in ways)
    assert before == after
    needed = 2 * (100 + ways[0].plans["edge"]["postgres_connections"] + 50) + 1000
    (limit,) = map(int, re.findall(r"LimitNOFILE=(\d+)\n", after))
    assert needed <= limit < 2 * needed and limit.bit_count() == 1
    assert "LimitNOFILE=1200\n" in plain.value("edge", "haproxy", "lookup('ansible.builtin.template', 'drop-in.conf.j2')")


@pytest.mark.parametrize("asked", ["10.0.0.2", "10.0.0.98,10.0.0.1,10.0.0.2"])
def test_the_way_through_the_proxies_stays_open_until_the_servers_have_left_it(asked: str) -> None:
    """The servers restart after the members, the proxies and the firewall had their turn. The next run closes it."""
    hosts = {name: dict(COMMON) for name in NAMES} | {"web": {**COMMON, "ansible_facts": present(asked, ",".join("6433" for _host in asked.split(",")))}}
    hosts["edge"] = {**COMMON, "ansible_facts": {"stack": {"haproxy": {"keepalived": "ours", "virtual_address": "10.0.0.98"}}}}
    hosts = {
        name: {**own, "atlas_mlflow_ip": f"10.0.0.{number}", "atlas_mlflow_address": f"10.0.0.{number}"} for number, (name, own) in enumerate(hosts.items(), 1)
    }
    known = Run(Case(GROUPS, hosts), secrets={})
    assert ways(known, "web")[1] == "5432,5432,5432"
    assert "frontend postgres" in config(known) and opened(known, "edge")[6433] == [A, WEB] and EDGE in known.plans["b"]["postgres_clients"]
    assert set(asked.split(",")) <= set(known.plans["b"]["certificate_names"])
    # Another port is another database.
    hosts["web"]["ansible_facts"] = present("10.0.0.2", "5432")
    assert "frontend postgres" not in config(Run(Case(GROUPS, hosts), secrets={}))


def test_the_backup_of_a_member_knows_the_database_behind_the_proxies() -> None:
    known, other = (run(**BY_PROXY, haproxy_virtual_address="10.0.0.99") for _run in range(2))
    settings = {"MLFLOW_BACKEND_STORE_URI": known.plans["web"]["backend_store"], "MLFLOW_ARTIFACTS_DESTINATION": "s3://m"}
    for one in (known, other):
        one.hosts["b"]["__backup_served"] = {"results": [{"item": "web", "stores": read_stores(settings)}]}
    assert known.value("b", "backup", "_backup_plan")["databases"] == {"backend": "mlflow"}
    # Without the proxies, it is not in the inventory.
    other.plans["b"] |= {"database_names": [], "database_proxy_port": ""}
    assert other.value("b", "backup", "_backup_plan")["databases"] == {}


def test_one_host_of_postgresql_is_asked_directly() -> None:
    known = run({**GROUPS, "postgres": ["b"]}, **BY_PROXY)
    assert urlsplit(known.plans["web"]["backend_store"]).hostname == B and "frontend postgres" not in config(known)
