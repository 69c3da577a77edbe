"""The metrics of the tracking server are for those who are named, and for nobody else."""

from __future__ import annotations

import asyncio
from types import ModuleType
from typing import Any

import pytest
from server_package import fresh

CLIENTS = ("127.0.0.0/8", "::1", "10.0.0.7", "fd00::/64")


def ask(metrics: ModuleType, path: str, client: Any, method: str = "GET", kind: str = "http") -> tuple[int, bytes]:
    """Return status and body of the answer to a request. The server's own answer has the status 299."""
    sent: list[dict[str, Any]] = []

    async def server(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": b"the server"})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    guard = metrics.Guard(server, CLIENTS)
    asyncio.run(guard({"type": kind, "path": path, "method": method, "client": client}, None, send))
    start, body = sent
    return start["status"], body["body"]


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module, with metrics that are made up."""
    module = fresh(monkeypatch, "metrics")
    monkeypatch.setattr(module, "render", lambda: (b"mlflow_http_request_total 1\n", "text/plain"))
    return module


@pytest.mark.parametrize("client", [("127.0.0.1", 5), ("127.8.0.1", 5), ("::1", 5), ("10.0.0.7", 5), ("fd00::9", 5), ("::ffff:10.0.0.7", 5)])
@pytest.mark.parametrize("path", ["/metrics", "//metrics", "/metrics/"])
def test_those_who_are_named_read_the_metrics(metrics: ModuleType, path: str, client: Any) -> None:
    assert ask(metrics, path, client) == (200, b"mlflow_http_request_total 1\n")
    assert ask(metrics, path, client, method="HEAD") == (200, b"")


@pytest.mark.parametrize("client", [("10.0.0.8", 5), ("fd00:0:0:1::9", 5), ("::ffff:10.0.0.8", 5), ("testclient", 5), None])
@pytest.mark.parametrize("path", ["/metrics", "//metrics", "/metrics/"])
def test_others_do_not(metrics: ModuleType, path: str, client: Any) -> None:
    status, body = ask(metrics, path, client)
    assert status == 403 and b"mlflow_http_request_total" not in body


@pytest.mark.parametrize("path", ["/", "/metrics2", "/api/2.0/mlflow/metrics", "/ajax-api/metrics/"])
def test_other_requests_are_passed_on(metrics: ModuleType, path: str) -> None:
    assert ask(metrics, path, ("10.0.0.8", 5)) == (299, b"the server")
    assert ask(metrics, "/metrics", ("10.0.0.7", 5), kind="websocket") == (299, b"the server")
