#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that checks a tracking server from the module's host: sockets, names, page, API and a round trip."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mlflow_probe
short_description: Check that an MLflow tracking server works, and find the cause if it does not
version_added: 0.1.0
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
extends_documentation_fragment: [atlas.mlflow.tracking_server, atlas.mlflow.tls]
description:
  - Sends the requests of users to a tracking server, from the machine that runs the module. Run it on the server for its sockets, and
    on the control node or a client for the connection to it.
  - Reads the listening sockets of the service's processes, asks API and page by each name that should answer, checks that a foreign
    name is refused, and sends an experiment, a run and an artifact through the REST API like a client with default settings.
  - Warns if MLflow cannot decrypt the secret of a webhook, because it then answers 500 to each request for webhooks.
  - Each finding says what was expected, what was seen, the likely cause and the fix. The module fails if there is a finding.
  - Cleans up. MLflow's delete is soft, so one deleted experiment with one run per prober remains, which the next probe uses again.
  - Uses no proxy, follows no redirect, and returns no presigned URL, only the endpoint in it.
attributes:
  check_mode:
    description: Can run in check mode. The round trip is skipped in check mode, because it writes.
    support: full
  diff_mode:
    description: Returns no diff, because nothing changes.
    support: none
  platform:
    description: The platforms on which the module runs. O(unit) needs Linux with systemd, O(container) needs Docker's or Podman's client, and both need root.
    support: full
    platforms: posix
options:
  names:
    description:
      - Names and addresses that should answer, with or without a port. Each is sent as Host header. A name without a port gets the
        port of O(url), unless that is the scheme's default. The connection goes to the address in O(url).
      - If the list is empty, the host of O(url) is the name in requests.
      - The round trip uses the first name that answers.
    type: list
    elements: str
    default: []
  foreign_host:
    description: A name that is not the server's.
    type: str
    default: foreign.atlas-mlflow-probe.invalid
  foreign_host_refused:
    description: Whether O(foreign_host) must get status 403. Releases before 3.5 do not check the name, so set V(false) for them.
    type: bool
    default: true
  unit:
    description: The systemd unit whose processes' sockets are checked. Without this option and O(container), sockets are not checked.
    type: str
  container:
    description:
      - The container whose published port, and whose processes' sockets behind it, are checked.
      - With O(unit), it is a container of Podman that this unit runs, as Quadlet makes them. Otherwise it is one of Docker.
    type: str
  listen_address:
    description: The IP address that the unit's processes must listen on, or that the container's port is published on, and no other.
    type: str
    default: 0.0.0.0
  listen_port:
    description: The port on which the server must listen. By default that of O(url).
    type: int
  round_trip:
    description: Whether to log a run and to transfer an artifact in both directions.
    type: bool
    default: true
  artifact_mode:
    description:
      - V(proxied) fails if the server offers presigned downloads, because clients then need the S3 endpoint.
      - V(direct) fails if the server does not offer them.
      - V(any) accepts both.
    type: str
    choices: [proxied, direct, any]
    default: any
  artifact_bytes:
    description: Size of the artifact in bytes. It is kept in memory.
    type: int
    default: 4194304
  prober:
    description: Name that distinguishes probers that may run at the same time. By default the machine's host name.
    type: str
  timeout:
    description: Time limit of one whole request in seconds. A request with the artifact has one second more for each 256 KiB.
    type: float
    default: 10
  wait:
    description: Total seconds to wait for the first answer of a server that is starting.
    type: float
    default: 0
  memory:
    description:
      - File on the machine that the module runs on, in which a probe that finds nothing notes what the database holds, and against which the next
        one holds what it sees. If all experiments and runs that were seen are gone, and the database is another, that is a finding.
      - In check mode the file is read but not written.
    type: path
  memory_renewed:
    description: Whether another database is expected, so that the content of O(memory) does not count and is replaced.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Prove the service on its own host
  atlas.mlflow.mlflow_probe:
    url: http://127.0.0.1:5001
    names: [mlflow.example.org, localhost, 127.0.0.1]
    unit: mlflow-server.service
    artifact_mode: proxied
    wait: 60
  become: true

- name: Prove it from where its users stand
  atlas.mlflow.mlflow_probe:
    url: http://mlflow.example.org:5001
    artifact_mode: proxied
  delegate_to: localhost
  become: false

- name: Only look, at a release that has no check of the Host header
  atlas.mlflow.mlflow_probe:
    url: http://mlflow.example.org:5001/prefix
    foreign_host_refused: false
    round_trip: false
