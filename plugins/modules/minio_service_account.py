#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that manages buckets on a MinIO server, and accounts that are limited to them."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: minio_service_account
short_description: Manage service accounts on MinIO that may use only some buckets, and their buckets
version_added: 0.1.0
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
extends_documentation_fragment: [atlas.mlflow.attributes, atlas.mlflow.minio]
description:
  - Creates, changes or removes service accounts of the administrator on a MinIO or Silo server, each with its own policy.
  - Creates their buckets first if O(create_buckets=true). An existing bucket is not changed, and no bucket is removed.
  - An account that somebody has disabled is enabled again.
  - An account of another administrator is created again. If the administrator of a server gets another name, the server refuses all requests of the accounts
    that it has under the former one.
  - Uses the Python library C(minio).
attributes:
  check_mode:
    description: Can run in check mode and say what would change.
    support: full
  diff_mode:
    description: Returns the policies before and after. Never a secret.
    support: full
options:
  accounts:
    description: The accounts. Accounts that are not listed stay as they are.
    type: list
    elements: dict
    required: true
    suboptions:
      access_key:
        description: Name of the account.
        type: str
        required: true
      secret_key:
        description: The account's secret key. Required unless O(accounts[].state=absent).
        type: str
      buckets:
        description: The buckets that the account may use. Required unless O(accounts[].state=absent) or O(accounts[].policy) is set.
        type: list
        elements: str
        default: []
      read_only:
        description: Whether the account may only read its buckets.
        type: bool
        default: false
      policy:
        description: A policy in the language of S3, in place of the one for O(accounts[].buckets).
        type: dict
      state:
        description: Whether the account exists.
        type: str
        choices: [present, absent]
        default: present
  create_buckets:
    description: Whether to create missing buckets.
    type: bool
    default: false
  region:
    description: Region of the server, for the signatures of requests.
    type: str
    default: us-east-1
"""

EXAMPLES = r"""
- name: Create the bucket of the tracking server, its account, and one that reads the bucket
  atlas.mlflow.minio_service_account:
    endpoint: http://127.0.0.1:9000
    root_user: atlas-root
    root_password: "{{ minio_root_password }}"
    accounts:
      - access_key: mlflow
        secret_key: "{{ minio_secret_key }}"
        buckets: [mlflow]
      - access_key: reader
        secret_key: "{{ reader_secret_key }}"
        buckets: [mlflow]
        read_only: true
    create_buckets: true
"""

RETURN = r"""
accounts:
  description: The accounts, in the order in which they were given.
  returned: always
  type: list
  elements: dict
  contains:
    access_key:
      description: Name of the account.
      type: str
      sample: mlflow
    changed_parts:
      description: What was changed, of V(account), V(policy), V(secret) and V(status), which means that a disabled account was enabled.
      type: list
      elements: str
      sample: [policy]
    policy:
      description: The account's policy. Empty for a removed account.
      type: dict
      sample: {Version: "2012-10-17", Statement: []}
created_buckets:
  description: The buckets that did not exist.
  returned: always
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

#: What MLflow does with objects and their bucket, and what an account does that only reads.
OBJECT_ACTIONS = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject"]
BUCKET_ACTIONS = ["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"]
READING = ("s3:GetObject", "s3:GetBucketLocation", "s3:ListBucket")
#: What a statement of a policy may have as one text, and the server always returns as a list. The values of conditions are so too.
LISTS = ("Action", "NotAction", "NotResource", "Resource")


def policy_for(account: dict[str, Any]) -> dict[str, Any]:
    """Return the policy of an account: its own, or the one that allows it to use only its buckets."""
    if account["policy"]:
        return dict(account["policy"])
    buckets = sorted(account["buckets"])
    actions = [[action for action in listed if action in READING or not account["read_only"]] for listed in (BUCKET_ACTIONS, OBJECT_ACTIONS)]
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": actions[0], "Resource": [f"arn:aws:s3:::{bucket}" for bucket in buckets]},
            {"Effect": "Allow", "Action": actions[1], "Resource": [f"arn:aws:s3:::{bucket}/*" for bucket in buckets]},
        ],
    }


def normalized(policy: Any, key: str = "", in_condition: bool = False) -> Any:
    """Return a policy with sorted lists, also for single values, so that two policies with the same meaning are equal.

    :param key: The key of this part of a policy.
    :param in_condition: Whether this part is in a condition, whose values are texts.
    """
    if isinstance(policy, dict):
        within = in_condition or key == "Condition"
        return {name: normalized(value, name, within) for name, value in policy.items() if value is not None and (value != "" or within)}
    if not isinstance(policy, list) and (in_condition or key in LISTS):
        policy = [policy]
    if in_condition:
        return sorted(value if isinstance(value, str) else json.dumps(value) for value in policy)
    if isinstance(policy, list):
        return sorted((normalized(item) for item in policy), key=lambda item: json.dumps(item, sort_keys=True))
    return policy


def shown(policy: dict[str, Any] | None) -> str:
    """Return a policy as text for a diff, empty if there is none."""
    return json.dumps(normalized(policy), indent=2) + "\n" if policy is not None else ""


