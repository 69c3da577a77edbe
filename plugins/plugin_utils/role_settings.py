# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of a role on one host. Each is resolved once, and has the type of its specification."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleUndefinedVariable
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.validation import check_type_int
from ansible.module_utils.common.yaml import yaml_load
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.atlas.mlflow.plugins.plugin_utils.control_files import ControlFiles
from ansible_collections.atlas.mlflow.plugins.plugin_utils.settings import null_fault

#: The deployments that run a service in a container, each with the program that runs it.
CONTAINERS = {"container": "docker", "podman": "podman"}
#: The folder of the collection's roles.
ROLES = Path(__file__).resolve().parents[2] / "roles"


@functools.cache
def options_of(role: str) -> dict[str, dict[str, Any]]:
    """Return the options of a role by name, from its specification."""
    text = (ROLES / role / "meta/argument_specs.yml").read_text(encoding="utf-8")
    options: dict[str, dict[str, Any]] = yaml_load(text)["argument_specs"]["main"]["options"]
    return options


@functools.cache
def defaults_of(role: str) -> dict[str, Any]:
    """Return the defaults of a role, with unresolved templates."""
    defaults: dict[str, Any] = yaml_load((ROLES / role / "defaults/main.yml").read_text(encoding="utf-8"))
    return defaults


@functools.cache
def default_of(variable: str) -> Any:
    """Return the default of a role's variable, with its templates. None if no role has it."""
    found = (defaults_of(path.parents[1].name) for path in ROLES.glob("*/defaults/main.yml"))
    return next((defaults[variable] for defaults in found if variable in defaults), None)


def stack_of(variables: Mapping[str, Any], role: str) -> Mapping[str, Any]:
    """Return what a host's stack has of a role, from its facts."""
    return ((variables.get("ansible_facts") or {}).get("stack") or {}).get(role) or {}


class RoleSettings:
    """The settings of a role on a host, with the facts of the host and the inventory.

    An option is read by the method of its type. Its template is resolved at the first read, so a secret that no rule reads is
    not generated.
    """

    def __init__(
        self, role: str, variables: dict[str, Any], resolve: Callable[[Any], Any], files: ControlFiles | None = None, hosts: Callable[[str], Any] | None = None
    ) -> None:
        """Take the variables of a task.

        :param role: The role's name.
        :param variables: All variables, with their templates. A resolved value replaces its template there, so that other templates do not resolve it again.
        :param resolve: Resolves the templates in a value with these variables.
        :param files: The files on the control node, for rules that read files.
        :param hosts: Returns a host of the stack by its name, for rules that compare hosts.
        """
        self.role = role
        self.options = options_of(role)
        self.variables = variables
        self._files = files
        self.hosts = hosts
        self._resolve = resolve
        self._resolved: dict[str, Any] = {}

    @property
    def files(self) -> ControlFiles:
        """Return the files on the control node."""
        if self._files is None:
            raise TypeError("no rule that reads files is checked here")
        return self._files

    def variable(self, name: str, default: Any = "") -> Any:
        """Return any variable with its templates resolved, or the default if it is undefined."""
        if name not in self._resolved:
            try:
                self._resolved[name] = self._resolve(self.variables[name])
            except (KeyError, AnsibleUndefinedVariable):
                return default
            self.variables[name] = self._resolved[name]
        return self._resolved[name]

    def planned(self, name: str) -> Any:
        """Return a value of the host's plan, an empty string if there is no plan."""
        return (self.variables.get("_atlas_mlflow_plan") or {}).get(name, "")

    def switch(self, name: str) -> bool:
        """Return a switch of the collection, which is off if it is not set."""
        return bool(boolean(self.variable(name, False), strict=False))

    def _option(self, name: str, *types: str) -> Any:
        """Return an option of one of these types. Another name or type is a mistake in a rule."""
        kind = self.options[name].get("type", "str")
        if kind not in types:
            raise TypeError(f"{name} is of the type {kind}")
        if name not in self._resolved:
            self._resolved[name] = self._resolve(self.variables[name])
            self.variables[name] = self._resolved[name]
        return self._resolved[name]

    def text(self, name: str) -> str:
        """Return an option that is text or a path."""
        value = self._option(name, "str", "path")
        return "" if value is None else str(value)

    def number(self, name: str) -> int:
        """Return an option that is a whole number."""
        return int(check_type_int(self._option(name, "int")))

    def flag(self, name: str) -> bool:
        """Return an option that is true or false."""
        return bool(boolean(self._option(name, "bool"), strict=False))

    def items(self, name: str) -> list[Any]:
        """Return an option that is a list. Text is a list with one item, as in Ansible's own validation."""
        value = self._option(name, "list")
        return [value] if isinstance(value, str) else list(value or [])

    def is_text(self, name: str) -> bool:
        """Return whether an option that is a list was given as text."""
        return isinstance(self._option(name, "list"), str)

    def table(self, name: str) -> dict[str, Any]:
        """Return an option that is a dictionary."""
        return dict(self._option(name, "dict") or {})

    @property
    def in_container(self) -> bool:
        """Return whether the role's service runs in a container."""
        return self.deployment in CONTAINERS

    @property
    def deployment(self) -> str:
        """Return how the role's service runs."""
        return self.text(f"{self.role}_deployment")

    @property
    def host(self) -> str:
        """Return the host's name in the inventory."""
        return str(self.variables.get("inventory_hostname", ""))

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return the facts of the host."""
        return self.variables.get("ansible_facts") or {}

    @property
    def stack(self) -> Mapping[str, Any]:
        """Return what the host's stack already has for this role."""
        return self.stack_of(self.role)

    def stack_of(self, role: str, host: str = "") -> Mapping[str, Any]:
        """Return what a host has of a role, from its facts.

        :param host: The name of the host, this one if empty.
        """
        return stack_of(self.hostvars.get(host) or {} if host and host != self.host else self.variables, role)

    @property
    def hostvars(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the variables of all hosts."""
        return self.variables.get("hostvars") or {}

    @property
    def groups(self) -> Mapping[str, list[str]]:
        """Return the groups of the inventory with their hosts."""
        return self.variables.get("groups") or {}

    def type_faults(self) -> list[str]:
        """Return a sentence for each option that does not have the type of its specification, in the words of Ansible's own validation of roles.

        Options with the role's default are omitted unless they have choices: the default may get its value from a switch of the collection.
        """
        defaults = defaults_of(self.role)
        known = {name: option for name, option in self.options.items() if name in self.variables}
        given = [name for name, option in known.items() if "choices" in option or self.variables[name] != defaults.get(name)]
        values = {name: self._option(name, self.options[name].get("type", "str")) for name in given}
        # Ansible's validation accepts null for every option.
        if nulls := [fault for name in given if (fault := null_fault(name, self.options[name], values[name]))]:
            return nulls
        result = ArgumentSpecValidator({name: self.options[name] for name in given}).validate(values)
        return [str(fault) for fault in result.error_messages]

    def names(self) -> list[str]:
        """Return the names of the variables with the role's prefix that are set, and are no facts: Ansible makes a variable of each fact."""
        return sorted({name for name in self.variables if name.startswith(f"{self.role}_")} - set(self.facts))
