"""A proxy that has the server's port: a healthy one is no fault, and one that changes requests is named."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis import front, judge
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis.answers import ask_names, see_as_client
from ansible_collections.atlas.mlflow.plugins.module_utils.web import Base
from ansible_collections.atlas.mlflow.plugins.modules import mlflow_diagnose
from fake_tracking import FakeTracking, serving


class Proxy(ThreadingHTTPServer):
    """Passes requests on to a server, and changes them as its way says."""

    daemon_threads = True

    def __init__(self, upstream: int, way: str) -> None:
        super().__init__(("127.0.0.1", 0), Passing)
        self.upstream, self.way, self.port = upstream, way, self.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.stopped = threading.Event()


def redirected(port: int) -> Callable[[Proxy, int, str], None]:
    """Return what makes a proxy that leads to another server than the one that it is made for."""
    make = Proxy.__init__
    return lambda self, _upstream, way: make(self, port, way)


class Passing(BaseHTTPRequestHandler):
    """Passes one request on."""

    server: Proxy

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""

    def handle_any(self) -> None:
        """Change it, and pass it on."""
        length, way = int(self.headers.get("Content-Length", 0)), self.server.way
        if way == "limit" and length > 2**20:
            return self.send_error(413)
        if way == "gone":
            return self.send_error(502)
        if way == "denied":
            return self.send_error(403)
        if way == "path" and not self.path.startswith("/app"):
            return self.send_error(404)
        host = "upstream" if way == "host" else self.headers["Host"]
        connection = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=5)
        connection.request(self.command, self.path, self.rfile.read(length), {"Host": host})
        answer = connection.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = handle_any


@pytest.fixture(name="fake")
def fixture_fake() -> Iterator[FakeTracking]:
    with serving(FakeTracking()) as server:
        yield server


def diagnosed(fake: FakeTracking, way: str, process: str, monkeypatch: pytest.MonkeyPatch, kind: str = "unit") -> list[judge.Check]:
    """Return the checks of a server on loopback behind a proxy."""
    monkeypatch.setattr(front, "PATIENCE", 0.2)
    proxy = Proxy(fake.port, way)
    with serving(proxy):
        fake.allowed = {f"localhost:{proxy.port}", "127.0.0.1:5000"}
        argv = ["/x/python", "/x/mlflow", "server", "--host", "127.0.0.1", "--port", str(fake.port)]
        facts: dict[str, Any] = {
            "kind": kind,
            "name": "x",
            "argv": argv,
            "state": "running",
            "published": [],
            "network_mode": "host",
            "sockets": [{"address": "127.0.0.1", "port": fake.port, "pid": 1, "process": "python", "own": True}],
            "host_listeners": [{"address": "0.0.0.0", "port": proxy.port, "pid": 7, "process": process, "own": False}],
        }
        base = Base("http", "127.0.0.1", proxy.port)
        facts["names"] = ask_names(base, ["localhost"], 5)
        module = SimpleNamespace(params={"host": "0.0.0.0", "port": proxy.port, "timeout": 5, "username": None})
        server = SimpleNamespace(facts=facts, argv=argv, inspected={}, run=lambda _command: (0, f"docker.io/nginx:1.25 0.0.0.0:{proxy.port}->80/tcp", ""))
        facts["front"] = mlflow_diagnose.see_front(module, server, base, None)
        return judge.diagnose({"host": "0.0.0.0", "port": proxy.port}, facts)


@pytest.mark.parametrize("process", ["nginx", "docker-proxy", "own-proxy"])
@pytest.mark.parametrize(
    ("way", "fault"), [("", []), ("limit", ["proxy-body-limit"]), ("host", ["proxy-host-header"]), ("path", ["proxy-path"]), ("gone", ["proxy-upstream"])]
)
def test_what_a_proxy_does_to_requests_is_named(fake: FakeTracking, way: str, fault: list[str], process: str, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = diagnosed(fake, way, process, monkeypatch)
    found = [check.fault for check in checks if check.verdict == "fault"]
    if process == "own-proxy" and way in ("host", "path", "gone"):
        assert found and "proxy" not in " ".join(found)  # nothing tells that it is a proxy
    else:
        assert found == fault, checks
        assert any(("nginx" in check.seen or process in check.seen) and "(pid 7)" in check.seen for check in checks)


def test_a_refusal_of_the_name_differs_from_another_one(fake: FakeTracking) -> None:
    """A proxy or a firewall for web applications answers 403 too, with a page of its own."""
    base = Base("http", "127.0.0.1", fake.port)
    client = see_as_client(base, ["127.0.0.1"], "", 5)
    assert "host_refused" not in ask_names(base, ["127.0.0.1"], 5)[0] and "host_refused" not in client["names"][0]
    fake.allowed = {"other"}
    assert ask_names(base, ["127.0.0.1"], 5)[0]["host_refused"] and see_as_client(base, ["127.0.0.1"], "", 5)["names"][0]["host_refused"]
    proxy = Proxy(fake.port, "denied")
    with serving(proxy):
        base = Base("http", "127.0.0.1", proxy.port)
        (seen,) = ask_names(base, ["127.0.0.1"], 5)
        assert (seen["api"], seen["host_refused"]) == (403, False)
        assert see_as_client(base, ["127.0.0.1"], "", 5)["names"][0]["host_refused"] is False


def test_another_tracking_server_on_the_port_is_no_proxy(fake: FakeTracking, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(FakeTracking()) as other:
        other.hosts_checked, other.experiments = False, {"7": {"experiment_id": "7", "name": "other", "lifecycle_stage": "active"}}
        monkeypatch.setattr(Proxy, "__init__", redirected(other.port))
        checks = diagnosed(fake, "", "python", monkeypatch)
    assert [check.fault for check in checks if check.verdict == "fault"] == ["wrong-socket", "shadowing-listener"]


@pytest.mark.parametrize(
    "facts",
    [
        {"argv": []},  # it does not run: the port is taken
        {"sockets": [{"address": "0.0.0.0", "port": 5001}]},  # it has its port: another one shadows it
        {"kind": "container", "network_mode": "bridge", "published": [{"address": "0.0.0.0", "port": 5001, "inner": 5000}]},
        {"host_listeners": []},
    ],
)
def test_what_has_the_port_of_a_server_that_has_its_own_is_no_proxy(facts: dict[str, Any]) -> None:
    behind = {
        "kind": "unit",
        "argv": ["mlflow"],
        "sockets": [{"address": "127.0.0.1", "port": 5000}],
        "host_listeners": [{"address": "0.0.0.0", "port": 5001, "pid": 7, "process": "nginx", "own": False}],
    }
    assert front.find(behind, "0.0.0.0", 5001) is not None
    assert front.find({**behind, **facts}, "0.0.0.0", 5001) is None


def test_a_container_is_asked_at_its_own_address() -> None:
    facts = {"kind": "container", "network_mode": "atlas", "sockets": [{"address": "0.0.0.0", "port": 5000}]}
    assert front.own_place(facts, {"NetworkSettings": {"Networks": {"atlas": {"IPAddress": "172.18.0.3"}}}}) == ("172.18.0.3", 5000)
    assert front.own_place({**facts, "sockets": [{"address": "127.0.0.1", "port": 5000}]}, {"NetworkSettings": {"Networks": {}}}) is None


@pytest.mark.parametrize(
    ("process", "listed", "name"),
    [
        ("conmon", {"podman": "docker.io/library/nginx:1.29 0.0.0.0:5001->5001/tcp\nlocalhost/python:3 \n"}, "nginx:1.29"),
        ("docker-proxy", {"docker": "nginx:1.29 0.0.0.0:5001->80/tcp, :::5001->80/tcp\n"}, "nginx:1.29"),
        ("conmon", {"podman": ""}, "conmon"),
        ("pasta", {"podman": "docker.io/library/nginx:1.29 0.0.0.0:5001->5001/tcp\n"}, "pasta"),
    ],
)
def test_a_published_port_is_called_by_its_containers_image(process: str, listed: dict[str, str], name: str) -> None:
    found = {"process": process, "address": "0.0.0.0", "port": 5001}
    front.name_container(found, lambda command: (0, listed.get(command[0], ""), ""))
    assert found["process"] == name
