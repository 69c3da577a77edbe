"""A tracking server with MLflow's basic-auth app in memory, which gives permissions the older way or the newer one."""

from __future__ import annotations

import base64
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

ADMIN = ("admin", "long-enough-password")
#: What the newer way gives permissions on.
TYPES = {"experiment", "registered_model", "prompt", "mcp_server"}


class FakeUsers(ThreadingHTTPServer):
    """Holds users with their passwords and permissions, and the experiments by name."""

    daemon_threads = True

    def __init__(self, roles: bool) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        #: Whether permissions are kept in roles, the newer way.
        self.roles = roles
        self.users: dict[str, dict[str, Any]] = {}
        self.add(*ADMIN, admin=True)
        self.experiments = {"churn": "7"}
        #: Each request that changed something.
        self.changes: list[str] = []
        self.broken = ""  # a path's end that answers 500

    def add(self, name: str, password: str, admin: bool = False) -> None:
        """Make a user."""
        self.users[name] = {"id": len(self.users) + 1, "password": password, "admin": admin, "given": {}}
        # The permissions in another workspace.
        self.users[name]["elsewhere"] = {}


class Handler(BaseHTTPRequestHandler):
    """Answers one request from the server's users."""

    server: FakeUsers
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""

    def reply(self, status: int, content: dict[str, Any]) -> None:
        """Send an answer."""
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def missing(self, what: str) -> None:
        """Say that something is not there, as MLflow does."""
        self.reply(404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"{what} not found"})

    def handle_any(self) -> None:
        """See who asks, and answer."""
        fake, url = self.server, urlsplit(self.path)
        length = int(self.headers.get("Content-Length", 0))
        sent: dict[str, Any] = json.loads(self.rfile.read(length)) if length else dict(parse_qsl(url.query))
        name, _colon, password = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode().partition(":")
        if name not in fake.users or fake.users[name]["password"] != password:
            self.reply(401, {})
        elif fake.broken and url.path.endswith(fake.broken):
            self.reply(500, {"error_code": "INTERNAL_ERROR", "message": "broken on purpose"})
        elif url.path.endswith("/experiments/search"):
            self.reply(200, {"experiments": []})
        elif not fake.users[name]["admin"] and sent.get("username") != name:
            self.reply(403, {"error_code": "PERMISSION_DENIED", "message": "Permission denied"})
        else:
            if self.command != "GET":
                fake.changes.append(f"{self.command} {url.path.partition('/mlflow/')[2]}")
            self.answer(url.path.partition("/mlflow/")[2], sent)

    do_GET = do_POST = do_PATCH = do_DELETE = handle_any

    def answer(self, call: str, sent: dict[str, Any]) -> None:
        """Answer an administrator."""
        fake = self.server
        user = fake.users.get(sent.get("username", ""))
        if call == "experiments/get-by-name":
            number = fake.experiments.get(sent["experiment_name"])
            self.reply(200, {"experiment": {"experiment_id": number}}) if number else self.missing("experiment")
        elif call == "experiments/create":
            fake.experiments[sent["name"]] = str(100 + len(fake.experiments))
            self.reply(200, {"experiment_id": fake.experiments[sent["name"]]})
        elif call == "users/create":
            fake.add(sent["username"], sent["password"])
            self.reply(200, {"user": {}})
        elif fake.roles and call == "roles/permissions/list":
            roles = {user["id"] + more: numbered(user, given) for user in fake.users.values() for given, more in (("given", 0), ("elsewhere", 1000))}
            self.reply(200, {"role_permissions": roles[int(sent["role_id"])]})
        elif fake.roles and call == "roles/permissions/update":
            (there, one) = next(
                (user[given], one)
                for user in fake.users.values()
                for given in ("given", "elsewhere")
                for one in numbered(user, given)
                if one["id"] == sent["role_permission_id"]
            )
            there[(one["resource_type"], one["resource_pattern"])] = sent["permission"]
            self.reply(200, {})
        elif not user:
            self.missing("user")
        elif call == "users/get":
            self.reply(200, {"user": {"id": user["id"], "username": sent["username"], "is_admin": user["admin"], **({} if fake.roles else listed(user))}})
        elif call == "users/update-password":
            user["password"] = sent["password"]
            self.reply(200, {})
        elif call == "users/update-admin":
            user["admin"] = sent["is_admin"]
            self.reply(200, {})
        elif call == "users/delete":
            del fake.users[sent["username"]]
            self.reply(200, {})
        elif fake.roles and call == "users/permissions/list":
            rows = [{"role_id": user["id"], "role_name": f"__user_{user['id']}__", **one} for one in numbered(user)]
            # What comes by a role that others have too is not the user's own.
            another = {"role_id": 99, "role_name": "all", "resource_type": "experiment", "resource_pattern": "7", "permission": "MANAGE"}
            # So is what the user has in another workspace, by a role of the same name.
            elsewhere = [
                {"role_id": 1000 + user["id"], "role_name": f"__user_{user['id']}__", "workspace": "vision", **one} for one in numbered(user, "elsewhere")
            ]
            self.reply(200, {"permissions": [*({"workspace": "default", **row} for row in rows), {"workspace": "default", **another}, *elsewhere]})
        elif fake.roles and call in ("users/permissions/grant", "users/permissions/revoke"):
            place = sent["resource_type"], sent["resource_id"]
            if sent["resource_type"] not in TYPES:
                self.reply(400, {"error_code": "INVALID_PARAMETER_VALUE", "message": f"Invalid resource type '{sent['resource_type']}'"})
                return
            if call.endswith("grant") and place in user["given"]:
                self.reply(400, {"error_code": "RESOURCE_ALREADY_EXISTS", "message": "Permission already exists"})
                return
            user["given"].pop(place, None)
            if call.endswith("grant"):
                user["given"][place] = sent["permission"]
            self.reply(200, {})
        elif not fake.roles and "/permissions/" in call:
            kind, key = ("experiment", "experiment_id") if call.startswith("experiments") else ("registered_model", "name")
            place, exists = (kind, sent[key]), (kind, sent[key]) in user["given"]
            if call.endswith("create") == exists:
                self.reply(400, {"error_code": "RESOURCE_ALREADY_EXISTS" if exists else "RESOURCE_DOES_NOT_EXIST", "message": "the wrong request"})
                return
            user["given"].pop(place, None)
            if not call.endswith("delete"):
                user["given"][place] = sent["permission"]
            self.reply(200, {})
        else:
            self.reply(404, {"message": call})


def numbered(user: dict[str, Any], given: str = "given") -> list[dict[str, Any]]:
    """Return a user's permissions as the newer way lists those of a role."""
    return [
        {"id": 10_000 * user["id"] + sum(map(ord, given + kind + key)), "resource_type": kind, "resource_pattern": key, "permission": permission}
        for (kind, key), permission in user[given].items()
    ]


def listed(user: dict[str, Any]) -> dict[str, Any]:
    """Return a user's permissions as the older way lists them with the user."""
    return {
        f"{kind}_permissions": [
            # A number of an experiment is of one workspace alone, so these rows have no workspace.
            {key: thing, "permission": permission, **({"workspace": space} if kind == "registered_model" else {})}
            for given, space in (("given", "default"), ("elsewhere", "vision"))
            for (one, thing), permission in user[given].items()
            if one == kind
        ]
        for kind, key in (("experiment", "experiment_id"), ("registered_model", "name"))
    }
