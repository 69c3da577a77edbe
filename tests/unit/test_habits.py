"""The workflows, hooks and bots of the repository: what they run exists, and what they list is what the tree has."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.compat.version import LooseVersion
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules import systems

from tools import pins, schemas
from tools.testbed import images, scenarios

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
#: Roles that Enterprise Linux has no packages for.
NOT_ON_EL = {"backup", "etcd", "metrics", "prometheus"}
MOLECULE = ROOT / ".github/workflows/molecule.yml"
TARGETS = set(re.findall(r"^([a-z]+): ##", (ROOT / "Makefile").read_text(), re.MULTILINE))
RENOVATE = json.loads((ROOT / "renovate.json").read_text())
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]


def steps(workflow: Path) -> Iterator[dict[str, Any]]:
    """Return the steps of all jobs."""
    for job in yaml.safe_load(workflow.read_text())["jobs"].values():
        yield from job.get("steps", [])


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_targets_of_the_makefile_with_few_rights_and_a_time_limit(workflow: Path) -> None:
    content = yaml.safe_load(workflow.read_text())
    assert content["permissions"] == {"contents": "read"}
    assert [name for name, job in content["jobs"].items() if "timeout-minutes" not in job and "uses" not in job] == []
    called = {word for step in steps(workflow) for word in re.findall(r"\bmake ([a-z]+)", step.get("run", ""))}
    assert called - TARGETS == set()
    assert [job["uses"] for job in content["jobs"].values() if "uses" in job and not (ROOT / job["uses"]).exists()] == []


def test_an_action_has_one_version_in_all_workflows_by_its_commit() -> None:
    used = {step["uses"] for workflow in WORKFLOWS for step in steps(workflow) if "uses" in step}
    assert len({name.partition("@")[0] for name in used}) == len(used) > 3
    assert [name for name in used if not re.search(r"@[0-9a-f]{40}$", name)] == []


def test_the_matrix_of_scenarios_is_what_the_folders_are(tmp_path: Path) -> None:
    (step,) = (step for step in steps(MOLECULE) if step.get("id") == "list")
    output = tmp_path / "output"
    subprocess.run(["bash", "-euo", "pipefail", "-c", step["run"]], cwd=ROOT, env={"PATH": "/usr/bin:/bin", "GITHUB_OUTPUT": str(output)}, check=True)
    listed = json.loads(output.read_text().partition("=")[2])
    # The machines of the workflow are small for a cluster. A browser is only left out of CI, for its time.
    assert listed == sorted(set(scenarios.discover(ROOT / "molecule")) - {"cluster"})
    assert {"cluster"} <= set(scenarios.BY_NAME)
    # Else the workflow ends a scenario that the test bed lets go on, without its logs.
    longest = max(scenarios.TIMEOUTS.get(name, scenarios.TIMEOUT) for name in listed)
    assert yaml.safe_load(MOLECULE.read_text())["jobs"]["test"]["timeout-minutes"] * 60 > longest


def test_the_supported_systems_are_those_of_the_roles_the_test_hosts_the_workflow_and_the_documentation() -> None:
    supported = {f"{name}{version}" for name, (_shown, versions) in systems.SUPPORTED.items() for version in versions}
    assert set(images.SYSTEMS) == supported
    codenames = {system.codename for system in images.SYSTEMS.values()}
    for meta in sorted((ROOT / "roles").glob("*/meta/main.yml")):
        listed = yaml.safe_load(meta.read_text())["galaxy_info"]["platforms"]
        of_el = [platform["versions"] for platform in listed if platform["name"] == "EL"]
        assert of_el == ([] if meta.parents[1].name in NOT_ON_EL else [["9", "10"]]), meta
        assert {version for platform in listed if platform["name"] != "EL" for version in platform["versions"]} == codenames, meta
    (matrix,) = (job["strategy"]["matrix"]["system"] for name, job in yaml.safe_load(MOLECULE.read_text())["jobs"].items() if name == "systems")
    # The scenarios themselves have Debian.
    assert set(matrix) == {name for name in supported if not name.startswith("debian")}
    page = (ROOT / "docs/install/systems.md").read_text()
    shown = {f"{shown} {version}" for shown, versions in systems.SUPPORTED.values() for version in versions}
    assert set(re.findall(r"^\| ((?:Debian|Ubuntu) \S+) \|", page, re.MULTILINE)) == shown


def test_systems_on_which_nobody_has_run_the_roles_are_called_not_run_and_stand_in_the_workflow() -> None:
    assert {versions for _shown, versions in systems.UNRUN.values()} == {("9", "10")} == {tuple(systems.POSTGRES_OF_EL)}
    (row,) = re.findall(r"^\| (.*) 9 and 10 \|.*\| \*\*not run\*\* \|", (ROOT / "docs/install/systems.md").read_text(), re.MULTILINE)
    assert {name.strip() for name in re.split(",| and ", row)} == {shown for shown, _versions in systems.UNRUN.values()}
    job = yaml.safe_load(MOLECULE.read_text())["jobs"]["unrun_systems"]
    assert job["continue-on-error"] is True and len(job["strategy"]["matrix"]["image"]) == 4
    inventory = yaml.safe_load((ROOT / ".github/enterprise_linux.yml").read_text())["all"]["vars"]
    assert inventory[systems.ACCEPTED] is True


def test_each_form_and_each_workflow_has_a_schema() -> None:
    found = {str(path) for folder in ("workflows", "ISSUE_TEMPLATE") for path in (ROOT / ".github" / folder).iterdir()} | {str(ROOT / "renovate.json")}
    assert {path for paths in schemas.files(ROOT).values() for path in paths} == found


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_a_hook_runs_a_tool_of_the_environment_that_is_there(hook: dict[str, Any]) -> None:
    assert hook.keys() >= {"id", "name", "entry", "language"} and hook["language"] == "system"
    words = hook["entry"].split()
    assert words[0].startswith(".venv/bin/")
    paths = [word for word in words if word.endswith(".py")] + [f"{word.replace('.', '/')}.py" for word in words if word.startswith("tools.")]
    assert [path for path in paths if not (ROOT / path).exists()] == []
    tracked = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "files" not in hook or any(re.search(hook["files"], path) for path in tracked.splitlines())


@pytest.mark.parametrize("manager", RENOVATE["customManagers"], ids=lambda manager: manager["description"])
def test_the_bot_finds_the_pins(manager: dict[str, Any]) -> None:
    (pattern,) = manager["managerFilePatterns"]
    (path,) = (path for path in ("tools/pins.yml", "execution-environment.yml") if re.search(pattern.strip("/").replace("\\/", "/"), path))
    found = [
        match.groupdict() for text in manager["matchStrings"] for match in re.finditer(re.sub(r"\(\?<(\w+)>", r"(?P<\1>", text), (ROOT / path).read_text())
    ]
    expected = {
        "Packages in tools/pins.yml": ["uv", "patroni"],
        "The registry of the scenarios in tools/pins.yml": ["github.com/distribution/distribution"],
        "Packages of the image for ansible-navigator": ["ansible-core", "ansible-runner"],
    }[manager["description"]]
    assert [pin["depName"] for pin in found] == expected
    assert all(re.fullmatch(r"v?\d+(\.\d+)+", pin["currentValue"]) for pin in found)


def test_the_bot_leaves_pins_alone_that_follow_another_one() -> None:
    left_alone = {name for rule in RENOVATE["packageRules"] if rule.get("enabled") is False for name in rule["matchPackageNames"]}
    assert left_alone == {name for _path, name in pins.FOLLOW}


def test_the_bot_keeps_the_older_pin_of_a_package_with_two() -> None:
    text, follow = (ROOT / "tools/requirements.in").read_text(), {name for _path, name in pins.FOLLOW}
    older = {found["name"]: found["version"] for found in pins.REQUIREMENT.finditer(text) if found["sign"] == "<" and found["name"] not in follow}
    newer = {found["name"]: found["version"] for found in pins.REQUIREMENT.finditer(text) if found["sign"] == ">="}
    for name, version in older.items():
        (rule,) = (rule for rule in RENOVATE["packageRules"] if "allowedVersions" in rule and name in rule["matchPackageNames"])
        current = re.compile(rule["matchCurrentValue"].strip("/"))
        limit = LooseVersion(rule["allowedVersions"].removeprefix("<"))
        assert current.match(f"=={version}") and not current.match(f"=={newer[name]}") and LooseVersion(version) < limit <= LooseVersion(newer[name])
    assert set(older) == {"ansible-core"}


def test_the_bot_writes_locks_that_exist() -> None:
    (rule,) = (rule for rule in RENOVATE["packageRules"] if "postUpgradeTasks" in rule)
    command = rule["postUpgradeTasks"]["commands"][-1].split()
    done = subprocess.run([sys.executable, *command[1:], "--check"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_container_of_developers_is_made_from_a_file_that_is_there() -> None:
    settings = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    image = (ROOT / ".devcontainer" / settings["build"]["dockerfile"]).read_text()
    # Only recommended by docker.io in this release, and not in it.
    assert "FROM debian:13\n" in image and {"docker-cli", "docker.io"} <= set(image.split())
    assert settings["postCreateCommand"].removeprefix("make ") in TARGETS
