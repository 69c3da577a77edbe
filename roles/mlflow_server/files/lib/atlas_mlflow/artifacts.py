"""Stream artifacts between clients and the store, while MLflow's own handlers decide about each request.

MLflow stores an upload in a temporary file first, and a download too; releases before 3.15 also hold the whole body of an upload in memory. There is no
hook for streaming in all of its routes. So the body takes a way of its own, as with ``X-Sendfile`` of other servers:

1. ``Bodies``, the outermost middleware, recognizes a request for the content of an artifact. It keeps the body of an upload back.
2. MLflow handles the request without the body: login, permissions, workspace, and the check of the path are its own.
3. MLflow asks ``atlas_mlflow.proxy`` for the file. For such a request the repository opens the object in S3, or notes the key to write to.
4. If MLflow answers with success, the middleware sends the body: from S3 to the client with the headers of MLflow's answer, or from the client to S3
   before MLflow's answer is sent. Any other answer goes to the client as it is.

If a download fails in the middle, the connection is broken before all bytes of the ``Content-Length`` were sent, which clients report as an error.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from atlas_mlflow import transfers
from atlas_mlflow.asgi import Application, Message, Receive, Send

_logger = logging.getLogger(__name__)

#: Routes whose answer is the content of an artifact, and nothing else, in all shipped releases. A static prefix may come before them.
_CONTENT = re.compile(r"/(?:ajax-)?api/2\.0/mlflow-artifacts/artifacts/.")
_SENT_FILE = re.compile(r"/get-artifact$|/model-versions/get-artifact$|/ajax-api/2\.0/mlflow/logged-models/[^/]+/artifacts/files$")
#: Seconds without a byte after which the client of an upload counts as gone. A host that loses its network closes no connection.
PATIENCE = 300.0
#: Headers of a request that describe its body.
_BODY_HEADERS = (b"content-length", b"transfer-encoding", b"expect")
#: Headers of an answer that this module sets.
_OUR_HEADERS = (b"content-length", b"etag", b"accept-ranges", b"content-range", b"cache-control")


class ClientGone(Exception):
    """The client closed the connection, or is silent."""


class Found(Exception):
    """The repository opened the artifact that MLflow's handler asked for. This ends the handler.

    :param path: The path of the artifact, for the headers.
    :param status: 200, 206, or 416 if the artifact has no such bytes.
    """

    def __init__(self, path: str, status: int) -> None:
        super().__init__(path)
        self.path = path
        self.status = status


@dataclass
class Exchange:
    """What the middleware and the repository tell each other about one request."""

    #: Whether the client sends an artifact. Otherwise it asks for one.
    is_upload: bool
    #: Whether the client asks for the headers alone.
    is_head: bool = False
    #: The headers ``Range`` (None unless S3 can answer it) and ``If-Range``.
    byte_range: str | None = None
    if_range: str | None = None
    #: Where the repository wants the body of an upload.
    target: transfers.Target | None = None
    #: The object that the repository opened.
    download: transfers.Download | None = None
    #: The status of the answer to a download, and the ``Content-Range`` header.
    status: int = 0
    content_range: str = ""


#: The request that is handled. Middleware and threads of MLflow's server run in copies of this context.
EXCHANGE: ContextVar[Exchange | None] = ContextVar("atlas_mlflow_exchange", default=None)


def exchange_of(scope: Message) -> Exchange | None:
    """Return an exchange for a request that this module handles, else None."""
    if scope["type"] != "http":
        return None
    path, method = scope["path"], scope["method"]
    if method == "PUT" and _CONTENT.search(path):
        return Exchange(is_upload=True)
    # Flask answers HEAD by the handlers for GET, which would store the whole artifact in a temporary file.
    if method in ("GET", "HEAD") and (_CONTENT.search(path) or _SENT_FILE.search(path)):
        if method == "HEAD":
            return Exchange(is_upload=False, is_head=True)
        headers = dict(scope["headers"])
        byte_range = transfers.single_range(headers.get(b"range", b"").decode("latin-1"))
        return Exchange(False, False, byte_range, headers.get(b"if-range", b"").decode("latin-1"))
    return None


async def _body(receive: Receive) -> AsyncGenerator[bytes, None]:
    """Return the body of a request in pieces.

    :raises ClientGone: If it ends too early.
    """
    loop, task, is_silent = asyncio.get_running_loop(), asyncio.current_task(), False

    def stop() -> None:
        nonlocal is_silent
        is_silent = True
        if task is not None:
            task.cancel()

    while True:
        # asyncio.timeout came with Python 3.11, and images of MLflow have 3.10. asyncio.wait_for makes a task for each message.
        timer = loop.call_later(PATIENCE, stop)
        try:
            message = await receive()
        except asyncio.CancelledError:
            if not is_silent:
                raise
            raise ClientGone(f"the client sent nothing for {PATIENCE:.0f} s") from None
        finally:
            timer.cancel()
        if message["type"] == "http.disconnect":
            raise ClientGone("the client closed the connection")
        if piece := message.get("body"):
            yield piece
        if not message.get("more_body"):
            return


async def _gone(receive: Receive) -> None:
    """Wait until the client closes the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


