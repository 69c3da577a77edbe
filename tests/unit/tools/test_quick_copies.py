"""Copies of what Ansible has read share what never changes, and nothing else."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils._internal import _datatag
from ansible.parsing.dataloader import DataLoader


@pytest.fixture
def content(tmp_path: Path) -> Any:
    """Return the content of a file. In all unit tests, copies are quick."""
    (tmp_path / "tasks.yml").write_text("- name: One\n  vars: {port: 80, names: [a, b]}\n")
    return DataLoader().load_from_file(str(tmp_path / "tasks.yml"))


def test_a_copy_is_the_same_with_its_origins_and_shares_its_texts(content: Any) -> None:
    copied = copy.deepcopy(content)
    assert copied == content and copied[0]["name"] is content[0]["name"]
    for value, same in ((content, copied), (content[0]["vars"], copied[0]["vars"]), (content[0]["vars"]["names"], copied[0]["vars"]["names"])):
        origin = _datatag.AnsibleTagHelper.tags(value)
        assert origin and _datatag.AnsibleTagHelper.tags(same) == origin


def test_what_changes_in_a_copy_does_not_change_in_the_original(content: Any) -> None:
    copied = copy.deepcopy(content)
    copied[0]["vars"]["names"].append("c")
    copied[0]["vars"]["port"] = 81
    copied.append("more")
    assert content == [{"name": "One", "vars": {"port": 80, "names": ["a", "b"]}}]
