# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests of a module to a tracking server's REST API, with failures in words, and what the modules that use it have in common."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.atlas.mlflow.plugins.module_utils.faults import Fault, fault
from ansible_collections.atlas.mlflow.plugins.module_utils.names import canonical_name
from ansible_collections.atlas.mlflow.plugins.module_utils.redaction import Redactor, uri_secrets
from ansible_collections.atlas.mlflow.plugins.module_utils.tracking import TrackingServer
from ansible_collections.atlas.mlflow.plugins.module_utils.web import Answer, Base, NoAnswer, tls_context

MISSING = "RESOURCE_DOES_NOT_EXIST"
#: What the login apps of MLflow answer to a request that the user may not make.
DENIED = "Permission denied"
#: The code with which a server whose workspaces are off refuses a request that names one.
DISABLED = "FEATURE_DISABLED"
#: The header that names the workspace of a request. Source: MLflow's C(mlflow/utils/workspace_utils.py).
WORKSPACE_HEADER = "X-MLFLOW-WORKSPACE"
WORKSPACES = "/api/3.0/mlflow/workspaces"
#: The workspace that every server has, with what was there before workspaces were turned on. Requests that name no workspace are about it.
DEFAULT_WORKSPACE = "default"
NO_WORKSPACES = "this release of MLflow has no workspaces, or they are off: set mlflow_server_workspaces to true"

#: The options by which a module reaches a tracking server. The fragments C(tracking_server) and C(tls) document them.
SERVER_ARGUMENTS: dict[str, dict[str, Any]] = {
    "url": {"type": "str", "required": True},
    "name": {"type": "str"},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "timeout": {"type": "float", "default": 30},
    "validate_certs": {"type": "bool", "default": True},
    "ca_path": {"type": "path"},
    "tls_name": {"type": "str"},
}


class Refused(Exception):
    """A request that failed, in words."""


class Denied(Refused):
    """A thing that the user may not read."""


