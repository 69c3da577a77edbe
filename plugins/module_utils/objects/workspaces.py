# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Workspaces, which keep the experiments, models and prompts of teams apart, with their members.

A member has a role of the workspace with one permission for all of it. The roles and their requests are those of MLflow's basic-auth app.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.api import DEFAULT_WORKSPACE, NO_WORKSPACES, WORKSPACES, Api, Refused
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.kind import ABSENT, Kind, every
from ansible_collections.atlas.mlflow.plugins.module_utils.tracking import API as OLDER_API

API = "/api/3.0/mlflow"
#: What a member may do in a whole workspace, and the word for none of it.
MEMBER_PERMISSIONS = ("USE", "MANAGE")
NONE = "NONE"
#: Names of the roles that keep the members, by their permission.
ROLES = {permission: f"members-{permission.lower()}" for permission in MEMBER_PERMISSIONS}
#: The role in which MLflow keeps what a user may do with single things of a workspace, such as those that the user created, by the number of the user. Source:
#: C(_synthetic_user_role_name) in C(mlflow/server/auth/sqlalchemy_store.py).
OWN_ROLE, OWN_ROLES = "__user_{}__", "__user_"
#: What a user has who is no member, and still has such a role.
OWN = "OWN"
#: What a user has who is no member, and to whom somebody gave another role of the workspace, such as those that MLflow creates with it.
OTHER = "OTHER"
#: How the location of artifacts begins that clients reach through the server.
PASSED_ON = "mlflow-artifacts:"
NO_ROLES = "members of a workspace need a release with roles, such as 3.17.2, and mlflow_server_auth: basic"


