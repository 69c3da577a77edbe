# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Download on a builder what the roles need, with the module of the same name, and copy the archive to the control node."""

from __future__ import annotations

import os
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.atlas.mlflow.plugins.plugin_utils.bundles import collection_version, merged
from ansible_collections.atlas.mlflow.plugins.plugin_utils.transfers import copy

ARGUMENTS = {
    "needs": {"type": "list", "elements": "dict", "required": True},
    "folder": {"type": "path", "required": True},
    "index_url": {"type": "str", "default": ""},
    "ca_bundle": {"type": "path", "default": "/etc/ssl/certs/ca-certificates.crt"},
    "download_environment": {"type": "dict", "default": {}},
}


class ActionModule(ActionBase):
    """Join what the roles need, copy the files of the control node to the builder, and run the module there."""

    _VALID_ARGS = frozenset(ARGUMENTS)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the module."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _checked, arguments = self.validate_argument_spec(ARGUMENTS)
        given = task_vars or {}
        needs = merged(arguments["needs"])
        downloads = []
        for one in needs["downloads"]:
            if "path" in one and not self._task.check_mode:
                copied = copy(self, given, src=os.path.expanduser(one["path"]), dest=f"{arguments['folder']}/{one['name']}", mode="0600")
                if copied.get("failed"):
                    return {**result, **copied}
            downloads.append({"name": one["name"], **({} if "path" in one else {"url": one["url"], "sha256": one["sha256"]})})
        module = {
            "packages": needs["packages"],
            "locks": list(needs["locks"]),
            "downloads": downloads,
            "images": needs["images"],
            "version": collection_version(),
            **{name: arguments[name] for name in ("folder", "index_url", "ca_bundle", "download_environment")},
        }
        result.update(self._execute_module(module_name="atlas.mlflow.bundle_make", module_args=module, task_vars=given))
        return result
