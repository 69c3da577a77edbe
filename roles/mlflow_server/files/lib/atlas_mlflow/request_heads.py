"""Refuse a request with a head of more than 64 KiB, as uvicorn does with its parser in Python.

uvicorn limits the line and the headers of a request only with h11 (``h11_max_incomplete_event_size``, 64 KiB). With httptools, which is faster, a client
could fill the memory of a worker with one header that does not end. uvicorn has no option for this, so five methods of its protocol are replaced.
"""

from __future__ import annotations

import importlib
from typing import Any

#: Bytes of the line and the headers of a request: uvicorn's limit with h11.
MOST_BYTES = 64 * 1024
_REFUSAL = "Invalid HTTP request received."


class HeadTooLongError(Exception):
    """The head of a request is too long. The parser passes it on, and uvicorn answers with status 400 and closes the connection."""


def limit() -> bool:
    """Limit the heads of requests to this worker, and return whether uvicorn uses httptools here. Call this before the first connection."""
    try:
        kind: Any = importlib.import_module("uvicorn.protocols.http.httptools_impl").HttpToolsProtocol
    except (ImportError, AttributeError):
        return False
    if not hasattr(kind, "head_bytes"):
        _replace(kind)
    return True


def _replace(kind: Any) -> None:
    """Replace the methods of the protocol."""
    received, begun, url_read, header_read, completed = (
        kind.data_received,
        kind.on_message_begin,
        kind.on_url,
        kind.on_header,
        kind.on_headers_complete,
    )
    #: Bytes of the head that were read, bytes that arrived since the head began (None if it has ended), and whether it began in the last piece.
    kind.head_bytes, kind.unread_bytes, kind.is_new_head = 0, None, False

    def count(self: Any, size: int) -> None:
        self.head_bytes += size
        if self.head_bytes > MOST_BYTES:
            raise HeadTooLongError

    def data_received(self: Any, data: bytes) -> None:
        received(self, data)
        if self.unread_bytes is None or self.transport.is_closing():
            return
        # The piece in which a head begins may also have the end of the body before it.
        self.unread_bytes, self.is_new_head = (0 if self.is_new_head else self.unread_bytes + len(data)), False
        if self.unread_bytes > MOST_BYTES:
            self.logger.warning(_REFUSAL)
            self.send_400_response(_REFUSAL)

    def on_message_begin(self: Any) -> None:
        self.head_bytes, self.unread_bytes, self.is_new_head = 0, 0, True
        begun(self)

    def on_url(self: Any, url: bytes) -> None:
        count(self, len(url))
        url_read(self, url)

    def on_header(self: Any, name: bytes, value: bytes) -> None:
        count(self, len(name) + len(value) + 4)
        header_read(self, name, value)

    def on_headers_complete(self: Any) -> None:
        self.unread_bytes = None
        completed(self)

    for replaced in (data_received, on_message_begin, on_url, on_header, on_headers_complete):
        setattr(kind, replaced.__name__, replaced)
