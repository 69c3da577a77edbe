"""An S3 policy for a prefix alone: a server whose artifact destination names the prefix is healthy, and it starts."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis import stores
from server_package import load


class ClientError(Exception):
    """What botocore raises."""

    def __init__(self, code: str, status: int) -> None:
        super().__init__(f"An error occurred ({code})")
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


class Client:
    """An S3 account that may use one prefix of a bucket."""

    def __init__(self, prefix: str, forbidden: tuple[str, ...] = ()) -> None:
        self.prefix, self.forbidden = prefix, forbidden

    def _allow(self, action: str, bucket: str, key: str) -> dict[str, Any]:
        if bucket != "team":
            raise ClientError("NoSuchBucket", 404)
        if action in self.forbidden or not key.startswith(self.prefix):
            raise ClientError("AccessDenied", 403)
        return {"ResponseMetadata": {"HTTPHeaders": {}}, "UploadId": "1"}

    def head_bucket(self, Bucket: str) -> dict[str, Any]:
        return self._allow("list", Bucket, "")

    def list_objects_v2(self, Bucket: str, MaxKeys: int, Prefix: str = "") -> dict[str, Any]:
        return self._allow("list", Bucket, Prefix)

    def create_multipart_upload(self, Bucket: str, Key: str) -> dict[str, Any]:
        return self._allow("write", Bucket, Key)

    def abort_multipart_upload(self, Bucket: str, Key: str, UploadId: str) -> dict[str, Any]:
        return self._allow("abort", Bucket, Key)


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what sets the account that the code under test gets from boto3."""

    def give(client: Client) -> None:
        modules = {
            "boto3": SimpleNamespace(client=lambda *_names, **_options: client),
            "botocore": ModuleType("botocore"),
            "botocore.config": SimpleNamespace(Config=lambda **_options: None),
            "botocore.exceptions": SimpleNamespace(ClientError=ClientError, BotoCoreError=OSError),
        }
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        for name in ("config", "exceptions"):
            setattr(modules["botocore"], name, modules[f"botocore.{name}"])

    return give


@pytest.mark.parametrize(
    ("allowed", "forbidden", "bucket", "prefix", "outcome"),
    [
        ("", (), "team", "", "ok"),
        ("mlflow/", (), "team", "mlflow", "ok"),
        ("mlflow/", (), "team", "mlflow/prod", "ok"),
        ("mlflow/", ("abort",), "team", "mlflow", "ok"),  # what a server needs is there
        ("mlflow/", (), "team", "", "denied"),
        ("mlflow/", (), "team", "other", "denied"),
        ("mlflow/", ("write",), "team", "mlflow", "read-only"),
        ("mlflow/", (), "none", "mlflow", "missing"),
    ],
)
def test_a_policy_for_a_prefix_is_asked_for_that_prefix(account: Any, allowed: str, forbidden: tuple[str, ...], bucket: str, prefix: str, outcome: str) -> None:
    account(Client(allowed, forbidden))
    assert stores.ask_s3({}, bucket, prefix)["outcome"] == outcome


@pytest.mark.parametrize(
    ("allowed", "destination", "said"),
    [
        ("", "s3://team", None),
        ("mlflow/", "s3://team/mlflow/", None),
        ("mlflow/", "s3://team", "does not let the server in"),
        ("mlflow/", "s3://none/mlflow", "there is no such bucket"),
    ],
)
def test_a_server_starts_with_a_policy_for_a_prefix(account: Any, monkeypatch: pytest.MonkeyPatch, allowed: str, destination: str, said: str | None) -> None:
    reached = load(monkeypatch, "stores")
    account(Client(allowed))
    problem = reached.bucket_problem(destination, {})
    assert said in problem if said else problem == ""
