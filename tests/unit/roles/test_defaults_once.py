"""A role's default is written in the role, and nowhere else: a second one is forgotten when the first is changed."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.atlas.mlflow.plugins.plugin_utils.settings import specifications
from jinja2 import nodes
from test_typed_use import _Loader, environment, sources, texts

ROOT = Path(__file__).resolve().parents[3]
OPTIONS = specifications(ROOT / "roles")
#: The collection's switches have no role whose defaults they could be among. They are read with the default of their specification.
SWITCHES = set(OPTIONS) - {name for path in ROOT.glob("roles/*/defaults/main.yml") for name in yaml.safe_load(path.read_text())}
#: What an option without a default is if nothing sets it.
EMPTY: tuple[Any, ...] = ("", [], {}, None)
#: What runs on hosts is documented by itself, and reads no defaults of roles.
CONTROL_NODE = [path for folder in ("action", "filter", "lookup", "plugin_utils") for path in sorted((ROOT / "plugins" / folder).rglob("*.py"))]
#: Constants in Python that are equal to a default by chance.
BY_CHANCE = {("releases.py", "3.17.2"): "the oldest release with a plugin for OpenID Connect"}

WITHOUT_PLAN = re.compile(r"_atlas_mlflow_plan\.\w+ \| default\('([^']+)'\)")


@functools.cache
def defaults() -> dict[str, list[str]]:
    """Return the defaults that are told from other words by what they are, each with the options that have it."""
    found: dict[str, list[str]] = {}
    for path in ROOT.glob("roles/*/defaults/main.yml"):
        for name, value in yaml.safe_load(path.read_text()).items():
            plain = isinstance(value, str) and "{{" not in value and "choices" not in OPTIONS[name]
            if plain and len(value) >= 6 and re.search("[a-z]", value) and re.search("[/.:-]", value):
                found.setdefault(value, []).append(name)
    return found


def second_defaults(template: str) -> list[str]:
    """Return the options for which a template has a default of its own: ``X | default(LITERAL)``."""
    found = []
    for node in environment().parse(template).find_all(nodes.Filter):
        literal = node.args[0] if node.args else nodes.Const("")
        if isinstance(node.node, nodes.Getattr) and getattr(node.node.node, "name", "") == "_atlas_mlflow_plan":
            continue
        name = node.node.name if isinstance(node.node, nodes.Name) else node.node.attr if isinstance(node.node, nodes.Getattr) else ""
        if node.name not in ("default", "d") or name not in OPTIONS or not isinstance(literal, nodes.Literal):
            continue
        value = literal.as_const()
        if name not in SWITCHES or (value != OPTIONS[name]["default"] if "default" in OPTIONS[name] else value not in EMPTY):
            found.append(name)
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_template_has_a_second_default(path: Path) -> None:
    content = path.read_text()
    templates = [content] if path.suffix == ".j2" else list(texts(yaml.load(content, Loader=_Loader)))
    assert [name for template in templates for name in second_defaults(template)] == []


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_of_roles_and_playbooks_has_the_value_of_a_default_again(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    own = {value: names for value, names in defaults().items() if path.parts[-2:] == ("defaults", "main.yml")}
    found = []
    for value in defaults():
        again = [line for line in lines if value in line and re.search(rf"(?<![\w/.:-]){re.escape(value)}(?![\w/.-])", line)]
        # What a variable is without a plan is its only default, as a plain value would be.
        again = [line for line in again if not (path.parts[-2] == "defaults" and WITHOUT_PLAN.findall(line) == [value])]
        found += [line for line in again if not any(line.startswith(f"{name}:") for name in own.get(value, []))]
    assert found == []


@pytest.mark.parametrize("path", CONTROL_NODE, ids=lambda path: str(path.relative_to(ROOT / "plugins")))
def test_python_on_the_control_node_reads_defaults_from_the_roles(path: Path) -> None:
    known, found = defaults(), []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and node.value in known and (path.name, node.value) not in BY_CHANCE:
            found.append(node.value)
        is_get = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get" and len(node.args) == 2
        if is_get and all(isinstance(argument, ast.Constant) for argument in node.args) and node.args[0].value in OPTIONS:  # type: ignore[attr-defined]
            found.append(node.args[0].value)  # type: ignore[attr-defined]
    assert found == []


@pytest.mark.parametrize(
    "template",
    [
        "{{ mlflow_server_port | default(5001) }}",
        "{{ hostvars['db'].postgres_remove_data | default(false) | bool }}",
        "{{ atlas_mlflow_tls_renew_days | default(60) }}",
        "{{ atlas_mlflow_package_index | default('https://example.com') }}",
    ],
)
def test_a_second_default_is_found(template: str) -> None:
    assert len(second_defaults(template)) == 1


def test_a_switch_with_the_default_of_its_specification_and_what_is_no_literal_pass() -> None:
    assert second_defaults("{{ atlas_mlflow_deployment | default('systemd') }}{{ atlas_mlflow_package_index | default('') }}") == []
    assert second_defaults("{{ mlflow_server_admin_password | default(lookup('x')) }}{{ postgres_port }}") == []
