#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which does the work on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: settings
short_description: Refuse settings of the collection that cannot be meant, before a host is touched
version_added: 0.1.0
extends_documentation_fragment: [atlas.mlflow.attributes.control_node]
description:
  - Holds every variable that is set for a host against the specifications of the collection's roles and playbooks.
  - Refuses a value that has not the type of its specification, with the variable's name and the way out. Text that spells a boolean or a number
    is taken for it, as C(-e name=value) and INI inventories give nothing else. Text is not taken for a list or a dictionary.
  - Refuses a name that nothing reads and that is nearly one of the collection's, and a group of hosts likewise.
  - Refuses an inventory that has no folder, or several, for the generated secrets.
  - Refuses a release of ansible-core that is too old.
  - Runs on the control node and asks no host.
options:
  acts_on:
    description:
      - Hosts that the playbook cannot do without. A limit that leaves one out is refused.
      - If it is given, also if it is empty, an inventory that is no topology which the roles can build is refused as well.
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
