"""The bodies of artifacts pass MLflow by, and MLflow decides about each request."""

from __future__ import annotations

import asyncio
import importlib
import json
import random
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from fake_s3 import FakeS3
from server_package import fresh

URL = "/api/2.0/mlflow-artifacts/artifacts/0/run/artifacts/file.bin"


@pytest.fixture
def artifacts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module, with small parts and chunks."""
    module = fresh(monkeypatch, "artifacts", "transfers")
    monkeypatch.setattr(module.transfers, "PART", 100)
    monkeypatch.setattr(module.transfers, "CHUNK", 64)
    monkeypatch.setattr(module.transfers, "KEEP_MEMORY", 0.0)
    return module


@pytest.fixture
def s3() -> FakeS3:
    return FakeS3()


def content(length: int) -> bytes:
    return random.Random(length).randbytes(length)


class Client:
    """A client and its server: sends a request to the middleware, and keeps what comes back."""

    def __init__(self, artifacts: ModuleType, s3: FakeS3) -> None:
        self.artifacts = artifacts
        self.s3 = s3
        self.status_of_mlflow = 200
        self.notes = True
        self.seen: dict[str, Any] = {}
        self.sent: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        self.leaves_after = 10**9  # bytes of an answer

    async def mlflow(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle a request as MLflow does with the repository of atlas_mlflow.proxy."""
        self.seen = {"headers": dict(scope["headers"]), "body": b""}
        while True:
            message = await receive()
            assert message["type"] == "http.request"
            self.seen["body"] += message["body"]
            if not message["more_body"]:
                break
        exchange = await asyncio.to_thread(self.artifacts.EXCHANGE.get)
        self.seen["exchange"] = exchange
        status = self.status_of_mlflow
        if exchange is not None and self.notes and status == 200:
            if exchange.is_upload:
                exchange.target = self.artifacts.transfers.Target(self.s3, "bucket", "key")
            else:
                exchange.download = self.artifacts.transfers.Download(
                    lambda **more: self.s3.get_object(Key="key", **more), exchange.byte_range, exchange.if_range
                )
                exchange.content_range = exchange.download.content_range
                status = exchange.status = 206 if exchange.content_range else 200
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/x"), (b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def ask(self, method: str, path: str = URL, body: list[bytes] | None = None, **headers: str) -> Client:
        """Send a request. A body without an end is one whose client goes away."""
        messages = [{"type": "http.request", "body": piece, "more_body": number + 1 < len(body or [])} for number, piece in enumerate(body or [b""])]
        if body and body[-1] in (b"GONE", b"SILENT"):
            messages = messages[:-1]
            if body[-1] == b"GONE":
                self.gone.set()
        given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]

        async def receive() -> Any:
            if messages:
                return messages.pop(0)
            await self.gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            self.sent.append(message)
            if len(self.body) >= self.leaves_after:
                self.gone.set()
                await asyncio.sleep(0.01)

        async def run() -> None:
            scope = {"type": "http", "method": method, "path": path, "headers": given}
            await self.artifacts.Bodies(self.mlflow, self.artifacts.transfers.Transfers(2))(scope, receive, send)
            assert self.artifacts.EXCHANGE.get() is None

        asyncio.run(asyncio.wait_for(run(), 10))
        return self

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def is_complete(self) -> bool:
        return self.sent[-1].get("more_body") is False


@pytest.fixture
def client(artifacts: ModuleType, s3: FakeS3) -> Client:
    return Client(artifacts, s3)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("PUT", URL, True),
        ("PUT", URL.replace("/api", "/prefix/ajax-api"), True),
        ("GET", URL, False),
        ("GET", "/prefix/get-artifact", False),
        ("GET", "/model-versions/get-artifact", False),
        ("GET", "/ajax-api/2.0/mlflow/logged-models/m-1/artifacts/files", False),
        ("GET", "/api/2.0/mlflow-artifacts/artifacts", None),
        ("GET", "/api/2.0/mlflow-artifacts/artifacts/", None),
        ("HEAD", URL, False),
        ("HEAD", "/get-artifact", False),
        ("HEAD", "/api/2.0/mlflow/artifacts/list", None),
        ("DELETE", URL, None),
        ("POST", "/api/2.0/mlflow-artifacts/mpu/create/0", None),
        ("PUT", "/get-artifact", None),
        ("GET", "/ajax-api/2.0/mlflow/get-trace-artifact", None),
        ("GET", "/api/2.0/mlflow/artifacts/list", None),
    ],
)
def test_only_requests_for_the_content_of_an_artifact_are_carried(client: Client, s3: FakeS3, method: str, path: str, expected: bool | None) -> None:
    s3.objects["key"] = b"stored"
    client.ask(method, path, [b"some ", b"body"])
    exchange = client.seen["exchange"]
    assert (exchange.is_upload if exchange else None) == expected
    if expected is None:
        assert client.seen["body"] == b"some body" and client.body == b""


