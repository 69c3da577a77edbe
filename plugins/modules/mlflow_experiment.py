#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that sets experiments of a tracking server."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mlflow_experiment
short_description: Create experiments of an MLflow tracking server, and set their tags
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
  - Creates, restores and deletes experiments, and sets their tags, for a whole list at once.
  - Experiments and tags that are not listed are not changed. A deleted experiment keeps its runs and can be restored, by V(present), until MLflow's garbage
    collection removes it.
attributes:
  check_mode:
    description: Says what would change, and changes nothing.
    support: full
  diff_mode:
    description: Returns each experiment before and after.
    support: full
options:
  experiments:
    description: The experiments. Their order has no meaning.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The name.
        type: str
        required: true
      state:
        description: Whether the experiment exists. With V(absent), other options do not count.
        type: str
        choices: [present, absent]
        default: present
      artifact_location:
        description:
          - Where the experiment keeps its artifacts. By default, the server chooses.
          - MLflow cannot change the location of an experiment that exists, so another one is refused.
        type: str
      tags:
        description: Tags by their keys. Null removes a tag. Tags that are not listed stay.
        type: dict
        default: {}
"""

EXAMPLES = r"""
- name: Create two experiments, and delete a third one
  atlas.mlflow.mlflow_experiment:
    url: https://mlflow.example.org
    username: ada
    password: "{{ vault_ada_password }}"
    experiments:
      - name: churn
        tags: {team: retention, owner: ada}
      - name: pricing
      - {name: trial, state: absent}
"""

RETURN = r"""
experiments:
  description: What differed, by name. Those without a change are omitted.
  returned: success
  type: dict
  sample:
    churn: [tags]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.experiments import Experiments
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.kind import arguments, run

ARGUMENTS = arguments(
    "experiments",
    {
        "artifact_location": {"type": "str"},
        "tags": {"type": "dict", "default": {}},
    },
)


def main() -> None:
    """Run the module."""
    run(AnsibleModule(ARGUMENTS, supports_check_mode=True), Experiments, "experiments")


if __name__ == "__main__":
    main()
