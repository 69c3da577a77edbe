# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the facts of a host with the module of the same name, with the folders of its roles, and find Python without a warning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.hosts import Host, resolver_of
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.services import ArtifactStore

#: Ansible searches for Python on a host, and warns that a later search may find another one.
DISCOVERY = "auto"
#: The settings that name the folders into which the roles install.
FOLDERS = ("mlflow_server_install_dir", "minio_install_dir", "postgres_patroni_install_dir")
#: The same search without the warning. The hosts run Debian, and any Python 3 of Debian works.
SILENT_DISCOVERY = "auto_silent"
#: The facts of the Python that has the distribution's packages, and of the one that Ansible found and uses: the newest in the path. Modules for PostgreSQL and
#: Docker need the libraries that the roles install as packages, which another Python does not have.
SYSTEM_PYTHON, FOUND_PYTHON = "ansible_system_python", "discovered_interpreter_python"
#: The fact of the module that has only a part of the fact of the same name in ansible.builtin.setup.
ROUTE = "ansible_default_ipv4"


def quiet(task_vars: dict[str, Any]) -> dict[str, Any]:
    """Return the variables of a host, with the silent search for Python instead of Ansible's default.

    A user's own setting is kept.
    """
    setting = constants.config.get_config_value("INTERPRETER_PYTHON", variables=task_vars)
    return {**task_vars, "ansible_python_interpreter": SILENT_DISCOVERY} if setting == DISCOVERY else task_vars


def with_known(route: Mapping[str, Any], known: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the address of the default route with what ansible.builtin.setup has found of its interface, which a new fact of the name would replace.

    :param route: The fact of the module.
    :param known: The fact of the same name before.
    """
    return {**(known or {}), **route} if known and known.get("address") == route.get("address") else dict(route)


class ActionModule(ActionBase):
    """Run the module. It is the first module on each host, and finds the Python that Ansible uses for the later modules."""

    _VALID_ARGS = frozenset({"folders", "drives"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the module."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        given = task_vars or {}
        arguments = {**self._of_settings(given), **self._task.args}
        result.update(self._execute_module(module_name="atlas.mlflow.host_facts", module_args=arguments, task_vars=self._quiet(given)))
        if ROUTE in (facts := result.get("ansible_facts") or {}):
            facts[ROUTE] = with_known(facts[ROUTE], self._known(given).get("default_ipv4"))
        if facts.get(SYSTEM_PYTHON) and self._searches(given):
            facts[FOUND_PYTHON] = facts[SYSTEM_PYTHON]
        return result

    def _searches(self, task_vars: dict[str, Any]) -> bool:
        """Return whether Ansible searches for the Python of the host that gets the facts."""
        other = self._task.delegate_to
        if other and not self._task.delegate_facts:
            return False
        variables = task_vars["ansible_delegated_vars"][other] if other else task_vars
        return str(constants.config.get_config_value("INTERPRETER_PYTHON", variables=variables)).startswith(DISCOVERY)

    def _known(self, task_vars: dict[str, Any]) -> Mapping[str, Any]:
        """Return the facts that Ansible has already of the host that gets the new ones."""
        other = self._task.delegate_to if self._task.delegate_facts else None
        variables = task_vars["hostvars"].get(other) or {} if other else task_vars
        return variables.get("ansible_facts") or {}

    def _of_settings(self, task_vars: dict[str, Any]) -> dict[str, list[str]]:
        """Return the arguments by default: the folders into which the roles install on the task's host, and those of MinIO's data."""
        host = Host(task_vars["inventory_hostname"], task_vars, resolver_of(self._templar))
        return {"folders": [host.text(name) for name in FOLDERS], "drives": ArtifactStore(host).drives}

    def _quiet(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        """Return the variables of the task, with the silent search for Python on the host that runs the task."""
        other = self._task.delegate_to
        if not other:
            return quiet(task_vars)
        delegated = task_vars["ansible_delegated_vars"]
        return {**task_vars, "ansible_delegated_vars": {**delegated, other: quiet(delegated[other])}}
