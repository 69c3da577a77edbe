# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a tracking server by each of its names, on its own host and from a client's machine."""

from __future__ import annotations

import ssl
import time
from dataclasses import replace
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.arguments import option
from ansible_collections.atlas.mlflow.plugins.module_utils.tracking import INVALID_HOST, SEARCH, TrackingServer
from ansible_collections.atlas.mlflow.plugins.module_utils.web import Answer, Base, NoAnswer, ask


def ask_names(
    base: Base, names: list[str], timeout: float, tls: ssl.SSLContext | None = None, credentials: tuple[str, str] | None = None
) -> list[dict[str, Any]]:
    """Return the status of the API and of the health path for each name; stop at the first name that gets no answer."""
    facts: list[dict[str, Any]] = []
    for name in names:
        host = base.host_header(name)
        server = TrackingServer(base, host, timeout, credentials, tls)
        try:
            api = server.ask("GET", *SEARCH)
            health = server.ask("GET", "/health")
        except NoAnswer as failure:
            facts.append({"host": host, "api": 0, "health": 0, "error": failure.seen})
            break
        facts.append({"host": host, "api": api.status, "health": health.status, **name_refusal(api)})
    return facts


def name_refusal(answer: Answer) -> dict[str, bool]:
    """Return for a refusal whether the server refuses the name. Otherwise, something in front of the server refuses the request, or the user may not do it."""
    return {"host_refused": INVALID_HOST in answer.text} if answer.status == 403 else {}


def answers_below(base: Base, host: str, argv: list[str], timeout: float, tls: ssl.SSLContext | None = None) -> str | None:
    """Return the path below which the API answers instead of the expected one, None if it answers below no such path."""
    for path in {option(argv, "--static-prefix").rstrip("/"), ""} - {base.path}:
        response = TrackingServer(replace(base, path=path), host, timeout, tls=tls).attempt("GET", *SEARCH)
        if isinstance(response, Answer) and response.status in (200, 401):
            return path
    return None


def see_as_client(
    base: Base, names: list[str], s3_endpoint: str, timeout: float, tls: ssl.SSLContext | None = None, credentials: tuple[str, str] | None = None
) -> dict[str, Any]:
    """Return what a client sees: each name resolved, connected to and asked; and the S3 endpoint to which the server sends clients."""
    facts: dict[str, Any] = {"now": time.time(), "names": [], "s3": None}
    for name in names:
        place = replace(base, host=name)
        one: dict[str, Any] = {"name": name, "host": place.host_header(name), "kind": "", "connected": True, "error": "", "api": 0}
        try:
            api = TrackingServer(place, one["host"], timeout, credentials, tls).ask("GET", *SEARCH)
            one.update(api=api.status, **name_refusal(api))
        except NoAnswer as failure:
            one.update(kind=failure.kind, connected=failure.connected, error=failure.seen)
        facts["names"].append(one)
    if s3_endpoint:
        facts["s3"] = {"endpoint": Base.parse(s3_endpoint).origin, "error": ""}
        try:
            ask(Base.parse(s3_endpoint), "GET", "/", timeout=timeout, tls=tls)
        except NoAnswer as failure:
            facts["s3"]["error"] = failure.seen
    return facts