@pytest.mark.parametrize("length", [0, 50, 1000])
def test_an_upload_is_stored_before_the_answer_is_sent(client: Client, s3: FakeS3, length: int) -> None:
    body = content(length)
    client.ask("PUT", body=[body[:30], body[30:]], content_length=str(length), content_type="text/x")
    assert (client.status, s3.objects, client.is_complete) == (200, {"key": body}, True)
    # MLflow sees a request without a body, as its headers say.
    assert client.seen["headers"] == {b"content-type": b"text/x", b"content-length": b"0"} and client.seen["body"] == b""


@pytest.mark.parametrize("status", [400, 401, 403, 503])
def test_a_refused_upload_is_not_even_read(client: Client, s3: FakeS3, status: int) -> None:
    client.status_of_mlflow = status
    client.ask("PUT", body=[content(1000), b"GONE"], content_length="5000")
    assert client.status == status and not s3.calls


def test_a_release_that_stores_in_another_way_is_an_error(client: Client, s3: FakeS3) -> None:
    """What it stored was empty."""
    client.notes = False
    client.ask("PUT", body=[b"something"], content_length="9")
    assert client.status == 500 and not s3.calls


@pytest.mark.parametrize("announced", ["2000", None])
def test_nothing_is_left_if_the_client_goes_away(client: Client, s3: FakeS3, announced: str | None) -> None:
    s3.objects["key"] = b"former"
    client.ask("PUT", body=[content(1000), b"GONE"], **({"content_length": announced} if announced else {}))
    assert client.status == 500 and s3.objects == {"key": b"former"} and not s3.uploads
    assert "abort_multipart_upload" in s3.names()


def test_a_silent_client_counts_as_gone(client: Client, artifacts: ModuleType, s3: FakeS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "PATIENCE", 0.01)
    client.ask("PUT", body=[content(500), b"SILENT"], content_length="1000")
    assert client.status == 500 and not s3.objects and not s3.uploads and "abort_multipart_upload" in s3.names()


def test_a_body_of_another_length_is_not_stored(client: Client, s3: FakeS3) -> None:
    client.ask("PUT", body=[content(1000)], content_length="1001")
    assert client.status == 500 and not s3.objects and not s3.uploads


def test_an_upload_that_the_store_refuses_is_reported(client: Client, s3: FakeS3) -> None:
    s3.failing = "put_object"
    client.ask("PUT", body=[b"x"], content_length="1")
    answer = json.loads(client.body)
    assert client.status == 500 and answer["error_code"] == "INTERNAL_ERROR" and "AccessDenied" in answer["message"]
    assert int(client.headers[b"content-length"]) == len(client.body)


@pytest.mark.parametrize("length", [0, 1, 64, 1000])
@pytest.mark.parametrize("path", [URL, "/get-artifact"])
def test_a_download_has_the_headers_of_mlflow_and_the_length_of_the_object(client: Client, s3: FakeS3, length: int, path: str) -> None:
    s3.objects["key"] = content(length)
    client.ask("GET", path)
    assert (client.status, client.body, client.is_complete) == (200, content(length), True)
    assert client.headers.pop(b"etag").startswith(b'"')
    expected = {b"content-type": b"text/x", b"content-length": str(length).encode(), b"accept-ranges": b"bytes", b"cache-control": b"no-cache"}
    assert {name: value for name, value in client.headers.items() if name != b"etag"} == expected
    assert [name for name, _value in client.sent[0]["headers"]].count(b"content-length") == 1


