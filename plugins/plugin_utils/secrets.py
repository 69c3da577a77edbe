# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The secrets that the collection generates, each once for the whole stack, in its own file on the control node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.stack import FERNET_END


@dataclass(frozen=True)
class Secret:
    """A generated secret.

    :param variable: The variable that sets the secret instead.
    :param owner: The key of the plan with the host whose variable applies to all hosts. Empty if each host uses its own variable.
    :param length: The number of generated letters and digits.
    :param end: The text after them.
    """

    variable: str
    owner: str = ""
    length: int = 32
    end: str = ""


def second_user(user: str) -> str:
    """Return the user of the second login in PostgreSQL, which a rotation of the password creates beside the owner of the databases."""
    return f"{user}_rotation"


def second_account(access_key: str) -> str:
    """Return the access key of the second account in MinIO, whose names have at most 20 characters."""
    return f"{access_key[:11]}-rotation"


#: The secrets by the names of their files.
SECRETS = {
    "postgres_password": Secret("postgres_password", "postgres_host"),
    "postgres_superuser_password": Secret("postgres_superuser_password", "postgres_host"),
    "postgres_replication_password": Secret("postgres_replication_password", "postgres_host"),
    "postgres_rewind_password": Secret("postgres_rewind_password", "postgres_host"),
    "minio_root_password": Secret("minio_root_password", "minio_host"),
    "minio_secret_key": Secret("minio_secret_key", "minio_host"),
    "minio_metrics_secret_key": Secret("minio_metrics_secret_key", "minio_host"),
    "mlflow_admin_password": Secret("mlflow_server_admin_password", "first_server"),
    "mlflow_flask_secret_key": Secret("mlflow_server_flask_secret_key"),
    # A Fernet key: 32 bytes in URL-safe Base64; some bits of the last byte are zero.
    "mlflow_webhook_key": Secret("mlflow_server_webhook_key", length=42, end=FERNET_END),
    "mlflow_kek_passphrase": Secret("mlflow_server_kek_passphrase"),
    "backup_passphrase": Secret("backup_passphrase"),
    # VRRP has room for eight characters.
    "haproxy_virtual_secret": Secret("haproxy_virtual_secret", length=8),
}


def given(secret: Secret, plan: Mapping[str, Any], hostvars: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Return the secret that the inventory sets for the host that owns it, None if it sets none.

    :param secret: The secret.
    :param plan: The plan of the host that asks.
    :param hostvars: The variables of all hosts.
    """
    owner = plan.get(secret.owner) if secret.owner else None
    if not owner or owner not in hostvars or secret.variable not in hostvars[owner]:
        return None
    return str(hostvars[owner][secret.variable])


def former(name: str, folder: str) -> list[str]:
    """Return the secrets that playbooks/rotate_secrets.yml has replaced, the most recent first.

    :param name: The name of the file.
    :param folder: The folder of the generated secrets.
    """
    path = Path(folder, f"{name}.former").expanduser()
    found = path.read_text(encoding="utf-8").split() if path.is_file() else []
    return [value + SECRETS[name].end for value in reversed(found)]
