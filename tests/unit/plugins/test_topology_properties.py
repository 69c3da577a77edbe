"""What holds for every inventory: services reach one another, names work, no secret is told, and the form of an inventory does not matter."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import tempfile
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from ansible.template import Templar
from ansible_collections.atlas.mlflow.plugins.module_utils import stack
from ansible_collections.atlas.mlflow.plugins.module_utils.names import bracketed, canonical_host, canonical_name
from ansible_collections.atlas.mlflow.plugins.module_utils.served_stores import read_stores
from ansible_collections.atlas.mlflow.plugins.plugin_utils.certificates import covers
from ansible_collections.atlas.mlflow.plugins.plugin_utils.names import allowed_hosts, host_names
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules import backup, images, tls
from ansible_collections.atlas.mlflow.plugins.plugin_utils.settings import specifications, value_fault
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology import backup_hosts
from cryptography import x509
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from in_process import LOADER, ROOT, role_variables

from inventories import CORNERS, GROUPS, HOST_NAMES, SECRETS, Case, Run, cases, on_every_case

settings.load_profile(os.environ.get("PROPERTIES", "quick"))
LOOPBACK = {"127.0.0.1", "localhost"}
EVERYWHERE = {"0.0.0.0", "*"}
#: The ports of the services in their containers.
INNER = {"postgres": 5432, "minio": 9000}
OPTIONS = specifications(ROOT / "roles")
#: What each role makes of its settings.
SERVICES = {
    "mlflow_server": "{'host': mlflow_server_host, 'port': mlflow_server_port | int}",
    "postgres": "{'hosts': postgres_listen_addresses, 'port': postgres_port | int, 'published': _postgres_container_ports}",
    "minio": "{'host': _minio_address, 'port': minio_port | int, 'published': _minio_container_ports}",
    "haproxy": "{'config': _haproxy_config}",
}
PLACE = "{{'container': {0}_deployment == 'container', 'name': {0}_container_name, 'network': {0}_container_network}}"


class Service(NamedTuple):
    """A service as its role sets it up on a host."""

    host: str
    #: Addresses and ports that it has on the host.
    bound: set[tuple[str, int]]
    certificate: str
    #: The name of its container and the network, empty for a unit.
    container: str
    network: str


def service(run: Run, name: str, role: str) -> Service:
    """Return a service of a host."""
    found, certificate = run.value(name, role, SERVICES[role]), run.value(name, role, f"{role}_tls_certificate")
    if role == "haproxy":
        return Service(name, {(address, int(port)) for address, port in re.findall(r"bind (\S+):(\d+)", found["config"])}, certificate, "", "")
    bound = {(address, found["port"]) for address in found.get("hosts") or [found["host"]]}
    place = run.value(name, role, PLACE.format(role))
    if not place["container"]:
        return Service(name, bound, certificate, "", "")
    if role in INNER:
        published = [entry.rsplit(":", 2) for entry in found["published"]]
        bound = {(address, int(port)) for address, port, inner in published if int(inner) == INNER[role]}
    return Service(name, bound, certificate, place["name"], place["network"])


def unheard(run: Run, caller: Service, peer: Service, role: str, name: str, port: int) -> str:
    """Return why a service does not hear another one by a name and a port, or nothing."""
    here, addresses, known = caller.host == peer.host, {address for address, bound in peer.bound if bound == port}, run.hosts[peer.host]
    if peer.container and name == peer.container:
        return "" if here and caller.network == peer.network and port == INNER[role] else "no container of that name beside, or another port in it"
    if name in LOOPBACK:
        return "" if here and not caller.container and addresses & (LOOPBACK | EVERYWHERE) else f"loopback, and it listens at {sorted(peer.bound)}"
    if name not in (known["atlas_mlflow_address"], known["atlas_mlflow_ip"]):
        return "another host"
    if not addresses & {known["atlas_mlflow_ip"], *EVERYWHERE}:
        return f"{name}:{port}, and it listens at {sorted(peer.bound)}"
    return "" if is_open(run, peer.host, port, caller) else "a closed firewall"


def is_open(run: Run, name: str, port: int, caller: Service | None = None) -> bool:
    """Say whether the firewall of a host has a port open for a service, or for people."""
    rules = run.value(name, "firewall", "{'on': firewall_enabled | bool, 'needed': firewall_needed, 'network': firewall_container_network}")
    if not rules["on"] or caller and caller.host == name and caller.network in ("", rules["network"]):
        return True
    sources = {str(source) for opening in rules["needed"] if int(opening.get("port", 0)) == port for source in opening["sources"]}
    if "any" in sources or not caller or caller.host == name:
        return "any" in sources
    return any(ip_address(run.hosts[caller.host]["atlas_mlflow_ip"]) in ip_network(source) for source in sources)


def certificate(run: Run, name: str) -> Any:
    """Return the certificate of the inventory's own authority for a host, of which nothing but the names is read."""
    text = "".join(path.read_text() for path in sorted((ROOT / "roles/common/tasks").glob("*.yml")))
    (wanted,), (address,) = re.findall(r"subject_alt_name: >-\s+{{([^}]+)}}", text), re.findall(r"__address: (.+)", text)
    expression = wanted.replace("__address", repr(address))
    kinds: dict[str, Any] = {"DNS": x509.DNSName, "IP": lambda address: x509.IPAddress(ip_address(address))}
    names = x509.SubjectAlternativeName([kinds[one.partition(":")[0]](one.partition(":")[2]) for one in run.value(name, "firewall", expression)])
    return SimpleNamespace(extensions=SimpleNamespace(get_extension_for_class=lambda _kind: SimpleNamespace(value=names)))


