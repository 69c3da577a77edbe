# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for generated passwords and keys."""

from __future__ import annotations

import re

from ansible_collections.atlas.mlflow.plugins.module_utils.stack import matches
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings

#: The least number of characters of a password.
LENGTH = 12
#: The most characters of the secret key of a service account of MinIO. The root user has no such limit.
SERVICE_SECRET = 40
FERNET_KEY = "[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]=$"
#: For keys and passphrases by which one server reads what another one has encrypted.
ON_ALL = ", the same on all servers"


def length_fault(given: RoleSettings, name: str, because: str = "", scope: str = "", playbook: str = "site") -> str:
    """Return what is wrong with the length of a password, or an empty text.

    :param because: Why it must be long, as a part of the sentence.
    :param scope: Where else it must be set.
    :param playbook: The playbook that generates it.
    """
    found = len(given.text(name))
    if found >= LENGTH:
        return ""
    return f"{name} has {found} characters{because}. Set one of {LENGTH} or more{scope}, or use the playbook atlas.mlflow.{playbook}, which generates it."


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
    return length_fault(given, "mlflow_server_kek_passphrase", ", and MLflow encrypts API keys by it", ON_ALL)


def former_webhook_keys_are_keys(given: RoleSettings) -> str:
    """Former keys for webhooks are Fernet keys."""
    if all(re.match(FERNET_KEY, str(key)) for key in given.items("mlflow_server_former_webhook_keys")):
        return ""
    return "mlflow_server_former_webhook_keys has an item that is no Fernet key. Give the keys that mlflow_server_webhook_key had before."


def postgres_password_is_long(given: RoleSettings) -> str:
    """The tracking server's password for PostgreSQL is long."""
    return length_fault(given, "postgres_password")


def superuser_password_is_long(given: RoleSettings) -> str:
    """The administrator's password of a PostgreSQL in a container is long."""
    return length_fault(given, "postgres_superuser_password", f", and postgres_deployment is {given.deployment}") if given.in_container else ""


def superuser_password_stays(given: RoleSettings) -> str:
    """The administrator's password of a PostgreSQL in a container is the one of its data: the image sets it only when it creates them."""
    mark = (given.stack.get("secrets") or {}).get("postgres_superuser_password")
    has_data = any(given.stack.get(name) for name in ("volume", "podman_volume"))
    if not given.in_container or not mark or not has_data or given.flag("postgres_allow_data_change"):
        return ""
    if matches(given.text("postgres_superuser_password"), mark):
        return ""
    return (
        "postgres_superuser_password is not the one of the present data, and a container of PostgreSQL takes another one only for new data: the role could not "
        "log in. Set the former one. To change it, set the new one in PostgreSQL (ALTER ROLE postgres PASSWORD ...), and postgres_allow_data_change to true "
        "for one run."
    )


def minio_passwords_are_long(given: RoleSettings) -> str:
    """The passwords of MinIO's administrator and of the tracking server's account are long."""
    return length_fault(given, "minio_root_password") or length_fault(given, "minio_secret_key")


def minio_secret_key_fits(given: RoleSettings) -> str:
    """The secret key of the tracking server's account is one that MinIO takes."""
    return too_long_fault(given, "minio_secret_key")


def too_long_fault(given: RoleSettings, name: str) -> str:
    """Return what is wrong with the secret key of a service account that is too long for MinIO, or an empty text."""
    found = len(given.text(name))
    if found <= SERVICE_SECRET:
        return ""
    return f"{name} has {found} characters, and MinIO takes {SERVICE_SECRET} at most for a service account. Set a shorter one (openssl rand -hex 16)."


def backup_passphrase_is_long(given: RoleSettings) -> str:
    """The passphrase of the backups is long."""
    return length_fault(given, "backup_passphrase", playbook="backup")
