# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install packages that are missing on a host. The module of the same name has the documentation."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.atlas.mlflow.plugins.plugin_utils import transfers
from ansible_collections.atlas.mlflow.plugins.plugin_utils.bundles import INDEX, Bundle

ARGUMENTS = {
    "names": {"type": "list", "elements": "str", "required": True},
    "instead": {"type": "dict", "default": {}},
    "state": {"choices": ["present", "absent"], "default": "present"},
    "purge": {"type": "bool", "default": False},
    "bundle": {"type": "path", "default": ""},
}
#: Arguments for apt. A list of packages that is one day old is new enough.
APT = {"state": "present", "update_cache": True, "cache_valid_time": 86400, "install_recommends": False}
#: The same for dnf, which updates its lists by itself.
DNF = {"state": "present", "install_weak_deps": False}


class ActionModule(ActionBase):
    """Compare the packages with the facts of the host, and call apt or dnf only if some are missing: the comparison is a second faster."""

    _VALID_ARGS = frozenset(ARGUMENTS)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of apt or dnf, with the packages that were added since the facts were read."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _checked, arguments = self.validate_argument_spec(ARGUMENTS)
        facts = (task_vars or {}).get("ansible_facts") or {}
        added = list(facts.get("added_packages") or [])
        names = [name for given in arguments["names"] for name in arguments["instead"].get(given, [given])]
        module, options, removal = ("dnf", DNF, {}) if facts.get("os_family") == "RedHat" else ("apt", APT, {"purge": arguments["purge"]})

        def run_module(**wanted: Any) -> None:
            result.update(self._execute_module(module_name=f"ansible.builtin.{module}", module_args=wanted, task_vars=task_vars))

        if arguments["state"] == "absent":
            run_module(name=names, state="absent", **removal)
            return result
        missing = [name for name in names if name not in (facts.get("packages") or {}) and name not in added]
        if not missing:
            return {**result, "changed": False}
        if arguments["bundle"]:
            result.update(self._from_bundle(Bundle(arguments["bundle"]), missing, task_vars or {}))
        else:
            run_module(**options, name=missing)
        if not result.get("failed"):
            result["ansible_facts"] = {"ansible_added_packages": [*added, *missing]}
        return result

    def _from_bundle(self, bundle: Bundle, names: list[str], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Install packages from a bundle: ask apt which files the host lacks, and copy only these."""
        module = {"names": names, "index": bundle.text(INDEX)}
        found: dict[str, Any] = self._execute_module(module_name="atlas.mlflow.bundle_packages", module_args=module, task_vars=task_vars)
        if found.get("failed") or self._task.check_mode:
            return {**found, "changed": not found.get("failed")}
        copied = transfers.copy_parts(self, task_vars, bundle, [f"packages/{file}" for file in found["files"]])
        if copied.get("failed"):
            return copied
        module["parts"] = copied["dest"]
        installed: dict[str, Any] = self._execute_module(module_name="atlas.mlflow.bundle_packages", module_args=module, task_vars=task_vars)
        return installed
