"""Secrets in the tracking server's database stay readable when the keys that encrypt them change."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from cryptography.fernet import Fernet
from server_package import load

from inventories import Case, Run

#: Keys as the playbook makes them.
OLDEST, OLD, NEW, UNKNOWN = ("".join((name * 42)[:42]) + "A=" for name in ("abc1", "XYZ9", "m-_0", "q7"))


class FakeEngine:
    """Stands in for SQLAlchemy's engine, with SQLite below it. A value that is written counts."""

    dialect = SimpleNamespace(name="sqlite")

    def __init__(self) -> None:
        self.base = sqlite3.connect(":memory:")
        self.written = 0

    @contextmanager
    def connect(self) -> Iterator[FakeEngine]:
        yield self
        self.base.commit()

    begin = connect

    def execute(self, sql: str, given: dict[str, Any] | None = None) -> Any:
        cursor = self.base.execute(sql, given or {})
        self.written += max(cursor.rowcount, 0)
        return cursor

    def tables(self) -> list[str]:
        return [row[0] for row in self.base.execute("SELECT name FROM sqlite_master")]


class WrongKey(Exception):
    """Stands in for MLflow's exception."""


def unwrap(wrapped: bytes, kek: bytes) -> bytes:
    """Stand in for MLflow's unwrapping of a key."""
    if not wrapped.startswith(kek + b":"):
        raise WrongKey
    return wrapped.removeprefix(kek + b":")


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the script, with stand-ins for SQLAlchemy and for MLflow, whose wrapping is a prefix here."""
    crypto: Any = ModuleType("mlflow.utils.crypto")
    crypto.DEFAULT_KEK_PASSPHRASE = "everybody-knows"
    crypto.KEKManager = lambda passphrase, version: SimpleNamespace(get_kek=f"{passphrase}/{version}".encode)
    crypto.unwrap_dek, crypto.wrap_dek = unwrap, lambda key, kek: kek + b":" + key
    exceptions: Any = ModuleType("mlflow.exceptions")
    exceptions.MlflowException = WrongKey
    sqlalchemy: Any = ModuleType("sqlalchemy")
    sqlalchemy.text, sqlalchemy.inspect = str, lambda engine: SimpleNamespace(get_table_names=engine.tables)
    modules = {"mlflow": ModuleType("mlflow"), "mlflow.utils": ModuleType("mlflow.utils"), "mlflow.utils.crypto": crypto, "mlflow.exceptions": exceptions}
    for name, module in {**modules, "sqlalchemy": sqlalchemy}.items():
        monkeypatch.setitem(sys.modules, name, module)
    return load(monkeypatch, "keys")


def with_webhooks(*encrypted_by: str) -> FakeEngine:
    """Return a database with a webhook for each key, and one without a secret."""
    engine = FakeEngine()
    engine.base.execute("CREATE TABLE webhooks (webhook_id TEXT, name TEXT, secret TEXT)")
    rows = [(f"w{number}", f"hook-{number}", Fernet(key).encrypt(b"signs").decode()) for number, key in enumerate(encrypted_by)]
    engine.base.executemany("INSERT INTO webhooks VALUES (?, ?, ?)", [*rows, ("plain", "plain", None)])
    return engine


def opened(engine: FakeEngine, key: str) -> list[bytes]:
    """Return the secrets of all webhooks by a key."""
    return [Fernet(key).decrypt(row[0].encode()) for row in engine.base.execute("SELECT secret FROM webhooks WHERE secret IS NOT NULL")]


def test_webhooks_go_from_each_former_key_to_the_present_one(keys: ModuleType) -> None:
    engine = with_webhooks(OLDEST, OLD, NEW)
    former = keys.Former([OLD, OLDEST])
    assert keys.prepare(engine, {keys.WEBHOOK_KEY: NEW}, former) == ["The secret of the webhook: 2 encrypted by the present key."]
    assert opened(engine, NEW) == [b"signs"] * 3
    written = engine.written
    assert keys.prepare(engine, {keys.WEBHOOK_KEY: NEW}, former) == [] and engine.written == written


def test_a_webhook_whose_key_is_lost_is_named_and_left_alone(keys: ModuleType) -> None:
    engine = with_webhooks(UNKNOWN, NEW)
    (said,) = keys.prepare(engine, {keys.WEBHOOK_KEY: NEW}, keys.Former([OLD]))
    assert said.startswith("The secret of the webhook hook-0 is encrypted by a key that is not known") and "mlflow_server_former_webhook_keys" in said
    assert said.endswith("DELETE FROM webhooks WHERE webhook_id = 'w0'")
    assert engine.written == 0 and not any(key in said for key in (NEW, OLD))


@pytest.mark.parametrize("before", ["everybody-knows", "the-former-one", "the-present-one"])
def test_api_keys_go_to_the_present_passphrase_from_the_one_of_mlflow_too(keys: ModuleType, before: str) -> None:
    engine = FakeEngine()
    engine.base.execute("CREATE TABLE secrets (secret_id TEXT, secret_name TEXT, wrapped_dek BLOB)")
    engine.base.execute("INSERT INTO secrets VALUES ('1', 'openai', ?)", (f"{before}/1:dek".encode(),))
    said = keys.prepare(engine, {keys.PASSPHRASE: "the-present-one"}, keys.Former((), ["the-former-one"]))
    assert len(said) == (before != "the-present-one")
    assert engine.base.execute("SELECT wrapped_dek FROM secrets").fetchall() == [(b"the-present-one/1:dek",)]


def test_nothing_is_imported_where_nothing_is_encrypted(keys: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow.utils.crypto", None)
    settings = {keys.WEBHOOK_KEY: NEW, keys.PASSPHRASE: "the-present-one"}
    assert keys.prepare(FakeEngine(), settings, keys.Former()) == [] and keys.prepare(with_webhooks(), settings, keys.Former()) == []


def test_former_keys_come_from_a_file(keys: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "former.json").write_text(json.dumps({"webhook_keys": [OLD], "kek_passphrases": ["one"]}))
    assert keys.read_former(tmp_path / "former.json") == keys.Former([OLD], ["one"]) and keys.read_former(None) == keys.Former()


def test_former_keys_of_the_inventory_do_not_hide_those_that_a_rotation_has_replaced(tmp_path: Path) -> None:
    """As after a move from a compose file, whose keys the inventory gives: without the generated ones, a rotation lost the secrets of all webhooks."""
    (tmp_path / "mlflow_webhook_key.former").write_text(f"{OLDEST[:-2]}\n{OLD[:-2]}\n")
    hosts = {"one": {"atlas_mlflow_secrets_dir": str(tmp_path), "mlflow_server_former_webhook_keys": [UNKNOWN, OLDEST]}}
    known = Run(Case({"mlflow_servers": ["one"]}, hosts), secrets={})
    assert known.value("one", "mlflow_server", "_mlflow_server_former_keys") == {"webhook_keys": [OLD, OLDEST, UNKNOWN], "kek_passphrases": []}
    assert known.value("one", "mlflow_server", "_mlflow_server_has_former_keys") is True
    assert Run(Case({"mlflow_servers": ["one"]}, {"one": {}}), secrets={}).value("one", "mlflow_server", "_mlflow_server_has_former_keys") is False
