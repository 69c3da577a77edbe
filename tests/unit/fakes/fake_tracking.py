"""A tracking server in memory, with the answers of MLflow's REST API that the probe asks for, and faults to switch on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

PAGE = b'<!doctype html><html><head><title>MLflow</title></head><body><div id="root"></div></body></html>'
INVALID_HOST = b"Invalid Host header - possible DNS rebinding attack detected"
HANG = 30.0  # seconds; far more than any time-out of a test


class FakeTracking(ThreadingHTTPServer):
    """Holds one tracking server's state. Attributes named after a fault switch it on."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.port: int = self.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.stopped = threading.Event()
        self.experiments: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.artifacts: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, str]] = []
        # Faults
        self.allowed = {f"127.0.0.1:{self.port}"}  # Host headers; None: all
        self.database_down = False
        self.hosts_checked = True
        self.corrupt = False  # changes what is downloaded
        self.advertised: str | None = None  # origin of the presigned URLs
        self.hang_on = ""  # start of a method and path that is never answered
        self.trickle_on = ""  # start of a method and path that is answered a byte at a time
        self.wrong_param = False
        self.late = 0  # the number of the next answers that come from a replica which has nothing of what was written
        self.fail_on = ("", "")  # method and part of a path that answer 500
        self.artifact_root = "mlflow-artifacts:/"
        self.page = PAGE
        self.version = "3.17.2"
        self.login = ""  # the expected Authorization header
        self.more_logins: list[str] = []  # others that are let in
        self.open = ""  # start of a method and path for which nobody need log in

    @property
    def paths(self) -> list[str]:
        """Return method and path of each request so far."""
        return [f"{method} {path}" for method, path, _host in self.requests]


