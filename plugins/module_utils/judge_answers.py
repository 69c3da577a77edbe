# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a tracking server without changing anything, and judge its answers: does it answer, by which names, in which artifact mode.

The health path alone is no proof: MLflow does not check the Host header there, and does not ask the database.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.faults import Fault, fault
from ansible_collections.atlas.mlflow.plugins.module_utils.findings import Finding
from ansible_collections.atlas.mlflow.plugins.module_utils.tracking import API, ARTIFACTS, INVALID_HOST, SEARCH, SERVER_INFO, Response, TrackingServer
from ansible_collections.atlas.mlflow.plugins.module_utils.web import Answer, NoAnswer

NOT_SERVED = "--no-serve-artifacts"
APP_ROOT = re.compile(r"""<title>MLflow</title>.*<div id=["']root["']""", re.DOTALL)
HOST_CHECK_SINCE = (3, 5)  # the first release that checks the Host header
PUBLIC_LOGIN = ("admin", "password1234")  # the default login of releases up to 3.16.0
GATEWAY_STATUS = (502, 503, 504)
RETRY_EVERY = 0.25  # seconds between attempts during the wait for the first answer


# -- faults of answers
def name_fault(hosts: Iterable[str]) -> Fault:
    """Return the fault of a server that refuses a request because of its Host header, which may have a port."""
    refused = list(hosts)
    bare = [re.sub(r":\d*$", "", host) for host in refused]
    names = [f"'{name}'" for host in dict.fromkeys(bare) for name in (host, f"{host}:*")]
    return fault("host-header-refused", hosts=" and ".join(f"'{host}'" for host in refused), names=" and ".join(names))


def login_fault(user: str) -> Fault:
    """Return the fault of a server that refuses a login."""
    return fault("login-refused", user=user)


def answer_fault(server: TrackingServer, response: Response) -> Fault:
    """Return the fault that best explains an unexpected response."""
    if isinstance(response, NoAnswer):
        return fault(response.fault)
    status = response.status
    if status == 403 and INVALID_HOST in response.text:
        return name_fault([server.host])
    if status == 401:
        return login_fault(server.credentials[0]) if server.credentials else fault("login-missing")
    if 300 <= status < 400:
        return fault("redirected", target=response.leads_to)
    if status >= 500:
        health = server.attempt("GET", "/health")
        if isinstance(health, Answer) and health.status == 200:
            return fault("backend-store-fails")
        return fault("proxy-upstream" if status in GATEWAY_STATUS else "api-fails")
    return fault({403: "request-refused", 404: "path-unknown"}.get(status, "not-mlflow"))


def page_fault(server: TrackingServer, response: Response) -> Fault:
    """Return the same for the page. MLflow also answers if the files of its page are missing."""
    if isinstance(response, Answer) and "landing page (index.html) not found" in response.text:
        return fault("page-missing")
    return fault("api-fails") if isinstance(response, Answer) and response.status == 500 else answer_fault(server, response)


def artifact_fault(server: TrackingServer, response: Response) -> Fault:
    """Return the same for a request for an artifact through the server."""
    if isinstance(response, NoAnswer):
        return fault("artifact-store-silent") if response.kind == "timeout" and response.connected else answer_fault(server, response)
    if NOT_SERVED in response.text:
        return fault("artifacts-not-served")
    if response.status == 413:
        return fault("proxy-body-limit")
    return fault("artifact-store-fails") if response.status >= 500 else answer_fault(server, response)


# -- findings of the probe
def wait_for_answer(server: TrackingServer, wait: float, gone: Callable[[], bool] = lambda: False) -> Finding | None:
    """Wait until the server answers, at most C(wait) seconds; C(gone) returns whether the wait is useless."""
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
    return Finding("answer", f"an answer from {server.base.origin}{within}", response.seen, answer_fault(server, response))


