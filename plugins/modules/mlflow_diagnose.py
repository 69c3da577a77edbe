#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that reads the facts for a diagnosis of a tracking server."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mlflow_diagnose
short_description: Read facts that show why a tracking server cannot be used
version_added: 0.1.0
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
extends_documentation_fragment: [atlas.mlflow.attributes.reads_only]
description:
  - Reads a server's process, arguments, sockets, published ports, stores, disks and answers on its own host, or what a client sees of it.
  - Works for any server, in a unit, in a container or as a process that was started by hand.
  - Changes nothing. The stores are asked by the server's own Python with its own settings; to see whether the artifact store may be written
    to, an upload is begun and given up.
  - If another process has the server's port and forwards requests, the module checks whether it accepts a large request. Only the length is sent.
  - Removes pieces of four or more characters of every secret in the server's arguments, environment and settings from its result.
  - The filter P(atlas.mlflow.diagnosis#filter) interprets the facts.
attributes:
  platform:
    description: The platforms on which the module runs. O(perspective=server) needs Linux and root.
    support: full
    platforms: posix
options:
  perspective:
    description: Whether the module runs on the server's host or on a client's machine.
    type: str
    choices: [server, client]
    default: server
  host:
    description: The address that the server should listen on.
    type: str
    default: 0.0.0.0
  port:
    description: The port that the server should listen on.
    type: int
    default: 5001
  names:
    description: Names or addresses that people use for the server. A client resolves and asks each of them.
    type: list
    elements: str
    default: []
  static_prefix:
    description: The path before every path of the server.
    type: str
    default: ""
  unit:
    description:
      - The systemd unit to look for. A unit or container with the given name has precedence, even if it does not run.
      - For a unit that runs its server in a container, as Podman makes them (Quadlet), the container is read.
      - If there is none, a running server is used, or else a unit or container that starts one.
    type: str
    default: mlflow-server.service
  container:
    description: The container of Docker or Podman to look for.
    type: str
    default: atlas-mlflow-server
  folders:
    description: More folders whose disk may be full.
    type: list
    elements: path
    default: []
  scheme:
    description: Whether the server uses TLS.
    type: str
    choices: [http, https]
    default: http
  ca_path:
    description:
      - CA file (PEM) to trust instead of the system's. Only for a client; on the server's own host a certificate is not checked.
      - If the file cannot be read, the module warns, and goes on with those of the system.
    type: path
  s3_endpoint:
    description: URL of the S3 endpoint to which the server sends clients. Only for a client.
    type: str
    default: ""
  username:
    description: User for a server with basic authentication. Without a user, such a server shows only that it asks for a login.
    type: str
  password:
    description: The user's password.
    type: str
  timeout:
    description: Time limit of one request in seconds.
    type: float
    default: 4
"""

EXAMPLES = r"""
- name: Diagnose the server on its own host
  atlas.mlflow.mlflow_diagnose:
    names: [mlflow.example.org]
  become: true
  register: server

- name: Diagnose the server from the control node
  atlas.mlflow.mlflow_diagnose:
    perspective: client
    names: [mlflow.example.org]
    s3_endpoint: "{{ server.facts.client_endpoint }}"
  delegate_to: localhost
  register: client

- name: Show the diagnosis
  ansible.builtin.debug:
    msg: "{{ {'host': '0.0.0.0', 'port': 5001} | atlas.mlflow.diagnosis(server.facts, client.facts) }}"
"""

RETURN = r"""
facts:
  description: The facts for the filter P(atlas.mlflow.diagnosis#filter), without secrets.
  returned: always
  type: dict
  sample: {kind: unit, name: mlflow-server.service, state: active/running, pid: 812}
"""

import ssl
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.atlas.mlflow.plugins.module_utils import uris
from ansible_collections.atlas.mlflow.plugins.module_utils.arguments import option
from ansible_collections.atlas.mlflow.plugins.module_utils.commands import run_quietly
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis import answers, collect, front
from ansible_collections.atlas.mlflow.plugins.module_utils.redaction import Redactor
from ansible_collections.atlas.mlflow.plugins.module_utils.tracking import SERVER_INFO, TrackingServer
from ansible_collections.atlas.mlflow.plugins.module_utils.web import Base, NoAnswer, ask, tls_context

ARGUMENTS: dict[str, dict[str, Any]] = {
    "perspective": {"type": "str", "choices": ["server", "client"], "default": "server"},
    "host": {"type": "str", "default": "0.0.0.0"},
    "port": {"type": "int", "default": 5001},
    "names": {"type": "list", "elements": "str", "default": []},
    "static_prefix": {"type": "str", "default": ""},
    "unit": {"type": "str", "default": "mlflow-server.service"},
    "container": {"type": "str", "default": "atlas-mlflow-server"},
    "folders": {"type": "list", "elements": "path", "default": []},
    "scheme": {"type": "str", "choices": ["http", "https"], "default": "http"},
    "ca_path": {"type": "path"},
    "s3_endpoint": {"type": "str", "default": ""},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "timeout": {"type": "float", "default": 4},
}


def offers_links(base: Base, host: str, timeout: float, tls: ssl.SSLContext) -> bool:
    """Return whether the server tells clients to download artifacts by links to its S3 endpoint."""
    try:
        return bool(ask(base, "GET", base.path + SERVER_INFO["client"], host=host, timeout=timeout, tls=tls).json().get("multipart_downloads_enabled"))
    except NoAnswer:
        return False


def login(module: AnsibleModule) -> tuple[str, str] | None:
    """Return the name and password for the login, None if there is no login."""
    return (module.params["username"], module.params["password"]) if module.params["username"] else None


def see_as_server(module: AnsibleModule, server: collect.Server) -> dict[str, Any]:
    """Return the facts that are visible on the server's own host."""
    params = module.params
    facts = server.read()
    if not facts["kind"]:
        return facts
    # This host itself answers here, on an address that may be missing in the certificate.
    tls = tls_context(None, validate=False)
    here = "127.0.0.1" if params["host"] in ("0.0.0.0", "::") else params["host"]
    base = Base(params["scheme"], here, params["port"], params["static_prefix"])
    facts["names"] = answers.ask_names(base, ["localhost", *params["names"]], params["timeout"], tls, login(module))
    facts["logs_in"] = login(module) is not None
    host = base.host_header("localhost")
    if facts["names"][0]["api"] == 404:
        facts["answers_below"] = answers.answers_below(base, host, server.argv, params["timeout"], tls)
    facts["front"] = see_front(module, server, base, tls)
    s3 = (facts.get("stores") or {}).get("s3") or {}
    sent = (facts.get("artifact_root") or {}).get("kind") == "s3"
    facts["client_endpoint"] = s3.get("endpoint", "") if s3 and (sent or offers_links(base, host, params["timeout"], tls)) else ""
    return facts


def see_front(module: AnsibleModule, server: collect.Server, base: Base, tls: ssl.SSLContext) -> dict[str, Any] | None:
    """Return the proxy on the server's port, the server's answers without the proxy, and what the proxy does to them; None if there is no proxy."""
    facts, params = server.facts, module.params
    found = front.find(facts, params["host"], params["port"])
    place = front.own_place(facts, server.inspected) if found else None
    if not found or not place:
        return None
    front.name_container(found, server.run)
    scheme = "https" if any("ssl-keyfile" in word for word in server.argv) else "http"
    own = Base(scheme, *place, option(server.argv, "--static-prefix").rstrip("/"))
    hosts = [one["host"] for one in facts["names"]]
    found["direct"] = answers.ask_names(own, hosts, params["timeout"], tls, login(module))
    both = [TrackingServer(one, hosts[0], params["timeout"], login(module), tls) for one in (base, own)]
    if not front.is_known(found) and not front.same_answer(both):
        return None
    is_answered = facts["names"][0]["api"] != 0
    found["refuses_host"] = is_answered and front.refuses_host(base, hosts[0], params["timeout"], tls, login(module))
    found["refuses_large"] = is_answered and front.refuses_large(base, hosts[0], tls)
    return found


def client_tls(module: AnsibleModule) -> ssl.SSLContext:
    """Return the context of a client. Without its CA file, as on another control node, it trusts the authorities of its machine, which is a finding."""
    try:
        return tls_context(module.params["ca_path"], validate=True)
    except OSError as error:
        module.warn(f"{error}. The client trusts the authorities of its machine alone.")
        return tls_context(None, validate=True)


def see(module: AnsibleModule, redactor: Redactor) -> dict[str, Any]:
    """Return the facts that are visible from the module's host, without secrets."""
    params = module.params
    redactor.learn([params["password"] or ""])
    if params["perspective"] == "server":
        facts = see_as_server(module, collect.Server(run_quietly(module), params, redactor=redactor))
    else:
        base = Base(params["scheme"], "", params["port"], params["static_prefix"])
        tls = client_tls(module)
        facts = answers.see_as_client(base, params["names"], params["s3_endpoint"], params["timeout"], tls, login(module))
    shown: dict[str, Any] = redactor.clean(facts)
    return shown


def main() -> None:
    """Run the module."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True, required_together=[("username", "password")])
    redactor = Redactor(public=[*module.params["names"], module.params["unit"], module.params["container"], uris.read_uri(module.params["s3_endpoint"]).host])
    facts, failure = {}, ""
    try:
        facts = see(module, redactor)
    except Exception as error:  # the text of the error may quote what it could not read
        failure = redactor.text(f"{type(error).__name__}: {error}")
    if failure:  # outside the handler, so that the output has no traceback
        module.fail_json(msg=f"The diagnosis ended with an error of its own. {failure}")
    module.exit_json(changed=False, facts=facts)


if __name__ == "__main__":
    main()
