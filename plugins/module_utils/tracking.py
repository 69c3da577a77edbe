# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to a tracking server that change nothing: does it answer, by which names, in which artifact mode.

The health path alone proves nothing: it is exempt from the check of the Host header, and never asks the database.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Callable, Optional, Union
from urllib.parse import quote, urlencode, urlsplit

from ansible_collections.atlas.mlflow.plugins.module_utils.findings import Finding
from ansible_collections.atlas.mlflow.plugins.module_utils.web import Answer, Base, NoAnswer, ask

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts"
SEARCH = (f"{API}/experiments/search", {"max_results": 1})  # the least that asks the database: a path and its query
# MLflow's Python client reads the first, its page the second.
SERVER_INFO = {"client": "/api/3.0/mlflow/server-info", "page": "/ajax-api/3.0/mlflow/server-info"}
INVALID_HOST = "Invalid Host header"
NOT_SERVED = "--no-serve-artifacts"
APP_ROOT = re.compile(r"""<title>MLflow</title>.*<div id=["']root["']""", re.DOTALL)
HOST_CHECK_SINCE = (3, 5)  # the first release that looks at the Host header
PUBLIC_LOGIN = ("admin", "password1234")  # what releases up to 3.16.0 make, where nothing else is set
GATEWAY_STATUS = (502, 503, 504)
RETRY_EVERY = 0.25  # seconds between attempts while waiting for the first answer

Response = Union[Answer, NoAnswer]


@dataclass(frozen=True)
class TrackingServer:
    """A tracking server as one client sees it: its base, the name it is called by, and the limit for a request in seconds."""

    base: Base
    host: str
    timeout: float = 10
    credentials: Optional[tuple[str, str]] = None
    tls: Optional[ssl.SSLContext] = None

    def called(self, host: str) -> TrackingServer:
        """Return the same server, called by another Host header."""
        return replace(self, host=host)

    def elsewhere(self, netloc: str) -> TrackingServer:
        """Return the server that C(mlflow-artifacts://netloc/) means, seen from a client of this one."""
        base = Base.parse(f"{self.base.scheme}://{netloc}{self.base.path}")
        return replace(self, base=base, host=base.host_header(base.host))

    def ask(
        self,
        method: str,
        path: str,
        query: Optional[Mapping[str, Any]] = None,
        body: Optional[bytes] = None,
        headers: Optional[Mapping[str, str]] = None,
        timeout: Optional[float] = None,
    ) -> Answer:
        """Send one request below the base's path; raises NoAnswer."""
        sent = dict(headers or {})
        if self.credentials:
            sent["Authorization"] = "Basic " + base64.b64encode(":".join(self.credentials).encode()).decode()
        target = self.base.path + quote(path, safe="/") + ("?" + urlencode(query) if query else "")
        return ask(self.base, method, target, host=self.host, headers=sent, body=body, timeout=timeout or self.timeout, tls=self.tls)

    def post(self, path: str, content: Mapping[str, Any]) -> Answer:
        """Post JSON to the tracking API."""
        return self.ask("POST", API + path, body=json.dumps(content).encode(), headers={"Content-Type": "application/json"})

    def attempt(self, method: str, path: str, query: Optional[Mapping[str, Any]] = None, timeout: Optional[float] = None) -> Response:
        """Send one request and return its answer or its failure."""
        try:
            return self.ask(method, path, query, timeout=timeout)
        except NoAnswer as failure:
            return failure

    def cause(self, response: Response) -> str:
        """Return the likely cause of a response that is not the expected one."""
        if isinstance(response, NoAnswer):
            return response.cause
        status = response.status
        if status == 403 and INVALID_HOST in response.text:
            bare = self.host.rpartition(":")[0] or self.host
            return (
                f"'{self.host}' is not among the server's allowed hosts, where a name counts with its port: "
                f"add '{bare}' and '{bare}:*' to mlflow_server_allowed_hosts"
            )
        if status == 401 and self.credentials:
            return f"the server refuses the login of {self.credentials[0]}: its password is another, or there is no such user"
        if status == 401:
            return "the server asks for a login: set username and password to those of a user"
        if status == 403:
            return "a proxy in front of the server refuses the request, or the user may not do this"
        if 300 <= status < 400:
            target = urlsplit(response.headers.get("location", ""))
            return f"a proxy sends clients on to {target.scheme}://{target.netloc}{target.path}: set url to where the server really answers"
        if status == 404:
            return "the URL lacks the server's static prefix, or another program answers on this port"
        if status >= 500:
            health = self.attempt("GET", "/health")
            if isinstance(health, Answer) and health.status == 200:
                return (
                    "the server runs (its /health says 200, and never asks a store), but its backend store does not answer: "
                    "is the database up, reachable and migrated"
                )
            return "a proxy answers, but no working server stands behind it" if status in GATEWAY_STATUS else "the server itself is broken: see its log"
        return "another program answers on this port, or a proxy changes the answer"


