"""What a run knows of each host."""

from __future__ import annotations

from typing import Any

import pytest
from ansible import context
from ansible.errors import AnsibleFilterError
from ansible_collections.atlas.mlflow.plugins.filter.topology import FilterModule, host_calls, unread_hosts

FACTS = {"default_ipv4": {"address": "10.0.0.7"}, "hostname": "db", "fqdn": "db.example.com"}
BRIDGE = [{"interface": "docker0", "address": "172.17.0.1", "prefix": 16}]
#: A host without a route out has no default route.
CABLE = [{"interface": "eth0", "address": "172.21.0.2", "prefix": 16}, {"interface": "eth1", "address": "10.9.0.2", "prefix": 24}]


@pytest.mark.parametrize(
    ("variables", "address", "ip", "names"),
    [
        ({"ansible_facts": FACTS}, "10.0.0.7", "10.0.0.7", ["db1", "db", "db.example.com", "10.0.0.7"]),
        ({"ansible_facts": FACTS, "atlas_mlflow_address": "db.corp"}, "db.corp", "10.0.0.7", ["db1", "db", "db.example.com", "db.corp", "10.0.0.7"]),
        ({"atlas_mlflow_address": "10.0.0.9", "ansible_host": "192.0.2.1"}, "10.0.0.9", "10.0.0.9", ["db1", "192.0.2.1", "10.0.0.9"]),
        ({"atlas_mlflow_address": "fd00::7", "ansible_facts": {"default_ipv4": {}}}, "fd00::7", "fd00::7", ["db1", "fd00::7"]),
        ({"ansible_facts": {"default_ipv4": {}}}, "db1", "db1", ["db1"]),
        ({"ansible_facts": {**FACTS, "addresses": BRIDGE}}, "10.0.0.7", "10.0.0.7", ["db1", "db", "db.example.com", "10.0.0.7"]),
        ({"ansible_facts": {"default_ipv4": {}, "addresses": [*BRIDGE, *CABLE]}}, "172.21.0.2", "172.21.0.2", ["db1", "172.21.0.2"]),
        ({"ansible_facts": {"default_ipv4": {}, "addresses": BRIDGE}}, "db1", "db1", ["db1"]),
    ],
)
def test_a_host_is_called_by_what_the_inventory_and_its_facts_say(variables: dict[str, Any], address: str, ip: str, names: list[str]) -> None:
    assert host_calls({"inventory_hostname": "db1", **variables}) == {"address": address, "ip": ip, "names": names}


def test_a_host_is_called_by_the_facts_in_a_result() -> None:
    result = {f"ansible_{name}": fact for name, fact in FACTS.items()}
    assert host_calls({"inventory_hostname": "db1"}, result) == host_calls({"inventory_hostname": "db1", "ansible_facts": FACTS})


def test_a_host_that_cannot_be_read_is_named_unless_its_address_is_given() -> None:
    hostvars: dict[str, dict[str, Any]] = {"read": {}, "dead": {}, "named": {"atlas_mlflow_address": "db.corp"}, "given": {"atlas_mlflow_address": "10.0.0.9"}}
    hostvars["proxy"] = hostvars["given"]
    results = [
        {"item": "read", "ansible_facts": {}},
        {"item": "dead", "unreachable": True, "msg": "Connection\n refused"},
        {"item": "named", "failed": True, "msg": "no Python"},
        {"item": "given", "unreachable": True, "msg": "Connection refused"},
        {"item": "proxy", "unreachable": True, "msg": "Connection refused"},
    ]
    said = unread_hosts(results, hostvars, ["proxy"])
    assert [sentence.split(",")[0] for sentence in said] == ["--limit leaves out dead", "--limit leaves out named", "--limit leaves out proxy"]
    assert "it cannot be reached" in said[0] and "its facts cannot be read" in said[1] and "set atlas_mlflow_address of dead to its IP address" in said[0]
    assert "atlas_mlflow_address" not in said[2]


def test_the_hosts_of_the_stack_are_those_of_its_groups_each_once() -> None:
    groups = {"all": ["one", "two", "other"], "minio": ["two", "three"], "mlflow_servers": ["one", "two"], "others": ["other"]}
    hosts = FilterModule().filters()["topology_hosts"]
    assert hosts(groups) == ["one", "two", "three"]
    assert hosts({"all": ["other"]}) == []


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"all": [], "ungrouped": []}, "It has no group, or is not there."),
        ({"all": ["one"], "ungrouped": [], "mlflow_server": ["one"]}, "It has the group mlflow_server (did you mean mlflow_servers?)."),
        ({"all": ["one"], "web": ["one"], "servers": ["one"], "minio": []}, "the groups web, servers (did you mean mlflow_servers?), minio without a host."),
    ],
)
def test_an_inventory_without_a_host_of_the_stack_is_refused(monkeypatch: pytest.MonkeyPatch, groups: dict[str, list[str]], said: str) -> None:
    check = FilterModule().filters()["checked_groups"]
    monkeypatch.setattr(context, "CLIARGS", {"inventory": ("hosts.yml",)})
    with pytest.raises(AnsibleFilterError, match="The inventory hosts.yml has no host in the groups mlflow_servers, postgres, .*with -i") as error:
        check(groups)
    assert said in str(error.value)
    monkeypatch.setattr(context, "CLIARGS", {"inventory": ("hosts.yml",), "syntax": True})
    assert check(groups) == groups


def test_an_inventory_with_a_host_of_the_stack_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    check, groups = FilterModule().filters()["checked_groups"], {"all": ["db"], "postgres": ["db"]}
    monkeypatch.setattr(context, "CLIARGS", {})
    assert check(groups) is groups
    with pytest.raises(AnsibleFilterError, match="no host in the group mlflow_servers"):
        check(groups, "mlflow_servers")


def test_the_host_of_the_database_makes_the_backups_or_else_the_first_tracking_server() -> None:
    hosts = FilterModule().filters()["backup_hosts"]
    assert hosts({"mlflow_servers": ["one", "two"], "postgres": ["db"]}) == ["db"]
    assert hosts({"mlflow_servers": ["one", "two"], "postgres": []}) == ["one"]
    assert hosts({"mlflow_servers": ["one", "two"]}) == ["one"]
    assert hosts({"mlflow_servers": ["one", "two"], "postgres": ["a", "b", "c"]}) == ["a", "b", "c"], "any member may be the one that is left"
    assert hosts({}) == []
