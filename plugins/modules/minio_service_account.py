#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that manages buckets on a MinIO server, and an account that is limited to them."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: minio_service_account
short_description: Manage a service account on MinIO that may use only some buckets, and its buckets
version_added: 0.1.0
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
extends_documentation_fragment: [atlas.mlflow.attributes, atlas.mlflow.minio]
description:
  - Creates, changes or removes a service account of the administrator on a MinIO or Silo server, with its own policy.
  - Creates its buckets first if O(create_buckets=true). An existing bucket is not changed, and no bucket is removed.
  - Uses the Python library C(minio).
attributes:
  check_mode:
    description: Can run in check mode and say what would change.
    support: full
  diff_mode:
    description: Returns the policy before and after. Never a secret.
    support: full
options:
  access_key:
    description: Name of the account.
    type: str
    required: true
  secret_key:
    description: The account's secret key. Required unless O(state=absent).
    type: str
  buckets:
    description: The buckets that the account may read and write. Required unless O(state=absent).
    type: list
    elements: str
  create_buckets:
    description: Whether to create missing buckets.
    type: bool
    default: false
  region:
    description: Region of the server, for the signatures of requests.
    type: str
    default: us-east-1
  state:
    description: Whether the account exists.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Create the bucket and the account of the tracking server
  atlas.mlflow.minio_service_account:
    endpoint: http://127.0.0.1:9000
    root_user: atlas-root
    root_password: "{{ minio_root_password }}"
    access_key: mlflow
    secret_key: "{{ minio_secret_key }}"
    buckets: [mlflow]
    create_buckets: true
"""

RETURN = r"""
policy:
  description: The account's policy.
  returned: when O(state=present)
  type: dict
  sample: {Version: "2012-10-17", Statement: []}
changed_parts:
  description: What was changed, of V(account), V(policy) and V(secret).
  returned: always
  type: list
  elements: str
  sample: [policy]
created_buckets:
  description: The buckets that did not exist.
  returned: when O(state=present)
  type: list
  elements: str
  sample: [mlflow]
"""

import contextlib
import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.atlas.mlflow.plugins.module_utils import minio_server

with contextlib.suppress(ImportError):  # minio_server reports it
    from minio import Minio
    from minio.credentials import StaticProvider
    from minio.error import MinioAdminException, S3Error
    from minio.minioadmin import MinioAdmin

#: What MLflow does with objects and their bucket.
OBJECT_ACTIONS = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject"]
BUCKET_ACTIONS = ["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"]


def policy_for(buckets: list[str]) -> dict[str, Any]:
    """Return the policy that allows an account to use only these buckets."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": BUCKET_ACTIONS, "Resource": [f"arn:aws:s3:::{bucket}" for bucket in sorted(buckets)]},
            {"Effect": "Allow", "Action": OBJECT_ACTIONS, "Resource": [f"arn:aws:s3:::{bucket}/*" for bucket in sorted(buckets)]},
        ],
    }


def normalized(policy: Any) -> Any:
    """Return a policy with sorted lists, so that two policies with the same meaning are equal."""
    if isinstance(policy, dict):
        return {key: normalized(value) for key, value in policy.items() if value not in (None, "")}
    if isinstance(policy, list):
        return sorted((normalized(item) for item in policy), key=lambda item: json.dumps(item, sort_keys=True))
    return policy


