"""What a host tells of its stack without telling a secret, and what a control node may then do with it."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.atlas.mlflow.plugins.filter.minio import minio_pools
from ansible_collections.atlas.mlflow.plugins.filter.stack import kept_of_stack, rotations_under_way, second_logins, secret_faults, secrets_of_inventory
from ansible_collections.atlas.mlflow.plugins.filter.systemd import systemd_argv, systemd_environment
from ansible_collections.atlas.mlflow.plugins.module_utils import stack
from ansible_collections.atlas.mlflow.plugins.plugin_utils.stores import store_changes

FOLDER = "/srv/minio of $team 100%"
PASSWORD = 'p@ss/w"o$rd:canary'
GROUPS = {"mlflow_servers": ["server"], "postgres": ["db"], "minio": ["store"]}


@pytest.fixture(autouse=True)
def _cheap_fingerprints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute fingerprints with little work. What takes long for who guesses secrets takes long for the tests as well."""
    scrypt = hashlib.scrypt

    def cheap(secret: bytes, *, n: int, **given: Any) -> bytes:
        assert n >= 2**13, "a fingerprint takes too little work"
        return scrypt(secret, n=2, **given)

    monkeypatch.setattr(hashlib, "scrypt", cheap)


def write(root: Path, **files: str) -> None:
    """Write settings as the roles do."""
    paths = {"default": "etc/default/mlflow-server", "json": "etc/atlas-mlflow/mlflow-server.json", "ini": "etc/atlas-mlflow/mlflow-auth.ini"}
    paths |= {"minio": "etc/default/minio", "unit": "etc/systemd/system/minio.service", "superuser": "etc/atlas-mlflow/postgres/password"}
    paths |= {"backup": "etc/atlas-mlflow/backup.json", "kept": stack.KEPT, "pools": stack.MINIO_POOLS}
    for name, text in files.items():
        path = root / paths[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


ENVIRONMENT = {
    "MLFLOW_BACKEND_STORE_URI": "postgresql+psycopg2://mlflow:p%40ss%2Fw%22o%24rd%3Acanary@10.0.0.7:5432/mlflow?connect_timeout=10",
    "MLFLOW_ARTIFACTS_DESTINATION": "proxied-s3://mlflow/team",
    "MLFLOW_S3_ENDPOINT_URL": "http://10.0.0.8:9000",
    "AWS_ACCESS_KEY_ID": "mlflow-rotation",
    "AWS_SECRET_ACCESS_KEY": PASSWORD,
    "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": "k" * 42 + "A=",
}


@pytest.mark.parametrize("deployment", ["default", "json"])
def test_a_server_tells_its_stores_and_no_secret(tmp_path: Path, deployment: str) -> None:
    text = systemd_environment(ENVIRONMENT) if deployment == "default" else json.dumps(ENVIRONMENT)
    ini = "[mlflow]\ndatabase_uri = postgresql+psycopg2://mlflow:x@/mlflow_auth?host=/var/run/postgresql\nadmin_password = 100%%canary\napp = basic\n"
    write(
        tmp_path,
        **{deployment: text},
        ini=ini,
        minio='MINIO_ROOT_PASSWORD="root-canary"\n',
        unit=f"[Service]\nExecStart={systemd_argv(['/opt/minio', 'server', '--address', ':9000', FOLDER])}\nRestart=always\n",
        superuser="super-canary",
        backup='{"repository": "/var/backups/x", "passphrase": "pass-canary"}',
    )
    found = stack.read_stack(tmp_path)
    assert "canary" not in json.dumps(found)
    assert found["mlflow_server"]["stores"] == {
        "backend": {"kind": "postgresql", "host": "10.0.0.7", "port": "5432", "name": "mlflow"},
        "registry": {"kind": "postgresql", "host": "10.0.0.7", "port": "5432", "name": "mlflow"},
        "artifacts": {"kind": "s3", "host": "10.0.0.8", "port": "9000", "name": "mlflow/team"},
        "users": {"kind": "postgresql", "host": "", "port": "", "name": "mlflow_auth", "login": "basic"},
    }
    assert found["mlflow_server"]["logins"] == {"postgres_password": "mlflow", "minio_secret_key": "mlflow-rotation"}
    marks = {name: mark for section in found.values() for name, mark in section["secrets"].items()}
    secrets = {"postgres_password": PASSWORD, "minio_secret_key": PASSWORD, "mlflow_webhook_key": "k" * 42, "mlflow_admin_password": "100%canary"}
    secrets |= {"minio_root_password": "root-canary", "postgres_superuser_password": "super-canary", "backup_passphrase": "pass-canary"}
    assert sorted(marks) == sorted(secrets)
    assert [name for name, secret in secrets.items() if not stack.matches(secret, marks[name]) or stack.matches(secret + "x", marks[name])] == []
    assert found["minio"]["folder"] == FOLDER and found["backup"]["repository"] == "/var/backups/x"
    assert found["backup"]["of_cluster"] is False
    write(tmp_path, backup='{"repository": "s3://kept", "passphrase": "p", "postgres": {"member": "db1"}}')
    assert stack.read_stack(tmp_path)["backup"]["of_cluster"] is True


def test_a_service_tells_the_number_of_its_user(tmp_path: Path) -> None:
    """The user of a unit, or the owner of the settings of a container."""
    own = str(os.getuid())
    (name,) = {user.pw_name for user in pwd.getpwall() if user.pw_uid == 1}
    units = tmp_path / "etc/systemd/system"
    for path, text in (("etc/default/mlflow-server", systemd_environment(ENVIRONMENT)), ("etc/default/minio", ""), ("etc/atlas-mlflow/postgres/password", "p")):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    found = stack.read_stack(tmp_path)
    assert [found[role]["uid"] for role in ("mlflow_server", "minio", "postgres")] == ["", "", own]
    units.mkdir(parents=True)
    (units / "mlflow-server.service").write_text(f"[Service]\nUser={name}\nGroup={name}\n")
    (units / "minio.service").write_text("[Service]\nUser=nobody-has-this-name\n")
    found = stack.read_stack(tmp_path)
    assert [found[role]["uid"] for role in ("mlflow_server", "minio")] == ["1", ""]
    assert kept_of_stack(found, [])["mlflow_server"]["uid"] == "1"
    (tmp_path / "etc/default/mlflow-server").unlink()
    (tmp_path / "etc/default/minio").unlink()
    (tmp_path / "etc/atlas-mlflow/mlflow-server.json").write_text(json.dumps(ENVIRONMENT))
    (tmp_path / "etc/atlas-mlflow/minio.env").write_text("")
    found = stack.read_stack(tmp_path)
    assert [found[role]["uid"] for role in ("mlflow_server", "minio")] == [own, own]


def test_a_server_tells_the_release_that_a_verification_has_seen(tmp_path: Path) -> None:
    write(tmp_path, json=json.dumps(ENVIRONMENT))
    assert stack.read_stack(tmp_path)["mlflow_server"]["release"] == ""
    record = {"at": "2026-05-04T00:00:00+00:00", "made": 1, "experiments": 0, "more": False, "some": {}}
    for known, release in (({}, ""), ({"release": "3.10.1"}, "3.10.1")):
        (tmp_path / stack.SEEN).write_text(json.dumps({**record, **known}))
        assert stack.read_stack(tmp_path)["mlflow_server"]["release"] == release


@pytest.mark.parametrize("deployment", ["default", "json"])
@pytest.mark.parametrize(("environment", "told"), [({}, False), ({"MLFLOW_ENABLE_WORKSPACES": True}, True), ({"MLFLOW_ENABLE_WORKSPACES": False}, False)])
def test_a_server_tells_whether_it_has_workspaces(tmp_path: Path, deployment: str, environment: dict[str, bool], told: bool) -> None:
    given = {**ENVIRONMENT, **environment}
    write(tmp_path, **{deployment: systemd_environment(given) if deployment == "default" else json.dumps(given)})
    assert stack.read_stack(tmp_path)["mlflow_server"]["workspaces"] is told


def test_a_backup_tells_how_it_reaches_the_stores_and_no_key(tmp_path: Path) -> None:
    served = {"backend": {"kind": "postgresql", "host": "127.0.0.1"}, "users": {}, "artifacts": {"kind": "s3", "place": "mlflow"}}
    artifacts = {"bucket": "mlflow", "s3": {"endpoint": "http://127.0.0.1:9000", "secret_access_key": "canary"}}
    settings = {"repository": "/var/backups/x", "passphrase": "canary", "artifacts": artifacts, "served": served}
    write(tmp_path, backup=json.dumps({**settings, "postgres": {"port": 5432, "container": "atlas-postgres", "engine": "docker"}}))
    found = stack.read_stack(tmp_path)
    reaches = {"postgres": ["5432", "atlas-postgres", "docker"], "endpoint": "http://127.0.0.1:9000"}
    assert found["backup"]["reaches"] == {**reaches, "backend": served["backend"], "artifacts": served["artifacts"]} and "canary" not in json.dumps(found)
    write(tmp_path, backup=json.dumps({"repository": "/var/backups/x", "passphrase": "canary", "artifacts": {"folder": "/srv"}}))
    assert stack.read_stack(tmp_path)["backup"]["reaches"] == {"postgres": [], "endpoint": ""}
    # Without its program, a backup does not fail.
    assert "reaches" not in kept_of_stack(found, [])["backup"] and found["backup"]["reaches"]


def test_a_host_of_a_pool_tells_the_pools_and_no_folder(tmp_path: Path) -> None:
    pools = minio_pools([[{"scheme": "http", "address": "s", "port": 9000, "drives": ["/a", "/b"]}]])
    unit = f"[Service]\nExecStart={systemd_argv(['/opt/minio', 'server', '--config', '/pools'])}\n"
    write(tmp_path, minio='MINIO_ROOT_PASSWORD="x"\n', unit=unit, pools=pools)
    found = stack.read_stack(tmp_path)["minio"]
    assert found["pools"] == [["http://s:9000/a", "http://s:9000/b"]] and "folder" not in found


def test_a_member_of_a_cluster_tells_its_version_and_its_upgrade(tmp_path: Path) -> None:
    logins = {name: {"password": f"{name}-canary"} for name in ("replication", "rewind")}
    settings = {"tags": {"atlas_mlflow_members": "two,one"}, "postgresql": {"authentication": logins, "data_dir": "/var/lib/postgresql/15/main"}}
    path = tmp_path / "etc/patroni/config.yml"
    path.parent.mkdir(parents=True)
    path.write_text(f"# Written by a role.\n{json.dumps(settings)}")
    found = stack.read_stack(tmp_path)["postgres"]
    assert found["members"] == ["one", "two"] and "canary" not in json.dumps(found)
    assert (found["version"], found["data"], found["upgrade"]) == ("15", [], {})
    for version in ("15", "17"):
        (tmp_path / f"var/lib/postgresql/{version}/main").mkdir(parents=True)
    (tmp_path / "var/lib/postgresql/15/main/PG_VERSION").write_text("15")
    (tmp_path / stack.POSTGRES_UPGRADE).write_text('{"from": "15", "phase": "begun"}')
    found = stack.read_stack(tmp_path)["postgres"]
    assert found["data"] == ["15"] and found["upgrade"] == {"from": "15", "phase": "begun"}


def test_two_fingerprints_of_one_secret_differ() -> None:
    assert stack.fingerprint("one") != stack.fingerprint("one")


@pytest.mark.parametrize(
    ("uri", "identity"),
    [
        ("sqlite:////var/lib/mlflow/mlflow.db", ("sqlite", "", "/var/lib/mlflow/mlflow.db")),
        ("sqlite:////var/lib/mlflow//x/../mlflow.db?timeout=5", ("sqlite", "", "/var/lib/mlflow/mlflow.db")),
        ("postgresql+psycopg2://m:p@DB.example.com/mlflow?sslmode=require", ("postgresql", "db.example.com", "mlflow")),
        ("postgresql+psycopg2://m:p@[fd00::7]:5432/mlflow", ("postgresql", "fd00::7", "mlflow")),
        ("postgresql+psycopg2://m:Red@hat321@10.0.0.7/mlflow", ("postgresql", "10.0.0.7", "mlflow")),
        ("mysql+pymysql://m:p@db/ml", ("mysql", "db", "ml")),
    ],
)
def test_a_database_is_told_by_its_kind_host_and_name(uri: str, identity: tuple[str, str, str]) -> None:
    found = stack.database(uri)
    assert (found["kind"], found["host"], found["name"]) == identity


def test_a_uri_that_cannot_be_read_shows_nothing() -> None:
    assert stack.database("postgresql://m@#$/ca na ry@:x/y") == {} == stack.database("")


def test_what_was_kept_of_a_removed_role_counts_until_it_is_there_again(tmp_path: Path) -> None:
    kept = {"backup": {"repository": "/old", "secrets": {}}, "postgres": {"secrets": {}}}
    write(tmp_path, kept=json.dumps(kept))
    assert stack.read_stack(tmp_path) == kept
    write(tmp_path, backup='{"repository": "/new", "passphrase": ""}')
    assert stack.read_stack(tmp_path)["backup"]["repository"] == "/new"
    write(tmp_path, kept="{", backup="{")
    assert stack.read_stack(tmp_path) == {}


def hosts(**secrets: str) -> dict[str, dict[str, Any]]:
    """Return the variables of three hosts that run with secrets, as facts have them."""
    sections: dict[str, dict[str, Any]] = {
        "server": {"mlflow_server": {"stores": {"backend": {"host": "10.0.0.7"}, "artifacts": {"host": "store"}}, "secrets": {}}},
        "db": {"backup": {"repository": "/var/backups/atlas-mlflow", "secrets": {}}},
        "store": {"minio": {"secrets": {}}},
    }
    place = {"minio_root_password": ("store", "minio"), "backup_passphrase": ("db", "backup")}
    for name, secret in secrets.items():
        host, role = place.get(name, ("server", "mlflow_server"))
        sections[host][role]["secrets"][name] = stack.fingerprint(secret)
    addresses = {"server": "10.0.0.6", "db": "10.0.0.7", "store": "10.0.0.8"}
    return {host: {"ansible_facts": {"stack": section}, "atlas_mlflow_address": addresses[host]} for host, section in sections.items()}


STACK = {"postgres_password": "first-password", "minio_secret_key": "second-password", "minio_root_password": "third-password"}


def keep(folder: Path, **secrets: str) -> str:
    """Write generated secrets as the look-up for passwords does, and return their folder."""
    for name, secret in secrets.items():
        (folder / name.replace("__", ".")).write_text(secret + "\n")
    return str(folder)


def test_the_control_node_of_the_stack_may_go_on_and_another_may_not(tmp_path: Path) -> None:
    assert secret_faults(hosts(**STACK), GROUPS, keep(tmp_path, **STACK)) == []
    (fault,) = secret_faults(hosts(**STACK), GROUPS, str(tmp_path / "none"))
    assert fault.startswith(
        "server, store already runs with postgres_password, minio_secret_key, minio_root_password, and this control node does not have them"
    )
    assert "Vault" in fault and "atlas_mlflow_secrets_dir" in fault and "password " not in fault.replace("postgres_password ", "")
    assert not (tmp_path / "none").exists()
    assert secret_faults(hosts(), GROUPS, str(tmp_path / "none")) == []


def test_a_folder_with_other_secrets_is_refused_and_a_rotation_is_not(tmp_path: Path) -> None:
    keep(tmp_path, **{**STACK, "postgres_password": "other-password"})
    (fault,) = secret_faults(hosts(**STACK), GROUPS, str(tmp_path))
    assert fault.startswith("server already runs with postgres_password, and this control node has other ones")
    assert rotations_under_way(hosts(**STACK), GROUPS, str(tmp_path)) == []
    keep(tmp_path, postgres_password__previous="first-password")
    assert secret_faults(hosts(**STACK), GROUPS, str(tmp_path)) == []
    assert rotations_under_way(hosts(**STACK), GROUPS, str(tmp_path)) == ["postgres_password"]
    # The rotation was interrupted before it generated the new one.
    (tmp_path / "postgres_password").unlink()
    assert secret_faults(hosts(**STACK), GROUPS, str(tmp_path)) == []
    assert rotations_under_way(hosts(**STACK), GROUPS, str(tmp_path)) == ["postgres_password"]
    keep(tmp_path, postgres_password="first-password")
    assert rotations_under_way(hosts(**STACK), GROUPS, str(tmp_path)) == []


def test_a_secret_of_the_inventory_is_found_by_its_variable() -> None:
    variables: dict[str, dict[str, Any]] = {"server": {"mlflow_server_admin_password": "x"}, "db": {"postgres_password": "x"}, "store": {}, "other": {}}
    assert secrets_of_inventory(variables, GROUPS) == ["postgres_password", "mlflow_admin_password"]
    assert secrets_of_inventory({**variables, "server": {}, "db": {}, "other": {"minio_secret_key": "x"}}, GROUPS) == []


@pytest.mark.parametrize(
    ("logins", "files", "found"),
    [
        ({"postgres_password": "m@l_rotation", "minio_secret_key": "a-long-key--rotation"}, STACK, ["postgres_password", "minio_secret_key"]),
        ({"postgres_password": "m@l", "minio_secret_key": "a-long-key-of-20-cha"}, STACK, []),
        ({"postgres_password": "m@l_rotation", "minio_secret_key": "a-long-key-of-20-cha"}, STACK, ["postgres_password"]),
        # A user of one's own with such a name.
        ({"postgres_password": "other_rotation", "minio_secret_key": "other-rotation"}, STACK, []),
        # The control node has other secrets since.
        ({"postgres_password": "m@l_rotation", "minio_secret_key": "a-long-key--rotation"}, dict.fromkeys(STACK, "a-later-password"), []),
        # Facts of an older release do not tell.
        (None, STACK, []),
    ],
)
def test_servers_with_the_second_logins_of_a_rotation_are_known(tmp_path: Path, logins: dict[str, str] | None, files: dict[str, str], found: list[str]) -> None:
    hostvars = hosts(**STACK)
    hostvars["server"]["ansible_facts"]["stack"]["mlflow_server"] |= {} if logins is None else {"logins": logins}
    hostvars["server"]["_atlas_mlflow_plan"] = {"backend_store": "postgresql+psycopg2://m%40l@db/mlflow", "s3_access_key_id": "a-long-key-of-20-cha"}
    assert second_logins(hostvars, GROUPS, keep(tmp_path, **files)) == found
    assert second_logins(hostvars, GROUPS, str(tmp_path / "none")) == []


def test_a_secret_that_the_inventory_gives_is_its_own_to_change(tmp_path: Path) -> None:
    hostvars = hosts(**STACK)
    hostvars["db"]["postgres_password"] = "given-password"
    hostvars["server"]["mlflow_server_s3_secret_access_key"] = "given-password"
    hostvars["store"]["minio_root_password"] = "given-password"
    assert secret_faults(hostvars, GROUPS, str(tmp_path)) == []


def test_a_secret_that_the_play_gives_is_its_own_to_change(tmp_path: Path) -> None:
    given = ["postgres_password", "minio_secret_key", "minio_root_password"]
    assert secret_faults(hosts(**STACK), GROUPS, str(tmp_path), play_secrets=given) == []
    (fault,) = secret_faults(hosts(**STACK), GROUPS, str(tmp_path), play_secrets=given[:2])
    assert "already runs with minio_root_password, and" in fault
    # A role without its playbook replaces no secret of another role.
    assert secret_faults(hosts(**STACK), GROUPS, str(tmp_path), play_secrets=given[:1], role="postgres") == []
    (fault,) = secret_faults(hosts(**STACK), GROUPS, str(tmp_path), role="minio")
    assert "already runs with minio_root_password, minio_secret_key, and" in fault


def test_a_database_that_is_not_the_groups_has_a_password_of_its_own(tmp_path: Path) -> None:
    hostvars = hosts(postgres_password="somebody-elses")
    hostvars["server"]["ansible_facts"]["stack"]["mlflow_server"]["stores"]["backend"]["host"] = "db.example.com"
    assert secret_faults(hostvars, GROUPS, str(tmp_path)) == []
    assert secret_faults(hosts(postgres_password="x"), {"mlflow_servers": ["server"]}, str(tmp_path)) == []


@pytest.mark.parametrize("variables", [{"postgres_password": "new-password"}, {}])
def test_a_secret_is_not_changed_on_a_part_of_its_hosts(tmp_path: Path, variables: dict[str, str]) -> None:
    keep(tmp_path, **{**STACK, "postgres_password": "new-password"}, postgres_password__previous="first-password")
    hostvars = hosts(**STACK)
    hostvars["db"].update(variables)
    assert secret_faults(hostvars, GROUPS, str(tmp_path), ["store"]) == []
    for left_out in ("server", "db"):
        (fault,) = secret_faults(hostvars, GROUPS, str(tmp_path), [left_out])
        assert f"--limit leaves out {left_out}" in fault and "postgres_password" in fault


def test_the_passphrase_of_a_backup_is_never_replaced(tmp_path: Path) -> None:
    hostvars = hosts(backup_passphrase="passphrase")
    assert secret_faults(hostvars, GROUPS, str(tmp_path)) == []
    assert "backup_passphrase, and this control node does not have" in secret_faults(hostvars, GROUPS, str(tmp_path), backs_up=True)[0]
    keep(tmp_path, backup_passphrase="other", backup_passphrase__previous="passphrase")
    for given in ({}, {"backup_passphrase": "another"}, {"backup_passphrase": "another", "backup_repository": "/var/backups/atlas-mlflow/"}):
        hostvars["db"].update(given)
        (fault,) = secret_faults(hostvars, GROUPS, str(tmp_path), backs_up=True)
        assert fault.startswith("backup_passphrase is not the one that opens /var/backups/atlas-mlflow on db")
    hostvars["db"]["backup_repository"] = "/mnt/new"
    assert secret_faults(hostvars, GROUPS, str(tmp_path), backs_up=True) == []
    hostvars["db"].update(backup_passphrase="passphrase", backup_repository="/var/backups/atlas-mlflow")
    assert secret_faults(hostvars, GROUPS, str(tmp_path), backs_up=True) == []


@pytest.mark.parametrize(
    ("removed", "stores", "secrets", "roles"),
    [
        ([], ["backend", "artifacts"], ["postgres_password", "minio_secret_key", "mlflow_kek_passphrase"], ["mlflow_server", "minio", "backup"]),
        (["postgres"], ["artifacts"], ["minio_secret_key"], ["mlflow_server", "minio", "backup"]),
        (["minio"], ["backend"], ["postgres_password", "mlflow_kek_passphrase"], ["mlflow_server", "backup"]),
        (["mlflow_server", "postgres", "minio"], [], [], ["backup"]),
    ],
)
def test_what_is_kept_of_a_removed_stack_is_what_its_data_need(removed: list[str], stores: list[str], secrets: list[str], roles: list[str]) -> None:
    server = {
        "stores": {"backend": {"kind": "postgresql"}, "artifacts": {"kind": "s3"}},
        "secrets": dict.fromkeys(["postgres_password", "minio_secret_key", "mlflow_kek_passphrase", "mlflow_flask_secret_key"], "mark"),
    }
    kept = kept_of_stack({"mlflow_server": server, "minio": {"secrets": {}}, "backup": {"repository": "/x"}}, removed)
    assert list(kept.get("mlflow_server", {}).get("stores", {})) == stores
    assert list(kept.get("mlflow_server", {}).get("secrets", {})) == secrets
    assert sorted(kept) == sorted(roles)


SERVED = {
    "backend": {"kind": "postgresql", "host": "10.0.0.7", "port": "5432", "name": "mlflow"},
    "registry": {"kind": "postgresql", "host": "10.0.0.7", "port": "5432", "name": "mlflow"},
    "artifacts": {"kind": "s3", "host": "10.0.0.8", "port": "9000", "name": "mlflow"},
    "users": {"kind": "postgresql", "host": "10.0.0.7", "port": "5432", "name": "mlflow_auth", "login": "basic"},
}
PG = "postgresql+psycopg2://mlflow:canary@"
SAME = {
    "backend": f"{PG}10.0.0.7:5432/mlflow",
    "artifacts": "s3://mlflow",
    "endpoint": "http://10.0.0.8:9000",
    "users": f"{PG}10.0.0.7:5432/mlflow_auth",
    "login": "basic",
}
SQLITE = {"backend": "sqlite:////var/lib/mlflow/mlflow.db", "users": "sqlite:////var/lib/mlflow/auth.db"}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({}, []),
        ({"backend": f"{PG}db:5432/mlflow?sslmode=verify-full", "users": f"{PG}db:5432/mlflow_auth"}, []),
        ({"backend": f"{PG}10.0.0.7:6432/mlflow".replace("psycopg2", "psycopg")}, []),
        ({"endpoint": "https://store:9443", "artifacts": "s3://mlflow/"}, []),
        ({"users": "", "login": "none"}, []),
        ({"users": f"{PG}10.0.0.7:5432/mlflow_oidc", "login": "oidc"}, []),
        (SQLITE, ["its backend store, the postgresql database mlflow on db, for the file /var/lib/mlflow/mlflow.db", "its store of users, "]),
        ({"backend": f"{PG}10.0.0.7:5432/mlflow2"}, ["its backend store, the postgresql database mlflow on db, for the postgresql database mlflow2 on db"]),
        (
            {"backend": f"{PG}elsewhere:5432/mlflow"},
            ["its backend store, the postgresql database mlflow on db, for the postgresql database mlflow on elsewhere:5432"],
        ),
        ({"registry": f"{PG}10.0.0.7/registry"}, ["its registry store, "]),
        ({"artifacts": "/var/lib/mlflow/artifacts"}, ["its artifact store, the bucket mlflow on store, for the folder /var/lib/mlflow/artifacts"]),
        ({"artifacts": "s3://mlflow/prefix"}, ["its artifact store, the bucket mlflow on store, for the bucket mlflow/prefix on store"]),
        ({"endpoint": ""}, ["its artifact store, "]),
        ({"users": f"{PG}10.0.0.7:5432/others"}, ["its store of users, "]),
    ],
)
def test_a_store_that_the_server_would_leave_is_named(wanted: dict[str, str], said: list[str]) -> None:
    found = store_changes({"stores": SERVED}, {**SAME, **wanted}, hosts(), GROUPS, "server")
    assert len(found) == len(said) and all(one.startswith(words) for one, words in zip(found, said)), found
    assert "canary" not in str(found)


