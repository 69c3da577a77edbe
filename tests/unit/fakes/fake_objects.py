"""A tracking server in memory that keeps experiments, registered models, prompts and webhooks, as MLflow's REST API shows them."""

from __future__ import annotations

import itertools
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


class FakeObjects(ThreadingHTTPServer):
    """Holds the things by name. Attributes change how the server answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.numbers = itertools.count(7)
        self.experiments: dict[str, dict[str, Any]] = {}
        self.models: dict[str, dict[str, Any]] = {}
        self.hooks: list[dict[str, Any]] = []
        self.spaces: dict[str, dict[str, Any]] = {"default": {"name": "default"}}
        #: The roles of workspaces, each with its users, and the numbers of the users.
        self.space_roles: list[dict[str, Any]] = []
        self.people = {"ada": 1, "grace": 2}
        #: Workspaces with something in them.
        self.full: set[str] = set()
        #: Each request that changed something.
        self.changes: list[str] = []
        #: Whether the release has webhooks, and can remove the tag of an experiment.
        self.new = True
        self.empties = True  # whether the release can remove the description of a webhook
        self.page = 200  # things in one answer to a search
        self.broken = ""  # a path's end that answers 500
        self.strange: tuple[int, dict[str, str], bytes] | None = None  # status, headers and body of each answer, as another program gives them
        self.hidden: set[str] | None = None  # registered models that the user may not read, if the server does not tell whether such a model is there
        self.changes_only = False  # whether only requests that change something get such an answer

    def add_version(self, name: str, tags: dict[str, str] | None = None) -> str:
        """Add a version of a model or a prompt, and return its number."""
        versions = self.models[name]["versions"]
        versions.append({"name": name, "version": str(len(versions) + 1), "tags": tags or {}})
        return str(versions[-1]["version"])


def listed(tags: dict[str, str]) -> list[dict[str, str]]:
    """Return tags as MLflow lists them."""
    return [{"key": key, "value": value} for key, value in tags.items()]


class Handler(BaseHTTPRequestHandler):
    """Answers one request from the server's things."""

    server: FakeObjects
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""

    def reply(self, content: dict[str, Any], status: int = 200) -> None:
        """Send an answer in JSON."""
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def missing(self) -> None:
        """Say that a thing is not there, as MLflow does."""
        self.reply({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "not found"}, 404)

    def denied(self) -> None:
        """Refuse what the user may not do, as MLflow's login app does."""
        body = b"Permission denied"
        self.send_response(403)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def unknown(self) -> None:
        """Answer as a server does that has no such path."""
        self.send_response(404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def handle_any(self) -> None:
        """Answer."""
        fake, url = self.server, urlsplit(self.path)
        length = int(self.headers.get("Content-Length", 0))
        sent: dict[str, Any] = json.loads(self.rfile.read(length)) if length else dict(parse_qsl(url.query))
        call = url.path.partition("/mlflow/")[2]
        if fake.strange and (self.command != "GET" or not fake.changes_only):
            status, headers, body = fake.strange
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            return
        if self.command != "GET":
            fake.changes.append(f"{self.command} {call.partition('/h')[0]}")
        if fake.broken and call.endswith(fake.broken):
            self.reply({"error_code": "INTERNAL_ERROR", "message": "broken on purpose"}, 500)
        elif not fake.new and (call.startswith(("webhooks", "workspaces")) or call.endswith("delete-experiment-tag")):
            self.unknown()
        else:
            getattr(self, call.partition("/")[0].replace("-", "_"))(call.partition("/")[2], sent)

    do_GET = do_POST = do_PATCH = do_DELETE = handle_any

    def page(self, key: str, found: list[dict[str, Any]], sent: dict[str, Any]) -> None:
        """Send one page of a search."""
        begin = int(sent.get("page_token", 0))
        end = begin + self.server.page
        self.reply({key: found[begin:end], **({"next_page_token": str(end)} if end < len(found) else {})})

    def experiments(self, call: str, sent: dict[str, Any]) -> None:
        """Answer about experiments."""
        fake = self.server
        space = self.headers.get("X-MLFLOW-WORKSPACE", "default")
        there = {name: one for name, one in fake.experiments.items() if one["workspace"] == space}
        one = there.get(sent.get("experiment_name", "")) or next((one for one in there.values() if one["experiment_id"] == sent.get("experiment_id")), None)
        if call == "search":
            stages = ("active", "deleted") if sent.get("view_type") == "ALL" else ("active",)
            self.page("experiments", [shown_experiment(one) for one in there.values() if one["lifecycle_stage"] in stages], sent)
        elif call == "create":
            number = str(next(fake.numbers))
            place = sent.get("artifact_location", f"mlflow-artifacts:/{number}")
            tags = {row["key"]: row["value"] for row in sent["tags"]}
            fake.experiments[sent["name"]] = {
                "name": sent["name"], "experiment_id": number, "artifact_location": place, "tags": tags, "lifecycle_stage": "active",
                "workspace": space,
            }  # fmt: skip
            self.reply({"experiment_id": number})
        elif one is None:
            self.missing()
        elif call == "get-by-name":
            self.reply({"experiment": shown_experiment(one)})
        else:
            if call in ("delete", "restore"):
                one["lifecycle_stage"] = "deleted" if call == "delete" else "active"
            elif call == "set-experiment-tag":
                one["tags"][sent["key"]] = sent["value"]
            else:
                del one["tags"][sent["key"]]
            self.reply({})

    def registered_models(self, call: str, sent: dict[str, Any]) -> None:
        """Answer about registered models and prompts."""
        fake = self.server
        one = fake.models.get(sent.get("name", ""))
        if call == "search":
            only = "filter" in sent
            self.page("registered_models", [shown_model(one) for one in fake.models.values() if not only or "mlflow.prompt.is_prompt" in one["tags"]], sent)
        elif call == "create" and one is not None:
            self.reply({"error_code": "RESOURCE_ALREADY_EXISTS", "message": f"Registered Model (name={sent['name']}) already exists."}, 400)
        elif call == "create":
            tags = {row["key"]: row["value"] for row in sent["tags"]}
            fake.models[sent["name"]] = {"name": sent["name"], "description": sent["description"], "tags": tags, "aliases": {}, "versions": []}
            self.reply({"registered_model": shown_model(fake.models[sent["name"]])})
        elif call == "get" and fake.hidden is not None and (one is None or one["name"] in fake.hidden):
            self.denied()
        elif one is None:
            self.missing()
        elif call == "get":
            self.reply({"registered_model": shown_model(one)})
        else:
            if call == "delete":
                del fake.models[sent["name"]]
            elif call == "update":
                one["description"] = sent["description"]
            elif call == "alias" and self.command == "POST":
                assert int(sent["version"]) <= len(one["versions"])
                one["aliases"][sent["alias"]] = sent["version"]
            elif call == "alias":
                del one["aliases"][sent["alias"]]
            elif call == "set-tag":
                one["tags"][sent["key"]] = sent["value"]
            else:
                del one["tags"][sent["key"]]
            self.reply({})

    def model_versions(self, _call: str, sent: dict[str, Any]) -> None:
        """Create a version."""
        assert sent["source"] == "dummy-source"
        number = self.server.add_version(sent["name"], {row["key"]: row["value"] for row in sent["tags"]})
        self.reply({"model_version": {"version": number}})

    def workspaces(self, call: str, sent: dict[str, Any]) -> None:
        """Answer about workspaces."""
        fake = self.server
        if self.command == "GET" and not call:
            self.reply({"workspaces": list(fake.spaces.values())})
        elif self.command == "POST":
            fake.spaces[sent["name"]] = sent
            self.reply({"workspace": sent}, 201)
        elif call not in fake.spaces:
            self.missing()
        elif self.command == "DELETE" and call in fake.full and sent["mode"] == "RESTRICT":
            self.reply({"error_code": "INVALID_STATE", "message": f"Cannot delete workspace '{call}': it has experiments"}, 500)
        elif self.command == "DELETE":
            fake.full = {"default"} if sent["mode"] == "SET_DEFAULT" else set()
            del fake.spaces[call]
            self.reply({})
        else:
            fake.spaces[call].update(sent)
            self.reply({"workspace": fake.spaces[call]})

    def users(self, _call: str, _sent: dict[str, Any]) -> None:
        """List the users."""
        self.reply({"users": [{"id": number, "username": name} for name, number in self.server.people.items()]})

    def roles(self, call: str, sent: dict[str, Any]) -> None:
        """Answer about the roles of workspaces."""
        fake = self.server
        role = next((one for one in fake.space_roles if str(one["id"]) == str(sent.get("role_id"))), {})
        if call == "list":
            self.reply({"roles": [shown_role(one) for one in fake.space_roles if one["workspace"] == sent["workspace"]]})
        elif call == "users/list":
            self.reply({"assignments": [{"user_id": fake.people[name], "role_id": role["id"]} for name in role["users"]]})
        elif call == "create":
            fake.space_roles.append({"id": next(fake.numbers), "workspace": sent["workspace"], "name": sent["name"], "users": [], "permissions": []})
            self.reply({"role": shown_role(fake.space_roles[-1])})
        else:
            if call == "delete":
                fake.space_roles.remove(role)
            elif call == "assign" and sent["username"] in role["users"]:
                self.reply({"error_code": "RESOURCE_ALREADY_EXISTS", "message": "User role assignment already exists"}, 400)
                return
            elif call == "permissions/add":
                assert not role["permissions"]
                role["permissions"].append((sent["resource_type"], sent["resource_pattern"], sent["permission"]))
            elif call == "assign":
                role["users"].append(sent["username"])
            else:
                role["users"].remove(sent["username"])
            self.reply({})

    def webhooks(self, call: str, sent: dict[str, Any]) -> None:
        """Answer about webhooks."""
        fake = self.server
        if self.command == "GET":
            self.page("webhooks", [{key: value for key, value in one.items() if key != "secret"} for one in fake.hooks], sent)
        elif self.command == "POST":
            fake.hooks.append({"webhook_id": f"h{next(fake.numbers)}", "status": "ACTIVE", **sent})
            self.reply({"webhook": {}})
        else:
            one = next(one for one in fake.hooks if one["webhook_id"] == call)
            if self.command == "DELETE":
                fake.hooks.remove(one)
            else:
                one.update(sent if fake.empties else {key: value for key, value in sent.items() if value})
            self.reply({"webhook": {key: value for key, value in one.items() if key != "secret"}} if self.command == "PATCH" else {})


def shown_experiment(one: dict[str, Any]) -> dict[str, Any]:
    """Return an experiment as MLflow shows it."""
    return {**one, "tags": listed(one["tags"])}


def shown_role(one: dict[str, Any]) -> dict[str, Any]:
    """Return a role as MLflow shows it."""
    return {**one, "permissions": [dict(zip(("resource_type", "resource_pattern", "permission"), row)) for row in one["permissions"]]}


def shown_model(one: dict[str, Any]) -> dict[str, Any]:
    """Return a registered model as MLflow shows it: without what is empty, and with its newest version alone."""
    shown = {key: one[key] for key in ("name", "description") if one[key]}
    if one["tags"]:
        shown["tags"] = listed(one["tags"])
    if one["aliases"]:
        shown["aliases"] = [{"alias": alias, "version": version} for alias, version in one["aliases"].items()]
    if one["versions"]:
        shown["latest_versions"] = [{**one["versions"][-1], "tags": listed(one["versions"][-1]["tags"])}]
    return shown
