"""Call MLflow's Flask application from its FastAPI application, with one step into a thread and one step back.

Most routes of MLflow are Flask's. MLflow calls Flask through Starlette's ``WSGIResponder``, which starts a task for each request and goes from the thread
to the event loop for the headers, for each chunk and for the end of an answer, and waits each time. This bridge gives an answer to the event loop in one
piece if its length is known and it is small. Other answers are sent chunk by chunk while they are made. Threads, their limit, and what Flask is told about a
request stay as they are. A large body of a request waits in a temporary file, and not in memory. MLflow looks at the login of a request when its body is
there, so the bridge asks for the login before it fills the disk.

FastAPI compares each request with all of its own routes before it comes to Flask. The bridge remembers for which methods and paths none of them was
chosen: routes are chosen by nothing else.
"""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Callable, Iterable
from typing import IO, Any

from atlas_mlflow import oidc_bridge
from atlas_mlflow.asgi import Application, Message, Receive, Send

_logger = logging.getLogger(__name__)

#: Bridges that do nothing else than to call Flask: Starlette's, and that of MLflow from 3.15 on.
_BRIDGES = ("WSGIMiddleware", "_EfficientWSGIMiddleware")
#: Bytes of an answer up to which it is sent in one piece.
IN_ONE_PIECE = 256 * 1024
#: Bytes of a body of a request up to which it is kept in memory.
IN_MEMORY = 1024 * 1024
#: Paths of Flask that are remembered. Most paths of the API have no identifiers in them.
MOST_PATHS = 1000