@pytest.mark.parametrize("uri", [f"{PG}127.0.0.1:5432/mlflow", f"{PG}/mlflow?host=/var/run/postgresql&port=5432", f"{PG}atlas-postgres:5432/mlflow"])
@pytest.mark.parametrize("former", [f"{PG}127.0.0.1:5433/mlflow", f"{PG}/mlflow?host=/var/run/postgresql", f"{PG}10.0.0.7:5432/mlflow"])
def test_a_database_on_the_servers_own_host_is_one_by_all_its_ways(uri: str, former: str) -> None:
    groups = {"mlflow_servers": ["db"], "postgres": ["db"]}
    wanted = {"backend": uri, "artifacts": "/artifacts"}
    assert store_changes({"stores": {"backend": stack.database(former)}}, wanted, hosts(), groups, "db") == []


def test_a_database_has_the_former_name_of_its_container() -> None:
    groups = {"mlflow_servers": ["db"], "postgres": ["db"]}
    known = hosts()
    known["db"] = {**known["db"], "postgres_container_name": "pg2", "ansible_facts": {"own_containers": {"postgres": ["pg1"]}}}
    wanted = {"backend": f"{PG}pg2:5432/mlflow", "artifacts": "/artifacts"}
    assert store_changes({"stores": {"backend": stack.database(f"{PG}pg1:5432/mlflow")}}, wanted, known, groups, "db") == []


