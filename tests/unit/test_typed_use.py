"""A boolean or a number may come as text, by `-e name=value`, an INI inventory or a look-up. So each use of such a variable gives it its type."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible_collections.atlas.mlflow.plugins.plugin_utils.settings import specifications
from jinja2 import nodes

ROOT = Path(__file__).resolve().parents[2]
#: The filter by which a use gives the type. What a filter such as `default` returns may have to be given it.
TYPED_BY = {"bool": "bool", "int": "int"}
TYPES = {name: option["type"] for name, option in specifications(ROOT / "roles").items() if option.get("type") in TYPED_BY}
#: Filters through which a value goes on to the one that gives it its type.
PASSED_ON = {"default", "ternary", "d"}
#: Words of a task that are Jinja without braces.
CONDITIONS = ("when", "changed_when", "failed_when", "until", "that")


class _Loader(yaml.SafeLoader):
    """YAML with Ansible's own tags."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: getattr(node, "value", None))


def texts(value: Any, bare: bool = False) -> Iterator[str]:
    """Return all templates in a document; conditions get the braces that they leave out."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from texts(item, bare or key in CONDITIONS)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item, bare)
    elif isinstance(value, str) and "{{" not in value and "{%" not in value and bare:
        yield "{{ " + value + " }}"
    elif isinstance(value, str):
        yield value


def environment() -> jinja2.Environment:
    """Return an environment that knows any filter and any test."""
    made = jinja2.Environment(extensions=["jinja2.ext.do"])
    made.filters = _Any(made.filters)
    made.tests = _Any(made.tests)
    return made


class _Any(dict):  # type: ignore[type-arg]
    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> Any:
        return lambda *_: None


def untyped(template: str) -> list[str]:
    """Return the variables that a template uses without giving them their type."""
    found: list[str] = []

    def walk(node: nodes.Node, typed: tuple[str, ...]) -> None:
        name = node.name if isinstance(node, nodes.Name) else node.attr if isinstance(node, nodes.Getattr) else ""
        if name in TYPES and TYPED_BY[TYPES[name]] not in typed and not (TYPES[name] == "int" and "text" in typed):
            found.append(name)
        for child in node.iter_child_nodes():
            inner: tuple[str, ...] = ()
            if isinstance(node, nodes.Filter) and child is node.node:
                inner = (*typed, node.name) if node.name in PASSED_ON else ("text",) if node.name == "string" else (node.name,)
            elif isinstance(node, nodes.Filter) and node.name in PASSED_ON and child in node.args:
                inner = typed
            elif isinstance(node, nodes.Test) and child is node.node and node.name in ("defined", "undefined"):
                inner = tuple(TYPED_BY.values())
            elif isinstance(node, (nodes.CondExpr,)) and child is not node.test:
                inner = typed
            elif isinstance(node, (nodes.Output, nodes.Concat)):
                # Text of a number is as good as the number, and a boolean is compared with text only to see whether it is one.
                inner = ("text", *(TYPED_BY.values() if isinstance(node, nodes.Concat) else ()))
            walk(child, inner)

    walk(environment().parse(template), ())
    # Names that a filter is given as text: map(attribute='mlflow_server_port', default=5001).
    for name, rest in re.findall(r"map\((?:attribute=)?'(\w+)'[^)]*\)\s*((?:\|\s*map\('\w+')?)", template):
        if name in TYPES and f"'{TYPED_BY[TYPES[name]]}'" not in rest:
            found.append(name)
    return found


def sources() -> list[Path]:
    """Return the files of roles and playbooks that have templates."""
    found = [path for folder in ("roles", "playbooks") for path in (ROOT / folder).rglob("*") if path.suffix in (".yml", ".j2")]
    return sorted(path for path in found if "meta" not in path.parts and "files" not in path.parts)


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_each_use_gives_the_type(path: Path) -> None:
    content = path.read_text()
    templates = [content] if path.suffix == ".j2" else list(texts(yaml.load(content, Loader=_Loader)))
    faults = [name for template in templates for name in untyped(template)]
    assert faults == []


@pytest.mark.parametrize(
    "template",
    [
        "{{ minio_remove_data and true }}",
        "{{ hostvars['a'].haproxy_servers_tls | default(false) }}",
        "{{ 1 if postgres_port == 5432 else 2 }}",
        "{{ servers | map(attribute='mlflow_server_port', default=5001) | list }}",
    ],
)
def test_a_use_without_its_type_is_found(template: str) -> None:
    assert len(untyped(template)) == 1


def test_a_use_with_its_type_passes() -> None:
    assert untyped("{{ minio_remove_data | bool and postgres_port | default(5432) | int == 1 and firewall_enabled is defined }}") == []