class Workspaces(Kind):
    """Workspaces. One that has experiments or models is not removed unless its option says so."""

    word = "workspace"

    def __init__(self, api: Api) -> None:
        """Take the API of the server."""
        super().__init__(api)
        self._roles: dict[str, dict[str, dict[str, Any]]] = {}
        #: The users that have a role, by workspace and role.
        self._assigned: dict[tuple[str, str], set[str]] = {}
        self._users: dict[int, str] = {}

    def read(self, name: str) -> dict[str, Any] | None:
        """Return a workspace with its members."""
        found = self.api.get(f"{WORKSPACES}/{name}", NO_WORKSPACES)
        return {**found["workspace"], "members": None} if found else None

    def shown(self, present: dict[str, Any] | None) -> dict[str, Any]:
        """Return the state with the description, the place of artifacts, and the members that were read."""
        if present is None:
            return ABSENT
        kept = {key: present.get(key) or "" for key in ("description", "default_artifact_root")}
        return {"state": "present", **kept, **({"members": present["members"]} if present["members"] is not None else {})}

    def wanted(self, thing: Mapping[str, Any], present: dict[str, Any] | None) -> dict[str, Any]:
        """Return the state. What is not given stays as it is, also the members that are not named."""
        there = present or {}
        if present is None and thing["name"] == DEFAULT_WORKSPACE:
            raise Refused(f"the workspace {DEFAULT_WORKSPACE} is the server's own, and cannot be created")
        state: dict[str, Any] = {"state": "present"}
        for key in ("description", "default_artifact_root"):
            state[key] = there.get(key) or "" if thing.get(key) is None else thing[key]
        if thing.get("members"):
            members = self._members(thing["name"], NONE in thing["members"].values()) if present else {}
            if present is not None:
                present["members"] = {user: members.get(user, NONE) for user in thing["members"]}
                self.before[thing["name"]] = self.shown(present)
            state["members"] = dict(thing["members"])
        return state

    def check_removal(self, thing: Mapping[str, Any], present: dict[str, Any]) -> None:
        """Refuse to remove the server's own workspace, or to lose artifacts. Remember what is to happen to what is in the workspace."""
        if thing["name"] == DEFAULT_WORKSPACE:
            raise Refused(f"the workspace {DEFAULT_WORKSPACE} is the server's own, and cannot be removed")
        if thing["on_removal"] == "move_to_default" and (bound := self._bound(thing["name"])):
            raise Refused(
                f"the experiment {bound} of the workspace {thing['name']} has artifacts that MLflow opens to this workspace alone, so nobody could read them "
                "after a move to the workspace default. Keep the workspace, and take its members out, or copy what is needed and set on_removal to "
                "delete_content"
            )
        present["mode"] = thing["on_removal"]

    def remove(self, present: dict[str, Any]) -> None:
        """Remove a workspace. MLflow refuses if it is not empty, unless the option says what happens to its content."""
        modes = {"refuse": "RESTRICT", "move_to_default": "SET_DEFAULT", "delete_content": "CASCADE"}
        self.api.delete(f"{WORKSPACES}/{present['name']}", mode=modes[present["mode"]])

    def bring(self, thing: Mapping[str, Any], present: dict[str, Any] | None) -> None:
        """Create a workspace or change it, and set its members."""
        name, wanted = thing["name"], self.after[thing["name"]]
        given = {key: wanted[key] for key in ("description", "default_artifact_root") if wanted[key] != ((present or {}).get(key) or "")}
        if present is None:
            self.api.change("POST", WORKSPACES, NO_WORKSPACES, name=name, **given)
        elif given:
            self.api.change("PATCH", f"{WORKSPACES}/{name}", **given)
        before = self.before[name].get("members", {})
        for user, permission in wanted.get("members", {}).items():
            if before.get(user, NONE) != permission:
                self._set_member(name, user, permission)

    def _bound(self, workspace: str) -> str:
        """Return the name of an experiment whose artifacts MLflow opens to requests of its workspace alone, empty if there is none.

        Source: a request of another workspace is answered by "Artifact path targets workspace" (MLflow 3.17.2).
        """
        experiments = every(Api(self.api.server, workspace=workspace), f"{OLDER_API}/experiments/search", "experiments", view_type="ALL")
        return next((one["name"] for one in experiments if one["artifact_location"].startswith(PASSED_ON)), "")

    # -- members
    def _members(self, workspace: str, others: bool) -> dict[str, str]:
        """Return the permission of each member of a workspace that a role of this collection keeps, and C(OWN) for users with rights of their own alone.

        :param others: Whether to look for users with other roles as well.
        """
        self._read_roles(workspace)
        found = dict.fromkeys(self._own_roles(workspace), OWN)
        for role in self._other_roles(workspace) if others else ():
            for user in self._with_role(workspace, role):
                found.setdefault(user, OTHER)
        for permission in MEMBER_PERMISSIONS:
            for user in self._with_role(workspace, ROLES[permission]):
                if self._is_complete(workspace, permission):
                    found[user] = permission
                else:
                    found.setdefault(user, OWN)
        return found

    def _other_roles(self, workspace: str) -> list[str]:
        """Return the names of the roles of a workspace that are neither for members nor for one user. Those of the server's own workspace stay as they are."""
        if workspace == DEFAULT_WORKSPACE:
            return []
        return [role for role in self._roles[workspace] if role not in ROLES.values() and not role.startswith(OWN_ROLES)]

    def _with_role(self, workspace: str, name: str) -> set[str]:
        """Return the users that have a role of a workspace."""
        if (workspace, name) not in self._assigned:
            self._read_roles(workspace)
            role, names = self._roles[workspace].get(name), self._names()
            answer = (self.api.get(f"{API}/roles/users/list", NO_ROLES, role_id=role["id"]) or {}) if role else {}
            self._assigned[workspace, name] = {names[one["user_id"]] for one in answer.get("assignments") or () if one["user_id"] in names}
        return self._assigned[workspace, name]

    def _is_complete(self, workspace: str, permission: str) -> bool:
        """Return whether the role of members gives a permission. A run that was interrupted may have left one that gives none."""
        given = self._roles[workspace][ROLES[permission]].get("permissions")
        return given is None or any(row["resource_type"] == "workspace" and row["resource_pattern"] == "*" for row in given)

    def _own_roles(self, workspace: str) -> dict[str, int]:
        """Return the numbers of the roles with what single users may do with single things of a workspace, by the users' names."""
        roles = {} if workspace == DEFAULT_WORKSPACE else self._roles[workspace]
        return {user: roles[role]["id"] for number, user in self._names().items() if (role := OWN_ROLE.format(number)) in roles}

    def _read_roles(self, workspace: str) -> None:
        if workspace not in self._roles:
            answer = self.api.get(f"{API}/roles/list", NO_ROLES, workspace=workspace) or {}
            self._roles[workspace] = {role["name"]: role for role in answer.get("roles") or ()}

    def _names(self) -> dict[int, str]:
        """Return the names of all users by their numbers."""
        if not self._users:
            answer = self.api.get("/api/2.0/mlflow/users/list", NO_ROLES) or {}
            self._users = {user["id"]: user["username"] for user in answer.get("users") or ()}
        return self._users

    def _open_role(self, workspace: str, permission: str) -> int:
        """Return the number of the role of members with a permission, which is created or completed if needed."""
        self._read_roles(workspace)
        roles, name = self._roles[workspace], ROLES[permission]
        if name not in roles:
            made = self.api.change("POST", f"{API}/roles/create", NO_ROLES, workspace=workspace, name=name)
            roles[name] = {"id": made["role"]["id"], "permissions": []}
        number: int = roles[name]["id"]
        if not self._is_complete(workspace, permission):
            given = {"resource_type": "workspace", "resource_pattern": "*", "permission": permission}
            self.api.change("POST", f"{API}/roles/permissions/add", role_id=number, **given)
            roles[name]["permissions"] = [given]
        return number

    def _set_member(self, workspace: str, user: str, permission: str) -> None:
        """Give a user the wanted role, and take others from the user. Whoever is taken out keeps nothing.

        A user may have both roles, or the wanted one already, after a run that was interrupted.
        """
        if self.api.only_look:
            return
        self._read_roles(workspace)
        if permission != NONE:
            number = self._open_role(workspace, permission)
            if user not in self._with_role(workspace, ROLES[permission]):
                self.api.change("POST", f"{API}/roles/assign", username=user, role_id=number)
                self._assigned[workspace, ROLES[permission]].add(user)
        former = [ROLES[other] for other in MEMBER_PERMISSIONS if other != permission]
        for role in former if permission != NONE else [*former, *self._other_roles(workspace)]:
            if user in self._with_role(workspace, role):
                self.api.change("DELETE", f"{API}/roles/unassign", username=user, role_id=self._roles[workspace][role]["id"])
                self._assigned[workspace, role].discard(user)
        if permission == NONE and (own := self._own_roles(workspace).get(user)):
            self.api.change("DELETE", f"{API}/roles/delete", role_id=own)
