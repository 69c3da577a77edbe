"""Flask gets each request as before, and its answers reach the client complete and in order."""

from __future__ import annotations

import asyncio
import contextlib
import io
import sys
import time
import types
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
        "starlette.middleware.wsgi": SimpleNamespace(build_environ=lambda scope, body: {"PATH_INFO": scope["path"], "wsgi.input": io.BytesIO(body)}),
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


def ask(
    bridge: ModuleType,
    answer: Chunks,
    headers: list[tuple[str, str]],
    pieces: tuple[bytes, ...] = (b"",),
    error: Any = None,
    stays: bool = True,
    refuse: Any = None,
) -> Any:
    """Send a request, and return what Flask saw and what the client got.

    :param stays: Whether the client sends the end of the body. Otherwise it leaves after the pieces.
    :param refuse: The bridge's function for a wrong login.
    """
    seen: dict[str, Any] = {}
    sent: list[dict[str, Any]] = []
    waiting = [{"type": "http.request", "body": piece, "more_body": number < len(pieces) - stays} for number, piece in enumerate(pieces)]
    waiting += [] if stays else [{"type": "http.disconnect"}]

    def flask(environ: dict[str, Any], start_response: Any) -> Chunks:
        seen.update(environ)
        read = seen.pop("wsgi.input")
        seen["body"] = read.read()
        seen["body is in memory"] = isinstance(read, io.BytesIO)
        start_response("201 CREATED", headers, error)
        return answer

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def run() -> None:
        await bridge.FlaskBridge(lambda _scope: flask, WSGIMiddleware(flask), refuse)(SCOPE, receive, send)

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
    assert seen == {"PATH_INFO": "/api/x", "body": b"one two", "body is in memory": True, "wsgi.input_terminated": True}
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


def test_a_large_body_waits_on_the_disk(bridge: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "IN_MEMORY", 5)
    seen, _sent, _raised = ask(bridge, Chunks([]), [], (b"abc", b"def", b"gh"))
    assert (seen["body"], seen["body is in memory"]) == (b"abcdefgh", False)
    seen, _sent, _raised = ask(bridge, Chunks([]), [], (b"abc", b"de"))
    assert (seen["body"], seen["body is in memory"]) == (b"abcde", True)


@pytest.mark.parametrize("pieces", [(), (b"ab",), (b"abc", b"defg")], ids=["at once", "in memory", "on the disk"])
def test_a_request_whose_client_left_before_its_end_does_not_reach_flask(
    bridge: ModuleType, monkeypatch: pytest.MonkeyPatch, pieces: tuple[bytes, ...]
) -> None:
    monkeypatch.setattr(bridge, "IN_MEMORY", 5)
    seen, sent, raised = ask(bridge, Chunks([b"stored"]), [], pieces, stays=False)
    assert seen == {} and raised is None
    # Middleware of Starlette fails if there is no answer.
    assert sent[0]["status"] == 400 and body_of(sent) == b""