class Bodies:
    """Middleware that carries the bodies of artifacts.

    :param application: MLflow's application, with all of its own middleware.
    :param carrier: The transfers of this worker, or others for a test.
    """

    def __init__(self, application: Application, carrier: transfers.Transfers | None = None) -> None:
        self._application = application
        self._transfers = carrier or transfers.of_this_worker()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle a request."""
        exchange = exchange_of(scope)
        if exchange is None:
            await self._application(scope, receive, send)
        elif exchange.is_upload:
            await self._take(scope, receive, send, exchange)
        else:
            await self._give(scope, receive, send, exchange)

    async def _handle(self, scope: Message, receive: Receive, send: Send, exchange: Exchange) -> None:
        token = EXCHANGE.set(exchange)
        try:
            await self._application(scope, receive, send)
        finally:
            EXCHANGE.reset(token)

    async def _take(self, scope: Message, receive: Receive, send: Send, exchange: Exchange) -> None:
        """Let MLflow decide about an upload, and store its body."""
        announced = dict(scope["headers"]).get(b"content-length")
        headers = [header for header in scope["headers"] if header[0] not in _BODY_HEADERS]
        answer: list[Message] = []
        answered = asyncio.Event()
        asked = False

        async def nothing() -> Message:
            nonlocal asked
            if asked:
                await answered.wait()
                return {"type": "http.disconnect"}
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}

        async def keep(message: Message) -> None:
            answer.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                answered.set()

        await self._handle({**scope, "headers": [*headers, (b"content-length", b"0")]}, nothing, keep, exchange)
        if answer and answer[0].get("status") == 200:
            if exchange.target is None:
                # The release stores artifacts in a way that this module does not know. What it stored was empty.
                _logger.error("MLflow did not ask the artifact store to keep %s", scope["path"])
                answer = _failure("The tracking server did not store the artifact.")
            else:
                try:
                    async with aclosing(_body(receive)) as body:
                        await self._transfers.upload(exchange.target, body, int(announced) if announced is not None else None)
                except (ClientGone, transfers.TransferError) as error:
                    _logger.info("The upload of %s ended early, nothing is stored: %s", exchange.target.key, error)
                    answer = _failure("The body of the request is not complete.")
                except Exception as error:
                    _logger.error("The artifact store did not take %s: %s", exchange.target.key, error)
                    answer = _failure(f"The artifact store did not take the artifact: {error}")
        for message in answer:
            await send(message)

    async def _give(self, scope: Message, receive: Receive, send: Send, exchange: Exchange) -> None:
        """Let MLflow decide about a download, and send the object."""
        start: Message | None = None

        async def keep(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and exchange.status and message["status"] == exchange.status:
                start = message
            elif start is None:
                await send(message)

        try:
            await self._handle(scope, receive, keep, exchange)
            if start is not None:
                await self._deliver(start, exchange, receive, send)
        finally:
            if exchange.download is not None:
                await asyncio.to_thread(exchange.download.close)

    async def _deliver(self, start: Message, exchange: Exchange, receive: Receive, send: Send) -> None:
        """Send the headers of MLflow's answer with the bytes of the object.

        :raises Exception: What the store failed with. The server then closes the connection before the announced end.
        """
        download = exchange.download
        length = download.length if download else 0
        headers = [
            *((name, value) for name, value in start["headers"] if name.lower() not in _OUR_HEADERS),
            (b"content-length", str(length).encode()),
            (b"accept-ranges", b"bytes"),
            # A browser asks again for an artifact, which may have been replaced. So do MLflow's own answers.
            (b"cache-control", b"no-cache"),
        ]
        if download:
            headers.append((b"etag", download.etag.encode("latin-1")))
        if exchange.content_range:
            headers.append((b"content-range", exchange.content_range.encode("latin-1")))
        await send({**start, "headers": headers})
        if not length or download is None or exchange.is_head:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        gone = asyncio.ensure_future(_gone(receive))
        # Reading closes it.
        exchange.download = None
        try:
            sent = 0
            async with aclosing(self._transfers.read(download)) as chunks:
                async for chunk in chunks:
                    if gone.done():
                        return
                    sent += len(chunk)
                    await send({"type": "http.response.body", "body": chunk, "more_body": sent < length})
        finally:
            gone.cancel()


def _failure(message: str) -> list[Message]:
    """Return an answer in the form of MLflow's errors, which its clients show."""
    content = json.dumps({"error_code": "INTERNAL_ERROR", "message": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    return [{"type": "http.response.start", "status": 500, "headers": headers}, {"type": "http.response.body", "body": content, "more_body": False}]


def install(application: Any, flask_application: Any) -> None:
    """Stream the artifacts of a server. Call this once in each worker, after all other middleware is added.

    :param application: The FastAPI application of the server.
    :param flask_application: MLflow's Flask application, which the other one contains.
    """
    import flask
    from mlflow.server import ARTIFACTS_DESTINATION_ENV_VAR, handlers
    from starlette.responses import Response

    if not os.environ.get(ARTIFACTS_DESTINATION_ENV_VAR, "").startswith("proxied-s3:"):
        # A folder, whose files the server sends itself, or a store that clients go to.
        return
    file_headers = getattr(handlers, "_response_with_file_attachment_headers", None)
    if file_headers is None:
        _logger.warning("This release of MLflow makes the headers of an artifact in another way. Artifacts go through temporary files.")
        return

    def answer(found: Found) -> Any:
        """Return an answer without a body, with the headers that MLflow's handlers give to a file of this name."""
        made = flask.Response(status=found.status)
        name = found.path.rpartition("/")[2]
        if not name.isascii() and not hasattr(handlers, "_content_disposition_attachment"):
            # These releases put such a name into the header as it is, which no server can send. This is the form of RFC 6266.
            made.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
        return file_headers(found.path, made)

    def from_flask(found: Found) -> Any:
        return answer(found)

    async def from_fastapi(_request: Any, found: Found) -> Any:
        made = answer(found)
        return Response(status_code=made.status_code, headers=dict(made.headers))

    flask_application.register_error_handler(Found, from_flask)
    application.add_exception_handler(Found, from_fastapi)
    application.add_middleware(Bodies)
