"""PgBouncer beside PostgreSQL: who connects to it and may log in, how many connections PostgreSQL gets, and what Patroni calls."""

from __future__ import annotations

import configparser
import json
import runpy
import subprocess
from typing import Any
from urllib.parse import urlsplit

import pytest
from in_process import ROOT
from test_postgres_route import BY_PROXY, COMMON, EDGE, GROUPS, NAMES, WEB, A, C, config, opened, ways

from inventories import Case, Run

POOLED = {"postgres_pgbouncer": True}
#: One host of PostgreSQL, a tracking server beside it and another one elsewhere.
ONE = {"mlflow_servers": ["a", "web"], "postgres": ["a"]}
CERTIFICATE = {"postgres_tls_certificate": "galaxy.yml", "postgres_tls_key": "galaxy.yml"}


def run(groups: dict[str, list[str]] | None = None, **given: Any) -> Run:
    """Return what a run knows of a cluster, two proxies and two tracking servers, or of other hosts."""
    return Run(Case(groups or GROUPS, {name: {**COMMON, **given} for name in NAMES}), secrets={"postgres_password": "canary"})


def template(known: Run, name: str, file: str) -> str:
    """Return a file of PgBouncer on a host."""
    text: str = known.value(name, "postgres", f"lookup('ansible.builtin.template', '{file}.j2')")
    return text


def settings(known: Run, name: str) -> configparser.RawConfigParser:
    """Return the settings of PgBouncer on a host."""
    parser = configparser.RawConfigParser(delimiters=("=",), comment_prefixes=(";", "#"))
    parser.read_string(template(known, name, "pgbouncer.ini"))
    return parser


