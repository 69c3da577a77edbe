"""Call MLflow's Flask application in several threads at a time, also with the OpenID Connect plugin.

The plugin calls Flask by asgiref, which runs all requests of a worker one after the other in one thread: a slow search stops everybody else. With the bridge
of this collection (`flask_bridge`) they run in threads, as they do without the plugin. What the plugin's bridge adds is who sends the request.

Requests of the plugin share its caches, which are not made for several threads, so they get a lock here. Everything else that its hooks share is written
once. A release of the plugin with other code keeps its own bridge.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable
from typing import Any

from atlas_mlflow import source
from atlas_mlflow.asgi import Message

_logger = logging.getLogger(__name__)

#: The sha256 of the source of the plugin's bridge and of its cache, by release.
BRIDGES = {"52a857263946bac78db4ce0f7ed5dd2a88c458a1565315cf8d0da2f025e0ad52": "10.1.3"}
CACHES = {"3ef07cc60558df2c1f783307703536cc59ff134dd2eda8e452784082ec1d3f4f": "10.1.3"}


def with_lock(cache: type) -> type:
    """Return a plugin's class of caches whose methods never run at the same time.

    :param cache: The class, with the methods ``get``, ``set``, ``delete``, ``delete_prefix`` and ``clear``.
    """

    class LockedCache(cache):  # type: ignore[misc]  # The plugin is not known here.
        """The plugin's cache with a lock."""

        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self._lock = threading.RLock()

        def get(self, key: str) -> Any:
            with self._lock:
                return super().get(key)

        def set(self, key: str, value: Any) -> None:
            with self._lock:
                super().set(key, value)

        def delete(self, key: str) -> None:
            with self._lock:
                super().delete(key)

        def delete_prefix(self, prefix: str) -> None:
            with self._lock:
                super().delete_prefix(prefix)

        def clear(self) -> None:
            with self._lock:
                super().clear()

    return LockedCache


def applications(bridge: Any, flask_application: Any) -> Callable[[Message], Any] | None:
    """Return a function from a request to the application that the plugin's bridge would call for it, None if this is no such bridge.

    :param bridge: What is mounted where Flask's routes are.
    :param flask_application: MLflow's Flask application.
    """
    kind = type(bridge)
    if kind.__name__ != "AuthAwareWSGIMiddleware" or getattr(bridge, "flask_app", None) is not flask_application:
        return None
    try:
        add_sender: Callable[[Any, Message], Any] = importlib.import_module(kind.__module__).AuthInjectingWSGIApp
        caches: Any = importlib.import_module(kind.__module__.partition(".")[0] + ".cache.local_backend")
        cache: type = caches.LocalTTLCacheBackend
    except (ImportError, AttributeError) as error:
        _logger.warning("Requests are handled one after the other in each worker, because this release of the plugin has another form: %s", error)
        return None
    if source.digest(kind) not in BRIDGES or source.digest(cache) not in CACHES:
        _logger.warning("Requests are handled one after the other in each worker, because this release of the plugin is not known.")
        return None
    # The plugin makes its caches with the first request.
    caches.LocalTTLCacheBackend = with_lock(cache)
    return lambda scope: add_sender(flask_application, scope)
