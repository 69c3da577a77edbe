# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of one host of a stack, each value with its type and with the default of its role."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError, AnsibleUndefinedVariable
from ansible.module_utils.common.validation import check_type_int
from ansible.module_utils.common.yaml import yaml_load
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.template import trust_as_template
from ansible_collections.atlas.mlflow.plugins.module_utils.os_release import CA_FILES
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import CONTAINERS, ROLES, defaults_of
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology import ip_of, own_address

#: The roles whose settings the topology uses.
SERVICES = ("mlflow_server", "postgres", "etcd", "minio", "haproxy", "metrics", "prometheus", "backup")
#: The variable in which playbooks/internal/facts.yml stores the plan of each host.
PLAN = "_atlas_mlflow_plan"
#: A function that takes a host's variables and returns a function that resolves templates with them.
Resolver = Callable[[dict[str, Any]], Callable[[Any], Any]]


def resolver_of(templar: Any) -> Resolver:
    """Return the resolver of an action plugin.

    :param templar: The plugin's ``Templar``.
    """

    def resolver(variables: dict[str, Any]) -> Callable[[Any], Any]:
        template: Callable[[Any], Any] = templar.copy_with_new_env(available_variables=variables).template
        return template

    return resolver


def host_reader(templar: Any, task_vars: Mapping[str, Any], inventory_only: bool = False) -> Callable[[str], Host]:
    """Return a function that returns a host of the stack by its name, each host once.

    :param templar: The ``Templar`` of an action plugin.
    :param task_vars: The variables of its task.
    :param inventory_only: Whether to leave out what only the task has, such as the defaults of a role. A comparison of hosts must not see them.
    """
    own, hostvars, resolver = task_vars["inventory_hostname"], task_vars["hostvars"], resolver_of(templar)

    @functools.cache
    def host(name: str) -> Host:
        # A playbook that imports one of the collection's playbooks may pass variables to its plays. The task's variables have them, and hostvars does not.
        return Host(name, task_vars if name == own and not inventory_only else {**_untemplated(hostvars, name), "hostvars": hostvars}, resolver)

    return host


def _untemplated(hostvars: Any, name: str) -> Mapping[str, Any]:
    """Return the variables of a host with unresolved templates."""
    found: Mapping[str, Any] = hostvars.raw_get(name) if hasattr(hostvars, "raw_get") else hostvars[name]
    return found