def wait_for_answer(server: TrackingServer, wait: float, gone: Callable[[], bool] = lambda: False) -> Optional[Finding]:
    """Wait until the server answers at all, at most C(wait) seconds; C(gone) tells that waiting has no point any more."""
    end = time.monotonic() + wait
    while True:
        left = end - time.monotonic()
        response = server.attempt("GET", "/health", timeout=min(server.timeout, max(left, 1)) if wait else None)
        if isinstance(response, Answer) and response.status not in GATEWAY_STATUS:
            return None
        if time.monotonic() + RETRY_EVERY >= end or gone():
            break
        time.sleep(RETRY_EVERY)
    within = f" within {wait:g} seconds" if wait else ""
    return Finding("answer", f"an answer from {server.base.origin}{within}", response.seen, server.cause(response))


def webhooks_warning(server: TrackingServer) -> str:
    """Return a warning if MLflow cannot decrypt the secret of a webhook; empty if it can, or has no webhooks."""
    answer = server.attempt("GET", f"{API}/webhooks")
    if not isinstance(answer, Answer) or answer.status != 500:
        return ""
    return (
        "MLflow answers 500 to the question for its webhooks. Most likely one of them has a secret that was encrypted by a key which this server does not "
        "have, as after a restore without the keys from then. The log of the service names the webhook. Add that key to "
        "mlflow_server_former_webhook_keys, or remove the webhook from the database as the log says."
    )


def check_names(server: TrackingServer, hosts: Mapping[str, str]) -> tuple[list[dict[str, Any]], list[Finding]]:
    """Ask the API and the page by each name, given with its Host header, and return the facts per name and the findings."""
    facts: list[dict[str, Any]] = []
    findings: list[Finding] = []
    questions: tuple[tuple[str, str, str, dict[str, int], Callable[[Answer], bool]], ...] = (
        ("api", "200 and JSON", *SEARCH, lambda answer: answer.body.lstrip().startswith(b"{")),
        ("page", "200 and MLflow's page", "/", {}, lambda answer: bool(APP_ROOT.search(answer.text))),
    )
    hopeless = False
    for name, host in hosts.items():
        fact: dict[str, Any] = {"name": name, "host": host, "api": None, "page": None, "answers": False}
        facts.append(fact)
        good = 0
        for what, expected, path, query, right in questions:
            if hopeless:  # the address is the same for all names: ask it no more
                continue
            named = server.called(host)
            response = named.attempt("GET", path, query)
            hopeless = isinstance(response, NoAnswer) and response.hopeless
            if isinstance(response, Answer):
                fact[what] = response.status
                if response.status == 200 and right(response):
                    good += 1
                    continue
            findings.append(Finding(f"{what} as {host}", expected, strange(response), page_cause(named, response)))
        fact["answers"] = good == len(questions)
    return facts, findings


def strange(response: Response) -> str:
    """Return what was seen, and of a page at least its title."""
    title = re.search(r"<title>(.*?)</title>", response.text, re.DOTALL) if isinstance(response, Answer) else None
    return response.seen + (f" with the title '{' '.join(title.group(1).split())[:60]}'" if title else "")


def page_cause(server: TrackingServer, response: Response) -> str:
    """Return the likely cause, also of MLflow's answer without its page's files."""
    if isinstance(response, Answer) and "landing page (index.html) not found" in response.text:
        return "this MLflow was built without its page: install a released package, not a checkout"
    if isinstance(response, Answer) and response.status == 500:
        return "the server itself is broken: see its log"
    return server.cause(response)