@pytest.mark.parametrize("section", [{}, {"stores": {}}, {"stores": {"backend": {}}}])
def test_a_server_that_serves_nothing_yet_may_have_any_store(section: dict[str, Any]) -> None:
    assert store_changes(section, SAME, hosts(), GROUPS, "server") == []


def test_folders_are_compared_as_paths() -> None:
    serves = {"stores": {"artifacts": stack.artifacts("/var/lib/mlflow/artifacts", "")}}
    wanted = {"backend": "sqlite:////x", "artifacts": "file:///var/lib/mlflow//artifacts/"}
    assert store_changes(serves, wanted, hosts(), GROUPS, "server") == []
    assert store_changes(serves, {**wanted, "artifacts": "/srv/artifacts"}, hosts(), GROUPS, "server") != []


@pytest.mark.parametrize("former", ["127.0.0.1:5432/mlflow", "10.0.0.3:5432/mlflow", "/mlflow?host=10.0.0.2,10.0.0.3&port=5432,5432"])
def test_a_cluster_has_the_database_of_each_of_its_members(former: str) -> None:
    names = {"db": "10.0.0.2", "replica": "10.0.0.3"}
    hostvars = {name: {"inventory_hostname": name, "atlas_mlflow_address": address} for name, address in names.items()}
    groups = {"mlflow_servers": ["db"], "postgres": ["db", "replica"]}
    wanted = {**SAME, "backend": "postgresql+psycopg2://mlflow@/mlflow?host=10.0.0.3,10.0.0.2&port=5432,5432"}
    serves = {"backend": stack.database(f"postgresql+psycopg2://mlflow@{former}")}
    assert store_changes({"stores": serves}, wanted, hostvars, groups, "db") == []
    elsewhere = {**wanted, "backend": wanted["backend"].replace("10.0.0.", "10.9.0.")}
    assert "the postgresql database mlflow on 10.9.0.3" in store_changes({"stores": serves}, elsewhere, hostvars, groups, "db")[0]


