"""The module from its arguments to its result, against a provider and a tracking server with faults to switch on."""

from __future__ import annotations

import base64
import io
import json
import select
import socket
import ssl
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from ansible.module_utils import basic
from ansible_collections.atlas.mlflow.plugins.module_utils.web import Base, Proxy, proxy_of
from ansible_collections.atlas.mlflow.plugins.modules import oidc_probe
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fake_tracking import serving

SECRET = "canary secret:with+signs"
REDIRECT = "https://MLflow.example.org/callback"  # people's browsers send the name in lower case


class Fake(ThreadingHTTPServer):
    """A provider, and below /mlflow a tracking server that sends people to it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.secret = SECRET
        self.described: dict[str, Any] = {
            "issuer": self.url,
            "authorization_endpoint": self.url + "/authorize",
            "token_endpoint": self.url + "/token",
            "jwks_uri": self.url + "/keys",
            "code_challenge_methods_supported": ["plain", "S256"],
        }
        self.token_answer: tuple[int, dict[str, Any]] = (400, {"error": "invalid_grant"})
        self.login_answer = 302
        self.client_id = "mlflow"  # of the tracking server
        self.sent_to = "/authorize"
        self.registered = [REDIRECT]
        self.refuses_by_redirect = ""


class Handler(BaseHTTPRequestHandler):
    """Answers one request from the server's state."""

    server: Fake

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""

    def reply(self, status: int, content: Any = None, location: str = "") -> None:
        """Send an answer."""
        body = json.dumps(content).encode()
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        """Answer discovery, the tracking server's login, and the login page."""
        fake, url = self.server, urlsplit(self.path)
        if url.path == "/.well-known/openid-configuration":
            self.reply(200, fake.described)
        elif url.path == "/mlflow/login" and self.headers["Host"] != "mlflow.example.org":
            self.reply(403, "Invalid Host header")
        elif url.path == "/mlflow/login":
            query = urlencode({"client_id": fake.client_id, "redirect_uri": REDIRECT, "scope": "openid groups", "state": "x"})
            self.reply(fake.login_answer, location=f"{fake.url}{fake.sent_to}{'&' if '?' in fake.sent_to else '?'}{query}" if fake.login_answer == 302 else "")
        elif url.path == "/authorize":
            known = parse_qs(url.query)["redirect_uri"][0] in fake.registered
            if fake.refuses_by_redirect:
                self.reply(302, location=f"{REDIRECT}?error={fake.refuses_by_redirect}&state=x")
            else:
                self.reply(200 if known else 400)
        else:
            self.reply(404, "nothing here")

    def do_POST(self) -> None:
        """Judge a client's secret, then its code."""
        self.rfile.read(int(self.headers["Content-Length"]))
        sent = base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
        known = sent == "mlflow:" + urlencode({"": self.server.secret})[1:]
        self.reply(*self.server.token_answer) if known else self.reply(401, {"error": "invalid_client"})


@pytest.fixture(name="fake")
def fixture_fake() -> Iterator[Fake]:
    with serving(Fake()) as server:
        assert isinstance(server, Fake)
        yield server


def probe(fake: Fake, **options: Any) -> dict[str, Any]:
    """Run the module and return its result, in which the secret never is."""
    given = {
        "discovery_url": fake.url + "/.well-known/openid-configuration",
        "client_id": "mlflow",
        "client_secret": SECRET,
        "redirect_uri": REDIRECT,
        "url": fake.url + "/mlflow",
        "timeout": 5,
        **options,
    }
    printed = io.StringIO()
    handed_over = {"_ANSIBLE_ARGS": json.dumps({"ANSIBLE_MODULE_ARGS": given}).encode(), "_ANSIBLE_PROFILE": "legacy"}
    with mock.patch.multiple(basic, create=True, **handed_over), redirect_stdout(printed), pytest.raises(SystemExit):
        oidc_probe.main()
    result: dict[str, Any] = json.loads(printed.getvalue())
    result.pop("invocation", None)  # ansible-core before 2.21 repeats the options here
    assert "canary" not in json.dumps(result)
    return result


def only(result: dict[str, Any]) -> tuple[str, str, str]:
    """Return check, what was seen and fault of a failed probe's one finding."""
    assert result["failed"] is True and result["changed"] is False
    assert len(result["findings"]) == 1, result["msg"]
    finding = result["findings"][0]
    assert result["msg"] == "{check}: expected {expected}, saw {seen}; likely cause: {cause} Fix: {fix} [{fault}]".format(**finding)
    return finding["check"], finding["seen"], finding["fault"]


def test_two_that_know_one_another_give_no_finding(fake: Fake) -> None:
    assert probe(fake) == {"changed": False, "findings": [], "provider": fake.url}


