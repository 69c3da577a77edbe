"""What a published collection needs: ranges and versions that agree, an action group whose modules share their options, metadata of images, and changes."""

from __future__ import annotations

import ast
import fnmatch
import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.compat.version import LooseVersion
from ansible_builder.ee_schema import schema_v3
from jsonschema import Draft7Validator

ROOT = Path(__file__).resolve().parents[2]
GALAXY = yaml.safe_load((ROOT / "galaxy.yml").read_text())
RUNTIME = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())
IMAGE = yaml.safe_load((ROOT / "execution-environment.yml").read_text())
#: The options that a task of the action group may leave out, because `module_defaults` sets them.
SHARED = {"url", "username", "password", "validate_certs", "ca_path", "tls_name", "timeout"}
SECTIONS = {section for section, _title in yaml.safe_load((ROOT / "changelogs/config.yaml").read_text())["sections"]}


def documentation(module: str) -> dict[str, Any]:
    """Return the documentation of a module, without its fragments."""
    tree = ast.parse((ROOT / f"plugins/modules/{module}.py").read_text())
    assigned = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)}
    found: dict[str, Any] = yaml.safe_load(ast.literal_eval(assigned["DOCUMENTATION"]))
    return found


def test_the_collection_depends_on_the_ranges_that_a_checkout_installs() -> None:
    listed = yaml.safe_load((ROOT / "requirements.yml").read_text())["collections"]
    assert GALAXY["dependencies"] == {entry["name"]: entry["version"] for entry in listed}


def test_modules_of_the_action_group_are_those_with_the_options_of_a_tracking_server() -> None:
    modules = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))
    assert RUNTIME["action_groups"] == {
        "mlflow": [name for name in modules if "atlas.mlflow.tracking_server" in documentation(name).get("extends_documentation_fragment", [])]
    }


@pytest.mark.parametrize("name", RUNTIME["action_groups"]["mlflow"])
def test_a_module_of_the_action_group_takes_all_options_that_its_defaults_may_set(name: str) -> None:
    module = importlib.import_module(f"ansible_collections.atlas.mlflow.plugins.modules.{name}")
    assert SHARED - module.ARGUMENTS.keys() == set()


def test_the_image_has_the_versions_that_the_tools_have() -> None:
    assert [error.message for error in Draft7Validator(schema_v3).iter_errors(IMAGE)] == []
    pinned = re.findall(r"^(ansible-core==\S+)", (ROOT / "tools/requirements.in").read_text(), re.MULTILINE)
    assert IMAGE["dependencies"]["ansible_core"]["package_pip"] == pinned[0]
    assert IMAGE["dependencies"]["galaxy"]["collections"] == [{"name": f"{GALAXY['namespace']}.{GALAXY['name']}", "version": GALAXY["version"]}]


def test_secrets_and_inventories_of_a_checkout_are_not_published() -> None:
    def is_left_out(path: str) -> bool:
        # As ansible-galaxy compares a file and each folder above it.
        parts = path.split("/")
        return any(fnmatch.fnmatch("/".join(parts[:end]), pattern) for end in range(1, len(parts) + 1) for pattern in GALAXY["build_ignore"])

    for folder in ("", "inventories/mine/", "inventories/one_host/", "inventories/teams/red/"):
        assert is_left_out(f"{folder}.secrets/tls/authority.key"), folder
    assert is_left_out("inventories/mine/hosts.yml") and is_left_out("inventories/mine/group_vars/all.yml")
    shipped = sorted((ROOT / "inventories").glob("*/hosts.yml"))
    assert [path.parent.name for path in shipped if is_left_out(str(path.relative_to(ROOT)))] in ([], ["mine"])


def test_the_metadata_of_images_name_files_of_the_collection() -> None:
    metadata = yaml.safe_load((ROOT / "meta/execution-environment.yml").read_text())
    assert metadata["version"] == 1
    assert [name for name in metadata["dependencies"].values() if not (ROOT / name).exists() or name in GALAXY["build_ignore"]] == []


def test_a_command_in_a_message_runs_a_playbook_of_an_installed_collection() -> None:
    # An installed collection has no site.yml in the working directory. In a checkout, the names of the collection work too.
    texts = [path for folder in ("playbooks", "roles", "plugins") for kind in ("*.yml", "*.py") for path in sorted((ROOT / folder).rglob(kind))]
    lines = [(path, line) for path in texts for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    called = [(str(path.relative_to(ROOT)), name) for path, line in lines for name in re.findall(r"\bansible-playbook (\S+)", line)]
    assert len(called) > 2 and [(path, name) for path, name in called if not name.startswith("atlas.mlflow.")] == []


def test_a_module_is_in_the_changelog_of_the_release_that_added_it() -> None:
    releases = yaml.safe_load((ROOT / "changelogs/changelog.yaml").read_text())["releases"]
    added = {entry["name"]: version for version, release in releases.items() for entry in release.get("modules", [])}
    documented = {path.stem: str(documentation(path.stem)["version_added"]) for path in (ROOT / "plugins/modules").glob("*.py")}
    # antsibull-changelog lists the modules whose documentation names the release. A module that no release has names the next one.
    released = {name: version for name, version in documented.items() if LooseVersion(version) <= LooseVersion(GALAXY["version"])}
    assert released == added


def test_changes_of_releases_are_in_the_changelog() -> None:
    releases = yaml.safe_load((ROOT / "changelogs/changelog.yaml").read_text())["releases"]
    written = " ".join((ROOT / "CHANGELOG.rst").read_text().split())
    texts = [text for release in releases.values() for section in release["changes"].values() for text in ([section] if isinstance(section, str) else section)]
    assert len(texts) > 50 and [text for text in texts if " ".join(text.split()) not in written] == []
    assert GALAXY["version"] in releases


@pytest.mark.parametrize("path", sorted((ROOT / "changelogs/fragments").glob("*.y*ml")), ids=lambda path: path.name)
def test_a_change_is_in_sections_of_the_changelog(path: Path) -> None:
    fragment = yaml.safe_load(path.read_text())
    assert fragment.keys() <= SECTIONS | {"release_summary", "trivial"}
    assert all(isinstance(texts, list) and all(isinstance(text, str) for text in texts) for name, texts in fragment.items() if name != "release_summary")


@pytest.mark.parametrize("path", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda path: path.name)
def test_a_step_of_a_workflow_fails_if_a_command_before_a_pipe_fails(path: Path) -> None:
    """GitHub's default shell has no pipefail; a shell that is named has."""
    workflow = yaml.safe_load(path.read_text())
    default = workflow.get("defaults", {}).get("run", {}).get("shell")
    steps = [step for job in workflow["jobs"].values() for step in job.get("steps", []) if re.search(r"[^|]\|[^|]", step.get("run", ""))]
    assert [step for step in steps if step.get("shell", default) != "bash"] == []
