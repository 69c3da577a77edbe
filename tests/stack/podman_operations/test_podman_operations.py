"""What operators do with the whole stack in Podman: find a stopped store, replace secrets, remove the stack and get it back with its data.

The tests build on one another, in this order, and leave no stack.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from stack.support import ask, assert_unchanged, base_url, diagnosis, play, playbook, said, secrets_folder, wait_for_answer
from testinfra.host import Host

#: Seconds for a playbook.
PATIENCE = 900
#: The unit of each store, and the fault that the diagnosis names if it is stopped: a container that does not run has no name.
STORES = {"atlas-postgres.service": "database-name-unresolved", "atlas-minio.service": "s3-down"}
ROTATED = ("postgres_password", "minio_secret_key", "mlflow_admin_password")


def secrets() -> dict[str, str]:
    """Return the secrets in use, from where the playbook keeps them on the control node."""
    return {name: (secrets_folder() / name).read_text(encoding="utf-8").strip() for name in ROTATED}


def runs(client: Host, server_name: str) -> list[str]:
    """Return the names of the runs in the first experiment."""
    url = f"{base_url(server_name)}/api/2.0/mlflow/runs/search"
    return sorted(one["info"]["run_name"] for one in ask(client, url, method="POST", body={"experiment_ids": ["0"]}).json().get("runs", []))


def named(server: Host, kind: str) -> set[str]:
    """Return the names of the stack's containers or volumes."""
    form = {"ps": "--all --format '{{.Names}}'", "volume ls": "--format '{{.Name}}'"}[kind]
    return {name for name in server.check_output(f"podman {kind} {form}").split() if name.startswith("atlas-")}


@pytest.fixture(scope="module")
def before(client: Host, server_name: str) -> list[str]:
    """Log the runs that must not be lost, and return their names."""
    for name in ("first", "second"):
        made = ask(client, f"{base_url(server_name)}/api/2.0/mlflow/runs/create", method="POST", body={"experiment_id": "0", "run_name": name})
        assert made.status == 200, made
    return ["first", "second"]


@pytest.mark.parametrize("unit", STORES)
def test_the_diagnosis_names_a_stopped_store(server: Host, client: Host, server_name: str, before: Any, unit: str, tmp_path: Path) -> None:
    server.check_output("systemctl stop %s", unit)
    try:
        status, found, printed = diagnosis(tmp_path)
    finally:
        server.check_output("systemctl start %s", unit)
    assert status == 2 and STORES[unit] in found and f"systemctl start {unit.removesuffix('.service')}" in re.sub(r"\s+", " ", printed), printed[-6000:]
    assert wait_for_answer(client, f"{base_url(server_name)}/api/2.0/mlflow/experiments/search?max_results=1").status == 200


def test_replaced_secrets_are_in_use_and_the_data_stay(server: Host, client: Host, server_name: str, before: Any, tmp_path: Path) -> None:
    former = secrets()
    done = play(playbook("rotate_secrets", {}, tmp_path), "--extra-vars", json.dumps({"rotate_secrets": ROTATED}), patience=PATIENCE)
    assert done.returncode == 0, done.stdout[-5000:]
    assert all(secrets()[name] != former[name] for name in ROTATED)
    assert not any(value in done.stdout for value in [*former.values(), *secrets().values()])
    assert runs(client, server_name) == before
    url = f"{base_url(server_name)}/api/2.0/mlflow/experiments/search?max_results=1"
    assert ask(client, url, login=("admin", former["mlflow_admin_password"])).status == 401
    assert_unchanged(play(playbook("site", {}, tmp_path), patience=PATIENCE))


def test_a_removed_stack_comes_back_with_its_data(server: Host, client: Host, server_name: str, before: Any, tmp_path: Path) -> None:
    volumes = named(server, "volume ls")
    assert named(server, "ps") and volumes
    done = play(playbook("remove", {}, tmp_path), patience=PATIENCE)
    assert done.returncode == 0, done.stdout[-5000:]
    assert named(server, "ps") == set() and named(server, "volume ls") == volumes
    assert not server.file("/var/lib/atlas-mlflow-images").exists
    # The folder of the package is for units of users.
    assert server.check_output("ls /etc/containers/systemd").split() == ["users"]
    done = play(playbook("site", {}, tmp_path), patience=PATIENCE)
    assert done.returncode == 0, done.stdout[-5000:]
    assert runs(client, server_name) == before


def test_data_are_removed_if_a_variable_says_so(server: Host, before: Any, tmp_path: Path) -> None:
    """The last test."""
    asked = dict.fromkeys([f"{part}_remove_data" for part in ("mlflow_server", "postgres", "minio")], True)
    done = play(playbook("remove", {}, tmp_path), "--extra-vars", json.dumps(asked), patience=PATIENCE)
    assert done.returncode == 0, said(done)[-5000:]
    assert (named(server, "ps"), named(server, "volume ls")) == (set(), set())