@pytest.mark.parametrize("is_right", [True, False])
def test_a_large_body_with_a_wrong_login_is_not_read(bridge: ModuleType, monkeypatch: pytest.MonkeyPatch, is_right: bool) -> None:
    monkeypatch.setattr(bridge, "IN_MEMORY", 5)
    written: list[bytes] = []
    write = bridge._write_to_disk
    monkeypatch.setattr(bridge, "_write_to_disk", lambda body, chunk: written.append(chunk) or write(body, chunk))
    asked: list[str] = []

    def unauthorized(_environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("401 UNAUTHORIZED", [("Content-Length", "2")])
        return [b"no"]

    def refuse(environ: dict[str, Any]) -> Any:
        asked.append(environ["PATH_INFO"])
        return None if is_right else unauthorized

    seen, sent, _raised = ask(bridge, Chunks([b"ok"]), [("Content-Length", "2")], (b"abc", b"def", b"ghi"), refuse=refuse)
    assert asked == ["/api/x"], "the login is checked once"
    if is_right:
        assert (seen["body"], sent[0]["status"], body_of(sent)) == (b"abcdefghi", 201, b"ok")
    else:
        assert (seen, written, sent[0]["status"], body_of(sent)) == ({}, [], 401, b"no")
    ask(bridge, Chunks([]), [], (b"abc", b"de"), refuse=refuse)
    assert len(asked) == 1, "a small body is left to MLflow"


def test_the_login_is_checked_as_mlflow_checks_it(bridge: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    class Response:
        """An answer of Flask."""

    monkeypatch.setitem(sys.modules, "werkzeug", types.ModuleType("werkzeug"))
    monkeypatch.setitem(sys.modules, "werkzeug.wrappers", SimpleNamespace(Response=Response))
    contexts: list[dict[str, Any]] = []

    @contextlib.contextmanager
    def request_context(environ: dict[str, Any]) -> Iterator[None]:
        contexts.append(environ)
        environ["werkzeug.request"] = "kept"
        yield

    answers: list[Any] = [SimpleNamespace(username="ada"), Response()]
    auth = SimpleNamespace(authenticate_request=lambda: answers[len(contexts) - 1])
    refuse = bridge.wrong_login(SimpleNamespace(request_context=request_context), auth)
    environ = {"PATH_INFO": "/x"}
    assert refuse(environ) is None
    assert refuse(environ) is answers[1]
    assert environ == {"PATH_INFO": "/x"}


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


async def receive() -> dict[str, Any]:
    """Return the empty body of a request."""
    return {"type": "http.request", "body": b""}


async def send(_message: Any) -> None:
    """Take a message of an answer that a test does not look at."""


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

    application = application_with(Mount("", WSGIMiddleware(flask)))
    known = bridge.install(application, flask)
    first = application.router.routes[0]
    assert first.matches(SCOPE) == (Match.NONE, {})
    asyncio.run(first.app(SCOPE, receive, send))
    assert known == {("POST", "/api/x")}
    assert first.matches(SCOPE) == (Match.FULL, {"endpoint": first.app})
    assert first.matches({**SCOPE, "method": "GET"})[0] is Match.NONE
    assert first.matches({**SCOPE, "type": "websocket"})[0] is Match.NONE
    # Behind a prefix the path may be another one of FastAPI's.
    prefixed = {**SCOPE, "path": "/p/x", "root_path": "/p"}
    asyncio.run(first.app(prefixed, receive, send))
    assert known == {("POST", "/api/x")}
    assert first.matches({**SCOPE, "root_path": "/api"})[0] is Match.NONE
    for number in range(bridge.MOST_PATHS + 10):
        asyncio.run(first.app({**SCOPE, "path": f"/{number}"}, receive, send))
    assert 0 < len(first.app.known) <= bridge.MOST_PATHS


class OtherMiddleware(WSGIMiddleware):
    """The bridge of another plugin."""


def test_the_bridge_of_another_plugin_stays(bridge: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    flask = object()
    former = OtherMiddleware(flask)
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


class AuthInjectingWSGIApp:
    """What the plugin calls: Flask, told who sends the request."""

    def __init__(self, flask_app: Any, scope: dict[str, Any]) -> None:
        self.flask_app = flask_app
        self.scope = scope

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Add the sender."""
        environ["sender"] = self.scope["sender"]
        return self.flask_app(environ, start_response)


class AuthAwareWSGIMiddleware:
    """The bridge of the OpenID Connect plugin."""

    def __init__(self, flask_app: Any) -> None:
        self.flask_app = flask_app

    async def __call__(self, _scope: Any, _receive: Any, _send: Any) -> None:
        """Fail: the test wants another bridge."""
        raise AssertionError


class LocalTTLCacheBackend:
    """The plugin's cache."""

    def __init__(self, maxsize: int, ttl: int) -> None:
        self.given = (maxsize, ttl)
        self.kept: dict[str, Any] = {}
        self.inside = 0

    def get(self, key: str) -> Any:
        """Return a value. Only one thread may be here."""
        self.inside += 1
        time.sleep(0.002)
        assert self.inside == 1
        self.inside -= 1
        return self.kept.get(key)

    def set(self, key: str, value: Any) -> None:
        """Keep a value."""
        assert self.inside == 0
        self.kept[key] = value

    def delete(self, key: str) -> None:
        """Forget a value."""
        self.kept.pop(key, None)

    def delete_prefix(self, prefix: str) -> None:
        """Forget the values with a prefix."""
        for key in [key for key in self.kept if key.startswith(prefix)]:
            self.delete(key)

    def clear(self) -> None:
        """Forget all values."""
        self.kept.clear()


@pytest.fixture
def plugin(bridge: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a stand-in for the plugin's module of caches, and make the plugin known."""
    caches = SimpleNamespace(LocalTTLCacheBackend=LocalTTLCacheBackend)
    modules = {"mlflow_oidc_auth.middleware.x": SimpleNamespace(AuthInjectingWSGIApp=AuthInjectingWSGIApp, __file__=__file__)}
    modules["mlflow_oidc_auth.cache.local_backend"] = caches
    for name in ("mlflow_oidc_auth", "mlflow_oidc_auth.middleware", "mlflow_oidc_auth.cache"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(AuthAwareWSGIMiddleware, "__module__", "mlflow_oidc_auth.middleware.x")
    digest = bridge.oidc_bridge.source.digest
    monkeypatch.setattr(bridge.oidc_bridge, "BRIDGES", {digest(AuthAwareWSGIMiddleware): "1"})
    monkeypatch.setattr(bridge.oidc_bridge, "CACHES", {digest(LocalTTLCacheBackend): "1"})
    return caches


def test_with_the_plugin_flask_is_told_who_sends_a_request(bridge: ModuleType, plugin: Any) -> None:
    seen: dict[str, Any] = {}

    def flask(environ: Any, start_response: Any) -> list[bytes]:
        seen.update(environ)
        start_response("200 OK", [("Content-Length", "0")])
        return []

    application = application_with(Mount("", AuthAwareWSGIMiddleware(flask)))
    bridge.install(application, flask)
    first, last = application.router.routes
    asyncio.run(last.app({**SCOPE, "sender": "ann"}, receive, send))
    assert seen["sender"] == "ann"
    # The plugin finds its route by this class.
    assert all(isinstance(route.app, AuthAwareWSGIMiddleware) for route in (first, last))


def test_the_plugins_cache_is_used_by_one_thread_at_a_time(bridge: ModuleType, plugin: Any) -> None:
    flask = object()
    bridge.install(application_with(Mount("", AuthAwareWSGIMiddleware(flask))), flask)
    cache = plugin.LocalTTLCacheBackend(maxsize=3, ttl=4)
    assert cache.given == (3, 4)
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(job, *given) for number in range(20) for job, *given in ((cache.get, "a"), (cache.set, f"b{number}", number))]
        assert [future.result() for future in found] == [None] * 40
    assert len(cache.kept) == 20
    cache.delete("b1")
    assert sorted(cache.kept)[:2] == ["b0", "b10"]
    cache.delete_prefix("b1")
    assert len(cache.kept) == 9
    cache.clear()
    assert cache.kept == {}


@pytest.mark.parametrize("part", ["BRIDGES", "CACHES"])
def test_a_plugin_that_is_not_known_keeps_its_bridge(
    bridge: ModuleType, plugin: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, part: str
) -> None:
    monkeypatch.setattr(bridge.oidc_bridge, part, {})
    flask = object()
    former = AuthAwareWSGIMiddleware(flask)
    application = application_with(Mount("", former))
    bridge.install(application, flask)
    assert [route.app for route in application.router.routes] == [former]
    assert plugin.LocalTTLCacheBackend is LocalTTLCacheBackend
    assert "this release of the plugin is not known" in caplog.text
