"""Which requests HAProxy sends to another server. What HAProxy makes of these settings is proven in the scenario cluster, where a replica ends under load."""

from __future__ import annotations

from inventories import Case, Run


def lines_of(names: list[str]) -> list[str]:
    """Return the lines of HAProxy's settings before these servers."""
    servers = [{"name": name, "address": f"10.0.0.{number}:5001"} for number, name in enumerate(names, 1)]
    case = Case({"mlflow_servers": names, "haproxy": ["proxy"]}, {**{name: {} for name in names}, "proxy": {"haproxy_servers": servers}})
    text: str = Run(case, secrets={}).value("proxy", "haproxy", "_haproxy_config")
    return [line.strip() for line in text.splitlines()]


def test_a_read_is_sent_to_another_server_if_one_is_gone_or_has_no_database() -> None:
    lines = lines_of(["one", "two"])
    assert "retry-on conn-failure empty-response 503" in lines
    assert "http-request disable-l7-retry unless METH_GET" in lines


def test_a_server_alone_is_asked_once() -> None:
    assert not [line for line in lines_of(["one"]) if line.startswith(("retry-on", "http-request disable-l7-retry"))]
