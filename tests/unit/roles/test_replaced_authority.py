"""Members that check each other by a CA restart together if it is another one: they read it only when they start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from inventories import Case, Run

ROOT = Path(__file__).resolve().parents[3]
MEMBERS = ["one", "Two.Example.com", "ml_three"]
POOL = [*MEMBERS, "four"]
RESTART = next(
    task["ansible.builtin.set_fact"]["__minio_restart"]
    for task in yaml.safe_load((ROOT / "roles/minio/tasks/service_pool.yml").read_text())
    if "ansible.builtin.set_fact" in task
)


def files(folder: Path) -> dict[str, str]:
    """Return variables of certificates that are files."""
    for name in ("certificate", "key", "authority"):
        (folder / name).write_text(name)
    return {f"{role}_tls_{name}": str(folder / name) for role in ("etcd", "minio") for name in ("certificate", "key", "authority")}


def test_etcd_restarts_for_another_authority_and_not_for_another_certificate(tmp_path: Path) -> None:
    hosts = dict.fromkeys(MEMBERS, {"atlas_mlflow_tls": True, **files(tmp_path)})
    known = Run(Case({"mlflow_servers": ["one"], "postgres": MEMBERS}, hosts), secrets={})
    tls, restarting = ({entry["path"]: entry.get("content") for entry in known.value("one", "etcd", name)} for name in ("_etcd_tls_files", "_etcd_files"))
    authority, certificate = (f"/etc/atlas-mlflow/tls/etcd{name}.pem" for name in ("-authority", ""))
    assert restarting[authority] == "authority" and authority not in tls
    assert tls[certificate] == "certificate" and not {certificate, "/etc/atlas-mlflow/tls/etcd.key"} & set(restarting)
    # The folder is made before the file.
    assert list(restarting).index("/etc/atlas-mlflow/tls") < list(restarting).index(authority)


@pytest.mark.parametrize(
    ("changed", "restart"),
    [
        (["CAs/authority.pem", "public.crt", "private.key", "authority.pem"], "together"),
        (["public.crt", "private.key"], "in turn"),
    ],
)
def test_a_pool_restarts_together_for_another_authority(tmp_path: Path, changed: list[str], restart: str) -> None:
    paths = [f"/etc/atlas-mlflow/tls/minio/{name}" for name in changed]
    found: dict[str, Any] = {"changed": True, "changed_paths": paths, "settled": False, "stale": True}
    hosts = dict.fromkeys(POOL, {"atlas_mlflow_tls": True, **files(tmp_path), "__minio_files": found})
    case = Case({"mlflow_servers": ["one"], "minio": POOL, "haproxy": ["one"]}, hosts)
    server, known = Run(case, secrets={}).value("one", "minio", "_minio_server"), Run(case, secrets={})
    known.hosts["one"]["ansible_facts"]["installed"] = {"served": {"/opt/minio/served": server}}
    assert known.value("one", "minio", RESTART.strip()[2:-2]) == restart
    written = {entry["path"] for entry in known.value("one", "minio", "_minio_tls_files")}
    assert set(paths) <= written
