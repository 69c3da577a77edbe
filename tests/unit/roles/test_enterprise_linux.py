"""What the roles install and write on Enterprise Linux, where nobody has run them, and that they write on Debian what they did."""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

from inventories import Case, Run

ROOT = Path(__file__).resolve().parents[3]
DEBIAN = {"distribution_id": "debian", "distribution_version_id": "12", "distribution_release": "bookworm", "os_family": "Debian"}
EL9 = {"distribution_id": "rocky", "distribution_version_id": "9.6", "distribution_release": "", "os_family": "RedHat"}
EL10 = {**EL9, "distribution_version_id": "10.0"}
CA_FILE = "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"


def known(system: dict[str, Any], **given: Any) -> Run:
    """Return what a run knows of a host with a whole stack, and of one with a tracking server."""
    number = {"one": "10.0.0.1", "web": "10.0.0.2"}
    facts = {name: {**system, "processor_nproc": 4, "hostname": name, "fqdn": name, "default_ipv4": {"address": own}} for name, own in number.items()}
    groups = {"mlflow_servers": ["web"], "postgres": ["one"], "minio": ["one"], "haproxy": ["one"]}
    hosts = {name: {"atlas_mlflow_firewall": True, "ansible_facts": {"ca_file": CA_FILE, "packages": {}, **facts[name]}, **given} for name in number}
    return Run(Case(groups, hosts), secrets={"postgres_password": "p"})


def packages(system: dict[str, Any], *names: str) -> list[str]:
    """Return the packages that have the names of Debian's packages on a system."""
    instead = known(system).value("one", "common", "_common_system.packages")
    return [one for name in names for one in instead.get(name, [name])]


@pytest.mark.parametrize(
    ("system", "venv", "database"),
    [
        (DEBIAN, ["python3-venv"], ["postgresql-15", "python3-psycopg2"]),
        (EL9, ["python3.12"], ["postgresql-server", "python3-psycopg2", "python3.12-psycopg2"]),
        (EL10, ["python3"], ["postgresql-server", "python3-psycopg2"]),
    ],
)
def test_packages_have_the_names_of_the_system(system: dict[str, Any], venv: list[str], database: list[str]) -> None:
    version = known(system).value("one", "postgres", "_postgres_version")
    assert packages(system, "python3-venv") == venv
    assert packages(system, f"postgresql-{version}", "python3-psycopg2") == database
    assert packages(system, "haproxy", "acl", "ca-certificates") == ["haproxy", "acl", "ca-certificates"]


@pytest.mark.parametrize(
    ("system", "folder", "service", "data", "stream"),
    [
        (DEBIAN, "/etc/postgresql/15/main", "postgresql@15-main", "/var/lib/postgresql/15/main", ""),
        (EL9, "/var/lib/pgsql/data", "postgresql", "/var/lib/pgsql/data", "postgresql:16"),
        (EL10, "/var/lib/pgsql/data", "postgresql", "/var/lib/pgsql/data", ""),
    ],
)
def test_postgresql_has_the_folders_of_the_system(system: dict[str, Any], folder: str, service: str, data: str, stream: str) -> None:
    run = known(system)
    assert [file["path"] for file in run.value("one", "postgres", "_postgres_files")] == [
        f"{folder}/conf.d/atlas-mlflow.conf",
        f"{folder}/pg_hba.conf",
        f"/etc/systemd/system/{service}.service.d",
        f"/etc/systemd/system/{service}.service.d/atlas-mlflow.conf",
    ]
    assert run.value("one", "postgres", "_postgres_service") == service and run.value("one", "postgres", "_postgres_data_dir") == data
    assert (run.value("one", "postgres", "_postgres_el_stream") if system != DEBIAN else "") == stream
    settings, rules = (file["content"] for file in run.value("one", "postgres", "_postgres_files")[:2])
    assert "listen_addresses = 'localhost, 10.0.0.1'" in settings and "mlflow  +mlflow  10.0.0.2/32  scram-sha-256" in rules


