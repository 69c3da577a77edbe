"""Python of a host is found in silence by Ansible's default, and a user's own choice is kept."""

from __future__ import annotations

import pytest
from ansible_collections.atlas.mlflow.plugins.action import host_facts


@pytest.mark.parametrize(
    ("setting", "variable"),
    [("auto", "auto_silent"), ("auto_silent", None), ("/usr/bin/python3.12", None), ("auto_legacy", None)],
)
def test_only_the_default_is_made_silent(setting: str, variable: str | None) -> None:
    given = {"inventory_hostname": "one", "ansible_facts": {}}
    assert host_facts.quiet(given, setting).get("ansible_python_interpreter") == variable
    assert "ansible_python_interpreter" not in given
