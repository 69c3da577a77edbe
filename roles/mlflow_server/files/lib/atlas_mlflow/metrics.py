"""Give the metrics of the server to those who may read them, and to nobody else.

MLflow answers ``/metrics`` to everybody, or to each user who may log in, and Prometheus would need the password of the administrator. This application is
before all others, so it decides by the address of the client alone, and a name in the Host header that MLflow would refuse does no harm.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import Iterable

from atlas_mlflow.asgi import Application, Message, Receive, Send

#: MLflow's web server merges slashes in a path. The path in a scope is already decoded.
_PATH = "metrics"
#: The variable with the folder of the metrics, which MLflow's command line sets.
_FOLDER = "prometheus_multiproc_dir"


def render() -> tuple[bytes, str]:
    """Return the metrics of all workers, and their type."""
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    MultiProcessCollector(registry, os.environ[_FOLDER])
    return generate_latest(registry), CONTENT_TYPE_LATEST


class Guard:
    """Answers ``/metrics``, and passes all other requests on.

    :param app: The application of the server.
    :param clients: Addresses and networks that may read the metrics.
    """

    def __init__(self, app: Application, clients: Iterable[str]) -> None:
        self._app = app
        self._networks = [ipaddress.ip_network(client.strip(), strict=False) for client in clients]

    def _may_read(self, scope: Message) -> bool:
        try:
            address = ipaddress.ip_address((scope.get("client") or ("",))[0])
        except ValueError:
            return False
        # A socket for both versions has this form for an IPv4 address.
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._networks)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http" or scope["path"].strip("/") != _PATH:
            await self._app(scope, receive, send)
            return
        status, body, kind = 403, b"The metrics are for the addresses in mlflow_server_metrics_clients.\n", "text/plain; charset=utf-8"
        if self._may_read(scope):
            body, kind = await asyncio.to_thread(render)
            status = 200
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
