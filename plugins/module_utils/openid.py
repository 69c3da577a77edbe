# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to an OpenID provider, and to a tracking server that redirects people to it. They need no person's password."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Union
from urllib.parse import parse_qs, quote_plus, urlencode, urlsplit

from ansible_collections.atlas.mlflow.plugins.module_utils.faults import fault
from ansible_collections.atlas.mlflow.plugins.module_utils.findings import Finding
from ansible_collections.atlas.mlflow.plugins.module_utils.judge_answers import name_fault
from ansible_collections.atlas.mlflow.plugins.module_utils.names import canonical_host
from ansible_collections.atlas.mlflow.plugins.module_utils.web import Answer, Base, NoAnswer, ask, proxy_of

ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
CHALLENGE = "S256"  # the plugin's method to bind a code to a login
NO_CODE = "atlas-mlflow-probe"  # a code that no provider has issued
VERIFIER = "atlas-mlflow-probe-of-a-code-that-was-never-given-out"  # as long as RFC 7636 requires

Response = Union[Answer, NoAnswer]


@dataclass(frozen=True)
class Way:
    """The way of a tracking server to its provider: the limit of a request in seconds, and the variables by which the server finds a proxy."""

    timeout: float
    environment: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Client:
    """A tracking server as a client of its provider."""

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str = ""


def attempt(method: str, url: str, way: Way, form: dict[str, str] | None = None, client: Client | None = None) -> Response:
    """Send one request to a URL, trusting the authorities of this machine, and return the answer or the failure."""
    parts = urlsplit(url)
    headers = {"Accept": "application/json" if form else "application/json, text/html"}
    if client:  # RFC 6749: each part is encoded like a part of a form
        pair = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    if form:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    base = Base.parse(url)
    body = urlencode(form).encode() if form else None
    try:
        return ask(base, method, target, headers=headers, body=body, timeout=way.timeout, proxy=proxy_of(way.environment, base))
    except NoAnswer as failure:
        return failure


def discover(url: str, way: Way) -> tuple[dict[str, Any], list[Finding]]:
    """Return the provider's discovery document, and what is wrong with it."""
    answer = attempt("GET", url, way)
    described = answer.json() if isinstance(answer, Answer) and answer.status == 200 else {}
    missing = [name for name in ENDPOINTS if not described.get(name)]
    if missing:
        seen = f"{answer.seen} without {', '.join(missing)}" if isinstance(answer, Answer) and answer.status == 200 else answer.seen
        if isinstance(answer, NoAnswer) and answer.kind == "tls":
            found = fault("provider-untrusted")
        elif isinstance(answer, NoAnswer):
            found = fault(answer.fault).noting("It is not enough that browsers reach it: the tracking server has to reach the provider too.")
        else:
            found = fault("provider-not-there")
        return {}, [Finding("provider", f"its endpoints from {url}", seen, found)]
    methods = described.get("code_challenge_methods_supported")
    if methods and CHALLENGE not in methods:
        return described, [Finding("provider", f"the code challenge {CHALLENGE}", ", ".join(map(str, methods)), fault("provider-without-challenge"))]
    return described, []


def check_client(endpoint: str, client: Client, way: Way) -> list[Finding]:
    """Check whether the provider knows a client's secret, with a code that the provider must refuse."""
    form = {"grant_type": "authorization_code", "code": NO_CODE, "redirect_uri": client.redirect_uri, "code_verifier": VERIFIER}
    answer = attempt("POST", endpoint, way, form, client)
    said = answer.json() if isinstance(answer, Answer) else {}
    error = str(said.get("error", ""))
    if isinstance(answer, Answer) and 400 <= answer.status < 500 and answer.status != 401 and error not in ("", "invalid_client", "unauthorized_client"):
        return []  # the provider accepted the client, and refused the code
    if isinstance(answer, NoAnswer):
        found = fault(answer.fault)
    elif error == "unauthorized_client":
        found = fault("provider-refuses-flow")
    else:
        found = fault("provider-refuses-client" if error == "invalid_client" or answer.status == 401 else "provider-broken")
    seen = f"{answer.status} {error}".strip() if isinstance(answer, Answer) else answer.seen
    return [Finding("client secret", f"{endpoint} to let the client {client.client_id} in", seen, found)]


def check_login(base: Base, tls: ssl.SSLContext | None, described: dict[str, Any], client: Client, way: Way) -> list[Finding]:
    """Check that the tracking server redirects a browser to its provider, and that the provider accepts the request."""
    host = canonical_host(urlsplit(client.redirect_uri).netloc)
    expected = f"a redirect to {described['authorization_endpoint']} as {client.client_id}, and back to {client.redirect_uri}"
    try:
        answer: Response = ask(base, "GET", base.path + "/login", host=host, headers={"Accept": "text/html"}, timeout=way.timeout, tls=tls)
    except NoAnswer as failure:
        answer = failure
    if isinstance(answer, NoAnswer):
        return [Finding("login", expected, answer.seen, fault(answer.fault))]
    target = answer.headers.get("location", "") if 300 <= answer.status < 400 else ""
    sent = {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
    there = target.split("?", 1)[0]
    seen = f"{answer.seen} {there} as {sent.get('client_id', 'nobody')}, and back to {sent.get('redirect_uri', 'nowhere')}" if there else answer.seen
    # The endpoint may have a query of its own, to which the server adds what it asks for.
    endpoint, _sign, own = str(described["authorization_endpoint"]).partition("?")
    kept = all(sent.get(name) == values[0] for name, values in parse_qs(own).items())
    if not kept or (there, sent.get("client_id"), sent.get("redirect_uri")) != (endpoint, client.client_id, client.redirect_uri):
        found = name_fault([host]) if answer.status == 403 else fault("provider-unknown-to-server")
        return [Finding("login", expected, seen, found)]
    taken = attempt("GET", target, way)
    if isinstance(taken, NoAnswer):
        return [Finding("login", "the provider to show its login page", taken.seen, fault(taken.fault))]
    back = taken.headers.get("location", "") if 300 <= taken.status < 400 else ""
    error = parse_qs(urlsplit(back).query).get("error", [""])[0] if back.startswith(client.redirect_uri) else ""
    if taken.status >= 400 or error:
        if error == "invalid_scope":
            found = fault("provider-refuses-scope", scopes=sent.get("scope", ""))
        elif error in ("unauthorized_client", "unsupported_response_type"):
            found = fault("provider-refuses-flow")
        else:
            found = fault("client-not-registered", client=client.client_id, redirect=client.redirect_uri)
        return [Finding("login", "the provider to show its login page", f"{taken.seen} {error}".strip(), found)]
    return []
