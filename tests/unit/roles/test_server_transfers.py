"""Uploads and downloads of artifacts: in parts, with bounded memory, and whole or not at all."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from fake_s3 import AnsweredError, FakeS3
from server_package import fresh


@pytest.fixture
def transfers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module, with small parts and chunks."""
    module = fresh(monkeypatch, "transfers")
    monkeypatch.setattr(module, "PART", 100)
    monkeypatch.setattr(module, "CHUNK", 64)
    monkeypatch.setattr(module, "KEEP_MEMORY", 0.0)
    return module


@pytest.fixture
def s3() -> FakeS3:
    return FakeS3()


async def pieces(content: bytes, size: int = 33, error: BaseException | None = None) -> AsyncIterator[bytes]:
    """Yield a body in pieces that fit into no part. Raise an error behind the last."""
    for begin in range(0, len(content), size):
        yield content[begin : begin + size]
        await asyncio.sleep(0)
    if error is not None:
        raise error


def store(transfers: ModuleType, s3: FakeS3, chunks: AsyncIterator[bytes], length: int | None, **arguments: Any) -> None:
    asyncio.run(transfers.Transfers(2).upload(transfers.Target(s3, "bucket", "key", arguments), chunks, length))


def content(length: int) -> bytes:
    return random.Random(length).randbytes(length)


@pytest.mark.parametrize("length", [0, 1, 99, 100])
@pytest.mark.parametrize("is_announced", [True, False])
def test_a_small_body_is_one_request(transfers: ModuleType, s3: FakeS3, length: int, is_announced: bool) -> None:
    store(transfers, s3, pieces(content(length)), length if is_announced else None)
    assert s3.names() == ["put_object"] and s3.objects == {"key": content(length)}


@pytest.mark.parametrize("length", [101, 200, 201, 1099])
@pytest.mark.parametrize("size", [1, 33, 100, 1000])
@pytest.mark.parametrize("is_announced", [True, False])
def test_a_large_body_is_sent_in_parts(transfers: ModuleType, s3: FakeS3, length: int, size: int, is_announced: bool) -> None:
    seen = []
    send = s3.upload_part
    s3.upload_part = lambda **given: seen.append((given["PartNumber"], len(given["Body"]))) or send(**given)  # type: ignore[func-returns-value, method-assign]
    store(transfers, s3, pieces(content(length), size), length if is_announced else None)
    assert s3.objects == {"key": content(length)} and not s3.uploads
    full, rest = divmod(length, 100)
    assert sorted(seen) == [(number + 1, 100) for number in range(full)] + ([(full + 1, rest)] if rest else [])


def test_arguments_go_to_the_operations_that_take_them(transfers: ModuleType, s3: FakeS3) -> None:
    store(transfers, s3, pieces(content(150)), 150, ContentType="text/plain", ExpectedBucketOwner="1")
    given = dict(s3.calls)
    assert given["create_multipart_upload"] == {"Bucket": "bucket", "Key": "key", "ContentType": "text/plain", "ExpectedBucketOwner": "1"}
    # The parts are sent side by side, so either one may come last.
    parts = sorted((call for name, call in s3.calls if name == "upload_part"), key=lambda call: call["PartNumber"])
    assert parts == [{"Bucket": "bucket", "Key": "key", "ExpectedBucketOwner": "1", "UploadId": "one", "PartNumber": number} for number in (1, 2)]


def test_parts_are_sent_side_by_side_and_no_more_than_allowed(transfers: ModuleType, s3: FakeS3) -> None:
    s3.part_seconds = 0.005
    taken = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal taken
        async for piece in pieces(content(2000), 50):
            taken += len(piece)
            # Two parts are on their way, and one is filled: a client that is faster than the store waits.
            assert taken <= 100 * (len(s3.uploads.get("one", {})) + 2 + 1) + 50
            yield piece

    store(transfers, s3, counted(), 2000)
    assert s3.most_sending == 2 and s3.objects == {"key": content(2000)}