class Handler(BaseHTTPRequestHandler):
    """Answers one request from the server's state."""

    server: FakeTracking
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""

    @property
    def doing(self) -> str:
        """Return method and path."""
        return f"{self.command} {self.path}"

    @property
    def let_in(self) -> bool:
        """Say whether who asks has logged in, or need not."""
        fake = self.server
        return self.headers.get("Authorization") in (fake.login, *fake.more_logins) or bool(fake.open) and self.doing.startswith(fake.open)

    def reply(self, status: int, body: bytes | dict[str, Any], kind: str = "application/json") -> None:
        """Send an answer."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        trickle = self.server.trickle_on and self.doing.startswith(self.server.trickle_on)
        if trickle:
            content += bytes(1000)  # so that it takes 100 seconds at least
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if trickle:
            try:
                while content and not self.server.stopped.wait(0.1):
                    self.wfile.write(content[:1])
                    content = content[1:]
            except OSError:
                pass  # the client gave up, as it should
            return
        self.wfile.write(content)

    def handle_any(self) -> None:
        """Apply the faults, then answer."""
        fake, url = self.server, urlsplit(self.path)
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length) if length else b""
        fake.requests.append((self.command, url.path, self.headers["Host"]))
        exempt = url.path in ("/health", "/version")
        if fake.hang_on and self.doing.startswith(fake.hang_on):
            fake.stopped.wait(HANG)
        elif fake.hosts_checked and not exempt and self.headers["Host"] not in fake.allowed:
            self.reply(403, INVALID_HOST, "text/plain")
        elif fake.login and not exempt and not self.let_in:
            self.reply(401, b"You are not authenticated.", "text/plain")
        elif fake.fail_on[1] and fake.fail_on[0] == self.command and fake.fail_on[1] in url.path:
            self.reply(500, {"error_code": "INTERNAL_ERROR", "message": "broken on purpose"})
        elif url.path in ("/health", "/version"):
            self.reply(200, fake.version.encode() if url.path == "/version" else b"OK", "text/plain")
        elif url.path == "/":
            self.reply(200, fake.page, "text/html; charset=utf-8")
        elif url.path.endswith("/server-info"):
            self.reply(200, {"store_type": "SqlStore", "multipart_downloads_enabled": bool(fake.advertised)})
        elif "/mlflow-artifacts/" in url.path:
            self.artifact(unquote(url.path).partition("/mlflow-artifacts/")[2], body)
        elif fake.database_down:
            self.reply(503, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "connection to the database failed"})
        else:
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            self.tracking(url.path.partition("/api/2.0/mlflow/")[2], json.loads(body) if body else query)

    do_GET = do_POST = do_PUT = do_DELETE = handle_any

    def artifact(self, path: str, body: bytes) -> None:
        """Answer a request for artifacts."""
        fake = self.server
        kind, _slash, name = path.partition("/")
        if kind == "presigned":
            url = f"{fake.advertised}/bucket/{name}?X-Amz-Signature=very-secret"
            self.reply(200, {"url": url, "headers": {}, "file_size": len(fake.artifacts[name])})
        elif not name:
            self.reply(200, {})
        elif self.command == "PUT":
            fake.artifacts[name] = body
            self.reply(200, {})
        elif self.command == "DELETE":
            fake.artifacts.pop(name, None)
            self.reply(200, {})
        else:
            content = fake.artifacts[name]
            self.reply(200, b"x" + content[1:-1] if fake.corrupt else content, "application/octet-stream")

    def tracking(self, call: str, sent: dict[str, Any]) -> None:
        """Answer a request of the tracking API."""
        fake, missing = self.server, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such experiment"}
        if call == "experiments/search":
            self.reply(200, {"experiments": list(fake.experiments.values())})
        elif call == "experiments/get":
            kept = fake.experiments.get(sent["experiment_id"])
            self.reply(200, {"experiment": kept}) if kept else self.reply(404, missing)
        elif call == "experiments/get-by-name":
            found = [one for one in fake.experiments.values() if one["name"] == sent["experiment_name"]]
            self.reply(200, {"experiment": found[0]}) if found else self.reply(404, missing)
        elif call == "experiments/create":
            number = str(len(fake.experiments) + 1)
            fake.experiments[number] = {"experiment_id": number, "name": sent["name"], "lifecycle_stage": "active"}
            self.reply(200, {"experiment_id": number})
        elif call in ("experiments/delete", "experiments/restore"):
            stage = "deleted" if call.endswith("delete") else "active"
            fake.experiments[sent["experiment_id"]]["lifecycle_stage"] = stage
            for run in fake.runs.values():
                run["info"]["lifecycle_stage"] = stage
            self.reply(200, {})
        elif call == "runs/search":
            wanted = [run for run in fake.runs.values() if run["info"].get("experiment_id") in (None, *sent["experiment_ids"])]
            few = wanted[: int(sent.get("max_results", 1000))]
            self.reply(200, {"runs": few, **({"next_page_token": "more"} if len(few) < len(wanted) else {})})
        elif call == "runs/create":
            key = f"run{len(fake.runs) + 1}"
            uri = f"{fake.artifact_root}{sent['experiment_id']}/{key}/artifacts"
            info = {"run_id": key, "experiment_id": sent["experiment_id"], "artifact_uri": uri, "lifecycle_stage": "active"}
            fake.runs[key] = {"info": info, "data": {"params": [], "metrics": [], "tags": []}}
            self.reply(200, {"run": fake.runs[key]})
        elif call == "runs/log-batch":
            fake.runs[sent["run_id"]]["data"] = {kind: sent[kind] for kind in ("params", "metrics", "tags")}
            self.reply(200, {})
        elif call == "runs/update":
            fake.runs[sent["run_id"]]["info"]["status"] = sent["status"]
            self.reply(200, {})
        elif call in ("runs/get", "runs/create") and fake.late:
            fake.late -= 1
            self.reply(404, missing)
        elif call == "runs/get" and sent["run_id"] not in fake.runs:
            self.reply(404, missing)
        elif call == "runs/get":
            run = json.loads(json.dumps(fake.runs[sent["run_id"]]))
            if fake.wrong_param:
                run["data"]["params"][0]["value"] = "no"
            self.reply(200, {"run": run})
        else:
            self.reply(404, {"error_code": "ENDPOINT_NOT_FOUND", "message": call})


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[ThreadingHTTPServer]:
    """Serve in a thread until the block ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        stopped = getattr(server, "stopped", None)
        if stopped:
            stopped.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


class FakeS3(ThreadingHTTPServer):
    """Serves the artifacts of a fake tracking server by path, or refuses with an S3 error code."""

    daemon_threads = True

    def __init__(self, tracking: FakeTracking, error: str = "") -> None:
        super().__init__(("127.0.0.1", 0), S3Handler)
        self.tracking, self.error = tracking, error
        self.origin = f"http://127.0.0.1:{self.server_address[1]}"
        self.ranges: list[str] = []


class S3Handler(BaseHTTPRequestHandler):
    """Answers GET of an object."""

    server: FakeS3

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Send the object, or the error with the signature in its body as S3 does."""
        self.server.ranges.append(self.headers.get("Range", ""))
        if self.server.error:
            content = f"<Error><Code>{self.server.error}</Code><StringToSign>very-secret</StringToSign></Error>".encode()
            self.send_response(403)
        else:
            content = self.server.tracking.artifacts[urlsplit(self.path).path.partition("/bucket/")[2]]
            self.send_response(206)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
