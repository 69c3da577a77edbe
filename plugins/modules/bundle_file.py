#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_file
short_description: Copy a file of a bundle to a host
version_added: 1.0.0
extends_documentation_fragment: [atlas.mlflow.attributes]
description:
  - Compares a file of a bundle, which the playbook C(bundle.yml) made, with its checksum, and copies it like M(ansible.builtin.copy). The owner is root.
options:
  bundle:
    description: Path of the bundle on the control node, an archive or a folder with its files.
    type: path
    required: true
  name:
    description: The name of a download, or of an image.
    type: str
    required: true
  kind:
    description: What it is.
    type: str
    choices: [downloads, images]
    default: downloads
  dest:
    description: Path of the file on the host.
    type: path
    required: true
  mode:
    description: Permissions of the file.
    type: str
    default: "0644"
attributes:
  check_mode:
    support: full
    description: As M(ansible.builtin.copy).
  diff_mode:
    support: none
    description: Shows no content.
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
"""

EXAMPLES = r"""
- name: Copy MinIO's archive
  atlas.mlflow.bundle_file:
    bundle: atlas-mlflow-1.0.0-debian12-x86_64.tar
    name: silo.tar.gz
    dest: /opt/minio/silo.tar.gz
  become: true
"""

RETURN = r"""
dest:
  description: Path of the file on the host.
  returned: success
  type: str
  sample: /opt/minio/silo.tar.gz
"""
