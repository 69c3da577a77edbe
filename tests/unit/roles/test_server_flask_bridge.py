"""Flask gets each request as before, and its answers reach the client complete and in order."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from server_package import fresh

SCOPE = {"type": "http", "method": "POST", "path": "/api/x"}


class Match(Enum):
    """Starlette's kinds of matches, as far as they are needed."""

    NONE = 0
    FULL = 2


class Mount:
    """Starlette's route that gives each request to an application."""

    def __init__(self, path: str, app: Any) -> None:
        self.path = path
        self.app = app

    def matches(self, _scope: dict[str, Any]) -> Any:
        """Match each request."""
        return Match.FULL, {"endpoint": self.app}


class WSGIMiddleware:
    """Starlette's bridge. It notes what it gets."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.got: list[str] = []

    async def __call__(self, scope: dict[str, Any], _receive: Any, _send: Any) -> None:
        """Note the type of a request."""
        self.got.append(scope["type"])


@pytest.fixture
def bridge(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module, with stand-ins for anyio and Starlette."""
    loops: list[asyncio.AbstractEventLoop] = []

    async def run_sync(job: Callable[..., Any], *given: Any) -> Any:
        loops.append(asyncio.get_running_loop())
        return await asyncio.to_thread(job, *given)

    def run(job: Callable[..., Any], *given: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(job(*given), loops[-1]).result(10)

    made = {
        "anyio": types.ModuleType("anyio"),
        "anyio.to_thread": SimpleNamespace(run_sync=run_sync),
        "anyio.from_thread": SimpleNamespace(run=run),
        "starlette": types.ModuleType("starlette"),
        "starlette.middleware": types.ModuleType("starlette.middleware"),
        "starlette.middleware.wsgi": SimpleNamespace(build_environ=lambda scope, body: {"PATH_INFO": scope["path"], "body": body}),
        "starlette.routing": SimpleNamespace(Match=Match),
    }
    for name, module in made.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("to_thread", "from_thread"):
        monkeypatch.setattr(made["anyio"], name, made[f"anyio.{name}"], raising=False)
    return fresh(monkeypatch, "flask_bridge")


class Chunks:
    """An answer of Flask in chunks, which notes that it was closed. It may fail at its end."""

    def __init__(self, chunks: Iterable[bytes], fault: Exception | None = None) -> None:
        self.chunks = list(chunks)
        self.fault = fault
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        yield from self.chunks
        if self.fault:
            raise self.fault

    def close(self) -> None:
        """Note it."""
        self.closed += 1


def ask(bridge: ModuleType, answer: Chunks, headers: list[tuple[str, str]], pieces: tuple[bytes, ...] = (b"",), error: Any = None) -> Any:
    """Send a request, and return what Flask saw and what the client got."""
    seen: dict[str, Any] = {}
    sent: list[dict[str, Any]] = []
    waiting = [{"type": "http.request", "body": piece, "more_body": number < len(pieces) - 1} for number, piece in enumerate(pieces)]

    def flask(environ: dict[str, Any], start_response: Any) -> Chunks:
        seen.update(environ)
        start_response("201 CREATED", headers, error)
        return answer

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def run() -> None:
        await bridge.FlaskBridge(flask, WSGIMiddleware(flask))(SCOPE, receive, send)

    try:
        asyncio.run(run())
    except Exception as raised:
        return seen, sent, raised
    return seen, sent, None


def body_of(sent: list[dict[str, Any]]) -> bytes:
    """Return the body that a client got, after a look at its form."""
    assert [message["type"] for message in sent] == ["http.response.start", *["http.response.body"] * (len(sent) - 1)]
    assert [message["more_body"] for message in sent[1:]] == [True] * (len(sent) - 2) + [False]
    return b"".join(message["body"] for message in sent[1:])


def test_a_short_answer_is_sent_in_one_piece(bridge: ModuleType) -> None:
    answer = Chunks([b"ab", b"", b"cd"])
    seen, sent, _raised = ask(bridge, answer, [("Content-Length", "4"), (" Content-Type ", " text/x ")], (b"one ", b"two"))
    assert seen == {"PATH_INFO": "/api/x", "body": b"one two"}
    assert sent[0] == {"type": "http.response.start", "status": 201, "headers": [(b"content-length", b"4"), (b"content-type", b"text/x")]}
    assert body_of(sent) == b"abcd"
    assert len(sent) == 2
    assert answer.closed == 1


@pytest.mark.parametrize("headers", [[], [("Content-Length", str(2**30))]], ids=["unknown length", "long"])
def test_another_answer_is_sent_while_it_is_made(bridge: ModuleType, headers: list[tuple[str, str]]) -> None:
    answer = Chunks([b"ab", b"", b"cd"])
    _seen, sent, _raised = ask(bridge, answer, headers)
    assert body_of(sent) == b"abcd"
    assert [message["body"] for message in sent[1:]] == [b"ab", b"cd", b""]
    assert answer.closed == 1


def test_an_answer_without_a_body_has_an_end(bridge: ModuleType) -> None:
    _seen, sent, _raised = ask(bridge, Chunks([]), [])
    assert body_of(sent) == b""
    assert len(sent) == 2


@pytest.mark.parametrize(("headers", "messages"), [([("Content-Length", "4")], 0), ([], 2)], ids=["in one piece", "in chunks"])
def test_an_answer_that_fails_is_closed_and_has_no_end(bridge: ModuleType, headers: list[tuple[str, str]], messages: int) -> None:
    answer = Chunks([b"ab"], ValueError("gone"))
    _seen, sent, raised = ask(bridge, answer, headers)
    assert isinstance(raised, ValueError)
    assert len(sent) == messages
    assert all(message.get("more_body", True) for message in sent)
    assert answer.closed == 1


def test_an_error_that_flask_reports_is_raised_after_the_answer(bridge: ModuleType) -> None:
    fault = ValueError("reported")
    _seen, sent, raised = ask(bridge, Chunks([b"ab"]), [("Content-Length", "2")], error=(ValueError, fault, None))
    assert raised is fault
    assert body_of(sent) == b"ab"


def application_with(*routes: Any) -> Any:
    """Return a stand-in for a FastAPI application."""
    return SimpleNamespace(router=SimpleNamespace(routes=list(routes)))


def test_install_takes_the_place_of_mlflows_bridge(bridge: ModuleType) -> None:
    flask, other = object(), SimpleNamespace(app="another")
    former = WSGIMiddleware(flask)
    application = application_with(other, Mount("", former))
    bridge.install(application, flask)
    first, unchanged, last = application.router.routes
    assert (unchanged, unchanged.app) == (other, "another")
    assert isinstance(last.app, bridge.FlaskBridge)
    assert first.app is last.app
    asyncio.run(last.app({"type": "websocket"}, None, None))
    assert former.got == ["websocket"]


def test_a_path_that_came_to_flask_comes_to_it_first(bridge: ModuleType) -> None:
    def flask(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "0")])
        return []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(_message: Any) -> None:
        pass

    application = application_with(Mount("", WSGIMiddleware(flask)))
    known = bridge.install(application, flask)
    first = application.router.routes[0]
    assert first.matches(SCOPE) == (Match.NONE, {})
    asyncio.run(first.app(SCOPE, receive, send))
    assert known == {("POST", "/api/x")}
    assert first.matches(SCOPE) == (Match.FULL, {"endpoint": first.app})
    assert first.matches({**SCOPE, "method": "GET"})[0] is Match.NONE
    assert first.matches({**SCOPE, "type": "websocket"})[0] is Match.NONE
    for number in range(bridge.MOST_PATHS + 10):
        asyncio.run(first.app({**SCOPE, "path": f"/{number}"}, receive, send))
    assert 0 < len(first.app.known) <= bridge.MOST_PATHS


class AuthAwareWSGIMiddleware(WSGIMiddleware):
    """The bridge of a plugin."""


def test_the_bridge_of_a_plugin_stays(bridge: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    flask = object()
    former = AuthAwareWSGIMiddleware(flask)
    application = application_with(Mount("", former))
    with caplog.at_level("INFO"):
        assert bridge.install(application, flask) == set()
        assert bridge.install(SimpleNamespace(), flask) == set()
    assert [route.app for route in application.router.routes] == [former]
    assert caplog.text.count("as MLflow calls it") == 2


def test_a_release_without_starlettes_module_keeps_its_bridge(bridge: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    flask = object()
    former = WSGIMiddleware(flask)
    application = application_with(Mount("", former))
    monkeypatch.setitem(sys.modules, "starlette.middleware.wsgi", None)
    bridge.install(application, flask)
    assert [route.app for route in application.router.routes] == [former]