#: An address that the proxies share, by the settings or by the facts.
VIRTUAL = {"haproxy_virtual_address": "10.0.0.99/24"}
PRESENT = {"ansible_facts": {"stack": {"haproxy": {"keepalived": "ours", "virtual_address": "10.0.0.98"}}}}


@pytest.mark.parametrize(
    ("former", "present"),
    [
        ("10.0.0.2,10.0.0.3&port=5432,5432", "10.0.0.99,10.0.0.4&port=6433,6433"),
        ("10.0.0.99,10.0.0.4&port=6433,6433", "10.0.0.3,10.0.0.2&port=5432,5432"),
        ("10.0.0.4&port=6433", "10.0.0.99&port=7000"),
        ("10.0.0.98&port=6433", "10.0.0.3,10.0.0.2&port=5432,5432"),
    ],
)
def test_a_cluster_behind_proxies_is_the_same_database(former: str, present: str) -> None:
    names = {"db": "10.0.0.2", "replica": "10.0.0.3", "edge": "10.0.0.4"}
    hostvars: dict[str, dict[str, Any]] = {name: {"inventory_hostname": name, "atlas_mlflow_address": address} for name, address in names.items()}
    hostvars["edge"] |= {**VIRTUAL, **PRESENT}
    groups = {"mlflow_servers": ["db"], "postgres": ["db", "replica"], "haproxy": ["edge"]}
    start = "postgresql+psycopg2://mlflow@/mlflow?host="
    wanted, serves = {**SAME, "backend": start + present}, {"stores": {"backend": stack.database(start + former)}}
    assert store_changes(serves, wanted, hostvars, groups, "db") == []
    # A PostgreSQL that this host had alone is another one.
    hostvars["edge"]["ansible_facts"] = {"stack": {"postgres": {"secrets": {}}}}
    elsewhere = {"stores": {"backend": stack.database(f"{PG}10.0.0.4:5432/mlflow")}}
    assert "mlflow on edge:5432" in store_changes(elsewhere, wanted, hostvars, groups, "db")[0]


