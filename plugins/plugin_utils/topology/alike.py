# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings that must be alike on all tracking servers, because any of them may answer a client's next request.

What concerns one host may differ: its workers, port, address, deployment, folders, environment and further options.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.stack import artifacts, database
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.hosts import Host

#: Settings whose values are shown. Their defaults are the same on all hosts.
SHOWN = (
    "mlflow_server_version",
    "mlflow_server_auth",
    "mlflow_server_default_permission",
    "mlflow_server_static_prefix",
    "mlflow_server_artifact_mode",
    "mlflow_server_cors_allowed_origins",
    "mlflow_server_admin_user",
    "mlflow_server_oidc_discovery_url",
    "mlflow_server_oidc_client_id",
    "mlflow_server_oidc_scopes",
    "mlflow_server_oidc_groups_claim",
    "mlflow_server_oidc_groups",
    "mlflow_server_oidc_admin_groups",
)
#: The same, for settings that are true or false.
FLAGS = ("mlflow_server_workspaces",)
#: Settings that depend on the host if the inventory does not set them.
SHOWN_IF_GIVEN = ("mlflow_server_lock_file", "mlflow_server_oidc_redirect_uri")
#: Secrets, which are never shown. If no host sets one, all have the generated one.
SECRET = (
    "mlflow_server_webhook_key",
    "mlflow_server_kek_passphrase",
    "mlflow_server_flask_secret_key",
    "mlflow_server_former_webhook_keys",
    "mlflow_server_former_kek_passphrases",
    "mlflow_server_oidc_client_secret",
)
#: Settings of the first server that apply to all.
SECRET_OF_THE_FIRST = ("mlflow_server_admin_password", "mlflow_server_users")
#: Databases, of which the place is shown and compared, without login and options.
DATABASES = ("mlflow_server_backend_store_uri", "mlflow_server_auth_store_uri")
DESTINATION = "mlflow_server_artifacts_destination"
#: Hosts of a URI that mean the tracking server's own host.
OWN = ("", "localhost", "127.0.0.1", "::1")
NOT_SET = "not set"


def differences(first: Host, host: Host, others: Iterable[Host] = ()) -> list[str]:
    """Return a sentence for each setting of a tracking server that is not that of the first one, without a secret.

    :param first: The first tracking server's host.
    :param host: Another tracking server's host.
    :param others: Other hosts of the stack, whose names and addresses a URI may have.
    """
    pairs = {name: (_shown(first.value(name)), _shown(host.value(name))) for name in SHOWN}
    pairs |= {name: (_shown(first.flag(name)).lower(), _shown(host.flag(name)).lower()) for name in FLAGS}
    pairs |= {name: (_shown(first.given(name)), _shown(host.given(name))) for name in SHOWN_IF_GIVEN}
    hosts = {call.lower(): known.name for known in (*others, first, host) for call in _calls(known)}
    pairs |= {name: (_database(first, name, hosts), _database(host, name, hosts)) for name in DATABASES}
    pairs[DESTINATION] = (_bucket(first), _bucket(host))
    found = [_told(name, f"{one} on {first.name} and {two} on {host.name}") for name, (one, two) in pairs.items() if one != two]
    secret = [name for name in SECRET if first.given(name) != host.given(name)]
    secret += [name for name in SECRET_OF_THE_FIRST if host.given(name) is not None and first.given(name) != host.given(name)]
    return found + [_told(name, f"not the same on {first.name} and {host.name}") for name in secret]


def _told(name: str, difference: str) -> str:
    """Return the sentence for a setting that differs."""
    return f"{name} is {difference}. Any tracking server may get a client's next request, so it must be the same on all: set it for the group mlflow_servers."


def _shown(value: Any) -> str:
    """Return a value as text."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(str, value))}]"
    return NOT_SET if value is None else str(value) or "empty"


def _calls(host: Host) -> list[str]:
    """Return the names and addresses of a host that are known."""
    return [
        host.name,
        *(str(call) for call in (host.given("atlas_mlflow_names") or [])),
        host.given_text("atlas_mlflow_address"),
        host.given_text("atlas_mlflow_ip"),
    ]


def _database(host: Host, name: str, hosts: dict[str, str]) -> str:
    """Return the place of a database that the inventory sets for a host, without login and options."""
    uri = host.given_text(name)
    if not uri:
        return NOT_SET
    place = database(uri)
    at = host.name if place.get("host", "") in OWN else hosts.get(place["host"], place["host"])
    return f"the database {place['name']} on {at}" if place else "a URI that cannot be read"


def _bucket(host: Host) -> str:
    """Return the artifact store that the inventory sets for a host, without its endpoint, which may have several names."""
    destination = host.given_text(DESTINATION)
    return f"{artifacts(destination, '')['kind']}://{artifacts(destination, '')['name']}" if destination else NOT_SET
