#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which does the work on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Refuse settings of a role that cannot work, before a host is touched
version_added: 0.1.0
extends_documentation_fragment: [atlas.mlflow.attributes.control_node]
description:
  - Checks the settings of one of the collection's roles against its specification, and then against its rules, and reports all faults at once, each with
    the fix.
  - This is the first task of each role. It reads the role's variables, and has no use outside of the roles.
  - If C(atlas_mlflow_bundle) is set, compares the bundle, which the playbook C(bundle.yml) made, with what the role needs, and the files for it with their
    checksums. Reports what is lacking, and a bundle for another distribution, architecture or Python.
  - No message has a secret.
  - Runs on the control node and connects to no host. It uses the facts of M(atlas.mlflow.host_facts).
options:
  role:
    description: The role.
    type: str
    required: true
    choices: [mlflow_server, postgres, etcd, minio, haproxy, firewall, backup, metrics, prometheus]
  upgrade:
    description: Whether to check the rules for an upgrade instead, for the roles that have such rules.
    type: bool
    default: false
  removal:
    description: Whether to check the rules for a removal instead, for the roles that have such rules.
    type: bool
    default: false
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
"""

EXAMPLES = r"""
- name: Check the settings of the tracking server
  atlas.mlflow.preflight:
    role: mlflow_server
"""

RETURN = r"""
msg:
  description: A sentence for each fault, or, if there is no fault, what the user should know.
  returned: failure, or if there is something to tell
  type: list
  elements: str
  sample: ["mlflow_server_workers is 0. Set 1 or more."]
"""