def test_uploads_share_the_limit(transfers: ModuleType, s3: FakeS3) -> None:
    s3.part_seconds = 0.002
    transfers.KEEP_MEMORY = 0.02
    transfers.PARTS_IN_FLIGHT = 1

    async def both() -> None:
        shared = transfers.Transfers(2)
        others = [FakeS3(), FakeS3()]
        for other in others:
            other.create_multipart_upload()
            other.upload_part = s3.upload_part  # type: ignore[method-assign]
            other.complete_multipart_upload = lambda **given: {}  # type: ignore[method-assign]
        s3.create_multipart_upload()
        await asyncio.gather(*(shared.upload(transfers.Target(other, "bucket", "key"), pieces(content(900)), 900) for other in others))
        # The memory of parts is used again, and freed when no upload needs it.
        assert len(shared._spare) == 1
        await asyncio.sleep(0.05)
        assert not shared._spare

    asyncio.run(both())
    assert s3.most_sending == 2


def test_large_parts_take_several_places_without_waiting_for_each_other(transfers: ModuleType, s3: FakeS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "MOST_PARTS", 3)
    s3.part_seconds = 0.002

    async def both() -> None:
        shared = transfers.Transfers(2)
        others = [FakeS3(), FakeS3()]
        for other in others:
            other.upload_part = s3.upload_part  # type: ignore[method-assign]
            other.complete_multipart_upload = lambda **given: {}  # type: ignore[method-assign]
        s3.create_multipart_upload()
        await asyncio.wait_for(asyncio.gather(*(shared.upload(transfers.Target(one, "bucket", "key"), pieces(content(600)), 600) for one in others)), 10)

    asyncio.run(both())
    assert s3.most_sending == 1


@pytest.mark.parametrize(("length", "sent", "expected"), [(None, 0, 1), (None, 999, 1), (None, 1000, 2), (None, 9999, 512), (80_000, 5, 1), (8_000_001, 5, 9)])
def test_ten_thousand_parts_are_enough_for_five_terabytes(transfers: ModuleType, length: int | None, sent: int, expected: int) -> None:
    if length is None:
        assert transfers.part_size(length, sent) == expected * transfers.PART
    else:
        assert transfers.part_size(length, sent) * transfers.MOST_PARTS >= length
    transfers.PART = 8 * 2**20
    assert sum(transfers.part_size(None, number) for number in range(transfers.MOST_PARTS)) >= 5 * 2**40
    assert transfers.part_size(5 * 2**40, 0) * transfers.MOST_PARTS >= 5 * 2**40


def test_a_body_that_no_object_can_have_is_not_read(transfers: ModuleType, s3: FakeS3) -> None:
    """Otherwise a client chooses the size of a part by the length that it announces, and fills the memory of the worker."""
    read = []

    async def body() -> AsyncIterator[bytes]:
        for piece in (b"one", b"two"):
            read.append(piece)
            yield piece

    with pytest.raises(ValueError, match="announced 5497558138881 bytes, and an object has 5497558138880 at most"):
        store(transfers, s3, body(), 5 * 2**40 + 1)
    assert not read and not s3.calls
    with pytest.raises(transfers.TransferError, match="announced 5497558138880 bytes and sent 6"):
        store(transfers, s3, body(), 5 * 2**40)


def test_a_client_that_sends_little_takes_little_memory(transfers: ModuleType) -> None:
    """However long its body is to be."""
    for length in (None, 10**9):
        part = transfers._Part(length)
        assert len(part.body) == 0
        assert not part.fill(memoryview(content(7))) and len(part.body) == 7
        assert len(part.fill(memoryview(content(10**6)))) == 10**6 - (part.size - 7) and len(part.body) == part.size


class GoneError(Exception):
    """The client closed the connection."""


@pytest.mark.parametrize("length", [50, 150, 950])
def test_nothing_is_left_if_the_client_goes_away(transfers: ModuleType, s3: FakeS3, length: int) -> None:
    s3.objects["key"] = b"former"
    s3.part_seconds = 0.002
    with pytest.raises(GoneError):
        store(transfers, s3, pieces(content(length), error=GoneError()), 1000)
    assert s3.objects == {"key": b"former"} and not s3.uploads
    assert ("abort_multipart_upload" in s3.names()) == (length > 100)


@pytest.mark.parametrize("announced", [0, 40, 149, 151, 5000])
def test_nothing_is_stored_of_another_length(transfers: ModuleType, s3: FakeS3, announced: int) -> None:
    with pytest.raises(transfers.TransferError, match=f"announced {announced} bytes and sent"):
        store(transfers, s3, pieces(content(150)), announced)
    assert not s3.objects and not s3.uploads


