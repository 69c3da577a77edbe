#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that sets prompts of a tracking server."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mlflow_prompt
short_description: Create prompts of an MLflow tracking server, and set their aliases
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
  - Creates, changes and removes prompts, for a whole list at once. A changed template is a new version, and the former versions stay.
  - Prompts, tags and aliases that are not listed are not changed.
  - With workspaces, or if users may read nothing by default, MLflow does not tell a user whether there is a prompt that the user may
    not read. The module takes it for one that does not exist. To create it then fails if it exists, and V(absent) changes nothing and warns.
attributes:
  check_mode:
    description: Says what would change, and changes nothing.
    support: full
  diff_mode:
    description: Returns each prompt before and after.
    support: full
options:
  prompts:
    description: The prompts. Their order has no meaning.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The name.
        type: str
        required: true
      state:
        description: Whether the prompt exists. With V(absent), other options do not count, apart from O(prompts[].remove_versions).
        type: str
        choices: [present, absent]
        default: present
      template:
        description:
          - The text, in which C({{ word }}) is a variable, or a list of messages, each with C(role) and C(content).
          - Without it, no version is added. In a playbook, mark the text with C(!unsafe), so that Ansible leaves the variables to MLflow.
        type: raw
      commit_message:
        description: What the new version is for, if one is added.
        type: str
      description:
        description: The description. Without it, that of an existing prompt stays.
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
        description: Whether V(absent) may remove a prompt with versions. MLflow cannot restore them.
        type: bool
        default: false
"""

EXAMPLES = r"""
- name: Set the text of a prompt, and use it from now on
  atlas.mlflow.mlflow_prompt:
    url: http://127.0.0.1:5001
    prompts:
      - name: summary
        template: !unsafe "Summarize in {{ count }} words: {{ text }}"
        commit_message: Limit the number of words.
        aliases: {production: latest}
"""

RETURN = r"""
prompts:
  description: What differed, by name. Those without a change are omitted.
  returned: success
  type: dict
  sample:
    summary: [aliases, template, version]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.kind import arguments, run
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.prompts import Prompts
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.registered_models import OPTIONS

ARGUMENTS = arguments("prompts", {"template": {"type": "raw"}, "commit_message": {"type": "str"}, **OPTIONS})


def main() -> None:
    """Run the module."""
    run(AnsibleModule(ARGUMENTS, supports_check_mode=True), Prompts, "prompts")


if __name__ == "__main__":
    main()
