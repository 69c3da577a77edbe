"""Each role's argument specs and defaults describe the same variables, and prefixes hold."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROLES = sorted(path for path in (Path(__file__).resolve().parents[3] / "roles").iterdir() if not path.name.startswith("_"))


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
    internal = yaml.safe_load((role / "vars/main.yml").read_text())
    assert [name for name in internal if not name.startswith(f"_{role.name}_")] == []