class Api:
    """A tracking server's REST API, as one user sees it."""

    def __init__(self, server: TrackingServer, only_look: bool = False, workspace: str = "") -> None:
        """Take the server, whether to change nothing, and the workspace that requests are about, by default that of the server."""
        self.server, self.only_look, self.workspace = server, only_look, workspace
        self._workspace_checked = not workspace

    def send(self, method: str, path: str, **content: Any) -> Answer:
        """Send one request, whatever its status. With C(GET), the content stands in the address.

        :raises Refused: If there is no answer, or the user may not log in.
        """
        if method == "GET":
            return self._ask(method, path, content)
        return self._ask(method, path, body=json.dumps(content).encode(), headers={"Content-Type": "application/json"})

    def _ask(
        self, method: str, path: str, query: Mapping[str, Any] | None = None, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request as the server takes it."""
        if not self._workspace_checked:
            self._check_workspace()
        return self._answer(method, path, query, body, headers)

    def _check_workspace(self) -> None:
        """Ask for the workspace. A release without workspaces would ignore its name, and answer about the things of all users.

        :raises Refused: If the server does not have the workspace.
        """
        self._workspace_checked = True
        if not re.fullmatch(r"[A-Za-z0-9-]+", self.workspace):
            raise Refused(f"{self.workspace!r} is no name of a workspace: it has lower-case letters, digits and hyphens alone")
        path = f"{WORKSPACES}/{quote(self.workspace, safe='')}"
        answer = self._answer("GET", path)
        if answer.status == 404 and answer.json().get("error_code") == MISSING:
            # On a fresh server in check mode, the task before may be the one that creates the workspace.
            if not self.only_look:
                raise Refused(f"there is no workspace {self.workspace}: create it with mlflow_workspace")
        elif answer.status in (404, 405, 503) or answer.json().get("error_code") == DISABLED:
            raise Refused(f"GET {path} was answered by {answer.seen}: {NO_WORKSPACES}")

    def _answer(
        self, method: str, path: str, query: Mapping[str, Any] | None = None, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Return the answer to a request in the workspace.

        :raises Refused: If there is no answer, or the user may not log in.
        """
        named = {WORKSPACE_HEADER: self.workspace} if self.workspace else {}
        try:
            answer = self.server.ask(method, path, query, body, {**(headers or {}), **named})
        except NoAnswer as failure:
            raise Refused(f"{failure.seen}. {fault(failure.fault).cause}") from None
        if answer.status == 401:
            given = self.server.credentials
            raise Refused(fault("login-refused", user=given[0]).cause if given else in_words(fault("login-missing")))
        return answer

    def get(self, path: str, unknown: str = "", **content: Any) -> dict[str, Any] | None:
        """Return the answer, C(None) if the server says that the thing does not exist.

        :param unknown: What it may mean that the server does not know the path.
        :raises Denied: If the user may not read the thing.
        :raises Refused: If the request fails.
        """
        answer = self.send("GET", path, **content)
        if answer.status == 200 and answer.is_object:
            return answer.json()
        if answer.json().get("error_code") == MISSING:
            return None
        kind = Denied if answer.status == 403 and DENIED in answer.text else Refused
        raise kind(f"GET {path} was answered by {answer.seen}{self._why(answer, unknown)}")

    def change(self, method: str, path: str, unknown: str = "", **content: Any) -> dict[str, Any]:
        """Send a request that changes something, unless nothing may be changed. Return the answer.

        :param unknown: What it may mean that the server does not know the path.
        :raises Refused: If the request fails.
        """
        return {} if self.only_look else self._changed(method, path, self.send(method, path, **content), unknown)

    def delete(self, path: str, **content: Any) -> None:
        """Send C(DELETE) with the content in the address, unless nothing may be changed.

        :raises Refused: If the request fails.
        """
        if not self.only_look:
            self._changed("DELETE", path, self._ask("DELETE", path, content))

    def _changed(self, method: str, path: str, answer: Answer, unknown: str = "") -> dict[str, Any]:
        """Return what the server says of a change, if it took the change."""
        if not (200 <= answer.status < 300 and (answer.is_object or not answer.body)):
            raise Refused(f"{method} {path} was answered by {answer.seen}{self._why(answer, unknown)}")
        return answer.json()

    @staticmethod
    def _why(answer: Answer, unknown: str) -> str:
        # A path that MLflow has is answered with an error code in JSON.
        if answer.json().get("error_code"):
            return ""
        if unknown and answer.status in (404, 405, 503):
            return f": {unknown}"
        if 300 <= answer.status < 400:
            return f". {in_words(fault('redirected', target=answer.leads_to))}"
        known = "not-mlflow" if answer.status < 300 else "path-unknown" if answer.status == 404 else ""
        return f". {in_words(fault(known))}" if known else ""


def in_words(found: Fault) -> str:
    """Return the cause of a fault and its fix."""
    return f"{found.cause} {found.fix}"


def changed_keys(before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return what differs between the states of things, by their names. A thing without a change is omitted."""
    found = {name: sorted(key for key in {*before[name], *state} if before[name].get(key) != state.get(key)) for name, state in after.items()}
    return {name: keys for name, keys in found.items() if keys}


def server_of(module: AnsibleModule) -> TrackingServer:
    """Return the tracking server that a module's options name. End the module if they are not usable."""
    params = module.params
    try:
        base = replace(Base.parse(params["url"]), tls_name=canonical_name(params["tls_name"] or ""))
        tls = tls_context(params["ca_path"], params["validate_certs"]) if base.scheme == "https" else None
    except (ValueError, OSError) as error:
        # A parser's message quotes the part that it could not read: for a URL with a login, this is a part of the password.
        module.fail_json(msg=Redactor(uri_secrets(params["url"])).text(str(error)))
    if bool(params["username"]) != bool(params["password"]):
        given, missing = ("username", "password") if params["username"] else ("password", "username")
        module.fail_json(msg=f"{given} is given without {missing}: set both, or neither for a server without users.")
    if "@" in urlsplit(params["url"]).netloc:
        module.fail_json(msg=f"The URL of {base.origin} has a login, which would not be used: take it out, and set username and password.")
    login = (params["username"], params["password"]) if params["username"] else None
    return TrackingServer(base, base.host_header(params["name"] or base.host), params["timeout"], login, tls)


def ended_by_refusal(module: AnsibleModule, server: TrackingServer, work: Callable[[], Any]) -> Any:
    """Return what a function returns. End the module with the server's address if the function is refused."""
    try:
        return work()
    except Refused as refused:
        module.fail_json(msg=f"{server.base.origin}: {str(refused).rstrip('.')}.")