def webhooks_warning(server: TrackingServer) -> str:
    """Return a warning if MLflow cannot decrypt the secret of a webhook; empty if it can, or if there are no webhooks."""
    answer = server.attempt("GET", f"{API}/webhooks")
    if not isinstance(answer, Answer) or answer.status != 500:
        return ""
    found = fault("webhooks-not-decrypted")
    return f"{found.cause} {found.fix}"


def check_names(server: TrackingServer, hosts: Mapping[str, str]) -> tuple[list[dict[str, Any]], list[Finding]]:
    """Ask the API and the page by each name, each with its Host header, and return the facts per name and the findings."""
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
            if hopeless:  # the address is the same for all names: do not ask again
                continue
            named = server.called(host)
            response = named.attempt("GET", path, query)
            hopeless = isinstance(response, NoAnswer) and response.hopeless
            if isinstance(response, Answer):
                fact[what] = response.status
                if response.status == 200 and right(response):
                    good += 1
                    continue
            findings.append(Finding(f"{what} as {host}", expected, strange(response), page_fault(named, response)))
        fact["answers"] = good == len(questions)
    return facts, findings


def strange(response: Response) -> str:
    """Return what was seen; for a page at least its title."""
    title = re.search(r"<title>(.*?)</title>", response.text, re.DOTALL) if isinstance(response, Answer) else None
    return response.seen + (f" with the title '{' '.join(title.group(1).split())[:60]}'" if title else "")


def check_foreign_host(server: TrackingServer, name: str, version: str) -> list[Finding]:
    """Check that a request by a foreign name gets 403, the protection against DNS rebinding."""
    host = server.base.host_header(name)
    response = server.called(host).attempt("GET", *SEARCH)
    if isinstance(response, Answer) and response.status == 403:
        return []
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers and tuple(map(int, numbers.groups())) < HOST_CHECK_SINCE:
        found = fault("host-check-missing", version=version)
    elif isinstance(response, Answer) and response.status < 300:
        found = fault("host-check-open")
    else:
        found = answer_fault(server, response)
    return [Finding(f"foreign host {host}", "403", response.seen, found)]


def check_login(server: TrackingServer) -> list[Finding]:
    """Check that a server with users refuses requests without a login, and requests with the default login of old releases."""
    findings: list[Finding] = []
    questions: tuple[tuple[str, tuple[str, str] | None, str, dict[str, int]], ...] = (
        ("the API without a login", None, *SEARCH),
        ("the page without a login", None, "/", {}),
        ("the API by MLflow's old default login", PUBLIC_LOGIN, *SEARCH),
    )
    for what, credentials, path, query in questions:
        response = replace(server, credentials=credentials).attempt("GET", path, query)
        if isinstance(response, Answer) and response.status == 401:
            continue
        is_open = isinstance(response, Answer) and response.status < 300
        found = fault("default-login" if credentials else "login-not-asked-for") if is_open else answer_fault(server, response)
        findings.append(Finding(what, "401", strange(response), found))
    return findings


def server_facts(server: TrackingServer, probe_path: str) -> tuple[dict[str, Any], list[Finding]]:
    """Return the server's version and how it handles artifacts, and a finding if its artifact store does not answer.

    Releases without server-info answer 404 there, and report no artifact mode.
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
    findings = [] if facts["serves_artifacts"] else [Finding("artifact store", "a listing through the server", listed.seen, artifact_fault(server, listed))]
    return facts, findings


def check_artifact_mode(facts: Mapping[str, Any], mode: str) -> list[Finding]:
    """Compare the artifact mode that the server reports to clients with the expected one."""
    told = [reader for reader in SERVER_INFO if facts[f"presigned_for_{reader}"]]
    if mode == "proxied" and told:
        seen = f"it is advertised to the {' and the '.join(told)}"
        return [Finding("artifact mode", "proxied: multipart_downloads_enabled is not advertised", seen, fault("links-advertised"))]
    if mode == "direct" and "client" not in told:
        return [Finding("artifact mode", "direct: multipart_downloads_enabled is advertised", "it is not", fault("links-not-advertised"))]
    return []
