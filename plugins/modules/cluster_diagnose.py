#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that reads the facts for a diagnosis of what several hosts share."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: cluster_diagnose
short_description: Read facts that show what is wrong with a cluster, a pool or a shared address
version_added: 0.1.0
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
extends_documentation_fragment: [atlas.mlflow.attributes.reads_only]
description:
  - Reads on one host what its services say about the other hosts - Patroni, PostgreSQL and etcd about the cluster, MinIO about its pool, keepalived about the
    address of the proxies - and whether PgBouncer runs, through which the tracking servers reach PostgreSQL.
  - Finds the services by their settings on the host, which the roles of this collection wrote. Without these, a part of the result is empty.
  - Changes nothing, and returns no secret.
  - The filter P(atlas.mlflow.stack_diagnosis#filter) interprets the facts of all hosts.
attributes:
  platform:
    description: The platforms on which the module runs. It needs Linux and root.
    support: full
    platforms: posix
options:
  drives:
    description: Folders in which the host keeps its part of a pool of MinIO. Without them, MinIO is not asked.
    type: list
    elements: path
    default: []
  virtual_address:
    description: Address that the host shares with other proxies. If it is empty, keepalived is not asked.
    type: str
    default: ""
  pgbouncer:
    description: Whether the host has PgBouncer. Otherwise, it is not asked.
    type: bool
    default: false
  timeout:
    description: Time limit of one request in seconds.
    type: float
    default: 4
"""

EXAMPLES = r"""
- name: Read the state of the clusters on each of their hosts
  atlas.mlflow.cluster_diagnose:
    drives: [/srv/disk1]
    virtual_address: 10.0.0.9
  become: true
  register: seen
"""

RETURN = r"""
facts:
  description: The facts of the host for the filter P(atlas.mlflow.stack_diagnosis#filter), without secrets.
  returned: always
  type: dict
  contains:
    member:
      description: The member of the cluster of PostgreSQL. Empty if there is none.
      type: dict
    etcd:
      description: The member of etcd. Empty if there is none.
      type: dict
    store:
      description: The MinIO of a pool. Empty if there is none, or without O(drives).
      type: dict
    proxy:
      description: The proxy that shares an address. Empty without O(virtual_address).
      type: dict
    pooler:
      description: The PgBouncer. Empty without O(pgbouncer).
      type: dict
  sample:
    proxy: {has_address: true, keepalived: {state: active/running, log: journalctl -u keepalived.service}}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.atlas.mlflow.plugins.module_utils.commands import run_quietly
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis.clusters import Host
from ansible_collections.atlas.mlflow.plugins.module_utils.interfaces import own_addresses

ARGUMENTS: dict[str, dict[str, Any]] = {
    "drives": {"type": "list", "elements": "path", "default": []},
    "virtual_address": {"type": "str", "default": ""},
    "pgbouncer": {"type": "bool", "default": False},
    "timeout": {"type": "float", "default": 4},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    host, params = Host(run_quietly(module), module.params["timeout"]), module.params
    address = params["virtual_address"]
    facts = {
        "member": host.member(),
        "etcd": host.etcd(),
        "store": host.store(params["drives"]) if params["drives"] else {},
        "pooler": host.pooler() if params["pgbouncer"] else {},
        "proxy": host.proxy(address, [str(one["address"]) for one in own_addresses()]) if address else {},
    }
    module.exit_json(changed=False, facts=facts)


if __name__ == "__main__":
    main()
