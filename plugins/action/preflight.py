# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a role's settings and bundle on the control node. The module of the same name has the documentation."""

from __future__ import annotations

import os
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.atlas.mlflow.plugins.plugin_utils.bundles import Bundle, merged
from ansible_collections.atlas.mlflow.plugins.plugin_utils.control_files import ControlFiles
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules import NEWS, REMOVAL, RULES, UPGRADE, WARNINGS, faults, told
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.hosts import host_reader

ARGUMENTS = {"role": {"required": True, "choices": sorted(RULES)}, "upgrade": {"type": "bool", "default": False}, "removal": {"type": "bool", "default": False}}


class ActionModule(ActionBase):
    """Read the settings of a role, and report all faults at once."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset({"role", "upgrade", "removal"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return a failed result with one sentence for each fault, or a result with what the user should know."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _checked, arguments = self.validate_argument_spec(ARGUMENTS)
        # A value that is resolved here replaces its template, for this task only.
        variables = dict(task_vars or {})
        templar = self._templar.copy_with_new_env(available_variables=variables)
        files = ControlFiles(self._loader, templar, variables)
        given = RoleSettings(arguments["role"], variables, templar.template, files, host_reader(self._templar, task_vars or {}, inventory_only=True))
        only = UPGRADE if arguments["upgrade"] else REMOVAL if arguments["removal"] else {}
        wrong = told(only[given.role], given) if only else faults(given) or self._faults_of_bundle(given, templar)
        result.update(changed=False, failed=bool(wrong))
        if wrong:
            result["msg"] = wrong
        elif not only:
            if news := told(NEWS.get(given.role, ()), given):
                result.update(msg=" ".join(news), _ansible_verbose_always=True)
            if warnings := told(WARNINGS, given):
                result.update(warnings=warnings)
        return result

    @staticmethod
    def _faults_of_bundle(given: RoleSettings, templar: Any) -> list[str]:
        """Return why the role cannot be installed from the bundle, if there is one."""
        place = given.variable("atlas_mlflow_bundle")
        if not place:
            return []
        variables = given.variables
        # A name in it that is undefined is an error here, and no missing setting.
        needs = templar.template(variables[f"_{given.role}_needs"])
        return Bundle(os.path.expanduser(place)).faults(variables["inventory_hostname"], merged([needs]), variables.get("ansible_facts") or {})
