"""An environment that the facts have as it is asked for is not looked at again; any other is the module's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.atlas.mlflow.plugins.action import uv_environment
from ansible_collections.atlas.mlflow.plugins.module_utils.environments import wanted_stamp

PATH = "/opt/mlflow/releases/3.17.2"
ARGUMENTS = {"path": PATH, "requirements": "six==1.16.0\n", "extra_files": {"one.py": "ONE = 1\n"}, "uv_path": "/opt/mlflow/uv", "uv_requirements": "uv\n"}
STAMP = wanted_stamp(ARGUMENTS["requirements"], "/usr/bin/python3.13", ARGUMENTS["extra_files"])
FACTS = {"python3": "/usr/bin/python3.13", "installed": {"environments": {PATH: STAMP}}}


def run(monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """Run the action with a module that says that it was asked."""
    monkeypatch.setattr(uv_environment.ActionBase, "run", lambda *_: {})
    monkeypatch.setattr(uv_environment.ActionModule, "_execute_module", lambda _, wrap_async, **__: {"asked": True, "wrap_async": wrap_async})
    action = object.__new__(uv_environment.ActionModule)
    action._task = SimpleNamespace(args={**ARGUMENTS, **changed}, async_val=changed.pop("async_val", 0))
    return action.run(task_vars={"ansible_facts": facts})


def test_one_that_is_as_asked_for_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, FACTS) == {"changed": False, "changed_parts": [], "path": PATH, "python": f"{PATH}/bin/python"}


@pytest.mark.parametrize(
    ("facts", "changed"),
    [
        ({}, {}),
        ({"installed": FACTS["installed"]}, {}),
        ({**FACTS, "python3": "/usr/bin/python3.14"}, {}),
        ({**FACTS, "installed": {"environments": {PATH: {}}}}, {}),
        ({**FACTS, "installed": {"environments": {PATH: {**STAMP, "more": 1}}}}, {}),
        (FACTS, {"path": "/opt/mlflow/releases/3.17.1"}),
        (FACTS, {"requirements": "six==1.17.0\n"}),
        (FACTS, {"extra_files": {"one.py": "ONE = 2\n"}}),
        (FACTS, {"extra_files": {}}),
        (FACTS, {"python": "python3.12"}),
    ],
)
def test_any_other_is_the_modules(monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any], changed: dict[str, Any]) -> None:
    assert run(monkeypatch, facts, **changed) == {"asked": True, "wrap_async": False}


def test_it_is_made_in_the_background_if_the_task_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, {}, async_val=1800)["wrap_async"] is True
