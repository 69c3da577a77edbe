#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that checks that a tracking server and its OpenID provider accept each other."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: oidc_probe
short_description: Check that a tracking server and its OpenID provider accept each other
version_added: 0.1.0
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
extends_documentation_fragment: [atlas.mlflow.attributes, atlas.mlflow.attributes.reads_only]
description:
  - Sends the requests of a login to a provider, as far as this is possible without a person and a password. Run it on the tracking server's host, whose
    way to the provider is the one that counts.
  - Reads the provider's discovery document, lets its token endpoint judge the client's secret by a code that was never given out, and follows the
    first step of a login from the tracking server to the provider's page.
  - Each finding says what was expected, what was seen, the likely cause and the fix. The module fails if there is a finding.
  - Changes nothing, and returns no secret. Uses no proxy but the one in O(environment), and this one only on the way to the provider.
options:
  discovery_url:
    description: URL of the provider's discovery document. Its certificate is checked with the authorities that the host trusts.
    type: str
    required: true
  client_id:
    description: The provider's identifier of the tracking server.
    type: str
    required: true
  client_secret:
    description: The client's secret.
    type: str
    required: true
  redirect_uri:
    description: The URL to which the provider redirects people. Its host name is used in requests to the tracking server.
    type: str
    required: true
  url:
    description: Base URL to connect to the tracking server.
    type: str
    required: true
  ca_path:
    description: CA file (PEM) to trust for the tracking server's certificate instead of the system's.
    type: path
  tls_name:
    description: Name or address that the tracking server's certificate must be for. By default the host of O(url).
    type: str
  environment:
    description:
      - Variables by which the tracking server finds a proxy on the way to the provider, such as C(HTTPS_PROXY) and C(NO_PROXY). Others are not read.
      - The proxy must speak HTTP itself. Another kind, such as SOCKS, is not used.
    type: dict
    default: {}
  timeout:
    description: Time limit of one request in seconds.
    type: float
    default: 10
"""

EXAMPLES = r"""
- name: Prove the way to the provider
  atlas.mlflow.oidc_probe:
    discovery_url: https://login.example.org/.well-known/openid-configuration
    client_id: mlflow
    client_secret: "{{ mlflow_server_oidc_client_secret }}"
    redirect_uri: https://mlflow.example.org/callback
    url: https://127.0.0.1:5001
    tls_name: mlflow.example.org
"""

RETURN = r"""
findings:
  description: The differences from the expected state, in the form of M(atlas.mlflow.mlflow_probe).
  returned: always
  type: list
  elements: dict
  sample:
    - check: client secret
      expected: https://login.example.org/token to let the client mlflow in
      seen: 401 invalid_client
      fault: provider-refuses-client
      cause: mlflow_server_oidc_client_id or mlflow_server_oidc_client_secret is not what the provider has.
      fix: Set both to what the provider has.
provider:
  description: The provider's own name, empty if the provider does not answer.
  returned: always
  type: str
  sample: https://login.example.org
"""

from dataclasses import replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.atlas.mlflow.plugins.module_utils.findings import Finding, readable
from ansible_collections.atlas.mlflow.plugins.module_utils.names import canonical_name
from ansible_collections.atlas.mlflow.plugins.module_utils.openid import Client, Way, check_client, check_login, discover
from ansible_collections.atlas.mlflow.plugins.module_utils.web import Base, tls_context

ARGUMENTS: dict[str, dict[str, Any]] = {
    "discovery_url": {"type": "str", "required": True},
    "client_id": {"type": "str", "required": True},
    "client_secret": {"type": "str", "required": True, "no_log": True},
    "redirect_uri": {"type": "str", "required": True},
    "url": {"type": "str", "required": True},
    "ca_path": {"type": "path"},
    "tls_name": {"type": "str"},
    # The address of a proxy may have a password.
    "environment": {"type": "dict", "default": {}, "no_log": True},
    "timeout": {"type": "float", "default": 10},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    params = module.params
    client = Client(params["client_id"], params["client_secret"], params["redirect_uri"])
    way = Way(params["timeout"], params["environment"])
    findings: list[Finding] = []
    described: dict[str, Any] = {}
    try:
        base = replace(Base.parse(params["url"]), tls_name=canonical_name(params["tls_name"] or ""))
        tls = tls_context(params["ca_path"], validate=True) if base.scheme == "https" else None
        described, findings = discover(params["discovery_url"], way)
        if described:
            findings += check_client(described["token_endpoint"], client, way)
            findings += check_login(base, tls, described, client, way)
    except (ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    result = {"changed": False, "provider": str(described.get("issuer", "")), "findings": [finding.as_dict() for finding in findings]}
    if findings:
        module.fail_json(msg=readable(findings), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
