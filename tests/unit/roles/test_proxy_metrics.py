"""The metrics of HAProxy: nobody gets them by default, and with a port, those who are named and no others."""

from __future__ import annotations

import re
from typing import Any

from inventories import Case, Run

GROUPS = {"mlflow_servers": ["one"], "haproxy": ["Two.Example.com"]}
OPEN = {"haproxy_metrics_port": 8405, "haproxy_metrics_address": "0.0.0.0", "haproxy_metrics_clients": ["10.0.0.7", "fd00::/64"]}


def proxy(**given: Any) -> tuple[str, str, Run]:
    """Return the settings of HAProxy, of these the frontend of the metrics, and the run."""
    run = Run(Case(GROUPS, {"one": {}, "Two.Example.com": {"atlas_mlflow_firewall": True, **given}}), secrets={})
    config: str = run.value("Two.Example.com", "haproxy", "_haproxy_config")
    return config, config.partition("\nfrontend metrics\n")[2].partition("\nbackend ")[0], run


def test_there_are_no_metrics_by_default() -> None:
    config, _frontend, run = proxy()
    assert "prometheus" not in config and "frontend metrics" not in config
    assert run.plans["Two.Example.com"]["firewall_needed"] == [{"port": 80, "sources": ["any"]}]


def test_metrics_are_at_loopback_for_the_host_itself_unless_an_address_is_given() -> None:
    _config, frontend, run = proxy(haproxy_metrics_port=8405)
    assert "bind 127.0.0.1:8405\n" in frontend
    assert "deny deny_status 403 unless { src 127.0.0.0/8 ::1 }" in frontend
    assert run.plans["Two.Example.com"]["firewall_needed"] == [{"port": 80, "sources": ["any"]}]


def test_the_proxy_and_the_firewall_let_the_named_in_and_no_others() -> None:
    config, frontend, run = proxy(**OPEN)
    lines = [line.strip() for line in frontend.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert lines == [
        "bind 0.0.0.0:8405",
        "option dontlog-normal",
        # In this order: who may not ask is not told what there is.
        "http-request deny deny_status 403 unless { src 127.0.0.0/8 ::1 10.0.0.7 fd00::/64 }",
        'http-request return status 404 content-type text/plain string "Not found" unless { path /metrics }',
        "http-request use-service prometheus-exporter",
    ]
    assert config.count("prometheus-exporter") == 1
    # The other parts are as without metrics.
    assert config.replace(f"frontend metrics\n{frontend}\n", "") == proxy()[0]
    assert {"port": 8405, "sources": ["10.0.0.7", "fd00::/64"]} in run.plans["Two.Example.com"]["firewall_needed"]
    rules = run.value("Two.Example.com", "firewall", "lookup('ansible.builtin.template', 'rules.nft.j2')")
    assert re.findall(r".*dport 8405.*", rules) == [
        "        ip saddr { 10.0.0.7 } tcp dport 8405 accept",
        "        ip6 saddr { fd00::/64 } tcp dport 8405 accept",
    ]
    assert run.plans["one"].get("firewall_needed") == [{"port": 5001, "sources": [run.hosts["Two.Example.com"]["atlas_mlflow_ip"]]}]


def test_metrics_have_the_certificate_of_the_proxy_and_an_ipv6_address_its_brackets() -> None:
    _config, frontend, _run = proxy(**{**OPEN, "haproxy_metrics_address": "::", "atlas_mlflow_tls": True})
    assert "bind [::]:8405 ssl crt /etc/atlas-mlflow/tls/haproxy.pem " in frontend
