# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the facts of a host as the module of the same name does, and find its Python without a warning."""

from __future__ import annotations

from typing import Any, Optional

from ansible import constants
from ansible.plugins.action import ActionBase

#: Ansible looks for Python on a host, and warns that another one may be found later.
DISCOVERY = "auto"
#: The same without the warning. The hosts are Debian, and any Python 3 of Debian will do.
SILENT_DISCOVERY = "auto_silent"


def quiet(task_vars: dict[str, Any]) -> dict[str, Any]:
    """Return the variables of a host, in which Ansible's default way to find Python is replaced by the silent one.

    A setting other than the default is the user's, and is kept.
    """
    setting = constants.config.get_config_value("INTERPRETER_PYTHON", variables=task_vars)
    return {**task_vars, "ansible_python_interpreter": SILENT_DISCOVERY} if setting == DISCOVERY else task_vars


class ActionModule(ActionBase):
    """Run the module. It is the first one on each host, and Ansible keeps the Python that it found for the later ones."""

    _VALID_ARGS = frozenset()

    def run(self, tmp: Optional[str] = None, task_vars: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        """Return the result of the module."""
        result = super().run(tmp, task_vars)
        result.update(self._execute_module(module_name="atlas.mlflow.host_facts", task_vars=self._quiet(task_vars or {})))
        return result

    def _quiet(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        """Return the variables of the task, quiet for the host on which it runs."""
        other = self._task.delegate_to
        if not other:
            return quiet(task_vars)
        delegated = task_vars["ansible_delegated_vars"]
        return {**task_vars, "ansible_delegated_vars": {**delegated, other: quiet(delegated[other])}}
