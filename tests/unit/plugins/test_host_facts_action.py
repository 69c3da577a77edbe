"""Python of a host is found in silence by Ansible's default, a user's own choice is kept, and the module is told the folders that are set."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.atlas.mlflow.plugins.action import host_facts
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import defaults_of

CASES = [(None, "auto_silent"), ("auto", "auto_silent"), ("auto_legacy_silent", "auto_legacy_silent"), ("/usr/bin/python3.12", "/usr/bin/python3.12")]


@pytest.mark.parametrize(("given", "used"), CASES)
@pytest.mark.parametrize("delegate", [None, "two"])
def test_only_the_default_is_made_silent(monkeypatch: pytest.MonkeyPatch, given: str | None, used: str, delegate: str | None) -> None:
    monkeypatch.setattr(host_facts.constants.config, "_config_file", None)
    host = {"ansible_facts": {}, **({"ansible_python_interpreter": given} if given else {})}
    task_vars = {**host, "ansible_delegated_vars": {"two": dict(host)}}
    seen: dict[str, Any] = {}
    monkeypatch.setattr(host_facts.ActionBase, "run", lambda *_: {})
    monkeypatch.setattr(host_facts.ActionModule, "_execute_module", lambda _, task_vars, **__: seen.update(task_vars) or {"changed": False})
    monkeypatch.setattr(host_facts.ActionModule, "_of_settings", lambda *_: {})
    action = object.__new__(host_facts.ActionModule)
    action._task = SimpleNamespace(delegate_to=delegate, delegate_facts=True, args={})
    assert action.run(task_vars=task_vars) == {"changed": False}
    assert (seen["ansible_delegated_vars"]["two"] if delegate else seen)["ansible_python_interpreter"] == used
    assert task_vars.get("ansible_python_interpreter") == given


def test_the_module_is_told_the_folders_that_are_set_for_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(host_facts.ActionBase, "run", lambda *_: {})
    monkeypatch.setattr(host_facts.ActionModule, "_execute_module", lambda _, module_args, **__: seen.update(module_args) or {})
    action = object.__new__(host_facts.ActionModule)
    action._task = SimpleNamespace(delegate_to=None, args={})
    action._templar = Templar(loader=DataLoader())
    given = {"inventory_hostname": "one", "base": "/srv", "minio_install_dir": trust_as_template("{{ base }}/minio")}
    action.run(task_vars=given)
    folders = [str(defaults_of("mlflow_server")["mlflow_server_install_dir"]), "/srv/minio", str(defaults_of("postgres")["postgres_patroni_install_dir"])]
    assert seen == {"folders": folders, "drives": [str(defaults_of("minio")["minio_data_dir"])]}


SETUP = {"address": "10.0.0.7", "interface": "eth0", "gateway": "10.0.0.1"}


@pytest.mark.parametrize(
    ("known", "route", "kept"),
    [
        (SETUP, {"address": "10.0.0.7"}, SETUP),
        (SETUP, {"address": "10.0.0.8"}, {"address": "10.0.0.8"}),
        (SETUP, {}, {}),
        ({}, {"address": "10.0.0.7"}, {"address": "10.0.0.7"}),
        (None, {}, {}),
    ],
)
@pytest.mark.parametrize("delegate", [None, "two"])
def test_what_setup_knows_of_the_default_route_stays(
    monkeypatch: pytest.MonkeyPatch, known: dict[str, Any] | None, route: dict[str, Any], kept: dict[str, Any], delegate: str | None
) -> None:
    here = {"ansible_facts": {"default_ipv4": known}}
    given = {"hostvars": {"two": here}, "ansible_facts": {}} if delegate else here
    monkeypatch.setattr(host_facts.ActionBase, "run", lambda *_: {})
    monkeypatch.setattr(host_facts.ActionModule, "_execute_module", lambda *_, **__: {"ansible_facts": {"ansible_default_ipv4": dict(route)}})
    for method in ("_of_settings", "_quiet"):
        monkeypatch.setattr(host_facts.ActionModule, method, lambda *_: {})
    action = object.__new__(host_facts.ActionModule)
    action._task = SimpleNamespace(delegate_to=delegate, delegate_facts=bool(delegate), args={})
    assert action.run(task_vars=given) == {"ansible_facts": {"ansible_default_ipv4": kept}}


@pytest.mark.parametrize(
    ("given", "system", "used"),
    [
        (None, "/usr/bin/python3", "/usr/bin/python3"),
        ("auto_silent", "/usr/bin/python3", "/usr/bin/python3"),
        (None, "", "/usr/local/bin/python3.13"),
        ("/opt/python", "/usr/bin/python3", "/usr/local/bin/python3.13"),
    ],
)
@pytest.mark.parametrize(("delegate", "to_it"), [(None, False), ("two", True), ("two", False)])
def test_the_search_for_python_ends_at_the_one_of_the_system(
    monkeypatch: pytest.MonkeyPatch, given: str | None, system: str, used: str, delegate: str | None, to_it: bool
) -> None:
    """Packages with libraries for modules are for that one, and not for a newer one that somebody has added."""
    monkeypatch.setattr(host_facts.constants.config, "_config_file", None)
    monkeypatch.setattr(host_facts.ActionBase, "run", lambda *_: {})
    found = {"ansible_system_python": system, "discovered_interpreter_python": "/usr/local/bin/python3.13"}
    monkeypatch.setattr(host_facts.ActionModule, "_execute_module", lambda *_, **__: {"ansible_facts": dict(found)})
    monkeypatch.setattr(host_facts.ActionModule, "_of_settings", lambda *_: {})
    host = {"ansible_facts": {}, **({"ansible_python_interpreter": given} if given else {})}
    action = object.__new__(host_facts.ActionModule)
    action._task = SimpleNamespace(delegate_to=delegate, delegate_facts=to_it, args={})
    done = action.run(task_vars={**({} if delegate else host), "ansible_delegated_vars": {"two": host}, "hostvars": {"two": host}})
    # Facts of one host that another one gets do not decide about its Python.
    assert done["ansible_facts"]["discovered_interpreter_python"] == (found["discovered_interpreter_python"] if delegate and not to_it else used)
