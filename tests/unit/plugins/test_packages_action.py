"""apt is asked for the packages that a host lacks, and for each of them once in a run."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.atlas.mlflow.plugins.action.packages import ActionModule
from in_process import act


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return what apt is asked for; it has no package of the name missing."""
    calls: list[dict[str, Any]] = []

    def apt(_: ActionModule, module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        calls.append({"module": module_name, **module_args})
        return {"changed": True, "failed": "missing" in module_args["name"]}

    monkeypatch.setattr(ActionModule, "_execute_module", apt)
    return calls


def test_apt_is_not_asked_for_what_the_host_has(asked: list[dict[str, Any]]) -> None:
    facts = {"packages": {"haproxy": [{"version": "3.0"}]}, "added_packages": ["nftables"]}
    done = act(ActionModule, {"names": ["haproxy", "nftables"]}, {"ansible_facts": facts})
    assert asked == []
    assert done["changed"] is False and "ansible_facts" not in done


def test_apt_is_asked_for_the_others_which_are_then_known(asked: list[dict[str, Any]]) -> None:
    facts = {"packages": {"haproxy": [{"version": "3.0"}]}, "added_packages": ["nftables"]}
    done = act(ActionModule, {"names": ["haproxy", "rclone"]}, {"ansible_facts": facts})
    assert [(call["module"], call["name"], call["state"], call["install_recommends"]) for call in asked] == [
        ("ansible.builtin.apt", ["rclone"], "present", False)
    ]
    assert done["changed"] is True
    assert done["ansible_facts"] == {"added_packages": ["nftables", "rclone"]}


def test_without_facts_apt_is_asked_for_all(asked: list[dict[str, Any]]) -> None:
    act(ActionModule, {"names": ["rclone"]}, {})
    assert asked[0]["name"] == ["rclone"]


def test_what_apt_could_not_add_is_not_known(asked: list[dict[str, Any]]) -> None:
    done = act(ActionModule, {"names": ["missing"]}, {"ansible_facts": {"packages": {}}})
    assert done["failed"] is True and "ansible_facts" not in done
