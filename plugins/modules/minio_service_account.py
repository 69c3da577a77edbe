#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that keeps buckets on a MinIO server, and an account that is limited to them."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: minio_service_account
short_description: Keep a service account on MinIO that reaches some buckets and nothing else, and its buckets
version_added: 0.1.0
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
extends_documentation_fragment: [atlas.mlflow.attributes, atlas.mlflow.minio]
description:
  - Creates, changes or removes a service account of the administrator on a MinIO or Silo server, with a policy of its own.
  - Creates its buckets before if O(create_buckets=true). A bucket that exists is left as it is, and no bucket is removed.
  - Asks the server through the Python library C(minio).
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
    description: The account's secret key. Needed unless O(state=absent).
    type: str
  buckets:
    description: The buckets that the account may read and write. Needed unless O(state=absent).
    type: list
    elements: str
  create_buckets:
    description: Whether buckets that do not exist are created.
    type: bool
    default: false
  region:
    description: Region of the server, by which requests are signed.
    type: str
    default: us-east-1
  state:
    description: Whether the account is there.
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
  description: What was not as asked for, of V(account), V(policy) and V(secret).
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

with contextlib.suppress(ImportError):  # told by minio_server
    from minio import Minio
    from minio.credentials import StaticProvider
    from minio.error import MinioAdminException, S3Error
    from minio.minioadmin import MinioAdmin

#: What MLflow does with objects, and with the bucket that holds them.
OBJECT_ACTIONS = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject"]
BUCKET_ACTIONS = ["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"]


def policy_for(buckets: list[str]) -> dict[str, Any]:
    """Return the policy that lets an account work in the buckets and nowhere else."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": BUCKET_ACTIONS, "Resource": [f"arn:aws:s3:::{bucket}" for bucket in sorted(buckets)]},
            {"Effect": "Allow", "Action": OBJECT_ACTIONS, "Resource": [f"arn:aws:s3:::{bucket}/*" for bucket in sorted(buckets)]},
        ],
    }


def normalized(policy: Any) -> Any:
    """Return a policy with its lists in order, so that two that mean the same are equal."""
    if isinstance(policy, dict):
        return {key: normalized(value) for key, value in policy.items() if value not in (None, "")}
    if isinstance(policy, list):
        return sorted((normalized(item) for item in policy), key=lambda item: json.dumps(item, sort_keys=True))
    return policy


class Account:
    """The account on the server, as the administrator sees it and as it sees itself."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module, self.parameters = module, module.params
        self.server = minio_server.connection(module)
        root = StaticProvider(self.parameters["root_user"], self.parameters["root_password"])
        self.admin = MinioAdmin(credentials=root, **self.server)

    def create_buckets(self) -> list[str]:
        """Create the buckets that do not exist, and return their names. A check run creates none.

        :raises ValueError: If a name is none for a bucket.
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
        """Return what the server knows of the account, or nothing where there is none."""
        try:
            known = json.loads(self.admin.get_service_account(self.parameters["access_key"]))
        except MinioAdminException as error:
            # Any other refusal (a wrong administrator's password, say) is not an absent account.
            if "NotFound" in str(error) or "does not exist" in str(error):
                return None
            raise
        policy = known.get("policy")
        return {"policy": json.loads(policy) if isinstance(policy, str) and policy else policy or {}}

    def secret_works(self) -> bool:
        """Return whether the account can sign in with the secret key that is asked for."""
        client = Minio(access_key=self.parameters["access_key"], secret_key=self.parameters["secret_key"], **self.server)
        try:
            # A listing: to a HEAD request a server cannot say which of the two refusals it is. The prefix keeps the answer short.
            next(client.list_objects(bucket_name=self.parameters["buckets"][0], prefix="no-such-prefix/"), None)
        except S3Error as error:
            # Signed in, and not let near a bucket that the account's present policy leaves out.
            return error.code in ("AccessDenied", "NoSuchBucket")
        return True

    def outdated_parts(self, known: dict[str, Any] | None, policy: dict[str, Any]) -> list[str]:
        """Return what of the account is not as asked for."""
        if known is None:
            return ["account"]
        parts = []
        if normalized(known["policy"]) != normalized(policy):
            parts.append("policy")
        if not self.secret_works():
            parts.append("secret")
        return parts

    def bring(self, parts: list[str], policy: dict[str, Any]) -> None:
        """Make or mend the account."""
        access_key, secret_key = self.parameters["access_key"], self.parameters["secret_key"]
        if "account" in parts:
            self.admin.add_service_account(access_key=access_key, secret_key=secret_key, policy=policy)
        elif parts:
            # An update without a policy takes the account's own from it, and leaves it all that the administrator may do.
            self.admin.update_service_account(access_key=access_key, secret_key=secret_key if "secret" in parts else None, policy=policy)


def keep(module: AnsibleModule) -> dict[str, Any]:
    """Bring the account to what is asked for, and return the module's result."""
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
