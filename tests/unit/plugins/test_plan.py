"""What each host is told of the others is right for all inventories, whatever hosts share and however values are written."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from ansible.errors import AnsibleError
from ansible.template import Templar
from ansible_collections.atlas.mlflow.plugins.action.plan import ActionModule
from ansible_collections.atlas.mlflow.plugins.plugin_utils.settings import specifications
from in_process import LOADER, act, role_variables, trusted

Groups = dict[str, list[str]]
Hosts = dict[str, dict[str, Any]]
Plans = dict[str, dict[str, Any]]
#: Secrets that an inventory may give, which no plan may have.
SECRETS = ("postgres_password", "minio_secret_key", "minio_root_password", "mlflow_server_admin_password", "mlflow_server_flask_secret_key")
LOOPBACK = ("127.0.0.1", "localhost")
#: What is set for all hosts, one of each list or nothing.
SETTINGS: dict[str, list[Any]] = {
    "atlas_mlflow_tls": [True, False],
    "atlas_mlflow_deployment": ["systemd", "container"],
    "mlflow_server_deployment": ["systemd", "container"],
    "postgres_deployment": ["systemd", "container"],
    "minio_deployment": ["systemd", "container"],
    "mlflow_server_port": [5001, 8080],
    "mlflow_server_auth": ["none", "basic", "oidc"],
    "mlflow_server_artifact_mode": ["proxied", "direct"],
    "mlflow_server_static_prefix": ["/ml"],
    "mlflow_server_names": [["MLflow.example.com", "ml.corp"]],
    "mlflow_server_workers": [1, 4],
    "mlflow_server_jobs_enabled": [True, False],
    "postgres_port": [5432, 6432],
    "postgres_container_name": ["database"],
    "minio_port": [9000, 9100],
    "minio_container_name": ["bucket-store"],
    "postgres_tls_certificate": ["/own/postgres.pem", ""],
    "minio_tls_certificate": ["/own/minio.pem", ""],
    "haproxy_tls_certificate": ["/own/haproxy.pem"],
    "haproxy_port": [8443],
    "haproxy_redirect_port": [8080],
    "haproxy_servers_tls": [True, False],
}


def host(name: str, number: int, **given: Any) -> dict[str, Any]:
    """Return the variables of a host as playbooks/facts.yml leaves them."""
    ip = f"10.0.0.{number}"
    known = {"inventory_hostname": name, "inventory_dir": "/inventory", "ansible_facts": {"processor_nproc": 4, "hostname": name}}
    return {**known, "atlas_mlflow_ip": ip, "atlas_mlflow_address": ip, "atlas_mlflow_names": [name, f"{name}.example.com", ip], **given}


def inventory(seed: int) -> tuple[Groups, Hosts]:
    """Return an inventory of one to four hosts: one service for each, all on one, or any mix."""
    chance = random.Random(seed)
    names = ["one", "two", "three", "four"][: 1 + seed % 4]
    groups = {"mlflow_servers": chance.sample(names, chance.randint(1, len(names)))}
    for group, most in (("postgres", 1), ("minio", 1), ("haproxy", 2)):
        if chance.random() < 0.7:
            groups[group] = chance.sample(names, min(most, len(names)))
    common = {name: chance.choice(values) for name, values in SETTINGS.items() if chance.random() < 0.4}
    common |= {name: f"canary-{name}" for name in SECRETS if chance.random() < 0.5}
    used = list(dict.fromkeys(name for group in groups.values() for name in group))
    hosts = {name: host(name, number, **common) for number, name in enumerate(used, 1)}
    for variables in hosts.values():
        if chance.random() < 0.3:
            variables["atlas_mlflow_address"] = f"{variables['inventory_hostname']}.example.com"
    return groups, hosts


def plans(groups: Groups, hosts: Hosts, part: str = "all") -> Plans:
    """Return the plan of each host."""
    hostvars = {name: trusted(variables) for name, variables in hosts.items()}
    return {name: act(ActionModule, {"part": part}, {**variables, "groups": groups, "hostvars": hostvars}) for name, variables in hostvars.items()}


CASES = [inventory(seed) for seed in range(160)]
PLANS = [plans(groups, hosts) for groups, hosts in CASES]


def on_each_server(check: Callable[[Groups, Hosts, Plans, str], Any]) -> list[tuple[int, str, Any]]:
    """Return what is wrong on a tracking server's host of any inventory, by the number of the inventory."""
    found = []
    for number, ((groups, hosts), known) in enumerate(zip(CASES, PLANS)):
        found += [(number, server, wrong) for server in groups["mlflow_servers"] if (wrong := check(groups, hosts, known, server))]
    return found