def test_a_stream_is_chosen_before_the_first_installation_only() -> None:
    there = {**EL9, "packages": {"postgresql-server": []}}
    assert known(there).value("one", "postgres", "_postgres_el_stream") == ""


def test_the_drop_in_of_enterprise_linux_leaves_postgresql_its_domain() -> None:
    """Any of these implies NoNewPrivileges for a service with a user, and a service with it does not get the domain of its own: systemd.exec(5)."""
    text = known(EL9).value("one", "postgres", "_postgres_files")[3]["content"]
    assert "Restart=on-failure" in text
    implying = ("NoNewPrivileges=", "SystemCall", "RestrictAddress", "RestrictNamespaces", "Private", "ProtectKernel", "ProtectClock", "LockPersonality")
    assert [line for line in text.splitlines() if line.startswith(implying)] == []


def test_haproxy_has_the_socket_of_its_master_on_each_system() -> None:
    debian, el = (known(system).value("one", "haproxy", "_haproxy_unit_files")[1]["content"] for system in (DEBIAN, EL9))
    lines = debian.splitlines()
    place = lines.index('Environment="PIDFILE=/run/haproxy/haproxy.pid" "EXTRAOPTS=-S /run/haproxy/master.sock,mode,600"')
    assert lines[place - 1 : place + 2 : 2] == [
        "RuntimeDirectoryPreserve=yes",
        "# HAProxy may not raise its limits.",
    ]
    assert "ExecStart" not in debian and "Environment=" not in el
    assert "ExecStart=\nExecStart=/usr/sbin/haproxy -Ws -f /etc/haproxy/haproxy.cfg -p /run/haproxy/haproxy.pid -S /run/haproxy/master.sock,mode,600\n" in el
    assert el.splitlines()[-1] == debian.splitlines()[-1]


def test_selinux_lets_haproxy_use_the_ports_of_the_stack_on_enterprise_linux_only() -> None:
    assert known(EL9).value("one", "haproxy", "_haproxy_system.selinux_booleans") == ["haproxy_connect_any"]
    assert known(DEBIAN).value("one", "haproxy", "_haproxy_system.selinux_booleans") == []


def test_the_ca_file_is_that_of_the_host() -> None:
    for role, host, name in (("haproxy", "one", "_haproxy_authority_file"), ("mlflow_server", "web", "_mlflow_server_ca_file")):
        assert known(EL9).value(host, role, name) == CA_FILE
        assert known({**DEBIAN, "ca_file": "/etc/ssl/certs/ca-certificates.crt"}).value(host, role, name) == "/etc/ssl/certs/ca-certificates.crt"


def test_firewalld_opens_what_nftables_would() -> None:
    run = known(EL9, firewall_allowed=[{"port": 9100, "sources": ["any"]}, {"port": 9200, "sources": ["2001:db8::/32", "10.1.0.0/16"]}])
    (_folder, file) = run.value("one", "firewall", "_firewall_policy_files")
    policy = ET.fromstring(file["content"].encode())
    assert policy.attrib == {"target": "CONTINUE", "priority": "-1"}
    assert [policy.find(f"{way}-zone").get("name") for way in ("ingress", "egress")] == ["ANY", "HOST"]
    assert [port.attrib for port in policy.findall("port")] == [{"port": "22", "protocol": "tcp"}]
    opened = set()
    for rule in policy.findall("rule"):
        assert rule.find("accept") is not None
        source = rule.find("source")
        opened.add((int(rule.find("port").get("port")), "any" if source is None else source.get("address")))
        assert rule.get("family") == (None if source is None else "ipv6" if ":" in source.get("address") else "ipv4")
    needed = {(opening["port"], source) for opening in run.plans["one"]["firewall_needed"] for source in opening["sources"]}
    assert len(needed) > 2 and opened == needed | {(9100, "any"), (9200, "2001:db8::/32"), (9200, "10.1.0.0/16")}


