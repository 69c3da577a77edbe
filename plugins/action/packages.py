# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install packages that are missing on a host. The module of the same name has the documentation."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

ARGUMENTS = {"names": {"type": "list", "elements": "str", "required": True}}
#: Arguments for apt. A list of packages that is one day old is new enough.
APT = {"state": "present", "update_cache": True, "cache_valid_time": 86400, "install_recommends": False}


class ActionModule(ActionBase):
    """Compare the packages with the facts of the host, and call apt only if some are missing: the comparison is a second faster."""

    _VALID_ARGS = frozenset(ARGUMENTS)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of apt, with the packages that were added since the facts were read."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _checked, arguments = self.validate_argument_spec(ARGUMENTS)
        facts = (task_vars or {}).get("ansible_facts") or {}
        added = list(facts.get("added_packages") or [])
        missing = [name for name in arguments["names"] if name not in (facts.get("packages") or {}) and name not in added]
        if not missing:
            return {**result, "changed": False}
        result.update(self._execute_module(module_name="ansible.builtin.apt", module_args={**APT, "name": missing}, task_vars=task_vars))
        if not result.get("failed"):
            result["ansible_facts"] = {"added_packages": [*added, *missing]}
        return result
