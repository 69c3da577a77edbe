"""What a role says that it installs, for a bundle, is what its tasks install."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from ansible.template import Templar
from ansible_collections.atlas.mlflow.plugins.plugin_utils.bundles import FORM
from in_process import LOADER, role_variables, trusted
from plays import tasks_of
from test_preflight import preflight

ROOT = Path(__file__).resolve().parents[3]
ROLES = sorted(path.parent.parent.name for path in ROOT.glob("roles/*/tasks/bundle.yml"))
#: What the tasks of the role common install for containers.
DOCKER = {"python3-requests", "docker.io", "docker-cli", "iptables"}
PODMAN = {"podman", "catatonit", "netavark", "aardvark-dns", "nftables", "iptables"}
#: Packages for Enterprise Linux, for which there are no bundles.
EL = {"firewalld"}
#: Words in the expressions that are no packages.
OTHERS = {"docker-ce", "pgdg", "trixie"}
NAME = re.compile(r"[a-z0-9][a-z0-9.+-]{2,}")


def needs_of(role: str) -> str:
    """Return the expression with the packages that a role needs."""
    files = [*ROOT.glob(f"roles/{role}/vars/main.yml"), *ROOT.glob(f"roles/{role}/vars/main/*.yml")]
    found = [yaml.safe_load(path.read_text()).get(f"_{role}_needs") for path in files]
    (needs,) = [one for one in found if one]
    return str(needs["packages"])


def names_in(expression: object) -> set[str]:
    """Return the names of packages in a list, or in an expression with quoted names."""
    if isinstance(expression, list):
        return {re.sub(r"\{\{.*", "", name) for name in expression}
    return {name for name in re.findall(r"'([^']+)'", str(expression)) if NAME.fullmatch(name)} - OTHERS


def installed_by(role: str) -> set[str]:
    """Return the names of the packages that the tasks of a role install."""
    tasks = [task for path in ROOT.glob(f"roles/{role}/tasks/*.yml") for task in tasks_of(yaml.safe_load(path.read_text()))]
    named = {name for task in tasks if "common_packages" in task.get("vars", {}) for name in names_in(task["vars"]["common_packages"])}
    engines = {(task.get("ansible.builtin.include_role") or {}).get("tasks_from") for task in tasks}
    return (named | (DOCKER if "docker" in engines else set()) | (PODMAN if "podman" in engines else set())) - EL


@pytest.mark.parametrize(("engine", "packages"), [("docker", DOCKER), ("podman", PODMAN)])
def test_the_packages_of_the_engines_are_those_of_the_shared_tasks(engine: str, packages: set[str]) -> None:
    (task,) = [task for task in tasks_of(yaml.safe_load((ROOT / f"roles/common/tasks/{engine}.yml").read_text())) if "common_packages" in task.get("vars", {})]
    assert names_in(task["vars"]["common_packages"]) - OTHERS == packages


@pytest.mark.parametrize("role", ROLES)
def test_the_packages_are_the_same(role: str) -> None:
    needs = needs_of(role)
    assert installed_by(role) == names_in(yaml.safe_load(needs) if needs.startswith("[") else needs)


def test_each_role_that_installs_something_says_so() -> None:
    installing = {path.parents[1].name for path in ROOT.glob("roles/*/tasks/*.yml") if re.search(r"common_packages:|uv_environment:", path.read_text())}
    assert installing - {"common"} == set(ROLES)


@pytest.mark.parametrize("role", ROLES)
def test_each_role_compares_the_bundle_before_it_changes_a_host(role: str, tmp_path: Path) -> None:
    made = {"form": FORM, "collection": "1", "release": "trixie", "architecture": "x86_64", "python": "3.13", "files": {}}
    (tmp_path / "manifest.json").write_text(json.dumps(made))
    seen = preflight(role, {"atlas_mlflow_bundle": str(tmp_path), "inventory_hostname": "one"})
    assert not seen.passed and f"{tmp_path} is for " in seen.words
    assert preflight(role, {"atlas_mlflow_bundle": ""}).passed


def test_every_installation_takes_a_bundle() -> None:
    """A task that forgets the bundle would ask the network."""
    files = [*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("playbooks/internal/tasks/*.yml")]
    tasks = [task for path in files for task in tasks_of(yaml.safe_load(path.read_text()))]
    for module in ("atlas.mlflow.packages", "atlas.mlflow.uv_environment"):
        calls = [task[module] for task in tasks if module in task and task[module].get("state") != "absent"]
        assert calls and all(call["bundle"] == "{{ atlas_mlflow_bundle | default('') }}" for call in calls), module


@pytest.mark.parametrize(("release", "programs"), [("trixie", {"docker.io", "docker-cli"}), ("bookworm", {"docker.io"}), ("noble", {"docker.io"})])
def test_a_host_with_docker_gets_its_command(release: str, programs: set[str]) -> None:
    """In Debian 13, docker.io only recommends the package with the command, and no recommended packages are installed."""
    facts = {"ansible_facts": {"distribution_release": release, "packages": {}, "os_family": "Debian", "architecture": "x86_64"}}
    (task,) = [task for task in tasks_of(yaml.safe_load((ROOT / "roles/common/tasks/docker.yml").read_text())) if "common_packages" in task.get("vars", {})]
    installed = Templar(loader=LOADER, variables=facts).template(trusted(task["vars"]["common_packages"]))
    assert {name for name in installed if name.startswith("docker")} == programs
    plan = {"minio_drives": ["/var/lib/minio"], "server_is_alone": True}
    for role in ("mlflow_server", "postgres", "minio"):
        variables = {**role_variables(role, {f"{role}_deployment": "container"}), **facts, "_atlas_mlflow_plan": plan}
        needed = Templar(loader=LOADER, variables=variables).template(trusted(needs_of(role)))
        assert {name for name in needed if name.startswith("docker")} == programs, role
