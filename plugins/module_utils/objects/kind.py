# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A kind of things that a tracking server keeps by name. A thing is read, compared with what is wanted, and changed.

Requests and their fields are those of MLflow's REST API (U(https://mlflow.org/docs/latest/api_reference/rest-api.html)).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.atlas.mlflow.plugins.module_utils.api import SERVER_ARGUMENTS, Api, Refused, changed_keys, ended_by_refusal, server_of

#: The state of a thing that is not there.
ABSENT: dict[str, Any] = {"state": "absent"}
#: Things in one answer to a search.
PAGE = 200
#: The option of modules for things that each workspace has of its own. The fragment C(tracking_server.workspace) documents it.
WORKSPACE: dict[str, dict[str, Any]] = {"workspace": {"type": "str", "default": ""}}


class Kind:
    """A kind of things with names."""

    #: The word for one, in a message.
    word = ""

    def __init__(self, api: Api) -> None:
        """Take the API of the server."""
        self.api = api
        self.before: dict[str, Any] = {}
        self.after: dict[str, Any] = {}
        #: The names of things that the server does not show to the user, who may not read them. It may also have none.
        self.denied: set[str] = set()

    def apply(self, things: Iterable[Mapping[str, Any]]) -> None:
        """Bring each thing to its wanted state. C(before) and C(after) then have the states.

        :raises Refused: Before anything is changed, if a thing cannot become what is wanted. Later, if a request fails.
        """
        plans = []
        for thing in things:
            if not thing["name"]:
                raise Refused(f"the name of a {self.word} is empty")
            if thing["name"] in self.before:
                raise Refused(f"the {self.word} {thing['name']} is given twice")
            present = self.read(thing["name"])
            self.before[thing["name"]] = self.shown(present)
            wanted = ABSENT if thing["state"] == "absent" else self.wanted(thing, present)
            if thing["state"] == "absent" and present is not None:
                self.check_removal(thing, present)
            self.after[thing["name"]] = wanted
            plans.append((thing, present))
        for thing, present in plans:
            if thing["state"] == "absent":
                if present is not None and self.before[thing["name"]] != ABSENT:
                    self.remove(present)
            else:
                self._bring(thing, present)

    def _bring(self, thing: Mapping[str, Any], present: dict[str, Any] | None) -> None:
        """Bring a thing, and tell of one that the user may not read."""
        try:
            self.bring(thing, present)
        except Refused as refused:
            if thing["name"] in self.denied:
                raise Refused(f"{refused}. The user may not read a {self.word} {thing['name']}, which the server may have already") from None
            raise

    # -- what each kind knows
    def read(self, name: str) -> dict[str, Any] | None:
        """Return what the server says about a thing, C(None) if it is not there."""
        raise NotImplementedError

    def shown(self, present: dict[str, Any] | None) -> dict[str, Any]:
        """Return the state of a thing, to compare it with the wanted one."""
        raise NotImplementedError

    def difference(self) -> dict[str, Any]:
        """Return the states before and after, for the difference of the module."""
        return {"before": self.before, "after": self.after}

    def wanted(self, thing: Mapping[str, Any], present: dict[str, Any] | None) -> dict[str, Any]:
        """Return the state that a thing is to have.

        :raises Refused: If it cannot have it.
        """
        raise NotImplementedError

    def check_removal(self, thing: Mapping[str, Any], present: dict[str, Any]) -> None:
        """Refuse to remove what the user has not said to remove.

        :raises Refused: If that is so.
        """

    def remove(self, present: dict[str, Any]) -> None:
        """Remove a thing."""
        raise NotImplementedError

    def bring(self, thing: Mapping[str, Any], present: dict[str, Any] | None) -> None:
        """Send the requests that a thing needs."""
        raise NotImplementedError


def every(api: Api, path: str, key: str, unknown: str = "", **content: Any) -> Iterator[dict[str, Any]]:
    """Return all things of a search, page by page.

    :param key: The name of their list in an answer.
    :param unknown: What it may mean that the server does not know the path.
    """
    token = ""
    while True:
        answer = api.get(path, unknown, **content, max_results=PAGE, **({"page_token": token} if token else {})) or {}
        yield from answer.get(key) or ()
        token = answer.get("next_page_token") or ""
        if not token:
            return


def arguments(option: str, options: dict[str, dict[str, Any]], in_workspace: bool = True) -> dict[str, dict[str, Any]]:
    """Return the arguments of a module for a list of things.

    :param option: The name of the list.
    :param options: What a thing has beside its name and its state.
    :param in_workspace: Whether each workspace has such things of its own.
    """
    own = {"name": {"type": "str", "required": True}, "state": {"type": "str", "choices": ["present", "absent"], "default": "present"}}
    return {
        **SERVER_ARGUMENTS,
        **(WORKSPACE if in_workspace else {}),
        option: {"type": "list", "elements": "dict", "required": True, "options": {**own, **options}},
    }


def run(module: AnsibleModule, kind: type[Kind], option: str) -> None:
    """Bring the things of a module's option to their wanted states, and end the module."""
    server = server_of(module)

    def applied() -> Kind:
        there = kind(Api(server, module.check_mode, module.params.get("workspace", "")))
        there.apply(module.params[option])
        return there

    there = ended_by_refusal(module, server, applied)
    for name in sorted(name for name in there.denied if there.after[name] == ABSENT):
        module.warn(f"{server.base.origin} does not show a {there.word} {name} to the user: there is none, or the user may not read it.")
    changed = changed_keys(there.before, there.after)
    module.exit_json(changed=bool(changed), **{option: changed}, diff=there.difference())