def tls_faults(run: Run, caller: str, authority: str, peer: Service, name: str, by_loopback: bool = False) -> str:
    """Return why a caller does not trust the certificate of a service that it calls by a name, or nothing."""
    if peer.certificate and peer.certificate == run.plans[peer.host]["tls_certificate"]:
        trusted = authority == run.plans[peer.host]["tls_authority"] == run.plans[caller]["tls_authority"] != ""
        return "" if trusted and covers(certificate(run, peer.host), name) else f"{authority} or the certificate of {peer.host} does not fit {name}"
    # One that the inventory gives is for the name by which other hosts call this one.
    fits = not peer.certificate or by_loopback or name == run.hosts[peer.host]["atlas_mlflow_address"]
    return "" if fits else f"{name}, for which a certificate of the inventory is not"


def logs_in(rules: str, database: str, user: str, tls: bool, sources: list[str]) -> bool:
    """Say whether rules of pg_hba.conf let somebody in who comes from one of these addresses, names or words."""
    for kind, databases, owner, address, _method in (line.split() for line in rules.splitlines() if line.startswith("host")):
        matches = address in sources or "/" in address and any(ip_address(one) in ip_network(address) for one in sources if re.fullmatch("[0-9.]+", one))
        if matches and database in databases.split(",") and owner in (user, f"+{user}") and (tls or kind == "host"):
            return True
    return False


def artifact_store(run: Run, case: Case) -> Service:
    """Return the service by which clients reach the artifact store: MinIO, or the proxies of a pool."""
    if len(case.of("minio")) > 1:
        return service(run, case.of("haproxy")[0], "haproxy")
    return service(run, case.of("minio")[0], "minio")


def accepted_servers(run: Run, case: Case) -> list[str]:
    """Return the tracking servers that are not refused for the network of their container."""
    return [name for name in case.of("mlflow_servers") if not run.told(name, "mlflow_server", images.mlflow_shares_the_network)]


