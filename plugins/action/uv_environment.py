# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a Python environment with the module of the same name, unless the facts of the host show that the environment exists."""

from __future__ import annotations

import os
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.atlas.mlflow.plugins.module_utils.environments import digest, wanted_stamp
from ansible_collections.atlas.mlflow.plugins.plugin_utils.bundles import Bundle
from ansible_collections.atlas.mlflow.plugins.plugin_utils.transfers import copy_parts

#: The module's default interpreter. The facts have it as ``python3``.
PYTHON = "python3"


class ActionModule(ActionBase):
    """Compare the requested environment with the stamp in the facts, and run the module if they differ."""

    _supports_async = True
    _VALID_ARGS = frozenset(
        {"path", "requirements", "extra_files", "uv_path", "uv_requirements", "python", "index_url", "warm_imports", "ca_bundle", "bundle"}
        | {"download_environment"}
    )

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the module, or what the module would return for an environment that is up to date."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        given = task_vars or {}
        path = str(self._task.args.get("path", ""))
        facts = given.get("ansible_facts") or {}
        if self._is_there(path, facts):
            return {**result, "changed": False, "changed_parts": [], "path": path, "python": os.path.join(path, "bin", "python")}
        arguments = dict(self._task.args)
        if arguments.get("bundle") and not self._task.check_mode and self._needs_packages(path, facts):
            bundle = Bundle(str(arguments["bundle"]))
            copied = copy_parts(self, given, bundle, bundle.wheels(str(arguments["requirements"]), str(arguments["uv_requirements"])))
            if copied.get("failed"):
                return {**result, **copied}
            arguments["parts"] = copied["dest"]
        result.update(self._execute_module(module_args=arguments, task_vars=given, wrap_async=bool(self._task.async_val)))
        return result

    def _stamp(self, path: str, facts: dict[str, Any]) -> dict[str, Any]:
        """Return the stamp of an environment in the facts, empty if there is none. The facts know only one interpreter."""
        stamp = ((facts.get("installed") or {}).get("environments") or {}).get(path)
        return dict(stamp) if stamp and facts.get(PYTHON) and self._task.args.get("python", PYTHON) == PYTHON else {}

    def _is_there(self, path: str, facts: dict[str, Any]) -> bool:
        """Return whether the facts have the stamp of the requested environment."""
        arguments, stamp = self._task.args, self._stamp(path, facts)
        if not stamp or "requirements" not in arguments:
            return False
        files = {name: str(text) for name, text in (arguments.get("extra_files") or {}).items()}
        return bool(stamp == wanted_stamp(str(arguments["requirements"]), facts[PYTHON], files))

    def _needs_packages(self, path: str, facts: dict[str, Any]) -> bool:
        """Return whether the environment needs other packages than it has, and not only other files next to them."""
        stamp = self._stamp(path, facts)
        return (stamp.get("requirements"), stamp.get("interpreter")) != (digest(str(self._task.args["requirements"])), facts.get(PYTHON))
