"""An MLflow artifact repository that hides S3 behind the tracking server.

With ``--artifacts-destination s3://...`` a server from release 3.15 on tells its clients that it supports multipart downloads. The clients
then download artifacts by links to the server's S3 endpoint, which they may not reach (seen with 3.17.2: uploads work,
downloads hang). The server decides this by the type of its repository: whether it is a ``MultipartDownloadMixin`` or a similar class. This
repository is not. It takes ``proxied-s3://bucket/prefix`` and passes every request to MLflow's own S3 repository, so clients with default
settings upload and download everything through the server.
"""

from __future__ import annotations

from typing import Any

from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

_SCHEME = "proxied-s3:"


class ProxiedS3ArtifactRepository(ArtifactRepository):  # type: ignore[misc]  # The types of MLflow are not known here.
    """MLflow's S3 repository without the classes that send clients to S3.

    :param artifact_uri: ``proxied-s3://bucket/prefix``.
    :param arguments: Other arguments that the installed release passes to a repository.
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
        """Return the files and folders below a path."""
        entries: list[Any] = self._s3.list_artifacts(path)
        return entries

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        """Download a file to a local path, for the base class."""
        self._s3._download_file(remote_file_path, local_path)

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Remove everything below a path."""
        self._s3.delete_artifacts(artifact_path)

    def upload_archived_trace_data_bytes(self, data: bytes) -> None:
        """Store an archived trace, for releases that archive traces."""
        self._s3.upload_archived_trace_data_bytes(data)
