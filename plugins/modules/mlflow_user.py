#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that creates users of a tracking server and sets their permissions."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mlflow_user
short_description: Create users of an MLflow tracking server, and set their permissions
version_added: 0.1.0
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
extends_documentation_fragment: [atlas.mlflow.attributes, atlas.mlflow.tracking_server, atlas.mlflow.tracking_server.request, atlas.mlflow.tls]
description:
  - Makes, changes and removes users of a tracking server that runs MLflow's basic-auth app, and gives them permissions on experiments,
    registered models, prompts and MCP servers, for a whole list of users at once.
  - A login checks whether a user has its password. Users that are not listed, and permissions on things that are not listed, are not changed.
  - With C(mlflow_server_workspaces), the things are those of the workspace C(default). M(atlas.mlflow.mlflow_workspace) gives permissions in others.
  - Does not wait for the server.
attributes:
  check_mode:
    description: Says what would change, and changes nothing.
    support: full
  diff_mode:
    description: Returns users and permissions before and after. A password is not shown, only that it differs.
    support: full
options:
  username:
    description: An administrator, who is not among O(users).
    type: str
    required: true
  password:
    description: The administrator's password.
    type: str
    required: true
  users:
    description: The users. Their order has no meaning.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The user's name.
        type: str
        required: true
      state:
        description: Whether the user exists. With V(absent), other options do not count.
        type: str
        choices: [present, absent]
        default: present
      password:
        description: The user's password, of 12 characters or more. Without it, the password of an existing user is not changed.
        type: str
      admin:
        description: Whether the user may do everything.
        type: bool
        default: false
      experiments:
        description:
          - Permissions by the experiment's name. V(DEFAULT) removes the user's own permission.
          - The others are V(READ), V(USE), V(EDIT), V(MANAGE) and V(NO_PERMISSIONS), of which releases before 3.10 do not know V(USE).
        type: dict
        default: {}
      registered_models:
        description: Permissions by the model's name, like O(users[].experiments). The model does not have to exist yet.
        type: dict
        default: {}
      prompts:
        description:
          - Permissions by the prompt's name, like O(users[].registered_models).
          - Releases before 3.13 keep one permission for a registered model and a prompt of the same name, so O(users[].registered_models) may not give
            the name another one there.
        type: dict
        default: {}
      mcp_servers:
        description: Permissions by the MCP server's name, like O(users[].registered_models). They need release 3.15 or newer.
        type: dict
        default: {}
  missing_experiments:
    description:
      - Whether to fail if an experiment does not exist, or to create it. A deleted experiment that can be restored counts as one that exists,
        and stays deleted.
      - An experiment whose permission is V(DEFAULT) need not exist, and is not created.
    type: str
    choices: [fail, create]
    default: fail
"""

EXAMPLES = r"""
- name: Make two users, of whom one may log runs in one experiment
  atlas.mlflow.mlflow_user:
    url: http://127.0.0.1:5001
    username: admin
    password: "{{ vault_mlflow_admin_password }}"
    users:
      - name: ada
        password: "{{ vault_ada_password }}"
        experiments: {churn: EDIT}
        registered_models: {churn-model: MANAGE}
        prompts: {churn-summary: EDIT}
      - name: grace
        password: "{{ vault_grace_password }}"
        admin: true

- name: Remove a user, and take a permission back from another
  atlas.mlflow.mlflow_user:
    url: https://mlflow.example.org
    username: admin
    password: "{{ vault_mlflow_admin_password }}"
    users:
      - {name: grace, state: absent}
      - name: ada
        experiments: {churn: DEFAULT}
"""

RETURN = r"""
users:
  description: The changes by user. Users without a change are omitted.
  returned: success
  type: dict
  sample:
    ada: [password, experiments]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.atlas.mlflow.plugins.module_utils.api import SERVER_ARGUMENTS, changed_keys, ended_by_refusal, server_of
from ansible_collections.atlas.mlflow.plugins.module_utils.users import KINDS, Users, Wanted, unfit

ARGUMENTS: dict[str, dict[str, Any]] = {
    **SERVER_ARGUMENTS,
    "username": {"type": "str", "required": True},
    "password": {"type": "str", "required": True, "no_log": True},
    "users": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "password": {"type": "str", "no_log": True},
            "admin": {"type": "bool", "default": False},
            "experiments": {"type": "dict", "default": {}},
            "registered_models": {"type": "dict", "default": {}},
            "prompts": {"type": "dict", "default": {}},
            "mcp_servers": {"type": "dict", "default": {}},
        },
    },
    "missing_experiments": {"type": "str", "choices": ["fail", "create"], "default": "fail"},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    params = module.params
    users = [
        Wanted(one["name"], one["password"], one["admin"], one["state"] == "present", {kind.option: one[kind.option] for kind in KINDS})
        for one in params["users"]
    ]
    server = server_of(module)
    if fault := unfit(users, params["username"]):
        module.fail_json(msg=f"{fault[0].upper()}{fault[1:]}.")

    def applied() -> Users:
        there = Users(server, params["missing_experiments"] == "create", module.check_mode)
        there.apply(users)
        return there

    there = ended_by_refusal(module, server, applied)
    changed = changed_keys(there.before, there.after)
    module.exit_json(changed=bool(changed), users=changed, diff={"before": there.before, "after": there.after})


if __name__ == "__main__":
    main()