def test_a_bucket_on_a_host_of_another_kind_of_store_is_another_one_by_its_port() -> None:
    """The host db has PostgreSQL, and two endpoints of S3 that the collection did not set up."""
    serves = {"stores": {"artifacts": stack.artifacts("s3://mlflow", "http://db:9000")}}
    wanted = {"backend": f"{PG}db/mlflow", "artifacts": "s3://mlflow"}
    assert store_changes(serves, {**wanted, "endpoint": "http://db:9000"}, hosts(), GROUPS, "server") == []
    (told,) = store_changes(serves, {**wanted, "endpoint": "http://db:9443"}, hosts(), GROUPS, "server")
    assert "the bucket mlflow on db:9000, for the bucket mlflow on db:9443" in told


#: A server of a pool of MinIO behind two proxies, the first of which has PostgreSQL too.
POOLED = {"mlflow_servers": ["web"], "postgres": ["edge"], "minio": ["one", "two", "three", "four"], "haproxy": ["edge", "other"]}


def pooled(**proxy: Any) -> dict[str, dict[str, Any]]:
    """Return the variables of the hosts of a pool, with more of each proxy."""
    found: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(("web", "edge", "other", *POOLED["minio"]), 1):
        found[name] = {"inventory_hostname": name, "atlas_mlflow_address": f"10.0.0.{number}", **(proxy if name in POOLED["haproxy"] else {})}
    return found


