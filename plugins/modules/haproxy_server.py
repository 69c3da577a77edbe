#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that drains a server of HAProxy before a restart, and puts it back into service."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: haproxy_server
short_description: Drain a server of HAProxy before a restart, and put it back into service
version_added: 0.1.0
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
extends_documentation_fragment: [atlas.mlflow.attributes]
description:
  - Asks the HAProxy that the role C(haproxy) has set up on the host, through the socket of its master process.
  - The state lasts until the next reload or start of HAProxy, after which all servers get requests.
  - A server in maintenance is left alone. So is a server that HAProxy does not have, or knows with another O(port) or O(tls), and nothing is done if HAProxy
    does not run.
attributes:
  check_mode:
    description: Can run in check mode and say what would change.
    support: full
  diff_mode:
    description: Changes no file.
    support: none
options:
  name:
    description: The name of the server in HAProxy's settings.
    type: str
    required: true
  state:
    description:
      - With V(drain), the server gets no new requests, and the module waits until all its requests have ended, also those of a HAProxy that was reloaded. If
        no other server gets requests, the server is not drained, with a warning.
      - With V(ready), the server gets requests again, and the module waits until the server passes HAProxy's health checks.
    type: str
    choices: [drain, ready]
    required: true
  wait:
    description:
      - The most seconds to wait.
      - If requests are still open then, or if the server is not healthy then, the module ends with a warning.
      - With V(0), the module does not wait.
    type: int
    default: 60
  port:
    description: The port of the server after its restart.
    type: int
  tls:
    description: Whether the server uses TLS after its restart.
    type: bool
  backend:
    description: The backend with the server.
    type: str
    default: mlflow_servers
  socket:
    description: The socket of HAProxy's master process.
    type: path
    default: /run/haproxy/master.sock
"""

EXAMPLES = r"""
- name: Drain the server at each proxy
  atlas.mlflow.haproxy_server:
    name: "{{ inventory_hostname }}"
    state: drain
    wait: 300
  become: true
  delegate_to: "{{ item }}"
  loop: "{{ groups.haproxy }}"

- name: Put the server back into service at each proxy
  atlas.mlflow.haproxy_server:
    name: "{{ inventory_hostname }}"
    state: ready
  become: true
  delegate_to: "{{ item }}"
  loop: "{{ groups.haproxy }}"
"""

RETURN = r"""
msg:
  description: Why nothing was done, or what failed.
  returned: failure, or if nothing was done
  type: str
  sample: HAProxy does not run.
requests:
  description: The number of requests that were still open at the end.
  returned: success
  type: int
  sample: 0
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.atlas.mlflow.plugins.module_utils.haproxy import BACKEND, MASTER, HaproxyError, Outcome, Proxy, Wanted, asker, drain, make_ready


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["drain", "ready"], "required": True},
            "wait": {"type": "int", "default": 60},
            "port": {"type": "int"},
            "tls": {"type": "bool"},
            "backend": {"type": "str", "default": BACKEND},
            "socket": {"type": "path", "default": MASTER},
        },
        supports_check_mode=True,
    )
    given = module.params
    bring = drain if given["state"] == "drain" else make_ready
    try:
        wanted = Wanted(given["name"], given["port"], given["tls"])
        outcome = bring(Proxy(asker(given["socket"]), given["backend"]), wanted, given["wait"], not module.check_mode)
    except HaproxyError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        outcome = Outcome(skipped=f"HAProxy does not run: {error}.")
    if outcome.warning:
        module.warn(outcome.warning)
    module.exit_json(changed=outcome.changed, requests=outcome.requests, **({"msg": outcome.skipped} if outcome.skipped else {}))


if __name__ == "__main__":
    main()
