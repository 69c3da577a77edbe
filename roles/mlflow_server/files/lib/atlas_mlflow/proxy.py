"""An MLflow artifact repository that hides S3 behind the tracking server.

With ``--artifacts-destination s3://...`` a server from release 3.15 on tells its clients that it supports multipart downloads. The clients
then download artifacts by links to the server's S3 endpoint, which they may not reach (seen with 3.17.2: uploads work,
downloads hang). The server decides this by the type of its repository: whether it is a ``MultipartDownloadMixin`` or a similar class. This
repository is not. It takes ``proxied-s3://bucket/prefix`` and passes every request to MLflow's own S3 repository, so clients with default
settings upload and download everything through the server.

For a request whose body ``atlas_mlflow.artifacts`` carries, the repository only opens the object, or notes the key.
"""

from __future__ import annotations

import mimetypes
import posixpath
import threading
from collections.abc import AsyncIterable
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.store.artifact import artifact_repo
from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

from atlas_mlflow import transfers
from atlas_mlflow.artifacts import EXCHANGE, Found

_SCHEME = "proxied-s3:"
#: Connections to S3 that a worker keeps. botocore closes those above this number after each request; its own default is 10.
_CONNECTIONS = 64
#: The class by which releases from 3.15 on recognize a repository that takes a stream.
_STREAMS: tuple[Any, ...] = (artifact_repo.StreamUploadMixin,) if hasattr(artifact_repo, "StreamUploadMixin") else ()


class _S3(S3ArtifactRepository):  # type: ignore[misc]  # The types of MLflow are not known here.
    """MLflow's S3 repository, with one client for the whole process.

    MLflow makes a client every five minutes, in each thread that asks just then: botocore reads its descriptions of all services for it, 0.1 s and more.
    """

    _client: Any = None
    _lock = threading.Lock()

    def _get_s3_client(self) -> Any:
        with self._lock:
            if _S3._client is None:
                import boto3
                import botocore.config
                import botocore.session

                session = botocore.session.get_session()
                session.set_default_client_config(botocore.config.Config(max_pool_connections=_CONNECTIONS))
                boto3.setup_default_session(botocore_session=session)
                client = super()._get_s3_client()
                transfers.repeat_dropped(client)
                _S3._client = client
        return _S3._client

    def locate(self, path: str) -> dict[str, Any]:
        """Return the bucket and the key of an artifact, as arguments for boto3."""
        bucket, root = self.parse_s3_compliant_uri(self.artifact_uri)
        return {"Bucket": bucket, "Key": posixpath.join(root, path)}

    def target(self, path: str) -> transfers.Target:
        """Return where a file is uploaded to, with the arguments that ``_upload_file`` of MLflow would use."""
        content_type, encoding = mimetypes.guess_type(path)
        guessed = {name: value for name, value in (("ContentType", content_type), ("ContentEncoding", encoding)) if value is not None}
        place = self.locate(path)
        arguments = {**guessed, **self.owner, **(self.get_s3_file_upload_extra_args() or {})}
        return transfers.Target(self._get_s3_client(), place["Bucket"], place["Key"], arguments)

    @property
    def owner(self) -> dict[str, str]:
        """The argument for the expected owner of the bucket, in releases that have this setting."""
        return getattr(self, "_bucket_owner_params", {})

    def open(self, path: str, byte_range: str | None, if_range: str | None) -> transfers.Download:
        """Open an artifact for reading.

        :raises botocore.exceptions.ClientError: If there is no such object, or no such range.
        """
        client, place = self._get_s3_client(), self.locate(path)
        return transfers.Download(lambda **more: client.get_object(**place, **self.owner, **more), byte_range, if_range)

    def size(self, path: str) -> int:
        """Return the bytes of an artifact."""
        return int(self._get_s3_client().head_object(**self.locate(path), **self.owner)["ContentLength"])


