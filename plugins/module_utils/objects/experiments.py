# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Experiments with their tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.api import Refused
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.kind import ABSENT, Kind
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.tags import after_tags, as_text, changed_tags, pairs, rows
from ansible_collections.atlas.mlflow.plugins.module_utils.tracking import API


class Experiments(Kind):
    """Experiments. A removed one can be restored, until MLflow's garbage collection removes it for good."""

    word = "experiment"

    def read(self, name: str) -> dict[str, Any] | None:
        """Return an experiment, also one that was deleted and can be restored."""
        found = self.api.get(f"{API}/experiments/get-by-name", experiment_name=name)
        return found["experiment"] if found else None

    def shown(self, present: dict[str, Any] | None) -> dict[str, Any]:
        """Return the state with the location of artifacts and the tags."""
        if present is None or present.get("lifecycle_stage") == "deleted":
            return ABSENT
        return {"state": "present", "artifact_location": present.get("artifact_location", ""), "tags": pairs(present.get("tags"))}

    def wanted(self, thing: Mapping[str, Any], present: dict[str, Any] | None) -> dict[str, Any]:
        """Return the state. An experiment keeps the location that it was created with."""
        there, location = present or {}, thing.get("artifact_location")
        if location and ":" not in location and not location.startswith("/"):
            # The server would complete it by its own folder, so it would be another one the next time.
            raise Refused(f"the artifact_location of the experiment {thing['name']} is {location}: give a URI, or a path that begins with a slash")
        if present is not None and location and location.rstrip("/") != there.get("artifact_location", "").rstrip("/"):
            raise Refused(
                f"the experiment {thing['name']} keeps its artifacts in {there.get('artifact_location')}, and MLflow cannot change that to {location}: "
                "leave artifact_location out, or choose another name"
            )
        place = there.get("artifact_location") or location or "(by the server)"
        return {"state": "present", "artifact_location": place, "tags": after_tags(pairs(there.get("tags")), as_text(thing.get("tags")))}

    def remove(self, present: dict[str, Any]) -> None:
        """Delete an experiment, so that it can be restored."""
        self.api.change("POST", f"{API}/experiments/delete", experiment_id=present["experiment_id"])

    def bring(self, thing: Mapping[str, Any], present: dict[str, Any] | None) -> None:
        """Create or restore an experiment, and change its tags."""
        tags = as_text(thing.get("tags"))
        if present is None:
            location = {"artifact_location": thing["artifact_location"]} if thing.get("artifact_location") else {}
            self.api.change("POST", f"{API}/experiments/create", name=thing["name"], tags=rows(tags), **location)
            return
        number = present["experiment_id"]
        if present.get("lifecycle_stage") == "deleted":
            self.api.change("POST", f"{API}/experiments/restore", experiment_id=number)
        for key, value in changed_tags(pairs(present.get("tags")), tags):
            if value is None:
                self.api.change(
                    "POST",
                    f"{API}/experiments/delete-experiment-tag",
                    "this release of MLflow cannot remove the tag of an experiment",
                    experiment_id=number,
                    key=key,
                )
            else:
                self.api.change("POST", f"{API}/experiments/set-experiment-tag", experiment_id=number, key=key, value=value)