def test_a_wrong_secret_is_named(fake: Fake) -> None:
    fake.secret = "another"
    result = probe(fake)
    assert only(result) == ("client secret", "401 invalid_client", "provider-refuses-client")
    assert "mlflow_server_oidc_client_secret is not what the provider has" in result["msg"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((400, {"error": "unauthorized_client"}), "provider-refuses-flow"),
        ((400, {"error": "invalid_client"}), "provider-refuses-client"),
        ((500, {}), "provider-broken"),
        ((200, {"access_token": "for nothing"}), "provider-broken"),
        ((404, "no such page"), "provider-broken"),
    ],
)
def test_a_token_endpoint_that_does_not_let_the_client_in_is_named(fake: Fake, answer: tuple[int, Any], said: str) -> None:
    fake.token_answer = answer
    check, _seen, fault = only(probe(fake))
    assert (check, fault) == ("client secret", said)


@pytest.mark.parametrize("answer", [(400, {"error": "invalid_grant"}), (403, {"error": "access_denied"}), (400, {"error": "invalid_request"})])
def test_a_refused_code_is_what_is_wanted(fake: Fake, answer: tuple[int, Any]) -> None:
    fake.token_answer = answer
    assert probe(fake)["findings"] == []


def test_a_provider_that_is_not_there_is_named(fake: Fake) -> None:
    result = probe(fake, discovery_url="http://127.0.0.1:1/.well-known/openid-configuration")
    check, seen, fault = only(result)
    assert check == "provider" and "refused" in seen and fault == "connection-refused"
    assert "the tracking server has to reach the provider too" in result["msg"]


def test_another_page_than_the_discovery_document_is_named(fake: Fake) -> None:
    check, seen, fault = only(probe(fake, discovery_url=fake.url + "/elsewhere"))
    assert (check, seen[:3]) == ("provider", "404") and fault == "provider-not-there"


def test_a_discovery_document_without_endpoints_is_named(fake: Fake) -> None:
    del fake.described["token_endpoint"]
    _check, seen, _fault = only(probe(fake))
    assert "without token_endpoint" in seen


def test_a_provider_without_the_code_challenge_is_named(fake: Fake) -> None:
    fake.described["code_challenge_methods_supported"] = ["plain"]
    check, seen, fault = only(probe(fake))
    assert (check, seen) == ("provider", "plain") and fault == "provider-without-challenge"


def test_a_server_that_runs_with_another_client_is_named(fake: Fake) -> None:
    fake.client_id = "other"
    check, seen, fault = only(probe(fake))
    assert check == "login" and "as other" in seen and fault == "provider-unknown-to-server"


def test_a_server_that_sends_people_elsewhere_is_named(fake: Fake) -> None:
    fake.sent_to = "/other"
    check, seen, _fault = only(probe(fake))
    assert check == "login" and f"{fake.url}/other as mlflow" in seen


@pytest.mark.parametrize(
    ("sent_to", "told"), [("/authorize?p=sign-in", ""), ("/authorize?p=other", "login"), ("/authorize", "login"), ("/other?p=sign-in", "login")]
)
def test_an_endpoint_may_have_a_query_of_its_own(fake: Fake, sent_to: str, told: str) -> None:
    """As that of Azure AD B2C, whose query names the policy."""
    fake.described["authorization_endpoint"] += "?p=sign-in"
    fake.sent_to = sent_to
    result = probe(fake)
    assert [finding["check"] for finding in result["findings"]] == ([told] if told else [])


def test_a_server_that_does_not_know_its_provider_is_named(fake: Fake) -> None:
    fake.login_answer = 500
    check, seen, fault = only(probe(fake))
    assert (check, seen[:3]) == ("login", "500") and fault == "provider-unknown-to-server"


def test_a_name_that_the_server_does_not_answer_to_is_named(fake: Fake) -> None:
    check, seen, fault = only(probe(fake, redirect_uri="https://foreign.example.org/callback"))
    assert (check, seen[:3]) == ("login", "403") and fault == "host-header-refused"


def test_a_place_that_the_provider_sends_nobody_back_to_is_named(fake: Fake) -> None:
    fake.registered = []
    check, seen, fault = only(probe(fake))
    assert (check, seen[:3]) == ("login", "400") and fault == "client-not-registered"


@pytest.mark.parametrize(
    ("error", "named"),
    [
        ("unauthorized_client", "provider-refuses-flow"),
        ("unsupported_response_type", "provider-refuses-flow"),
        # Keycloak has no scope for groups of its own accord.
        ("invalid_scope", "provider-refuses-scope"),
        ("invalid_request", "client-not-registered"),
    ],
)
def test_a_provider_that_sends_the_browser_back_at_once_is_named(fake: Fake, error: str, named: str) -> None:
    fake.refuses_by_redirect = error
    result = probe(fake)
    check, seen, fault = only(result)
    assert check == "login" and error in seen and fault == named
    assert ("openid groups" in str(result)) == (named == "provider-refuses-scope")


