"""Python of a host is found in silence by Ansible's default, and a user's own choice is kept."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.atlas.mlflow.plugins.action import host_facts


CASES = [(None, "auto_silent"), ("auto", "auto_silent"), ("auto_legacy_silent", "auto_legacy_silent"), ("/usr/bin/python3.12", "/usr/bin/python3.12")]


@pytest.mark.parametrize(("given", "used"), CASES)
@pytest.mark.parametrize("delegate", [None, "two"])
def test_only_the_default_is_made_silent(monkeypatch: pytest.MonkeyPatch, given: str | None, used: str, delegate: str | None) -> None:
    monkeypatch.setattr(host_facts.constants.config, "_config_file", None)
    host = {"ansible_facts": {}, **({"ansible_python_interpreter": given} if given else {})}
    task_vars = {**host, "ansible_delegated_vars": {"two": dict(host)}}
    seen: dict[str, Any] = {}
    monkeypatch.setattr(host_facts.ActionBase, "run", lambda *_: {})
    monkeypatch.setattr(host_facts.ActionModule, "_execute_module", lambda _, module_name, task_vars: seen.update(task_vars) or {"changed": False})
    action = object.__new__(host_facts.ActionModule)
    action._task = SimpleNamespace(delegate_to=delegate)
    assert action.run(task_vars=task_vars) == {"changed": False}
    assert (seen["ansible_delegated_vars"]["two"] if delegate else seen)["ansible_python_interpreter"] == used
    assert task_vars.get("ansible_python_interpreter") == given
