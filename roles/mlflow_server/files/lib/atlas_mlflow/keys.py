"""Before the server starts, encrypt again with the configured keys the values in its database that a former key encrypted.

MLflow encrypts the secrets of webhooks with one key, and the gateway's API keys with keys that a passphrase wraps. It knows only one of each:
after a change it answers 500. So each start checks whether the present keys decrypt the values, and uses former keys for the other values. This
works after a rotation, after an interrupted rotation, and after a restore of a backup from before a rotation.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas_mlflow import settings, stores

#: The settings with the present keys.
WEBHOOK_KEY, PASSPHRASE, VERSION = "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY", "MLFLOW_CRYPTO_KEK_PASSPHRASE", "MLFLOW_CRYPTO_KEK_VERSION"


@dataclass(frozen=True)
class Former:
    """Keys that were used before the present ones, the most recent first."""

    webhook_keys: Sequence[str] = ()
    passphrases: Sequence[str] = ()


@dataclass(frozen=True)
class Kind:
    """A column with encrypted values: its rows, their place, and a function that decrypts a row with a former key and encrypts it with the present one."""

    what: str
    table: str
    key: str
    name: str
    value: str
    #: Returns whether the present key decrypts a value.
    opens: Callable[[Any], bool]
    #: Returns a value encrypted with the present key, None if no former key decrypts it.
    renew: Callable[[Any], Any | None]


def read_former(path: Path | None) -> Former:
    """Return the former keys from a JSON file, empty if there is no file."""
    if not path:
        return Former()
    given = json.loads(path.read_text(encoding="utf-8"))
    return Former(given["webhook_keys"], given["kek_passphrases"])


def webhooks(environment: Mapping[str, str], former: Former) -> Kind:
    """Return how to decrypt and encrypt the secrets of webhooks."""
    from cryptography.fernet import Fernet, InvalidToken

    present = Fernet(environment[WEBHOOK_KEY])

    def opened(key: Any, value: str) -> bytes | None:
        try:
            secret: bytes = key.decrypt(value.encode())
            return secret
        except InvalidToken:
            return None

    def renew(value: str) -> str | None:
        secrets = (opened(Fernet(key), value) for key in former.webhook_keys)
        return next((present.encrypt(secret).decode() for secret in secrets if secret is not None), None)

    return Kind("The secret of the webhook", "webhooks", "webhook_id", "name", "secret", lambda value: opened(present, value) is not None, renew)


def api_keys(environment: Mapping[str, str], former: Former) -> Kind:
    """Return how to decrypt and encrypt the gateway's API keys. A server without its own passphrase has used the one in MLflow's source."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.crypto import DEFAULT_KEK_PASSPHRASE, KEKManager, unwrap_dek, wrap_dek

    version = int(environment.get(VERSION) or 1)

    # Each derivation takes a third of a second.
    @functools.cache
    def kek(passphrase: str) -> bytes:
        key: bytes = KEKManager(passphrase, version).get_kek()
        return key

    def opened(passphrase: str, wrapped: bytes) -> bytes | None:
        try:
            key: bytes = unwrap_dek(wrapped, kek(passphrase))
            return key
        except MlflowException:
            return None

    present = environment[PASSPHRASE]

    def renew(wrapped: bytes) -> bytes | None:
        keys = (opened(passphrase, wrapped) for passphrase in (*former.passphrases, DEFAULT_KEK_PASSPHRASE))
        return next((wrap_dek(key, kek(present)) for key in keys if key is not None), None)

    return Kind("The gateway's API key", "secrets", "secret_id", "secret_name", "wrapped_dek", lambda value: opened(present, value) is not None, renew)


def bring(engine: Any, kind: Kind) -> list[str]:
    """Encrypt all values of a kind with the present key, and return a line with the number of changed values and a line for each unreadable one."""
    import sqlalchemy

    done = 0
    lost: list[tuple[Any, Any]] = []
    with engine.begin() as connection:
        select = f"SELECT {kind.key}, {kind.name}, {kind.value} FROM {kind.table} WHERE {kind.value} IS NOT NULL"
        for key, name, stored in list(connection.execute(sqlalchemy.text(select))):
            value = bytes(stored) if isinstance(stored, memoryview) else stored
            if kind.opens(value):
                continue
            renewed = kind.renew(value)
            if renewed is None:
                lost.append((key, name))
                continue
            # Do not overwrite a value that another process has changed.
            sql = f"UPDATE {kind.table} SET {kind.value} = :new WHERE {kind.key} = :key AND {kind.value} = :old"
            connection.execute(sqlalchemy.text(sql), {"new": renewed, "key": key, "old": value})
            done += 1
    said = [f"{kind.what}: {done} encrypted by the present key."] if done else []
    former = "mlflow_server_former_webhook_keys" if kind.table == "webhooks" else "mlflow_server_former_kek_passphrases"
    return said + [
        f"{kind.what} {name} is encrypted by a key that is not known, so MLflow answers 500 to requests for it. Set {former} to the key that was used, or "
        f"make a backup and remove it from the database: DELETE FROM {kind.table} WHERE {kind.key} = '{key}'"
        for key, name in lost
    ]


#: The tables with encrypted values, and how to encrypt these again.
KINDS: dict[str, tuple[str, str, Callable[[Mapping[str, str], Former], Kind]]] = {
    "webhooks": (WEBHOOK_KEY, "secret", webhooks),
    "secrets": (PASSPHRASE, "wrapped_dek", api_keys),
}


def prepare(engine: Any, environment: Mapping[str, str], former: Former) -> list[str]:
    """Encrypt the encrypted values of a database with the present keys, and return a line for each change and each unreadable value.

    The code for decryption is imported only if there are values, because the import of MLflow takes seconds.
    """
    import sqlalchemy

    tables = [name for name in KINDS if environment.get(KINDS[name][0]) and name in sqlalchemy.inspect(engine).get_table_names()]
    said: list[str] = []
    for name in tables:
        with engine.connect() as connection:
            held = connection.execute(sqlalchemy.text(f"SELECT 1 FROM {name} WHERE {KINDS[name][1]} IS NOT NULL LIMIT 1")).fetchone()
        if held:
            with stores.locked(engine):
                said += bring(engine, KINDS[name][2](environment, former))
    return said


def main() -> int:
    """Print the values that the present keys do not decrypt, and return 1 if there are any."""
    parser = argparse.ArgumentParser(description="Encrypt with the present keys what a former key encrypted in the server's database")
    parser.add_argument("--settings", type=Path, help="JSON file with the server's environment")
    parser.add_argument("--former-keys", type=Path, help="JSON file with the keys that were used before")
    given = parser.parse_args()
    environment = settings.read_environment(given.settings)
    said = [line for uri in stores.uris_of(environment) for line in prepare(stores.make_engine(uri), environment, read_former(given.former_keys))]
    print("\n".join(said), flush=True)
    return int(any("not known" in line for line in said))


if __name__ == "__main__":
    sys.exit(main())