@pytest.mark.parametrize("failing", [1, 3, 10])
def test_nothing_is_left_if_a_part_fails(transfers: ModuleType, s3: FakeS3, failing: int) -> None:
    s3.failing_part = failing
    asked = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal asked
        async for piece in pieces(content(10_000)):
            asked += len(piece)
            yield piece
            if asked > 100 * failing:
                # On a busy machine, the thread that sends the failing part needs time.
                await asyncio.sleep(0.05)

    with pytest.raises(AnsweredError, match="InternalError"):
        store(transfers, s3, counted(), 10_000)
    assert not s3.objects and not s3.uploads and s3.names()[-1] == "abort_multipart_upload"
    # The rest of the body is not waited for.
    assert asked < 100 * (failing + 10)


@pytest.mark.parametrize("failing", ["put_object", "create_multipart_upload", "complete_multipart_upload"])
def test_an_operation_that_fails_is_reported(transfers: ModuleType, s3: FakeS3, failing: str) -> None:
    s3.failing = failing
    length = 50 if failing == "put_object" else 350
    with pytest.raises(AnsweredError, match="AccessDenied"):
        store(transfers, s3, pieces(content(length)), length)
    assert not s3.objects and not s3.uploads


def test_an_upload_that_stays_is_named(transfers: ModuleType, s3: FakeS3, caplog: pytest.LogCaptureFixture) -> None:
    s3.failing = "abort_multipart_upload"
    with pytest.raises(GoneError):
        store(transfers, s3, pieces(content(150), error=GoneError()), None)
    assert "The unfinished upload one of key stays in the bucket bucket: An error occurred (AccessDenied)" in caplog.text


def test_nothing_is_left_if_the_server_stops(transfers: ModuleType, s3: FakeS3) -> None:
    s3.part_seconds = 0.002

    async def cancelled() -> None:
        async def endless() -> AsyncIterator[bytes]:
            async for piece in pieces(content(350)):
                yield piece
            await asyncio.Event().wait()

        task = asyncio.ensure_future(transfers.Transfers(2).upload(transfers.Target(s3, "bucket", "key"), endless(), None))
        while len(s3.uploads.get("one", {})) < 2:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert not s3.objects and not s3.uploads


def open_object(transfers: ModuleType, s3: FakeS3, *given: str | None) -> Any:
    return transfers.Download(lambda **more: s3.get_object(Key="key", **more), *given)


def read_all(transfers: ModuleType, download: Any) -> list[bytes]:
    async def read() -> list[bytes]:
        return [chunk async for chunk in transfers.Transfers().read(download)]

    return asyncio.run(read())


@pytest.mark.parametrize("length", [0, 1, 64, 65, 128, 1000])
def test_an_object_is_read_in_chunks(transfers: ModuleType, s3: FakeS3, length: int) -> None:
    s3.objects["key"] = content(length)
    download = open_object(transfers, s3)
    assert (download.length, download.left, download.content_range) == (length, length, "")
    chunks = read_all(transfers, download)
    assert b"".join(chunks) == content(length) and max(map(len, chunks), default=0) <= 64
    assert s3.names() == ["get_object"]


def test_one_chunk_is_read_ahead_and_no_more(transfers: ModuleType, s3: FakeS3) -> None:
    s3.objects["key"] = content(1000)

    async def slowly() -> None:
        sent = 0
        async for chunk in transfers.Transfers().read(open_object(transfers, s3)):
            await asyncio.sleep(0.002)
            sent += len(chunk)
            assert sent <= s3.bodies[0].position <= sent + 64

    asyncio.run(slowly())


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-9", "bytes=0-9"),
        ("bytes=5-", "bytes=5-"),
        ("bytes=-5", "bytes=-5"),
        ("bytes = 1 - 2", "bytes=1-2"),
        ("bytes=0-1,5-6", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=٣-٤", None),
        ("lines=1-2", None),
        ("bytes=1-2x", None),
        ("", None),
        (None, None),
    ],
)
def test_a_range_is_passed_on_if_it_is_one(transfers: ModuleType, header: str | None, expected: str | None) -> None:
    assert transfers.single_range(header) == expected


