"""Each role's argument specs and defaults describe the same variables, and prefixes hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from in_process import role_vars

ROLES = sorted(path for path in (Path(__file__).resolve().parents[3] / "roles").iterdir() if path.name != "common")


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_specs_and_defaults_name_the_same_variables(role: Path) -> None:
    defaults = yaml.safe_load((role / "defaults/main.yml").read_text())
    specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert sorted(defaults) == sorted(specs)
    assert [name for name in defaults if not name.startswith(f"{role.name}_")] == []


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_a_default_that_both_give_is_the_same(role: Path) -> None:
    defaults = yaml.safe_load((role / "defaults/main.yml").read_text())
    specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    plain = {name: value for name, value in defaults.items() if "{{" not in str(value)}
    assert {name: specs[name].get("default") for name in plain} == plain


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_internal_variables_say_that_they_are(role: Path) -> None:
    # Those of Ansible itself, such as its user for become, have Ansible's names.
    assert [name for name in role_vars(role) if not name.startswith((f"_{role.name}_", "ansible_"))] == []


@pytest.mark.parametrize("path", sorted(path for role in ROLES for path in role.glob("vars/**/*.yml")), ids=lambda path: "/".join(path.parts[-4:]))
def test_a_file_of_variables_is_short_and_of_one_subject(path: Path) -> None:
    assert path.read_text().count("\n") <= 80


def test_no_variable_is_in_two_files_of_a_role() -> None:
    for role in ROLES:
        names = [name for path in role.glob("vars/**/*.yml") for name in yaml.safe_load(path.read_text())]
        assert len(names) == len(set(names))


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_a_secret_is_called_one(role: Path) -> None:
    """By which no message shows its value."""
    specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]
    options = {name: option for entry in specs.values() for name, option in (entry.get("options") or {}).items() if option.get("type") != "path"}
    secret = re.compile(r"password|passphrases?$|secret|_webhook_keys?$|_store_uri$")
    assert [name for name, option in options.items() if secret.search(name) and not option.get("no_log")] == []


def test_the_releases_listed_are_those_with_a_lock() -> None:
    role = next(role for role in ROLES if role.name == "mlflow_server")
    listed = role_vars(role)["_mlflow_server_releases"]
    shipped = [path.name for path in (role / "files/releases").iterdir() if (path / "requirements.txt").stat().st_size and (path / "options.json").exists()]
    assert sorted(listed) == sorted(shipped)
    assert yaml.safe_load((role / "defaults/main.yml").read_text())["mlflow_server_version"] == listed[0]