@on_every_case
def test_each_server_asks_a_database_that_hears_it_and_lets_it_in(case: Case) -> None:
    run = Run(case)
    for name in accepted_servers(run, case):
        own = run.value(
            name,
            "mlflow_server",
            "{'uris': [mlflow_server_backend_store_uri] + ([mlflow_server_auth_store_uri] if _mlflow_server_with_users else []),"
            " 'authority': mlflow_server_tls_authority, 'file': _mlflow_server_authority_file, 'trust_store': _mlflow_server_ca_file,"
            " 'socket': _mlflow_server_database_socket}",
        )
        uris = [uri for uri in own["uris"] if uri != case.hosts[name].get("mlflow_server_backend_store_uri")]
        if not case.of("postgres"):
            assert all(uri.startswith("sqlite:") for uri in uris)
            continue
        caller, peer = service(run, name, "mlflow_server"), service(run, case.of("postgres")[0], "postgres")
        database = run.value(
            peer.host,
            "postgres",
            "{'all': _postgres_databases, 'login': [postgres_user, postgres_password], 'hba': lookup('ansible.builtin.template', 'pg_hba.conf.j2')}",
        )
        for uri in uris:
            url, options = urlsplit(uri), dict(parse_qsl(urlsplit(uri).query))
            assert unquote(url.path[1:]) in database["all"]
            assert [unquote(url.username or ""), unquote(url.password or "")] == database["login"]
            if len(case.of("postgres")) > 1:
                called_members = list(zip(case.of("postgres"), options["host"].split(","), options["port"].split(","), strict=True))
                for member, called, port in called_members:
                    reached = service(run, member, "postgres")
                    assert unheard(run, caller, reached, "postgres", called, int(port)) == ""
                    assert tls_faults(run, name, own["authority"], reached, called) == ""
                    known = run.hosts[name]
                    hba = run.value(member, "postgres", "lookup('ansible.builtin.template', 'pg_hba.conf.j2')")
                    assert logs_in(hba, url.path[1:], database["login"][0], True, [known["atlas_mlflow_ip"], *known["atlas_mlflow_names"]])
                assert (options["target_session_attrs"], options["sslmode"]) == ("read-write", "verify-full")
                continue
            if not url.hostname:
                assert caller.host == peer.host and caller.container and not peer.container
                assert options == {"host": own["socket"], "port": str(next(iter(peer.bound))[1])} and own["socket"] == "/var/run/postgresql"
                continue
            called = url.netloc.rpartition("@")[2].rpartition(":")[0]
            assert unheard(run, caller, peer, "postgres", called, url.port or 0) == ""
            assert tls_faults(run, name, own["authority"], peer, called, options.get("sslmode") == "verify-ca" and caller.host == peer.host) == ""
            assert bool(peer.certificate) == options.get("sslmode", "").startswith("verify-")
            assert options.get("sslrootcert") == ((own["file"] or own["trust_store"]) if peer.certificate else None)
            known = run.hosts[name]
            sources = [known["atlas_mlflow_ip"], *known["atlas_mlflow_names"]] if name != peer.host else ["samenet"] if peer.container else ["127.0.0.1"]
            assert logs_in(database["hba"], url.path[1:], database["login"][0], bool(peer.certificate), sources)


@on_every_case
def test_members_of_a_cluster_hear_each_other_and_nobody_else_hears_etcd(case: Case) -> None:
    run, members = Run(case), case.of("postgres")
    if len(members) < 2:
        return
    for member in members:
        ports = run.value(member, "etcd", "[etcd_client_port, etcd_peer_port]") + [run.value(member, "postgres", "postgres_patroni_port")]
        callers = {other: service(run, other, "postgres") for other in members if other != member}
        for other, caller in callers.items():
            assert all(is_open(run, member, port, caller) for port in [*ports, run.value(member, "postgres", "postgres_port")])
            hba = run.value(member, "postgres", "lookup('ansible.builtin.template', 'pg_hba.conf.j2')")
            assert logs_in(hba, "replication", "atlas_replication", True, [run.hosts[other]["atlas_mlflow_ip"]])
            assert not logs_in(hba, "replication", "atlas_replication", False, [run.hosts[other]["atlas_mlflow_ip"]])
        strangers = [service(run, name, "mlflow_server") for name in case.of("mlflow_servers") if name not in members]
        if run.value(member, "firewall", "firewall_enabled | bool"):
            assert not any(is_open(run, member, port, stranger) for port in ports for stranger in strangers)
            assert not any(is_open(run, member, port) for port in ports)
        config = run.value(member, "postgres", "_postgres_patroni_config")
        assert config["etcd3"]["hosts"] == [f"{run.hosts[name]['atlas_mlflow_address']}:{ports[0]}" for name in members]
        assert all(covers(certificate(run, name), run.hosts[name]["atlas_mlflow_address"]) for name in members)


