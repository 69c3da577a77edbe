# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that prevent a run from replacing the secrets that a stack already has if the control node does not have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ansible_collections.atlas.mlflow.plugins.module_utils.stack import matches, matching
from ansible_collections.atlas.mlflow.plugins.module_utils.uris import read_uri
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import CONTAINERS, defaults_of, stack_of
from ansible_collections.atlas.mlflow.plugins.plugin_utils.secrets import SECRETS, second_account, second_user
from ansible_collections.atlas.mlflow.plugins.plugin_utils.stores import Hosts, aliases
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology import topology_hosts

#: The variable that sets each secret instead of the generated one, by the name of its file.
VARIABLES = {name: secret.variable for name, secret in SECRETS.items()}
#: Secrets of a store's host, each with the group of that host, the store that a tracking server uses it for, and the server's own variable for it.
OF_A_STORE = {
    "postgres_password": ("postgres", "backend", "mlflow_server_backend_store_uri"),
    "minio_secret_key": ("minio", "artifacts", "mlflow_server_s3_secret_access_key"),
}
#: Secrets for the login of users. A server without users does not have them.
OF_USERS = ("mlflow_admin_password", "mlflow_flask_secret_key")
#: Defaults of the host's variables that are read here.
AUTH = defaults_of("mlflow_server")["mlflow_server_auth"]
REPOSITORY = defaults_of("backup")["backup_repository"]


def read_file(folder: str, name: str) -> str:
    """Return the secret in a file in the form that Ansible's look-up for passwords writes; an empty string if there is no file."""
    path = Path(folder, name).expanduser()
    return path.read_text(encoding="utf-8").strip().partition(" salt=")[0] if path.is_file() else ""


def holders(hostvars: Hosts, groups: Mapping[str, list[str]], name: str) -> dict[str, str]:
    """Return the hosts that use a secret of this topology, each with the fingerprint of the secret."""
    found = {}
    for host in topology_hosts(groups):
        variables = hostvars[host]
        for role, group in (("mlflow_server", "mlflow_servers"), ("minio", "minio"), ("postgres", "postgres"), ("backup", "")):
            section = stack_of(variables, role)
            mark = (section.get("secrets") or {}).get(name)
            if not mark or (group and host not in groups.get(group, [])):
                continue
            if name in OF_USERS and str(variables.get("mlflow_server_auth", AUTH)) == "none":
                continue
            if name == "postgres_superuser_password" and variables.get("postgres_deployment", variables.get("atlas_mlflow_deployment")) not in CONTAINERS:
                continue
            if name in OF_A_STORE:
                store_group, store, own_variable = OF_A_STORE[name]
                at = (section.get("stores") or {}).get(store, {}).get("host", "")
                known = aliases(hostvars, groups, host, of_artifacts=store == "artifacts")
                if own_variable in variables or known.get(at, at) not in groups.get(store_group, []):
                    continue
            found[host] = mark
    return found


def providers(groups: Mapping[str, list[str]], name: str) -> list[str]:
    """Return the hosts that set the secret for its account."""
    return groups.get(OF_A_STORE[name][0], []) if name in OF_A_STORE else []


def given(hostvars: Hosts, groups: Mapping[str, list[str]], name: str, host: str) -> str | None:
    """Return the secret from the inventory, None if the inventory does not set it."""
    variables = hostvars[(providers(groups, name) or [host])[0]]
    return str(variables[VARIABLES[name]]) if VARIABLES[name] in variables else None


def rotations_under_way(hostvars: Hosts, groups: Mapping[str, list[str]], folder: str) -> list[str]:
    """Return the secrets that an interrupted rotation replaced on the control node, or was about to replace, but not on all hosts.

    :param hostvars: The variables of all hosts, with the facts of C(atlas.mlflow.host_facts).
    :param groups: The groups of the inventory.
    :param folder: The folder of the generated secrets on the control node.
    """
    found = []
    for name in VARIABLES:
        value, former = read_file(folder, name), read_file(folder, f"{name}.previous")
        if former and value != former and any(matches(former, mark) for mark in holders(hostvars, groups, name).values()):
            found.append(name)
    return found


def second_logins(hostvars: Hosts, groups: Mapping[str, list[str]], folder: str) -> list[str]:
    """Return the present secrets of the control node with which a tracking server logs in by the second login of an interrupted rotation.

    :param hostvars: The variables of all hosts, with the facts of C(atlas.mlflow.host_facts) and the plan.
    :param groups: The groups of the inventory.
    :param folder: The folder of the generated secrets on the control node.
    """
    found = []
    for name in OF_A_STORE:
        value = read_file(folder, name)
        for host, mark in holders(hostvars, groups, name).items():
            plan = hostvars[host].get("_atlas_mlflow_plan") or {}
            owner = unquote(read_uri(str(plan.get("backend_store") or "")).user)
            second = second_user(owner) if name == "postgres_password" else second_account(str(plan.get("s3_access_key_id") or ""))
            if (stack_of(hostvars[host], "mlflow_server").get("logins") or {}).get(name) == second and matches(value, mark):
                found.append(name)
                break
    return found


def secrets_of_inventory(hostvars: Hosts, groups: Mapping[str, list[str]]) -> list[str]:
    """Return the secrets that the inventory sets for a host of the stack, instead of the generated ones.

    :param hostvars: The variables of all hosts.
    :param groups: The groups of the inventory.
    """
    return [name for name, variable in VARIABLES.items() if any(variable in hostvars[host] for host in topology_hosts(groups))]


