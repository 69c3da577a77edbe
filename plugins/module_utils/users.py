# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users of MLflow's basic-auth app and their permissions: the present ones, the wanted ones, and the requests that change one to the other.

MLflow has two APIs for permissions. Up to 3.12 each kind of thing has its own requests, and the answer for a user has all permissions of the
user. Since 3.13 one request is for all kinds, and a role that only this user has keeps the user's permissions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.api import DEFAULT_WORKSPACE, Api, Refused
from ansible_collections.atlas.mlflow.plugins.module_utils.tracking import API, SEARCH, TrackingServer
from ansible_collections.atlas.mlflow.plugins.module_utils.web import Answer

PERMISSIONS = ("READ", "USE", "EDIT", "MANAGE", "NO_PERMISSIONS")
#: The permission that removes a user's own permission, so that the default applies again.
DEFAULT = "DEFAULT"
SHORTEST_PASSWORD = 12
PUBLIC_PASSWORD = "password1234"  # the default of old releases; later releases refuse a login with it
GRANTS = "/api/3.0/mlflow/users/permissions"
ROLE = "/api/3.0/mlflow/roles/permissions"
#: The later API's word for no permission.
DENY = "DENY"


@dataclass(frozen=True)
class Older:
    """A kind of thing in the older API: the path of its requests, its key in them, and its list in the answer for a user."""

    path: str
    key: str
    listed: str


@dataclass(frozen=True)
class Kind:
    """A kind of thing with permissions: its option, its word in the later API, its place in the older API, and the first release that has it."""

    option: str
    resource: str
    older: Older | None
    since: str = ""


MODELS = Older("/registered-models/permissions", "name", "registered_model_permissions")
KINDS = (
    Kind("experiments", "experiment", Older("/experiments/permissions", "experiment_id", "experiment_permissions")),
    Kind("registered_models", "registered_model", MODELS),
    # A prompt is a registered model with a tag. The older API does not read the tag.
    Kind("prompts", "prompt", MODELS),
    Kind("mcp_servers", "mcp_server", None, "3.15.0"),
)
#: The first release in which a permission on a registered model does not apply to a prompt.
PROMPTS_SINCE = "3.13.0"


@dataclass(frozen=True)
class Wanted:
    """A user as it should be; C(None) does not change the password."""

    name: str
    password: str | None = None
    admin: bool = False
    present: bool = True
    permissions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def unfit(users: Iterable[Wanted], login: str) -> str:
    """Return what is wrong with the wanted users, before any request; empty if nothing is wrong."""
    seen: set[str] = set()
    for user in users:
        if user.name in seen:
            return f"the user {user.name} is given twice"
        seen.add(user.name)
        if not user.name or ":" in user.name:
            return f"a user's name is {user.name!r}: it may not be empty or hold a colon"
        if user.name == login:
            return f"the user {user.name} is who this logs in as"
        if user.present and user.password is not None and (len(user.password) < SHORTEST_PASSWORD or user.password == PUBLIC_PASSWORD):
            return f"the password of {user.name} is shorter than {SHORTEST_PASSWORD} characters, or the one that old releases came with"
        for given in user.permissions.values():
            for thing, permission in given.items():
                if permission not in (*PERMISSIONS, DEFAULT):
                    return f"the permission of {user.name} on {thing} is {permission}: choose one of {', '.join((*PERMISSIONS, DEFAULT))}"
    return ""


def ambiguous(given: Mapping[str, Any]) -> list[str]:
    """Return the names with one permission as a registered model and another one as a prompt, which no release before PROMPTS_SINCE can keep.

    :param given: A user's permissions by option.
    """
    models, prompts = given.get("registered_models") or {}, given.get("prompts") or {}
    return [name for name in models if name in prompts and models[name] != prompts[name]]