def test_a_range_is_answered(client: Client, s3: FakeS3) -> None:
    s3.objects["key"] = content(1000)
    client.ask("GET", range="bytes=100-399")
    assert (client.status, client.body) == (206, content(1000)[100:400])
    assert (client.headers[b"content-range"], client.headers[b"content-length"]) == (b"bytes 100-399/1000", b"300")


def test_a_request_for_the_headers_reads_no_more_than_the_first_chunk(client: Client, s3: FakeS3) -> None:
    s3.objects["key"] = content(1000)
    client.ask("HEAD", range="bytes=10-19")
    assert (client.status, client.headers[b"content-length"], client.body, client.is_complete) == (200, b"1000", b"", True)
    assert sum(s3.reads) <= 64 and [body.closed for body in s3.bodies] == [True]


def test_a_range_behind_the_end_has_no_body(client: Client, artifacts: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    async def mlflow(scope: Any, receive: Any, send: Any) -> None:
        exchange = artifacts.EXCHANGE.get()
        exchange.content_range, exchange.status = "bytes */1000", 416
        await send({"type": "http.response.start", "status": 416, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    monkeypatch.setattr(client, "mlflow", mlflow)
    client.ask("GET", range="bytes=5000-")
    assert (client.status, client.headers[b"content-range"], client.headers[b"content-length"]) == (416, b"bytes */1000", b"0")
    assert client.body == b"" and client.is_complete


def test_a_refused_download_sends_nothing_of_the_object(client: Client, s3: FakeS3) -> None:
    """Whatever is opened: only MLflow's own answer says that the client may read it."""
    s3.objects["key"] = content(1000)
    mlflow: Callable[..., Any] = client.mlflow

    async def refuses_late(scope: Any, receive: Any, send: Any) -> None:
        async def refuse(message: Any) -> None:
            await send({**message, "status": 403} if "status" in message else {**message, "body": b"Permission denied"})

        await mlflow(scope, receive, refuse)

    client.mlflow = refuses_late  # type: ignore[method-assign]
    client.ask("GET")
    assert (client.status, client.body) == (403, b"Permission denied")
    assert s3.bodies[0].closed


def test_a_download_that_the_store_breaks_off_has_no_end(client: Client, s3: FakeS3) -> None:
    s3.objects["key"] = content(1000)
    s3.break_after = [1000, 1000, 128, 0, 0, 0]
    with pytest.raises(ConnectionResetError):
        client.ask("GET")
    assert client.headers[b"content-length"] == b"1000"
    assert 0 < len(client.body) < 1000 and not client.is_complete


def test_no_more_is_read_for_a_client_that_went_away(client: Client, s3: FakeS3) -> None:
    s3.objects["key"] = content(100_000)
    client.leaves_after = 200
    client.ask("GET")
    assert not client.is_complete and s3.bodies[0].position < 1000


def test_other_protocols_pass(artifacts: ModuleType) -> None:
    passed = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        passed.append(scope["type"])

    for kind in ("lifespan", "websocket"):
        asyncio.run(artifacts.Bodies(application)({"type": kind}, None, None))
    assert passed == ["lifespan", "websocket"]


class FakeApplication:
    """What MLflow's applications have, FastAPI's and Flask's, for the installation."""

    def __init__(self) -> None:
        self.handlers: dict[type[Exception], Any] = {}
        self.middleware: list[Any] = []
        self.register_error_handler = self.add_exception_handler = self.handlers.__setitem__
        self.add_middleware = self.middleware.append


class FakeResponse:
    """An answer of Flask, or of Starlette."""

    def __init__(self, status: int = 0, status_code: int = 0, headers: dict[str, str] | None = None) -> None:
        self.status_code = status or status_code
        self.headers = dict(headers or {})


def installed(artifacts: ModuleType, monkeypatch: pytest.MonkeyPatch, destination: str, **handlers: Any) -> tuple[FakeApplication, FakeApplication]:
    """Install the middleware in applications of a release that has these functions."""
    for name, members in {
        "flask": {"Response": FakeResponse},
        "mlflow": {},
        "mlflow.server": {"ARTIFACTS_DESTINATION_ENV_VAR": "DESTINATION", "handlers": SimpleNamespace(**handlers)},
        "starlette": {},
        "starlette.responses": {"Response": FakeResponse},
    }.items():
        module = ModuleType(name)
        module.__dict__.update(members)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("DESTINATION", destination)
    fastapi, flask = FakeApplication(), FakeApplication()
    artifacts.install(fastapi, flask)
    return fastapi, flask


def headers_of_mlflow(path: str, response: FakeResponse) -> FakeResponse:
    """Do what all releases do: the header is kept if there is one."""
    response.headers.setdefault("Content-Disposition", f"attachment; filename={path.rpartition('/')[2]}")
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


@pytest.mark.parametrize(
    ("path", "newer", "expected"),
    [
        ("0/a.html", False, "attachment; filename=a.html"),
        ("0/ü b.html", False, "attachment; filename*=UTF-8''%C3%BC%20b.html"),
        ("0/ü.html", True, "attachment; filename=ü.html"),
    ],
)
def test_a_found_artifact_gets_the_headers_of_mlflow(artifacts: ModuleType, monkeypatch: pytest.MonkeyPatch, path: str, newer: bool, expected: str) -> None:
    more = {"_content_disposition_attachment": None} if newer else {}
    fastapi, flask = installed(artifacts, monkeypatch, "proxied-s3://bucket", _response_with_file_attachment_headers=headers_of_mlflow, **more)
    assert fastapi.middleware == [artifacts.Bodies]
    found = artifacts.Found(path, 206)
    answers = [flask.handlers[artifacts.Found](found), asyncio.run(fastapi.handlers[artifacts.Found](None, found))]
    assert [(answer.status_code, answer.headers) for answer in answers] == [(206, {"Content-Disposition": expected, "X-Content-Type-Options": "nosniff"})] * 2


@pytest.mark.parametrize("destination", ["/var/lib/mlflow/artifacts", "s3://bucket", ""])
def test_other_stores_are_left_to_mlflow(artifacts: ModuleType, monkeypatch: pytest.MonkeyPatch, destination: str) -> None:
    """The body of an upload may not be kept back from a repository of another kind."""
    for application in installed(artifacts, monkeypatch, destination, _response_with_file_attachment_headers=headers_of_mlflow):
        assert not application.middleware and not application.handlers


def test_an_unknown_release_is_left_as_it_is_and_that_is_said(artifacts: ModuleType, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    for application in installed(artifacts, monkeypatch, "proxied-s3://bucket"):
        assert not application.middleware and not application.handlers
    assert "Artifacts go through temporary files" in caplog.text


def test_each_worker_streams_artifacts(artifacts: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("atlas_mlflow.app")
    chosen, other = ModuleType("chosen"), object()
    chosen.__dict__.update(app=FakeApplication(), other=other)
    server = ModuleType("mlflow.server")
    server.app = "flask"  # type: ignore[attr-defined]
    for name, value in (("chosen", chosen), ("mlflow", ModuleType("mlflow")), ("mlflow.server", server)):
        monkeypatch.setitem(sys.modules, name, value)
    calls: list[Any] = []
    monkeypatch.setattr(module.artifacts, "install", lambda *given: calls.append(given))
    monkeypatch.setenv("ATLAS_MLFLOW_APPLICATION", "chosen:app")
    assert module.create_app() is chosen.app and calls == [(chosen.app, "flask")]
    monkeypatch.setenv("ATLAS_MLFLOW_APPLICATION", "chosen:other")
    assert module.create_app() is other and len(calls) == 1


def test_a_worker_asks_for_the_login_before_it_keeps_a_large_body(artifacts: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("atlas_mlflow.app")
    server, auth = ModuleType("mlflow.server"), ModuleType("mlflow.server.auth")
    auth.__dict__.update(app=FakeApplication())
    server.app = "flask"  # type: ignore[attr-defined]
    for name, value in (("mlflow", ModuleType("mlflow")), ("mlflow.server", server), ("mlflow.server.auth", auth)):
        monkeypatch.setitem(sys.modules, name, value)
    for part in (module.artifacts, module.middleware, module.login_memory_basic):
        monkeypatch.setattr(part, "install", lambda *_given: None)
    monkeypatch.setattr(module.flask_bridge, "wrong_login", lambda *given: given)
    installed: list[Any] = []
    monkeypatch.setattr(module.flask_bridge, "install", lambda *given: installed.append(given))
    monkeypatch.setenv("ATLAS_MLFLOW_APPLICATION", "mlflow.server.auth:app")
    module.create_app()
    assert [given[2] for given in installed] == [("flask", auth)]
