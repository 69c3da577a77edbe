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
extends_documentation_fragment: [atlas.mlflow.attributes]
description:
  - Creates a bucket on a MinIO or Silo server if it does not exist. A bucket that exists is left as it is.
  - Uses the S3 calls that each of these servers knows, by the Python library C(minio).
requirements:
  - minio (Python library) on the host that runs the module
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
  endpoint:
    description: URL of the server, such as V(http://127.0.0.1:9000).
    type: str
    required: true
  root_user:
    description: Name of the administrator.
    type: str
    required: true
  root_password:
    description: The administrator's password.
    type: str
    required: true
  region:
    description: Region of the server, by which requests are signed.
    type: str
    default: us-east-1
  ca_bundle:
    description: PEM bundle by which the certificate of an endpoint with TLS is checked.
    type: path
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

import os
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from minio import Minio
    from minio.error import S3Error
    from urllib3.exceptions import HTTPError

    HAS_MINIO = True
except ImportError:
    HAS_MINIO = False


def create(module: AnsibleModule) -> bool:
    """Create the bucket if it does not exist, and return whether it did not."""
    parameters = module.params
    url = urlsplit(parameters["endpoint"])
    if url.scheme not in ("http", "https") or not url.netloc or url.path.strip("/"):
        module.fail_json(msg=f"endpoint is {parameters['endpoint']}: give http://HOST:PORT or https://HOST:PORT")
    client = Minio(
        endpoint=url.netloc,
        access_key=parameters["root_user"],
        secret_key=parameters["root_password"],
        secure=url.scheme == "https",
        region=parameters["region"],
    )
    if client.bucket_exists(bucket_name=parameters["name"]):
        return False
    if not module.check_mode:
        client.make_bucket(bucket_name=parameters["name"])
    return True


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "endpoint": {"type": "str", "required": True},
            "root_user": {"type": "str", "required": True},
            "root_password": {"type": "str", "required": True, "no_log": True},
            "region": {"type": "str", "default": "us-east-1"},
            "ca_bundle": {"type": "path"},
        },
        supports_check_mode=True,
    )
    if not HAS_MINIO:
        module.fail_json(msg=missing_required_lib("minio"))
    if module.params["ca_bundle"]:
        # The library reads its trust from there.
        os.environ["SSL_CERT_FILE"] = module.params["ca_bundle"]
    try:
        changed = create(module)
    except S3Error as error:
        module.fail_json(msg=f"{module.params['endpoint']} refused: {error}. Is root_password the one that the server was started with?")
    except ValueError as error:
        module.fail_json(msg=f"{module.params['name']} is no name for a bucket: {error}")
    except (HTTPError, OSError) as error:
        module.fail_json(msg=f"{module.params['endpoint']} did not answer: {error}")
    module.exit_json(changed=changed, name=module.params["name"])


if __name__ == "__main__":
    main()
