# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a Python environment with the module of the same name, unless the facts of the host show that the environment exists."""

from __future__ import annotations

import os
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.atlas.mlflow.plugins.module_utils.environments import wanted_stamp

#: The module's default interpreter. The facts have it as ``python3``.
PYTHON = "python3"


class ActionModule(ActionBase):
    """Compare the requested environment with the stamp in the facts, and run the module if they differ."""

    _supports_async = True
    _VALID_ARGS = frozenset({"path", "requirements", "extra_files", "uv_path", "uv_requirements", "python", "index_url", "warm_imports", "ca_bundle"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the module, or what the module would return for an environment that is up to date."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        path = str(self._task.args.get("path", ""))
        if self._is_there(path, (task_vars or {}).get("ansible_facts") or {}):
            result.update(changed=False, changed_parts=[], path=path, python=os.path.join(path, "bin", "python"))
        else:
            result.update(self._execute_module(task_vars=task_vars, wrap_async=bool(self._task.async_val)))
        return result

    def _is_there(self, path: str, facts: dict[str, Any]) -> bool:
        """Return whether the facts have the stamp of the requested environment. The facts know only one interpreter."""
        arguments = self._task.args
        stamp = ((facts.get("installed") or {}).get("environments") or {}).get(path)
        if not stamp or not facts.get(PYTHON) or arguments.get("python", PYTHON) != PYTHON or "requirements" not in arguments:
            return False
        files = {name: str(text) for name, text in (arguments.get("extra_files") or {}).items()}
        return bool(stamp == wanted_stamp(str(arguments["requirements"]), facts[PYTHON], files))
