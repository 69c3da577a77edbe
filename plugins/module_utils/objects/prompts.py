# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prompts with their texts, tags and aliases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.api import Refused
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.registered_models import IS_PROMPT, RegisteredModels
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.tags import pairs, rows
from ansible_collections.atlas.mlflow.plugins.module_utils.tracking import API

#: The tags of a version with its text and its type.
PROMPT_TEXT, PROMPT_TYPE = "mlflow.prompt.text", "_mlflow_prompt_type"
#: What MLflow's own client gives as the source of a version of a prompt, which has none.
PROMPT_SOURCE = "dummy-source"


class Prompts(RegisteredModels):
    """Prompts: registered models whose versions are texts. A changed text is a new version, and the former ones stay."""

    word = "prompt"
    prompts = True

    @staticmethod
    def text(thing: Mapping[str, Any]) -> tuple[str, str] | None:
        """Return the text of a template and its type, C(None) if no template is given. A chat is a list of messages.

        :raises Refused: If the template is neither.
        """
        template = thing.get("template")
        if template is None:
            return None
        messages = template if isinstance(template, list) else []
        if not isinstance(template, str) and not (messages and all(isinstance(one, dict) and {"role", "content"} <= one.keys() for one in messages)):
            raise Refused(
                f"the template of the prompt {thing['name']} is neither a text nor a list of messages, each with role and content: "
                "put a number or a word such as yes in quotes"
            )
        return (template, "text") if isinstance(template, str) else (json.dumps(template), "chat")

    def same_text(self, thing: Mapping[str, Any], present: dict[str, Any] | None) -> bool:
        """Return whether the newest version has the given template, or none is given."""
        given, tags = self.text(thing), pairs(self.newest(present).get("tags"))
        if given is None:
            return True
        text, kind = given
        # Releases before 3.4 do not note the type.
        if tags.get(PROMPT_TYPE, "text") != kind or PROMPT_TEXT not in tags:
            return False
        return tags[PROMPT_TEXT] == text if kind == "text" else json.loads(tags[PROMPT_TEXT]) == thing["template"]

    def shown(self, present: dict[str, Any] | None) -> dict[str, Any]:
        """Return the state with the newest version and its text."""
        there = super().shown(present)
        if present is None:
            return there
        newest = self.newest(present)
        return {**there, "version": str(newest.get("version", "")), "template": pairs(newest.get("tags")).get(PROMPT_TEXT, "")}

    def wanted(self, thing: Mapping[str, Any], present: dict[str, Any] | None) -> dict[str, Any]:
        """Return the state, with a new version if the template differs."""
        after, there = super().wanted(thing, present), self.shown(present)
        if self.same_text(thing, present):
            return {**after, "version": there.get("version", ""), "template": there.get("template", "")}
        text = self.text(thing)
        return {**after, "version": self.next_version(thing, present), "template": text[0] if text else ""}

    def add_version(self, thing: Mapping[str, Any], present: dict[str, Any] | None) -> str:
        """Add a version if the template differs, and return the number of the newest one."""
        text = self.text(thing)
        if text is None or not self.adds_version(thing, present):
            return self.next_version(thing, present)
        tags = {IS_PROMPT: "true", PROMPT_TEXT: text[0], PROMPT_TYPE: text[1]}
        content = {"name": thing["name"], "source": PROMPT_SOURCE, "tags": rows(tags), "description": thing.get("commit_message") or ""}
        made = self.api.change("POST", f"{API}/model-versions/create", **content)
        return str(made["model_version"]["version"]) if made else self.next_version(thing, present)
