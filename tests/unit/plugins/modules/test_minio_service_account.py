"""The module that keeps accounts in MinIO, with a server that is a table of accounts."""

from __future__ import annotations

import contextlib
import io
import json
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.atlas.mlflow.plugins.module_utils import minio_server
from ansible_collections.atlas.mlflow.plugins.modules import minio_service_account

ACCOUNT = {"access_key": "mlflow", "secret_key": "a-long-secret", "buckets": ["mlflow"]}


class RefusedError(Exception):
    """What the library raises."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class OtherAnswerError(Exception):
    """What the library raises for an answer that is no XML."""


def kept(policy: dict[str, Any]) -> dict[str, Any]:
    """Return a policy as MinIO keeps it: with lists for single values, and texts in conditions."""

    def listed(value: Any) -> list[Any]:
        return list(value) if isinstance(value, list) else [value]

    def texts(value: Any) -> list[str]:
        return [one if isinstance(one, str) else json.dumps(one) for one in listed(value)]

    return {
        **policy,
        "Statement": [
            {
                **row,
                **{key: listed(row[key]) for key in ("Action", "Resource") if key in row},
                **(
                    {"Condition": {test: {key: texts(value) for key, value in keys.items()} for test, keys in row["Condition"].items()}}
                    if "Condition" in row
                    else {}
                ),
            }
            for row in policy["Statement"]
        ],
    }


class Server:
    """The accounts of a MinIO by their names, as it keeps them, and the name of its administrator."""

    def __init__(self, administrator: str = "atlas-root") -> None:
        self.administrator = administrator
        self.accounts: dict[str, dict[str, Any]] = {}
        self.buckets: set[str] = set()
        self.calls: list[str] = []
        self.strange: Exception | None = None

    def admin(self, credentials: tuple[str, str], **_place: Any) -> SimpleNamespace:
        """Return the administrator's client."""

        def get(access_key: str) -> str:
            if self.strange:
                raise self.strange
            if access_key not in self.accounts:
                raise RefusedError("XMinioInvalidIAMCredentials: NotFound")
            account = self.accounts[access_key]
            return json.dumps({"parentUser": account["parent"], "accountStatus": account["status"], "policy": json.dumps(kept(account["policy"]))})

        def add(access_key: str, secret_key: str, policy: dict[str, Any]) -> None:
            assert access_key not in self.accounts
            self.calls.append("add")
            self.accounts[access_key] = {"parent": credentials[0], "secret": secret_key, "policy": policy, "status": "on"}

        def update(access_key: str, secret_key: str | None, policy: dict[str, Any], status: str | None = None) -> None:
            self.calls.append("update")
            account = self.accounts[access_key]
            account |= {"secret": secret_key or account["secret"], "policy": policy, "status": status or account["status"]}

        def delete(access_key: str) -> None:
            self.calls.append("delete")
            del self.accounts[access_key]

        assert credentials[0] == self.administrator
        return SimpleNamespace(get_service_account=get, add_service_account=add, update_service_account=update, delete_service_account=delete)

    def client(self, access_key: str, secret_key: str, **_place: Any) -> SimpleNamespace:
        """Return the client of an account or of the administrator."""

        def listing(bucket_name: str, **_more: Any) -> Any:
            account = self.accounts.get(access_key)
            if account is None or account["secret"] != secret_key:
                raise RefusedError("SignatureDoesNotMatch")
            if account["status"] == "off":
                raise RefusedError("InvalidAccessKeyId")
            # As MinIO does it: the rights of an account are a part of those of the administrator that it belongs to.
            if account["parent"] != self.administrator or bucket_name not in json.dumps(account["policy"]):
                raise RefusedError("AccessDenied")
            return iter(())

        def exists(bucket_name: str) -> bool:
            return bucket_name in self.buckets

        def make(bucket_name: str) -> None:
            self.buckets.add(bucket_name)

        return SimpleNamespace(list_objects=listing, bucket_exists=exists, make_bucket=make)

    def serves(self, account: dict[str, Any]) -> bool:
        """Return whether an account reads its bucket."""
        try:
            next(self.client(account["access_key"], account["secret_key"]).list_objects(bucket_name=account["buckets"][0]), None)
        except RefusedError:
            return False
        return True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server()
    monkeypatch.setattr(minio_server, "HAS_MINIO", True)
    for module in (minio_server, minio_service_account):
        for name in ("MinioAdminException", "S3Error"):
            monkeypatch.setattr(module, name, RefusedError, raising=False)
    monkeypatch.setattr(minio_server, "MinioException", OtherAnswerError, raising=False)
    monkeypatch.setattr(minio_server, "HTTPError", OSError, raising=False)
    monkeypatch.setattr(minio_service_account, "StaticProvider", lambda user, password: (user, password), raising=False)
    monkeypatch.setattr(minio_service_account, "MinioAdmin", found.admin, raising=False)
    monkeypatch.setattr(minio_service_account, "Minio", found.client, raising=False)
    return found


