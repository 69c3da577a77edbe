# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide what a server's answers mean: on its own host, through a proxy, and to a client."""

from __future__ import annotations

from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis.checks import UNKNOWN, Diagnosis
from ansible_collections.atlas.mlflow.plugins.module_utils.faults import Fault, fault
from ansible_collections.atlas.mlflow.plugins.module_utils.judge_answers import GATEWAY_STATUS, login_fault, name_fault

#: Failures of a client that is connected to what answers there, with a fault of their own.
OF_KIND = {"tls": "tls-fails", "protocol": "not-http"}


def check_answers(diagnosis: Diagnosis) -> None:
    """Check how the API answers by each name."""
    if not diagnosis.runs:
        return
    names = diagnosis.server.get("names") or []
    if diagnosis.front and _changed_by_proxy(diagnosis, names):
        return
    if diagnosis.server.get("starting") is not None and not diagnosis.server.get("sockets") and names and all(one["api"] == 0 for one in names):
        said = diagnosis.server["starting"]
        seen = "no socket yet" + (f"; its log ends with: {said}" if said else "")
        diagnosis.note("process", "a server that has opened its port", seen, fault("server-starting", log=diagnosis.log), follows=bool(diagnosis.faults))
        return
    refused = [one["host"] for one in names if one["api"] == 403 and one["health"] == 200 and one.get("host_refused", True)]
    seen = ", ".join(f"{one['host']}: API {one['api'] or one.get('error', 'no answer')}, health {one['health'] or 'no answer'}" for one in names)
    if refused:
        diagnosis.note("Host header", "every name is answered", f"403 for {', '.join(refused)}, health 200", name_fault(refused))
    elsewhere = diagnosis.server.get("answers_below")
    if elsewhere is not None:
        diagnosis.note("static prefix", diagnosis.wanted.get("static_prefix") or "/", elsewhere or "/", "static-prefix")
    failing = [one for one in names if one["api"] != 200]
    if names and not refused and elsewhere is None:
        closed, denied = ({one["api"] for one in failing} == {status} for status in (401, 403))
        diagnosis.note(
            "login" if closed else "API",
            "200 by every name",
            seen,
            _closed(diagnosis) if closed else "request-refused" if denied else "api-fails" if failing else "",
            follows=bool(diagnosis.faults),
        )


def _changed_by_proxy(diagnosis: Diagnosis, names: list[dict[str, Any]]) -> bool:
    """Check what the proxy does to requests that the server itself answers. Return whether the proxy causes the answer."""
    direct = {one["host"]: one["api"] for one in diagnosis.front.get("direct") or ()}
    worse = [one for one in names if one["api"] not in (200, 401) and direct.get(one["host"]) in (200, 401)]
    seen = ", ".join(f"{one['host']}: {one['api'] or one.get('error', 'no answer')}, and {direct[one['host']]} without it" for one in worse)
    found = ""
    if worse:
        status = worse[0]["api"]
        if diagnosis.front.get("refuses_host"):
            found = "proxy-host-header"
        elif status == 404 and diagnosis.server.get("answers_below") is None:
            found = "proxy-path"
        elif status in (0, *GATEWAY_STATUS):
            found = "proxy-upstream"
    elif diagnosis.front.get("refuses_large"):
        found, seen = "proxy-body-limit", "413 for 100 MiB"
    diagnosis.note("proxy", "passes requests on as they are", f"{diagnosis.proxy()}: {seen or 'it does'}", found, follows=bool(diagnosis.faults))
    return bool(found) and found != "proxy-body-limit"


def _closed(diagnosis: Diagnosis) -> Fault | str:
    """Return the check for a server that asks for a login. Without a login, nothing more can be checked."""
    return login_fault("its administrator") if diagnosis.server.get("logs_in") else UNKNOWN


def check_client(diagnosis: Diagnosis) -> None:
    """Check what a client gets by each name."""
    if not diagnosis.client:
        return
    works = any(one["api"] == 200 for one in diagnosis.server.get("names") or [])
    for one in diagnosis.client.get("names") or []:
        who = f"{one['name']} from the client"
        if one["kind"] == "resolve":
            diagnosis.note("name resolution", f"{one['name']} resolves for the client", f"{one['name']} does not resolve", "name-does-not-resolve")
            continue
        dropped = one["kind"] in ("timeout", "unreachable") and not one["connected"]
        rules = diagnosis.server.get("firewall") or []
        if dropped and works:
            diagnosis.note("firewall", f"{who} can connect", one["error"] + (f"; rule: {rules[0]}" if rules else ""), "firewall-drop")
        elif one["kind"]:
            # A fault in the server's own layers explains it.
            rejected = bool(rules) and one["kind"] == "refused" and works
            found = "firewall-drop" if rejected else OF_KIND.get(one["kind"], "client-cannot-connect")
            diagnosis.note("network", f"{who} gets an answer", one["error"], found, follows=bool(diagnosis.faults))
        else:
            denied = name_fault([one.get("host") or one["name"]]) if one.get("host_refused", True) else "request-refused"
            known = {200: None, 401: _closed(diagnosis), 403: denied}
            diagnosis.note("API", f"200 for {who}", str(one["api"]), known.get(one["api"], "api-fails"), follows=bool(diagnosis.faults))
    _artifacts(diagnosis)


def _artifacts(diagnosis: Diagnosis) -> None:
    """Check where the server sends a client for its artifacts."""
    direct, root = diagnosis.client.get("s3"), diagnosis.server.get("artifact_root") or {}
    kind, where = root.get("kind", "served"), root.get("where", "")
    own = "keys of its own, and MLFLOW_S3_ENDPOINT_URL" if kind == "s3" else "access of its own"
    if kind == "path":
        diagnosis.note("artifact store", "clients send artifacts to the server", f"clients write to {where} on their own disks", "artifact-root-on-clients")
    elif kind != "served" and not (direct and direct["error"]):
        diagnosis.note("artifact store", "clients send artifacts to the server", f"clients write to {where} themselves: each needs {own}", UNKNOWN)
    if direct:
        by_link = fault("s3-unreachable-for-clients", endpoint=direct["endpoint"], why=f"{direct['error']}.")
        found = None if not direct["error"] else "artifact-root-not-served" if kind == "s3" else by_link
        diagnosis.note(
            "artifact store", f"the client reaches {direct['endpoint']}", direct["error"] or "it does", found, diagnosis.has("s3-down", "s3-wrong-scheme")
        )
