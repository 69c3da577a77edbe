"""Send bytes to S3 and read them from S3 while a client sends or receives them, with bounded memory and without a temporary file.

Uploads: a body up to 8 MiB is one ``PutObject``. A larger one is a multipart upload whose parts are sent side by side. S3 shows the object only
after the last step, so no reader sees half of it. Downloads: one ``GetObject``, read one chunk ahead of the client. If the connection to S3 breaks, reading
continues at the same byte of the same object.

The module knows neither MLflow nor ASGI. It gets a client of boto3.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, TypeVar

_logger = logging.getLogger(__name__)

#: Bytes of a part, and the largest body that is sent in one request: boto3's own values (``boto3.s3.transfer.TransferConfig``).
PART = 8 * 2**20
#: The most parts that an upload may have (S3's limit).
MOST_PARTS = 10_000
#: The most bytes of an object (S3's limit). The size of a part follows from the announced length, and parts are in memory.
MOST_BYTES = 5 * 2**40
#: Parts of all uploads of a worker that are in memory to be sent. Each upload also fills one.
PARTS_IN_FLIGHT = 4
#: Seconds after an upload in which the memory of its parts is kept for the next one.
KEEP_MEMORY = 10.0
#: Bytes that are read at once for a download. A download has two of them in memory.
CHUNK = 2**20
#: How often a download continues after its connection to S3 broke.
RESUMPTIONS = 3
#: Threads that wait for S3. A slow client keeps none of them.
THREADS = 32
#: MinIO's status for a request whose client it takes for gone, in an answer without a body (nginx's "client closed request"). Seen while the client waited,
#: on a busy host after a network failure. botocore does not repeat such a request by itself.
DROPPED = 499
#: How often a dropped request is sent, and the seconds before it is sent again for the first time.
ATTEMPTS, PAUSE = 5, 0.2
#: What ``CompleteMultipartUpload`` repeats of the answer to each part.
_PART_FIELDS = ("ETag", "ChecksumCRC32", "ChecksumCRC32C", "ChecksumCRC64NVME", "ChecksumSHA1", "ChecksumSHA256")
#: One range of bytes (RFC 9110, 14.1.2). S3 answers no request for several.
_RANGE = re.compile(r"bytes=(?:\d+-\d*|-\d+)", re.ASCII)

Result = TypeVar("Result")


class TransferError(Exception):
    """A transfer that ended too early, with what was seen."""


def error_code(error: Exception) -> str:
    """Return the code of an error that S3 answered, such as ``NoSuchKey``, empty for other errors."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, Mapping) else ""


def single_range(header: str | None) -> str | None:
    """Return the value of a ``Range`` header if S3 can answer it, else None: a server may ignore the header (RFC 9110, 14.2)."""
    compact = (header or "").replace(" ", "")
    return compact if _RANGE.fullmatch(compact) else None