"""

RETURN = r"""
findings:
  description: The differences from the expected state.
  returned: always
  type: list
  elements: dict
  contains:
    check:
      description: What was checked.
      type: str
    expected:
      description: What should have been seen.
      type: str
    seen:
      description: What was seen.
      type: str
    fault:
      description: The name of the fault, the same as in the diagnosis.
      type: str
    cause:
      description: The likely cause.
      type: str
    fix:
      description: The fix.
      type: str
  sample:
    - check: listen
      expected: mlflow-server.service listens on 0.0.0.0:5001
      seen: 127.0.0.1:5001
      fault: bound-to-loopback
      cause: The server listens on a loopback address, so only its own host, or its own container, reaches it.
      fix: Pass --host 0.0.0.0 (mlflow_server_host), and restart the server.
sockets:
  description: The listening sockets of the unit or container, and those of other processes on its port. Empty without O(unit) and O(container).
  returned: always
  type: list
  elements: dict
  sample:
    - {address: 0.0.0.0, port: 5001, pid: 812, process: mlflow, own: true}
names:
  description: The status of API and page for each name, null if there was no answer.
  returned: always
  type: list
  elements: dict
  sample:
    - {name: mlflow.example.org, host: "mlflow.example.org:5001", api: 200, page: 200, answers: true}
server:
  description: The server's version and how it handles artifacts. Empty if the server does not answer.
  returned: always
  type: dict
  sample:
    version: 3.17.2
    store_type: SqlStore
    serves_artifacts: true
    presigned_for_client: false
    presigned_for_page: false
round_trip:
  description: The results of the round trip so far. V(way) is V(proxied) or V(presigned), and V(endpoint) is the source of the artifact.
  returned: always
  type: dict
  sample:
    skipped: false
    experiment: atlas-mlflow-probe-controller
    experiment_id: "1"
    run_id: 0f3c7a5be1f24bd3a0c1c6e3b7d51f7e
    bytes: 4194304
    sha256: 3b1f5a0d7e3b4c8f9a6d2e1c0b9a8f7e6d5c4b3a29181706f5e4d3c2b1a09f8e
    upload_seconds: 0.041
    download_seconds: 0.038
    way: proxied
    endpoint: http://mlflow.example.org:5001
data:
  description:
    - The content of the database without the experiments of probes. V(more) and V(more_runs) mean that there are more than were counted.
    - V(runs) and V(more_runs) are missing if the server did not answer the request for them.
  returned: when O(memory) is given and the API answers
  type: dict
  sample: {experiments: 12, more: false, runs: 50, more_runs: true}
seconds:
  description: How long the probe took.
  returned: always
  type: float
  sample: 0.62
