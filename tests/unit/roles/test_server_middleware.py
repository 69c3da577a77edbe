"""Middleware of MLflow is left out only for requests that it passes on, and only if its source is known."""

from __future__ import annotations

import asyncio
import sys
import types
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from server_package import fresh


@pytest.fixture
def middleware(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return fresh(monkeypatch, "middleware")


def setting(value: bool) -> Any:
    """Return a stand-in for a variable of MLflow's environment."""
    return SimpleNamespace(get=lambda: value)


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return stand-ins for the modules of MLflow, in which a test changes values."""
    environment = SimpleNamespace(MLFLOW_ENABLE_WORKSPACES=setting(False), MLFLOW_BASIC_AUTH_FAIL_CLOSED=setting(False))
    auth = SimpleNamespace(_find_fastapi_validator=lambda path, method: "check" if path.startswith("/v1/traces") and method == "POST" else None)
    for name in ("mlflow", "mlflow.server"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setattr(sys.modules["mlflow"], "environment_variables", environment, raising=False)
    monkeypatch.setattr(sys.modules["mlflow.server"], "auth", auth, raising=False)
    monkeypatch.setitem(sys.modules, "mlflow.environment_variables", environment)
    monkeypatch.setitem(sys.modules, "mlflow.server.workspace_helpers", SimpleNamespace(WORKSPACE_HEADER_NAME="X-MLFLOW-WORKSPACE"))
    return SimpleNamespace(environment=environment, auth=auth)


def request(path: str = "/api/2.0/mlflow/runs/get", method: str = "GET", *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    """Return the scope of a request."""
    return {"type": "http", "path": path, "method": method, "headers": list(headers)}


def test_without_workspaces_only_a_request_for_one_is_refused(middleware: ModuleType, mlflow: Any) -> None:
    has_work = middleware._workspace(set())
    assert not has_work(request("/", "GET", (b"host", b"x")))
    assert has_work(request("/", "GET", (b"x-mlflow-workspace", b"team")))
    mlflow.environment.MLFLOW_ENABLE_WORKSPACES = setting(True)
    assert middleware._workspace(set())(request())


@pytest.mark.parametrize(("path", "work"), [("/gateway/x/mlflow/invocations", True), ("/prefix/gateway/x", True), ("/api/2.0/mlflow/runs/get", False)])
def test_the_gateway_is_known_by_its_path(middleware: ModuleType, path: str, work: bool) -> None:
    assert middleware._gateway(set())(request(path)) == work


def test_permissions_are_checked_if_mlflow_has_a_check(middleware: ModuleType, mlflow: Any) -> None:
    has_work = middleware._permissions(set())
    assert has_work(request("/v1/traces", "POST"))
    assert not has_work(request("/v1/traces"))
    assert not has_work(request())


def test_permissions_of_releases_that_decide_by_the_path(middleware: ModuleType, mlflow: Any) -> None:
    del mlflow.environment.MLFLOW_BASIC_AUTH_FAIL_CLOSED
    mlflow.auth._find_fastapi_validator = lambda path: "check" if path == "/v1/traces" else None
    assert middleware._permissions(set())(request("/v1/traces"))
    assert not middleware._permissions(set())(request())


def test_if_mlflow_refuses_routes_without_a_check_only_those_of_flask_need_none(middleware: ModuleType, mlflow: Any) -> None:
    mlflow.environment.MLFLOW_BASIC_AUTH_FAIL_CLOSED = setting(True)
    of_flask: set[tuple[str, str]] = set()
    has_work = middleware._permissions(of_flask)
    assert has_work(request())
    of_flask |= {("GET", request()["path"]), ("POST", "/v1/traces")}
    assert not has_work(request())
    assert has_work(request(method="POST"))
    assert has_work(request("/v1/traces", "POST"))


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return stand-ins for the modules of the OpenID Connect plugin, in which a test changes values."""
    config = SimpleNamespace(TRUSTED_PROXIES=[], MLFLOW_ENABLE_WORKSPACES=False)
    permissions = SimpleNamespace(_find_fastapi_validator=lambda path: "check" if path.startswith("/v1/traces") else None)
    monkeypatch.setitem(sys.modules, "mlflow_oidc_auth", types.ModuleType("mlflow_oidc_auth"))
    monkeypatch.setitem(sys.modules, "mlflow_oidc_auth.config", SimpleNamespace(config=config))
    monkeypatch.setitem(sys.modules, "mlflow_oidc_auth.middleware", SimpleNamespace(fastapi_permission_middleware=permissions))
    return config


def test_the_plugin_looks_at_proxies_and_workspaces_only_if_it_has_them(middleware: ModuleType, plugin: Any) -> None:
    assert not middleware._plugin_proxy(set())(request())
    assert not middleware._plugin_workspace(set())(request())
    plugin.TRUSTED_PROXIES, plugin.MLFLOW_ENABLE_WORKSPACES = ["10.0.0.1"], True
    assert middleware._plugin_proxy(set())(request())
    assert middleware._plugin_workspace(set())(request())


def test_the_plugin_checks_all_that_is_not_known_to_be_flasks(middleware: ModuleType, plugin: Any) -> None:
    of_flask: set[tuple[str, str]] = set()
    has_work = middleware._plugin_permissions(of_flask)
    assert has_work(request())
    of_flask |= {("GET", request()["path"]), ("POST", "/v1/traces")}
    assert not has_work(request())
    assert has_work(request(method="POST"))
    assert has_work(request("/v1/traces", "POST"))
    assert has_work({**request(), "root_path": "/api"})


def test_a_method_of_a_class_is_left_out_too(middleware: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    class OfPlugin(ForFunctions):
        """The plugin's form: a class with the function as a method."""

        def __init__(self, app: Any) -> None:
            super().__init__(app, self.dispatch)

        def dispatch(self) -> None:
            """Look at a request."""

    OfPlugin.dispatch.__module__ = "mlflow_oidc_auth.middleware.workspace_context_middleware"
    monkeypatch.setattr(middleware, "KNOWN", {middleware.source.digest(OfPlugin.dispatch): lambda _of_flask: lambda scope: scope["path"] == "/work"})
    application = SimpleNamespace(user_middleware=[Entry(OfPlugin)])
    assert seen_by(application, request("/")) == ["dispatch"]
    middleware.install(application, set())
    assert seen_by(application, request("/")) == []
    assert seen_by(application, request("/work")) == ["dispatch"]


class Entry:
    """Starlette's entry for a middleware."""

    def __init__(self, cls: Any, **kwargs: Any) -> None:
        self.cls = cls
        self.kwargs = kwargs

    def build(self, app: Any) -> Any:
        """Return the middleware, as Starlette makes it."""
        return self.cls(app=app, **self.kwargs)


class ForFunctions:
    """Starlette's class for a function."""

    def __init__(self, app: Any, dispatch: Any) -> None:
        self.app = app
        self.dispatch = dispatch

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Note the request, and pass it on."""
        scope.setdefault("seen", []).append(self.dispatch.__name__)
        await self.app(scope, receive, send)


def workspace_function() -> None:
    """A function of MLflow."""


def plugin_function() -> None:
    """A function of a plugin."""


workspace_function.__module__ = "mlflow.server.fastapi_app"
plugin_function.__module__ = "plugin"


def seen_by(application: Any, scope: dict[str, Any]) -> list[str]:
    """Return the functions that see a request."""

    async def end(_scope: Any, _receive: Any, _send: Any) -> None:
        pass

    app: Any = end
    for entry in reversed(application.user_middleware):
        app = entry.build(app)
    asyncio.run(app(scope, None, None))
    return list(scope.get("seen", []))


@pytest.fixture
def application() -> Any:
    """Return an application with a function of MLflow, one of a plugin, and a middleware of another kind."""
    functions = [Entry(ForFunctions, dispatch=function) for function in (workspace_function, plugin_function)]
    return SimpleNamespace(user_middleware=[*functions, Entry(lambda app: app)])


def test_a_known_function_sees_only_requests_for_it(middleware: ModuleType, mlflow: Any, application: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(middleware.KNOWN, middleware.source.digest(workspace_function), middleware._workspace)
    # A plugin's function is none of MLflow's, even if its source is known.
    monkeypatch.setitem(middleware.KNOWN, middleware.source.digest(plugin_function), middleware._workspace)
    middleware.install(application, set())
    assert seen_by(application, request()) == ["plugin_function"]
    assert seen_by(application, request("/", "GET", (b"x-mlflow-workspace", b"team"))) == ["workspace_function", "plugin_function"]
    assert seen_by(application, {"type": "websocket"}) == ["plugin_function"]


def test_a_function_in_another_form_sees_each_request(middleware: ModuleType, mlflow: Any, application: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        middleware.install(application, set())
    assert seen_by(application, request()) == ["workspace_function", "plugin_function"]
    assert "workspace_function of MLflow handles each request" in caplog.text
    assert "plugin_function" not in caplog.text


def test_a_release_without_what_the_question_needs_keeps_its_function(
    middleware: ModuleType, mlflow: Any, application: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(middleware.KNOWN, middleware.source.digest(workspace_function), middleware._permissions)
    del mlflow.auth._find_fastapi_validator
    middleware.install(application, set())
    assert seen_by(application, request()) == ["workspace_function", "plugin_function"]


def test_an_application_of_another_kind_is_left_alone(middleware: ModuleType) -> None:
    middleware.install(SimpleNamespace(), set())


class OfSender:
    """The plugin's form of the middleware that finds out who sends a request: a class with the function as a method."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.dispatch_func = self.dispatch

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope["seen"] = ["the class"]
        await self.app(scope, receive, send)

    async def dispatch(self, request: Any, call_next: Any) -> Any:
        """Refuse a request, or note who sends it and pass it on."""
        scope = request[0]
        if scope["path"] == "/refused":

            async def refuse(scope: Any, _receive: Any, _send: Any) -> None:
                scope["seen"] = ["refused"]

            return refuse
        scope["seen"] = ["the function"]
        return await call_next(request)


OfSender.dispatch.__module__ = "mlflow_oidc_auth.middleware.auth_middleware"


class Served:
    """An application with one middleware, which notes what a request comes to."""

    def __init__(self) -> None:
        self.application = SimpleNamespace(user_middleware=[Entry(OfSender)])

    def __call__(self, scope: dict[str, Any]) -> Any:
        async def end(scope: Any, _receive: Any, _send: Any) -> None:
            scope["seen"].append("the application")

        asyncio.run(self.application.user_middleware[0].build(end)(scope, None, None))
        return scope["seen"]


def server_of_sender(monkeypatch: pytest.MonkeyPatch) -> Served:
    """Return the application, with stand-ins for the modules of Starlette."""
    for name in ("starlette", "starlette.requests"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setattr(sys.modules["starlette.requests"], "Request", lambda *given: given, raising=False)
    return Served()


@pytest.mark.parametrize(("known", "seen"), [(True, ["the function", "the application"]), (False, ["the class", "the application"])])
def test_a_function_that_answers_or_passes_on_is_called_without_its_class(
    middleware: ModuleType, monkeypatch: pytest.MonkeyPatch, known: bool, seen: list[str]
) -> None:
    serve = server_of_sender(monkeypatch)
    monkeypatch.setattr(middleware, "STRAIGHT", {middleware.source.digest(OfSender.dispatch): "1"} if known else {})
    middleware.install(serve.application, set())
    assert serve(request("/")) == seen
    if known:
        assert serve(request("/refused")) == ["refused"]
        assert serve({**request("/refused"), "type": "websocket"}) == ["the class", "the application"]


def test_permissions_on_artifacts_are_checked_without_the_class(middleware: ModuleType, mlflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    serve = server_of_sender(monkeypatch)
    digest = middleware.source.digest(OfSender.dispatch)
    monkeypatch.setitem(middleware.KNOWN, digest, lambda _of_flask: lambda scope: scope["path"] != "/version")
    monkeypatch.setitem(middleware.STRAIGHT_FOR, digest, middleware._artifacts)
    mlflow.auth.FASTAPI_ENDPOINT_RESPONSE_FILTERS = {}
    mlflow.auth._is_native_fastapi_proxy_artifact_path = lambda path, method: path.startswith("/artifacts/") and method == "GET"
    mlflow.auth._find_fastapi_after_request_handler = lambda path, _method: print if path.endswith("followed") else None
    monkeypatch.setattr(middleware.source, "digest_of_all", lambda *_functions: next(iter(middleware.ARTIFACTS)))
    middleware.install(serve.application, set())
    assert serve(request("/artifacts/1")) == ["the function", "the application"]
    assert serve({**request("/version"), "seen": []}) == ["the application"]
    # What MLflow does more for, and what is not known, keeps the class.
    for other in (request("/artifacts/followed"), request("/other"), request("/artifacts/1", "PUT"), {**request("/artifacts/1"), "root_path": "/x"}):
        assert serve(other) == ["the class", "the application"]
    endpoint = lambda: None  # noqa: E731
    endpoint.__module__ = "mlflow.server.artifact_router"
    mlflow.auth.FASTAPI_ENDPOINT_RESPONSE_FILTERS = {endpoint: print}
    assert not middleware._artifacts()(request("/artifacts/1"))
    monkeypatch.setattr(middleware.source, "digest_of_all", lambda *_functions: "another release")
    assert not middleware._artifacts()(request("/artifacts/1"))
