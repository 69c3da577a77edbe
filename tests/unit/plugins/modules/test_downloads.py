"""Modules that download by a proxy with a password, which is in no command line, output or journal, and the module that downloads one file."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.atlas.mlflow.plugins.modules import bundle_make, download, podman_image, uv_environment

TEXT = b"the release"
PINNED = hashlib.sha256(TEXT).hexdigest()
#: Ansible itself masks the password of a URL in the journal, and no token.
PROXIES = {"HTTPS_PROXY": "http://ci:canary-one@127.0.0.1:1", "ALL_PROXY": "http://canary-two-is-a-token@127.0.0.1:1", "NO_PROXY": "localhost"}


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what a module does to the environment of its process."""
    monkeypatch.setattr(os, "environ", {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")})


def run(module: Any, **arguments: Any) -> dict[str, Any]:
    """Return the result of a module."""
    said = io.StringIO()
    with patch_module_args(arguments), contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        module.main()
    result: dict[str, Any] = json.loads(said.getvalue())
    return result


@pytest.fixture
def requests() -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """Answer each request on a port with the file, and note its address and the login of the proxy."""
    seen: list[tuple[str, str]] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers.get("Proxy-Authorization", "")))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(TEXT)

        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, seen
    server.shutdown()
    server.server_close()


def test_a_file_is_downloaded_once_by_the_proxy_of_the_option(requests: tuple[int, list[tuple[str, str]]], tmp_path: Path) -> None:
    port, seen = requests
    given = {"url": "http://downloads.example.com/a.tar", "dest": str(tmp_path / "a.tar"), "sha256": PINNED, "mode": "0640"}
    given |= {"download_environment": {"http_proxy": f"http://ci:canary-one@127.0.0.1:{port}"}}
    assert run(download, **given, _ansible_check_mode=True)["changed"] and not seen
    made = run(download, **given)
    assert (made["changed"], (tmp_path / "a.tar").read_bytes(), (tmp_path / "a.tar").stat().st_mode & 0o777) == (True, TEXT, 0o640)
    assert [(place, bool(login)) for place, login in seen] == [("http://downloads.example.com/a.tar", True)]
    assert "canary" not in json.dumps(made) and "127.0.0.1" in made["invocation"]["module_args"]["download_environment"]["http_proxy"]
    assert run(download, **given)["changed"] is False and len(seen) == 1


def test_a_file_that_is_another_one_is_refused_and_leaves_nothing(requests: tuple[int, list[tuple[str, str]]], tmp_path: Path) -> None:
    wrong = run(download, url=f"http://ci:canary-one@127.0.0.1:{requests[0]}/a", dest=str(tmp_path / "a"), sha256="0" * 64)
    assert wrong["failed"] and f"has the sha256 {PINNED}, and {'0' * 64} is pinned" in wrong["msg"] and "canary" not in wrong["msg"]
    assert list(tmp_path.iterdir()) == []


#: Each module, with arguments for which it starts a program that fails.
FAILING: list[tuple[Any, dict[str, Any]]] = [
    (podman_image, {"name": "registry.example.com/python:3.13"}),
    (uv_environment, {"path": "/nowhere/one", "uv_path": "/nowhere/uv", "requirements": "six", "uv_requirements": "uv"}),
    (bundle_make, {"folder": "/nowhere", "locks": ["six"]}),
]


@pytest.mark.parametrize(("module", "arguments"), FAILING, ids=lambda value: getattr(value, "__name__", "").rpartition(".")[2])
def test_a_program_gets_the_proxy_by_its_environment_and_nobody_sees_its_password(
    module: Any, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[tuple[str, dict[str, str]]] = []
    logged: list[str] = []

    def answer(_self: Any, command: list[str], environ_update: dict[str, str] | None = None, **_more: Any) -> tuple[int, str, str]:
        calls.append((str(command), {**os.environ, **(environ_update or {})}))
        return 1, "", f"no answer of {PROXIES['HTTPS_PROXY']} and {PROXIES['ALL_PROXY']}"

    monkeypatch.setattr(basic.AnsibleModule, "run_command", answer)
    monkeypatch.setattr(basic.AnsibleModule, "get_bin_path", lambda *_arguments, **_more: "/usr/bin/python3")
    monkeypatch.setattr(basic.AnsibleModule, "log", lambda _self, text, log_args=None: logged.append(f"{text} {log_args}"))
    monkeypatch.setattr(uv_environment, "alone", lambda _path: contextlib.nullcontext())
    given = {name: str(tmp_path / value.strip("/")) if isinstance(value, str) and value.startswith("/nowhere") else value for name, value in arguments.items()}
    failed = run(module, **given, download_environment=PROXIES)
    assert failed["failed"] and "127.0.0.1:1" in failed["msg"], failed
    assert calls and all({**environment, **PROXIES} == environment and "canary" not in command for command, environment in calls)
    assert logged and "canary" not in json.dumps(failed) + str(logged)
