# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Return what a host needs to know of the other hosts, on the control node. The module of the same name has the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import default_of
from ansible_collections.atlas.mlflow.plugins.plugin_utils.secrets import SECRETS
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.hosts import host_reader
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.plan import host_plan, users_plan
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.stack import Stack

ARGUMENTS = {"part": {"choices": ["all", "users"], "default": "all"}}
PARTS = {"all": host_plan, "users": users_plan}


class ActionModule(ActionBase):
    """Read the settings of all hosts of the stack, and return the plan of one host."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(ARGUMENTS)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the plan of the task's host."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _checked, arguments = self.validate_argument_spec(ARGUMENTS)
        given = task_vars or {}
        host = host_reader(self._templar, given)
        stack = Stack(given.get("groups", {}), host)
        result.update(changed=False, play_secrets=play_secrets(given), **PARTS[arguments["part"]](stack, host(given["inventory_hostname"])))
        return result


def play_secrets(variables: Mapping[str, Any]) -> list[str]:
    """Return the names of the secrets that the play sets, and not the inventory: a role that is used alone may have its settings there.

    :param variables: The variables of a task, with their templates.
    """
    inventory = (variables.get("hostvars") or {}).get(variables.get("inventory_hostname")) or {}
    return [
        name
        for name, secret in SECRETS.items()
        if secret.variable in variables and secret.variable not in inventory and variables[secret.variable] != default_of(secret.variable)
    ]
