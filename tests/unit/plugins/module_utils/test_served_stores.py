"""What a tracking server stores is in its backup, or is named: nothing is passed over, and no password is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.atlas.mlflow.plugins.filter.backup import backup_plan
from ansible_collections.atlas.mlflow.plugins.filter.systemd import systemd_environment
from ansible_collections.atlas.mlflow.plugins.module_utils import served_stores
from ansible_collections.atlas.mlflow.plugins.module_utils.served_stores import Here, make_plan, own_places, read_database, read_host, read_stores

POSTGRES = "postgresql+psycopg2://mlflow:canary%40secret@10.0.0.7:5432/mlflow?connect_timeout=10"
PLAIN = {"MLFLOW_BACKEND_STORE_URI": "sqlite:////var/lib/mlflow/tracking.db", "MLFLOW_ARTIFACTS_DESTINATION": "/var/lib/mlflow/artifacts"}
ON_POSTGRES = {"MLFLOW_BACKEND_STORE_URI": POSTGRES, "MLFLOW_ARTIFACTS_DESTINATION": "proxied-s3://mlflow", "MLFLOW_S3_ENDPOINT_URL": "http://10.0.0.8:9000"}
ONE = Here("one")
#: A member of a cluster, and the place of the cluster as a tracking server has it.
MEMBER = Here("b", ["b", "10.0.0.8", "10.0.0.7", "10.0.0.9"], ["5432"])
CLUSTER = "postgresql+psycopg2://mlflow:canary@/mlflow?host=10.0.0.7,10.0.0.8,10.0.0.9&port=5432,5432,5432&target_session_attrs=read-write"
DB = Here("db", ["db", "10.0.0.7"], ["5432"], "mlflow", "http://10.0.0.8:9000", ["store", "10.0.0.8", "atlas-minio"])


def users(uri: str) -> str:
    """Return what the application of users reads."""
    return f"[mlflow]\ndatabase_uri = {uri.replace('%', '%%')}\nadmin_username = admin\nadmin_password = canary-secret\n"


@pytest.mark.parametrize(
    ("uri", "store"),
    [
        ("sqlite:////var/lib/mlflow/mlflow.db", {"kind": "sqlite", "path": "/var/lib/mlflow/mlflow.db"}),
        ("sqlite:////srv/a.db?timeout=30", {"kind": "sqlite", "path": "/srv/a.db"}),
        ("sqlite:///mlflow.db", {"kind": "sqlite", "path": "mlflow.db"}),
        (POSTGRES, {"kind": "postgresql", "host": "10.0.0.7", "port": "5432", "database": "mlflow"}),
        (
            "postgresql+psycopg2://u:p@/m?host=/var/run/postgresql&port=5433",
            {"kind": "postgresql", "host": "/var/run/postgresql", "port": "5433", "database": "m"},
        ),
        ("postgresql+psycopg2://u:p@[fd00::7]:5432/m", {"kind": "postgresql", "host": "fd00::7", "port": "5432", "database": "m"}),
        ("mysql+pymysql://u:canary@db/m", {"kind": "other", "what": "mysql+pymysql://db/m"}),
        # A password that is not percent-encoded: what SQLAlchemy does not understand is not repeated.
        ("postgresql+psycopg2://m:Red@canary321#@127.0.0.1/m", {"kind": "other", "what": "postgresql+psycopg2://..."}),
        ("postgresql+psycopg2://m:Se/canary@127.0.0.1/m", {"kind": "postgresql", "host": "127.0.0.1", "port": "5432", "database": "m"}),
    ],
)
def test_a_uri_is_read_as_sqlalchemy_reads_it_without_its_password(uri: str, store: dict[str, Any]) -> None:
    assert read_database(uri) == store
    assert "canary" not in str(read_database(uri))


@pytest.mark.parametrize("container", [False, True])
def test_the_settings_of_a_service_and_of_a_container_are_read(tmp_path: Path, container: bool) -> None:
    password = 'a"b\\c$d`e'
    environment = {**ON_POSTGRES, "MLFLOW_REGISTRY_STORE_URI": f"postgresql+psycopg2://u:{password}@other/registry"}
    folder = tmp_path / "etc/atlas-mlflow"
    folder.mkdir(parents=True)
    (folder / "mlflow-auth.ini").write_text(users("sqlite:////var/lib/mlflow/auth.db"))
    if container:
        environment["MLFLOW_AUTH_CONFIG_PATH"] = "/run/secrets/mlflow-auth.ini"
        (folder / "mlflow-server.json").write_text(json.dumps(environment))
    else:
        environment["MLFLOW_AUTH_CONFIG_PATH"] = "/etc/atlas-mlflow/mlflow-auth.ini"
        (tmp_path / "etc/default").mkdir()
        (tmp_path / "etc/default/mlflow-server").write_text(systemd_environment(environment))
    assert read_host(tmp_path) == {
        "backend": {"kind": "postgresql", "host": "10.0.0.7", "port": "5432", "database": "mlflow"},
        "registry": {"kind": "postgresql", "host": "other", "port": "5432", "database": "registry"},
        "users": {"kind": "sqlite", "path": "/var/lib/mlflow/auth.db"},
        "artifacts": {"kind": "s3", "place": "mlflow", "endpoint": "http://10.0.0.8:9000"},
    }
    assert read_host(tmp_path / "etc") is None


def test_what_the_service_has_is_taken() -> None:
    plan = make_plan({"one": read_stores({**PLAIN, "MLFLOW_REGISTRY_STORE_URI": "sqlite:////srv/registry.db"}, users("sqlite:////srv/auth.db"))}, ONE)
    assert plan.files == {"backend": "/var/lib/mlflow/tracking.db", "registry": "/srv/registry.db", "users": "/srv/auth.db"}
    assert (plan.folder, plan.faults) == ("/var/lib/mlflow/artifacts", [])
    stores = read_stores({**ON_POSTGRES, "MLFLOW_REGISTRY_STORE_URI": POSTGRES}, users(POSTGRES.replace("/mlflow?", "/mlflow_auth?")))
    plan = make_plan({"app1": stores, "app2": stores}, DB)
    assert (plan.databases, plan.files, plan.faults) == ({"backend": "mlflow", "users": "mlflow_auth"}, {}, [])


SQLITE_ELSEWHERE = {**ON_POSTGRES, "MLFLOW_REGISTRY_STORE_URI": "sqlite:////srv/registry.db"}


@pytest.mark.parametrize(
    ("servers", "here", "said"),
    [
        ({"one": None}, ONE, ["one has no settings of a tracking server", "Run site.yml"]),
        ({"one": read_stores({**PLAIN, "MLFLOW_BACKEND_STORE_URI": "sqlite:///mlflow.db"})}, ONE, ["no absolute path", "mlflow_server_backend_store_uri"]),
        (
            {"one": read_stores({**PLAIN, "MLFLOW_BACKEND_STORE_URI": "mssql+pyodbc://u:canary@h/m"})},
            ONE,
            ["neither SQLite nor PostgreSQL", "mssql+pyodbc://h/m"],
        ),
        # A registry store of its own, and users' stores elsewhere.
        ({"one": read_stores({**PLAIN, "MLFLOW_REGISTRY_STORE_URI": POSTGRES})}, ONE, ["registry store of one", "10.0.0.7:5432", "MLFLOW_REGISTRY_STORE_URI"]),
        ({"app": read_stores(SQLITE_ELSEWHERE)}, DB, ["registry store of app is the file /srv/registry.db of that host", "made on db"]),
        (
            {"app": read_stores(ON_POSTGRES, users(POSTGRES.replace("10.0.0.7", "10.0.0.9")))},
            DB,
            ["store of users of app", "10.0.0.9", "mlflow_server_auth_store_uri"],
        ),
        (
            {"app": read_stores({**ON_POSTGRES, "MLFLOW_BACKEND_STORE_URI": POSTGRES.replace(":5432", ":6432")})},
            DB,
            ["10.0.0.7:6432", "which is not the PostgreSQL"],
        ),
        # A host that is not of the cluster, and another port.
        (
            {"app": read_stores({"MLFLOW_BACKEND_STORE_URI": CLUSTER.replace("10.0.0.9", "10.0.0.5"), "MLFLOW_ARTIFACTS_DESTINATION": "gs://x"})},
            Here(**{**MEMBER.__dict__, "elsewhere": ["gs://x"]}),
            ["10.0.0.7,10.0.0.8,10.0.0.5", "which is not the PostgreSQL of b"],
        ),
        (
            {"app": read_stores({"MLFLOW_BACKEND_STORE_URI": CLUSTER.replace(",5432&", ",6432&"), "MLFLOW_ARTIFACTS_DESTINATION": "gs://x"})},
            Here(**{**MEMBER.__dict__, "elsewhere": ["gs://x"]}),
            ["5432,5432,6432", "which is not the PostgreSQL of b"],
        ),
        # Loopback is the tracking server's own host.
        ({"app": read_stores({**ON_POSTGRES, "MLFLOW_BACKEND_STORE_URI": POSTGRES.replace("10.0.0.7", "localhost")})}, DB, ["localhost:5432"]),
        (
            {"app": read_stores(ON_POSTGRES), "two": read_stores({**ON_POSTGRES, "MLFLOW_BACKEND_STORE_URI": POSTGRES.replace("/mlflow?", "/other?")})},
            DB,
            ["alike"],
        ),
        # Artifacts in another folder, bucket or service.
        ({"app": read_stores({**ON_POSTGRES, "MLFLOW_ARTIFACTS_DESTINATION": "/srv/mlartifacts"})}, DB, ["folder /srv/mlartifacts of that host", "made on db"]),
        ({"db": read_stores({**ON_POSTGRES, "MLFLOW_ARTIFACTS_DESTINATION": "/srv/mlartifacts"})}, DB, ["/srv/mlartifacts", "the bucket mlflow"]),
        ({"app": read_stores({**ON_POSTGRES, "MLFLOW_ARTIFACTS_DESTINATION": "proxied-s3://other/x"})}, DB, ["s3://other/x", "the bucket mlflow"]),
        ({"app": read_stores({**ON_POSTGRES, "MLFLOW_ARTIFACTS_DESTINATION": "s3://mlflow2"})}, DB, ["s3://mlflow2"]),
        ({"app": read_stores({**ON_POSTGRES, "MLFLOW_S3_ENDPOINT_URL": "https://s3.example.com"})}, DB, ["https://s3.example.com", "http://10.0.0.8:9000"]),
        ({"app": read_stores({**ON_POSTGRES, "MLFLOW_ARTIFACTS_DESTINATION": "gs://team/x"})}, DB, ["gs://team/x", "backup_artifacts_elsewhere"]),
    ],
)
def test_what_holds_data_and_is_not_taken_is_named(servers: dict[str, Any], here: Here, said: list[str]) -> None:
    faults = make_plan(servers, here).faults
    assert len(faults) == 1 and all(words in faults[0] for words in said), faults
    assert "canary" not in faults[0]


@pytest.mark.parametrize(
    ("servers", "here"),
    [
        ({"db": read_stores({**ON_POSTGRES, "MLFLOW_BACKEND_STORE_URI": POSTGRES.replace("10.0.0.7", "127.0.0.1")})}, DB),
        ({"db": read_stores({**ON_POSTGRES, "MLFLOW_BACKEND_STORE_URI": "postgresql+psycopg2://u:p@/mlflow?host=/var/run/postgresql&port=5432"})}, DB),
        ({"store": read_stores({**ON_POSTGRES, "MLFLOW_S3_ENDPOINT_URL": "http://127.0.0.1:9000"})}, DB),
        (
            {"app": read_stores({"MLFLOW_BACKEND_STORE_URI": CLUSTER, "MLFLOW_ARTIFACTS_DESTINATION": "gs://x"})},
            Here(**{**MEMBER.__dict__, "elsewhere": ["gs://x"]}),
        ),
        ({"app": read_stores({**ON_POSTGRES, "MLFLOW_ARTIFACTS_DESTINATION": "proxied-s3://mlflow/team"})}, DB),
        ({"app": read_stores({**ON_POSTGRES, "MLFLOW_ARTIFACTS_DESTINATION": "gs://team/x"})}, Here(**{**DB.__dict__, "elsewhere": ["gs://team/"]})),
    ],
)
def test_what_is_the_same_by_another_name_is_taken(servers: dict[str, Any], here: Here) -> None:
    assert make_plan(servers, here).faults == []


@pytest.mark.parametrize(
    ("location", "own"),
    [
        ("mlflow-artifacts:/1/abc/artifacts", True),
        ("models:/m-1", True),
        ("/var/lib/mlflow/artifacts/1", True),
        ("file:///var/lib/mlflow/artifacts", True),
        ("/var/lib/mlflow/artifacts2/1", False),
        ("mlflow-artifacts://other:5001/1", False),
        ("s3://mlflow/1", False),
        ("mlruns/0", False),
        ("/app/mlruns/0", False),
        ("gs://nowhere/x", False),
    ],
)
def test_an_experiment_whose_artifacts_are_elsewhere_is_known_by_its_place(location: str, own: bool) -> None:
    assert served_stores.is_own(location, own_places(read_stores(PLAIN)["artifacts"])) is own


def test_the_filter_takes_what_ansible_gives() -> None:
    """Text for a number, an empty result for a host without a server, and empty names among the addresses."""
    here = {"name": "db", "addresses": ["10.0.0.7", ""], "postgres_ports": [5432, ""], "bucket": "mlflow", "endpoint": "", "minio": [], "elsewhere": []}
    plan = backup_plan({"app": read_stores({**ON_POSTGRES, "MLFLOW_S3_ENDPOINT_URL": ""}), "new": {}}, here)
    assert plan["databases"] == {"backend": "mlflow"} and "s3://mlflow/" in plan["places"]
    assert [fault.split()[0] for fault in plan["faults"]] == ["new"]
