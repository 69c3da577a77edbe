"""Which stores move, and what prevents it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.atlas.mlflow.plugins.filter.moves import move_conflicts, space_faults, store_moves, take_over, take_over_record

GROUPS = {"mlflow_servers": ["app"], "postgres": ["db"], "minio": ["db"]}
HOSTS: dict[str, dict[str, Any]] = {host: {"inventory_hostname": host, "atlas_mlflow_names": [host]} for host in ("app", "db")}
FOLDER = {"kind": "folder", "host": "", "port": "", "name": "/data/artifacts"}
WANTED = {
    "backend": "postgresql+psycopg2://mlflow@db:5432/mlflow",
    "registry": "",
    "artifacts": "s3://mlflow",
    "endpoint": "http://db:9000",
    "users": "postgresql+psycopg2://mlflow@db:5432/mlflow_auth",
    "login": "basic",
    "deployment": "systemd",
}


def sqlite(name: str, **more: str) -> dict[str, str]:
    return {"kind": "sqlite", "host": "", "port": "", "name": f"/data/{name}.db", **more}


def served(**stores: dict[str, str]) -> dict[str, Any]:
    """Return what the host has: the embedded stores, or others."""
    return {"stores": {"backend": sqlite("mlflow"), "registry": sqlite("mlflow"), "artifacts": FOLDER, "users": sqlite("auth", login="basic"), **stores}}


def moves(section: dict[str, Any], **wanted: str) -> dict[str, Any]:
    return store_moves(section, {**WANTED, **wanted}, HOSTS, GROUPS, "app")


def test_the_embedded_stores_move_together() -> None:
    assert moves(served()) == {
        "stores": {"backend": "/data/mlflow.db", "artifacts": "/data/artifacts", "users": "/data/auth.db"},
        "lines": [
            "The backend store: from the file /data/mlflow.db to the postgresql database mlflow on db",
            "The artifact store: from the folder /data/artifacts to the bucket mlflow on db",
            "The store of users: from the file /data/auth.db to the postgresql database mlflow_auth on db",
        ],
        "faults": [],
        "serves": True,
        "buckets": [],
        "foreign": False,
    }


def test_artifacts_move_alone() -> None:
    found = moves(served(), backend="sqlite:////data/mlflow.db", users="sqlite:////data/auth.db")
    assert (found["stores"], found["faults"]) == ({"artifacts": "/data/artifacts"}, [])


def test_nothing_moves_from_a_host_without_a_server_or_with_these_stores() -> None:
    nothing = {"stores": {}, "lines": [], "faults": [], "serves": False, "buckets": [], "foreign": False}
    assert moves({}) == nothing
    nothing["serves"] = True
    assert moves(served(), backend="sqlite:////data/mlflow.db", users="sqlite:////data/auth.db", artifacts="/data/artifacts", deployment="container") == nothing


@pytest.mark.parametrize(
    ("section", "wanted", "parts"),
    [
        (served(artifacts={"kind": "gs", "host": "", "port": "", "name": "theirs"}), {}, ["artifact store, the gs", "bucket to S3, and nothing"]),
        (served(), {"artifacts": "/other"}, ["the folder /data/artifacts, for the folder /other"]),
        (served(), {"registry": "postgresql+psycopg2://m@db/registry"}, ["registry store, the file /data/mlflow.db, for the postgresql database registry"]),
        (served(), {"login": "oidc"}, ["mlflow_server_auth of app would change from basic to oidc"]),
        (served(users={}), {}, ["mlflow_server_auth of app would change from none to basic"]),
        (served(), {"users": "sqlite:////data/auth.db"}, ["The backend store of app would move, and the store of users would stay."]),
        (served(), {"backend": "sqlite:////data/mlflow.db"}, ["The store of users of app would move, and the backend store would stay."]),
        (served(), {"deployment": "container"}, ["app runs the tracking server in a container", "mlflow_server_deployment to systemd"]),
    ],
)
def test_what_cannot_move_is_refused_with_the_way_out(section: dict[str, Any], wanted: dict[str, str], parts: list[str]) -> None:
    [fault] = moves(section, **wanted)["faults"]
    assert [part for part in parts if part not in fault] == []


def bucket(host: str, port: str = "9000") -> dict[str, Any]:
    """Return what a host has that serves a bucket and a database on the host db."""
    stores = {"backend": {"kind": "postgresql", "host": "db", "port": "5432", "name": "mlflow"}, "users": {}}
    return served(**{**stores, "registry": stores["backend"], "artifacts": {"kind": "s3", "host": host, "port": port, "name": "mlflow/runs"}})


def test_a_bucket_moves_to_the_pool_that_takes_its_place() -> None:
    groups = {**GROUPS, "minio": ["m1", "m2", "m3", "m4"], "haproxy": ["app"]}
    hosts = {**HOSTS, **{name: {"inventory_hostname": name} for name in groups["minio"]}}
    wanted = {**WANTED, "users": "", "login": "none", "endpoint": "http://app:9010"}
    for former in ("former", "127.0.0.1", "db"):
        found = store_moves(bucket(former), wanted, hosts, groups, "app")
        assert (found["stores"], found["faults"]) == ({"artifacts": "s3://mlflow/runs"}, [])
    # The proxy of the pool is on the host of the former MinIO.
    same = store_moves(bucket("db"), {**wanted, "endpoint": "http://db:9010", "artifacts": "s3://mlflow/runs"}, hosts, groups, "app")
    assert same["lines"] == ["The artifact store: from the bucket mlflow/runs on db:9000 to the bucket mlflow/runs on db:9010"]


@pytest.mark.parametrize(("former", "buckets"), [("m1", ["mlflow"]), ("app", ["mlflow"]), ("old", [])])
def test_a_former_bucket_of_the_same_minio_stays_open(former: str, buckets: list[str]) -> None:
    groups = {**GROUPS, "minio": ["m1", "m2", "m3", "m4"], "haproxy": ["app"]}
    hosts = {**HOSTS, **{name: {"inventory_hostname": name} for name in groups["minio"]}}
    wanted = {**WANTED, "users": "", "login": "none", "endpoint": "http://app:9000", "artifacts": "s3://moved"}
    found = store_moves(bucket(former), wanted, hosts, groups, "app")
    assert (found["stores"], found["buckets"]) == ({"artifacts": "s3://mlflow/runs"}, buckets)


def test_several_servers_leave_one_bucket_together() -> None:
    old, other, new = (store_moves(bucket(host), {**WANTED, "users": "", "login": "none"}, HOSTS, GROUPS, "app") for host in ("old", "other", "db"))
    new = {**new, "stores": {}, "lines": []}
    unset = {**new, "serves": False}
    assert move_conflicts({"a": old, "b": old, "new": unset}) == move_conflicts({"a": new, "b": new}) == []
    assert "a and b would leave different stores" in move_conflicts({"a": old, "b": other})[0]
    assert "b already serves the stores in the settings, and a other ones" in move_conflicts({"a": old, "b": new})[0]
    embedded = moves(served())
    assert "a and b have stores of their own" in move_conflicts({"a": embedded, "b": embedded})[0]
    assert move_conflicts({"a": embedded, "b": unset}) == []


THEIRS = {
    "backend_store_uri": "postgresql+psycopg2://them:canary@old.example:6432/theirs",
    "artifacts": "s3://theirs/runs",
    "s3_endpoint_url": "http://s3.example",
}
NO_USERS = {**WANTED, "users": "", "login": "none"}


def test_a_server_of_others_is_taken_over_once() -> None:
    found = take_over({}, THEIRS, NO_USERS, True, "app")
    assert found["lines"] == [
        "The backend store: from the postgresql database theirs on old.example:6432, which others have set up, to the postgresql database mlflow on db:5432",
        "The artifact store: from the bucket theirs/runs on s3.example, which others have set up, to the bucket mlflow on db:9000",
    ]
    assert found["stores"].keys() == {"backend", "artifacts"} and found["foreign"] and not found["faults"] and "canary" not in str(found)
    ours = bucket("db")
    assert take_over({}, THEIRS, NO_USERS, False, "other")["stores"] == {}
    assert take_over(ours, THEIRS, NO_USERS, True, "app", take_over_record(found, True))["stores"] == {}
    # After a failure, the stores of the server are copies.
    assert take_over(ours, THEIRS, NO_USERS, True, "app", take_over_record(found, False))["lines"] == found["lines"]
    files = take_over(
        {}, {"backend_store_uri": "sqlite:////srv/m.db", "auth_store_uri": "sqlite:////srv/auth.db", "artifacts": "file:///srv/a/"}, WANTED, True, "app"
    )
    assert (files["stores"], files["faults"]) == ({"backend": "/srv/m.db", "users": "/srv/auth.db", "artifacts": "/srv/a"}, [])


@pytest.mark.parametrize(
    ("section", "given", "wanted", "part"),
    [
        (served(), {}, {}, "app has a tracking server with stores of its own"),
        ({}, {"backend_store_uri": "mysql+pymysql://them:canary@db/theirs"}, {}, "is a database of mysql, whose driver is in no release's lock"),
        ({}, {"backend_store_uri": "sqlite:///relative.db"}, {}, "Set sqlite:////PATH or"),
        ({}, {"backend_store_uri": "./mlruns"}, {}, "backend_store_uri of mlflow_server_take_over cannot be taken over. Set sqlite"),
        ({}, {"backend_store_uri": None}, {}, "backend_store_uri of mlflow_server_take_over cannot be taken over. Set sqlite"),
        ({}, {"artifacts": None}, {}, "Set the absolute path of a folder or s3://BUCKET/PREFIX"),
        ({}, {"artifacts": "mlruns"}, {}, "Set the absolute path of a folder or s3://BUCKET/PREFIX"),
        ({}, {"auth_store_uri": "sqlite:////srv/auth.db"}, {"users": WANTED["users"], "login": "oidc"}, "mlflow_server_auth of app is oidc"),
        ({}, {}, {"deployment": "container"}, "Set mlflow_server_deployment to systemd"),
        ({}, {}, {"backend": "sqlite:////data/mlflow.db"}, "the backend store would be the file /data/mlflow.db. Put hosts in the groups postgres and minio"),
        ({}, {}, {"artifacts": "/data/artifacts"}, "the artifact store would be the folder /data/artifacts"),
    ],
)
def test_what_cannot_be_taken_over_is_refused(section: dict[str, Any], given: dict[str, str], wanted: dict[str, str], part: str) -> None:
    [fault] = take_over(section, {**THEIRS, **given}, {**NO_USERS, **wanted}, True, "app")["faults"]
    assert part in fault and "canary" not in fault


def space(*lines: str) -> dict[str, Any]:
    return {"hosts": [f"host{number}" for number in range(len(lines))], "df": [{"stdout_lines": ["Avail Mounted on", line]} for line in lines]}


def test_what_moves_to_one_file_system_is_added() -> None:
    sizes = {"backend": f"{100 * 2**20} /data/mlflow.db", "users": "", "artifacts": f"{100 * 2**20} /data/artifacts"}
    roomy, tight, other = space(f"{520 * 2**20} /"), space(f"{500 * 2**20} /"), space(f"{500 * 2**20} /my disk")
    assert space_faults(sizes, {"postgresql": roomy, "s3": roomy}) == []
    assert space_faults(sizes, {"postgresql": tight, "s3": tight}) == [
        "host0 has 500 MiB free in /, and what moves there needs about 510 MiB. Make room, and run the playbook again."
    ]
    assert space_faults(sizes, {"postgresql": tight, "s3": other}) == []
    assert "99 MiB free in /my disk" in space_faults(sizes, {"postgresql": tight, "s3": space(f"{99 * 2**20} /my disk")})[0]


def test_a_store_on_several_hosts_or_outside_of_the_inventory_is_not_judged() -> None:
    sizes = {"backend": "1000 /data/mlflow.db", "artifacts": "1000 /data/artifacts"}
    assert space_faults(sizes, {"postgresql": space(), "s3": space("1 /", "1 /")}) == []