class Server:
    """The server, from the administrator's point of view."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module, self.given = module, module.params
        self.place = minio_server.connection(module)
        self.admin = MinioAdmin(credentials=StaticProvider(self.given["root_user"], self.given["root_password"]), **self.place)

    def create_buckets(self, names: list[str]) -> list[str]:
        """Create the buckets that do not exist, and return their names. A check run creates none.

        :raises ValueError: If a name is not valid for a bucket.
        """
        given = self.given
        client = Minio(access_key=given["root_user"], secret_key=given["root_password"], region=given["region"], **self.place)
        missing = [name for name in names if not client.bucket_exists(bucket_name=name)]
        for name in [] if self.module.check_mode else missing:
            client.make_bucket(bucket_name=name)
        return missing

    def known(self, access_key: str) -> tuple[str, dict[str, Any] | None, bool]:
        """Return the administrator that an account belongs to, its present policy, which is None if there is no account, and whether it is enabled."""
        try:
            known = json.loads(self.admin.get_service_account(access_key))
        except MinioAdminException as error:
            # Any other refusal (such as a wrong administrator's password) does not mean that the account is missing.
            if "NotFound" in str(error) or "does not exist" in str(error):
                return "", None, True
            raise
        except ValueError as error:
            # The library decrypts the answer, which is then JSON.
            raise minio_server.NoMinio(str(error)) from None
        policy = known.get("policy")
        present = json.loads(policy) if isinstance(policy, str) and policy else policy or {}
        return str(known.get("parentUser") or ""), present, known.get("accountStatus") != "off"

    def secret_works(self, account: dict[str, Any]) -> bool:
        """Return whether an account can log in with the wanted secret key."""
        client = Minio(access_key=account["access_key"], secret_key=account["secret_key"], **self.place)
        try:
            # Use a listing: for a HEAD request, a server cannot say which of the two refusals applies. The prefix keeps the answer short.
            next(client.list_objects(bucket_name=(account["buckets"] or ["no-bucket"])[0], prefix="no-such-prefix/"), None)
        except S3Error as error:
            # The login works, but the account's present policy does not allow the bucket.
            return error.code in ("AccessDenied", "NoSuchBucket")
        return True

    def bring(self, account: dict[str, Any]) -> dict[str, Any]:
        """Bring an account to the wanted state, and return what changed, its policy, and the diff. A check run changes nothing."""
        access_key, act = account["access_key"], not self.module.check_mode
        owner, known, enabled = self.known(access_key)
        if account["state"] == "absent":
            if known is not None and act:
                self.admin.delete_service_account(access_key)
            return {"parts": ["account"] if known is not None else [], "policy": {}, "diff": {"before": shown(known), "after": ""}}
        policy = policy_for(account)
        is_other_s = owner not in ("", self.given["root_user"])
        parts = ["account"] if known is None or is_other_s else ["policy"] if normalized(known) != normalized(policy) else []
        if "account" not in parts:
            # A disabled account cannot log in, so its secret key is not known.
            parts += ["status"] if not enabled else ["secret"] if not self.secret_works(account) else []
        if is_other_s and act:
            # The owner of an account cannot be changed.
            self.admin.delete_service_account(access_key)
        if "account" in parts and act:
            self.admin.add_service_account(access_key=access_key, secret_key=account["secret_key"], policy=policy)
        elif parts and act:
            # An update without a policy removes the account's own policy, and the account may then do everything that the administrator may.
            secret = account["secret_key"] if {"secret", "status"} & {*parts} else None
            self.admin.update_service_account(access_key=access_key, secret_key=secret, policy=policy, status=None if enabled else "on")
        return {"parts": parts, "policy": policy, "diff": {"before": shown(known), "after": shown(policy)}}


def keep(module: AnsibleModule) -> dict[str, Any]:
    """Bring the accounts to the wanted state, and return the module's result."""
    server, accounts = Server(module), module.params["accounts"]
    buckets = list(dict.fromkeys(name for account in accounts if account["state"] == "present" for name in account["buckets"]))
    try:
        created = server.create_buckets(buckets) if module.params["create_buckets"] else []
    except ValueError as error:
        module.fail_json(msg=f"{', '.join(buckets)}: one of them is no name for a bucket: {error}")
    done = [(account["access_key"], server.bring(account)) for account in accounts]
    return {
        "changed": bool(created or any(one["parts"] for _name, one in done)),
        "accounts": [{"access_key": name, "changed_parts": one["parts"], "policy": one["policy"]} for name, one in done],
        "created_buckets": created,
        "diff": [{**one["diff"], "before_header": name, "after_header": name} for name, one in done if one["parts"]],
    }


#: The options of an account.
ACCOUNT = {
    "access_key": {"type": "str", "required": True, "no_log": False},
    "secret_key": {"type": "str", "no_log": True},
    "buckets": {"type": "list", "elements": "str", "default": []},
    "read_only": {"type": "bool", "default": False},
    "policy": {"type": "dict"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **minio_server.ARGUMENTS,
            "accounts": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "no_log": False,
                "options": ACCOUNT,
                "required_if": [("state", "present", ("secret_key",))],
            },
            "create_buckets": {"type": "bool", "default": False},
            "region": {"type": "str", "default": "us-east-1"},
        },
        supports_check_mode=True,
    )
    for account in module.params["accounts"]:
        if account["state"] == "present" and not (account["buckets"] or account["policy"]):
            module.fail_json(msg=f"The account {account['access_key']} has neither buckets nor a policy. Set one of them.")
    minio_server.run(module, keep)


if __name__ == "__main__":
    main()
