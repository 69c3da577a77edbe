"""apt or dnf is asked for the packages that a host lacks, and for each of them once in a run."""

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
    assert done["ansible_facts"] == {"ansible_added_packages": ["nftables", "rclone"]}


def test_without_facts_apt_is_asked_for_all(asked: list[dict[str, Any]]) -> None:
    act(ActionModule, {"names": ["rclone"]}, {})
    assert asked[0]["name"] == ["rclone"]


def test_what_apt_could_not_add_is_not_known(asked: list[dict[str, Any]]) -> None:
    done = act(ActionModule, {"names": ["missing"]}, {"ansible_facts": {"packages": {}}})
    assert done["failed"] is True and "ansible_facts" not in done


def test_dnf_is_asked_on_enterprise_linux_by_the_names_that_it_has(asked: list[dict[str, Any]]) -> None:
    facts = {"os_family": "RedHat", "packages": {"python3.12": [{"version": "3.12.5"}]}, "added_packages": []}
    arguments = {
        "names": ["python3-venv", "haproxy", "postgresql-16"],
        "instead": {"python3-venv": ["python3.12"], "postgresql-16": ["postgresql-server", "x"]},
    }
    done = act(ActionModule, arguments, {"ansible_facts": facts})
    assert [(call["module"], call["name"], call["state"]) for call in asked] == [("ansible.builtin.dnf", ["haproxy", "postgresql-server", "x"], "present")]
    assert "install_recommends" not in asked[0] and asked[0]["install_weak_deps"] is False
    assert done["ansible_facts"] == {"ansible_added_packages": ["haproxy", "postgresql-server", "x"]}


def test_packages_are_removed_with_their_settings_only_if_this_is_asked_for(asked: list[dict[str, Any]]) -> None:
    done = act(ActionModule, {"names": ["haproxy"], "state": "absent", "purge": True}, {"ansible_facts": {"packages": {}}})
    act(ActionModule, {"names": ["haproxy"], "state": "absent"}, {"ansible_facts": {"os_family": "RedHat"}})
    assert asked == [
        {"module": "ansible.builtin.apt", "name": ["haproxy"], "state": "absent", "purge": True},
        {"module": "ansible.builtin.dnf", "name": ["haproxy"], "state": "absent"},
    ]
    assert "ansible_facts" not in done
