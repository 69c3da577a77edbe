# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a host's settings against the specifications, on the control node. The module of the same name has the documentation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible import constants, context
from ansible.errors import AnsibleError, AnsibleUndefinedVariable
from ansible.plugins.action import ActionBase
from ansible.release import __version__
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import ROLES
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules import inventory
from ansible_collections.atlas.mlflow.plugins.plugin_utils.settings import (
    folder_fault,
    folders_fault,
    near_groups,
    near_misses,
    specifications,
    strategy_fault,
    tags_fault,
    template_fault,
    unread_fault,
    value_fault,
    version_fault,
    words_fault,
)
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology import GROUPS, topology_hosts
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.hosts import host_reader

SECRETS_DIR = "atlas_mlflow_secrets_dir"


class ActionModule(ActionBase):
    """Read the settings of a host, and refuse those that are wrong."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset({"acts_on"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return a failed result with one sentence for each fault, or a result without changes."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        given = task_vars or {}
        tags = given.get("ansible_run_tags", ["all"])
        unfit = version_fault(__version__) or strategy_fault(constants.DEFAULT_STRATEGY) or tags_fault(tags, self._task.tags)
        unfit = unfit or words_fault(given.get("_raw_params", ""))
        if unfit:
            return {**result, "changed": False, "failed": True, "faults": [unfit], "msg": unfit}
        self._options = specifications(ROLES)
        groups = given.get("groups", {})
        faults = [f"The inventory has the group {group}: nothing reads that name. Correct it." for group in near_groups(groups, GROUPS)]
        faults += self._inventory_faults(given)
        # Ansible's own settings make a variable of each fact.
        names = set(given) - set(given.get("ansible_facts") or {})
        faults += [f"The inventory sets {name}: nothing reads that name. Correct it." for name in near_misses(names, self._options)]
        faults += [fault for name in sorted(set(self._options) & set(given)) if (fault := self._fault(name, given[name]))]
        faults += self._unread_faults(given)
        if not faults and (fault := self._place_fault(given)):
            faults.append(fault)
        result.update(changed=False, failed=bool(faults), faults=faults)
        if faults:
            result["msg"] = f"{given.get('inventory_hostname', 'The host')}: {' '.join(faults)}"
        return result

    def _inventory_faults(self, given: dict[str, Any]) -> list[str]:
        """Return the faults of the inventory as a whole. Only the first host of the play reports them."""
        needed, hosts = self._task.args.get("acts_on"), given.get("ansible_play_hosts_all", [])
        if needed is None or given["inventory_hostname"] not in hosts[:1]:
            return []
        return inventory.faults(inventory.Inventory(given.get("groups", {}), tuple(hosts), tuple(needed), str(given.get("ansible_limit", ""))))

    def _unread_faults(self, given: dict[str, Any]) -> list[str]:
        """Return a sentence for each file with settings of the host that Ansible reads for the user's own playbook, but not for one of the collection."""
        # One of a collection, which has a name and no path, is often run in the folder of the user's own playbooks.
        asked = context.CLIARGS.get("args") or ()
        folders = {Path(name).resolve().parent if Path(name).is_file() else Path.cwd() for name in asked if isinstance(asked, tuple)}
        entities = [("group_vars", group) for group in ("all", *given.get("group_names", []))] + [("host_vars", given.get("inventory_hostname", ""))]
        files = [path for folder in sorted(folders) for kind, name in entities for path in self._loader.find_vars_files(str(folder / kind), name)]
        wanted = set(self._options) - set(given)
        return [fault for path in files if (fault := unread_fault(path, wanted & self._names_in(path)))]

    def _names_in(self, path: str) -> set[str]:
        """Return the variables that a file sets, none if it cannot be read or decrypted."""
        try:
            content = self._loader.load_from_file(path, cache="none")
        except AnsibleError:
            return set()
        return set(content) if isinstance(content, Mapping) else set()

    def _place_fault(self, given: dict[str, Any]) -> str:
        """Return what is wrong with the folder of the generated secrets, or an empty string."""
        folder = self._templar.template(given[SECRETS_DIR]) if SECRETS_DIR in given else None
        hosts = topology_hosts(given.get("groups", {}))
        # The first host of the play compares all of them. What the play sets is the same for all.
        if given.get("inventory_hostname") in given.get("ansible_play_hosts_all", [])[:1]:
            host = host_reader(self._templar, given, inventory_only=True)
            folders = {name: host(name).given_text(SECRETS_DIR) for name in hosts}
            if str(folder or "") == folders.get(given["inventory_hostname"], "") and (fault := folders_fault(folders)):
                return fault
        return folder_fault(folder, [given["hostvars"][host].get("inventory_dir") for host in hosts])

    def _fault(self, name: str, value: Any) -> str:
        """Return what is wrong with a variable, or an empty string."""
        try:
            resolved = self._templar.template(value)
        except AnsibleUndefinedVariable as error:
            missing = _undefined(error)
            return f"{name} refers to {missing}, which is not set. Set it, or correct the name." if missing and missing not in self._options else ""
        except AnsibleError as error:
            return template_fault(name, error)
        return value_fault(name, self._options[name], resolved)


def _undefined(error: Exception) -> str:
    """Return the variable that a template lacks. Facts are read later and do not count; nor do the collection's own names, which its roles define."""
    cause: BaseException | None = error
    found = ""
    while cause is not None:
        named = re.search(r"'(\w+)' is undefined", str(cause))
        found, cause = named.group(1) if named else found, cause.__cause__
    return "" if found.startswith(("_", "ansible_", "atlas_mlflow_")) else found