@on_every_case
def test_each_server_asks_an_artifact_store_that_hears_it(case: Case) -> None:
    run = Run(case)
    for name in accepted_servers(run, case):
        own = run.value(
            name,
            "mlflow_server",
            "{'url': mlflow_server_s3_endpoint_url, 'key': [mlflow_server_s3_access_key_id, mlflow_server_s3_secret_access_key],"
            " 'place': mlflow_server_artifacts_destination, 'authority': mlflow_server_tls_authority, 'direct': mlflow_server_artifact_mode == 'direct'}",
        )
        if own["url"] == case.hosts[name].get("mlflow_server_s3_endpoint_url"):
            continue
        if not case.of("minio"):
            assert own["url"] == "" and own["place"].startswith("/")
            continue
        peer = artifact_store(run, case)
        url = urlsplit(own["url"])
        called, _, port = url.netloc.rpartition(":")
        assert [own["place"], own["key"]] == run.value(case.of("minio")[0], "minio", "['s3://' ~ minio_bucket, [minio_access_key, minio_secret_key]]")
        assert unheard(run, service(run, name, "mlflow_server"), peer, "minio", called, int(port)) == ""
        assert tls_faults(run, name, own["authority"], peer, called) == ""
        assert url.scheme == ("https" if peer.certificate else "http")
        if own["direct"]:
            # Clients are sent there as well.
            assert called == run.hosts[peer.host]["atlas_mlflow_address"]
            assert is_open(run, peer.host, int(port))


@on_every_case
def test_the_backup_asks_an_artifact_store_that_hears_it_or_is_refused(case: Case) -> None:
    run = Run(case)
    for name in backup_hosts(case.groups):
        own = run.value(name, "backup", "{'url': backup_s3_endpoint_url, 'bucket': backup_artifacts_bucket, 'authority': backup_s3_authority}")
        if not case.of("minio"):
            assert own["url"] == own["bucket"] == ""
            continue
        peer, url = artifact_store(run, case), urlsplit(own["url"])
        called, _, port = url.netloc.rpartition(":")
        if not run.told(name, "backup", backup.minio_is_reached):
            assert unheard(run, Service(name, set(), "", "", ""), peer, "minio", called, int(port)) == ""
        assert tls_faults(run, name, own["authority"], peer, called) == ""
        assert url.scheme == ("https" if peer.certificate else "http")
        # The backup takes a pool for the artifact store of the tracking servers, whatever host reads it.
        served = {server: run.plans[server]["s3_endpoint_url"] for server in case.of("mlflow_servers")}
        if len(case.of("minio")) > 1:
            assert run.plans[name]["minio_names"][0] == called
            assert {urlsplit(endpoint).hostname for endpoint in served.values()} == {called.lower()}


def backup_of(run: Run, case: Case, name: str, folder: Path) -> dict[str, Any]:
    """Return what is read of the backup that backup.yml sets up on a host for this inventory."""
    postgres = "{'port': 5432 if _backup_of_container else backup_postgres_port | int, 'container': _backup_container, 'engine': _backup_container_engine}"
    own = run.value(name, "backup", f"[{postgres} if _backup_of_postgres else {{}}, backup_artifacts_bucket, backup_s3_endpoint_url]")
    settings = {"repository": "/b", "passphrase": "p", "postgres": own[0], "artifacts": {"s3": {"endpoint": own[2]}} if own[1] else {"folder": "/a"}}
    if name in case.of("mlflow_servers"):
        settings["served"] = read_stores(run.value(name, "mlflow_server", "_mlflow_server_environment"))
    path = folder / "etc/atlas-mlflow/backup.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings))
    return stack.read_backup(folder)


