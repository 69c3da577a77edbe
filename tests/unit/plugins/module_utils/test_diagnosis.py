"""What the facts of a server and of a client mean: each fault is named, once, and a healthy stack gives none."""

from __future__ import annotations

import copy
import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.atlas.mlflow.plugins.module_utils.arguments import option
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis import artifact_root, collect, find, judge, logs, report, stores
from ansible_collections.atlas.mlflow.plugins.module_utils.units import parse_environment_file

WANTED = {"host": "0.0.0.0", "port": 5001, "static_prefix": ""}
ARGV = ["/opt/mlflow/bin/python", "/opt/mlflow/bin/mlflow", "server", "--host", "0.0.0.0", "--port", "5001"]
UNIT: dict[str, Any] = {
    "kind": "unit",
    "name": "mlflow-server.service",
    "state": "active/running",
    "pid": 812,
    "now": 1_000_000.0,
    "argv": ARGV,
    "configured": " ".join(ARGV),
    "ignored_environment": {},
    "sockets": [{"address": "0.0.0.0", "port": 5001, "pid": 812, "process": "mlflow"}],
    "host_listeners": [],
    "stale": [],
    "firewall": [],
    "disks": [{"path": "/", "free": 10**10, "size": 10**11, "inodes": 1000}],
    "stores": {
        "database": {"where": "postgresql+psycopg://db:5432/mlflow", "host": "db", "outcome": "ok", "revision": "a", "head": "a", "schema": "right"},
        "s3": {"endpoint": "http://s3:9000", "bucket": "mlflow", "host": "s3", "skew": 0, "outcome": "ok"},
    },
    "names": [{"host": "localhost:5001", "api": 200, "health": 200}, {"host": "mlflow:5001", "api": 200, "health": 200}],
}
CONTAINER = {
    **UNIT,
    "kind": "container",
    "name": "atlas-mlflow-server",
    "network_mode": "atlas-network",
    "elsewhere": {},
    "published": [{"address": "0.0.0.0", "port": 5001, "inner": 5001}],
    "host_listeners": [{"address": "0.0.0.0", "port": 5001, "pid": 9, "process": "docker-proxy", "own": True}],
}
CLIENT: dict[str, Any] = {"now": 1_000_001.0, "names": [{"name": "mlflow", "kind": "", "connected": True, "error": "", "api": 200}], "s3": None}
SILENT = [{"host": "localhost:5001", "api": 0, "health": 0, "error": "connection refused (127.0.0.1:5001)"}]
UNHEARD = {"name": "mlflow", "kind": "refused", "connected": False, "error": "connection refused", "api": 0}


def socket(address: str, port: int, process: str = "python") -> dict[str, Any]:
    """Return a listener."""
    return {"address": address, "port": port, "pid": 99, "process": process}


