"""One request: its Host header, its limit in time, and what is said when there is no answer."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.atlas.mlflow.plugins.module_utils.api import server_of
from ansible_collections.atlas.mlflow.plugins.module_utils.web import Base, NoAnswer, ask, tls_context
from fake_tracking import FakeTracking, serving


@pytest.fixture(name="fake")
def fixture_fake() -> Iterator[FakeTracking]:
    with serving(FakeTracking()) as server:
        assert isinstance(server, FakeTracking)
        yield server


@pytest.mark.parametrize(
    ("url", "name", "header"),
    [
        ("http://127.0.0.1:5001", "mlflow.example", "mlflow.example:5001"),
        ("http://127.0.0.1:5001", "mlflow.example:80", "mlflow.example:80"),
        ("http://127.0.0.1:5001/prefix/", "::1", "[::1]:5001"),
        ("http://127.0.0.1:5001", "[::1]", "[::1]:5001"),
        ("http://127.0.0.1:5001", "[::1]:80", "[::1]:80"),
        ("http://127.0.0.1:5001", "bücher.example", "xn--bcher-kva.example:5001"),
        ("http://127.0.0.1:5001", "Straße.Example:80", "xn--strae-oqa.example:80"),
        ("http://127.0.0.1:5001", "MLflow01.Corp.example", "mlflow01.corp.example:5001"),
        ("http://[::1]", "mlflow.example", "mlflow.example"),
        ("https://10.0.0.1", "mlflow.example", "mlflow.example"),
    ],
)
def test_a_host_header_has_the_port_that_a_client_would_send(url: str, name: str, header: str) -> None:
    assert Base.parse(url).host_header(name) == header


@pytest.mark.parametrize(
    ("path", "sent"),
    [("", ""), ("/", ""), ("/ml/", "/ml"), ("/größe pfad/", "/gr%C3%B6%C3%9Fe%20pfad"), ("/gr%C3%B6%C3%9Fe", "/gr%C3%B6%C3%9Fe"), ("/a-b_c.d~e", "/a-b_c.d~e")],
)
def test_a_path_is_sent_in_the_form_that_http_has(path: str, sent: str) -> None:
    with serving(FakeTracking()) as fake:
        assert isinstance(fake, FakeTracking)
        base = Base.parse(fake.url + path)
        assert base.path == sent
        ask(base, "GET", base.path + "/health", timeout=5)
        assert fake.paths == [f"GET {sent}/health"]


@pytest.mark.parametrize("name", ["Straße.Example.org", "straße.example.org.", "xn--strae-oqa.example.org"])
def test_a_certificate_is_checked_for_the_name_that_clients_send(name: str) -> None:
    """Python's TLS converts names by another rule, as which this one is strasse.example.org."""
    given = {"url": "https://127.0.0.1", "ca_path": None, "validate_certs": True, "tls_name": name, "name": None, "timeout": 5, "username": "", "password": ""}
    assert server_of(SimpleNamespace(params=given)).base.tls_name == "xn--strae-oqa.example.org"


@pytest.mark.parametrize("url", ["127.0.0.1:5001", "ftp://host", "http://", "http://host:port"])
def test_what_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        Base.parse(url)


def failure(url: str, timeout: float = 5) -> NoAnswer:
    """Return what a request fails with."""
    with pytest.raises(NoAnswer) as caught:
        ask(Base.parse(url), "GET", "/health", timeout=timeout)
    return caught.value


def test_a_closed_port_and_an_unknown_name_are_told_apart() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound and never listening
        refused = failure(f"http://127.0.0.1:{free.getsockname()[1]}")
    assert (refused.kind, refused.detail) == ("refused", "connection refused")
    assert refused.fault == "connection-refused"
    unknown = failure("http://mlflow.invalid:5001")
    assert unknown.seen == "the name does not resolve (mlflow.invalid:5001)"
    assert unknown.fault == "name-does-not-resolve"


@pytest.mark.parametrize(
    ("said", "kind", "fault"),
    [
        (b"", "reset", "connection-dropped"),
        (b"SSH-2.0-x\r\n", "protocol", "not-http"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "reset", "connection-dropped"),
    ],
)
def test_a_dropped_connection_and_another_protocol_are_told_apart(said: bytes, kind: str, fault: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection = listener.accept()[0]
            with connection:
                connection.recv(4096)
                connection.sendall(said)

        thread = threading.Thread(target=serve)
        thread.start()
        seen = failure(f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
    assert (seen.kind, seen.fault) == (kind, fault)


def test_tls_towards_a_plain_port_is_named(fake: FakeTracking) -> None:
    seen = failure(fake.url.replace("http:", "https:"))
    assert seen.kind == "tls" and seen.seen.startswith("TLS failed") and seen.fault == "tls-fails"


@pytest.mark.parametrize("fault", ["hang_on", "trickle_on"])
def test_the_limit_holds_for_the_request_as_a_whole(fake: FakeTracking, fault: str) -> None:
    setattr(fake, fault, "GET /")
    begin = time.monotonic()
    with pytest.raises(NoAnswer) as caught:
        ask(Base.parse(fake.url), "GET", "/", timeout=0.5)
    assert time.monotonic() - begin < 2
    assert caught.value.detail == "no complete answer within 0.5 seconds"
    assert caught.value.fault == "answer-late"


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_file_that_cannot_be_read_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content)
    with pytest.raises(OSError, match=rf"^The CA file {path} cannot be read: .*\w"):
        tls_context(str(path), validate=True)