@functools.cache
def defaults() -> dict[str, Any]:
    """Return the defaults of the services' roles and of the collection's switches, with unresolved templates."""
    switches = yaml_load(Path(ROLES, "common/meta/argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]["switches"]["options"]
    found = {name: option["default"] for name, option in switches.items() if "default" in option}
    for role in SERVICES:
        found.update({name: trust_as_template(value) if isinstance(value, str) else value for name, value in defaults_of(role).items()})
    return found


class Host:
    """A host of the stack and its settings. A template is resolved only when its value is read, so no secret is generated here."""

    def __init__(self, name: str, variables: Mapping[str, Any], resolver: Resolver) -> None:
        """Take the variables of a host.

        :param name: The host's name in the inventory.
        :param variables: Its variables with their templates, and its facts.
        :param resolver: Creates the function that resolves templates.
        """
        self.name = name
        # An earlier playbook of this run may have stored a plan, and the defaults would use it.
        self._given = {key: value for key, value in variables.items() if key != PLAN}
        self._resolve = resolver({**defaults(), **self._given})

    def given(self, name: str) -> Any:
        """Return the setting of the host, None if there is none, or if it refers to a variable that the host does not have."""
        try:
            return self._resolve(self._given[name])
        except (KeyError, AnsibleUndefinedVariable):
            return None

    def value(self, name: str) -> Any:
        """Return the setting of the host, or else the default."""
        value = self.given(name)
        return self._resolve(defaults()[name]) if value is None else value

    def text(self, name: str) -> str:
        """Return a setting that is text."""
        return str(self.value(name))

    def number(self, name: str) -> int:
        """Return a setting that is a whole number."""
        return int(check_type_int(self.value(name)))

    def flag(self, name: str) -> bool:
        """Return a setting that is true or false."""
        return bool(boolean(self.value(name), strict=False))

    def items(self, name: str) -> list[Any]:
        """Return a setting that is a list. Text is a list with one item."""
        value = self.value(name)
        return [value] if isinstance(value, str) else list(value)

    def given_text(self, name: str) -> str:
        """Return the setting of the host as text, empty if there is none."""
        value = self.given(name)
        return "" if value is None else str(value)

    def in_container(self, role: str) -> bool:
        """Return whether the service of a role runs in a container on this host."""
        return bool(self.engine(role))

    def engine(self, role: str) -> str:
        """Return the program that runs the container of a role on this host, empty if the role has no container."""
        return CONTAINERS.get(self.text(f"{role}_deployment"), "")

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return the facts of the host."""
        return self._given.get("ansible_facts") or {}

    def _known(self, name: str) -> Any:
        """Return a value that playbooks/internal/facts.yml has found for the host; fail if it is missing."""
        value = self.given(name)
        if not value:
            raise AnsibleError(
                f"{name} of {self.name} is not known in this run: import playbooks/internal/facts.yml before, or set atlas_mlflow_address of {self.name}"
            )
        return value

    @property
    def address(self) -> str:
        """Return the name or address by which the other hosts call this one."""
        return str(self._known("atlas_mlflow_address"))

    @property
    def ip(self) -> str:
        """Return the IP address by which the other hosts know this one: from which it connects to them."""
        return str(self._known("atlas_mlflow_ip"))

    @property
    def listen_ip(self) -> str:
        """Return the IP address on which the host listens: its own one if the others reach it by one of a NAT, which no interface of the host has."""
        own = [str(entry["address"]) for entry in self.facts.get("addresses") or []]
        behind_nat = own and self.ip not in own and not self.facts.get("binds_any_address")
        return own_address(self.facts) if behind_nat else self.ip

    def called_at(self, listens: str) -> str:
        """Return the address at which a service of the host is asked.

        :param listens: The address on which the service listens. A service on loopback is asked on its own host alone.
        """
        address = ip_of(listens)
        # Others call a host by its address, which may be a name. Another rule refuses a text that is no address.
        return self.address if address is None or address.is_unspecified or address == ip_of(self.listen_ip) else listens

    @property
    def names(self) -> list[str]:
        """Return the names that the host or the inventory has for the host."""
        return list(self._known("atlas_mlflow_names"))

    @functools.cached_property
    def secrets_dir(self) -> str:
        """Return the folder on the control node with the generated secrets. Ansible reads a folder with another name next to the inventory as hosts."""
        return self.given_text("atlas_mlflow_secrets_dir") or f"{self.given_text('inventory_dir')}/.secrets"

    @functools.cached_property
    def own_tls(self) -> Certificate | None:
        """Return the certificate that the inventory's own authority makes for the host, None without that authority."""
        return Certificate(f"{self.secrets_dir}/tls", self.name) if self.flag("atlas_mlflow_tls") else None

    @property
    def authority(self) -> str:
        """Return the CA file on the control node for the check of certificates, empty to use the authorities that each host trusts."""
        return self.own_tls.authority if self.own_tls else self.given_text("atlas_mlflow_tls_authority")

    @property
    def server_authority(self) -> str:
        """Return the same for the tracking server on the host. The inventory may set another CA file for it, or none."""
        given = self.given("mlflow_server_tls_authority")
        return self.authority if given is None else str(given)

    @property
    def trust_store(self) -> str:
        """Return the file on the host with the authorities that it trusts. The drivers of PostgreSQL bring an OpenSSL that finds no C(system) there."""
        return str(self.facts.get("ca_file") or CA_FILES["Debian"])

    def own_certificate(self, role: str) -> bool:
        """Return whether the inventory sets a certificate for the service of a role. Such a certificate is not for loopback or a container's name."""
        return bool(self.given_text(f"{role}_tls_certificate"))

    def speaks_tls(self, role: str) -> bool:
        """Return whether the service of a role uses TLS: with a certificate from the inventory, even if it is empty, or from the own authority."""
        given = self.given(f"{role}_tls_certificate")
        return self.own_tls is not None if given is None else bool(given)


class Certificate:
    """The files on the control node of a certificate from the inventory's own authority."""

    def __init__(self, folder: str, host: str) -> None:
        """Take the folder of the certificates, and the host."""
        self.authority, self.certificate, self.key = f"{folder}/authority.pem", f"{folder}/{host}.pem", f"{folder}/{host}.key"