def test_a_range_counts_for_the_version_that_the_client_has(transfers: ModuleType, s3: FakeS3) -> None:
    s3.objects["key"] = content(300)
    tag = open_object(transfers, s3).etag
    for if_range, expected in (("", content(300)[100:200]), (tag, content(300)[100:200]), ('"other"', content(300)), (f"W/{tag}", content(300))):
        download = open_object(transfers, s3, "bytes=100-199", if_range)
        assert b"".join(read_all(transfers, download)) == expected, if_range
        assert download.content_range == ("bytes 100-199/300" if len(expected) == 100 else "")
    with pytest.raises(AnsweredError, match="InvalidRange"):
        open_object(transfers, s3, "bytes=300-", None)


@pytest.mark.parametrize("byte_range", [None, "bytes=10-499"])
def test_reading_continues_if_the_connection_breaks(transfers: ModuleType, s3: FakeS3, byte_range: str | None) -> None:
    s3.objects["key"] = content(500)
    download = open_object(transfers, s3, byte_range)
    s3.break_after = [64, 999, 64]
    assert b"".join(read_all(transfers, download)) == content(500)[10 if byte_range else 0 :]
    assert len(s3.names()) == 3 and s3.calls[1][1]["IfMatch"] == download.etag


def test_a_replaced_object_is_not_continued(transfers: ModuleType, s3: FakeS3) -> None:
    s3.objects["key"] = content(500)
    download = open_object(transfers, s3)
    s3.objects["key"] = content(501)
    s3.break_after = [0]
    with pytest.raises(AnsweredError, match="PreconditionFailed"):
        read_all(transfers, download)


def test_a_body_that_ends_early_is_an_error(transfers: ModuleType, s3: FakeS3) -> None:
    s3.objects["key"] = content(500)
    download = open_object(transfers, s3)
    s3.end_after = 70
    with pytest.raises(transfers.TransferError, match="ended the object after"):
        read_all(transfers, download)
    assert len(s3.names()) == 1 + transfers.RESUMPTIONS
    s3.end_after = 1
    with pytest.raises(transfers.TransferError):
        open_object(transfers, s3)
    assert s3.bodies[-1].closed


def test_a_wrong_checksum_is_seen_before_the_last_bytes_are_sent(transfers: ModuleType, s3: FakeS3) -> None:
    s3.objects["key"] = content(500)
    s3.wrong_checksum = True
    download = open_object(transfers, s3)
    sent: list[bytes] = []

    async def read() -> None:
        async for chunk in transfers.Transfers().read(download):
            sent.append(chunk)

    with pytest.raises(ValueError, match="checksum"):
        asyncio.run(read())
    assert len(b"".join(sent)) < 500 and len(s3.names()) == 1


def test_a_reader_that_goes_away_leaves_no_connection(transfers: ModuleType, s3: FakeS3) -> None:
    s3.objects["key"] = content(5000)

    async def leave() -> None:
        chunks = transfers.Transfers().read(open_object(transfers, s3))
        await anext(chunks)
        await chunks.aclose()
        for _ in range(1000):
            if s3.bodies[0].closed:
                return
            await asyncio.sleep(0.001)

    asyncio.run(leave())
    assert s3.bodies[0].closed and s3.bodies[0].position <= 192


def test_a_request_that_the_store_dropped_is_sent_again(transfers: ModuleType) -> None:
    handlers: dict[str, Any] = {}
    transfers.repeat_dropped(SimpleNamespace(meta=SimpleNamespace(events=SimpleNamespace(register=handlers.__setitem__))))
    pause = handlers["needs-retry.s3"]

    def asked(status: int, attempts: int) -> Any:
        return pause(response=(SimpleNamespace(status_code=status), {}), attempts=attempts, operation=None)

    assert [asked(499, attempts) for attempts in range(1, 6)] == [0.2, 0.4, 0.8, 1.6, None]
    # What botocore repeats by itself, or must not be repeated, is left to botocore.
    assert [asked(status, 1) for status in (200, 404, 503)] == [None] * 3
    assert pause(response=None, attempts=1, caught_exception=OSError()) is None
