"""What is read on a host of a cluster, a pool or a shared address: by the settings of the services, and without their secrets."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis import clusters
from ansible_collections.atlas.mlflow.plugins.module_utils.web import Answer, Base, NoAnswer

from inventories import TLS, Case, Run

MEMBERS = ("one", "Two.Example.com", "ml_three")
SHOWN = "LoadState=loaded\nActiveState=active\nSubState=running\nMainPID=0\nControlGroup=\n"


class Asked:
    """What the module asks of a host, with canned answers."""

    def __init__(self, answers: dict[str, Any], sql: tuple[int, str, str] = (2, "", "psql: error: no\nmore")) -> None:
        self.answers, self.sql = answers, sql
        self.urls: list[str] = []
        self.commands: list[list[str]] = []

    def ask(self, base: Base, method: str, target: str, **options: Any) -> Answer:
        """Answer a request."""
        assert options["tls"].verify_mode == ssl.CERT_NONE and options["timeout"] == 2
        self.urls.append(f"{method} {base.origin}{target}")
        found = self.answers.get(target)
        if found is None:
            raise NoAnswer("refused", "there", "connection refused", False)
        status, content = found
        return Answer(status, {}, json.dumps(content).encode(), 0.01)

    def run(self, command: list[str]) -> tuple[int, str, str]:
        """Run a command."""
        self.commands.append(command)
        return (0, SHOWN, "") if command[0] == "systemctl" else self.sql


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Return what is asked."""
    known = Asked({})
    monkeypatch.setattr(clusters, "ask", known.ask)
    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", lambda *_args, **_options: None)
    return known


