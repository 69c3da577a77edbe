"""Encrypt with the configured keys what a former key encrypted in a tracking server's database, before the server starts.

MLflow encrypts the secrets of webhooks by one key, and the gateway's API keys by keys that a passphrase wraps. It knows one of each: after a
change it answers 500. So each start looks whether the present keys open what is there, and uses former ones for what they do not open. That
holds for a rotation, for an interrupted rotation, and for a backup from before a rotation.
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

#: The settings that hold the present keys.
WEBHOOK_KEY, PASSPHRASE, VERSION = "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY", "MLFLOW_CRYPTO_KEK_PASSPHRASE", "MLFLOW_CRYPTO_KEK_VERSION"


@dataclass(frozen=True)
class Former:
    """Keys that were used before the present ones, the youngest first."""

    webhook_keys: Sequence[str] = ()
    passphrases: Sequence[str] = ()


@dataclass(frozen=True)
class Kind:
    """A column with encrypted values: what its rows are, where they are, and what opens a row with a former key and returns it by the present one."""

    what: str
    table: str
    key: str
    name: str
    value: str
    #: Returns whether the present key opens a value.
    opens: Callable[[Any], bool]
    #: Returns a value by the present key, nothing if no former key opens it.
    renew: Callable[[Any], Any | None]


def read_former(path: Path | None) -> Former:
    """Return the former keys from a JSON file, none if there is no file."""
    if not path:
        return Former()
    given = json.loads(path.read_text(encoding="utf-8"))
    return Former(given["webhook_keys"], given["kek_passphrases"])


def webhooks(environment: Mapping[str, str], former: Former) -> Kind:
    """Return how the secrets of webhooks are opened and renewed."""
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
    """Return how the gateway's API keys are opened and renewed. Without a passphrase of its own, a server has used the one that MLflow's source has."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.crypto import DEFAULT_KEK_PASSPHRASE, KEKManager, unwrap_dek, wrap_dek

    version = int(environment.get(VERSION) or 1)

    # Each takes a third of a second.
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
    """Have each value of a kind encrypted by the present key, and say in a line what was done, and of which nothing could be."""
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
            # Not over what somebody else has changed meanwhile.
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


#: The tables that hold encrypted values, and how these are renewed.
KINDS: dict[str, tuple[str, str, Callable[[Mapping[str, str], Former], Kind]]] = {
    "webhooks": (WEBHOOK_KEY, "secret", webhooks),
    "secrets": (PASSPHRASE, "wrapped_dek", api_keys),
}


def prepare(engine: Any, environment: Mapping[str, str], former: Former) -> list[str]:
    """Have what a database keeps encrypted by the present keys, and return a line for each thing done or impossible.

    The code that decrypts is imported only if there is anything to decrypt, as MLflow takes seconds to import.
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
    """Say which values the present keys do not open, and return 1 if there are any."""
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
