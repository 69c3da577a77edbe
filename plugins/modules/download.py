#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that downloads a file with a pinned checksum, by a proxy whose password nobody sees."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: download
short_description: Download a file with a pinned checksum
version_added: 1.0.0
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
extends_documentation_fragment: [atlas.mlflow.attributes, atlas.mlflow.downloads]
description:
  - Downloads a file, unless the host has one with the same checksum.
  - Unlike M(ansible.builtin.get_url), it takes the variables of a proxy as an option, so that its password is in no list of processes.
attributes:
  check_mode:
    description: Can run in check mode and say whether the file would be downloaded.
    support: full
  diff_mode:
    description: Shows no content.
    support: none
options:
  url:
    description: URL of the file.
    type: str
    required: true
  dest:
    description: Path of the file on the host.
    type: path
    required: true
  sha256:
    description: Checksum of the file.
    type: str
    required: true
  mode:
    description: Permissions of the file.
    type: str
    default: "0644"
"""

EXAMPLES = r"""
- name: Download the release
  atlas.mlflow.download:
    url: https://downloads.example.com/release.tar.gz
    dest: /opt/minio/release.tar.gz
    sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    download_environment: {HTTPS_PROXY: "http://proxy.example.com:3128"}
  become: true
"""

RETURN = r"""
dest:
  description: Path of the file on the host.
  returned: success
  type: str
  sample: /opt/minio/release.tar.gz
"""

import os
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.atlas.mlflow.plugins.module_utils.downloads import DOWNLOADS, fetch, use_environment


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "dest": {"type": "path", "required": True},
            "sha256": {"type": "str", "required": True},
            "mode": {"type": "str", "default": "0644"},
            **DOWNLOADS,
        },
        supports_check_mode=True,
    )
    use_environment(module)
    dest, sha256 = module.params["dest"], module.params["sha256"]
    changed = not os.path.isfile(dest) or module.sha256(dest) != sha256
    if changed and module.check_mode:
        module.exit_json(changed=True, dest=dest)
    if changed:
        # Next to the file: a temporary folder may be small.
        handle, path = tempfile.mkstemp(dir=os.path.dirname(dest), prefix=".download-")
        os.close(handle)
        module.add_cleanup_file(path)
        fetch(module, module.params["url"], path, sha256)
        module.atomic_move(path, dest)
    module.exit_json(changed=module.set_mode_if_different(dest, module.params["mode"], changed), dest=dest)


if __name__ == "__main__":
    main()