def told_of(run: Run, name: str, role: str, found: dict[str, Any]) -> str:
    """Return what a run warns of the backup of a host."""
    run.value(name, role, "role_path")
    variables = {**run.hosts[name], "groups": run.case.groups, "hostvars": run.hosts, "_atlas_mlflow_plan": run.plans[name]}
    variables["ansible_facts"] = {**run.hosts[name]["ansible_facts"], "stack": {"backup": found}}
    templar = Templar(loader=LOADER, variables=role_variables(role, variables))
    return backup.backup_reaches_the_stores(RoleSettings(role, dict(templar.available_variables), templar.template))


@on_every_case
def test_a_run_warns_of_a_backup_if_and_only_if_it_reaches_a_store_in_another_way(case: Case) -> None:
    run = Run(case)
    for name in backup_hosts(case.groups):
        role = "postgres" if name in case.of("postgres") else "mlflow_server"
        with tempfile.TemporaryDirectory() as folder:
            found = backup_of(run, case, name, Path(folder))
        assert told_of(run, name, role, found) == ""
        for way, words in backup.WAYS.items():
            if found["reaches"].get(way):
                other = {**found, "reaches": {**found["reaches"], way: "elsewhere"}}
                assert f"another way to {words} than" in told_of(run, name, role, other)
        others = {"postgres", "mlflow_server"} - {role}
        assert not any(told_of(run, name, one, {"reaches": dict.fromkeys(backup.WAYS, "elsewhere")}) for one in others)


def test_a_move_of_the_server_and_tls_leave_the_backup_behind(tmp_path: Path) -> None:
    groups = {group: ["one"] for group in ("mlflow_servers", "postgres", "minio")}
    before = Case(groups, {"one": {"atlas_mlflow_deployment": "podman"}})
    found = backup_of(Run(before), before, "one", tmp_path)
    assert told_of(Run(before.set(postgres_port=5433, mlflow_server_port=5002)), "one", "postgres", found) == ""
    unit = told_of(Run(before.set(mlflow_server_deployment="systemd")), "one", "postgres", found)
    assert "to the backend store of the tracking server and to the artifact store of the tracking server than" in unit and "Run backup.yml" in unit
    assert "to the bucket of the artifacts and to the artifact" in told_of(Run(before.set(atlas_mlflow_tls=True)), "one", "postgres", found)


@on_every_case
def test_each_proxy_asks_each_server_where_that_listens(case: Case) -> None:
    run = Run(case)
    for name in case.of("haproxy"):
        if run.told(name, "haproxy", tls.proxy_speaks_tls_to_servers_with_tls):
            continue
        config = run.value(name, "haproxy", "_haproxy_config")
        config = config.partition("frontend minio")[0]
        servers = dict(re.findall(r"^    server (\S+) (\S+)", config, re.MULTILINE))
        assert sorted(servers) == sorted(canonical_name(server) for server in case.of("mlflow_servers"))
        own, checks = service(run, name, "haproxy"), " ssl verify required" in config
        authority = run.value(name, "haproxy", "haproxy_servers_tls_authority")
        for server in case.of("mlflow_servers"):
            peer = service(run, server, "mlflow_server")
            called, _, port = servers[canonical_name(server)].rpartition(":")
            assert unheard(run, own, peer, "mlflow_server", called, int(port)) == ""
            assert checks == bool(peer.certificate)
            if checks and peer.certificate == run.plans[server]["tls_certificate"]:
                assert tls_faults(run, name, authority, peer, canonical_name(server)) == ""
            # What it says of a client is believed.
            sources = run.value(server, "mlflow_server", "mlflow_server_proxies")
            assert run.hosts[name]["atlas_mlflow_ip"] in sources