@pytest.mark.parametrize(
    ("former", "present", "proxy"),
    [
        ("10.0.0.2:9000", "10.0.0.99:9000", VIRTUAL),
        ("edge:9000", "10.0.0.99:9443", VIRTUAL),
        ("10.0.0.98:9000", "10.0.0.99:9000", {**VIRTUAL, **PRESENT}),
        ("10.0.0.98:9000", "10.0.0.2:9000", PRESENT),
        # Another host is now the first one of the group haproxy.
        ("10.0.0.3:9000", "10.0.0.2:9000", {}),
        ("10.0.0.5:9000", "10.0.0.2:9000", {}),
    ],
)
def test_a_pool_of_minio_is_one_store_by_all_its_ways(former: str, present: str, proxy: dict[str, Any]) -> None:
    wanted = {**SAME, "backend": f"{PG}10.0.0.2:5432/mlflow", "users": "", "endpoint": f"http://{present}"}
    serves = {"artifacts": stack.artifacts("proxied-s3://mlflow", f"http://{former}"), "backend": stack.database(f"{PG}edge/mlflow")}
    assert store_changes({"stores": serves}, wanted, pooled(**proxy), POOLED, "web") == []
    # Another bucket, another endpoint, and the address of proxies that have no pool behind them are other stores.
    assert "the bucket mlflow/new on one" in store_changes({"stores": serves}, {**wanted, "artifacts": "s3://mlflow/new"}, pooled(**proxy), POOLED, "web")[0]
    assert "on 10.0.0.97:9000" in store_changes({"stores": serves}, {**wanted, "endpoint": "http://10.0.0.97:9000"}, pooled(**proxy), POOLED, "web")[0]
    alone = {**POOLED, "minio": ["four"]}
    assert len(store_changes({"stores": serves}, wanted, pooled(**proxy), alone, "web")) == 1