def run(server: Server, *accounts: dict[str, Any], check: bool = False, refused: bool = False) -> dict[str, Any]:
    """Run the module as the administrator, and return its result."""
    given = {"endpoint": "http://127.0.0.1:9000", "root_user": server.administrator, "root_password": "p" * 12, "accounts": list(accounts)}
    said = io.StringIO()
    arguments = {**given, "create_buckets": True, "_ansible_check_mode": check}
    with patch_module_args(arguments), contextlib.redirect_stdout(said), pytest.raises(SystemExit):
        minio_service_account.main()
    result: dict[str, Any] = json.loads(said.getvalue().splitlines()[-1])
    assert result.get("failed", False) == refused, result
    return result


def test_an_account_is_created_changed_and_removed(server: Server) -> None:
    assert run(server, ACCOUNT, check=True)["accounts"][0]["changed_parts"] == ["account"] and not server.accounts
    assert run(server, ACCOUNT)["accounts"][0]["changed_parts"] == ["account"] and server.serves(ACCOUNT)
    assert run(server, ACCOUNT)["changed"] is False
    other = {**ACCOUNT, "secret_key": "another-secret", "buckets": ["mlflow", "more"]}
    assert run(server, other)["accounts"][0]["changed_parts"] == ["policy", "secret"] and server.serves(other)
    assert run(server, {"access_key": "mlflow", "state": "absent"})["changed"] is True and not server.accounts


def test_an_account_serves_again_after_the_administrator_got_another_name(server: Server) -> None:
    run(server, ACCOUNT)
    server.administrator = "other-root"
    assert not server.serves(ACCOUNT)
    assert run(server, ACCOUNT, check=True)["accounts"][0]["changed_parts"] == ["account"] and server.calls == ["add"]
    assert run(server, ACCOUNT)["accounts"][0]["changed_parts"] == ["account"] and server.calls == ["add", "delete", "add"]
    assert server.serves(ACCOUNT) and run(server, ACCOUNT)["changed"] is False


def test_a_disabled_account_is_enabled_with_its_secret_key(server: Server) -> None:
    run(server, ACCOUNT)
    server.accounts["mlflow"]["status"] = "off"
    other = {**ACCOUNT, "secret_key": "another-secret"}
    assert run(server, other, check=True)["accounts"][0]["changed_parts"] == ["status"] and server.calls == ["add"]
    assert run(server, other)["accounts"][0]["changed_parts"] == ["status"] and server.serves(other)
    assert run(server, other)["changed"] is False


@pytest.mark.parametrize(
    "more",
    [
        {"Action": "s3:GetObject"},
        {"Action": ["s3:PutObject", "s3:GetObject"], "Condition": {"StringEquals": {"s3:x-amz-acl": "private"}}},
        {"Action": ["s3:GetObject"], "Condition": {"Bool": {"aws:SecureTransport": True}}},
        {"Action": ["s3:ListBucket"], "Condition": {"StringEquals": {"s3:prefix": ""}}},
    ],
)
def test_a_policy_with_single_values_is_set_once(server: Server, more: dict[str, Any]) -> None:
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "arn:aws:s3:::mlflow/*", **more}]}
    account = {"access_key": "reader", "secret_key": "a-long-secret", "policy": policy}
    assert run(server, account)["changed"] is True
    assert run(server, account)["changed"] is False
    stricter = {**policy, "Statement": [{**policy["Statement"][0], "Resource": "arn:aws:s3:::mlflow/reports/*"}]}  # type: ignore[dict-item]
    assert run(server, {**account, "policy": stricter})["accounts"][0]["changed_parts"] == ["policy"]


@pytest.mark.parametrize(
    "error",
    [ValueError("Unknown AEAD ID 116"), OtherAnswerError("non-XML response from server; Response code: 502" + " <p>" * 99)],
)
def test_another_program_is_told(server: Server, error: Exception) -> None:
    """Such as MinIO's console, which answers each path with its page."""
    server.strange = error
    told = run(server, ACCOUNT, refused=True)["msg"]
    assert told.startswith(f"http://127.0.0.1:9000 does not answer as MinIO does: {str(error)[:20]}") and len(told) < 300
    assert "and not of the console?" in told
