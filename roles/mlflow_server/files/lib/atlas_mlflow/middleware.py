"""Leave out middleware of MLflow for the requests that it would only pass on.

Three functions of MLflow look at each request: for the workspace, to measure the gateway, and for the permissions of routes that are not Flask's. The OpenID
Connect plugin has three more, for headers of proxies, for the workspace and for permissions. Most requests are passed on as they are. Starlette's class for
such functions (``BaseHTTPMiddleware``) starts a task for each request, and copies each message through two streams. This module asks first whether a function
has anything to do, and if so, the function and the class do it as before.

One more function of the plugin looks at each request and has work for each: who sends it. It either answers, or returns what comes after it as it is. So it is
called without the class. The function for permissions of MLflow is called so for artifacts, for which it does the same.

A function is known by its source, because another release may do more in it. A function that is not known handles each request.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any

from atlas_mlflow import source
from atlas_mlflow.asgi import Application, Message, Receive, Send

_logger = logging.getLogger(__name__)

HasWork = Callable[[Message], bool]
#: Methods and paths that are known to be Flask's.
OfFlask = AbstractSet[tuple[str, str]]

#: The modules whose functions this module looks for. Other functions, of another plugin for example, are none of its business.
_MODULES = (
    "mlflow.server.fastapi_app",
    "mlflow.server.auth",
    "mlflow_oidc_auth.middleware.proxy_headers_middleware",
    "mlflow_oidc_auth.middleware.workspace_context_middleware",
    "mlflow_oidc_auth.middleware.fastapi_permission_middleware",
    "mlflow_oidc_auth.middleware.auth_middleware",
)


def _workspace(_of_flask: OfFlask) -> HasWork:
    """Each request, if the server has workspaces. Otherwise only a request that names one, to refuse it."""
    from mlflow.environment_variables import MLFLOW_ENABLE_WORKSPACES
    from mlflow.server.workspace_helpers import WORKSPACE_HEADER_NAME

    has_workspaces, header = bool(MLFLOW_ENABLE_WORKSPACES.get()), WORKSPACE_HEADER_NAME.lower().encode()
    return lambda scope: has_workspaces or any(name.lower() == header for name, _value in scope["headers"])


def _gateway(_of_flask: OfFlask) -> HasWork:
    """Requests to the gateway, whatever prefix is before its path."""
    return lambda scope: "/gateway/" in scope["path"]


def _permissions(of_flask: OfFlask) -> HasWork:
    """Requests for which MLflow has a check of permissions outside of Flask.

    If MLflow refuses routes of FastAPI without a check, as it does by default, also all requests that are not known to be Flask's.
    """
    from mlflow import environment_variables
    from mlflow.server import auth

    find = auth._find_fastapi_validator
    fail_closed = getattr(environment_variables, "MLFLOW_BASIC_AUTH_FAIL_CLOSED", None)
    refuses = fail_closed is not None and bool(fail_closed.get())
    # Releases before native routes for artifacts decide by the path alone.
    by_path = len(inspect.signature(find).parameters) == 1

    def has_work(scope: Message) -> bool:
        method, path = scope["method"], scope["path"]
        if refuses and (method, path) not in of_flask:
            return True
        return (find(path) if by_path else find(path, method)) is not None

    return has_work


def _artifacts() -> HasWork:
    """Requests for artifacts, which MLflow answers or passes on as they are. Their body, which may be large, is not read before."""
    from mlflow.server import auth

    functions = (
        "_find_fastapi_validator",
        "_get_fastapi_proxy_artifact_validator",
        "_authorize_fastapi_artifact_proxy",
        "_is_native_fastapi_proxy_artifact_path",
        "_find_fastapi_after_request_handler",
        "_find_fastapi_response_filter",
    )
    known: list[Any] = [getattr(auth, name, None) for name in functions]
    if source.digest_of_all(*known) not in ARTIFACTS:
        return lambda _scope: False
    # The answer would be filtered.
    if any(getattr(endpoint, "__module__", "") == "mlflow.server.artifact_router" for endpoint in auth.FASTAPI_ENDPOINT_RESPONSE_FILTERS):
        return lambda _scope: False
    is_artifact, followed = auth._is_native_fastapi_proxy_artifact_path, auth._find_fastapi_after_request_handler

    def is_straight(scope: Message) -> bool:
        path, method = scope["path"], scope["method"]
        return not scope.get("root_path") and "endpoint" not in scope and is_artifact(path, method) and followed(path, method) is None

    return is_straight


def _plugin_proxy(_of_flask: OfFlask) -> HasWork:
    """Each request, if the plugin trusts a proxy."""
    from mlflow_oidc_auth.config import config

    trusts = bool(config.TRUSTED_PROXIES)
    return lambda _scope: trusts


def _plugin_workspace(_of_flask: OfFlask) -> HasWork:
    """Each request, if the server has workspaces."""
    from mlflow_oidc_auth.config import config

    has_workspaces = bool(config.MLFLOW_ENABLE_WORKSPACES)
    return lambda _scope: has_workspaces


def _plugin_permissions(of_flask: OfFlask) -> HasWork:
    """Requests that are not known to be Flask's, and those for which the plugin has a check outside of Flask."""
    from mlflow_oidc_auth.middleware import fastapi_permission_middleware as permissions

    find = permissions._find_fastapi_validator
    return lambda scope: bool(scope.get("root_path")) or (scope["method"], scope["path"]) not in of_flask or find(scope["path"]) is not None