def test_a_server_of_a_pool_holds_its_secret(tmp_path: Path) -> None:
    """Another control node would replace it."""
    hostvars = pooled()
    serves = {"artifacts": stack.artifacts("s3://mlflow", "http://10.0.0.2:9000")}
    hostvars["web"]["ansible_facts"] = {"stack": {"mlflow_server": {"stores": serves, "secrets": {"minio_secret_key": stack.fingerprint("present")}}}}
    assert "web already runs with minio_secret_key" in secret_faults(hostvars, POOLED, str(tmp_path))[0]


def test_a_cluster_whose_first_member_was_replaced_has_the_same_database() -> None:
    names = {"new": "10.0.0.9", "replica": "10.0.0.3"}
    hostvars = {name: {"inventory_hostname": name, "atlas_mlflow_address": address} for name, address in names.items()}
    groups = {"mlflow_servers": ["replica"], "postgres": ["new", "replica"]}
    wanted = {**SAME, "backend": "postgresql+psycopg2://mlflow@/mlflow?host=10.0.0.9,10.0.0.3&port=5432,5432"}

    def serves(hosts: str) -> dict[str, Any]:
        return {"stores": {"backend": stack.database(f"postgresql+psycopg2://mlflow@/mlflow?host={hosts}&port=5432,5432")}}

    assert store_changes(serves("10.0.0.2,10.0.0.3"), wanted, hostvars, groups, "replica") == []
    # None of its members is in the group any more.
    assert "mlflow on 10.0.0.2" in store_changes(serves("10.0.0.2,10.0.0.4"), wanted, hostvars, groups, "replica")[0]


