#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that sets webhooks of a tracking server."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mlflow_webhook
short_description: Create webhooks of an MLflow tracking server
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
  - Creates, changes and removes webhooks of the model registry, for a whole list at once. Webhooks that are not listed are not changed.
  - Needs a release with webhooks, such as 3.5.1 or newer, and a model registry in a database. With users, only an administrator may do this.
  - The server sends requests to the URL of a webhook, and refuses one that it takes for private or without TLS, unless its settings allow it.
attributes:
  check_mode:
    description: Says what would change, and changes nothing.
    support: full
  diff_mode:
    description: Returns each webhook before and after. Of a URL it shows the scheme and the host, because the path may be a secret.
    support: full
options:
  webhooks:
    description: The webhooks. Their order has no meaning.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The name.
        type: str
        required: true
      state:
        description: Whether the webhook exists. With V(absent), other options do not count.
        type: str
        choices: [present, absent]
        default: present
      url:
        description: Where the server sends events. Required to create a webhook. It is in no output, because its path may be a secret.
        type: str
      events:
        description: The events, such as V(model_version.created) and V(model_version_alias.created). Required to create a webhook.
        type: list
        elements: str
      description:
        description: The description. Without it, that of an existing webhook stays.
        type: str
      active:
        description: Whether events are sent. Without it, an existing webhook stays as it is, and a new one is active.
        type: bool
      secret:
        description: The key by which the server signs its requests. The server does not show it again.
        type: str
      update_secret:
        description: Whether the secret is set only while the webhook is created, or each time, which then is always a change.
        type: str
        choices: [on_create, always]
        default: on_create
"""

EXAMPLES = r"""
- name: Tell the deployment of each new version
  atlas.mlflow.mlflow_webhook:
    url: https://mlflow.example.org
    username: admin
    password: "{{ vault_mlflow_admin_password }}"
    webhooks:
      - name: deployment
        url: https://deployment.example.org/mlflow
        events: [model_version.created, model_version_alias.created]
        secret: "{{ vault_webhook_secret }}"
"""

RETURN = r"""
webhooks:
  description: What differed, by name. Those without a change are omitted.
  returned: success
  type: dict
  sample:
    deployment: [events]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.kind import arguments, run
from ansible_collections.atlas.mlflow.plugins.module_utils.objects.webhooks import Webhooks

ARGUMENTS = arguments(
    "webhooks",
    {
        # Most services that take webhooks know the sender by a secret in the path.
        "url": {"type": "str", "no_log": True},
        "events": {"type": "list", "elements": "str"},
        "description": {"type": "str"},
        "active": {"type": "bool"},
        "secret": {"type": "str", "no_log": True},
        "update_secret": {"type": "str", "choices": ["on_create", "always"], "default": "on_create", "no_log": False},
    },
)


def main() -> None:
    """Run the module."""
    run(AnsibleModule(ARGUMENTS, supports_check_mode=True), Webhooks, "webhooks")


if __name__ == "__main__":
    main()
