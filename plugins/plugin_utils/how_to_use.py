# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person who has set up a stack needs to know next."""

from __future__ import annotations

import contextlib
import shlex
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

#: The next commands, each with what it is for.
NEXT = (("backup", "sets up a daily backup, and makes one"), ("verify", "checks the stack again"), ("diagnose", "says why the server cannot be used"))
#: Seconds to wait for an address of a name. A name server that does not answer would be waited for much longer.
PATIENCE = 2.0


def resolves(name: str) -> bool:
    """Return whether this machine finds an address for a name within PATIENCE."""
    found: list[Any] = []

    def ask() -> None:
        with contextlib.suppress(OSError, UnicodeError):
            found.extend(socket.getaddrinfo(name, None))

    # A call cannot be stopped. As a daemon, it does not keep the process from ending.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PATIENCE)
    return bool(found)


def how_to_use(plan: Mapping[str, Any], sources: Sequence[str], known: Callable[[str], bool] = resolves) -> list[str]:
    """Return the address of a stack, how to log in, where the secrets are, and the next commands. No line has a secret.

    The probes send each name to the server's IP address, because a name may exist only in the users' network. So a name that this machine does not know is told
    here.

    :param plan: The plan of the first tracking server.
    :param sources: The inventories.
    :param known: Tells whether this machine finds an address for a name.
    """
    inventory = " ".join(f"-i {shlex.quote(source)}" for source in sources)
    lines = [f"MLflow is at {plan['client_url']}"]
    if (name := urlsplit(plan["client_url"]).hostname) and not known(name):
        lines.append(f"This machine finds no address for {name}. If the users' machines find none either, add the name to your DNS or to their /etc/hosts.")
    if plan["auth"] == "basic":
        password = f"in {plan['secrets_dir']}/mlflow_admin_password, unless the inventory sets it"
        lines.append(f"Log in as {plan['admin_user']}. The password is {password}.")
    elif plan["auth"] == "none":
        lines.append("There is no login: who reaches this address may read and change everything. mlflow_server_auth sets one up.")
    else:
        lines.append("People log in at your OpenID Connect provider.")
    if plan["front_authority"]:
        lines.append(f"Clients need the CA file: MLFLOW_TRACKING_SERVER_CERT_PATH={plan['front_authority']}")
    lines.append(f"Generated secrets are in {plan['secrets_dir']}. Keep a copy of them in another place.")
    if plan["database_elsewhere"]:
        lines.append("The database is not in the inventory: back it up, and the artifacts, by the means of their provider.")
    commands = [(name, use) for name, use in NEXT if name != "backup" or not plan["database_elsewhere"]]
    width = max(len(name) for name, _use in commands)
    return [*lines, *(f"ansible-playbook atlas.mlflow.{name:<{width}} {inventory}   # {use}" for name, use in commands)]
