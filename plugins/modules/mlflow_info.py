#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that lists experiments, registered models, prompts, webhooks and workspaces of a tracking server."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mlflow_info
short_description: List experiments, registered models, prompts, webhooks and workspaces of an MLflow tracking server
version_added: 1.0.0
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
extends_documentation_fragment:
  - atlas.mlflow.attributes
  - atlas.mlflow.attributes.reads_only
  - atlas.mlflow.tracking_server
  - atlas.mlflow.tracking_server.request
  - atlas.mlflow.tracking_server.workspace
  - atlas.mlflow.tls
description:
  - Returns what a tracking server has, by name, with all pages of long lists. A user with few permissions gets what this user may read.
options:
  subset:
    description: What to list. Webhooks and workspaces need a release that has them. Webhooks need an administrator if the server
      has users.
    type: list
    elements: str
    choices: [experiments, registered_models, prompts, webhooks, workspaces]
    default: [experiments, registered_models, prompts]
"""

EXAMPLES = r"""
- name: List the registered models
  atlas.mlflow.mlflow_info:
    url: http://127.0.0.1:5001
    subset: [registered_models]
  register: listed

- name: Show which version each champion is
  ansible.builtin.debug:
    msg: "{{ item.key }}: {{ item.value.aliases.champion | default('none') }}"
  loop: "{{ listed.registered_models | dict2items }}"
"""

RETURN = r"""
experiments:
  description: The experiments that are not deleted, each with its number, the location of its artifacts and its tags.
  returned: if asked for
  type: dict
  sample:
    churn: {experiment_id: "7", state: present, artifact_location: "mlflow-artifacts:/7", tags: {team: retention}}
registered_models:
  description: The registered models, each with its description, tags, aliases and newest version.
  returned: if asked for
  type: dict
  sample:
    churn-model: {state: present, description: "", tags: {}, aliases: {champion: "3"}, newest_version: "4"}
prompts:
  description: The prompts, each with its description, tags, aliases, newest version and the text of this version.
  returned: if asked for
  type: dict
  sample:
    summary: {state: present, description: "", tags: {}, aliases: {production: "2"}, version: "2", template: "Summarize: {{ text }}"}
webhooks:
  description: The webhooks, each with its number, URL, events, description and whether it is active.
  returned: if asked for
  type: dict
  sample:
    deployment: {webhook_id: "5a", state: present, url: "https://deployment.example.org/mlflow", events: [model_version.created], description: "", active: true}
workspaces:
  description: The workspaces, each with its description and the place of its artifacts, which is empty for the place below that of the server.
  returned: if asked for
  type: dict
  sample:
    vision: {state: present, description: Pictures and video, default_artifact_root: ""}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.atlas.mlflow.plugins.module_utils.api import SERVER_ARGUMENTS, Api, ended_by_refusal, server_of
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.kind import WORKSPACE
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.listing import SHOWN

ARGUMENTS: dict[str, dict[str, Any]] = {
    **SERVER_ARGUMENTS,
    **WORKSPACE,
    "subset": {
        "type": "list",
        "elements": "str",
        "choices": ["experiments", "registered_models", "prompts", "webhooks", "workspaces"],
        "default": ["experiments", "registered_models", "prompts"],
    },
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    server = server_of(module)
    api = Api(server, module.check_mode, module.params["workspace"])
    found = ended_by_refusal(module, server, lambda: {kind: SHOWN[kind](api) for kind in module.params["subset"]})
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
