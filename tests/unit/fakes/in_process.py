"""Run an action plugin of the collection in this process, with the variables that a task of a role has, and without a host."""

from __future__ import annotations

import contextlib
import functools
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ansible.module_utils.testing import patch_module_args
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.action import ActionBase
from ansible.template import Templar, trust_as_template
from ansible_collections.atlas.mlflow.plugins.modules import host_facts

ROOT = Path(__file__).resolve().parents[3]
LOADER = DataLoader()


@functools.cache
def load(path: Path) -> dict[str, Any]:
    """Return the variables in a file, whose templates are resolved."""
    loaded: dict[str, Any] = LOADER.load_from_file(str(path), trusted_as_template=True)
    return loaded


def facts_of_this_machine() -> str:
    """Return what the module host_facts prints on this machine."""
    said = io.StringIO()
    with patch_module_args({}), contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        host_facts.main()
    return said.getvalue()


def role_vars(folder: Path) -> dict[str, Any]:
    """Return the variables of a role that nobody sets, from its file or from its files by subject."""
    found: dict[str, Any] = {}
    for path in sorted([*folder.glob("vars/main.yml"), *folder.glob("vars/main/*.yml")]):
        found.update(load(path))
    return found


def trusted(value: Any) -> Any:
    """Return a value in which templates are resolved, as in one that an inventory gives."""
    if isinstance(value, dict):
        return {key: trusted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [trusted(item) for item in value]
    return trust_as_template(value) if isinstance(value, str) else value


def role_variables(role: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the variables of a task of a role, the ones of the role's own files as Ansible ranks them.

    :param role: The role.
    :param given: What the inventory sets for the host, and its facts.
    """
    folder = ROOT / "roles" / role
    return {
        "inventory_hostname": "case",
        "groups": {},
        "hostvars": {"case": {}, "two": {}},
        **(load(folder / "defaults/main.yml") if (folder / "defaults/main.yml").exists() else {}),
        **trusted(given),
        **role_vars(folder),
        "role_path": str(folder),
        "ansible_search_path": [str(folder)],
    }


def act(plugin: type[ActionBase], arguments: dict[str, Any], variables: dict[str, Any], **task: Any) -> dict[str, Any]:
    """Return the result of an action plugin that asks no host.

    :param plugin: The class of the plugin.
    :param arguments: The arguments of the task.
    :param variables: All variables that the task has.
    :param task: More attributes of the task.
    """
    attributes = {"args": arguments, "async_val": 0, "check_mode": False, "action": plugin.__module__, "tags": [], **task}
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/no-such-folder"))
    return plugin(SimpleNamespace(**attributes), connection, None, LOADER, Templar(loader=LOADER, variables=variables)).run(None, variables)
