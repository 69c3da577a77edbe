# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Registered models with their descriptions, tags and aliases."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.api import Denied, Refused
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.kind import ABSENT, Kind
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.tags import after_tags, as_text, changed_tags, pairs, rows
from ansible_collections.atlas.mlflow.plugins.module_utils.tracking import API

#: The tag by which MLflow knows that a registered model is a prompt.
IS_PROMPT = "mlflow.prompt.is_prompt"
#: The word for the newest version in an alias.
LATEST = "latest"
NUMBER = re.compile(r"[0-9]+")
#: The arguments of a registered model and of a prompt.
OPTIONS: dict[str, dict[str, Any]] = {
    "description": {"type": "str"},
    "tags": {"type": "dict", "default": {}},
    "aliases": {"type": "dict", "default": {}},
    "remove_versions": {"type": "bool", "default": False},
}


class RegisteredModels(Kind):
    """Registered models with descriptions, tags and aliases. Their versions come from runs."""

    word = "registered model"
    #: Whether this is about prompts, which MLflow keeps in the same table.
    prompts = False

    def read(self, name: str) -> dict[str, Any] | None:
        """Return a registered model, C(None) if the server shows none to the user.

        With workspaces, or if users may read nothing by default, MLflow answers in the same way about a model that is not there and one that the user may not
        read. Source: C(_get_permission_from_registered_model_or_prompt_name) in C(mlflow/server/auth/__init__.py).

        :raises Refused: If the name is that of a prompt: MLflow keeps both in one table.
        """
        try:
            found = self.api.get(f"{API}/registered-models/get", name=name)
        except Denied:
            self.denied.add(name)
            return None
        if found is None:
            return None
        model: dict[str, Any] = found["registered_model"]
        if (IS_PROMPT in pairs(model.get("tags"))) != self.prompts:
            raise Refused(f"{name} is {'a registered model' if self.prompts else 'a prompt'}, and not a {self.word}: choose another name")
        return model

    def shown(self, present: dict[str, Any] | None) -> dict[str, Any]:
        """Return the state with description, tags and aliases."""
        if present is None:
            return ABSENT
        tags = {key: value for key, value in pairs(present.get("tags")).items() if key != IS_PROMPT}
        aliases = {row["alias"]: str(row["version"]) for row in present.get("aliases") or ()}
        return {"state": "present", "description": present.get("description", ""), "tags": tags, "aliases": aliases}

    def newest(self, present: dict[str, Any] | None) -> dict[str, Any]:
        """Return the newest version, empty if there is none."""
        found: list[dict[str, Any]] = (present or {}).get("latest_versions") or []
        return max(found, key=lambda row: int(row["version"]), default={})

    def adds_version(self, thing: Mapping[str, Any], present: dict[str, Any] | None) -> bool:
        """Return whether a new version is to be made, which needs what only some kinds are given."""
        return "template" in thing and not self.same_text(thing, present)

    def same_text(self, thing: Mapping[str, Any], present: dict[str, Any] | None) -> bool:
        """Return whether the newest version has the given text."""
        raise NotImplementedError

    def next_version(self, thing: Mapping[str, Any], present: dict[str, Any] | None) -> str:
        """Return the number of the version that is the newest one afterwards, empty if there is none."""
        number = str(self.newest(present).get("version", ""))
        return str(int(number or 0) + 1) if self.adds_version(thing, present) else number

    def aliases(self, thing: Mapping[str, Any], newest: str) -> dict[str, str | None]:
        """Return the wanted aliases with numbers of versions.

        :raises Refused: If an alias is for a version that does not exist.
        """
        given: dict[str, str | None] = {}
        for alias, version in (thing.get("aliases") or {}).items():
            if version == LATEST and not newest:
                raise Refused(f"the {self.word} {thing['name']} has no version for its alias {alias}")
            if version is None or version == LATEST:
                given[str(alias)] = newest if version else None
                continue
            if not NUMBER.fullmatch(str(version)):
                raise Refused(f"the alias {alias} of the {self.word} {thing['name']} is for {version}: give the number of a version, or {LATEST}")
            # MLflow keeps a number, so 03 is 3 the next time.
            given[str(alias)] = str(int(version))
            if not 0 < int(version) <= int(newest or 0):
                raise Refused(
                    f"the alias {alias} of the {self.word} {thing['name']} is for version {version}, and "
                    + (f"its newest version is {newest}" if newest else "there is no version")
                )
        return given

    def wanted(self, thing: Mapping[str, Any], present: dict[str, Any] | None) -> dict[str, Any]:
        """Return the state. What is not given stays."""
        there = self.shown(present)
        description = there.get("description", "") if thing.get("description") is None else thing["description"]
        tags = after_tags(there.get("tags", {}), as_text(thing.get("tags")))
        aliases = after_tags(there.get("aliases", {}), self.aliases(thing, self.next_version(thing, present)))
        return {"state": "present", "description": description, "tags": tags, "aliases": aliases}

    def check_removal(self, thing: Mapping[str, Any], present: dict[str, Any]) -> None:
        """Refuse to remove versions, which MLflow cannot restore, without a word."""
        if self.newest(present) and not thing.get("remove_versions"):
            raise Refused(f"the {self.word} {thing['name']} has versions, which MLflow removes for good: set remove_versions to true if that is wanted")

    def remove(self, present: dict[str, Any]) -> None:
        """Remove a registered model with its versions."""
        self.api.change("DELETE", f"{API}/registered-models/delete", name=present["name"])

    def bring(self, thing: Mapping[str, Any], present: dict[str, Any] | None) -> None:
        """Create a registered model, or change its description and tags. Then set its aliases."""
        name, there, after = thing["name"], self.shown(present), self.after[thing["name"]]
        tags = as_text(thing.get("tags"))
        if present is None:
            own = {IS_PROMPT: "true"} if self.prompts else {}
            self.api.change("POST", f"{API}/registered-models/create", name=name, tags=rows({**own, **tags}), description=after["description"])
        else:
            if there["description"] != after["description"]:
                self.api.change("PATCH", f"{API}/registered-models/update", name=name, description=after["description"])
            for key, value in changed_tags(there["tags"], tags):
                if value is None:
                    self.api.change("DELETE", f"{API}/registered-models/delete-tag", name=name, key=key)
                else:
                    self.api.change("POST", f"{API}/registered-models/set-tag", name=name, key=key, value=value)
        version = self.add_version(thing, present)
        for alias, number in changed_tags(there.get("aliases", {}), self.aliases(thing, version)):
            if number is None:
                self.api.change("DELETE", f"{API}/registered-models/alias", name=name, alias=alias)
            else:
                self.api.change("POST", f"{API}/registered-models/alias", name=name, alias=alias, version=number)

    def add_version(self, thing: Mapping[str, Any], present: dict[str, Any] | None) -> str:
        """Return the number of the newest version."""
        return self.next_version(thing, present)