def contained(hosts: Hosts, role: str, name: str) -> bool:
    """Say whether a host runs the service of a role in a container."""
    return bool(hosts[name].get(f"{role}_deployment", hosts[name].get("atlas_mlflow_deployment")) == "container")


def unheard(hosts: Hosts, caller: str, peer: str, role: str, place: tuple[str, int], listens: list[str]) -> str:
    """Return why a service does not hear a caller at a place, or nothing."""
    name, port = place
    inner = {"postgres": 5432, "minio": 9000}[role]
    container = hosts[peer].get(f"{role}_container_name", f"atlas-{role}")
    if name == container:
        beside = caller == peer and contained(hosts, role, peer) and contained(hosts, "mlflow_server", caller)
        return "" if beside and port == inner else "not beside that container, or not at its port"
    if port != int(hosts[peer].get(f"{role}_port", inner)):
        return "another port"
    if name in LOOPBACK:
        local = caller == peer and not contained(hosts, "mlflow_server", caller) and any(one in LOOPBACK for one in listens)
        return "" if local else "loopback of another host, or not listened on"
    called = name in (hosts[peer]["atlas_mlflow_address"], hosts[peer]["atlas_mlflow_ip"])
    return "" if called and hosts[peer]["atlas_mlflow_ip"] in listens else "another host, or not listened on"


def test_each_server_asks_the_database_where_that_listens() -> None:
    asked = []

    def wrong(groups: Groups, hosts: Hosts, known: Plans, server: str) -> str:
        if "postgres" not in groups:
            return "" if known[server]["backend_store"] == "" else "a database that is not there"
        peer, uri = groups["postgres"][0], urlsplit(known[server]["backend_store"])
        asked.append(uri)
        if not uri.hostname:
            on_socket = server == peer and contained(hosts, "mlflow_server", server) and not contained(hosts, "postgres", peer)
            return "" if on_socket and "host=/" in uri.query else "no host, and no socket"
        remote = server != peer
        if remote and hosts[server]["atlas_mlflow_address"] not in known[peer]["postgres_clients"]:
            return "a login that is refused"
        return unheard(hosts, server, peer, "postgres", (uri.hostname, uri.port or 0), known[peer]["postgres_listen_addresses"])

    assert on_each_server(wrong) == []
    assert len({uri.netloc for uri in asked}) > 8


def test_each_server_asks_the_artifact_store_where_that_listens() -> None:
    asked = []

    def wrong(groups: Groups, hosts: Hosts, known: Plans, server: str) -> str:
        if "minio" not in groups:
            return "" if known[server]["s3_endpoint_url"] == "" else "a store that is not there"
        peer, url = groups["minio"][0], urlsplit(known[server]["s3_endpoint_url"])
        asked.append(url)
        direct = hosts[server].get("mlflow_server_artifact_mode") == "direct"
        if direct and url.hostname not in (hosts[peer]["atlas_mlflow_address"], hosts[peer]["atlas_mlflow_ip"]):
            return "clients are sent where they cannot ask"
        return unheard(hosts, server, peer, "minio", (url.hostname or "", url.port or 0), [known[peer]["minio_listen_address"]])

    assert on_each_server(wrong) == []
    assert len({url.netloc for url in asked}) > 8


