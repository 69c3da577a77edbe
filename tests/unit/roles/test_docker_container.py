"""The containers of Docker have what the settings say, and are recreated if that changes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.text.formatters import human_to_bytes
from ansible.template import Templar
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.images import MEMORY
from in_process import LOADER, role_variables, trusted
from plays import tasks_of

ROOT = Path(__file__).resolve().parents[3]
MODULE = "community.docker.docker_container"
ROLES = ("mlflow_server", "postgres", "minio")
#: What tasks find before the container is started.
FOUND = {
    "_atlas_mlflow_plan": {"server_is_alone": True, "minio_drives": ["/var/lib/minio"]},
    "__mlflow_server_files": {"newest": 17},
    "__postgres_settings": {"newest": 17},
    "__minio_files": {"newest": 17},
    "__minio_user": {"uid": 995, "group": 995},
    "omit": "(omitted)",
}


def container(role: str, *names: str, **given: Any) -> list[Any]:
    """Return arguments of the task that starts the container of a role."""
    (task,) = [task[MODULE] for task in tasks_of(yaml.safe_load((ROOT / f"roles/{role}/tasks/service_container.yml").read_text())) if MODULE in task]
    variables = {**role_variables(role, {f"{role}_deployment": "container", **given}), **FOUND, **given}
    return [Templar(loader=LOADER, variables=variables).template(trusted(task[name])) for name in names]


@pytest.mark.parametrize("role", ROLES)
def test_another_limit_recreates_the_container(role: str) -> None:
    """Docker changes the memory of a container only together with its swap, and the module does not see that a limit was removed."""

    def of(memory: str, cpus: str) -> list[Any]:
        return container(role, "memory", "cpus", "labels", **{f"{role}_container_memory": memory, f"{role}_container_cpus": cpus})

    assert of("", "") == ["(omitted)", "(omitted)", {"atlas.mlflow.files": "17"}]
    (*limits, label) = of("2g", "1.5")
    assert limits == ["2g", "1.5"] and label["atlas.mlflow.files"].startswith("17 ")
    labels = [str(of(memory, cpus)[2]) for memory in ("", "2g", "5g") for cpus in ("", "1.5", "2")]
    assert len(set(labels)) == len(labels)
    assert of("2g", "1.5")[2] == label


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("names", "removed"), [([], []), (["atlas"], []), (["atlas", "former"], ["former"]), (["former"], ["former"])])
def test_a_container_of_a_former_name_is_removed_before_the_role_starts_its_own(role: str, names: list[str], removed: list[str]) -> None:
    """Two servers would write to the same data. Each takes the other's lock for its own, because both have the same number in their containers."""
    tasks = yaml.safe_load((ROOT / f"roles/{role}/tasks/service_container.yml").read_text())
    former = next(task for task in tasks if task["name"] == "Replace a container of a former name")
    start = next(number for number, task in enumerate(tasks) if any(MODULE in one for one in tasks_of([task])))
    assert tasks.index(former) < start
    given = {f"{role}_container_name": "atlas", "ansible_facts": {"own_containers": {role: names, "other": ["web"]}}}
    variables = {**role_variables(role, given), **former["vars"]}
    (removal,) = yaml.safe_load((ROOT / "roles/common/tasks/former_containers.yml").read_text())
    templar = Templar(loader=LOADER, variables={**variables, "common_container": "atlas"})
    assert templar.template(trusted(removal["loop"])) == removed and removal[MODULE]["state"] == "absent"
    assert templar.template(trusted("{{ " + former["when"] + " }}")) is bool(removed)


@pytest.mark.parametrize("deployment", ["container", "podman"])
def test_minio_gets_another_image_if_its_user_has_another_number(deployment: str) -> None:
    """A new volume copies the folder of the objects from the image, with the owner in it."""

    def image(**found: Any) -> str:
        variables = {**role_variables("minio", {"minio_deployment": deployment}), **FOUND, **found}
        return str(Templar(loader=LOADER, variables=variables).template(trusted("{{ _minio_image }}")))

    names = [image(), image(__minio_user={"uid": 996, "group": 995}), image(__minio_user={"uid": 995, "group": 996})]
    assert len(set(names)) == 3 and image() == names[0]
    assert image(minio_image="minio/minio:1").endswith("minio/minio:1")


@pytest.mark.parametrize(
    ("given", "user", "owner"),
    [
        ({}, "995:995", {"owner": "minio", "group": "minio"}),
        ({"minio_image": "minio/minio:1"}, "0:0", {"owner": "0", "group": "0"}),
        ({"minio_image": "team/minio:1", "minio_container_user": "1001:0"}, "1001:0", {"owner": "1001", "group": "0"}),
        # A rollback to the image of the role, and to another one.
        ({"minio_image": "minio/minio:1", "_minio_server": "atlas-mlflow/silo:1"}, "995:995", {"owner": "minio", "group": "minio"}),
        ({"minio_image": "minio/minio:1", "_minio_server": "localhost/atlas-mlflow/silo:1"}, "995:995", {"owner": "minio", "group": "minio"}),
        ({"minio_image": "minio/minio:2", "_minio_server": "minio/minio:1"}, "0:0", {"owner": "0", "group": "0"}),
    ],
)
@pytest.mark.parametrize("deployment", ["container", "podman"])
def test_minio_can_read_its_settings(deployment: str, given: dict[str, str], user: str, owner: dict[str, str], tmp_path: Path) -> None:
    """The container has no capability, so its root cannot read a file that only another user may read."""
    for name in ("cert", "key"):
        (tmp_path / name).write_text(name)
    tls = {"minio_tls_certificate": str(tmp_path / "cert"), "minio_tls_key": str(tmp_path / "key")}
    variables = {**role_variables("minio", {"minio_deployment": deployment, **given, **tls}), **FOUND, **given}
    files = Templar(loader=LOADER, variables=variables).template(trusted("{{ _minio_container_files + _minio_tls_files }}"))
    private = {file["path"]: {name: file[name] for name in ("owner", "group")} for file in files if file["mode"] == "0400"}
    assert private == dict.fromkeys(["/etc/atlas-mlflow/minio.env", "/etc/atlas-mlflow/tls/minio/private.key"], owner)
    assert container("minio", "user", **given) == [user]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("memory", "size"),
    [("2g", 2 << 30), ("2gb", 2 << 30), ("2GB", 2 << 30), ("2GiB", 2 << 30), ("2 gib", 2 << 30), ("1.5Gi", 3 << 29), ("512M", 1 << 29), (1 << 29, 1 << 29)],
)
def test_a_limit_that_the_rules_accept_can_be_read_by_the_module(role: str, memory: str | int, size: int) -> None:
    (given,) = container(role, "memory", **{f"{role}_container_memory": memory})
    assert human_to_bytes(given) == size
    assert re.fullmatch(MEMORY, str(memory), re.IGNORECASE)


@pytest.mark.parametrize(
    ("packages", "missing"),
    [
        (["docker.io", "python3-requests"], False),
        (["docker-ce", "python3-requests"], False),
        # A Docker that was there before.
        (["docker-ce"], True),
        (["docker.io"], True),
        (["python3-requests"], True),
        ([], True),
    ],
)
def test_a_check_run_asks_docker_only_if_its_modules_can(packages: list[str], missing: bool) -> None:
    facts = {"ansible_facts": {"packages": dict.fromkeys(packages, [])}}
    for check in (True, False):
        variables = {**role_variables("common", facts), "ansible_check_mode": check}
        assert Templar(loader=LOADER, variables=variables).template(trusted("{{ _common_docker_is_missing }}")) is (check and missing)
