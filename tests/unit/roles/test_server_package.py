"""The server's own code is one package: no module imports another in a circle, and each name that something runs it by is there."""

from __future__ import annotations

import ast
import graphlib
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from ansible.template import Templar
from in_process import LOADER, ROOT, role_variables

ROLE = ROOT / "roles/mlflow_server"
LIB = ROLE / "files/lib"
PACKAGE = LIB / "atlas_mlflow"
#: What an earlier release of the collection called a part of the server's code.
FORMER = re.compile(r"\batlas_mlflow_(?:auth|folders|gc|health|keys|oidc|proxy|start|store)\b")


def imported(path: Path, package: Path) -> set[str]:
    """Return the modules of a package that one of its modules imports anywhere, in a function or for the types alone too."""
    modules = {module.stem for module in package.glob("*.py")}
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = ".".join(filter(None, (package.name if node.level else "", node.module)))
            names += [f"{origin}.{alias.name}" for alias in node.names]
    parts = [name.split(".") for name in names]
    return {part[1] for part in parts if part[0] == package.name and part[1:] and part[1] in modules}


def import_graph(package: Path) -> dict[str, set[str]]:
    """Return, for each module of a package, the modules of it that it imports."""
    return {path.stem: imported(path, package) for path in package.glob("*.py") if path.stem != "__init__"}


def test_no_module_imports_another_in_a_circle() -> None:
    graph = import_graph(PACKAGE)
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert order.index("stores") < order.index("schema") < order.index("users") < order.index("prepare") < order.index("start")
    # A package below would not be in the graph, nor be shipped.
    assert not list(PACKAGE.glob("*/*.py"))


@pytest.mark.parametrize(
    "statement",
    [
        "import pack.two",
        "from pack import two",
        "from pack.two import name",
        "from . import two",
        "from .two import name",
        "def f():\n    from pack import two",
    ],
)
def test_a_circle_is_found_however_it_is_written(tmp_path: Path, statement: str) -> None:
    package = tmp_path / "pack"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "two.py").write_text("import os\nfrom pack.three import name\n")
    (package / "three.py").write_text("from pack import one\n")
    (package / "one.py").write_text("import json\n")
    assert import_graph(package) == {"one": set(), "two": {"three"}, "three": {"one"}}
    (package / "one.py").write_text(statement + "\n")
    with pytest.raises(graphlib.CycleError):
        list(graphlib.TopologicalSorter(import_graph(package)).static_order())


def defined(module: str) -> set[str]:
    """Return the names that a module defines or imports, without a run of it: it needs MLflow."""
    names = set()
    for node in ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def test_mlflow_finds_the_entry_points() -> None:
    (distribution,) = metadata.distributions(path=[str(LIB)])
    found = {(point.group, point.name): point for point in distribution.entry_points}
    assert set(found) == {("mlflow.artifact_repository", "proxied-s3"), ("mlflow.app", "atlas-oidc")}
    for point in found.values():
        package, _dot, module = point.module.partition(".")
        assert package == PACKAGE.name and point.attr in defined(module), point
    assert distribution.metadata["Name"] == "atlas-mlflow"
    # Several that need the same folder for their metadata would hide one another.
    assert [path.name for path in LIB.glob("*.dist-info")] == [f"atlas_mlflow-{distribution.version}.dist-info"]


def test_what_is_run_by_its_name_is_there() -> None:
    """By a unit, a container, a timer, a playbook or a test on a host."""
    text = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in (
            ROLE / "tasks",
            ROLE / "vars",
            ROLE / "templates",
            ROOT / "tests/stack",
            ROOT / "molecule",
            ROOT / "playbooks",
            ROOT / "plugins/module_utils",
        )
        for path in folder.rglob("*")
        if path.suffix in (".yml", ".j2", ".py")
    )
    run = set(re.findall(r"-m['\", ]+atlas_mlflow\.(\w+)", text))
    assert run == {"gc", "health", "keys", "move", "prepare", "serve", "start", "users"}
    for module in run:
        assert '\nif __name__ == "__main__":\n' in (PACKAGE / f"{module}.py").read_text(encoding="utf-8"), module
    assert FORMER.findall(text) == []


def resolve(expression: str, **given: Any) -> Any:
    """Return the value of a variable of the role."""
    variables = role_variables("mlflow_server", {"ansible_facts": {}, **given})
    return Templar(loader=LOADER, variables=variables).template(variables[expression])


def test_the_uri_of_replicas_is_among_the_secrets_of_the_environment_and_in_no_argument() -> None:
    plan = {"read_replica_store": "postgresql+psycopg2://mlflow@/mlflow?host=a,b&target_session_attrs=prefer-standby", "server_is_alone": True, "proxies": []}
    own = "postgresql+psycopg2://u:canary-secret@replica/m"
    for given, wanted in (({"mlflow_server_read_replica_store_uri": own}, own), ({}, None)):
        known = {"_atlas_mlflow_plan": plan, **given}
        environment = resolve("_mlflow_server_environment", **known)
        assert environment["MLFLOW_READ_REPLICA_BACKEND_STORE_URI"] == wanted
        assert "canary" not in str(resolve("_mlflow_server_argv", **known))


def test_each_file_is_shipped_and_no_other_is_left_where_a_container_looks() -> None:
    paths = [path for path in LIB.glob("[!.]*/**/*") if path.is_file() and path.suffix != ".pyc"]
    files = {str(path.relative_to(LIB)): path.read_text(encoding="utf-8") for path in paths}
    assert resolve("_mlflow_server_lib") == files
    written = {
        entry["path"]: entry for entry in resolve("_mlflow_server_container_files", mlflow_server_backend_store_uri="sqlite:////var/lib/mlflow/mlflow.db")
    }
    folder = resolve("_mlflow_server_container_lib_dir")
    assert {path.removeprefix(f"{folder}/"): entry["content"] for path, entry in written.items() if path.startswith(folder) and "content" in entry} == files
    assert written[folder]["purge"] is True
    mounts = resolve("_mlflow_server_container_mounts", mlflow_server_backend_store_uri="sqlite:////var/lib/mlflow/mlflow.db")
    (target,) = [mount["target"] for mount in mounts if mount["source"] == folder]
    assert resolve("_mlflow_server_container_environment")["PYTHONPATH"] == target