def check_foreign_host(server: TrackingServer, name: str, version: str) -> list[Finding]:
    """Check that a request by a name that is not the server's gets the 403 that protects against DNS rebinding."""
    host = server.base.host_header(name)
    response = server.called(host).attempt("GET", *SEARCH)
    if isinstance(response, Answer) and response.status == 403:
        return []
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers and tuple(map(int, numbers.groups())) < HOST_CHECK_SINCE:
        cause = f"release {version} has no check of the Host header, 3.5 and later have: upgrade, or set foreign_host_refused to false"
    elif isinstance(response, Answer) and response.status < 300:
        cause = "mlflow_server_allowed_hosts holds a wildcard that matches any name, the check is switched off, or a proxy rewrites the Host header"
    else:
        cause = server.cause(response)
    return [Finding(f"foreign host {host}", "403", response.seen, cause)]


def check_login(server: TrackingServer) -> list[Finding]:
    """Check that a server with users answers nobody who does not log in, and not by the login that old releases came with."""
    findings: list[Finding] = []
    questions: tuple[tuple[str, Optional[tuple[str, str]], str, dict[str, int]], ...] = (
        ("the API without a login", None, *SEARCH),
        ("the page without a login", None, "/", {}),
        ("the API by MLflow's old default login", PUBLIC_LOGIN, *SEARCH),
    )
    for what, credentials, path, query in questions:
        response = replace(server, credentials=credentials).attempt("GET", path, query)
        if isinstance(response, Answer) and response.status == 401:
            continue
        cause = server.cause(response)
        if isinstance(response, Answer) and response.status < 300:
            cause = (
                "the administrator has the password that old releases of MLflow came with, and everybody knows: change it"
                if credentials
                else "the server runs without --app-name, or something in front of it logs in for its clients: everybody who reaches it may use it"
            )
        findings.append(Finding(what, "401", strange(response), cause))
    return findings


def server_facts(server: TrackingServer, probe_path: str) -> tuple[dict[str, Any], list[Finding]]:
    """Return the server's version and how it treats artifacts; a finding where its artifact store does not answer.

    Releases that have no server-info answer 404 there, and advertise nothing.
    """
    version = server.attempt("GET", "/version")
    facts: dict[str, Any] = {"version": version.text.strip() if isinstance(version, Answer) and version.status == 200 else ""}
    for reader, path in SERVER_INFO.items():
        info = server.attempt("GET", path)
        content = info.json() if isinstance(info, Answer) and info.status == 200 else {}
        facts[f"presigned_for_{reader}"] = bool(content.get("multipart_downloads_enabled"))
        facts.setdefault("store_type", content.get("store_type"))
    listed = server.attempt("GET", ARTIFACTS + "/artifacts", {"path": probe_path})
    facts["serves_artifacts"] = isinstance(listed, Answer) and listed.status == 200
    findings = [] if facts["serves_artifacts"] else [Finding("artifact store", "a listing through the server", listed.seen, artifact_cause(server, listed))]
    return facts, findings


def artifact_cause(server: TrackingServer, response: Response) -> str:
    """Return the likely cause of an artifact request through the server that failed."""
    if isinstance(response, Answer):
        if NOT_SERVED in response.text:
            return "the server runs with --no-serve-artifacts: clients would need the artifact store's own address and keys"
        if response.status >= 500:
            return (
                "the server can't use its artifact store: the S3 endpoint (MLFLOW_S3_ENDPOINT_URL) is down or not reachable from "
                "the server, its keys or bucket are wrong, or the disk is full or not writable"
            )
    elif response.kind == "timeout" and response.connected:
        return "the server waits for its artifact store: is the S3 endpoint (MLFLOW_S3_ENDPOINT_URL) up and reachable from the server"
    return server.cause(response)


def check_artifact_mode(facts: Mapping[str, Any], mode: str) -> list[Finding]:
    """Compare what the server advertises to clients with the artifact mode that it should have."""
    told = [reader for reader in SERVER_INFO if facts[f"presigned_for_{reader}"]]
    if mode == "proxied" and told:
        readers = " and the ".join(told)
        return [
            Finding(
                "artifact mode",
                "proxied: multipart_downloads_enabled is not advertised",
                f"it is advertised to the {readers}",
                "MLflow advertises it by itself for an S3 destination, and clients then fetch artifacts from the S3 endpoint as the "
                "server knows it: answer server-info without it, or make the endpoint one that clients reach and choose the mode direct",
            )
        ]
    if mode == "direct" and "client" not in told:
        return [
            Finding(
                "artifact mode",
                "direct: multipart_downloads_enabled is advertised",
                "it is not",
                "the release is too old for it, the artifact destination is no S3 bucket, or something in front of the server answers server-info",
            )
        ]
    return []
