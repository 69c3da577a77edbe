# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the users of the host that run the services: a role creates its user, owns files by it, and may remove it."""

from __future__ import annotations

import re

from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.data import place_in_words, present_place

#: Users that the system or its packages create.
OF_PACKAGES = (
    *("root", "daemon", "bin", "sys", "sync", "adm", "games", "man", "lp", "mail", "news", "uucp", "proxy", "www-data", "backup", "list", "irc", "nobody"),
    *("_apt", "sshd", "messagebus", "syslog", "chrony", "polkitd", "apache", "nginx", "mysql", "redis", "docker"),
    *("postgres", "pgbouncer", "etcd", "haproxy", "keepalived_script", "prometheus"),
)


def user_is_no_package_s(given: RoleSettings) -> str:
    """The user of the service is not root, and not the user of a package."""
    name = f"{given.role}_os_user"
    user = given.text(name)
    if not re.match("[A-Za-z_][A-Za-z0-9_.-]*$", user):
        return f"{name} is {user or 'empty'}. Set the name of a user, of letters, digits and the signs . _ -, that begins with a letter."
    if user not in OF_PACKAGES and not user.startswith("systemd-"):
        return ""
    return (
        f"{name} is {user}, a user of the system or of a package: the role would change it, and remove.yml removes it with the data. Set a name of its own, "
        f"such as {given.role.partition('_')[0]}."
    )


def user_is_of_one_role(given: RoleSettings) -> str:
    """No other role of the host has the same user: each could read and change the data of the other, and its removal removes the user of both."""
    accounts = given.planned("accounts") or {}
    own = f"{given.role}_os_user" if given.role != "metrics" else "metrics_postgres_user"
    same = [name for name, user in accounts.items() if name != own and user == accounts.get(own)]
    if not same:
        return ""
    return f"{own} and {same[0]} are {accounts[own]}, and {given.host} has both services. Set a user of its own for each."


def _wanted_user(given: RoleSettings) -> tuple[str, str]:
    """Return the variable of the user that will run the service, and the user's number, which is empty if the host has no such user."""
    if given.role == "postgres" or given.role == "minio" and given.in_container and given.text("minio_image"):
        name = f"{given.role}_container_user"
        return name, given.text(name).partition(":")[0]
    name = f"{given.role}_os_user"
    return name, str((given.facts.get("getent_passwd") or {}).get(given.text(name), ["", ""])[1])


def _own_data(given: RoleSettings) -> str:
    """Return in words where the data of the service are on its host, empty if it has none there."""
    if given.role == "mlflow_server":
        stores = [store for store in (given.stack.get("stores") or {}).values() if store["kind"] in ("sqlite", "folder")]
        return ", ".join(dict.fromkeys(str(store["name"]) for store in stores))
    if given.stack.get("pools"):
        return "the drives of its pool"
    kind, name = present_place(given.stack, given.deployment, [])
    return place_in_words(kind, name) if kind else ""


def data_keep_their_user(given: RoleSettings) -> str:
    """The user of a service that has data stays: the files belong to it, and no role gives them to another one."""
    switch = "mlflow_server_allow_store_change" if given.role == "mlflow_server" else f"{given.role}_allow_data_change"
    present, data = str(given.stack.get("uid") or ""), _own_data(given)
    # PostgreSQL of packages has a user of its own.
    is_fixed = given.role == "postgres" and not given.in_container
    if not present or not data or is_fixed or given.flag(switch):
        return ""
    name, wanted = _wanted_user(given)
    if wanted == present:
        return ""
    accounts = given.facts.get("getent_passwd") or {}
    former = next((user for user, fields in accounts.items() if fields[1] == present), "")
    owner = f"{former} (number {present})" if former else f"the user with the number {present}"
    return (
        f"{name} is {given.text(name)}, and the files in {data} belong to {owner}: the service could not use them. Set {name} to this user. If the change is "
        f"meant, stop the service, give the files to the new user (chown --recursive), and set {switch} to true for one run."
    )
