"""The repository opens a file for a request whose body is carried, and copies nothing to the disk for one."""

from __future__ import annotations

import sys
import types
from types import ModuleType
from typing import Any

import pytest
from fake_s3 import FakeS3
from server_package import fresh


class MlflowException(Exception):
    """MLflow's error."""

    @classmethod
    def invalid_parameter_value(cls, message: str) -> MlflowException:
        """Return the error for status 400."""
        return cls(f"400: {message}")


class ArtifactRepository:
    """MLflow's base class."""

    def __init__(self, artifact_uri: str) -> None:
        self.artifact_uri = artifact_uri
        self.copied: list[str] = []

    def _is_directory(self, artifact_path: str) -> bool:
        return len(self.list_artifacts(artifact_path)) > 0  # type: ignore[attr-defined]

    def download_artifacts(self, artifact_path: str, _dst_path: str | None = None) -> str:
        """Copy a file or a folder to the disk, as the base class does if there is one."""
        self.copied.append(artifact_path)
        return f"/tmp/{artifact_path}"


class S3ArtifactRepository(ArtifactRepository):
    """MLflow's repository on S3."""

    s3: FakeS3

    def _get_s3_client(self) -> Any:
        return self.s3

    def parse_s3_compliant_uri(self, uri: str) -> tuple[str, str]:
        """Return the bucket and the prefix."""
        bucket, _slash, prefix = uri.partition("://")[2].partition("/")
        return bucket, prefix

    def list_artifacts(self, path: str) -> list[str]:
        """Return the keys below a path."""
        return [key for key in self.s3.objects if key.startswith(f"prefix/{path}/")]


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the repository, with stand-ins for MLflow."""
    names = ("mlflow", "mlflow.store", "mlflow.store.artifact", "mlflow.store.artifact.artifact_repo", "mlflow.store.artifact.s3_artifact_repo")
    made = {name: types.ModuleType(name) for name in (*names, "mlflow.exceptions")}
    for name, module in made.items():
        monkeypatch.setitem(sys.modules, name, module)
    vars(made["mlflow.exceptions"])["MlflowException"] = MlflowException
    vars(made["mlflow.store.artifact.artifact_repo"])["ArtifactRepository"] = ArtifactRepository
    vars(made["mlflow.store.artifact"])["artifact_repo"] = made["mlflow.store.artifact.artifact_repo"]
    vars(made["mlflow.store.artifact.s3_artifact_repo"])["S3ArtifactRepository"] = S3ArtifactRepository
    module: ModuleType = fresh(monkeypatch, "proxy", "artifacts", "transfers")
    s3 = FakeS3()
    monkeypatch.setattr(S3ArtifactRepository, "s3", s3, raising=False)
    monkeypatch.setattr(module._S3, "_get_s3_client", lambda _self: s3)
    made_one = module.ProxiedS3ArtifactRepository("proxied-s3://bucket/prefix")
    made_one.module = module
    s3.objects |= {"prefix/run/model/MLmodel": b"model", "prefix/run/a.txt": b"text"}
    return made_one


def carried(repository: Any, path: str) -> Any:
    """Ask for an artifact in a request whose body is carried, and return what the middleware then knows."""
    exchange = sys.modules["atlas_mlflow.artifacts"].Exchange(is_upload=False)
    token = repository.module.EXCHANGE.set(exchange)
    try:
        repository.download_artifacts(path, "/tmp")
    finally:
        repository.module.EXCHANGE.reset(token)
    return exchange


def test_a_file_is_opened_and_not_copied(repository: Any) -> None:
    with pytest.raises(repository.module.Found, match=r"run/a\.txt"):
        carried(repository, "run/a.txt")
    assert repository.copied == []


@pytest.mark.parametrize("path", ["run", "run/model"])
def test_a_folder_is_refused_and_not_copied(repository: Any, path: str) -> None:
    with pytest.raises(MlflowException, match=f"400: The artifact {path} is a folder"):
        carried(repository, path)
    assert repository.copied == []


def test_what_is_missing_is_left_to_mlflow(repository: Any) -> None:
    carried(repository, "run/b.txt")
    assert repository.copied == ["run/b.txt"]


def test_other_requests_copy_folders(repository: Any) -> None:
    """Such as the server itself, which reads a model."""
    assert repository.download_artifacts("run/model") == "/tmp/run/model"