@on_every_case
def test_the_hosts_of_a_pool_and_the_proxies_hear_each_other(case: Case) -> None:
    run, members = Run(case), case.of("minio") if len(case.of("minio")) > 1 else []
    for name in members:
        args = json.loads(run.value(name, "minio", "_minio_pools | atlas.mlflow.minio_pools"))["pools"][0]["args"]
        assert len(args) == len(members)
        own = service(run, name, "minio")
        for member, url in zip(members, map(urlsplit, args)):
            peer = service(run, member, "minio")
            assert unheard(run, own, peer, "minio", url.netloc.rpartition(":")[0], url.port or 0) == ""
            assert url.scheme == ("https" if peer.certificate else "http")
            if url.scheme == "https" and run.value(name, "minio", "minio_tls_authority"):
                assert tls_faults(run, name, run.value(name, "minio", "minio_tls_authority"), peer, url.netloc.rpartition(":")[0]) == ""
    for name in case.of("haproxy"):
        config = run.value(name, "haproxy", "_haproxy_config").partition("frontend minio")[2]
        servers = dict(re.findall(r"^    server (\S+) (\S+)", config, re.MULTILINE))
        assert sorted(servers) == sorted(map(canonical_name, members))
        for member in members:
            peer = service(run, member, "minio")
            called, _, port = servers[canonical_name(member)].rpartition(":")
            assert unheard(run, service(run, name, "haproxy"), peer, "minio", called, int(port)) == ""
            assert (" ssl verify required" in config) == bool(peer.certificate)


def answers(hosts: list[str], header: str) -> bool:
    """Say whether MLflow answers to a Host header: it compares to the letter, or to a pattern."""
    return any(fnmatch.fnmatchcase(header, one) if "*" in one else header == one for one in hosts)


@on_every_case
def test_each_name_that_people_use_is_allowed_and_probed_and_in_the_certificate(case: Case) -> None:
    run = Run(case)
    fronts, role = (case.of("haproxy"), "haproxy") if case.of("haproxy") else (case.of("mlflow_servers"), "mlflow_server")
    for front in fronts:
        # Behind proxies, each server answers to what is asked of any of them.
        servers = case.of("mlflow_servers") if case.of("haproxy") else [front]
        shared = case.hosts[front].get("haproxy_virtual_address", "").partition("/")[0] if case.of("haproxy") else ""
        assert (
            not shared
            or run.plans[front]["client_url"] == case.hosts[case.of("mlflow_servers")[0]].get("mlflow_server_url")
            or shared in run.plans[front]["client_url"]
        )
        names = [
            front,
            run.hosts[front]["atlas_mlflow_address"],
            *([shared] if shared else []),
            *(one for server in servers for one in case.hosts[server].get("mlflow_server_names", [])),
        ]
        url = urlsplit(case.hosts[case.of("mlflow_servers")[0]].get("mlflow_server_url", ""))
        own = service(run, front, role)
        others = {int(case.hosts[front].get(f"haproxy_{name}_port", 0)) for name in ("redirect", "minio")} if case.of("haproxy") else set()
        port = next(port for _address, port in own.bound if port not in others)
        suffix = "" if port == {True: 443, False: 80}[bool(own.certificate)] else f":{port}"
        assert is_open(run, front, port)
        for server in servers:
            allowed = run.value(server, "mlflow_server", "mlflow_server_allowed_hosts | atlas.mlflow.listed_hosts")
            origins, probed = run.value(server, "mlflow_server", "[_mlflow_server_origins, _mlflow_server_probed_names]")
            for name in names:
                sent = bracketed(canonical_name(name)).replace("*", "a")
                assert answers(allowed, sent + suffix), (sent + suffix, allowed)
                assert answers(origins, f"{'https' if own.certificate else 'http'}://{sent}{suffix}")
                assert "*" in name or canonical_name(name) in probed
            if url.hostname:
                sent = canonical_host(url.netloc)
                assert answers(allowed, sent) and answers(origins, f"{url.scheme}://{sent}") and canonical_name(url.hostname) in probed
        if own.certificate and own.certificate == run.plans[front]["tls_certificate"]:
            for name in [*names, *([url.hostname] if url.hostname else [])]:
                assert covers(certificate(run, front), canonical_name(name).strip("[]").replace("*", "a"))


#: What the roles make of a plan for their files.
MADE = {
    "mlflow_server": "[_mlflow_server_port_suffixes, mlflow_server_auth_store_uri, _mlflow_server_local_url, mlflow_server_proxies]",
    "postgres": "[lookup('ansible.builtin.template', 'pg_hba.conf.j2'), lookup('ansible.builtin.template', 'atlas-mlflow.conf.j2'), _postgres_container_ports]",
    "minio": "[_minio_argv, _minio_container_ports, _minio_container_argv]",
    "haproxy": "_haproxy_config",
}