def changed(facts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return facts with changes; a name with two underscores leads into a dictionary."""
    facts = copy.deepcopy(facts)
    for name, value in changes.items():
        *folders, last = name.split("__")
        place = facts
        for folder in folders:
            place = place[folder]
        place[last] = value
    return facts


#: A server on loopback behind a proxy, and what the proxy makes of its answer.
BEHIND = {
    "sockets": [{"address": "127.0.0.1", "port": 5000, "pid": 812, "process": "mlflow"}],
    "host_listeners": [{"address": "0.0.0.0", "port": 5001, "pid": 7, "process": "nginx"}],
}
FRONT: dict[str, Any] = {"process": "nginx", "pid": 7, "address": "0.0.0.0", "port": 5001, "direct": [{"host": "localhost:5001", "api": 200, "health": 200}]}


def through(api: int, **front: Any) -> dict[str, Any]:
    """Return the facts of a server whose proxy answers so."""
    return {**BEHIND, "front": {**FRONT, **front}, "names": [{"host": "localhost:5001", "api": api, "health": 200}]}


CLOSED = [{"host": "localhost:5001", "api": 401, "health": 200}]
DEAF = {"sockets": [socket("127.0.0.1", 5000)], "names": SILENT}
NOT_RUNNING = {"argv": [], "sockets": [], "pid": 0, "state": "failed/failed", "names": SILENT}
BARE = ARGV[:3]
SCHEMA = {"stores__database__revision": "b"}
#: The fault, the facts of the server, and those of the client.
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("server-not-found", {"kind": ""}, {}),
    ("disk-full", changed(UNIT, disks=[{"path": "/var/lib/minio", "free": 1000, "size": 10**11, "inodes": 5}]), CLIENT),
    ("disk-full", changed(UNIT, disks=[{"path": "/", "free": 10**10, "size": 10**11, "inodes": 0}]), CLIENT),
    ("disk-full", changed(UNIT, stores__s3__outcome="full", stores__s3__detail="minimum free drive"), CLIENT),
    ("port-taken", changed(UNIT, **NOT_RUNNING, host_listeners=[socket("0.0.0.0", 5001)]), CLIENT),
    ("arguments-cut", changed(UNIT, **DEAF, argv=BARE, configured="bash -c mlflow server\n --host 0.0.0.0 --port 5001"), CLIENT),
    ("arguments-refused", changed(UNIT, **NOT_RUNNING, log_fault={"fault": "arguments-refused", "line": "Error: No such option: --x"}), CLIENT),
    (
        "packages-do-not-fit",
        changed(CONTAINER, **NOT_RUNNING, stores=None, log_fault={"fault": "packages-do-not-fit", "line": "ImportError: cannot import name 'x'"}),
        CLIENT,
    ),
    ("program-missing", changed(UNIT, **NOT_RUNNING, log_fault={"fault": "program-missing", "line": "Failed to locate executable /x/mlflow"}), CLIENT),
    ("address-refused", changed(UNIT, **NOT_RUNNING, log_fault={"fault": "address-refused", "line": "Invalid address: ('10.9.9.9', 5001)"}), CLIENT),
    (
        "file-denied",
        changed(UNIT, **NOT_RUNNING, log_fault={"fault": "file-denied", "line": "PermissionError: [Errno 13] Permission denied: '/srv/x'"}),
        CLIENT,
    ),
    ("out-of-memory", changed(UNIT, **NOT_RUNNING, killed="the kernel killed mlflow"), changed(CLIENT, names=[UNHEARD])),
    ("out-of-memory", changed(CONTAINER, killed="docker tells that the kernel killed it for memory"), CLIENT),
    ("ignored-environment", changed(UNIT, **DEAF, argv=BARE, configured="mlflow server", ignored_environment={"PORT": "5001"}), CLIENT),
    ("default-port", changed(UNIT, **DEAF, argv=BARE, configured="mlflow server"), CLIENT),
    (
        "default-port",
        changed(CONTAINER, **DEAF, argv=BARE, configured="mlflow server"),
        changed(CLIENT, names=[{**UNHEARD, "kind": "reset", "connected": True}]),
    ),
    ("bound-to-loopback", changed(UNIT, sockets=[socket("127.0.0.1", 5001)]), changed(CLIENT, names=[UNHEARD])),
    ("wrong-socket", changed(UNIT, sockets=[socket("0.0.0.0", 5002)], names=SILENT), changed(CLIENT, names=[UNHEARD])),
    ("extra-socket", changed(UNIT, sockets=[socket("0.0.0.0", 5001), socket("0.0.0.0", 8265)]), CLIENT),
    (
        "bind-in-gunicorn-opts",
        changed(UNIT, sockets=[socket("0.0.0.0", 5001), socket("127.0.0.1", 5000)], argv=[*ARGV, "--gunicorn-opts", "--bind 127.0.0.1:5000"]),
        CLIENT,
    ),
    ("shadowing-listener", changed(UNIT, host_listeners=[socket("127.0.0.1", 5001)]), CLIENT),
    ("shadowing-listener", changed(CONTAINER, host_listeners=[*CONTAINER["host_listeners"], socket("127.0.0.1", 5001)]), CLIENT),
    ("port-not-published", changed(CONTAINER, published=[], names=SILENT), changed(CLIENT, names=[UNHEARD])),
    ("port-not-published", changed(CONTAINER, published=[{"address": "127.0.0.1", "port": 5001, "inner": 5001}]), changed(CLIENT, names=[UNHEARD])),
    (
        "stale-container",
        changed(CONTAINER, sockets=[socket("0.0.0.0", 5000)], argv=[*BARE, "--port", "5000"], configured="mlflow server --port 5000", names=SILENT),
        changed(CLIENT, names=[UNHEARD]),
    ),
    ("stale-container", changed(CONTAINER, stale=["/etc/atlas-mlflow/mlflow-server.json"]), CLIENT),
    ("stale-service", changed(UNIT, argv=BARE, sockets=[socket("0.0.0.0", 5001)], stale=["/etc/default/mlflow-server"]), CLIENT),
    ("stale-service", changed(UNIT, stale=["/etc/default/mlflow-server"]), CLIENT),
    ("wrong-network", changed(CONTAINER, stores__database__outcome="unresolved", elsewhere={"db": ["other"]}), CLIENT),
    ("wrong-network", changed(CONTAINER, stores__s3__outcome="down", elsewhere={"s3": ["other"]}), CLIENT),
    ("database-driver-missing", changed(UNIT, **NOT_RUNNING, stores__database__outcome="no-driver"), changed(CLIENT, names=[UNHEARD])),
    (
        "database-driver-missing",
        changed(CONTAINER, **NOT_RUNNING, stores=None, log_fault={"fault": "database-driver-missing", "line": "No module named 'psycopg'"}),
        CLIENT,
    ),
    ("database-password-not-encoded", changed(UNIT, **NOT_RUNNING, not_encoded=True, stores__database__outcome="unresolved"), CLIENT),
    ("database-password-not-encoded", changed(UNIT, **NOT_RUNNING, not_encoded=True), CLIENT),
    ("database-password-not-encoded", changed(CONTAINER, **NOT_RUNNING, not_encoded=True, stores=None), CLIENT),
    ("database-password-not-encoded", changed(UNIT, stores__database__outcome="wrong-password", stores__database__not_encoded=True), CLIENT),
    ("database-name-unresolved", changed(UNIT, stores__database__outcome="unresolved"), CLIENT),
    ("database-down", changed(UNIT, stores__database__outcome="down", names=[{"host": "localhost:5001", "api": 503, "health": 200}]), CLIENT),
    ("database-wrong-password", changed(UNIT, **NOT_RUNNING, stores__database__outcome="wrong-password"), changed(CLIENT, names=[UNHEARD])),
    ("database-down", changed(CONTAINER, stores__database__outcome="unresolved", stopped=["db"]), CLIENT),
    ("database-access-refused", changed(UNIT, stores__database__outcome="refused"), CLIENT),
    ("database-missing", changed(UNIT, stores__database__outcome="missing"), CLIENT),
    ("database-failed", changed(UNIT, stores__database__outcome="failed"), CLIENT),
    ("database-connections-exhausted", changed(UNIT, stores__database__outcome="no-slots"), CLIENT),
    ("database-permission-denied", changed(UNIT, **NOT_RUNNING, stores__database__outcome="denied"), CLIENT),
    ("s3-untrusted-certificate", changed(UNIT, stores__s3__outcome="untrusted"), CLIENT),
    ("database-schema-old", changed(UNIT, **SCHEMA, stores__database__schema="old"), CLIENT),
    ("database-schema-new", changed(UNIT, **SCHEMA, stores__database__schema="new"), CLIENT),
    ("clock-skew", UNIT, changed(CLIENT, now=UNIT["now"] + 1200)),
    ("clock-skew", changed(UNIT, stores__s3__outcome="clock", stores__s3__skew=-1200), CLIENT),
    ("s3-wrong-scheme", changed(UNIT, stores__s3__outcome="wrong-scheme"), CLIENT),
    ("s3-down", changed(UNIT, stores__s3__outcome="down"), CLIENT),
    ("s3-wrong-key", changed(UNIT, stores__s3__outcome="wrong-key"), CLIENT),
    ("s3-bucket-missing", changed(UNIT, stores__s3__outcome="missing"), CLIENT),
    ("s3-read-only", changed(UNIT, stores__s3__outcome="read-only"), CLIENT),
    ("s3-denied", changed(UNIT, stores__s3__outcome="denied"), CLIENT),
    ("s3-failed", changed(UNIT, stores__s3__outcome="failed"), CLIENT),
    ("server-not-running", changed(UNIT, **NOT_RUNNING), changed(CLIENT, names=[UNHEARD])),
    ("server-not-running", changed(CONTAINER, sockets=[], restarts=7, last_words="Segmentation fault", names=SILENT), changed(CLIENT, names=[UNHEARD])),
    ("server-not-running", changed(UNIT, **NOT_RUNNING, host_listeners=[socket("0.0.0.0", 5001, "nginx")], configured="mlflow server --port 5000"), CLIENT),
    ("server-starting", changed(UNIT, sockets=[], starting="INFO: Waiting for application startup.", names=SILENT), changed(CLIENT, names=[UNHEARD])),
    (
        "server-starting",
        changed(CONTAINER, sockets=[], starting="", names=[{**SILENT[0], "error": "connection reset by peer"}]),
        changed(CLIENT, names=[UNHEARD]),
    ),
    ("database-down", changed(CONTAINER, sockets=[], starting="", names=SILENT, stores__database__outcome="down"), changed(CLIENT, names=[UNHEARD])),
    ("port-taken", changed(UNIT, **NOT_RUNNING, host_listeners=[socket("0.0.0.0", 5001, "nginx")]), CLIENT),
    ("proxy-upstream", changed(UNIT, **through(502)), changed(CLIENT, names=[{**CLIENT["names"][0], "api": 502}])),
    ("proxy-upstream", changed(UNIT, **through(0)), changed(CLIENT, names=[UNHEARD])),
    ("proxy-host-header", changed(UNIT, **through(403, refuses_host=True)), changed(CLIENT, names=[{**CLIENT["names"][0], "api": 403}])),
    (
        "host-header-refused",
        changed(UNIT, **through(403, refuses_host=True, direct=[{"host": "localhost:5001", "api": 403}])),
        changed(CLIENT, names=[{**CLIENT["names"][0], "api": 403}]),
    ),
    ("proxy-path", changed(UNIT, **through(404)), changed(CLIENT, names=[{**CLIENT["names"][0], "api": 404}])),
    ("static-prefix", changed(UNIT, **through(404), answers_below="/ml"), changed(CLIENT, names=[{**CLIENT["names"][0], "api": 404}])),
    ("proxy-body-limit", changed(UNIT, **through(200, refuses_large=True)), CLIENT),
    (
        "host-header-refused",
        changed(UNIT, names=[UNIT["names"][0], {"host": "mlflow:5001", "api": 403, "health": 200}]),
        changed(CLIENT, names=[{**CLIENT["names"][0], "api": 403}]),
    ),
    (
        "host-header-refused",
        changed(UNIT, names=[UNIT["names"][0], {"host": "mlflow:5001", "api": 403, "health": 200, "host_refused": True}]),
        changed(CLIENT, names=[{**CLIENT["names"][0], "api": 403, "host_refused": True}]),
    ),
    ("request-refused", UNIT, changed(CLIENT, names=[{**CLIENT["names"][0], "api": 403, "host_refused": False}])),
    (
        "request-refused",
        changed(UNIT, names=[{"host": "localhost:5001", "api": 403, "health": 200, "host_refused": False}]),
        changed(CLIENT, names=[{**CLIENT["names"][0], "api": 403, "host_refused": False}]),
    ),
    ("login-refused", changed(UNIT, logs_in=True, names=CLOSED), changed(CLIENT, names=[{**CLIENT["names"][0], "api": 401}])),
    (
        "static-prefix",
        changed(UNIT, names=[{"host": "localhost:5001", "api": 404, "health": 404}], answers_below="/ml"),
        changed(CLIENT, names=[{**CLIENT["names"][0], "api": 404}]),
    ),
    ("name-does-not-resolve", UNIT, changed(CLIENT, names=[{**UNHEARD, "kind": "resolve"}])),
    ("firewall-drop", UNIT, changed(CLIENT, names=[{**UNHEARD, "kind": "timeout"}])),
    ("firewall-drop", changed(UNIT, firewall=["tcp dport 5001 reject"]), changed(CLIENT, names=[UNHEARD])),
    ("s3-unreachable-for-clients", UNIT, changed(CLIENT, s3={"endpoint": "http://127.0.0.1:9000", "error": "connection refused"})),
    (
        "artifact-root-not-served",
        changed(UNIT, artifact_root={"kind": "s3", "where": "s3://mlflow"}),
        changed(CLIENT, s3={"endpoint": "http://minio:9000", "error": "the name does not resolve"}),
    ),
    ("artifact-root-on-clients", changed(UNIT, artifact_root={"kind": "path", "where": "/mlartifacts"}), CLIENT),
    ("api-fails", changed(UNIT, names=[{"host": "localhost:5001", "api": 500, "health": 200}]), changed(CLIENT, names=[{**CLIENT["names"][0], "api": 500}])),
    ("client-cannot-connect", UNIT, changed(CLIENT, names=[UNHEARD])),
    ("client-cannot-connect", UNIT, changed(CLIENT, names=[{**UNHEARD, "kind": "reset", "connected": True}])),
    ("tls-fails", UNIT, changed(CLIENT, names=[{**UNHEARD, "kind": "tls", "connected": True, "error": "TLS failed: self-signed certificate"}])),
    ("not-http", UNIT, changed(CLIENT, names=[{**UNHEARD, "kind": "protocol", "connected": True, "error": "an answer that is not HTTP"}])),
]


@pytest.mark.parametrize(("fault", "server", "client"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_fault_is_named_and_no_other(fault: str, server: dict[str, Any], client: dict[str, Any]) -> None:
    checks = judge.diagnose(WANTED, server, client)
    assert [check.fault for check in checks if check.verdict == "fault"] == [fault], report.table("mlflow", [check.as_dict() for check in checks])


@pytest.mark.parametrize(
    "server",
    [UNIT, CONTAINER, changed(UNIT, **through(200)), changed(CONTAINER, **through(200), published=[])],
    ids=["unit", "container", "behind a proxy", "container behind a proxy"],
)
def test_a_healthy_stack_gives_no_finding(server: dict[str, Any]) -> None:
    checks = judge.diagnose(WANTED, server, CLIENT)
    assert {check.verdict for check in checks} == {"ok"} and len(checks) > 9


def test_a_server_that_asks_for_a_login_that_nobody_gave_is_not_at_fault() -> None:
    checks = judge.diagnose(WANTED, changed(UNIT, logs_in=False, names=CLOSED), changed(CLIENT, names=[{**CLIENT["names"][0], "api": 401}]))
    assert {check.verdict for check in checks} == {"ok", "unknown"}
    assert [check.layer for check in checks if check.verdict == "unknown"] == ["login", "API"]


@pytest.mark.parametrize("kind", ["s3", "other", "shared"])
def test_a_place_of_artifacts_that_clients_may_have_access_to_is_told_and_no_fault(kind: str) -> None:
    seen = changed(CLIENT, s3={"endpoint": "http://s3:9000", "error": ""} if kind == "s3" else None)
    checks = judge.diagnose(WANTED, changed(UNIT, artifact_root={"kind": kind, "where": "s3://mlflow"}), seen)
    assert next(check.seen for check in checks if check.verdict == "unknown").startswith("clients write to s3://mlflow themselves")
    assert [check for check in checks if check.verdict == "fault"] == []


@pytest.mark.parametrize(
    ("argv", "environment", "kind"),
    [
        ([], {}, "served"),
        (["--default-artifact-root", "s3://mlflow"], {}, "s3"),
        (["--default-artifact-root=s3://mlflow/a?x=1", "--artifacts-destination", "s3://b"], {}, "s3"),
        ([], {"MLFLOW_DEFAULT_ARTIFACT_ROOT": "s3://mlflow"}, "s3"),
        (["--default-artifact-root", "mlflow-artifacts:/x"], {}, "served"),
        (["--default-artifact-root", "/mlartifacts"], {}, "path"),
        (["--default-artifact-root", "./mlruns"], {}, "path"),
        (["--default-artifact-root", "file:///mlartifacts"], {}, "path"),
        (["--default-artifact-root", "/mnt/team/ml"], {}, "shared"),
        (["--default-artifact-root", "gs://bucket"], {}, "other"),
        (["--no-serve-artifacts"], {}, "path"),
        ([], {"MLFLOW_SERVE_ARTIFACTS": "false"}, "path"),
    ],
)
def test_where_a_server_sends_its_clients_is_read(argv: list[str], environment: dict[str, str], kind: str, tmp_path: Path) -> None:
    (tmp_path / "mounts").write_text("/dev/vda / ext4 rw 0 0\nnas:/team /mnt/team nfs4 rw 0 0\n")
    found = artifact_root.artifact_root(option(argv, "--default-artifact-root"), argv, environment, tmp_path / "mounts")
    assert found["kind"] == kind and "?" not in found["where"]


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ('connection to server at "127.0.0.1", port 5432 failed: FATAL:  password authentication failed for user "mlflow"', "wrong-password"),
        ('connection to server at "127.0.0.1", port 5432 failed: Connection refused', "down"),
        ("failed to resolve host 'db': [Errno -2] Name or service not known", "unresolved"),
        ('FATAL:  database "nothing" does not exist', "missing"),
        ('FATAL:  no pg_hba.conf entry for host "127.0.0.1", user "mlflow", database "mlflowx", no encryption', "refused"),
        ("connection timeout expired", "down"),
        ("FATAL:  remaining connection slots are reserved for non-replication superuser connections", "no-slots"),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", "no-slots"),
        ("FATAL:  sorry, too many clients already", "no-slots"),
        ('FATAL:  too many connections for role "mlflow"', "no-slots"),
        ('FATAL:  Peer authentication failed for user "mlflow"', "wrong-password"),
        # Of PgBouncer.
        ("FATAL:  SASL authentication failed", "wrong-password"),
        ("FATAL:  login rejected", "refused"),
        ("FATAL:  no authentication method is found", "refused"),
        ("FATAL:  no more connections allowed (max_client_conn)", "no-slots"),
        ("FATAL:  server login has been failing, try again later (server_login_retry)", "down"),
        ("FATAL:  query_wait_timeout", "down"),
        ("permission denied for schema public", "denied"),
        ("permission denied for table alembic_version", "denied"),
        ("relation runs does not exist", "failed"),
    ],
)
def test_what_a_database_says_is_understood(said: str, outcome: str) -> None:
    assert stores.classify_database(said) == outcome


def test_what_s3_says_is_understood() -> None:
    class ClientError(Exception):
        def __init__(self, code: str, status: int = 403) -> None:
            super().__init__(f"An error occurred ({code})")
            self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}

    EndpointConnectionError = type("EndpointConnectionError", (Exception,), {})
    assert stores.classify_s3(ClientError("NoSuchBucket", 404))[0] == "missing"
    assert stores.classify_s3(ClientError("RequestTimeTooSkewed"))[0] == "clock"
    assert stores.classify_s3(ClientError("400", 400))[0] == "wrong-scheme"
    assert stores.classify_s3(Exception("SSL validation failed for https://s3 [SSL: WRONG_VERSION_NUMBER]"))[0] == "wrong-scheme"
    assert stores.classify_s3(EndpointConnectionError("Could not connect"))[0] == "down"
    for name in ("NoCredentialsError", "PartialCredentialsError"):
        assert stores.classify_s3(type(name, (Exception,), {})("Unable to locate credentials"))[0] == "wrong-key"
    for code in ("ExpiredToken", "InvalidToken", "InvalidTokenId"):
        assert stores.classify_s3(ClientError(code, 400))[0] == "wrong-key"
    for said in (
        "self-signed certificate",
        "unable to get local issuer certificate",
        "Hostname mismatch, certificate is not valid for 's3'",
        "certificate has expired",
    ):
        error = Exception(f"SSL validation failed for https://s3:9000/b [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {said} (_ssl.c:1000)")
        assert stores.classify_s3(error)[0] == "untrusted"
    for said in ("hostname '127.0.0.1' doesn't match 'localhost'", "[Errno 2] No such file or directory"):
        assert stores.classify_s3(Exception(f"SSL validation failed for https://s3:9000/b {said}"))[0] == "untrusted"
    assert stores.classify_s3(Exception("SSL validation failed for https://s3 [SSL: TLSV1_ALERT_PROTOCOL_VERSION] tlsv1 alert"))[0] == "failed"


@pytest.mark.parametrize(("setting", "verify"), [("true", False), ("1", False), ("false", None), ("", None)])
def test_an_artifact_store_is_asked_with_as_much_trust_as_the_server_has(setting: str, verify: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    listing = {"ResponseMetadata": {"HTTPHeaders": {}}}
    client = SimpleNamespace(
        list_objects_v2=lambda **_: listing, create_multipart_upload=lambda **_: {"UploadId": "u"}, abort_multipart_upload=lambda **_: None
    )
    boto3 = SimpleNamespace(client=lambda _name, **options: given.update(options) or client)
    config = SimpleNamespace(Config=lambda **_: None)
    for name, module in {"boto3": boto3, "botocore": SimpleNamespace(config=config), "botocore.config": config}.items():
        monkeypatch.setitem(sys.modules, name, module)
    assert stores.ask_s3({"MLFLOW_S3_ENDPOINT_URL": "https://s3", "MLFLOW_S3_IGNORE_TLS": setting}, "b", "")["outcome"] == "ok"
    assert given["verify"] is verify


def test_an_artifact_store_is_found_behind_the_proxy_scheme() -> None:
    assert stores.s3_target({"MLFLOW_ARTIFACTS_DESTINATION": "proxied-s3://b/a/b/"}, "") == ("b", "a/b")
    assert stores.s3_target({}, "/var/lib/mlflow") is None


@pytest.mark.parametrize(("flag", "full"), [(0, True), (os.ST_RDONLY, False), (os.ST_NOSUID, True), (os.ST_RDONLY | os.ST_NOSUID, False)])
def test_an_image_that_is_only_read_is_no_full_disk(flag: int, full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the root of a host that is updated as a whole (composefs, squashfs), which has no free block."""
    room = SimpleNamespace(f_blocks=1000, f_frsize=4096, f_bavail=0, f_files=0, f_favail=0, f_flag=flag)
    monkeypatch.setattr(os, "statvfs", lambda _path: room)
    server = collect.Server(lambda _command: (1, "", ""), {"unit": "x", "container": "x", "port": 5001}, tmp_path)
    checks = judge.diagnose(WANTED, changed(UNIT, disks=server._disks()), CLIENT)
    assert any(check.fault == "disk-full" for check in checks) is full


DATABASE = "The database of the backend store, postgresql+psycopg2://mlflow:***@db:5432/mlflow, did not answer:"
REFUSED = 'connection to server at "10.0.0.5", port 5432 failed:'


@pytest.mark.parametrize(
    ("line", "known"),
    [
        (f"{DATABASE} {REFUSED} Connection refused", "database-down"),
        (f'{DATABASE} {REFUSED} FATAL:  database "mlflow" does not exist', "database-missing"),
        (f'psycopg2.OperationalError: {REFUSED} FATAL:  database "mlflow" does not exist', "database-missing"),
        (f'{DATABASE} {REFUSED} FATAL:  no pg_hba.conf entry for host "10.0.0.9", user "mlflow", database "mlflow"', "database-access-refused"),
        (f'{DATABASE} {REFUSED} FATAL:  password authentication failed for user "mlflow"', "database-wrong-password"),
        (f'{DATABASE} {REFUSED} FATAL:  Peer authentication failed for user "mlflow"', "database-wrong-password"),
        (f"{DATABASE} {REFUSED} FATAL:  SASL authentication failed", "database-wrong-password"),
        (f"{DATABASE} {REFUSED} FATAL:  login rejected", "database-access-refused"),
        (f"{DATABASE} {REFUSED} FATAL:  sorry, too many clients already", "database-connections-exhausted"),
        (f"{DATABASE} {REFUSED} FATAL:  the database system is starting up", "database-down"),
        (f'{DATABASE} could not translate host name "db" to address: Name or service not known', "database-name-unresolved"),
        (f"{DATABASE} [Errno -3] Temporary failure in name resolution", "database-name-unresolved"),
        (f"{DATABASE} connection timeout expired", "database-down"),
        ("The artifact store, bucket mlflow at Amazon S3, did not answer: Unable to locate credentials", "s3-wrong-key"),
        ('The artifact store, bucket mlflow at http://s3:9000, did not answer: Could not connect to the endpoint URL: "http://s3:9000/mlflow"', "s3-down"),
        ('relation "runs" does not exist', None),
        ("Token authentication failed for user ada", None),
    ],
)
def test_the_last_line_of_a_log_is_the_fault_that_it_tells_of(line: str, known: str | None) -> None:
    found = logs.log_fault(f"Starting\n{line}\n")
    assert (found and found["fault"]) == known


def test_no_secret_of_a_log_is_shown() -> None:
    found = logs.log_fault("x\nThe backend store postgresql://u:canary@db/m did not answer: refused")
    assert found and found["fault"] == "database-down" and "canary" not in found["line"]


@pytest.mark.parametrize(
    ("argv", "server"),
    [
        (ARGV, True),
        (["mlflow", "server"], True),
        (["/x/python", "-m", "atlas_mlflow.serve", "server", "--host", "0.0.0.0"], True),
        (["python", "-m", "atlas_mlflow.start", "--", "python", "-m", "atlas_mlflow.serve", "server"], False),
        (["/x/python", "-m", "uvicorn", "--port", "5001", "mlflow.server.fastapi_app:app"], True),
        (["/sbin/docker-init", "--", "python", "-m", "atlas_mlflow.start", "--", "mlflow", "server"], False),
        (["python", "-m", "atlas_mlflow.start", "--", "mlflow", "server"], False),
        (["vi", "mlflow"], False),
    ],
)
def test_a_server_is_known_by_its_arguments(argv: list[str], server: bool) -> None:
    assert find.is_server(argv) is server


def test_the_servers_own_python_is_found_and_no_other_is_taken_for_it(tmp_path: Path) -> None:
    (tmp_path / "python").touch()
    assert collect.find_python(ARGV, "") == "/opt/mlflow/bin/python"
    assert collect.find_python([], f'/bin/bash -c "{tmp_path}/mlflow server\n --host 0.0.0.0"') == f"{tmp_path}/python"
    assert collect.find_python([], "/bin/bash -c 'mlflow server'") == ""


def test_a_configured_command_with_a_line_break_is_read_whole(tmp_path: Path) -> None:
    shown = (
        "MainPID=0\nLoadState=loaded\nActiveState=failed\nSubState=failed\nControlGroup=\n"
        "ExecStart={ path=/bin/bash ; argv[]=/bin/bash -c /x/mlflow server\n --host 0.0.0.0 --port 5001 ; ignore_errors=no ; pid=0 }\nUser=mlflow\n"
    )
    server = collect.Server(
        lambda command: (0, shown, "") if command[0] == "systemctl" else (1, "", ""), {"unit": "x.service", "container": "x", "port": 5001}, tmp_path
    )
    server.find()
    assert (server.facts["kind"], "--port 5001" in server.facts["configured"]) == ("unit", True)
    assert server.facts["log"] == "journalctl -u x.service"


def test_a_configured_command_is_told_without_its_password(tmp_path: Path) -> None:
    shown = json.dumps(
        [
            {
                "Name": "/x",
                "State": {"Status": "exited", "Pid": 0},
                "NetworkSettings": {},
                "Config": {"Cmd": ["mlflow", "server", "--backend-store-uri", "postgresql://u:canary@db/m"]},
            }
        ]
    )
    server = collect.Server(lambda command: (0, shown, "") if command[0] == "docker" else (1, "", ""), {"unit": "x", "container": "x", "port": 5001}, tmp_path)
    server.find()
    assert server.facts["kind"] == "container" and server.facts["configured"].endswith("postgresql://***@db/m")
    assert server.facts["log"] == "docker logs x"


def test_settings_of_a_unit_are_read_as_systemd_reads_them() -> None:
    assert parse_environment_file('# no\nA="x \\"y\\" \\$z"\nB=plain\n') == {"A": 'x "y" $z', "B": "plain"}


def test_files_written_after_the_start_are_found(tmp_path: Path) -> None:
    (tmp_path / "new").write_text("")
    now = (tmp_path / "new").stat().st_mtime
    assert collect.newer_files([str(tmp_path / "new"), str(tmp_path / "none")], now - 10) == [str(tmp_path / "new")]
    assert collect.newer_files([str(tmp_path / "new")], now) == []


@pytest.mark.parametrize(("log", "told"), [("podman logs mlflow", "See what podman logs mlflow says"), ("", "See what the server's log says")])
def test_a_server_that_does_not_run_is_told_with_what_shows_its_log(log: str, told: str) -> None:
    (found,) = (check.found for check in judge.diagnose(WANTED, changed(UNIT, **NOT_RUNNING, log=log)) if check.verdict == "fault")
    assert found and found.id == "server-not-running" and found.fix.startswith(told)


def test_all_refused_names_are_told_with_what_lets_them_in() -> None:
    names = [{"host": host, "api": 403, "health": 200} for host in ("mlflow:5001", "[::1]:5001", "ml.example")]
    (found,) = (check.found for check in judge.diagnose(WANTED, changed(UNIT, names=names)) if check.verdict == "fault")
    assert found and "'mlflow:5001' and '[::1]:5001' and 'ml.example'" in found.cause
    assert "Add 'mlflow' and 'mlflow:*' and '[::1]' and '[::1]:*' and 'ml.example' and 'ml.example:*' to" in found.fix


def test_a_report_shows_cause_and_fix_and_escapes_what_was_seen() -> None:
    checks = [check.as_dict() for check in judge.diagnose(WANTED, changed(UNIT, stale=["<script>"]), CLIENT)]
    text = "\n".join(report.table("mlflow", checks))
    assert text.startswith("mlflow: 1 fault: stale-service.") and "Fix: systemctl daemon-reload" in text
    page = report.page({"mlflow": checks}, "today")
    assert "<script>" not in page and "&lt;script&gt;" in page and not re.search(r"(src|href)=", page)
    json.dumps(checks)


def test_all_files_of_a_units_environment_are_read(tmp_path: Path) -> None:
    (tmp_path / "first").write_text('MLFLOW_S3_ENDPOINT_URL="http://s3:9000"\nAWS_ACCESS_KEY_ID="old"\n')
    (tmp_path / "second").write_text("AWS_ACCESS_KEY_ID=new\n")
    shown = f"MainPID=0\nLoadState=loaded\nActiveState=failed\nEnvironmentFiles={tmp_path}/first (ignore_errors=no)\nEnvironmentFiles={tmp_path}/second (ignore_errors=no)\n"
    server = collect.Server(
        lambda command: (0, shown, "") if command[0] == "systemctl" else (1, "", ""), {"unit": "x.service", "container": "x", "port": 5001}, tmp_path
    )
    server.find()
    assert server._settings({}) == {"MLFLOW_S3_ENDPOINT_URL": "http://s3:9000", "AWS_ACCESS_KEY_ID": "new"}