def test_an_address_that_is_none_is_said_plainly(fake: Fake) -> None:
    assert "not an http or https URL" in probe(fake, discovery_url="login.example.org")["msg"]


PROVIDER = "login.example.org"  # no name in the network of the tests


class ProxyServer(ThreadingHTTPServer):
    """Connects its clients with one port of this machine, whatever they ask for."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), ProxyHandler)
        self.port = port
        self.url = f"http://atlas:p%40ss-canary@127.0.0.1:{self.server_address[1]}"
        self.asked: set[tuple[str, str]] = set()
        self.refuses = False


class ProxyHandler(BaseHTTPRequestHandler):
    """Opens one tunnel."""

    server: ProxyServer

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""

    def do_CONNECT(self) -> None:
        """Pass on what both sides send, until one of them ends."""
        self.server.asked.add((self.path, base64.b64decode(self.headers["Proxy-Authorization"].removeprefix("Basic ")).decode()))
        if self.server.refuses:
            self.send_error(407)
            return
        self.send_response(200)
        self.end_headers()
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.server.port)) as there:
            ways = {self.connection: there, there: self.connection}
            while True:
                for side in select.select(list(ways), [], [], 5)[0]:
                    if not (data := side.recv(65536)):
                        return
                    ways[side].sendall(data)


@pytest.fixture(name="behind")
def fixture_behind(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProxyServer]:
    """A provider with TLS that only a proxy reaches, and a tracking server that sends people there."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, PROVIDER)])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(PROVIDER)]), critical=False)
    pem = tmp_path / "provider.pem"
    pem.write_bytes(builder.sign(key, SHA256()).public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    provider = Fake()
    provider.socket = context.wrap_socket(provider.socket, server_side=True)
    provider.described |= {name: f"https://{PROVIDER}/{place}" for name, place in (("authorization_endpoint", "authorize"), ("token_endpoint", "token"))}
    with serving(provider), serving(ProxyServer(provider.server_address[1])) as proxy:
        fake.url, tracking = f"https://{PROVIDER}", fake.url
        monkeypatch.setattr(fake, "tracking", tracking + "/mlflow", raising=False)
        assert isinstance(proxy, ProxyServer)
        yield proxy


def test_a_provider_that_only_a_proxy_reaches_is_asked_by_it(fake: Fake, behind: ProxyServer) -> None:
    tracking = fake.tracking  # type: ignore[attr-defined]
    result = probe(fake, url=tracking, environment={"HTTPS_PROXY": behind.url, "NO_PROXY": "127.0.0.1"})
    assert result.get("findings") == [], result
    assert behind.asked == {(f"{PROVIDER}:443", "atlas:p@ss-canary")}
    check, seen, _fault = only(probe(fake, url=tracking, environment={"HTTPS_PROXY": behind.url, "NO_PROXY": "example.org"}))
    assert check == "provider" and "does not resolve" in seen


def test_a_proxy_that_refuses_is_told(fake: Fake, behind: ProxyServer) -> None:
    behind.refuses = True
    check, seen, fault = only(probe(fake, url=fake.tracking, environment={"https_proxy": behind.url}))  # type: ignore[attr-defined]
    assert (check, fault) == ("provider", "connection-broken")
    assert f"the proxy answered 407 Proxy Authentication Required ({PROVIDER}:443 through the proxy 127.0.0.1:" in seen


@pytest.mark.parametrize(
    ("environment", "url", "found"),
    [
        ({}, "https://login.example.org", None),
        ({"HTTPS_PROXY": "proxy.example.com:3128"}, "https://login.example.org", ("proxy.example.com", 3128)),
        ({"HTTPS_PROXY": "http://upper", "https_proxy": "http://lower"}, "https://login.example.org", ("lower", 80)),
        ({"ALL_PROXY": "http://all:1"}, "https://login.example.org", ("all", 1)),
        ({"HTTP_PROXY": "http://plain:1"}, "https://login.example.org", None),
        ({"HTTPS_PROXY": "http://proxy:1"}, "http://login.example.org", None),
        ({"HTTPS_PROXY": "http://proxy:1", "no_proxy": ".example.org"}, "https://login.example.org", None),
        ({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "*"}, "https://login.example.org", None),
        ({"HTTPS_PROXY": "socks5://proxy:1"}, "https://login.example.org", None),
    ],
)
def test_the_proxy_is_that_of_the_environment(environment: dict[str, str], url: str, found: tuple[str, int] | None) -> None:
    assert proxy_of(environment, Base.parse(url)) == (found and Proxy(*found))
