# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Return what a host needs to know of the other hosts, on the control node. The module of the same name has the documentation."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.hosts import Host, resolver_of
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
        own, hostvars = given["inventory_hostname"], given["hostvars"]

        resolver = resolver_of(self._templar)

        @functools.cache
        def host(name: str) -> Host:
            # A playbook that imports one of the collection's playbooks may pass variables to its plays. The task's variables have them, and hostvars does not.
            return Host(name, given if name == own else {**_untemplated(hostvars, name), "hostvars": hostvars}, resolver)

        stack = Stack(given.get("groups", {}), host)
        result.update(changed=False, **PARTS[arguments["part"]](stack, host(own)))
        return result


def _untemplated(hostvars: Any, name: str) -> Mapping[str, Any]:
    """Return the variables of a host with unresolved templates."""
    found: Mapping[str, Any] = hostvars.raw_get(name) if hasattr(hostvars, "raw_get") else hostvars[name]
    return found