def write(root: Path, path: str, text: str) -> None:
    """Write a file of a host."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def cluster() -> Run:
    """Return what a run knows of a cluster."""
    return Run(Case({"mlflow_servers": ["one"], "postgres": list(MEMBERS)}, dict.fromkeys(MEMBERS, TLS)))


def test_a_member_is_asked_as_the_role_has_set_it_up(tmp_path: Path, asked: Asked) -> None:
    known = cluster()
    write(tmp_path, clusters.PATRONI, known.value("one", "postgres", "lookup('ansible.builtin.template', 'patroni.yml.j2')"))
    write(tmp_path, clusters.ETCD, known.value("one", "etcd", "lookup('ansible.builtin.template', 'etcd.j2')"))
    asked.answers |= {
        "/patroni": (503, {"state": "running", "role": "replica", "timeline": 3, "xlog": {"x": 1}}),
        "/cluster": (200, {"members": [{"name": "one", "role": "replica", "state": "running", "host": "h", "lag": 7, "timeline": 3}], "pause": True}),
        "/config": (200, {"synchronous_mode": True, "ttl": 20}),
        "/health": (200, {"health": "true"}),
        "/v3/cluster/member_list": (200, {"members": [{"name": "one", "ID": "1"}, {"name": "Two.Example.com"}, {"peerURLs": ["https://x"]}]}),
    }
    asked.sql = (0, json.dumps({"recovery": True, "receives": True, "seconds": 0, "replicas": []}), "")
    host, address = clusters.Host(asked.run, 2, tmp_path), known.hosts["one"]["atlas_mlflow_address"]
    member, etcd = host.member(), host.etcd()
    assert member["patroni"] == {"state": "running", "role": "replica", "timeline": 3} and (member["paused"], member["synchronous"]) == (True, True)
    assert member["listed"] == [{"name": "one", "role": "replica", "state": "running", "lag": 7, "timeline": 3}]
    assert (member["state"], member["log"], member["postgres"]["recovery"]) == ("active/running", "journalctl -u patroni.service", True)
    assert (etcd["healthy"], etcd["members"], etcd["error"]) == (True, ["one", "Two.Example.com", ""], "")
    assert asked.urls == [
        *(f"GET https://{address}:8008{path}" for path in ("/patroni", "/cluster", "/config")),
        f"GET https://{address}:2379/health",
        f"POST https://{address}:2379/v3/cluster/member_list",
    ]
    (psql,) = [command for command in asked.commands if command[0] == "runuser"]
    assert psql[:3] == ["runuser", "-u", "postgres"] and psql[psql.index("--host") + 1] == "/var/run/postgresql" and psql[psql.index("--port") + 1] == "5432"
    assert "canary" in (tmp_path / clusters.PATRONI).read_text() and "canary" not in json.dumps([member, etcd])


def test_a_member_that_does_not_answer_is_described(tmp_path: Path, asked: Asked) -> None:
    known = cluster()
    write(tmp_path, clusters.PATRONI, known.value("one", "postgres", "lookup('ansible.builtin.template', 'patroni.yml.j2')"))
    write(tmp_path, clusters.ETCD, known.value("one", "etcd", "lookup('ansible.builtin.template', 'etcd.j2')"))
    host = clusters.Host(asked.run, 2, tmp_path)
    member, etcd = host.member(), host.etcd()
    assert (member["patroni"], member["error"], member["listed"]) == ({}, "connection refused (there)", [])
    assert member["postgres"] == {"error": "psql: error: no"}
    assert (etcd["healthy"], etcd["error"]) == (None, "connection refused (there)")
    asked.answers["/health"] = (503, {"health": "false", "reason": "RAFT NO LEADER"})
    assert [host.etcd()[name] for name in ("healthy", "error")] == [False, "RAFT NO LEADER"]


def test_a_host_without_these_services_has_nothing(tmp_path: Path, asked: Asked) -> None:
    host = clusters.Host(asked.run, 2, tmp_path)
    assert (host.member(), host.etcd(), host.store(["/srv/d"])) == ({}, {}, {})
    # Settings of another tool.
    write(tmp_path, clusters.PATRONI, "scope: other\n")
    write(tmp_path, clusters.ETCD, "ETCD_NAME=other\n")
    assert (host.member(), host.etcd()) == ({}, {})
    assert asked.urls == []


@pytest.mark.parametrize(("address", "tls", "origin"), [("10.0.0.5", True, "https://10.0.0.5:9000"), ("0.0.0.0", False, "http://127.0.0.1:9000")])
def test_the_minio_of_a_pool_is_asked_where_its_unit_lets_it_listen(tmp_path: Path, asked: Asked, address: str, tls: bool, origin: str) -> None:
    names = ("one", "Two.Example.com", "ml_three", "10.9.0.4")
    given = {"minio_listen_address": address, "atlas_mlflow_tls": tls}
    known = Run(Case({"mlflow_servers": ["one"], "minio": list(names), "haproxy": ["one"]}, dict.fromkeys(names, given)))
    argv = known.value("one", "minio", "_minio_argv | atlas.mlflow.systemd_argv")
    write(tmp_path, clusters.MINIO_UNIT, f"[Service]\nExecStart={argv}\n")
    write(tmp_path, f"srv/good/{clusters.FORMAT}", "{}")
    (tmp_path / "srv/bare").mkdir()
    asked.answers |= {"/minio/health/live": (200, {}), "/minio/health/cluster": (503, {}), "/minio/health/cluster/read": (200, {})}
    found = clusters.Host(asked.run, 2, tmp_path).store(["/srv/good", "/srv/bare", "/srv/none"])
    assert found["health"] == {"live": 200, "cluster": 503, "cluster/read": 200} and found["state"] == "active/running"
    errors = [drive["error"] for drive in found["drives"]]
    assert errors[0] == "" and "no disk is mounted there" in errors[1] and errors[2] == "No such file or directory"
    assert asked.urls[0] == f"GET {origin}/minio/health/live"
    asked.answers.clear()
    silent = clusters.Host(asked.run, 2, tmp_path).store(["/srv/good"])
    assert (silent["health"], silent["error"]) == ({"live": 0}, "connection refused (there)")


def test_a_proxy_tells_whether_it_has_the_address(tmp_path: Path, asked: Asked) -> None:
    host = clusters.Host(asked.run, 2, tmp_path)
    service = {"state": "active/running", "log": "journalctl -u keepalived.service"}
    assert host.proxy("10.0.0.9", ["10.0.0.7", "10.0.0.9"])["has_address"] and not host.proxy("10.0.0.9", ["10.0.0.90"])["has_address"]
    assert host.proxy("10.0.0.9", [])["keepalived"] == service
    # Without HAProxy.
    assert host.proxy("10.0.0.9", [])["primaries"] is None


@pytest.mark.parametrize(
    ("servers", "primaries"),
    [([], None), ([("a", 2), ("b", 0)], ["a"]), ([("a", 0), ("b", 0)], []), ([("a", 2), ("b", 2)], ["a", "b"])],
)
def test_a_proxy_tells_the_primaries_that_it_finds(
    tmp_path: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch, servers: list[tuple[str, int]], primaries: list[str] | None
) -> None:
    head = "1\n# be_name srv_name srv_op_state srv_admin_state srv_port srv_use_ssl\n"
    answer = head + "".join(f"postgres {name} {state} 0 5432 0\n" for name, state in servers)
    questions: list[str] = []

    def asker(path: str) -> Any:
        assert path == f"{tmp_path}/run/haproxy/master.sock"
        return lambda command: questions.append(command) or (answer if servers else "1\n")

    monkeypatch.setattr(clusters, "asker", asker)
    assert clusters.Host(asked.run, 2, tmp_path).proxy("10.0.0.9", [])["primaries"] == primaries
    assert questions == ["@1 show servers state postgres"]


def test_the_plan_says_who_shares_what() -> None:
    names = ("one", "Two.Example.com", "ml_three", "10.9.0.4")
    groups = {"mlflow_servers": ["one"], "postgres": list(MEMBERS), "minio": list(names), "haproxy": ["one"]}
    drives = {"minio_drives": ["/srv/a", "/srv/b"]}
    known = Run(Case(groups, {name: {**TLS, **(drives if name == "ml_three" else {})} for name in names}), part="users")
    assert known.plans["one"]["cluster_members"] == list(MEMBERS) and known.plans["one"]["pool_members"] == list(names)
    assert known.plans["ml_three"]["pool_drives"] == ["/srv/a", "/srv/b"] and known.plans["one"]["pool_drives"] == ["/var/lib/minio"]
    alone = Run(Case({"mlflow_servers": ["one"], "postgres": ["one"], "minio": ["one"]}, {"one": {}}), part="users").plans["one"]
    assert (alone["cluster_members"], alone["pool_members"], alone["pool_drives"]) == ([], [], [])
