"""Where the proxy sends requests without TLS."""

from __future__ import annotations

import re
from typing import Any

import pytest

from inventories import Case, Run

TLS = {"haproxy_tls_certificate": "galaxy.yml", "haproxy_tls_key": "galaxy.yml", "haproxy_redirect_port": 80}


@pytest.mark.parametrize(
    ("given", "port"),
    [
        ({}, ""),
        ({"haproxy_port": 8443}, ":8443"),
        # A router passes another port of the public address to the proxy.
        ({"haproxy_port": 8443, "mlflow_server_url": "https://ml.example.com/ml"}, ""),
        ({"haproxy_port": "443", "mlflow_server_url": "https://ml.example.com:9443"}, ":9443"),
        ({"haproxy_port": 8443, "haproxy_url": "https://[fd00::7]:8443"}, ":8443"),
    ],
)
def test_a_redirect_leads_to_the_port_of_the_users_url(given: dict[str, Any], port: str) -> None:
    known = Run(Case({"mlflow_servers": ["web"], "haproxy": ["edge"]}, dict.fromkeys(("web", "edge"), {**TLS, **given})), secrets={})
    text = known.value("edge", "haproxy", "lookup('ansible.builtin.template', 'haproxy.cfg.j2')")
    assert re.findall(r"redirect code 308 location (\S+)", text) == [f"https://%[req.hdr(host),host_only]{port}%[pathq]"]