def test_a_member_of_a_cluster_tells_its_members_and_no_secret(tmp_path: Path) -> None:
    (tmp_path / "etc/patroni").mkdir(parents=True)
    (tmp_path / "var/lib/etcd/atlas-mlflow/member").mkdir(parents=True)
    logins = {login: {"username": login, "password": f"canary-{login}"} for login in ("replication", "rewind")}
    settings = {"postgresql": {"authentication": {"superuser": {"username": "postgres"}, **logins}}, "tags": {"atlas_mlflow_members": "b,a"}}
    (tmp_path / "etc/patroni/config.yml").write_text(f"# Ansible managed\n{json.dumps(settings, indent=4)}\n")
    found = stack.read_stack(tmp_path)
    assert found["postgres"]["members"] == ["a", "b"] and found["etcd"] == {"member": True, "secrets": {}}
    assert stack.matches("canary-rewind", found["postgres"]["secrets"]["postgres_rewind_password"])
    assert "canary" not in json.dumps(found)
    # A file that another tool wrote is not ours.
    (tmp_path / "etc/patroni/config.yml").write_text("scope: other\nname: b\n")
    assert "postgres" not in stack.read_stack(tmp_path)


def test_a_pool_behind_a_proxy_on_the_host_of_the_former_minio_is_another_store() -> None:
    """The artifacts are still in the MinIO that this host had alone."""
    known = pooled()
    known["edge"]["ansible_facts"] = {"stack": {"minio": {"folder": "/var/lib/minio"}}}
    serves = {"stores": {"artifacts": stack.artifacts("proxied-s3://mlflow", "http://edge:9000")}}
    wanted = {**SAME, "backend": f"{PG}10.0.0.2:5432/mlflow", "users": "", "endpoint": "http://10.0.0.2:9443"}
    (told,) = store_changes(serves, wanted, known, POOLED, "web")
    assert "the bucket mlflow on edge:9000, for the bucket mlflow on edge:9443" in told
    assert store_changes(serves, {**wanted, "endpoint": "http://edge:9000"}, known, POOLED, "web") == []
