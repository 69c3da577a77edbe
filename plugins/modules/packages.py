#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: packages
short_description: Install packages of the distribution that are missing on a host, or remove packages
version_added: 0.1.0
extends_documentation_fragment: [atlas.mlflow.attributes]
description:
  - Compares the packages with the facts of M(atlas.mlflow.host_facts), and runs M(ansible.builtin.apt) only if some are missing. Without these facts it
    always runs it. On Enterprise Linux it runs M(ansible.builtin.dnf).
  - The roles install their packages with this module. It installs no recommended packages.
options:
  names:
    description: The packages, without versions.
    type: list
    elements: str
    required: true
  instead:
    description: For names of Debian's packages, the list of packages that have the same purpose on the host's system. Other names are the same there.
    type: dict
    default: {}
  state:
    description: Whether to install the packages or to remove them.
    type: str
    choices: [present, absent]
    default: present
  purge:
    description: With O(state=absent), whether to remove the settings and data of the packages too, as far as apt does. Dnf does not.
    type: bool
    default: false
  bundle:
    description:
      - Path on the control node of a bundle, which the playbook C(bundle.yml) made. The packages are installed from the bundle, and no repository is asked.
        Empty, use the host's repositories.
    type: path
    default: ""
attributes:
  check_mode:
    support: full
    description: Returns whether packages would be installed.
  diff_mode:
    support: full
    description: As M(ansible.builtin.apt) or M(ansible.builtin.dnf).
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
"""

EXAMPLES = r"""
- name: Install the packages for Python environments
  atlas.mlflow.packages:
    names: [python3-venv, ca-certificates]
  become: true
"""

RETURN = r"""
ansible_facts:
  description: Facts to add to those of M(atlas.mlflow.host_facts). In a registered result each name has the prefix C(ansible_).
  returned: if packages were installed, or would be
  type: dict
  contains:
    added_packages:
      description: Packages that were added since the facts were read, or would have been in check mode.
      type: list
      elements: str
      sample: [python3-venv]
"""
