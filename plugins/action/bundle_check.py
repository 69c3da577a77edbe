# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a bundle for a host, on the control node. The module of the same name has the documentation."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.atlas.mlflow.plugins.plugin_utils.bundles import Bundle, merged

ARGUMENTS = {"bundle": {"type": "path", "required": True}, "needs": {"type": "dict", "required": True}}


class ActionModule(ActionBase):
    """Compare what a role needs with a bundle."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(ARGUMENTS)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return a failed result with what the bundle lacks, or a result without changes."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _checked, arguments = self.validate_argument_spec(ARGUMENTS)
        given = task_vars or {}
        faults = Bundle(arguments["bundle"]).faults(given["inventory_hostname"], merged([arguments["needs"]]), given.get("ansible_facts") or {})
        result.update(changed=False, failed=bool(faults))
        if faults:
            result["msg"] = faults
        return result
