# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tracking server from the point of view of one client, and requests to it. C(judge_answers) decides what the answers mean."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Union
from urllib.parse import quote, urlencode

from ansible_collections.atlas.mlflow.plugins.module_utils.web import Answer, Base, NoAnswer, ask

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts"
SEARCH = (f"{API}/experiments/search", {"max_results": 1})  # the smallest request that asks the database: a path and its query
# MLflow's Python client reads the first, MLflow's page the second.
SERVER_INFO = {"client": "/api/3.0/mlflow/server-info", "page": "/ajax-api/3.0/mlflow/server-info"}
INVALID_HOST = "Invalid Host header"

Response = Union[Answer, NoAnswer]


@dataclass(frozen=True)
class TrackingServer:
    """A tracking server for one client: its base, the name in the Host header, and the time limit for a request in seconds."""

    base: Base
    host: str
    timeout: float = 10
    credentials: tuple[str, str] | None = None
    tls: ssl.SSLContext | None = None

    def called(self, host: str) -> TrackingServer:
        """Return the same server with another Host header."""
        return replace(self, host=host)

    def elsewhere(self, netloc: str) -> TrackingServer:
        """Return the server of C(mlflow-artifacts://netloc/) for a client of this server."""
        base = Base.parse(f"{self.base.scheme}://{netloc}{self.base.path}")
        return replace(self, base=base, host=base.host_header(base.host))

    def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
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

    def attempt(self, method: str, path: str, query: Mapping[str, Any] | None = None, timeout: float | None = None) -> Response:
        """Send one request and return the answer or the failure."""
        try:
            return self.ask(method, path, query, timeout=timeout)
        except NoAnswer as failure:
            return failure
