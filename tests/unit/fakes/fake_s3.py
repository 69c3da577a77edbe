"""A client of boto3 for S3, in memory, with faults to switch on."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from types import SimpleNamespace
from typing import Any

#: The arguments that operations take, of those that the tests use.
TAKEN = {
    "PutObject": {"ContentType", "ContentEncoding", "ServerSideEncryption", "ExpectedBucketOwner"},
    "CreateMultipartUpload": {"ContentType", "ContentEncoding", "ServerSideEncryption", "ExpectedBucketOwner"},
    "UploadPart": {"ExpectedBucketOwner"},
    "CompleteMultipartUpload": {"ExpectedBucketOwner"},
    "AbortMultipartUpload": {"ExpectedBucketOwner"},
}


class AnsweredError(Exception):
    """An error that S3 answered, in the form of botocore's ClientError."""

    def __init__(self, code: str) -> None:
        super().__init__(f"An error occurred ({code})")
        self.response = {"Error": {"Code": code}}


class Body:
    """The body of an answer. It ends early, or breaks, if the client says so."""

    def __init__(self, content: bytes, client: FakeS3) -> None:
        self.content = content
        self.client = client
        self.position = 0
        self.closed = False

    def read(self, amount: int) -> bytes:
        assert not self.closed
        self.client.reads.append(amount)
        if self.client.break_after and self.position >= self.client.break_after.pop(0):
            raise ConnectionResetError("Connection reset by peer")
        end = min(self.position + amount, self.client.end_after or len(self.content))
        chunk = self.content[self.position : end]
        self.position += len(chunk)
        if not chunk and self.client.wrong_checksum:
            raise ValueError("the checksum is wrong")
        return chunk

    def close(self) -> None:
        self.closed = True


class FakeS3:
    """Objects, unfinished uploads, and the requests that were made."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.reads: list[int] = []
        self.bodies: list[Body] = []
        self.lock = threading.Lock()
        self.sending = self.most_sending = 0
        # Faults
        self.part_seconds = 0.0
        self.failing_part = 0
        self.failing = ""  # the name of a method
        self.break_after: list[int] = []  # for each read: the position from which on it breaks the connection
        self.end_after = 0  # the position at which a body ends, as if it were whole
        self.wrong_checksum = False
        self.meta = SimpleNamespace(service_model=SimpleNamespace(operation_model=self._operation_model))

    @staticmethod
    def _operation_model(name: str) -> Any:
        return SimpleNamespace(input_shape=SimpleNamespace(members=dict.fromkeys(TAKEN[name])))

    def _note(self, name: str, given: dict[str, Any]) -> None:
        self.calls.append((name, {key: value for key, value in given.items() if key != "Body"}))
        if self.failing == name:
            raise AnsweredError("AccessDenied")

    def names(self) -> list[str]:
        """Return the methods that were called."""
        return [name for name, _given in self.calls]

    def put_object(self, **given: Any) -> dict[str, Any]:
        self._note("put_object", given)
        self.objects[given["Key"]] = bytes(given["Body"])
        return {}

    def create_multipart_upload(self, **given: Any) -> dict[str, Any]:
        self._note("create_multipart_upload", given)
        self.uploads["one"] = {}
        return {"UploadId": "one"}

    def upload_part(self, **given: Any) -> dict[str, Any]:
        with self.lock:
            self._note("upload_part", given)
            self.sending += 1
            self.most_sending = max(self.most_sending, self.sending)
        time.sleep(self.part_seconds)
        with self.lock:
            self.sending -= 1
            if given["PartNumber"] == self.failing_part:
                raise AnsweredError("InternalError")
            self.uploads[given["UploadId"]][given["PartNumber"]] = bytes(given["Body"])
        return {"ETag": f"etag-{given['PartNumber']}", "ChecksumCRC32": "crc", "ResponseMetadata": {}}

    def complete_multipart_upload(self, **given: Any) -> dict[str, Any]:
        self._note("complete_multipart_upload", given)
        parts = self.uploads.pop(given["UploadId"])
        named = given["MultipartUpload"]["Parts"]
        assert named == [{"PartNumber": number, "ETag": f"etag-{number}", "ChecksumCRC32": "crc"} for number in sorted(parts)]
        self.objects[given["Key"]] = b"".join(parts[part["PartNumber"]] for part in named)
        return {}

    def abort_multipart_upload(self, **given: Any) -> dict[str, Any]:
        assert not self.sending, "a part that arrives later would stay"
        self._note("abort_multipart_upload", given)
        if given["UploadId"] not in self.uploads:
            raise AnsweredError("NoSuchUpload")
        del self.uploads[given["UploadId"]]
        return {}

    def get_object(self, **given: Any) -> dict[str, Any]:
        self._note("get_object", given)
        if given["Key"] not in self.objects:
            raise AnsweredError("NoSuchKey")
        content = self.objects[given["Key"]]
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        # A store may compare a weak tag too, which the standard forbids for ranges.
        if given.get("IfMatch", tag).removeprefix("W/") != tag:
            raise AnsweredError("PreconditionFailed")
        more = {}
        if match := re.fullmatch(r"bytes=(\d*)-(\d*)", given.get("Range", "")):
            begin = int(match[1]) if match[1] else max(0, len(content) - int(match[2]))
            end = min(int(match[2]) + 1 if match[1] and match[2] else len(content), len(content))
            if begin >= len(content):
                raise AnsweredError("InvalidRange")
            more = {"ContentRange": f"bytes {begin}-{end - 1}/{len(content)}"}
            content = content[begin:end]
        self.bodies.append(Body(content, self))
        return {"ContentLength": len(content), "ETag": tag, "Body": self.bodies[-1], **more}
