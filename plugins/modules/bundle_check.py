#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which does the work on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_check
short_description: Check that a bundle has what a role needs on a host
version_added: 0.1.0
extends_documentation_fragment: [atlas.mlflow.attributes.control_node]
description:
  - Compares a bundle, which the playbook C(bundle.yml) made, with what a role needs on a host, and the files for it with their checksums. Fails with what is
    lacking, or for another distribution, architecture or Python.
  - Needs the facts of M(atlas.mlflow.host_facts).
options:
  bundle:
    description: Path of the bundle on the control node, an archive or a folder with its files.
    type: path
    required: true
  needs:
    description:
      - What the role needs - the names of C(packages), the texts of C(locks) by what they install, C(downloads), each with its C(name) and, if it is
        pinned, C(sha256), and the names of C(images).
    type: dict
    required: true
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
"""

EXAMPLES = r"""
- name: Check that the bundle has HAProxy
  atlas.mlflow.bundle_check:
    bundle: atlas-mlflow-1.0.0-debian12-x86_64.tar
    needs: {packages: [haproxy]}
"""

RETURN = r"""
msg:
  description: What the bundle lacks, or what is wrong with it.
  returned: failure
  type: list
  elements: str
  sample: ["atlas-mlflow-1.0.0-debian12-x86_64.tar has no package haproxy."]
"""