def made(run: Run) -> dict[str, Any]:
    """Return what each role of a run makes for its files, and a firewall opens, on one host."""
    firewall = {"firewall": run.value(next(iter(run.case.hosts)), "firewall", "firewall_needed")}
    return {**firewall, **{role: run.value(run.case.of(group)[0], role, MADE[role]) for role, group in GROUPS.items() if run.case.of(group)}}


@on_every_case
def test_no_plan_has_a_secret_or_needs_one(case: Case) -> None:
    run = Run(case)
    assert "canary" not in json.dumps([run.plans, Run(case, "users").plans])
    # Who reads such a secret ends in an error, and a generated one would be made.
    unread = dict.fromkeys(SECRETS, "{{ 1 / 0 }}")
    assert Run(case, secrets=unread).plans == run.plans


#: How an inventory as INI and `-e name=value` write a boolean.
WRITTEN = {True: ["true", "True", "yes", "on", "1"], False: ["false", "False", "no", "off", "0"]}


@given(cases(), st.randoms())
@example(CORNERS[1], Random(1))
def test_text_and_typed_values_make_the_same(case: Case, chance: Random) -> None:
    def written(value: Any) -> Any:
        return chance.choice(WRITTEN[value]) if isinstance(value, bool) else str(value) if isinstance(value, int) else value

    text = replace(case, hosts={name: {key: written(value) for key, value in own.items()} for name, own in case.hosts.items()})
    typed, as_text = Run(case), Run(text)
    assert as_text.plans == typed.plans
    assert made(as_text) == made(typed)


@on_every_case
def test_an_earlier_plan_changes_nothing(case: Case) -> None:
    """Neither by itself, nor by a setting that refers to a role's default which takes its value from the plan."""
    by_default = {name: {**own, "mlflow_server_names": ["{{ haproxy_url or 'ml.corp' }}"]} for name, own in case.hosts.items()}
    fresh = Run(replace(case, hosts=by_default)).plans
    stale = {"_atlas_mlflow_plan": dict.fromkeys(next(iter(fresh.values())), "stale")}
    assert Run(replace(case, hosts={name: {**own, **stale} for name, own in by_default.items()})).plans == fresh


@given(cases(mlflow_servers=st.permutations(HOST_NAMES), haproxy=st.permutations(HOST_NAMES)), st.data())
def test_the_order_of_an_inventory_does_not_matter(case: Case, data: st.DataObject) -> None:
    """Neither that of groups and variables, nor that of hosts in a group, except that the first server and the first proxy stand for all."""

    def shuffled(items: dict[str, Any]) -> dict[str, Any]:
        return {key: items[key] for key in data.draw(st.permutations(sorted(items)))}

    first = {group: hosts[:1] for group, hosts in case.groups.items()}
    groups = {group: first[group] + data.draw(st.permutations(hosts[1:])) for group, hosts in shuffled(case.groups).items()}
    hosts = {name: shuffled(own) for name, own in case.hosts.items()}
    before, after = Run(case), Run(replace(case, groups=groups, hosts=hosts))
    assert Run(case).plans == before.plans
    assert {name: unordered(found) for name, found in after.plans.items()} == {name: unordered(found) for name, found in before.plans.items()}


def unordered(value: Any) -> Any:
    """Return a value in which the order of lists does not matter."""
    if isinstance(value, dict):
        return {key: unordered(item) for key, item in value.items()}
    return sorted((unordered(item) for item in value), key=repr) if isinstance(value, list) else value


#: What of a plan another host of a group may change, by the group: on the hosts of the database, of MinIO, of the proxies, and of all.
CHANGED = {
    "mlflow_servers": {
        "postgres_clients",
        "postgres_connections",
        "postgres_listen_addresses",
        "postgres_more_databases",
        "minio_listen_address",
        "s3_endpoint_url",
        "backup_s3_endpoint_url",
        "proxied_servers",
        "servers",
        "servers_with_tls",
        "server_is_alone",
        "server_names",
        "called_names",
        "certificate_names",
        "memory",
        "firewall_needed",
        "metrics_targets",
    },
    "haproxy": {
        "proxies",
        "proxy_names",
        "proxy_addresses",
        "proxy_urls",
        "virtual_addresses",
        "called_names",
        "minio_names",
        "firewall_needed",
        "metrics_targets",
    },
}