#: The known functions by the sha256 of their source, with what makes the question whether they have anything to do.
KNOWN: dict[str, Callable[[OfFlask], HasWork]] = {
    "4e46e874662800885763fd7ce266428620548cb26c54edda2069d6bed6ad6c18": _workspace,  # 3.17.2
    "4f76a25f17bb00fe6fc5dbd33ff61191f53f617c49723e50f759bd459c8ca43e": _workspace,  # 3.10.1
    "7c8b73643be70b49233e52f2fb3d76cab4bc31bc90017ecf9438cb8189582d48": _gateway,  # 3.17.2
    "3209d743ce0c6d31bdba270a8abf96eb53a59c37889bd1f278359751416c364d": _permissions,  # 3.17.2
    "9299652710a401cae3eed16a585ede1bd6ea1daced9d13aee7dab6e29acb7198": _permissions,  # 3.10.1
    "fc39d1abc90c55cdcfe62fb95b34f62196e42e63df2ddde459a19d1e4f2778b9": _plugin_proxy,  # the plugin 10.1.3
    "6f5fb9d48a314d5e2c336e781873c33f5374a4c2dfc1358bbe5b9a1b68dcae26": _plugin_workspace,
    "3caad5b09cce78c330790d55e56702b5ea4bd0b8391e8bd575972369dbf13172": _plugin_permissions,
}


#: The sha256 of the sources of MLflow's functions for permissions on artifacts, by release.
ARTIFACTS = {"8c9e7a745acfb10613f1b9cfedc3cf1d6fcc2f8e37c4d937029e02fe7eb84f7d": "3.17.2"}
#: Functions that do what those in `STRAIGHT` do for some requests, with what makes the question for which.
STRAIGHT_FOR: dict[str, Callable[[], HasWork]] = {"3209d743ce0c6d31bdba270a8abf96eb53a59c37889bd1f278359751416c364d": _artifacts}
#: Functions that answer a request themselves or pass it on as it is, and that read no body, by the sha256 of their source.
STRAIGHT = {"b0de7e62969dc422f10b4df3eb8f72980fa5d14e04ba7de19650634ff2165ec9": "the plugin 10.1.3"}


class Straight:
    """Middleware that answers a request or passes it on, without Starlette's class for it.

    :param app: The next application.
    :param make: Makes the middleware, given the next application.
    """

    def __init__(self, app: Application, make: Callable[[Application], Any]) -> None:
        from starlette.requests import Request

        self._next = app
        self._middleware = make(app)
        self._request: Any = Request
        #: Stands for the answer of what comes next.
        self._passed_on: Any = object()

    async def _pass_on(self, _request: Any) -> Any:
        return self._passed_on

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._middleware(scope, receive, send)
            return
        answer = await self._middleware.dispatch_func(self._request(scope, receive), self._pass_on)
        await (self._next if answer is self._passed_on else answer)(scope, receive, send)


class OnlyIf:
    """Middleware that is left out for requests that it would only pass on.

    :param app: The next application.
    :param make: Makes the middleware, given the next application.
    :param has_work: Says whether the middleware has anything to do for a request.
    :param is_straight: Says whether it answers a request itself or passes it on as it is. None if this is not known of any request.
    """

    def __init__(self, app: Application, make: Callable[[Application], Application], has_work: HasWork, is_straight: HasWork | None = None) -> None:
        self._next = app
        self._middleware = make(app)
        self._has_work = has_work
        self._is_straight = is_straight
        self._straight = Straight(app, make) if is_straight else self._middleware

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle a request."""
        chosen = self._middleware if scope["type"] == "http" and self._has_work(scope) else self._next
        if chosen is self._middleware and self._is_straight and self._is_straight(scope):
            chosen = self._straight
        await chosen(scope, receive, send)


def install(application: Any, of_flask: OfFlask) -> None:
    """Leave out the middleware that is known. Call this in each worker, before its first request.

    :param application: The FastAPI application of the server.
    :param of_flask: Methods and paths that are known to be Flask's. It may grow.
    """
    entries = getattr(application, "user_middleware", [])
    for number, entry in enumerate(entries):
        # A function, or the method of a class.
        function: Any = getattr(entry, "kwargs", {}).get("dispatch") or getattr(getattr(entry, "cls", None), "dispatch", None)
        if getattr(function, "__module__", "") not in _MODULES:
            continue
        digest = source.digest(function)
        if digest in STRAIGHT:
            entries[number] = type(entry)(Straight, make=functools.partial(entry.cls, **entry.kwargs))
            continue
        try:
            has_work = KNOWN[digest](of_flask)
            is_straight = STRAIGHT_FOR[digest]() if digest in STRAIGHT_FOR else None
        except (KeyError, ImportError, AttributeError) as error:
            _logger.warning("%s of MLflow handles each request, because its form in this release is not known (%s).", function.__name__, type(error).__name__)
            continue
        entries[number] = type(entry)(OnlyIf, make=functools.partial(entry.cls, **entry.kwargs), has_work=has_work, is_straight=is_straight)