def test_each_link_over_the_network_has_tls_if_its_end_has_it() -> None:
    def wrong(groups: Groups, hosts: Hosts, known: Plans, server: str) -> str:
        found = []
        for group, role in (("postgres", "postgres"), ("minio", "minio")):
            for peer in groups.get(group, []):
                own = hosts[peer].get(f"{role}_tls_certificate")
                wanted = bool(own) if own is not None else hosts[peer].get("atlas_mlflow_tls", False)
                uri = known[server]["backend_store" if role == "postgres" else "s3_endpoint_url"]
                secure = "sslmode=verify-" in uri or uri.startswith("https:")
                by_socket = role == "postgres" and "host=/" in uri
                found += [role] if secure != (wanted and not by_socket) else []
                # A certificate of the own authority is for the name that is asked.
                name = urlsplit(uri).hostname
                if secure and own is None and name not in known[peer]["certificate_names"]:
                    found.append(f"the certificate of {role} is not for {name}")
        return ", ".join(found)

    assert on_each_server(wrong) == []


def test_each_proxy_asks_each_server_where_that_listens() -> None:
    for (groups, hosts), known in zip(CASES, PLANS):
        for proxy in groups.get("haproxy", []):
            servers = {entry["name"]: entry["address"] for entry in known[proxy]["proxied_servers"]}
            assert sorted(servers) == sorted(groups["mlflow_servers"])
            for server, address in servers.items():
                name, _, port = address.partition(":")
                assert int(port) == int(hosts[server].get("mlflow_server_port", 5001))
                assert name == ("127.0.0.1" if server == proxy else hosts[server]["atlas_mlflow_address"])


def test_a_firewall_lets_in_who_asks() -> None:
    for (groups, hosts), known in zip(CASES, PLANS):
        for name, plan in known.items():
            opened = {opening["port"]: opening["sources"] for opening in plan["firewall_needed"]}
            asking = {
                "mlflow_servers": [hosts[proxy]["atlas_mlflow_ip"] for proxy in groups.get("haproxy", [])] or ["any"],
                "postgres": [hosts[server]["atlas_mlflow_ip"] for server in groups["mlflow_servers"] if server != name],
                "minio": [hosts[server]["atlas_mlflow_ip"] for server in groups["mlflow_servers"] if server != name],
            }
            ports = {"mlflow_servers": ("mlflow_server_port", 5001), "postgres": ("postgres_port", 5432), "minio": ("minio_port", 9000)}
            for group, (port, default) in ports.items():
                if name in groups.get(group, []):
                    sources = opened[hosts[name].get(port, default)]
                    assert sources == ["any"] or set(asking[group]) <= set(sources)
            if name in groups.get("haproxy", []):
                assert opened[plan["proxy_port"]] == ["any"]


def test_each_name_that_people_use_is_allowed_and_in_the_certificate_and_probed() -> None:
    seen = 0
    for (groups, hosts), known in list(zip(CASES, PLANS))[::4]:
        fronts = groups.get("haproxy") or groups["mlflow_servers"]
        for server in groups["mlflow_servers"]:
            used = {name.lower() for name in known[server]["server_names"]}
            used |= {name for front in groups.get("haproxy") or [server] for name in [front, hosts[front]["atlas_mlflow_address"]]}
            variables = role_variables("mlflow_server", {**hosts[server], "groups": groups, "_atlas_mlflow_plan": known[server]})
            variables["mlflow_server_names"] = hosts[server].get("mlflow_server_names", [])
            resolve = Templar(loader=LOADER, variables=variables).template
            assert used <= {name.lower() for name in resolve(trusted("{{ mlflow_server_allowed_hosts }}"))}
            assert used <= set(resolve(trusted("{{ _mlflow_server_probed_names }}")))
            seen += len(used)
        for front in fronts:
            people = {name.lower() for name in known[front]["server_names"]} | {front, hosts[front]["atlas_mlflow_address"]}
            assert people <= set(known[front]["certificate_names"])
    assert seen > 100


