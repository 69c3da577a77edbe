#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which does the work on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: settings
short_description: Refuse wrong settings of the collection, before a host is touched
version_added: 0.1.0
extends_documentation_fragment: [atlas.mlflow.attributes.control_node]
description:
  - Checks every variable of a host against the specifications of the collection's roles and playbooks.
  - Refuses a value that does not have the type of its specification, with the variable's name and the fix. Text that spells a boolean or a number
    is taken for it, as C(-e name=value) and INI inventories give nothing else. Text is not taken for a list or a dictionary.
  - Refuses an unknown variable whose name is similar to one of the collection's, and the same for groups of hosts.
  - Refuses an inventory that has no folder or several folders for the generated secrets.
  - Refuses a release of ansible-core that is too old.
  - Runs on the control node and connects to no host.
options:
  acts_on:
    description:
      - Hosts that the playbook needs. A limit without one of them is refused.
      - If this option is given, even as an empty list, an inventory with a topology that the roles cannot set up is also refused.
    type: list
    elements: str
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
"""

EXAMPLES = r"""
- name: Refuse unknown and contradictory settings
  atlas.mlflow.settings:

- name: Refuse unknown and contradictory settings, and hosts that --limit leaves out
  atlas.mlflow.settings:
    acts_on: "{{ groups.postgres | default([]) }}"
"""

RETURN = r"""
faults:
  description: A sentence for each fault.
  returned: always
  type: list
  elements: str
  sample: ["minio_remove_data is 'maybe', which is not a boolean (true or false). Set true or false."]
"""
