"""The firewall of a running host opens what is new before other roles use it, as to hosts that join, and closes what is former at the end of a run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.atlas.mlflow.plugins.filter.firewall import new_openings
from ansible_collections.atlas.mlflow.plugins.module_utils.firewall_rules import RULES, UFW, read_firewall, read_ufw
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.firewall import ufw_closes_the_ports
from playbook_forks import ansible_playbook

from inventories import Case, Run

ROOT = Path(__file__).resolve().parents[3]
FORMER = {"openings": [{"port": 5432, "sources": ["10.0.0.1"]}]}
NAMES = ("one", "Two.Example.com", "ml_three", "four", "five", "six", "seven", "eight", "nine")


def stack(groups: dict[str, list[str]], **given: Any) -> Run:
    """Return what a run with firewalls knows of a stack. A host has the same address in each stack."""
    return Run(Case(groups, {name: {"atlas_mlflow_firewall": True, **given} for name in NAMES}), secrets={})


def rules_of(run: Run, name: str, **kept: Any) -> str:
    """Return the rules of a host, with those that are kept besides."""
    text: str = run.value(name, "firewall", f"lookup('ansible.builtin.template', 'rules.nft.j2', template_vars={kept})")
    return text


def firewall(folder: Path, rules: str) -> dict[str, Any]:
    """Return what the facts of a host with these rules say of its firewall."""
    path = folder / RULES
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(rules)
    return read_firewall(folder)


def ports(openings: list[dict[str, Any]]) -> set[int]:
    """Return the ports of openings."""
    return {one["port"] for one in openings}


SERVER, PROXY, POOL = ["one"], ["one"], ["Two.Example.com", "ml_three", "four", "five"]
ONE_HOST = {"mlflow_servers": SERVER, "postgres": ["Two.Example.com"], "minio": ["Two.Example.com"]}


@pytest.mark.parametrize(
    ("before", "after", "host", "opened"),
    [
        # One host of PostgreSQL becomes the first of three: the others copy it, and all agree in etcd.
        (ONE_HOST, {**ONE_HOST, "postgres": ["Two.Example.com", "ml_three", "four"]}, "Two.Example.com", {2379, 2380, 5432, 8008, 9000}),
        # Three members become five.
        ({"mlflow_servers": SERVER, "postgres": POOL[:3]}, {"mlflow_servers": SERVER, "postgres": [*POOL, "six"]}, "ml_three", {2379, 2380, 5432, 8008}),
        # Another tracking server.
        (ONE_HOST, {**ONE_HOST, "mlflow_servers": ["one", "six"], "haproxy": ["six"]}, "Two.Example.com", {5432, 9000}),
        # Other hosts in a pool of MinIO.
        (
            {"mlflow_servers": SERVER, "haproxy": PROXY, "minio": POOL},
            {"mlflow_servers": SERVER, "haproxy": PROXY, "minio": [*POOL, "six", "seven", "eight", "nine"]},
            "four",
            {9000},
        ),
        # Another proxy of a pool.
        ({"mlflow_servers": SERVER, "haproxy": PROXY, "minio": POOL}, {"mlflow_servers": SERVER, "haproxy": ["one", "six"], "minio": POOL}, "four", {9000}),
    ],
)
def test_a_running_host_opens_its_ports_to_hosts_that_join(
    tmp_path: Path, before: dict[str, list[str]], after: dict[str, list[str]], host: str, opened: set[int]
) -> None:
    there = firewall(tmp_path, rules_of(stack(before), host))["openings"]
    assert new_openings(stack(before).plans[host]["firewall_needed"], there) == []
    assert ports(new_openings(stack(after).plans[host]["firewall_needed"], there)) == opened


def test_another_port_is_new(tmp_path: Path) -> None:
    there = firewall(tmp_path, rules_of(stack(ONE_HOST), "Two.Example.com"))["openings"]
    assert ports(new_openings(stack(ONE_HOST, postgres_port=6432).plans["Two.Example.com"]["firewall_needed"], there)) == {6432}


def test_all_kinds_of_openings_are_read_from_the_rules(tmp_path: Path) -> None:
    known = stack({"mlflow_servers": SERVER, "haproxy": ["six", "seven"]}, haproxy_virtual_address="10.0.0.99/24")
    more = [{"port": 70, "sources": ["10.1.0.0/16", "fd00::/64", "10.0.0.9"]}, {"port": 71, "sources": ["any"]}]
    there = firewall(tmp_path, rules_of(known, "six", firewall_allowed=more))["openings"]
    wanted = [*known.plans["six"]["firewall_needed"], *more]
    assert {"protocol": "vrrp", "sources": [known.hosts["seven"]["atlas_mlflow_ip"]]} in wanted
    assert new_openings(wanted, there) == [] and new_openings(there, wanted) == []
    # SSH is open in any case.
    assert 22 not in {one.get("port") for one in there}


@pytest.mark.parametrize(
    ("wanted", "new"),
    [
        ({"port": 71, "sources": ["10.0.0.1"]}, False),
        ({"port": 70, "sources": ["any"]}, True),
        ({"port": 70, "sources": ["10.0.0.2"]}, True),
        ({"port": 70, "sources": ["10.0.0.1", "10.0.0.2"]}, True),
        ({"port": 70, "sources": []}, False),
        ({"protocol": "vrrp", "sources": ["10.0.0.1"]}, True),
        ({"protocol": "tcp", "port": 70, "sources": ["10.0.0.1"]}, False),
    ],
)
def test_an_opening_is_new_if_a_source_cannot_connect(wanted: dict[str, Any], new: bool) -> None:
    present = [{"port": 70, "sources": ["10.0.0.1"]}, {"port": 71, "sources": ["any"]}]
    assert new_openings([wanted], present) == ([wanted] if new else [])


def test_a_host_without_rules_has_no_firewall(tmp_path: Path) -> None:
    assert read_firewall(tmp_path) == {}
    assert firewall(tmp_path, "table inet atlas_mlflow {\n}\n") == {"openings": []}


def test_what_is_open_stays_open_until_the_end() -> None:
    rules = rules_of(stack(ONE_HOST, postgres_port=6432), "Two.Example.com", _firewall_kept=FORMER["openings"])
    assert "ip saddr { 10.0.0.1 } tcp dport 5432 accept" in rules and "tcp dport 6432 accept" in rules
    assert "dport 5432" not in rules_of(stack(ONE_HOST, postgres_port=6432), "Two.Example.com")


@pytest.mark.parametrize(
    ("present", "needed", "kept"),
    [
        (FORMER, [{"port": 6432, "sources": ["10.0.0.1"]}], FORMER["openings"]),
        (FORMER, FORMER["openings"], None),
        (FORMER, [], None),
        ({"openings": []}, FORMER["openings"], []),
        ({}, FORMER["openings"], None),
        (None, FORMER["openings"], None),
    ],
)
def test_the_rules_are_written_only_on_a_host_that_has_some_and_lacks_one(
    tmp_path: Path, present: dict[str, Any] | None, needed: list[dict[str, Any]], kept: list[dict[str, Any]] | None
) -> None:
    (tmp_path / "open_new.yml").write_text((ROOT / "roles/firewall/tasks/open_new.yml").read_text())
    (tmp_path / "apply.yml").write_text("- ansible.builtin.copy: {content: '{{ _firewall_kept | to_json }}', dest: '{{ playbook_dir }}/kept', mode: '0600'}\n")
    given = {"firewall_needed": needed, "firewall_allowed": []}
    facts = [] if present is None else [{"ansible.builtin.set_fact": {"firewall": present, "cacheable": True}}]
    play = [{"hosts": "all", "gather_facts": False, "vars": given, "tasks": [*facts, {"ansible.builtin.import_tasks": "open_new.yml"}]}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play))
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": {"one": local}}}))
    done = ansible_playbook(tmp_path, "-i", tmp_path / "hosts.json", tmp_path / "play.yml", modules_here=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (json.loads((tmp_path / "kept").read_text()) if (tmp_path / "kept").exists() else None) == kept


CHAIN = """table inet atlas_mlflow {
\tchain incoming {
\t\ttcp dport 22 accept comment "SSH"
\t\tiifname "br-0123456789ab" accept comment "containers of this host"
"""


@pytest.mark.parametrize(
    ("engine", "network", "opens"),
    [
        ("docker", {"Id": "0123456789abcdef", "Options": {}}, False),
        # Another network, or the same one after it was created again.
        ("docker", {"Id": "fedcba9876543210", "Options": {}}, True),
        ("docker", {"Id": "fedcba9876543210", "Options": {"com.docker.network.bridge.name": "br-0123456789ab"}}, False),
        ("docker", {"Id": "fedcba9876543210", "Options": {"com.docker.network.bridge.name": "br-01"}}, True),
        ("podman", "br-0123456789ab", False),
        ("podman", "podman1", True),
    ],
)
def test_the_firewall_opens_to_the_bridge_that_containers_have_now(engine: str, network: Any, opens: bool) -> None:
    reading, bridge, opening = yaml.safe_load((ROOT / "roles/firewall/tasks/open_containers.yml").read_text())
    looked = {"__firewall_podman_network": {"stdout": network}} if engine == "podman" else {"__firewall_network": {"network": network}}
    given = {**looked, "__firewall_present": {"rc": 0, "stdout": CHAIN}, "firewall_container_engine": engine}
    run = stack(ONE_HOST, **given)
    assert run.value("one", "firewall", opening["when"]) is opens
    # What other services still use stays open until the end of the run.
    assert stack(ONE_HOST, **given, ansible_facts={"firewall": FORMER}).value("one", "firewall", opening["vars"]["_firewall_kept"][3:-3]) == FORMER["openings"]
    without = stack(ONE_HOST, **{**given, "__firewall_present": {"rc": 1, "stdout": ""}})
    assert [without.value("one", "firewall", task["when"]) for task in (bridge, opening)] == [False, False] and "nft" in str(reading)


def test_a_container_of_the_tracking_server_is_let_in_before_it_starts() -> None:
    for deployment in ("container", "podman"):
        tasks = [task["name"] for task in yaml.safe_load((ROOT / f"roles/mlflow_server/tasks/service_{deployment}.yml").read_text())]
        opened = tasks.index("Open the firewall of the host to its containers")
        assert opened < next(number for number, name in enumerate(tasks) if name.startswith(("Start the MLflow container", "Run the tracking server")))
    (task,) = yaml.safe_load((ROOT / "roles/mlflow_server/tasks/open_firewall.yml").read_text())
    assert task["ansible.builtin.include_role"] == {"name": "atlas.mlflow.firewall", "tasks_from": "open_containers"}


def uses(play: dict[str, Any]) -> str:
    """Return what a play does: the role of its first task and the tasks of the role, or the playbook that it imports."""
    for task in play.get("tasks", []):
        for name, given in task.items():
            if name.endswith("_role"):
                return f"{given['name'].rpartition('.')[2]} {given.get('tasks_from')}"
    return str(play.get("ansible.builtin.import_playbook", ""))


def test_a_run_opens_what_is_new_before_any_role_uses_it_and_closes_what_is_former_at_the_end() -> None:
    (play,) = yaml.safe_load((ROOT / "playbooks/internal/open_firewalls.yml").read_text())
    assert uses(play) == "firewall open_new" and play["hosts"] == "{{ groups | atlas.mlflow.topology_hosts }}"
    found = [uses(one) for one in yaml.safe_load((ROOT / "playbooks/site.yml").read_text())]
    others = [number for number, used in enumerate(found) if used.endswith(" apply") and not used.startswith("firewall")]
    closes = [number for number, used in enumerate(found) if used == "firewall apply"]
    assert found.index("internal/open_firewalls.yml") < others[0] and others[-1] < closes[-1]


def test_a_move_opens_the_new_stores_to_the_servers_and_leaves_the_former_ones_open() -> None:
    plays = yaml.safe_load((ROOT / "playbooks/move_stores.yml").read_text())
    found = [uses(one) for one in plays]
    assert found.index("internal/open_firewalls.yml") < found.index("postgres {{ item }}") < found.index("site.yml")
    assert plays[found.index("internal/open_firewalls.yml")]["when"] == "groups.moving is defined"
    assert "firewall apply" not in found and "firewall" not in str(plays[found.index("postgres {{ item }}") :])


UFW_RULES = """### tuple ### limit tcp 22 0.0.0.0/0 any 0.0.0.0/0 in
-A ufw-user-input -p tcp --dport 22 -j ufw-user-limit
### tuple ### deny tcp 5432 0.0.0.0/0 any 0.0.0.0/0 in
### tuple ### allow udp 5432 0.0.0.0/0 any 10.0.0.1 in
### tuple ### allow tcp 80,9000:9010 0.0.0.0/0 any 10.0.0.0/24 Web%20Full - in_eth0
"""


def ufw(folder: Path, rules: str = UFW_RULES, enabled: str = "yes", policy: str = "DROP") -> dict[str, Any]:
    """Return what the facts of a host with these rules of ufw say."""
    for path, text in zip(UFW, ("", f"# comment\nENABLED={enabled}\n", f'IPV6=yes\nDEFAULT_INPUT_POLICY="{policy}"\n', rules), strict=True):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return read_ufw(folder)


def test_the_rules_of_ufw_are_read_if_it_is_active(tmp_path: Path) -> None:
    assert ufw(tmp_path) == {"open": [{"ports": "22", "source": "0.0.0.0/0"}, {"ports": "80,9000:9010", "source": "10.0.0.0/24"}]}
    assert ufw(tmp_path, enabled="no") == ufw(tmp_path, policy="ACCEPT") == {}
    assert ufw(tmp_path, "")["open"] == []
    (tmp_path / UFW[0]).unlink()
    assert read_ufw(tmp_path) == {}


@pytest.mark.parametrize(
    ("name", "rules", "closed"),
    [
        ("one", UFW_RULES, "5001 from any"),
        ("one", "### tuple ### allow tcp 5001 0.0.0.0/0 any 10.0.0.0/8 in", "5001 from any"),
        ("one", "### tuple ### allow any 5000:5010 0.0.0.0/0 any 0.0.0.0/0 in", ""),
        ("ml_three", UFW_RULES, "5432 from {one}"),
        ("ml_three", "### tuple ### allow any any 0.0.0.0/0 any 10.0.0.0/8 in", ""),
        ("four", UFW_RULES, ""),
    ],
)
def test_ports_that_ufw_closes_are_told(tmp_path: Path, name: str, rules: str, closed: str) -> None:
    run = stack({"mlflow_servers": ["one"], "postgres": ["ml_three"], "minio": ["four"]})
    run.hosts[name]["ansible_facts"] = {**run.hosts[name]["ansible_facts"], "ufw": ufw(tmp_path, rules)}
    told = run.told(name, "firewall", ufw_closes_the_ports)
    wanted = closed.format(one=run.hosts["one"]["atlas_mlflow_ip"])
    assert (f": {wanted}. Open them by ufw, such as with `ufw allow proto tcp from {wanted.partition(' from ')[2]} to any port" in told) if closed else not told
    assert not run.told(name, "postgres", ufw_closes_the_ports)


def test_a_member_of_a_cluster_opens_ufw_to_the_others_and_not_to_itself(tmp_path: Path) -> None:
    run = stack({"mlflow_servers": ["one"], "postgres": ["one", "four", "five"]}, atlas_mlflow_tls=True)
    run.hosts["one"]["ansible_facts"] = {**run.hosts["one"]["ansible_facts"], "ufw": ufw(tmp_path)}
    own, *others = (run.hosts[name]["atlas_mlflow_ip"] for name in ("one", "four", "five"))
    told = run.told("one", "firewall", ufw_closes_the_ports)
    assert all(f"{port} from {other}" in told for port in (5432, 2379, 2380, 8008) for other in others) and f"from {own}" not in told


def test_ufw_does_not_see_the_ports_of_containers(tmp_path: Path) -> None:
    run = stack({"mlflow_servers": ["one"]}, mlflow_server_deployment="container")
    run.hosts["one"]["ansible_facts"] = {**run.hosts["one"]["ansible_facts"], "ufw": ufw(tmp_path)}
    assert not run.told("one", "firewall", ufw_closes_the_ports)
