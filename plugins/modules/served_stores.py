#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that returns the stores that a tracking server really uses."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: served_stores
short_description: Read which stores a tracking server uses
version_added: 0.1.0
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
extends_documentation_fragment: [atlas.mlflow.attributes, atlas.mlflow.attributes.reads_only]
description:
  - Reads the settings of the service or of the container that the role C(mlflow_server) has set up on the host, and returns its stores without
    user names and passwords.
options: {}
"""

EXAMPLES = r"""
- name: Read which stores the tracking server uses
  atlas.mlflow.served_stores:
  become: true
  register: served
"""

RETURN = r"""
stores:
  description:
    - The stores by their purpose, C(backend), C(registry) if it is not the backend store, C(users) if people log in, and C(artifacts).
    - Empty if the host has no tracking server.
  returned: always
  type: dict
  sample:
    backend: {kind: postgresql, host: 127.0.0.1, port: "5432", database: mlflow}
    users: {kind: sqlite, path: /var/lib/mlflow/auth.db}
    artifacts: {kind: s3, place: mlflow, endpoint: "http://127.0.0.1:9000"}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.atlas.mlflow.plugins.module_utils.served_stores import read_host


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    try:
        stores = read_host()
    except (OSError, ValueError, KeyError) as error:
        # A parser's message may quote a line with a password.
        module.fail_json(msg=f"The settings of the tracking server cannot be read ({type(error).__name__}). Run site.yml, which writes them.")
    module.exit_json(changed=False, stores=stores or {})


if __name__ == "__main__":
    main()
