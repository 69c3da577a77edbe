"""A server accepts the names that real clients send, and the probe sends the same."""

from __future__ import annotations

import fnmatch
from urllib.parse import urlsplit

import idna
import pytest
import requests
from ansible_collections.atlas.mlflow.plugins.filter.names import (
    allowed_hosts,
    allowed_origins,
    host_names,
    listed_hosts,
)
from ansible_collections.atlas.mlflow.plugins.module_utils.names import canonical_origin
from ansible_collections.atlas.mlflow.plugins.module_utils.web import Base
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.names import invalid_names, invalid_origins

#: Names as people write them into an inventory, and as their clients send them.
TYPED = {
    "mlflow.example.com": "mlflow.example.com",
    "MLflow01.Corp.example": "mlflow01.corp.example",
    "MLFLOW": "mlflow",
    "mlflow.example.com.": "mlflow.example.com",
    "mÜlle.example": "xn--mlle-0ra.example",
    "straße.Example": "xn--strae-oqa.example",
    "ΒΌΛΟΣ.com": "xn--nxasmq6b.com",
    "日本語。jp": "xn--wgv71a119e.jp",
    "ＭＬ.example": "ml.example",
    "10.0.0.7": "10.0.0.7",
    "FD00::0:1": "[fd00::1]",
}


def accepted(hosts: list[str], host: str) -> bool:
    """Say whether MLflow answers to a Host header: it compares to the letter, or to a pattern."""
    return any(fnmatch.fnmatchcase(host, allowed) if "*" in allowed else host == allowed for allowed in hosts)


def sent_by_requests(name: str, port: str) -> str:
    """Return the Host header that requests sends for a URL with this name."""
    host = f"[{name}]" if name.count(":") > 1 else name
    url = str(requests.Request("GET", f"http://{host}{port}/").prepare().url)
    return urlsplit(url).netloc.replace(".:", ":").rstrip(".")  # urllib3 sends no final dot


@pytest.mark.parametrize("name", TYPED)
@pytest.mark.parametrize("port", ["", ":5001"])
def test_the_server_accepts_what_a_client_sends_and_the_probe_sends_it(name: str, port: str) -> None:
    sent = TYPED[name] + port
    if name.isascii() and ":" not in name or name in ("mÜlle.example", "straße.Example"):
        assert sent_by_requests(name, port) == sent
    if not name.isascii():  # as browsers do
        assert idna.encode(name, uts46=True).decode() + port == sent
    assert accepted(allowed_hosts([name], ["", ":5001"]), sent)
    assert Base.parse(f"http://127.0.0.1{port}").host_header(name) == sent


def test_a_client_that_keeps_capitals_is_accepted_too() -> None:
    assert allowed_hosts(["MLflow01.Corp.example", "", "mlflow"], ["", ":5001"]) == [
        "mlflow01.corp.example",
        "mlflow01.corp.example:5001",
        "MLflow01.Corp.example",
        "MLflow01.Corp.example:5001",
        "mlflow",
        "mlflow:5001",
    ]


def test_a_list_of_ones_own_is_accepted_in_the_form_that_clients_send() -> None:
    hosts = listed_hosts(["MLflow.Example.com:5001", "*.Corp.example:*", "[FD00::0:1]:5001", "*"])
    assert hosts[:2] == ["mlflow.example.com:5001", "MLflow.Example.com:5001"]
    for sent in ("mlflow.example.com:5001", "a.corp.example:80", "[fd00::1]:5001"):
        assert accepted([host for host in hosts if host != "*"], sent)
    assert "*" in hosts


@pytest.mark.parametrize("name", TYPED)
def test_the_servers_own_page_has_the_origin_that_a_browser_sends(name: str) -> None:
    origins = allowed_origins([name], ["http://:5001", "https://", "https://:443"])
    assert origins == [f"http://{TYPED[name]}:5001", f"https://{TYPED[name]}"]


def test_origins_of_other_pages_are_written_as_a_browser_sends_them() -> None:
    more = ["HTTPS://Notebooks.Example.com:443/", "http://*.Lab.example:*", "null", "https://bücher.example:8443"]
    assert allowed_origins([], [], more) == [
        "https://notebooks.example.com",
        "http://*.lab.example:*",
        "null",
        "https://xn--bcher-kva.example:8443",
    ]
    assert canonical_origin("*") == "*"


def test_what_is_no_origin_is_found() -> None:
    assert invalid_origins(["https://a.example", "http://localhost:*", "*", "null", "https://[::1]:80"]) == []
    bad = ["a.example", "https://a.example/app", "https://", "https://user@a.example"]
    assert invalid_origins(bad) == bad


def test_what_is_no_name_is_found() -> None:
    assert invalid_names([*TYPED, "*.corp.example", "mlflow_1", "[::1]"]) == []
    bad = ["http://mlflow.example.com", "mlflow:5001", "a b", "a,b", "a/b", "", "a..b", "x" * 64]
    assert invalid_names(bad) == bad


def test_names_are_given_once() -> None:
    assert host_names(["MLflow", "mlflow", "", "MLFLOW.", "10.0.0.7"]) == ["mlflow", "10.0.0.7"]