def test_debian_has_the_rules_and_files_of_nftables() -> None:
    assert known(DEBIAN).value("one", "firewall", "_firewall_system") == {
        "tasks": "rules",
        "removed": [
            "/etc/atlas-mlflow/firewall.nft",
            "/etc/systemd/system/nftables.service.d/atlas-mlflow.conf",
            "/etc/systemd/system/atlas-mlflow-firewall.service",
            "/etc/systemd/system/sysinit.target.wants/atlas-mlflow-firewall.service",
        ],
        "stop": ["systemctl", "stop", "atlas-mlflow-firewall.service"],
    }


def included(run: Run, role: str, file: str, name: str) -> str:
    """Return the file that a task of a role includes on the first host."""
    (task,) = [task for task in yaml.safe_load((ROOT / f"roles/{role}/tasks/{file}.yml").read_text()) if task["name"] == name]
    expression = task["ansible.builtin.include_tasks"].removesuffix(".yml").strip("{} ")
    return str(run.value("one", role, expression))


@pytest.mark.parametrize(("system", "of_postgres", "of_firewall"), [(DEBIAN, "systemd", "rules"), (EL9, "el", "firewalld"), (EL10, "el", "firewalld")])
def test_a_host_gets_the_tasks_of_its_system(system: dict[str, Any], of_postgres: str, of_firewall: str) -> None:
    assert included(known(system), "postgres", "apply", "Install, configure and run PostgreSQL") == of_postgres
    assert included(known(system), "firewall", "apply", "Set up or remove the firewall rules") == of_firewall
    assert included(known(system, firewall_enabled=False), "firewall", "apply", "Set up or remove the firewall rules") == "remove"


@pytest.mark.parametrize(
    ("given", "files"),
    [
        ({"common_ca_certificate": ""}, []),
        ({"common_ca_certificate": "/own.pem", "common_selinux_booleans": []}, ["trust"]),
        ({"common_ca_certificate": "", "common_selinux_booleans": ["haproxy_connect_any"]}, ["selinux"]),
    ],
)
def test_packages_are_followed_by_what_the_host_must_trust_and_allow(given: dict[str, Any], files: list[str]) -> None:
    (_install, task) = yaml.safe_load((ROOT / "roles/common/tasks/packages.yml").read_text())
    assert known(EL9, **given).value("one", "common", task["loop"].strip("{} ")) == files


@pytest.mark.parametrize("role", ["common", "firewall", "haproxy", "postgres"])
def test_each_system_of_a_role_has_the_same_values(role: str) -> None:
    debian, el = (yaml.safe_load((ROOT / f"roles/{role}/vars/main/{name}.yml").read_text())[f"_{role}_{name}"] for name in ("debian", "el"))
    assert debian.keys() == el.keys()


def test_the_code_for_hosts_runs_with_the_python_of_enterprise_linux_9() -> None:
    """Ansible runs the modules with Python 3.9 there, and the type checker allows 3.10. What is only for Debian's packages is left out."""
    newer = {"pairwise", "slots", "kw_only", "root_dir", "bit_count", "follow_symlinks", "StrEnum", "UTC", "TypeAlias", "NoneType", "file_digest", "add_note"}
    found = {}
    for path in sorted([*ROOT.glob("plugins/modules/*.py"), *ROOT.glob("plugins/module_utils/**/*.py")]):
        # Refuses newer syntax.
        tree = ast.parse(path.read_text(), feature_version=(3, 9))
        used = {getattr(node, "arg", None) or getattr(node, "attr", None) or getattr(node, "name", None) for node in ast.walk(tree)} & newer
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        used |= {"zip(strict)" for call in calls if call.func.id == "zip" and call.keywords}
        if used:
            found[path.name] = used
    assert found == {"package_index.py": {"zip(strict)"}}