def logins(known: Run, name: str) -> list[list[str]]:
    """Return the rules for logins on a host."""
    return [line.split() for line in template(known, name, "pgbouncer_hba.conf").splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("store", ["backend_store", "auth_store", "read_replica_store"])
def test_servers_connect_to_pgbouncer_of_each_member(store: str) -> None:
    hosts, ports, options = ways(run(**POOLED, mlflow_server_auth="basic"), "web", store)
    assert ports == "6432,6432,6432" and options["sslmode"] == "verify-full"
    assert ways(run(mlflow_server_auth="basic"), "web", store) == (hosts, "5432,5432,5432", options)


def test_servers_connect_to_pgbouncer_of_one_host() -> None:
    known = run(ONE, **POOLED)
    assert [urlsplit(known.plans[name]["backend_store"]).netloc.rpartition("@")[2] for name in ("a", "web")] == ["127.0.0.1:6432", f"{A}:6432"]
    assert opened(known, "a")[6432] == [WEB] and known.plans["a"]["pgbouncers"] == ["a"]
    assert known.plans["a"]["postgres_clients"] == [WEB]
    # A container on the host uses the socket in the folder of PostgreSQL's.
    contained = run(ONE, **POOLED, mlflow_server_deployment="container").plans["a"]["backend_store"]
    assert contained.endswith("?host=/var/run/postgresql&port=6432")


def test_proxies_pass_to_pgbouncer() -> None:
    known = run(**POOLED, **BY_PROXY)
    assert known.plans["edge"]["proxied_databases"][1]["address"] == "10.0.0.4:6432" and " 10.0.0.4:6432 port 8008 " in config(known)


def test_the_firewall_opens_pgbouncer_to_clients_and_not_to_members() -> None:
    assert opened(run(**POOLED), "b")[6432] == [A, WEB] and 6432 not in opened(run(), "b")
    assert opened(run(**POOLED, **BY_PROXY), "b")[6432] == [A, EDGE, WEB] and C not in opened(run(**POOLED, **BY_PROXY), "b")[6432]


def test_only_the_owner_of_the_databases_logs_in_by_its_own_password_from_the_clients_and_with_tls() -> None:
    known = run(**POOLED, **CERTIFICATE, mlflow_server_auth="basic", postgres_clients=["10.1.0.0/24", "fd00::7"])
    own = ['"mlflow","mlflow_auth"', '"mlflow","mlflow_rotation"']
    assert logins(known, "b") == [
        ["local", *own, "scram-sha-256"],
        *(["hostssl", *own, address, "scram-sha-256"] for address in ("127.0.0.1/32", "::1/128", f"{A}/32", f"{WEB}/32", "10.1.0.0/24", "fd00::7/128")),
    ]
    found = settings(known, "b")["pgbouncer"]
    assert (found["client_tls_sslmode"], found["auth_type"], found["pool_mode"]) == ("require", "hba", "transaction")
    assert "rolname IN ('mlflow', 'mlflow_rotation')" in found["auth_query"] and "NOT rolsuper" in found["auth_query"]
    assert {line[0] for line in logins(run(ONE, **POOLED, atlas_mlflow_tls=False), "a")} == {"local", "host"}


def test_no_password_is_written_and_only_postgresql_reads_the_settings() -> None:
    known = run(**POOLED, **CERTIFICATE)
    files = {one["path"]: one for one in known.value("b", "postgres", "_postgres_pgbouncer_files")}
    found = settings(known, "b")["pgbouncer"]
    assert "canary" not in str(files) and {found["client_tls_key_file"], found["client_tls_cert_file"], found["auth_hba_file"]} <= set(files)
    assert all((files[path]["group"], files[path]["mode"]) == ("postgres", "0640") for path in files if path.startswith("/etc/atlas-mlflow/pgbouncer/"))


def test_the_unit_leaves_the_shared_memory_of_postgresql() -> None:
    """Both have one user, and the last setting of a name counts."""
    unit = template(run(**POOLED), "b", "pgbouncer.service").splitlines()
    assert [line for line in unit if line.startswith(("User=", "RemoveIPC="))] == ["User=postgres", "RemoveIPC=yes", "RemoveIPC=no"]


def test_postgresql_gets_the_connections_of_the_pools() -> None:
    known = run(**POOLED, mlflow_server_auth="basic", postgres_pgbouncer_pool_size=30)
    found, clients = settings(known, "b"), known.plans["b"]["postgres_connections"]
    assert found.sections() == ["databases", "pgbouncer"] and list(found["databases"]) == ["mlflow", "mlflow_auth"]
    assert found["pgbouncer"]["default_pool_size"] == found["pgbouncer"]["max_db_connections"] == "30"
    assert clients > 60 and int(found["pgbouncer"]["max_client_conn"]) > clients
    assert "PostgreSQL with 60 connections" in [one["what"] for one in known.plans["b"]["memory"]]
    # Switching PgBouncer on or off restarts no PostgreSQL.
    plain = run(mlflow_server_auth="basic")
    assert known.value("b", "postgres", "_postgres_cluster_settings") == plain.value("b", "postgres", "_postgres_cluster_settings")


def test_the_backup_knows_the_database_behind_pgbouncer() -> None:
    plan = run(**POOLED).plans["b"]
    assert (plan["postgres_client_port"], plan["postgres_port"], run().plans["b"]["postgres_client_port"]) == (6432, 5432, 5432)


def test_patroni_calls_the_program_if_there_is_pgbouncer() -> None:
    known = run(**POOLED, postgres_pgbouncer_port=7000)
    callbacks = known.value("b", "postgres", "_postgres_patroni_config")["postgresql"]["callbacks"]
    assert set(callbacks) == {"on_stop", "on_start", "on_role_change"}
    (command,) = set(callbacks.values())
    assert command.endswith(" 7000 5432")
    assert command.split()[2] in {one["path"] for one in known.value("b", "postgres", "_postgres_pgbouncer_member_files")}
    assert "callbacks" not in run().value("b", "postgres", "_postgres_patroni_config")["postgresql"]


@pytest.mark.parametrize(
    ("event", "answers", "asked"),
    [
        (["on_role_change", "primary"], ["t", "", "f"], 3),
        (["on_role_change", "replica"], [], 0),
        (["on_stop", "primary"], [], 0),
        (["on_start", "replica"], [], 0),
    ],
)
def test_pgbouncer_ends_after_a_new_primary_is_none_in_recovery(monkeypatch: pytest.MonkeyPatch, event: list[str], answers: list[str], asked: int) -> None:
    calls: list[list[str]] = []

    def answer(argv: list[str], **_options: Any) -> subprocess.CompletedProcess[str]:
        calls.append(argv)
        return subprocess.CompletedProcess(argv, 0, answers.pop(0) if "SHUTDOWN" not in argv and answers else "", "")

    monkeypatch.setattr("subprocess.run", answer)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    monkeypatch.setattr("sys.argv", ["follow_role.py", "6432", "5432", *event, "atlas-mlflow"])
    runpy.run_path(str(ROOT / "roles/postgres/files/follow_role.py"), run_name="__main__")
    assert len(calls) == asked + 1 and calls[-1][-1] == "SHUTDOWN" and calls[-1][4] == "6432", json.dumps(calls)


def test_databases_of_the_inventory_do_not_hide_that_of_the_users() -> None:
    """Without it, nobody could log in: it would not be created, and PostgreSQL and PgBouncer would not let the tracking servers in."""
    known = run(**POOLED, mlflow_server_auth="basic", postgres_more_databases=["notes", "mlflow_auth"])
    assert known.value("a", "postgres", "_postgres_databases") == ["mlflow", "mlflow_auth", "notes"]
    assert known.value("a", "postgres", "_postgres_owners")[0]["databases"] == ["mlflow", "mlflow_auth", "notes"]
    assert sorted(settings(known, "a")["databases"]) == ["mlflow", "mlflow_auth", "notes"]
    kept = known.value("a", "postgres", "_postgres_restore_plan.databases | map(attribute='dump') | list")
    assert {"mlflow_auth", "notes"} <= set(kept)