def part_size(length: int | None, sent: int) -> int:
    """Return the bytes of the next part.

    :param length: Bytes of the whole body, None if the client does not say it.
    :param sent: The number of parts before this one. Without a length, parts grow, so that 10,000 are enough for the 5 TB of an object.
    """
    if length is None:
        return int(PART * 2 ** (sent * 10 // MOST_PARTS))
    return max(PART, -(-length // MOST_PARTS))


def repeat_dropped(client: Any) -> None:
    """Let a client of boto3 send a request again that MinIO dropped. The event is botocore's own, for which each handler returns seconds to wait, or None."""

    def pause(response: tuple[Any, Any] | None, attempts: int, **_more: Any) -> float | None:
        is_dropped = response is not None and response[0].status_code == DROPPED
        return PAUSE * 2 ** (attempts - 1) if is_dropped and attempts < ATTEMPTS else None

    client.meta.events.register("needs-retry.s3", pause)


@dataclass(frozen=True)
class Target:
    """Where an upload goes.

    :param client: A client of boto3 for S3.
    :param arguments: Arguments in the form of ``PutObject``, such as ``ContentType``.
    """

    client: Any
    bucket: str
    key: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def call(self, operation: str, method: str, **more: Any) -> dict[str, Any]:
        """Call an operation of S3 with those of the arguments that it takes."""
        known = self.client.meta.service_model.operation_model(operation).input_shape.members
        arguments = {name: value for name, value in self.arguments.items() if name in known}
        answer: dict[str, Any] = getattr(self.client, method)(Bucket=self.bucket, Key=self.key, **arguments, **more)
        return answer


class _Part:
    """Memory for a part. It grows with what arrives, so a client that sends nothing takes none.

    :param length: Bytes of the whole body, None if the client does not say it.
    :param number: The number of parts before this one.
    :param memory: The memory of a part that was sent: fresh memory takes longer than all other copies together.
    """

    def __init__(self, length: int | None, number: int = 0, memory: bytearray | None = None) -> None:
        self.size = part_size(length, number)
        self.body = memory if memory is not None and len(memory) == self.size else bytearray()
        self._filled = 0

    def fill(self, data: memoryview) -> memoryview:
        """Take bytes, and return those that do not fit."""
        taken = min(len(data), self.size - self._filled)
        if len(self.body) == self._filled:
            self.body += data[:taken]
        else:
            memoryview(self.body)[self._filled : self._filled + taken] = data[:taken]
        self._filled += taken
        return data[taken:]

    def end(self) -> bytearray:
        """Return the bytes of the last part."""
        del self.body[self._filled :]
        return self.body


class _Multipart:
    """A multipart upload. The jobs run in a pool of threads, in the order in which they are given to it."""

    def __init__(self, target: Target, pool: ThreadPoolExecutor, spare: list[bytearray]) -> None:
        self._target = target
        self._pool = pool
        self._spare = spare
        self._begun: Future[str] = pool.submit(self._begin)
        self._parts: list[Future[dict[str, Any]]] = []
        self._completed: Future[None] | None = None

    def _begin(self) -> str:
        return str(self._target.call("CreateMultipartUpload", "create_multipart_upload")["UploadId"])

    def _send(self, number: int, body: bytearray) -> dict[str, Any]:
        answer = self._target.call("UploadPart", "upload_part", UploadId=self._begun.result(), PartNumber=number, Body=body)
        if len(self._spare) < PARTS_IN_FLIGHT:
            self._spare.append(body)
        return {"PartNumber": number, **{name: answer[name] for name in _PART_FIELDS if name in answer}}

    def check(self) -> None:
        """Raise what a part failed with, if one did."""
        for part in self._parts:
            if part.done():
                part.result()

    def add(self, body: bytearray, done: Callable[[object], None]) -> None:
        """Send a part. Call ``done`` when its memory is free."""
        part = self._pool.submit(self._send, len(self._parts) + 1, body)
        self._parts.append(part)
        part.add_done_callback(done)

    @property
    def count(self) -> int:
        """The number of parts that were added."""
        return len(self._parts)

    def _complete(self) -> None:
        parts = [part.result() for part in self._parts]
        self._target.call("CompleteMultipartUpload", "complete_multipart_upload", UploadId=self._begun.result(), MultipartUpload={"Parts": parts})

    def complete(self) -> Future[None]:
        """Wait for all parts and make the object visible."""
        self._completed = self._pool.submit(self._complete)
        return self._completed

    def _abort(self) -> None:
        # A part that arrives after the upload is aborted would stay in the store.
        jobs: list[Future[Any]] = [self._begun, *self._parts]
        wait(jobs if self._completed is None else [*jobs, self._completed])
        if self._begun.exception():
            return
        try:
            self._target.call("AbortMultipartUpload", "abort_multipart_upload", UploadId=self._begun.result())
        except Exception as error:
            if error_code(error) != "NoSuchUpload":
                _logger.warning("The unfinished upload %s of %s stays in the bucket %s: %s", self._begun.result(), self._target.key, self._target.bucket, error)

    def abort(self) -> Future[None]:
        """Remove all parts from the store."""
        return self._pool.submit(self._abort)


class Download:
    """An object of S3, opened for reading, with its first chunk. Not for several threads at once.

    :param fetch: Requests the object, with the arguments of ``GetObject``.
    :param byte_range: What ``single_range`` returned.
    :param if_range: The ``If-Range`` header: the range counts only for this version.
    :raises Exception: What boto3 raises, ``ClientError`` with the code ``InvalidRange`` if the object has no such bytes.
    """

    def __init__(self, fetch: Callable[..., dict[str, Any]], byte_range: str | None = None, if_range: str | None = None) -> None:
        self._fetch = fetch
        answer = self._open(byte_range, if_range)
        self.length = int(answer["ContentLength"])
        #: The ``ETag`` header.
        self.etag = str(answer["ETag"])
        #: The ``Content-Range`` header, empty for a whole object.
        self.content_range = str(answer.get("ContentRange", ""))
        self._first_byte = int(self.content_range.partition(" ")[2].partition("-")[0]) if self.content_range else 0
        self._body: Any = answer["Body"]
        self._read = 0
        self._resumptions = RESUMPTIONS
        try:
            self._first = self._next()
        except BaseException:
            self.close()
            raise

    def _open(self, byte_range: str | None, if_range: str | None) -> dict[str, Any]:
        if not byte_range:
            return self._fetch()
        if not if_range:
            return self._fetch(Range=byte_range)
        # Only a strong tag may be compared here (RFC 9110, 13.1.5).
        if if_range.startswith('"'):
            try:
                return self._fetch(Range=byte_range, IfMatch=if_range)
            except Exception as error:
                if error_code(error) not in ("PreconditionFailed", "412"):
                    raise
        return self._fetch()

    @property
    def left(self) -> int:
        """The bytes that ``chunk`` has not returned."""
        return self.length - self._read + len(self._first)

    def _next(self) -> bytes:
        """Read a chunk. Continue if the connection breaks.

        :raises TransferError: If the bytes end too early.
        """
        wanted = min(CHUNK, self.length - self._read)
        while True:
            try:
                chunk: bytes = self._body.read(wanted) if wanted else b""
                if len(chunk) < wanted:
                    raise TransferError(f"the store ended the object after {self._read + len(chunk)} of {self.length} bytes")
            except Exception as error:
                if not self._resumptions:
                    raise
                self._resumptions -= 1
                _logger.info("Reading from the store continues at byte %d of %d: %s", self._read, self.length, error)
                self._resume()
            else:
                self._read += len(chunk)
                if self._read == self.length:
                    # botocore compares the checksum when it reads the end. This is before the last bytes are sent on.
                    self._body.read(1)
                return chunk

    def _resume(self) -> None:
        self.close()
        begin, end = self._first_byte + self._read, self._first_byte + self.length - 1
        self._body = self._fetch(Range=f"bytes={begin}-{end}", IfMatch=self.etag)["Body"]

    def chunk(self) -> bytes:
        """Return the next bytes, empty at the end. This blocks.

        :raises Exception: What boto3 raises, or ``TransferError``, if the store does not give all bytes.
        """
        return self.first() or (self._next() if self.left else b"")

    def first(self) -> bytes:
        """Return the chunk that is in memory already."""
        first, self._first = self._first, b""
        return first

    def close(self) -> None:
        """Drop the connection, unless all bytes were read."""
        with contextlib.suppress(Exception):
            self._body.close()


class Transfers:
    """The threads of a worker that wait for S3, and the memory that its uploads may take."""

    def __init__(self, parts_in_flight: int = PARTS_IN_FLIGHT, threads: int = THREADS) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="atlas-s3")
        self._limit = parts_in_flight
        self._free = asyncio.Semaphore(parts_in_flight)
        self._turn = asyncio.Lock()
        #: Memory of parts that were sent, for the next parts, and the number of uploads that may take it.
        self._spare: list[bytearray] = []
        self._uploads = 0

    async def _run(self, job: Callable[[], Result]) -> Result:
        return await asyncio.shield(asyncio.wrap_future(self._pool.submit(job)))

    async def _reserve(self, size: int) -> Callable[[object], None]:
        """Wait until a part of this many bytes may be in memory, and return what frees its place, from any thread."""
        loop = asyncio.get_running_loop()
        taken = 0

        def give_back(_done: object = None) -> None:
            for _place in range(taken):
                self._free.release()

        # One after the other: two large parts that each hold half of the places would wait forever.
        async with self._turn:
            try:
                while taken < max(1, min(self._limit, size // PART)):
                    await self._free.acquire()
                    taken += 1
            except BaseException:
                give_back()
                raise

        def free(_done: object) -> None:
            # The loop is closed if the worker stops.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(give_back)

        return free

    async def upload(self, target: Target, chunks: AsyncIterator[bytes], length: int | None) -> None:
        """Store what a client sends.

        :param chunks: The body. An exception of it ends the upload.
        :param length: The bytes that the client announced, None if it did not.
        :raises TransferError: If the body has another length.
        :raises ValueError: If the announced length is more than an object can have.
        :raises Exception: What boto3 raises. In any case nothing of the upload is left in the store, and a former object with its key stays as it was.
        """
        if length is not None and length > MOST_BYTES:
            raise ValueError(f"the client announced {length} bytes, and an object has {MOST_BYTES} at most")
        upload: _Multipart | None = None
        part = self._part(length, 0)
        total = 0
        self._uploads += 1
        try:
            async for chunk in chunks:
                total += len(chunk)
                rest = part.fill(memoryview(chunk))
                while rest:
                    if upload is None:
                        upload = _Multipart(target, self._pool, self._spare)
                    upload.check()
                    upload.add(part.body, await self._reserve(len(part.body)))
                    part = self._part(length, upload.count)
                    rest = part.fill(rest)
            if length is not None and total != length:
                raise TransferError(f"the client announced {length} bytes and sent {total}")
            if upload is None:
                await self._run(lambda: target.call("PutObject", "put_object", Body=part.end()))
                return
            upload.add(part.end(), await self._reserve(part.size))
            await asyncio.shield(asyncio.wrap_future(upload.complete()))
        except BaseException:
            if upload is not None:
                # The job runs to its end, even if this task is cancelled.
                await asyncio.shield(asyncio.wrap_future(upload.abort()))
            raise
        finally:
            self._uploads -= 1
            asyncio.get_running_loop().call_later(KEEP_MEMORY, self._forget)

    def _part(self, length: int | None, number: int) -> _Part:
        """Return a part to be filled."""
        is_large = number or length is None or length >= PART
        return _Part(length, number, self._spare.pop() if is_large and self._spare else None)

    def _forget(self) -> None:
        """Free the memory of parts, unless an upload uses it."""
        if not self._uploads:
            self._spare.clear()

    async def read(self, download: Download) -> AsyncGenerator[bytes, None]:
        """Return the chunks of an object. While one is sent, the next is read.

        :raises Exception: What ``Download.chunk`` raises.
        """
        ahead: Future[bytes] | None = None
        try:
            if chunk := download.first():
                ahead = self._pool.submit(download.chunk) if download.left else None
                yield chunk
            while ahead is not None:
                chunk = await asyncio.shield(asyncio.wrap_future(ahead))
                ahead = self._pool.submit(download.chunk) if download.left else None
                yield chunk
        finally:
            self._pool.submit(self._close, download, ahead)

    @staticmethod
    def _close(download: Download, ahead: Future[bytes] | None) -> None:
        if ahead is not None:
            wait([ahead])
        download.close()


@functools.cache
def of_this_worker() -> Transfers:
    """Return the transfers that all requests of this process share."""
    return Transfers()
