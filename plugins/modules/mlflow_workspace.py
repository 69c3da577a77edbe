#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that sets workspaces of a tracking server."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mlflow_workspace
short_description: Create workspaces of an MLflow tracking server, and say who is a member
version_added: 1.0.0
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
extends_documentation_fragment: [atlas.mlflow.attributes, atlas.mlflow.tracking_server, atlas.mlflow.tracking_server.request, atlas.mlflow.tls]
description:
  - Creates, changes and removes workspaces, which keep the experiments, models and prompts of teams apart, for a whole list at once. Workspaces that are not
    listed are not changed.
  - Needs a server with C(mlflow_server_workspaces), and a release with workspaces, such as 3.10.1 or newer. Members need a release with roles, such as 3.17.2.
  - With users, only an administrator may do this.
attributes:
  check_mode:
    description: Says what would change, and changes nothing.
    support: full
  diff_mode:
    description: Returns each workspace before and after.
    support: full
options:
  workspaces:
    description: The workspaces. Their order has no meaning.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The name, of 2 to 63 lower-case letters, digits and hyphens.
        type: str
        required: true
      state:
        description: Whether the workspace exists.
        type: str
        choices: [present, absent]
        default: present
      description:
        description: The description. Without it, that of an existing workspace stays.
        type: str
      default_artifact_root:
        description:
          - Where new experiments of the workspace keep their artifacts, as a URI. Without it, MLflow keeps them below C(workspaces/NAME) of the server's own
            place.
          - Clients access such a place themselves, each with keys of its own. The account of the tracking server need not reach it, and a backup of this
            collection does not have its artifacts.
        type: str
      members:
        description:
          - Users with their permission in the whole workspace. V(USE) lets a user create things and use those of others, V(MANAGE) lets the user also change
            everything and the members. Users that are not named stay what they are.
          - V(NONE) takes the user out. The user then loses also other roles of the workspace, such as C(admin) and C(user), which MLflow creates with it, and
            the rights to what the user has created in the workspace, which MLflow gives to each user by name. In the workspace C(default), other roles and
            these rights stay, because M(atlas.mlflow.mlflow_user) gives the rights there.
        type: dict
      on_removal:
        description:
          - What happens to experiments, models and prompts in a workspace that is removed. V(refuse) does not remove a workspace that has any,
            V(move_to_default) moves them to the workspace C(default), and V(delete_content) deletes them.
          - V(move_to_default) is refused if the server passes the artifacts on (C(mlflow_server_artifact_mode=proxied)), because MLflow then opens them only to
            requests of the workspace in which they were written, and nobody could read them after the move.
        type: str
        choices: [refuse, move_to_default, delete_content]
        default: refuse
"""

EXAMPLES = r"""
- name: Give each team a workspace
  atlas.mlflow.mlflow_workspace:
    url: https://mlflow.example.org
    username: admin
    password: "{{ vault_mlflow_admin_password }}"
    workspaces:
      - name: vision
        description: Pictures and video
        members: {ada: MANAGE, grace: USE}
      - name: speech
        default_artifact_root: s3://speech/artifacts
"""

RETURN = r"""
workspaces:
  description: What differed, by name. Those without a change are omitted.
  returned: success
  type: dict
  sample:
    vision: [members]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.kind import arguments, run
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.workspaces import MEMBER_PERMISSIONS, NONE, Workspaces

ARGUMENTS = arguments(
    "workspaces",
    {
        "description": {"type": "str"},
        "default_artifact_root": {"type": "str"},
        "members": {"type": "dict"},
        "on_removal": {"type": "str", "choices": ["refuse", "move_to_default", "delete_content"], "default": "refuse"},
    },
    in_workspace=False,
)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    for workspace in module.params["workspaces"]:
        for user, permission in (workspace["members"] or {}).items():
            if permission not in (*MEMBER_PERMISSIONS, NONE):
                module.fail_json(msg=f"the permission of {user} in {workspace['name']} is {permission}: choose one of {', '.join((*MEMBER_PERMISSIONS, NONE))}")
    run(module, Workspaces, "workspaces")


if __name__ == "__main__":
    main()