class Account:
    """The account on the server, from the administrator's and from its own point of view."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module, self.parameters = module, module.params
        self.server = minio_server.connection(module)
        root = StaticProvider(self.parameters["root_user"], self.parameters["root_password"])
        self.admin = MinioAdmin(credentials=root, **self.server)

    def create_buckets(self) -> list[str]:
        """Create the buckets that do not exist, and return their names. A check run creates none.

        :raises ValueError: If a name is not valid for a bucket.
        """
        given = self.parameters
        if not given["create_buckets"]:
            return []
        client = Minio(access_key=given["root_user"], secret_key=given["root_password"], region=given["region"], **self.server)
        missing = [name for name in given["buckets"] if not client.bucket_exists(bucket_name=name)]
        for name in [] if self.module.check_mode else missing:
            client.make_bucket(bucket_name=name)
        return missing

    def read(self) -> dict[str, Any] | None:
        """Return what the server knows of the account, None if there is no account."""
        try:
            known = json.loads(self.admin.get_service_account(self.parameters["access_key"]))
        except MinioAdminException as error:
            # Any other refusal (such as a wrong administrator's password) does not mean that the account is missing.
            if "NotFound" in str(error) or "does not exist" in str(error):
                return None
            raise
        policy = known.get("policy")
        return {"policy": json.loads(policy) if isinstance(policy, str) and policy else policy or {}}

    def secret_works(self) -> bool:
        """Return whether the account can log in with the wanted secret key."""
        client = Minio(access_key=self.parameters["access_key"], secret_key=self.parameters["secret_key"], **self.server)
        try:
            # Use a listing: for a HEAD request, a server cannot say which of the two refusals applies. The prefix keeps the answer short.
            next(client.list_objects(bucket_name=self.parameters["buckets"][0], prefix="no-such-prefix/"), None)
        except S3Error as error:
            # The login works, but the account's present policy does not allow the bucket.
            return error.code in ("AccessDenied", "NoSuchBucket")
        return True

    def outdated_parts(self, known: dict[str, Any] | None, policy: dict[str, Any]) -> list[str]:
        """Return the parts of the account that differ from the wanted ones."""
        if known is None:
            return ["account"]
        parts = []
        if normalized(known["policy"]) != normalized(policy):
            parts.append("policy")
        if not self.secret_works():
            parts.append("secret")
        return parts

    def bring(self, parts: list[str], policy: dict[str, Any]) -> None:
        """Create or correct the account."""
        access_key, secret_key = self.parameters["access_key"], self.parameters["secret_key"]
        if "account" in parts:
            self.admin.add_service_account(access_key=access_key, secret_key=secret_key, policy=policy)
        elif parts:
            # An update without a policy removes the account's own policy, and the account may then do everything that the administrator may.
            self.admin.update_service_account(access_key=access_key, secret_key=secret_key if "secret" in parts else None, policy=policy)


def keep(module: AnsibleModule) -> dict[str, Any]:
    """Bring the account to the wanted state, and return the module's result."""
    account = Account(module)
    try:
        created = account.create_buckets() if module.params["state"] == "present" else []
    except ValueError as error:
        module.fail_json(msg=f"{', '.join(module.params['buckets'])} is no name for a bucket: {error}")
    known = account.read()
    before = json.dumps(normalized(known["policy"]), indent=2) + "\n" if known else ""
    if module.params["state"] == "absent":
        if known and not module.check_mode:
            account.admin.delete_service_account(module.params["access_key"])
        return {"changed": bool(known), "changed_parts": ["account"] if known else [], "diff": {"before": before, "after": ""}}
    policy = policy_for(module.params["buckets"])
    parts = account.outdated_parts(known, policy)
    if not module.check_mode:
        account.bring(parts, policy)
    after = json.dumps(normalized(policy), indent=2) + "\n"
    return {
        "changed": bool(parts or created),
        "changed_parts": parts,
        "created_buckets": created,
        "policy": policy,
        "diff": {"before": before, "after": after},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **minio_server.ARGUMENTS,
            "access_key": {"type": "str", "required": True, "no_log": False},
            "secret_key": {"type": "str", "no_log": True},
            "buckets": {"type": "list", "elements": "str"},
            "create_buckets": {"type": "bool", "default": False},
            "region": {"type": "str", "default": "us-east-1"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ("secret_key", "buckets"))],
        supports_check_mode=True,
    )
    minio_server.run(module, keep)


if __name__ == "__main__":
    main()