@given(cases(most=3), st.sampled_from(sorted(CHANGED)), st.booleans())
def test_another_host_in_a_group_adds_its_own_to_what_the_others_know(case: Case, group: str, named: bool) -> None:
    assume(group in case.groups)
    # A host that is like the first one of the group, and alone in its place.
    own = {key: value for key, value in case.hosts[case.of(group)[0]].items() if not key.startswith(("ansible_", "atlas_mlflow_address"))}
    added = {**own, **({"mlflow_server_names": ["New.corp"]} if named and group == "mlflow_servers" else {})}
    larger = Case({**case.groups, group: [*case.of(group), "new"]}, {**case.hosts, "new": added})
    alone = Case({**case.groups, group: ["new"]}, larger.hosts)
    few, many, only = Run(case).plans, Run(larger).plans, Run(alone).plans
    for name, before in few.items():
        after = many[name]
        assert {key for key in before if after[key] != before[key]} <= CHANGED[group]
        if group == "haproxy":
            for key in ("proxies", "proxy_addresses", "proxy_urls"):
                added_to_list = [one for one in only[name][key] if one not in before[key]]
                assert after[key] == before[key] + added_to_list
                assert key == "proxy_urls" or added_to_list == only[name][key]
            continue
        if name not in case.of(group):
            assert after["proxied_servers"] == before["proxied_servers"] + only[name]["proxied_servers"]
            assert after["servers_with_tls"] == before["servers_with_tls"] | only[name]["servers_with_tls"]
        assert set(after["server_names"]) == {*before["server_names"], *only[name]["server_names"]}
        assert set(after["certificate_names"]) == {*before["certificate_names"], *(canonical_name(one).strip("[]") for one in after["server_names"])}
        if case.of("postgres") == [name]:
            assert after["postgres_clients"] == before["postgres_clients"] + only[name]["postgres_clients"]
            assert after["postgres_connections"] == before["postgres_connections"] + only[name]["postgres_connections"]


#: Text of characters that mean something in a name, a URI, YAML, Jinja or a shell, and of some other scripts.
TEXT = st.text("aZ09 _-.,:;/\\@#%&=?*+~$!|<>()[]{}'\"`\n\t\r\0\u00a0\u200b\u202eäßÜİ日本🜚")
#: Anything that YAML or JSON may give.
ANYTHING = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | TEXT, lambda one: st.lists(one) | st.dictionaries(TEXT, one))


@given(st.sampled_from(sorted(OPTIONS)), ANYTHING)
def test_any_value_is_taken_or_refused_by_the_name(name: str, value: Any) -> None:
    fault = value_fault(name, OPTIONS[name], value)
    assert fault == "" or name in fault


@given(st.sampled_from([name for name, option in OPTIONS.items() if option.get("type") in ("bool", "int")]), st.booleans() | st.integers(0, 70000), st.data())
def test_text_of_a_value_is_taken_if_the_value_is(name: str, value: Any, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(WRITTEN[value])) if isinstance(value, bool) else str(value)
    fits = isinstance(value, bool) == (OPTIONS[name]["type"] == "bool") or value in (0, 1) and OPTIONS[name]["type"] == "bool"
    assert (value_fault(name, OPTIONS[name], value) == "") == fits
    if fits:
        assert value_fault(name, OPTIONS[name], text) == ""


@given(st.lists(st.from_regex(r"[A-Za-z0-9äßÜ日本_.-]{1,20}", fullmatch=True), max_size=4))
def test_the_form_of_a_name_is_the_same_if_it_is_taken_again(names: list[str]) -> None:
    assert host_names(host_names(names)) == host_names(names)
    allowed = allowed_hosts(names, ["", ":5001"])
    for name in names:
        assert {canonical_name(name), f"{canonical_name(name)}:5001"} <= set(allowed)
        assert name in allowed or not name.isascii() or name.endswith(".")
