"""Make inventories for property tests: any services on any of one to four hosts, with any settings that an inventory may have together.

A case is what an inventory sets, and what a run finds out about its hosts. How many cases a test tries is a matter of the profile: ``quick`` tries the
same ones each time, ``PROPERTIES=deep`` many others.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ansible.template import Templar
from ansible_collections.atlas.mlflow.plugins.action.plan import ActionModule
from ansible_collections.atlas.mlflow.plugins.filter.topology import host_calls
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules import Rule
from ansible_collections.atlas.mlflow.plugins.plugin_utils.settings import specifications
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from in_process import LOADER, ROOT, act, role_variables, trusted

Hosts = dict[str, dict[str, Any]]
Groups = dict[str, list[str]]

settings.register_profile("quick", max_examples=5, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
settings.register_profile("deep", max_examples=300, database=None, deadline=None, suppress_health_check=list(HealthCheck))

#: The group of each role.
GROUPS = {"mlflow_server": "mlflow_servers", "postgres": "postgres", "minio": "minio", "haproxy": "haproxy"}
#: The hosts of a pool of MinIO.
POOL = 4
#: Names of hosts in an inventory: with and without a domain, capitals and an underscore, or nothing but the address.
HOST_NAMES = ("one", "Two.Example.com", "ml_three", "10.9.0.4")
#: Names by which people call a server.
PUBLIC_NAMES = ("mlflow.example.com", "ML.Corp", "Bücher.example", "ml.", "10.8.0.1", "FD00::8", "[fd00::9]", "*.lab.example")
#: What may be set for the whole stack.
SWITCHES: dict[str, list[Any]] = {
    "atlas_mlflow_tls": [True, False],
    "atlas_mlflow_firewall": [True, False],
    "atlas_mlflow_deployment": ["systemd", "container", "podman"],
    "atlas_mlflow_container_network": ["team"],
    "atlas_mlflow_metrics": [True, False],
    "atlas_mlflow_metrics_clients": [["10.8.0.9"]],
}
#: What may be set for all hosts of a role, or for all hosts.
SETTINGS: dict[str, dict[str, list[Any]]] = {
    "mlflow_server": {
        "mlflow_server_port": [5001, 8080],
        "mlflow_server_host": ["0.0.0.0", "{{ atlas_mlflow_ip }}"],
        "mlflow_server_deployment": ["systemd", "container", "podman"],
        "mlflow_server_container_name": ["tracking"],
        "mlflow_server_auth": ["none", "basic", "oidc"],
        "mlflow_server_admin_user": ["root@corp"],
        "mlflow_server_artifact_mode": ["proxied", "direct"],
        "mlflow_server_static_prefix": ["/ml"],
        "mlflow_server_names": [[], ["mlflow.example.com"], list(PUBLIC_NAMES)],
        "mlflow_server_workers": [1, 4],
        "mlflow_server_jobs_enabled": [True, False],
        "mlflow_server_environment": [{"MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": 3}, {"MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool"}],
    },
    "postgres": {
        "postgres_port": [5432, 6432],
        "postgres_deployment": ["systemd", "container", "podman"],
        "postgres_container_name": ["database"],
        "postgres_database": ["tracking"],
        "postgres_user": ["m@corp"],
        "postgres_listen_addresses": [["*"]],
        "postgres_clients": [["10.0.0.0/8"]],
    },
    "minio": {
        "minio_port": [9000, 9100],
        "minio_deployment": ["systemd", "container", "podman"],
        "minio_container_name": ["bucket-store"],
        "minio_listen_address": ["0.0.0.0"],
        "minio_bucket": ["tracking"],
        "minio_access_key": ["tracking"],
    },
    "haproxy": {"haproxy_port": [8443], "haproxy_redirect_port": [0, 8081], "haproxy_servers_tls": [True, False]},
}
#: Secrets that each inventory gives, as all that a specification calls one; those of stores that are not the collection's come with their store.
SECRETS = {
    name: ["canary-list"] if option.get("type") == "list" else f"canary-{name}"
    for name, option in specifications(ROOT / "roles").items()
    if option.get("no_log") and not re.search("store_uri|mlflow_server_s3", name)
}
#: TLS by the inventory's own authority on every link, and firewalls.
TLS = {"atlas_mlflow_tls": True, "atlas_mlflow_firewall": True, "haproxy_servers_tls": True}
#: Certificates that an inventory may give a role: one of its own, or none although there is an authority of the inventory's own.
CERTIFICATES = [{"certificate": "/own/server.pem", "key": "/own/server.key"}, {"certificate": "", "key": ""}]
EXTERNAL_DATABASE = {"mlflow_server_backend_store_uri": "postgresql+psycopg2://ml:canary-uri@db.corp.example:5432/ml"}
EXTERNAL_STORE = {
    "mlflow_server_artifacts_destination": "s3://elsewhere",
    "mlflow_server_s3_endpoint_url": "https://s3.corp.example",
    "mlflow_server_s3_access_key_id": "ml",
    "mlflow_server_s3_secret_access_key": "canary-s3",
}


@dataclass(frozen=True)
class Case:
    """An inventory: the groups with their hosts, and what it sets for each host."""

    groups: Groups
    hosts: Hosts

    def set(self, **variables: Any) -> Case:
        """Return the case with variables that are set for all hosts."""
        return replace(self, hosts={name: {**given, **variables} for name, given in self.hosts.items()})

    def of(self, group: str) -> list[str]:
        """Return the hosts of a group."""
        return self.groups.get(group, [])


def _some(draw: st.DrawFn, choices: dict[str, list[Any]], odds: int) -> dict[str, Any]:
    """Return one value each for some variables, for one of so many."""
    return {name: draw(st.sampled_from(values)) for name, values in choices.items() if draw(st.integers(1, odds)) == odds}


@st.composite
def cases(draw: st.DrawFn, most: int = 4, **fixed: st.SearchStrategy[list[str]]) -> Case:
    """Return an inventory that no rule refuses.

    :param most: How many hosts there are at most.
    :param fixed: The hosts of a group, by the group's name.
    """
    names = list(draw(st.permutations(HOST_NAMES[:most])))[: draw(st.integers(1, most))]
    some = functools.partial(st.lists, st.sampled_from(names), unique=True)
    sizes = {"mlflow_servers": (1, most), "postgres": (0, 1), "minio": (0, 1), "haproxy": (0, most)}
    free = {group: some(min_size=least, max_size=largest) for group, (least, largest) in sizes.items()}
    groups = {group: draw(strategy) for group, strategy in {**free, **fixed}.items()}
    groups = {group: hosts for group, hosts in groups.items() if hosts}
    # Several hosts of MinIO are a pool, which takes four and a proxy.
    if "minio" not in fixed and "haproxy" in groups and len(names) >= POOL and draw(st.booleans()):
        groups["minio"] = list(draw(st.permutations(names)))
    common = _some(draw, SWITCHES, 2)
    by_group: dict[str, dict[str, Any]] = {}
    for role, choices in SETTINGS.items():
        found = _some(draw, choices, 4)
        if role != "haproxy" and draw(st.integers(1, 8)) == 8:
            found |= {f"{role}_container_network": "apart"}
        if draw(st.integers(1, 4)) == 4:
            found |= {f"{role}_tls_{what}": path for what, path in draw(st.sampled_from(CERTIFICATES)).items()}
        if role == "mlflow_server":
            found |= draw(st.sampled_from([{}, {}, {}, EXTERNAL_DATABASE])) | draw(st.sampled_from([{}, {}, {}, EXTERNAL_STORE]))
        if draw(st.booleans()):
            common |= found
        else:
            by_group[GROUPS[role]] = found
    used = list(dict.fromkeys(name for hosts in groups.values() for name in hosts))
    found_hosts = {}
    for number, name in enumerate(used, 1):
        own = {key: value for group, hosts in groups.items() if name in hosts for key, value in by_group.get(group, {}).items()}
        own |= draw(st.sampled_from([{}, {"ansible_host": f"mgmt{number}.corp"}, {"ansible_host": f"192.0.2.{number}"}]))
        own |= draw(st.sampled_from([{}, {}, {"atlas_mlflow_address": f"Host{number}.corp"}, {"atlas_mlflow_address": f"10.7.0.{number}"}]))
        if name in groups["mlflow_servers"] and draw(st.integers(1, 4)) == 4:
            own |= {"mlflow_server_names": [f"Own{number}.corp"]}
        found_hosts[name] = {**common, **own}
    return _possible(Case(groups, found_hosts), draw)


def _possible(case: Case, draw: st.DrawFn) -> Case:
    """Return the case without settings that rules refuse beside the others."""
    hosts = {name: dict(of_host) for name, of_host in case.hosts.items()}
    for of_host in hosts.values():
        own = of_host.get("haproxy_tls_certificate")
        if not (own if own is not None else of_host.get("atlas_mlflow_tls")):
            of_host.pop("haproxy_redirect_port", None)
        # Certificates of the inventory's own authority, or others, but no mix: the authority of the others is not known.
        if of_host.get("atlas_mlflow_tls"):
            for role in ("mlflow_server", "haproxy"):
                if of_host.get(f"{role}_tls_certificate"):
                    del of_host[f"{role}_tls_certificate"], of_host[f"{role}_tls_key"]
    if len(case.of("minio")) > 1:
        # A pool runs as a service, and each host has a proxy and MinIO.
        for of_host in hosts.values():
            of_host |= {"minio_deployment": "systemd", "haproxy_minio_port": 9443}
    # An address that all proxies share, if there are two.
    if len(case.of("haproxy")) > 1 and draw(st.booleans()):
        for name in case.of("haproxy"):
            hosts[name]["haproxy_virtual_address"] = "10.0.0.99/24"
    # The URL that people are given, which a balancer before the proxies may have.
    if draw(st.integers(1, 3)) == 3:
        role = "haproxy" if case.of("haproxy") else "mlflow_server"
        first = hosts[(case.of("haproxy") or case.of("mlflow_servers"))[0]]
        own = first.get(f"{role}_tls_certificate")
        scheme = "https" if (own if own is not None else first.get("atlas_mlflow_tls")) else draw(st.sampled_from(["http", "https"]))
        url = f"{scheme}://{draw(st.sampled_from(['Front.corp', 'Front.corp:8443', '[fd00::7]:5001', 'bücher.corp']))}"
        for name in case.of("mlflow_servers"):
            hosts[name]["mlflow_server_url"] = url + hosts[name].get("mlflow_server_static_prefix", "")
    return Case(case.groups, hosts)


def host(name: str, number: int, **given: Any) -> dict[str, Any]:
    """Return the variables of a host as playbooks/internal/facts.yml leaves them."""
    short = name.partition(".")[0].lower() if name[0].isalpha() else f"host{number}"
    facts = {"processor_nproc": 4, "hostname": short, "fqdn": f"{short}.internal", "default_ipv4": {"address": f"10.0.0.{number}"}}
    variables = {"inventory_hostname": name, "inventory_dir": "/inventory", "ansible_facts": facts, **given}
    calls = host_calls(variables)
    return {**variables, "atlas_mlflow_address": calls["address"], "atlas_mlflow_ip": calls["ip"], "atlas_mlflow_names": calls["names"]}


_PEOPLE = {"mlflow_server_names": ["ML.Corp", "[fd00::9]"], "mlflow_server_url": "https://Front.corp:8443"}
#: Inventories that are tried each time, as they have much at once that few others have.
CORNERS = (
    # A host for each service. What is set for a store is set for its host alone.
    Case(
        {"mlflow_servers": ["one"], "postgres": ["Two.Example.com"], "minio": ["ml_three"]},
        {
            "one": {"atlas_mlflow_firewall": True, "mlflow_server_auth": "basic"},
            "Two.Example.com": {
                "atlas_mlflow_firewall": True,
                "postgres_port": 6432,
                "postgres_tls_certificate": "/own/db.pem",
                "postgres_tls_key": "/own/db.key",
            },
            "ml_three": {"atlas_mlflow_firewall": True, "minio_port": 9100, "minio_tls_certificate": "/own/s3.pem", "minio_tls_key": "/own/s3.key"},
        },
    ),
    # Proxies apart from and on the hosts of servers that differ, and TLS everywhere.
    Case(
        {"mlflow_servers": ["one", "Two.Example.com"], "postgres": ["one"], "minio": ["ml_three"], "haproxy": ["Two.Example.com", "10.9.0.4"]},
        {
            "one": {**TLS, **_PEOPLE, "mlflow_server_port": 8080, "mlflow_server_jobs_enabled": True, "atlas_mlflow_address": "Host1.corp"},
            "Two.Example.com": {**TLS, **_PEOPLE, "mlflow_server_names": ["Own2.corp"], "mlflow_server_host": "{{ atlas_mlflow_ip }}", "haproxy_port": 8444},
            "ml_three": TLS,
            "10.9.0.4": {**TLS, "haproxy_port": 8444, "haproxy_redirect_port": 8081},
        },
    ),
    # A cluster of PostgreSQL, with a server on one of its hosts, and one in a container.
    Case(
        {"mlflow_servers": ["one", "10.9.0.4"], "postgres": ["one", "Two.Example.com", "ml_three"], "minio": ["one"]},
        {
            "one": {**TLS, "mlflow_server_auth": "basic", "postgres_port": 6432},
            "Two.Example.com": {**TLS, "postgres_port": 6432, "atlas_mlflow_address": "Host2.corp"},
            "ml_three": {**TLS, "postgres_port": 6432},
            "10.9.0.4": {**TLS, "mlflow_server_auth": "basic", "mlflow_server_deployment": "container"},
        },
    ),
    # Containers beside one another, and a server elsewhere. The proxy ends TLS.
    Case(
        {"mlflow_servers": ["one", "Two.Example.com"], "postgres": ["one"], "minio": ["one"], "haproxy": ["ml_three"]},
        {
            "one": {**TLS, "haproxy_servers_tls": False, "atlas_mlflow_deployment": "container"},
            "Two.Example.com": {**TLS, "haproxy_servers_tls": False, "mlflow_server_artifact_mode": "direct"},
            "ml_three": {**TLS, "haproxy_servers_tls": False, "haproxy_port": 8443},
        },
    ),
    # A pool of MinIO, and a proxy on two of its hosts.
    Case(
        {"mlflow_servers": ["one"], "minio": ["Two.Example.com", "one", "10.9.0.4", "ml_three"], "haproxy": ["ml_three", "one"]},
        {name: {**TLS, "haproxy_minio_port": 9443} for name in HOST_NAMES},
    ),
    # A container that asks a service of its own host through the firewall.
    Case(
        {"mlflow_servers": ["one"], "minio": ["one"]},
        {"one": {**TLS, "mlflow_server_deployment": "container", "mlflow_server_container_network": "apart"}},
    ),
    # A store on all addresses beside its server, which clients are sent to, or whose certificate is not for loopback.
    Case({"mlflow_servers": ["one"], "minio": ["one"]}, {"one": {"minio_listen_address": "0.0.0.0", "mlflow_server_artifact_mode": "direct"}}),
    Case(
        {"mlflow_servers": ["one"], "minio": ["one"]},
        {"one": {"minio_listen_address": "0.0.0.0", "minio_tls_certificate": "/own/s3.pem", "minio_tls_key": "/own/s3.key"}},
    ),
)


def on_every_case(test: Callable[[Case], None]) -> Callable[[], None]:
    """Try a test on the corners and on generated inventories."""
    for corner in CORNERS:
        test = example(corner)(test)
    tried: Callable[[], None] = given(cases())(test)
    return tried


class Run:
    """What a run knows of a case: the plan of each host, and what each role makes of it."""

    def __init__(self, case: Case, part: str = "all", secrets: dict[str, Any] | None = None) -> None:
        """Plan."""
        self.case = case
        self.hosts = {name: host(name, number, **(SECRETS if secrets is None else secrets), **own) for number, (name, own) in enumerate(case.hosts.items(), 1)}
        hostvars = {name: trusted(variables) for name, variables in self.hosts.items()}
        self.plans = {name: act(ActionModule, {"part": part}, {**own, "groups": case.groups, "hostvars": hostvars}) for name, own in hostvars.items()}
        self._templars: dict[tuple[str, str], Templar] = {}
        self._values: dict[tuple[str, str, str], Any] = {}

    def told(self, name: str, role: str, rule: Rule) -> str:
        """Return what a rule says of a role's settings on a host."""
        self.value(name, role, "role_path")
        templar = self._templars[name, role]
        return rule(RoleSettings(role, dict(templar.available_variables), templar.template))

    def value(self, name: str, role: str, expression: str) -> Any:
        """Return the value of an expression as a task of a role has it on a host."""
        key = (name, role, expression)
        if key[:2] not in self._templars:
            known = {"groups": self.case.groups, "hostvars": self.hosts, "_atlas_mlflow_plan": self.plans[name]}
            variables = role_variables(role, {**self.hosts[name], **known})
            self._templars[key[:2]] = Templar(loader=LOADER, variables=variables)
        if key not in self._values:
            self._values[key] = self._templars[key[:2]].template(trusted("{{ " + expression + " }}"))
        return self._values[key]
