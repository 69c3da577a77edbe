# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All things of a kind that a tracking server has, by their names."""

from __future__ import annotations

from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.api import NO_WORKSPACES, WORKSPACES, Api
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.experiments import Experiments
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.kind import every
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.prompts import Prompts
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.registered_models import IS_PROMPT, RegisteredModels
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.tags import pairs
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.webhooks import Webhooks
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.workspaces import Workspaces
from ansible_collections.atlas.mlflow.plugins.module_utils.tracking import API


def shown_experiments(api: Api) -> dict[str, Any]:
    """Return the experiments that are not deleted, by name."""
    kind = Experiments(api)
    return {row["name"]: {"experiment_id": row["experiment_id"], **kind.shown(row)} for row in every(api, f"{API}/experiments/search", "experiments")}


def shown_models(api: Api) -> dict[str, Any]:
    """Return the registered models that are no prompts, by name."""
    kind = RegisteredModels(api)
    found = every(api, f"{API}/registered-models/search", "registered_models")
    return {
        row["name"]: {**kind.shown(row), "newest_version": str(kind.newest(row).get("version", ""))} for row in found if IS_PROMPT not in pairs(row.get("tags"))
    }


def shown_prompts(api: Api) -> dict[str, Any]:
    """Return the prompts, by name."""
    kind = Prompts(api)
    found = every(api, f"{API}/registered-models/search", "registered_models", filter=f"tags.`{IS_PROMPT}` = 'true'")
    return {row["name"]: kind.shown(row) for row in found}


def shown_webhooks(api: Api) -> dict[str, Any]:
    """Return the webhooks, by name."""
    kind = Webhooks(api)
    return {row["name"]: {"webhook_id": row["webhook_id"], **kind.shown(row)} for row in kind.all()}


def shown_workspaces(api: Api) -> dict[str, Any]:
    """Return the workspaces, by name."""
    kind = Workspaces(api)
    found = api.get(WORKSPACES, NO_WORKSPACES) or {}
    return {row["name"]: kind.shown({**row, "members": None}) for row in found.get("workspaces") or ()}


#: What a module may list, by its name.
SHOWN = {
    "experiments": shown_experiments,
    "registered_models": shown_models,
    "prompts": shown_prompts,
    "webhooks": shown_webhooks,
    "workspaces": shown_workspaces,
}
