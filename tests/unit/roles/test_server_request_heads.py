"""A request with a long head is refused, however it arrives, and other requests are not."""

from __future__ import annotations

import logging
import sys
from types import ModuleType
from typing import Any

import pytest
from server_package import fresh

MOST = 64 * 1024


class Transport:
    """A connection that is closed once an answer is sent."""

    closed = False

    def is_closing(self) -> bool:
        return self.closed


def make_protocol() -> Any:
    """Return a class with the methods of uvicorn's protocol, whose parser gets what a test calls a piece: names of callbacks with their arguments."""

    class Protocol:
        logger = logging.getLogger("test")

        def __init__(self) -> None:
            self.transport, self.refused, self.requests = Transport(), 0, 0

        def data_received(self, data: Any) -> None:
            try:
                for name, *arguments in data.calls:
                    getattr(self, name)(*arguments)
            # The parser wraps what a callback raises, and uvicorn catches that.
            except Exception:
                self.send_400_response("")

        def send_400_response(self, _message: str) -> None:
            self.refused += 1
            self.transport.closed = True

        def on_message_begin(self) -> None: ...

        def on_url(self, _url: bytes) -> None: ...

        def on_header(self, _name: bytes, _value: bytes) -> None: ...

        def on_headers_complete(self) -> None:
            self.requests += 1

    return Protocol


class Piece(bytes):
    """Bytes that arrive at once, and what the parser finds in them."""

    calls: list[tuple[Any, ...]]


def piece(size: int, *calls: Any) -> Piece:
    made = Piece(size)
    made.calls = [call if isinstance(call, tuple) else (call,) for call in calls]
    return made


BEGIN, END = "on_message_begin", "on_headers_complete"


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Any:
    request_heads: Any = fresh(monkeypatch, "request_heads")
    module: Any = ModuleType("uvicorn.protocols.http.httptools_impl")
    module.HttpToolsProtocol = make_protocol()
    for name in ("uvicorn", "uvicorn.protocols", "uvicorn.protocols.http"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    # A second call changes nothing.
    assert request_heads.limit() and request_heads.limit()
    assert MOST == request_heads.MOST_BYTES
    return module.HttpToolsProtocol()


@pytest.mark.parametrize(
    ("pieces", "refused", "requests"),
    [
        ([piece(100, BEGIN, ("on_url", b"/"), ("on_header", b"a", b"b"), END)], 0, 1),
        # Each head counts for itself, and a body does not count.
        ([piece(100, BEGIN, ("on_header", b"a", b"x" * (MOST - 100)), END), piece(10 * MOST)] * 3, 0, 3),
        ([piece(100, BEGIN, ("on_header", b"a", b"x" * MOST), END)], 1, 0),
        ([piece(100, BEGIN, ("on_url", b"x" * MOST), ("on_url", b"x"), END)], 1, 0),
        ([piece(100, BEGIN, *[("on_header", b"x-many", b"x")] * 20000, END)], 1, 0),
        # One header that does not end: the parser tells nothing of it.
        ([piece(100, BEGIN), piece(MOST), piece(1), piece(MOST)], 1, 0),
        ([piece(100, BEGIN), piece(MOST, ("on_header", b"a", b"b"), END), piece(10 * MOST)], 0, 1),
        # The end of a body, and the beginning of the next head.
        ([piece(100, BEGIN, END), piece(4 * MOST, BEGIN), piece(100, END)], 0, 2),
    ],
    ids=["short", "kept connection", "long header", "long line", "many headers", "endless header", "in pieces", "after a body"],
)
def test_a_long_head_is_refused_and_others_are_not(connection: Any, pieces: list[Piece], refused: int, requests: int) -> None:
    for one in pieces:
        if not connection.transport.closed:
            connection.data_received(one)
    assert (connection.refused, connection.requests) == (refused, requests)


def test_another_parser_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    request_heads: Any = fresh(monkeypatch, "request_heads")
    monkeypatch.setitem(sys.modules, "uvicorn.protocols.http.httptools_impl", None)
    assert not request_heads.limit()
