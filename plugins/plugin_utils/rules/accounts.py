# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the users of the host that run the services: a role creates its user, owns files by it, and may remove it."""

from __future__ import annotations

import re

from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings

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
