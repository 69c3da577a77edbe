#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that creates a bucket on a MinIO server."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: minio_bucket
short_description: Create a bucket on MinIO
version_added: 0.1.0
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
extends_documentation_fragment: [atlas.mlflow.attributes, atlas.mlflow.minio]
description:
  - Creates a bucket on a MinIO or Silo server if it does not exist. A bucket that exists is left as it is.
  - Uses the S3 calls that each of these servers knows, by the Python library C(minio).
attributes:
  check_mode:
    description: Can run in check mode and say what would change.
    support: full
  diff_mode:
    description: Returns no difference.
    support: none
options:
  name:
    description: Name of the bucket.
    type: str
    required: true
  region:
    description: Region of the server, by which requests are signed.
    type: str
    default: us-east-1
"""

EXAMPLES = r"""
- name: Create the bucket of the tracking server
  atlas.mlflow.minio_bucket:
    name: mlflow
    endpoint: http://127.0.0.1:9000
    root_user: atlas-root
    root_password: "{{ minio_root_password }}"
"""

RETURN = r"""
name:
  description: Name of the bucket, which exists now.
  returned: success
  type: str
  sample: mlflow
"""

import contextlib
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.atlas.mlflow.plugins.module_utils import minio_server

with contextlib.suppress(ImportError):  # told by minio_server
    from minio import Minio


def create(module: AnsibleModule) -> dict[str, Any]:
    """Create the bucket if it does not exist, and return the module's result."""
    given = module.params
    server = minio_server.connection(module)
    try:
        client = Minio(access_key=given["root_user"], secret_key=given["root_password"], region=given["region"], **server)
        missing = not client.bucket_exists(bucket_name=given["name"])
        if missing and not module.check_mode:
            client.make_bucket(bucket_name=given["name"])
    except ValueError as error:
        module.fail_json(msg=f"{given['name']} is no name for a bucket: {error}")
    return {"changed": missing, "name": given["name"]}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={**minio_server.ARGUMENTS, "name": {"type": "str", "required": True}, "region": {"type": "str", "default": "us-east-1"}},
        supports_check_mode=True,
    )
    minio_server.run(module, create)


if __name__ == "__main__":
    main()