class ProxiedS3ArtifactRepository(artifact_repo.ArtifactRepository, *_STREAMS):  # type: ignore[misc]  # The types of MLflow are not known here.
    """MLflow's S3 repository without the classes that send clients to S3.

    :param artifact_uri: ``proxied-s3://bucket/prefix``.
    :param arguments: Other arguments that the installed release passes to a repository.
    :raises ValueError: If the URI has another scheme.
    """

    def __init__(self, artifact_uri: str, *arguments: Any, **named_arguments: Any) -> None:
        if not artifact_uri.startswith(_SCHEME):
            raise ValueError(f"{artifact_uri} does not start with {_SCHEME}//")
        super().__init__(artifact_uri, *arguments, **named_arguments)
        self._s3 = _S3("s3:" + artifact_uri[len(_SCHEME) :], *arguments, **named_arguments)

    def _target(self, file_name: str, artifact_path: str | None) -> transfers.Target:
        """Return where a file is stored."""
        return self._s3.target(posixpath.join(artifact_path or "", posixpath.basename(file_name)))

    def _is_noted(self, file_name: str, artifact_path: str | None) -> bool:
        """Note where the body of this request goes. Return False if nothing carries its body."""
        exchange = EXCHANGE.get()
        if exchange is None or not exchange.is_upload:
            return False
        exchange.target = self._target(file_name, artifact_path)
        return True

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        """Store a file."""
        if not self._is_noted(str(local_file), artifact_path):
            self._s3.log_artifact(local_file, artifact_path)

    def log_artifact_from_stream(self, stream: Any, artifact_file_name: str, artifact_path: str | None = None) -> None:
        """Store what is read from a file object, for releases with ``StreamUploadMixin``."""
        if not self._is_noted(artifact_file_name, artifact_path):
            target = self._target(artifact_file_name, artifact_path)
            target.client.upload_fileobj(stream, target.bucket, target.key, ExtraArgs=target.arguments)

    async def log_artifact_from_async_stream(self, chunks: AsyncIterable[bytes], artifact_file_name: str, artifact_path: str | None = None) -> None:
        """Store the chunks of a stream, for releases with ``StreamUploadMixin``."""
        if not self._is_noted(artifact_file_name, artifact_path):
            target = self._target(artifact_file_name, artifact_path)
            await transfers.of_this_worker().upload(target, aiter(chunks), None)

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        """Store a folder."""
        self._s3.log_artifacts(local_dir, artifact_path)

    def list_artifacts(self, path: str | None = None) -> list[Any]:
        """Return the files and folders below a path."""
        entries: list[Any] = self._s3.list_artifacts(path)
        return entries

    def download_artifacts(self, artifact_path: str, dst_path: str | None = None) -> str:
        """Download a file or a folder, and return its local path.

        :raises Found: If the body of this request is carried, and the artifact is a file. MLflow's handler then ends here.
        :raises mlflow.exceptions.MlflowException: If the artifact cannot be read, or if it is a folder and the body of this request is carried.
        """
        exchange = EXCHANGE.get()
        if exchange is not None and not exchange.is_upload and artifact_path:
            self._open(exchange, artifact_path)
            # MLflow would copy the whole folder to the disk of the server, and then fail to send it.
            if self._is_directory(artifact_path):
                raise MlflowException.invalid_parameter_value(f"The artifact {artifact_path} is a folder, and not a file.")
        path: str = super().download_artifacts(artifact_path, dst_path)
        return path

    def _open(self, exchange: Any, path: str) -> None:
        """Open an object for the answer to this request. Return if there is none with this key: it may be a folder.

        :raises Found: If there is one.
        """
        try:
            exchange.download = self._s3.open(path, exchange.byte_range, exchange.if_range)
            exchange.content_range = exchange.download.content_range
            exchange.status = 206 if exchange.content_range else 200
        except Exception as error:
            code = transfers.error_code(error)
            if code in ("InvalidRange", "416"):
                exchange.content_range, exchange.status = f"bytes */{self._s3.size(path)}", 416
            elif code:
                # MLflow asks again, and has its own words for each answer.
                return
            else:
                raise MlflowException(f"The artifact {path} cannot be read from the artifact store: {error}") from error
        raise Found(path, exchange.status)

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        """Download a file to a local path, for the base class."""
        self._s3._download_file(remote_file_path, local_path)

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Remove everything below a path."""
        self._s3.delete_artifacts(artifact_path)

    def upload_archived_trace_data_bytes(self, data: bytes) -> None:
        """Store an archived trace, for releases that archive traces."""
        self._s3.upload_archived_trace_data_bytes(data)
