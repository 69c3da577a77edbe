#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which does the work on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: plan
short_description: Return what a host needs to know of the other hosts of the stack
version_added: 0.1.0
extends_documentation_fragment: [atlas.mlflow.attributes.control_node]
description:
  - Reads what is set for all hosts in the groups V(mlflow_servers), V(postgres), V(minio) and V(haproxy), with the types and the defaults of the
    collection's roles, and returns what one host needs to know of them - endpoints, addresses to listen on, names, clients, and ports to open.
  - The playbooks register the result as C(_atlas_mlflow_plan), which the defaults of the roles read. It contains no secret.
  - Needs the addresses of all hosts, which the playbook C(facts.yml) sets before it.
  - Runs on the control node and connects to no host.
options:
  part:
    description: What to return. V(users) is the plan of a host that uses the stack like its users. It needs no addresses.
    type: str
    choices: [all, users]
    default: all
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
"""

EXAMPLES = r"""
- name: Plan how the services reach each other
  atlas.mlflow.plan:
  register: _atlas_mlflow_plan
"""

RETURN = r"""
backend_store:
  description: URI of the backend store for this host, without the password. Empty without a database in the inventory.
  returned: if O(part=all)
  type: str
  sample: postgresql+psycopg2://mlflow@127.0.0.1:5432/mlflow
firewall_needed:
  description: The ports that a firewall must open on this host, each with the addresses that need it.
  returned: if O(part=all)
  type: list
  elements: dict
  sample: [{"port": 5001, "sources": ["any"]}]
play_secrets:
  description: Names of the secrets that the play sets, and not the inventory.
  returned: always
  type: list
  elements: str
  sample: [minio_root_password]
client_url:
  description: URL of the stack for clients.
  returned: always
  type: str
  sample: https://mlflow.example.com
"""
