#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that sets registered models of a tracking server."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mlflow_registered_model
short_description: Create registered models of an MLflow tracking server, and set their aliases
version_added: 1.0.0
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
extends_documentation_fragment:
  - atlas.mlflow.attributes
  - atlas.mlflow.tracking_server
  - atlas.mlflow.tracking_server.request
  - atlas.mlflow.tracking_server.workspace
  - atlas.mlflow.tls
description:
  - Creates, changes and removes registered models, for a whole list at once. Their versions come from runs.
  - Models, tags and aliases that are not listed are not changed.
  - With workspaces, or if users may read nothing by default, MLflow does not tell a user whether there is a registered model that the user may
    not read. The module takes it for one that does not exist. To create it then fails if it exists, and V(absent) changes nothing and warns.
attributes:
  check_mode:
    description: Says what would change, and changes nothing.
    support: full
  diff_mode:
    description: Returns each registered model before and after.
    support: full
options:
  registered_models:
    description: The registered models. Their order has no meaning.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The name.
        type: str
        required: true
      state:
        description: Whether the registered model exists. With V(absent), other options do not count, apart from O(registered_models[].remove_versions).
        type: str
        choices: [present, absent]
        default: present
      description:
        description: The description. Without it, that of an existing registered model stays.
        type: str
      tags:
        description: Tags by their keys. Null removes a tag. Tags that are not listed stay.
        type: dict
        default: {}
      aliases:
        description:
          - Numbers of versions by their aliases. V(latest) is the newest version, and null removes an alias.
          - Aliases that are not listed stay.
        type: dict
        default: {}
      remove_versions:
        description: Whether V(absent) may remove a registered model with versions. MLflow cannot restore them.
        type: bool
        default: false
"""

EXAMPLES = r"""
- name: Let the newest version of a model be the one that is served
  atlas.mlflow.mlflow_registered_model:
    url: http://127.0.0.1:5001
    registered_models:
      - name: churn-model
        description: Predicts who leaves.
        tags: {team: retention}
        aliases: {champion: latest, challenger: null}
"""

RETURN = r"""
registered_models:
  description: What differed, by name. Those without a change are omitted.
  returned: success
  type: dict
  sample:
    churn-model: [aliases, description]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.kind import arguments, run
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.registered_models import OPTIONS, RegisteredModels

ARGUMENTS = arguments("registered_models", OPTIONS)


def main() -> None:
    """Run the module."""
    run(AnsibleModule(ARGUMENTS, supports_check_mode=True), RegisteredModels, "registered_models")


if __name__ == "__main__":
    main()
