"""What the shared code of the modules imports of each other: no circles, and no more than a module needs, as each file goes to the host."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[4] / "plugins"
SHARED = PLUGINS / "module_utils"
PREFIX = "ansible_collections.atlas.mlflow.plugins."


@cache
def imported(path: Path) -> frozenset[Path]:
    """Return the files of the collection that a file imports, wherever in it."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path} imports by a relative name"
        files = (PLUGINS / (name.removeprefix(PREFIX).replace(".", "/") + ".py") for name in names if name.startswith(PREFIX))
        found.update(file for file in files if file.is_file())
    return frozenset(found)


def shipped(path: Path) -> set[str]:
    """Return the names of all files of C(module_utils) that go to a host with a file."""
    seen: set[Path] = set()
    todo = [path]
    while todo:
        new = imported(todo.pop()) - seen
        seen |= new
        todo += new
    return {name_of(file) for file in seen if SHARED in file.parents}


def name_of(file: Path) -> str:
    """Return a file of C(module_utils) as it is imported from there."""
    return str(file.relative_to(SHARED).with_suffix(""))


def test_the_shared_code_has_no_circles() -> None:
    files = sorted(SHARED.rglob("*.py"))
    assert len(files) > 20
    order = list(TopologicalSorter({file: imported(file) for file in files}).static_order())
    assert set(files) <= set(order)


def test_all_shared_code_is_used() -> None:
    users = [path for path in PLUGINS.rglob("*.py") if SHARED not in path.parents]
    there = {name_of(file) for file in SHARED.rglob("*.py") if file.name != "__init__.py"}
    assert there == {name for user in users for name in shipped(user)}


@pytest.mark.parametrize(
    ("module", "needless"),
    [
        ("files", {"sockets", "units", "faults", "web"}),
        ("host_facts", {"faults", "findings", "judge_sockets", "judge_answers", "tracking", "web", "round_trip"}),
        ("mlflow_user", {"findings", "judge_answers", "judge_sockets", "sockets"}),
        ("mlflow_probe", {"diagnosis/collect", "diagnosis/find", "diagnosis/search", "diagnosis/stores", "diagnosis/memory", "diagnosis/judge"}),
        ("mlflow_diagnose", {"diagnosis/judge", "faults", "findings", "judge_answers", "judge_sockets"}),
        ("cluster_diagnose", {"faults", "diagnosis/judge", "diagnosis/judge_hosts", "diagnosis/find", "diagnosis/collect", "tracking"}),
        ("oidc_probe", {"judge_sockets", "sockets", "round_trip"}),
    ],
)
def test_a_module_takes_no_more_to_the_host_than_it_needs(module: str, needless: set[str]) -> None:
    ships = shipped(PLUGINS / "modules" / f"{module}.py")
    assert ships and not ships & needless, sorted(ships & needless)
