# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy a file of a bundle to a host. The module of the same name has the documentation."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.atlas.mlflow.plugins.plugin_utils.bundles import Bundle
from ansible_collections.atlas.mlflow.plugins.plugin_utils.transfers import copy_file

ARGUMENTS = {
    "bundle": {"type": "path", "required": True},
    "name": {"type": "str", "required": True},
    "kind": {"choices": ["downloads", "images"], "default": "downloads"},
    "dest": {"type": "path", "required": True},
    "mode": {"type": "str", "default": "0644"},
}


class ActionModule(ActionBase):
    """Copy a file as ansible.builtin.copy does."""

    _VALID_ARGS = frozenset(ARGUMENTS)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of copy."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _checked, arguments = self.validate_argument_spec(ARGUMENTS)
        bundle = Bundle(arguments["bundle"])
        to = {"dest": arguments["dest"], "mode": arguments["mode"], "owner": "root", "group": "root"}
        result.update(copy_file(self, task_vars or {}, bundle, bundle.part(arguments["kind"], arguments["name"]), **to))
        return result
