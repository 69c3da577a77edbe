"""Addresses by which the parts of a stack could not call one another are refused."""

from __future__ import annotations

import pytest
from ansible_collections.atlas.mlflow.plugins.filter.addresses import address_faults
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.names import unbracketed_urls


def hostvars(**hosts: tuple[str, str]) -> dict[str, dict[str, str]]:
    """Return the variables of hosts, each with its address and its IP address."""
    return {name: {"atlas_mlflow_address": address, "atlas_mlflow_ip": ip} for name, (address, ip) in hosts.items()}


@pytest.mark.parametrize("address", ["fd00::7", "[fd00::7]", "2001:db8::1"])
def test_an_ipv6_address_of_a_host_is_refused_by_its_variable(address: str) -> None:
    (fault,) = address_faults(["one"], hostvars(one=(address, address)))
    assert fault.startswith(f"atlas_mlflow_address of one is {address}, ")


def test_a_host_without_ipv4_is_refused_if_others_must_call_it() -> None:
    without = hostvars(one=("10.0.0.1", "10.0.0.1"), two=("two.corp", "two.corp"), three=("three.corp", "10.0.0.3"))
    assert [fault.split(" has")[0] for fault in address_faults(without, without)] == ["two"]
    assert address_faults(["two"], without) == []


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("http://fd00::7:5001", True),
        ("http://::1:5001/mlflow", True),
        ("postgresql+psycopg2://user:p%3Aw@fd00::7:5432/m", True),
        ("http://[fd00::7]:5001", False),
        ("http://10.0.0.1:5001", False),
        ("https://mlflow.corp/a:b:c", False),
        ("postgresql+psycopg2://user:pass:word@db:5432/m", False),
        ("sqlite:////srv/a:b:c.db", False),
        ("", False),
    ],
)
def test_an_ipv6_address_in_a_url_has_brackets(url: str, wrong: bool) -> None:
    assert unbracketed_urls({"the_url": url}) == (["the_url"] if wrong else [])
