"""A new inventory has the hosts that were given, the groups and the comments of its example, and no name of the example."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.atlas.mlflow.plugins.plugin_utils.new_inventory import HOST, new_inventory
from playbook_forks import ansible_playbook

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = {path.parent.name: path.read_text(encoding="utf-8") for path in ROOT.glob("inventories/*/hosts.yml")}
#: The topologies that the playbook offers. An external store needs more than hosts.
TOPOLOGIES = {"embedded": 1, "one_host": 1, "containers": 1, "three_hosts": 3, "cluster": 11}
#: What the playbook calls the hosts of each group.
CALLED = {"haproxy": "proxies", "mlflow_servers": "MLflow", "postgres": "PostgreSQL", "minio": "MinIO"}


def hosts_of(inventory: dict[str, Any]) -> dict[str, list[str]]:
    """Return the hosts of each group."""
    return {name: list(group["hosts"]) for name, group in inventory.items() if "hosts" in group}


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_an_inventory_has_the_given_hosts_and_the_comments(topology: str) -> None:
    hosts = [f"vm{number}.corp.example" for number in range(TOPOLOGIES[topology])]
    text = new_inventory(EXAMPLES[topology], ", ".join(hosts), "ml.corp.example,*.ml.corp.example", "ops", "10.1.2.3")
    before, after = yaml.safe_load(EXAMPLES[topology]), yaml.safe_load(text)
    renamed = dict(zip(dict.fromkeys(HOST.findall(EXAMPLES[topology])), hosts, strict=True))
    assert hosts_of(after) == {group: [renamed[name] for name in names] for group, names in hosts_of(before).items()}
    plain = re.sub("#.*", "", text)
    assert "example.com" not in plain and "ansible_connection" not in plain
    assert re.findall("#.*", text) == re.findall("#.*", EXAMPLES[topology])
    if topology != "embedded":
        assert after["all"]["vars"]["ansible_user"] == "ops"
        assert '["ml.corp.example", "*.ml.corp.example"]' in text
    assert ("haproxy_virtual_address: 10.1.2.3" in text) == (topology == "cluster")


def test_this_machine_is_not_asked_over_ssh() -> None:
    inventory = yaml.safe_load(new_inventory(EXAMPLES["one_host"], ["localhost"]))
    assert inventory["mlflow_servers"]["hosts"]["localhost"] == {"ansible_connection": "local", "mlflow_server_names": []}
    assert inventory["postgres"]["hosts"]["localhost"] == {"ansible_connection": "local"}
    assert "ansible_user" not in (inventory["all"]["vars"] or {})
    assert list(yaml.safe_load(new_inventory(EXAMPLES["embedded"], "fd00::7"))["mlflow_servers"]["hosts"]) == ["fd00::7"]


@pytest.mark.parametrize(
    ("topology", "given", "complaint"),
    [
        ("three_hosts", {"hosts": "a,b"}, "has 2 hosts, and this topology needs 3, in this order: mlflow.example.com, postgres"),
        ("one_host", {"hosts": None}, "has 0 hosts, and this topology needs 1"),
        ("one_host", {"hosts": ""}, "has 0 hosts, and this topology needs 1"),
        ("three_hosts", {"hosts": "a,b,a"}, "inventory_hosts has a host twice: a, b, a"),
        ("one_host", {"hosts": ["a b"]}, "have 'a b', which is no name and no address"),
        ("one_host", {"hosts": "a", "names": "x:\n"}, "have 'x:', which is no name and no address"),
        ("cluster", {"hosts": [f"h{number}" for number in range(11)]}, "inventory_address is empty: set it to an unused address"),
        (
            "cluster",
            {"hosts": [f"h{number}" for number in range(11)], "address": "10.0.0.9/240"},
            "inventory_address is 10.0.0.9/240: set it to an unused address",
        ),
        ("cluster", {"hosts": [f"h{number}" for number in range(11)], "address": "proxies"}, "inventory_address is proxies: set it to an unused address"),
    ],
)
def test_what_makes_no_inventory_is_refused(topology: str, given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(AnsibleFilterError, match=re.escape(complaint)):
        new_inventory(EXAMPLES[topology], **given)


@pytest.mark.parametrize("address", ["10.0.0.9", "10.0.0.9/24", "::5", "fd00::9/64"])
def test_the_shared_address_may_have_the_length_of_its_network(address: str) -> None:
    written = yaml.safe_load(new_inventory(EXAMPLES["cluster"], [f"h{number}" for number in range(11)], address=address))
    assert written["haproxy"]["vars"]["haproxy_virtual_address"] == address


@pytest.mark.parametrize("name", ["123", "010", "12.50", "0x1f", "yes", "null", "2001:db8::1", "10.0.0.5", "ml01"])
def test_a_host_is_called_as_it_was_given(name: str) -> None:
    written = yaml.safe_load(new_inventory(EXAMPLES["one_host"], name))
    assert hosts_of(written) == {"mlflow_servers": [name], "postgres": [name], "minio": [name]}


@pytest.mark.parametrize("topology", [name for name, hosts in TOPOLOGIES.items() if hosts > 1])
def test_the_playbook_asks_for_the_hosts_in_the_order_in_which_they_are_taken(topology: str) -> None:
    (play,) = yaml.safe_load((ROOT / "playbooks/inventory.yml").read_text())
    prompts = {question["name"]: question["prompt"] for question in play["vars_prompt"]}
    order = ", ".join(f"{len(names)} {CALLED[group]}" for group, names in hosts_of(yaml.safe_load(EXAMPLES[topology])).items())
    assert f"Order for {topology}: {order}" in prompts["inventory_hosts"]
    assert topology != "cluster" or "inventory_address" in prompts


def test_the_playbook_writes_one_and_replaces_none(tmp_path: Path) -> None:
    given = {"topology": "three_hosts", "hosts": "a,b,c", "user": "ops", "names": "ml.example.org", "folder": tmp_path / "new"}
    answers = [word for name, value in given.items() for word in ("-e", f"inventory_{name}={value}")]

    def run(*more: str) -> Any:
        return ansible_playbook(tmp_path, "-i", "localhost,", ROOT / "playbooks/inventory.yml", *answers, *more, ANSIBLE_INVENTORY_ENABLED="host_list")

    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    written = (tmp_path / "new/hosts.yml").read_text()
    assert written.endswith("\n")
    assert hosts_of(yaml.safe_load(written)) == {"mlflow_servers": ["a"], "postgres": ["b"], "minio": ["c"]}
    assert f"ansible-playbook atlas.mlflow.site -i {tmp_path}/new" in done.stdout
    again = run("-e", "inventory_hosts=d,e,f")
    assert again.returncode != 0 and "is there, and is not replaced" in again.stdout + again.stderr
    assert (tmp_path / "new/hosts.yml").read_text() == written
    bad = run("-e", "inventory_topology=two_hosts")
    assert "inventory_topology is two_hosts: choose one of embedded" in bad.stdout + bad.stderr
    few = run("-e", "inventory_hosts=a", "-e", f"inventory_folder={tmp_path}/few")
    assert "has 1 hosts, and this topology needs 3" in few.stdout + few.stderr
    cut = run("-e", "inventory_names=ml.example.org, ml", "-e", f"inventory_folder={tmp_path}/few")
    assert "with commas and without spaces" in " ".join((cut.stdout + cut.stderr).split())
    assert not (tmp_path / "few").exists()


def test_the_playbook_writes_to_a_relative_folder_below_the_working_directory(tmp_path: Path) -> None:
    given = {"topology": "one_host", "hosts": "a", "folder": "new ones/first"}
    answers = ["-e", json.dumps({f"inventory_{name}": value for name, value in given.items()})]
    done = ansible_playbook(tmp_path, "-i", "localhost,", ROOT / "playbooks/inventory.yml", *answers, ANSIBLE_INVENTORY_ENABLED="host_list", PWD=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "new ones/first/hosts.yml").exists() and not (ROOT / "playbooks/new ones").exists()
    assert f"ansible-playbook atlas.mlflow.site -i '{tmp_path}/new ones/first'" in " ".join(done.stdout.split()).replace("''", "'")
