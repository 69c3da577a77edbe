"""An MLflow artifact repository that keeps S3 behind the tracking server.

With ``--artifacts-destination s3://...`` a server from release 3.15 on tells its clients that it supports multipart downloads, and they
then fetch artifacts by links to the S3 endpoint as the *server* knows it, which they may not reach (seen with 3.17.2: uploads pass,
downloads hang). The server decides so by the type of its repository: whether it is a ``MultipartDownloadMixin`` and the like. This
one is not. It takes ``proxied-s3://bucket/prefix`` and hands every request on to MLflow's own S3 repository, so clients with default
settings send and fetch everything through the server.

MLflow imports this module in each worker before it serves a request, wherever artifacts are stored, as it loads all repositories. So the
import also sets what connections need.
"""

from __future__ import annotations

from typing import Any

from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

from atlas_mlflow import sockets

_SCHEME = "proxied-s3:"

# No hook of MLflow or uvicorn is called with the sockets of a worker. They are there when MLflow is loaded.
sockets.turn_off_nagle()


class ProxiedS3ArtifactRepository(ArtifactRepository):  # type: ignore[misc]  # The types of MLflow are not known here.
    """MLflow's S3 repository without its offers to clients to go to S3 themselves.

    :param artifact_uri: ``proxied-s3://bucket/prefix``.
    :param arguments: What else the release at hand passes to a repository.
    :raises ValueError: If the URI has another scheme.
    """

    def __init__(self, artifact_uri: str, *arguments: Any, **named_arguments: Any) -> None:
        if not artifact_uri.startswith(_SCHEME):
            raise ValueError(f"{artifact_uri} does not start with {_SCHEME}//")
        super().__init__(artifact_uri, *arguments, **named_arguments)
        self._s3 = S3ArtifactRepository("s3:" + artifact_uri[len(_SCHEME) :], *arguments, **named_arguments)

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        """Store a file."""
        self._s3.log_artifact(local_file, artifact_path)

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        """Store a folder."""
        self._s3.log_artifacts(local_dir, artifact_path)

    def list_artifacts(self, path: str | None = None) -> list[Any]:
        """Return what is stored below a path."""
        entries: list[Any] = self._s3.list_artifacts(path)
        return entries

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        """Fetch a file to a local path, as the base class asks for it."""
        self._s3._download_file(remote_file_path, local_path)

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Remove what is stored below a path."""
        self._s3.delete_artifacts(artifact_path)

    def upload_archived_trace_data_bytes(self, data: bytes) -> None:
        """Store an archived trace, in the releases that archive traces."""
        self._s3.upload_archived_trace_data_bytes(data)