"""

import socket
import time
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.atlas.mlflow.plugins.module_utils import data_loss, probed_service, seen
from ansible_collections.atlas.mlflow.plugins.module_utils.findings import Finding, readable
from ansible_collections.atlas.mlflow.plugins.module_utils.judge_answers import (
    check_artifact_mode,
    check_foreign_host,
    check_login,
    check_names,
    server_facts,
    wait_for_answer,
    webhooks_warning,
)
from ansible_collections.atlas.mlflow.plugins.module_utils.names import canonical_name
from ansible_collections.atlas.mlflow.plugins.module_utils.redaction import Redactor, uri_secrets
from ansible_collections.atlas.mlflow.plugins.module_utils.round_trip import FILE, RoundTrip
from ansible_collections.atlas.mlflow.plugins.module_utils.tracking import TrackingServer
from ansible_collections.atlas.mlflow.plugins.module_utils.web import Base, tls_context

ARGUMENTS: dict[str, dict[str, Any]] = {
    "url": {"type": "str", "required": True},
    "names": {"type": "list", "elements": "str", "default": []},
    "foreign_host": {"type": "str", "default": "foreign.atlas-mlflow-probe.invalid"},
    "foreign_host_refused": {"type": "bool", "default": True},
    "unit": {"type": "str"},
    "container": {"type": "str"},
    "listen_address": {"type": "str", "default": "0.0.0.0"},
    "listen_port": {"type": "int"},
    "round_trip": {"type": "bool", "default": True},
    "artifact_mode": {"type": "str", "choices": ["proxied", "direct", "any"], "default": "any"},
    "artifact_bytes": {"type": "int", "default": 4 * 1024 * 1024},
    "prober": {"type": "str"},
    "timeout": {"type": "float", "default": 10},
    "wait": {"type": "float", "default": 0},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "memory": {"type": "path"},
    "memory_renewed": {"type": "bool", "default": False},
    "validate_certs": {"type": "bool", "default": True},
    "ca_path": {"type": "path"},
    "tls_name": {"type": "str"},
}


def check_memory(module: AnsibleModule, result: dict[str, Any], server: TrackingServer, healthy: bool) -> list[Finding]:
    """Compare the content of the database with what the last probe saw, and record it if all is well."""
    if not module.params["memory"]:
        return []
    path = Path(module.params["memory"])
    now = data_loss.look(server)
    if not now:
        return []
    before = {} if module.params["memory_renewed"] else seen.recall(path)
    result["data"] = {name: now[name] for name in ("experiments", "more", "runs", "more_runs") if name in now}
    finding = data_loss.vanished(server, before, now) if before else None
    if finding:
        return [finding]
    if healthy and not module.check_mode:
        # The release whose schema the database has.
        seen.remember(path, {**now, "release": result["server"]["version"]})
    return []


def check_server(module: AnsibleModule, result: dict[str, Any], server: TrackingServer, hosts: dict[str, str]) -> list[Finding]:
    """Run the other checks on a server that answers."""
    params = module.params
    result["names"], findings = check_names(server, hosts)
    answering = [fact["host"] for fact in result["names"] if fact["api"] == 200]
    if not answering:
        result["round_trip"]["reason"] = "the API does not answer"
        return findings
    server = server.called(answering[0])
    prober = params["prober"] or socket.gethostname()
    result["server"], store_findings = server_facts(server, f"{seen.EXPERIMENT}{prober}/{FILE}")
    if params["foreign_host_refused"]:
        findings += check_foreign_host(server, params["foreign_host"], result["server"]["version"])
    if params["username"]:
        findings += check_login(server)
    findings += check_artifact_mode(result["server"], params["artifact_mode"]) + store_findings
    if module.check_mode:
        result["round_trip"]["reason"] = "check mode"
    elif params["round_trip"] and store_findings:
        result["round_trip"]["reason"] = "the artifact store does not answer"
    elif params["round_trip"]:
        trip = RoundTrip(server, prober, params["artifact_bytes"])
        trip.run()
        result["round_trip"] = trip.facts
        findings += trip.findings
    if not findings:
        # This is no finding: an upgrade that does not change it must not fail because of it.
        warning = webhooks_warning(server)
        if warning:
            module.warn(warning)
    return findings + check_memory(module, result, server, not findings)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True, required_together=[("username", "password")])
    params = module.params
    begin = time.monotonic()
    try:
        base = replace(Base.parse(params["url"]), tls_name=canonical_name(params["tls_name"] or ""))
        address = ip_address(params["listen_address"].strip("[]"))
        tls = tls_context(params["ca_path"], params["validate_certs"]) if base.scheme == "https" or params["ca_path"] else None
    except (ValueError, OSError) as error:
        # A parser's message quotes the part that it could not read: for a URL with a login, this is a part of the password.
        module.fail_json(msg=Redactor(uri_secrets(params["url"])).text(str(error)))
    credentials = (params["username"], params["password"]) if params["username"] else None
    hosts = {name: base.host_header(name) for name in params["names"] or [base.host]}
    server = TrackingServer(base, next(iter(hosts.values())), params["timeout"], credentials, tls)
    result: dict[str, Any] = {
        "changed": False,
        "sockets": [],
        "names": [],
        "server": {},
        "round_trip": {"skipped": True, "reason": "not asked for"},
    }
    watch = probed_service.Watch(module)
    silent = wait_for_answer(server, params["wait"], watch.gone)
    port = params["listen_port"] or base.port
    findings: list[Finding] = []
    if silent and watch.end and watch.end not in probed_service.ENDED:
        findings = [watch.finding()]
    elif params["unit"] and not (params["container"] and probed_service.read_unit(module, params["unit"]).pids):
        findings = probed_service.check_sockets(module, result, address, port)
    elif params["container"]:
        findings = probed_service.check_container(module, result, address, port, watch.end)
    if silent:
        result["round_trip"]["reason"] = "the server does not answer"
        findings.append(silent)
    else:
        findings += check_server(module, result, server, hosts)
    result["findings"] = [finding.as_dict() for finding in findings]
    result["seconds"] = round(time.monotonic() - begin, 3)
    if findings:
        module.fail_json(msg=readable(findings), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