def passphrase_fault(variables: Mapping[str, Any], host: str, mark: str, value: str) -> str:
    """Return what is wrong with the passphrase for a backup's repository that a host already uses, or an empty string."""
    recorded = str(stack_of(variables, "backup").get("repository", ""))
    wanted = str(variables.get("backup_repository", REPOSITORY)).rstrip("/")
    if wanted != recorded or matches(value, mark):
        return ""
    return (
        f"backup_passphrase is not the one that opens {recorded} on {host}, so neither the backups there nor new ones could be read. Set it to that one. "
        f"To begin with another, set backup_repository to a place that is empty, and keep the old passphrase for as long as you keep {recorded}."
    )


def _replaced_fault(found: Mapping[str, Iterable[str]], seen: str, folder: str) -> str:
    """Return what is wrong if this control node would replace secrets of hosts, or an empty string.

    :param found: The names of the secrets, by host.
    :param seen: What this control node has in their place, as a part of the sentence.
    :param folder: The folder of the generated secrets on the control node.
    """
    if not found:
        return ""
    names = list(dict.fromkeys(name for host in found.values() for name in host))
    return (
        f"{', '.join(found)} already runs with {', '.join(names)}, and this control node {seen} in {folder}: it would replace them, and "
        "another control node would change them back. Copy the folder from the control node that set up the stack, set "
        "atlas_mlflow_secrets_dir to a folder that all control nodes share, or give the secrets in the inventory by Ansible Vault or a "
        f"look-up ({', '.join(VARIABLES[name] for name in names)}). To make new ones, run rotate_secrets.yml where the present ones are."
    )


def secret_faults(
    hostvars: Hosts,
    groups: Mapping[str, list[str]],
    folder: str,
    left_out: Iterable[str] = (),
    backs_up: bool = False,
    play_secrets: Iterable[str] = (),
    role: str = "",
) -> list[str]:
    """Return a sentence for each secret of the stack that this run would replace although nobody asked for it.

    Two kinds of secrets are replaced on purpose: secrets that the inventory or the play sets, and secrets whose former file still exists.

    :param hostvars: The variables of all hosts, with the facts of C(atlas.mlflow.host_facts).
    :param groups: The groups of the inventory.
    :param folder: The folder of the generated secrets on the control node.
    :param left_out: Hosts that C(--limit) leaves out.
    :param backs_up: Whether the run writes the settings of the backup.
    :param play_secrets: Secrets that the play sets.
    :param role: The role whose secrets count, if it is used without a playbook of this collection. All of them count if it is empty.
    """
    faults: list[str] = []
    missing: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    names = [name for name in VARIABLES if name not in play_secrets and (backs_up or name != "backup_passphrase") and name.startswith(role)]
    held = {name: holders(hostvars, groups, name) for name in names}
    fitting = matching({(read_file(folder, name), mark) for name, marks in held.items() if name != "backup_passphrase" for mark in marks.values()})
    for name, marks in held.items():
        changed = []
        for host, mark in marks.items():
            secret = given(hostvars, groups, name, host)
            value = read_file(folder, name) if secret is None else secret
            if name == "backup_passphrase" and value:
                faults.append(passphrase_fault(hostvars[host], host, mark, value))
                continue
            if secret is not None:
                changed += [host] if left_out and not matches(value, mark) else []
            elif (value, mark) not in fitting:
                if matches(read_file(folder, f"{name}.previous"), mark):
                    changed.append(host)
                else:
                    (others if value else missing).setdefault(host, []).append(name)
        outside = [host for host in dict.fromkeys([*marks, *providers(groups, name)]) if host in set(left_out)]
        if changed and outside:
            faults.append(
                f"{name} differs from the one that {', '.join(changed)} runs with, and --limit leaves out {', '.join(outside)}, where it would stay "
                "as it is. Run this playbook without --limit."
            )
    faults += [_replaced_fault(missing, "does not have them", folder), _replaced_fault(others, "has other ones", folder)]
    return [fault for fault in faults if fault]


def kept_of_stack(stack: Mapping[str, Any], removed: Iterable[str]) -> dict[str, Any]:
    """Return what remains of a host's stack after its services are removed.

    :param stack: The fact C(stack) of C(atlas.mlflow.host_facts).
    :param removed: Roles whose data are also removed.
    """
    # A proxy has no data.
    gone = {*removed, "haproxy"}
    kinds = {"postgresql": "postgres", "s3": "minio", "sqlite": "mlflow_server", "folder": "mlflow_server"}
    # Whether a host has data of etcd is always read on the host.
    kept = {role: dict(section) for role, section in stack.items() if role == "backup" or role not in {*gone, "etcd"}}
    # The backups stay, and their program does not.
    kept.get("backup", {}).pop("reaches", None)
    server = dict(stack.get("mlflow_server") or {})
    if server:
        stores = {name: store for name, store in server["stores"].items() if kinds.get(store["kind"]) not in gone}
        needs = {"postgres_password": "backend", "minio_secret_key": "artifacts", "mlflow_admin_password": "users"}
        needs |= {"mlflow_webhook_key": "backend", "mlflow_kek_passphrase": "backend"}
        secrets = {name: mark for name, mark in server["secrets"].items() if needs.get(name) in stores}
        kept["mlflow_server"] = {"stores": stores, "secrets": secrets, "seen": server.get("seen", ""), "uid": server.get("uid", "")}
        if not stores:
            del kept["mlflow_server"]
    return kept


class FilterModule:
    """Register the filters with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {
            "kept_of_stack": kept_of_stack,
            "rotations_under_way": rotations_under_way,
            "second_logins": second_logins,
            "secret_faults": secret_faults,
            "secrets_of_inventory": secrets_of_inventory,
        }