def test_no_plan_has_a_secret_or_makes_one(tmp_path: Path) -> None:
    assert any("canary" in json.dumps(hosts) for _groups, hosts in CASES)
    assert [number for number, known in enumerate(PLANS) if "canary" in json.dumps(known)] == []
    groups, hosts = inventory(7)
    plans(groups, {name: {**variables, "atlas_mlflow_secrets_dir": str(tmp_path / "secrets")} for name, variables in hosts.items()})
    assert list(tmp_path.iterdir()) == []


def test_text_and_typed_values_give_the_same_plan() -> None:
    def as_text(value: Any) -> Any:
        return str(value).lower() if isinstance(value, (bool, int)) else value

    for (groups, hosts), known in list(zip(CASES, PLANS))[::3]:
        written = {name: {key: as_text(value) for key, value in variables.items()} for name, variables in hosts.items()}
        assert plans(groups, written) == known


def test_an_earlier_plan_changes_nothing() -> None:
    """Neither by itself, nor by a setting that refers to a role's default which takes its value from the plan."""
    by_default = {"mlflow_server_names": ["{{ haproxy_url or 'ml.corp' }}"]}
    for groups, hosts in CASES[::10]:
        fresh = {name: {**variables, **by_default} for name, variables in hosts.items()}
        known = plans(groups, fresh)
        stale = dict.fromkeys(next(iter(known.values())), "stale")
        assert plans(groups, {name: {**variables, "_atlas_mlflow_plan": stale} for name, variables in fresh.items()}) == known


@pytest.mark.parametrize("settings", [{}, {"atlas_mlflow_tls": True}, {"mlflow_server_port": 8080, "mlflow_server_auth": "basic"}])
def test_a_group_with_one_host_is_the_group_with_several(settings: dict[str, Any]) -> None:
    hosts = {name: host(name, number, **settings) for number, name in enumerate(["a", "b", "db", "store", "edge1", "edge2"], 1)}
    rest = {"postgres": ["db"], "minio": ["store"]}

    def planned(servers: list[str], proxies: list[str]) -> Plans:
        groups = {**rest, "mlflow_servers": servers, "haproxy": proxies}
        used = {name for group in groups.values() for name in group}
        return plans(groups, {name: variables for name, variables in hosts.items() if name in used})

    both, one, other = planned(["a", "b"], ["edge1"]), planned(["a"], ["edge1"]), planned(["b"], ["edge1"])
    for where, name in [("edge1", "proxied_servers"), ("db", "postgres_clients"), ("db", "postgres_connections")]:
        assert both[where][name] == one[where][name] + other[where][name]
    for name in ("backend_store", "s3_endpoint_url", "proxy_urls", "firewall_needed"):
        assert both["a"][name] == one["a"][name]
    two, first, second = planned(["a"], ["edge1", "edge2"]), one, planned(["a"], ["edge2"])
    for name in ("proxies", "proxy_names", "proxy_addresses", "proxy_urls"):
        assert two["a"][name] == first["a"][name] + second["a"][name]


@pytest.mark.parametrize(("settings", "connections"), [({}, 4 * 2 * 15), ({"mlflow_server_workers": "1"}, 2 * 15), ({"mlflow_server_auth": "basic"}, 4 * 3 * 15)])
def test_connections_are_counted_by_the_workers_of_the_settings_or_the_cores(settings: dict[str, Any], connections: int) -> None:
    hosts = {"web": host("web", 1, **settings), "db": host("db", 2)}
    assert plans({"mlflow_servers": ["web"], "postgres": ["db"]}, hosts)["db"]["postgres_connections"] == connections


@pytest.mark.parametrize("value", [None, "", []])
def test_an_address_that_is_not_known_is_an_error_that_names_the_host(value: Any) -> None:
    hosts = {"web": host("web", 1), "db": host("db", 2, atlas_mlflow_ip=value, atlas_mlflow_address=value)}
    groups = {"mlflow_servers": ["web"], "postgres": ["db"]}
    with pytest.raises(AnsibleError, match=r"atlas_mlflow_(ip|address) of db is not known in this run: import playbooks/facts.yml before"):
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