class Users(Api):
    """The users of a tracking server, with requests as its administrator."""

    def __init__(self, server: TrackingServer, make_experiments: bool = False, only_look: bool = False) -> None:
        """Take the server, whether to create missing experiments, and whether to change nothing."""
        if not server.credentials:
            raise Refused("users are set by an administrator: set username and password")
        super().__init__(server, only_look)
        self.make_experiments = make_experiments
        self.before: dict[str, Any] = {}
        self.after: dict[str, Any] = {}
        self._experiments: dict[str, str] = {}
        #: The later API's numbers of the present user's permissions, by kind and key.
        self._numbers: dict[tuple[str, str], int] = {}
        me = self._user(server.credentials[0])
        if me is None or not me.get("is_admin"):
            raise Refused(f"{server.credentials[0]} is no administrator of {server.base.origin}")
        #: Whether a user's answer has the permissions (the older API).
        self._apart = "experiment_permissions" in me

    def apply(self, users: Iterable[Wanted]) -> None:
        """Bring each user to the wanted state. C(before) and C(after) then have the states, without passwords."""
        users = list(users)
        for user in users:
            self._check_kinds(user)
        for user in users:
            present = self._user(user.name)
            if not user.present:
                self._note(user, {"state": "absent"} if present is None else {"state": "present"}, {"state": "absent"})
                if present is not None:
                    self.change("DELETE", f"{API}/users/delete", username=user.name)
                continue
            self._apply(user, present)

    def _check_kinds(self, user: Wanted) -> None:
        """Refuse permissions that the older API cannot keep."""
        if not self._apart or not user.present:
            return
        for kind in KINDS:
            if kind.older is None and user.permissions.get(kind.option):
                raise Refused(f"{user.name} has permissions in {kind.option}, which the server's MLflow does not have: they need {kind.since} or newer")
        if names := ambiguous(user.permissions):
            raise Refused(
                f"the permissions of {user.name} on {', '.join(names)} differ between registered_models and prompts, and MLflow before {PROMPTS_SINCE} keeps "
                "one permission for both: give the name in one of them"
            )

    def _apply(self, user: Wanted, present: dict[str, Any] | None) -> None:
        before: dict[str, Any] = {"state": "absent"}
        if present is not None:
            before = {"state": "present", "admin": bool(present["is_admin"]), "password": "as given" if self._logs_in(user) else "another"}
        after: dict[str, Any] = {"state": "present", "admin": user.admin, "password": "as given"}
        if present is None:
            if user.password is None:
                raise Refused(f"the user {user.name} is not there, and no password is given to make it with")
            self.change("POST", f"{API}/users/create", username=user.name, password=user.password)
        elif before["password"] == "another":
            self.change("PATCH", f"{API}/users/update-password", username=user.name, password=user.password)
        if before.get("admin", False) != user.admin:
            self.change("PATCH", f"{API}/users/update-admin", username=user.name, is_admin=user.admin)
        given = self._given(user.name, present)
        for kind in KINDS:
            wanted = user.permissions.get(kind.option) or {}
            if not wanted:
                continue
            before[kind.option], after[kind.option] = {}, dict(wanted)
            present_ones = given.setdefault(self._place(kind), {})
            for thing, permission in wanted.items():
                key = self._key(kind, thing, permission)
                has = present_ones.get(key, DEFAULT)
                before[kind.option][thing] = has
                if has != permission:
                    self._permit(kind, user.name, key, has, permission)
                    # Another kind may have the same place.
                    present_ones[key] = permission
        self._note(user, before, after)

    def _note(self, user: Wanted, before: dict[str, Any], after: dict[str, Any]) -> None:
        self.before[user.name], self.after[user.name] = before, after

    # -- requests
    def _get(self, path: str, **content: Any) -> dict[str, Any] | None:
        """Return the answer, C(None) if the server says that the thing does not exist."""
        return self.get(path, "does it run with --app-name basic-auth?", **content)

    def _user(self, name: str) -> dict[str, Any] | None:
        found = self._get(f"{API}/users/get", username=name)
        return found["user"] if found else None

    def _logs_in(self, user: Wanted) -> bool:
        """Return whether the user's password is the wanted one, by a login with it."""
        if user.password is None:
            return True
        answer = replace(self.server, credentials=(user.name, user.password)).attempt("GET", *SEARCH)
        if isinstance(answer, Answer) and answer.status in (200, 401, 403):
            return answer.status != 401
        raise Refused(f"a login of {user.name} was answered by {answer.seen}")

    def _look_for_experiment(self, name: str) -> dict[str, Any]:
        """Return an experiment, also a deleted one, empty if there is none."""
        found: dict[str, Any] = self._get(f"{API}/experiments/get-by-name", experiment_name=name) or {}
        return found.get("experiment") or {}

    def _key(self, kind: Kind, thing: str, permission: str) -> str:
        """Return what the server calls a thing. An experiment is needed only to give a permission, and not to take one back."""
        if kind.option != "experiments":
            return thing
        if permission == DEFAULT and thing not in self._experiments:
            return str(self._look_for_experiment(thing).get("experiment_id", thing))
        return self._experiment(thing)

    def _experiment(self, name: str) -> str:
        """Return an experiment's number. An experiment that would be created, but may not be, has its name instead."""
        if name not in self._experiments:
            found = self._look_for_experiment(name)
            if found:
                self._experiments[name] = found["experiment_id"]
            elif self.make_experiments:
                self._experiments[name] = self.change("POST", f"{API}/experiments/create", name=name).get("experiment_id", name)
            else:
                raise Refused(f"there is no experiment {name} to give a permission for: make it first")
        return self._experiments[name]

    # -- permissions
    def _place(self, kind: Kind) -> str:
        """Return where the server keeps the permissions of a kind. In the older API two kinds may have one place."""
        return kind.older.listed if self._apart and kind.older else kind.resource

    def _given(self, name: str, present: dict[str, Any] | None) -> dict[str, dict[str, str]]:
        """Return the permissions that a user has, by place and key. Those on things of other workspaces do not count: a model there may have the same name."""
        if present is None:
            return {}

        def here(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
            return [row for row in rows if (row.get("workspace") or DEFAULT_WORKSPACE) == DEFAULT_WORKSPACE]

        if self._apart:
            older = {kind.older for kind in KINDS if kind.older}
            return {one.listed: {str(row[one.key]): row["permission"] for row in here(present[one.listed])} for one in older}
        own = f"__user_{present['id']}__"
        granted = (self._get(f"{GRANTS}/list", username=name) or {}).get("permissions", [])
        # A user has such a role in each workspace.
        roles = {row["role_id"] for row in here(granted) if row["role_name"] == own}
        rows = [row for role in roles for row in (self._get(f"{ROLE}/list", role_id=role) or {}).get("role_permissions", [])]
        self._numbers = {(row["resource_type"], row["resource_pattern"]): row["id"] for row in rows}
        words = {DENY: "NO_PERMISSIONS"}
        return {
            kind.resource: {row["resource_pattern"]: words.get(row["permission"], row["permission"]) for row in rows if row["resource_type"] == kind.resource}
            for kind in KINDS
        }

    def _permit(self, kind: Kind, name: str, key: str, has: str, permission: str) -> None:
        """Give a user a permission on one thing, or remove it."""
        if self._apart and kind.older:
            path, what = f"{API}{kind.older.path}", {kind.older.key: key, "username": name}
            if permission == DEFAULT:
                self.change("DELETE", f"{path}/delete", **what)
            elif has == DEFAULT:
                self.change("POST", f"{path}/create", **what, permission=permission)
            else:
                self.change("PATCH", f"{path}/update", **what, permission=permission)
            return
        what = {"username": name, "resource_type": kind.resource, "resource_id": key}
        word = DENY if permission == "NO_PERMISSIONS" else permission
        if permission == DEFAULT:
            self.change("POST", f"{GRANTS}/revoke", **what)
        elif has == DEFAULT:
            self.change("POST", f"{GRANTS}/grant", **what, permission=word)
        else:
            self.change("PATCH", f"{ROLE}/update", role_permission_id=self._numbers[kind.resource, key], permission=word)
