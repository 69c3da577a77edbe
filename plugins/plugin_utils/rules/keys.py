# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for generated passwords and keys."""

from __future__ import annotations

import re

from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings

#: The least number of characters of a password.
LENGTH = 12
FERNET_KEY = "[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]=$"
SITE = "use the playbook atlas.mlflow.site, which generates it"


def is_short(given: RoleSettings, name: str) -> bool:
    """Return whether a password is too short."""
    return len(given.text(name)) < LENGTH


def characters(given: RoleSettings, name: str) -> str:
    """Return the message for a password that is too short."""
    return f"{name} has {len(given.text(name))} characters"


def webhook_key_is_one(given: RoleSettings) -> str:
    """The key for the secrets of webhooks is a Fernet key."""
    key = given.text("mlflow_server_webhook_key")
    if re.match(FERNET_KEY, key):
        return ""
    return (
        f"mlflow_server_webhook_key {'is no Fernet key' if key else 'is empty'}, by which MLflow encrypts the secrets of webhooks. Use the playbook "
        "atlas.mlflow.site, which generates it, or set one: 32 random bytes in URL-safe Base64, the same on all servers."
    )


def kek_passphrase_is_long(given: RoleSettings) -> str:
    """The passphrase for MLflow's API keys is long."""
    name = "mlflow_server_kek_passphrase"
    if not is_short(given, name):
        return ""
    return (
        f"{characters(given, name)}, and MLflow encrypts API keys by it. Use the playbook atlas.mlflow.site, which generates "
        "it, or set one of 12 or more, the same on all servers."
    )


def former_webhook_keys_are_keys(given: RoleSettings) -> str:
    """Former keys for webhooks are Fernet keys."""
    if all(re.match(FERNET_KEY, str(key)) for key in given.items("mlflow_server_former_webhook_keys")):
        return ""
    return "mlflow_server_former_webhook_keys has an item that is no Fernet key. Give the keys that mlflow_server_webhook_key had before."


def postgres_password_is_long(given: RoleSettings) -> str:
    """The tracking server's password for PostgreSQL is long."""
    name = "postgres_password"
    return f"{characters(given, name)}. Set one of 12 or more, or {SITE}." if is_short(given, name) else ""


def superuser_password_is_long(given: RoleSettings) -> str:
    """The administrator's password of a PostgreSQL in a container is long."""
    name = "postgres_superuser_password"
    if not given.in_container or not is_short(given, name):
        return ""
    return f"{characters(given, name)}, and postgres_deployment is container. Set one of 12 or more, or {SITE}."


def minio_passwords_are_long(given: RoleSettings) -> str:
    """The passwords of MinIO's administrator and of the tracking server's account are long."""
    if not is_short(given, "minio_root_password") and not is_short(given, "minio_secret_key"):
        return ""
    return "minio_root_password or minio_secret_key has fewer than 12 characters. Set both, or use the playbook atlas.mlflow.site, which generates them."


def backup_passphrase_is_long(given: RoleSettings) -> str:
    """The passphrase of the backups is long."""
    name = "backup_passphrase"
    if not is_short(given, name):
        return ""
    return f"{characters(given, name)}. Set one of 12 or more, or use the playbook atlas.mlflow.backup, which generates it."