class _Answer:
    """The answer to one request, while Flask makes it in a thread.

    :param application: Flask's application.
    :param tell: Sends a message from the thread, and waits until it is sent.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]], tell: Callable[[Message], object]) -> None:
        self._application = application
        self._tell = tell
        self._start: Message | None = None
        self._is_short = False
        #: What WSGI calls the error that this answer reports.
        self.error: Any = None

    def _start_response(self, status: str, headers: list[tuple[str, str]], error: Any = None) -> None:
        self.error = error
        if self._start is None:
            made = [(name.strip().encode("ascii").lower(), value.strip().encode("ascii")) for name, value in headers]
            self._is_short = any(name == b"content-length" and int(value) <= IN_ONE_PIECE for name, value in made)
            self._start = {"type": "http.response.start", "status": int(status.split(" ", 1)[0]), "headers": made}

    def make(self, environ: dict[str, Any]) -> list[Message]:
        """Let Flask handle the request, and return the messages that are left to be sent.

        :raises Exception: What Flask raises.
        """
        chunks: list[bytes] = []
        is_started = False
        made = self._application(environ, self._start_response)
        try:
            for chunk in made:
                if self._is_short:
                    chunks.append(chunk)
                    continue
                if not is_started and self._start is not None:
                    self._tell(self._start)
                    is_started = True
                if chunk:
                    self._tell({"type": "http.response.body", "body": chunk, "more_body": True})
        finally:
            # WSGI requires it (PEP 3333), and Starlette forgets it: files of answers stay open until they are collected.
            if hasattr(made, "close"):
                made.close()
        end: Message = {"type": "http.response.body", "body": b"".join(chunks), "more_body": False}
        return [end] if is_started or self._start is None else [self._start, end]


#: A WSGI application.
Wsgi = Callable[..., Iterable[bytes]]


class _RefusedError(Exception):
    """A request with a large body whose login is wrong.

    :param answer: What is answered.
    """

    def __init__(self, answer: Wsgi) -> None:
        super().__init__()
        self.answer = answer


class FlaskBridge:
    """A Flask application as an ASGI application.

    :param application: Returns Flask's application, as a request needs it.
    :param former: The bridge that was there, for what is no HTTP request.
    :param refuse: Returns the answer to a request whose login is wrong, by its environment, else None. It is asked about requests with a large body.
    """

    def __init__(self, application: Callable[[Message], Wsgi], former: Application, refuse: Callable[[dict[str, Any]], Wsgi | None] | None = None) -> None:
        import anyio.from_thread
        import anyio.to_thread
        from starlette.middleware.wsgi import build_environ

        self._application = application
        self._former = former
        self._refuse = refuse
        self._to_thread: Any = anyio.to_thread.run_sync
        self._from_thread: Any = anyio.from_thread.run
        self._environ = build_environ
        #: Methods and paths that FastAPI gave to Flask.
        self.known: set[tuple[str, str]] = set()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._former(scope, receive, send)
            return
        if len(self.known) >= MOST_PATHS:
            self.known.clear()
        # A proxy may add a prefix, without which the path is compared with the routes.
        if not scope.get("root_path"):
            self.known.add((scope["method"], scope["path"]))
        environ = self._environ(scope, b"")
        try:
            body = await self._body_of(receive, environ)
            application = self._application(scope)
        except _RefusedError as refused:
            body, application = io.BytesIO(), refused.answer
        if body is None:
            # Nobody reads this answer, but middleware waits for one.
            await send({"type": "http.response.start", "status": 400, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        try:
            environ["wsgi.input"] = body
            # The body is complete. Without this, Flask takes a body whose length no header announces for an empty one, and MLflow stores it as such.
            environ["wsgi.input_terminated"] = True
            answer = _Answer(application, lambda message: self._from_thread(send, message))
            for message in await self._to_thread(answer.make, environ):
                await send(message)
        finally:
            body.close()
        if answer.error is not None:
            raise answer.error[1].with_traceback(answer.error[2])

    async def _body_of(self, receive: Receive, environ: dict[str, Any]) -> IO[bytes] | None:
        """Return the body of a request, in memory if it is small, otherwise in a temporary file. None if the client left before its end.

        :raises _RefusedError: If the body is large, and the login of the request is wrong.
        """
        body: IO[bytes] = io.BytesIO()
        length = 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                body.close()
                return None
            chunk = message.get("body", b"")
            length += len(chunk)
            if length <= IN_MEMORY:
                body.write(chunk)
            else:
                answer = await self._to_thread(self._refuse, environ) if self._refuse and isinstance(body, io.BytesIO) else None
                if answer is not None:
                    raise _RefusedError(answer)
                body = await self._to_thread(_write_to_disk, body, chunk)
            more = message.get("more_body", False)
        body.seek(0)
        return body


def _write_to_disk(body: IO[bytes], chunk: bytes) -> IO[bytes]:
    """Add a chunk to a body that is too large for memory, and return the file with the body."""
    if isinstance(body, io.BytesIO):
        begun = body.getvalue()
        body = tempfile.TemporaryFile()  # noqa: SIM115 - closed after Flask's answer.
        body.write(begun)
    body.write(chunk)
    return body


def first_route(mount: Any, known: set[tuple[str, str]]) -> Any:
    """Return a route for requests that are known to be Flask's, to be compared before all others.

    :param mount: The route of the bridge, Starlette's ``Mount``.
    """
    kind = type(mount)

    class KnownPaths(kind):  # type: ignore[misc, valid-type]  # Starlette is not known here.
        """The same route, for known methods and paths alone."""

        def matches(self, scope: Message) -> Any:
            """Return what the route returns, or that it does not match."""
            if scope["type"] == "http" and not scope.get("root_path") and (scope["method"], scope["path"]) in known:
                return super().matches(scope)
            return no_match, {}

    from starlette.routing import Match

    no_match = Match.NONE
    return KnownPaths(mount.path, app=mount.app)


def wrong_login(flask_application: Any, auth: Any) -> Callable[[dict[str, Any]], Wsgi | None]:
    """Return a function from the environment of a request to MLflow's answer if its login is wrong, None if it is right.

    Paths that need no login have no use for a large body, so they are no exception.

    :param auth: `mlflow.server.auth`, which checks the login in the same way before it handles a request.
    """
    from werkzeug.wrappers import Response

    def refuse(environ: dict[str, Any]) -> Wsgi | None:
        # Flask keeps what it has read of a request in its environment.
        with flask_application.request_context({**environ}):
            answer = auth.authenticate_request()
        return answer if isinstance(answer, Response) else None

    return refuse


def install(application: Any, flask_application: Any, refuse: Callable[[dict[str, Any]], Wsgi | None] | None = None) -> set[tuple[str, str]]:
    """Put the bridge in the place of MLflow's own, and return the methods and paths that are known to be Flask's, a set that grows.

    Call this in each worker, before its first request.

    :param application: The FastAPI application of the server.
    :param flask_application: MLflow's Flask application, which the other one contains.
    :param refuse: As for `FlaskBridge`.
    """
    routes = getattr(getattr(application, "router", None), "routes", [])
    for route in routes:
        former: Any = getattr(route, "app", None)
        flask = _applications(former, flask_application)
        if flask is None:
            continue
        # It is of the former's class too, by which the plugin knows the route of Flask.
        kind = type(FlaskBridge.__name__, (FlaskBridge, type(former)), {})
        try:
            route.app = kind(flask, former, refuse)
        except ImportError as error:
            _logger.warning("Flask is called as MLflow calls it: %s", error)
            break
        routes.insert(0, first_route(route, route.app.known))
        known: set[tuple[str, str]] = route.app.known
        return known
    else:
        _logger.info("Flask is called as MLflow calls it, because the application has another bridge.")
    return set()


def _applications(former: Any, flask_application: Any) -> Callable[[Message], Any] | None:
    """Return a function from a request to Flask's application for it, None if this is no bridge to Flask that this module knows."""
    # A bridge of Starlette or MLflow, and none of a plugin, which may do more than call Flask.
    if getattr(former, "app", None) is flask_application and type(former).__name__ in _BRIDGES:
        return lambda _scope: former.app
    return oidc_bridge.applications(former, flask_application)
