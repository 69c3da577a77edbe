"""Addresses by which the parts of a stack could not call one another are refused."""

from __future__ import annotations

from typing import Any

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


def machine(ip: str, hostname: str, *own: str) -> dict[str, Any]:
    """Return the variables of a host with its facts."""
    facts = {"hostname": hostname, "addresses": [{"interface": "eth0", "address": one, "prefix": 24} for one in own]}
    return {"atlas_mlflow_address": ip, "atlas_mlflow_ip": ip, "ansible_facts": facts}


def test_machines_with_the_same_address_are_refused() -> None:
    """Each machine of VirtualBox has this address on the network of its default route, where it is alone."""
    known = {f"vm{number}": machine("10.0.2.15", "debian", "10.0.2.15", f"192.168.56.1{number}") for number in (1, 2)}
    known["vm3"] = machine("192.168.56.13", "debian", "10.0.2.15", "192.168.56.13")
    (fault,) = address_faults(known, known)
    assert "vm1 and vm2 have the same address, 10.0.2.15" in fault and "Set atlas_mlflow_address of each" in fault
    assert "vm1 has 10.0.2.15, 192.168.56.11; vm2 has 10.0.2.15, 192.168.56.12." in fault
    named = {name: machine("10.0.2.15", name, "10.0.2.15") for name in ("one", "two")}
    assert len(address_faults(named, named)) == 1
    named["two"] |= {"atlas_mlflow_address": "two.corp"}
    assert address_faults(named, named) == []


def test_an_address_is_shared_by_names_of_one_machine_and_behind_a_nat() -> None:
    one = {name: machine("10.0.0.7", "srv", "10.0.0.7", "10.1.0.7") for name in ("mlflow.corp", "db.corp")}
    assert address_faults(one, one) == []
    # A router has the address, and passes the ports of the services to their hosts.
    behind = {name: machine("203.0.113.5", name, f"192.168.0.{number}") for number, name in enumerate(("db", "store"))}
    assert address_faults(behind, behind) == []


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
