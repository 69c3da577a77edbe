# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Webhooks of the model registry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.api import Api, Refused
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.kind import ABSENT, Kind, every
from ansible_collections.atlas.mlflow.plugins.module_utils.tracking import API

EVENT = re.compile(r"[a-z0-9_]+\.[a-z0-9_]+")
#: The parts of a URL that are shown. Most services that take webhooks know the sender by a secret in the path.
PLACE = re.compile(r"(\w+://)(?:[^/?#]*@)?([^/?#]*)")


def hidden(url: str) -> str:
    """Return a URL without its path, its query and a login, which may be secrets."""
    place = PLACE.match(url)
    return f"{place[1]}{place[2]}/***" if place else "***"


class Webhooks(Kind):
    """Webhooks of the model registry. The server gives them numbers; here the name says which is meant."""

    word = "webhook"
    #: What it means that the server does not know the path.
    OLD = "this release of MLflow has no webhooks, or its model registry is not in a database"

    def __init__(self, api: Api) -> None:
        """Take the API of the server."""
        super().__init__(api)
        self._there: list[dict[str, Any]] | None = None

    def all(self) -> list[dict[str, Any]]:
        """Return all webhooks, which are read once."""
        if self._there is None:
            self._there = list(every(self.api, f"{API}/webhooks", "webhooks", self.OLD))
        return self._there

    def read(self, name: str) -> dict[str, Any] | None:
        """Return a webhook.

        :raises Refused: If several have the name.
        """
        found = [row for row in self.all() if row["name"] == name]
        if len(found) > 1:
            raise Refused(f"{len(found)} webhooks have the name {name}: remove or rename all but one")
        return found[0] if found else None

    def shown(self, present: dict[str, Any] | None) -> dict[str, Any]:
        """Return the state. The server does not show a secret."""
        if present is None:
            return ABSENT
        events = sorted(f"{row['entity']}.{row['action']}".lower() for row in present.get("events") or ())
        place = {"url": present["url"], "events": events}
        return {"state": "present", **place, "description": present.get("description", ""), "active": present.get("status", "ACTIVE") == "ACTIVE"}

    def difference(self) -> dict[str, Any]:
        """Return the states without what may be secret in a URL."""
        states: dict[str, dict[str, Any]] = {"before": {}, "after": {}}
        for name, after in self.after.items():
            before = self.before[name]
            for when, state in (("before", before), ("after", after)):
                states[when][name] = {**state, **({"url": hidden(state["url"])} if "url" in state else {})}
            if before.get("url") not in (None, after.get("url")) and states["before"][name]["url"] == states["after"][name].get("url"):
                states["after"][name]["url"] += " (another)"
        return states

    def wanted(self, thing: Mapping[str, Any], present: dict[str, Any] | None) -> dict[str, Any]:
        """Return the state. What is not given stays."""
        there = self.shown(present)
        given = {"url": thing.get("url"), "events": self.events(thing) or None, "description": thing.get("description")}
        if present is None and not (given["url"] and given["events"]):
            raise Refused(f"the webhook {thing['name']} is not there, and url and events are needed to create it")
        default = {"description": "", "active": True}
        after: dict[str, Any] = {**default, **there, **{key: value for key, value in given.items() if value is not None}, "state": "present"}
        after["active"] = thing["active"] if thing.get("active") is not None else after["active"]
        if thing.get("secret") and (present is None or thing.get("update_secret") == "always"):
            after["secret"] = "as given"
        return after

    def events(self, thing: Mapping[str, Any]) -> list[str]:
        """Return the given events as the server shows them: in lower case, and each once.

        :raises Refused: If one is no event. The server would take a part of it, or answer 500.
        """
        events = sorted({event.strip().lower() for event in thing.get("events") or ()})
        for event in events:
            if not EVENT.fullmatch(event):
                raise Refused(f"the webhook {thing['name']} has the event {event!r}: an event is a thing, a dot and what happens to it, as in prompt.created")
        return events

    def remove(self, present: dict[str, Any]) -> None:
        """Remove a webhook."""
        self.api.change("DELETE", f"{API}/webhooks/{present['webhook_id']}", self.OLD)

    def bring(self, thing: Mapping[str, Any], present: dict[str, Any] | None) -> None:
        """Create a webhook, or send what differs."""
        before, after = self.before[thing["name"]], self.after[thing["name"]]
        sent: dict[str, Any] = {key: after[key] for key in ("url", "description") if before.get(key) != after[key]}
        if before.get("events") != after["events"]:
            sent["events"] = [dict(zip(("entity", "action"), event.upper().split("."))) for event in after["events"]]
        if before.get("active") != after["active"]:
            sent["status"] = "ACTIVE" if after["active"] else "DISABLED"
        if "secret" in after:
            sent["secret"] = thing["secret"]
        if present is None:
            self.api.change("POST", f"{API}/webhooks", self.OLD, name=thing["name"], **sent)
        elif sent:
            answer = self.api.change("PATCH", f"{API}/webhooks/{present['webhook_id']}", self.OLD, **sent)
            if not after["description"] and (answer.get("webhook") or {}).get("description"):
                # Releases such as 3.10.1 take an empty text for one that is not given.
                raise Refused(f"this release of MLflow cannot remove the description of the webhook {thing['name']}: give another one")
