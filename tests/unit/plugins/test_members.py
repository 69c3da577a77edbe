"""Members that join a cluster of PostgreSQL or leave it: what a run decides from what etcd and Patroni say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.atlas.mlflow.plugins.module_utils import etcd
from ansible_collections.atlas.mlflow.plugins.plugin_utils.members import (
    etcd_join,
    etcd_speaker,
    member_removal,
    named,
    next_primary,
    primary_of,
    running_members,
    slot_of,
    staying,
    strangers,
)
from in_process import trusted

from inventories import CORNERS, Run

#: The hosts of a group, at the addresses 10.0.0.1 to 10.0.0.7.
HOSTS = ("a", "b", "c", "d", "e", "f", "g")


def members(names: str) -> list[dict[str, Any]]:
    """Return members as the plan lists them."""
    return [{"name": name, "address": f"10.0.0.{HOSTS.index(name) + 1}"} for name in names]


def entries(names: str, new: str = "") -> list[dict[str, str]]:
    """Return members as etcd lists them.

    :param new: Those that have never started.
    """
    return [
        {"id": f"{number:x}", "name": "" if one["name"] in new else one["name"], "url": f"https://{one['address']}:2380"}
        for number, one in enumerate(members(names), 10)
    ]


def facts(names: str, present: str, down: str = "", new: str = "") -> dict[str, dict[str, Any]]:
    """Return the facts of hosts that have a member of etcd."""
    known = entries(present, new)
    return {name: {"etcd": {} if name in down else {"members": known, "healthy": True, "command": ["etcdctl"]}} for name in names}


def rows(primary: str, replicas: str = "", synchronous: str = "", **states: str) -> list[dict[str, Any]]:
    """Return what Patroni says of members."""
    roles = {primary: "Leader", **dict.fromkeys(replicas, "Replica"), **dict.fromkeys(synchronous, "Sync Standby")}
    return [
        {"Member": name, "Role": role, "State": states.get(name, "running"), **({} if role == "Leader" else {"Receive Lag": 0})}
        for name, role in roles.items()
        if name
    ]


#: A host that is reached, with its data of etcd.
THERE = {"stack": {"etcd": {"member": True}}}


def test_all_hosts_of_a_new_etcd_start_at_once() -> None:
    found = etcd_join(members("abc"), [], 2380)
    assert found["joining"] == [] and found["unknown"] == []
    assert set(found["initial"].values()) == {"a=https://10.0.0.1:2380,b=https://10.0.0.2:2380,c=https://10.0.0.3:2380"}


def test_new_hosts_join_one_after_the_other() -> None:
    """Each starts with the members that etcd has when its turn comes."""
    found = etcd_join(members("abcde"), entries("abc"), 2380)
    assert found["joining"] == found["unknown"] == ["d", "e"]
    names = {name: [one.partition("=")[0] for one in text.split(",")] for name, text in found["initial"].items()}
    assert names["d"] == ["a", "b", "c", "d"] and names["e"] == ["a", "b", "c", "d", "e"]
    assert found["initial"]["d"].endswith("d=https://10.0.0.4:2380")


def test_a_host_that_an_interrupted_run_added_is_not_added_again_and_starts_first() -> None:
    found = etcd_join(members("abcde"), entries("abce", new="e"), 2380)
    assert found["joining"] == ["e", "d"] and found["unknown"] == ["d"]
    assert found["initial"]["e"].split(",")[-1] == "e=https://10.0.0.5:2380" and "10.0.0.4" not in found["initial"]["e"]
    assert [one[0] for one in found["initial"]["d"].split(",")] == ["a", "b", "c", "e", "d"]


def test_a_member_that_leaves_is_in_the_list_of_a_new_one_as_long_as_etcd_has_it() -> None:
    assert etcd_join(members("acd"), entries("abc"), 2380)["initial"]["d"].count("=") == 4


def test_a_member_of_etcd_is_known_by_its_name_or_by_its_address() -> None:
    assert strangers(members("abc"), entries("abc")) == []
    assert strangers(members("abc"), [{**entries("c")[0], "name": "former-name"}]) == []
    assert strangers(members("abc"), entries("abcd")) == ["d"]
    assert strangers(members("abc"), entries("abcd", new="d")) == ["10.0.0.4"]
    assert strangers(members("abc"), entries("abcd"), ["d"]) == []


@pytest.mark.parametrize(("value", "names"), [("a", ["a"]), ("a, b,a", ["a", "b"]), (["a", "b"], ["a", "b"]), ("", []), (None, []), ([], [])])
def test_members_are_given_as_text_or_as_a_list(value: Any, names: list[str]) -> None:
    assert named(value) == names
    assert staying(["a", "b", "c"], value) == [name for name in "abc" if name not in names]


@pytest.mark.parametrize(
    ("stays", "present", "leaves", "said", "ids"),
    [
        ("abc", "abcde", "d,e", rows("a", "cde", "b"), ["d", "e"]),
        # A lost host, which Patroni has forgotten.
        ("abc", "abcd", "d", rows("a", "c", "b"), ["d"]),
        # The primary leaves, and a replica that stays runs.
        ("abc", "abcde", "d,e", rows("d", "abce"), ["d", "e"]),
    ],
)
def test_members_leave_if_the_others_are_a_cluster(stays: str, present: str, leaves: str, said: list[dict[str, Any]], ids: list[str]) -> None:
    reached = {name: THERE for name in leaves.split(",") if name in running_members(said, [name])}
    found = member_removal(facts(stays, present), leaves, said, reached)
    assert found["faults"] == [] and found["rest"] == list(stays) and found["primary"] == primary_of(said)
    assert found["ids"] == [entry["id"] for entry in entries(present) if entry["name"] in ids]


def test_a_member_leaves_a_cluster_of_three_only_if_another_takes_its_place() -> None:
    (fault,) = member_removal(facts("ab", "abc"), "c", rows("a", "b"), {})["faults"]
    assert "the cluster has 2 members (a, b), and it needs 3, 5 or 7" in fault and "replace_postgres_member.yml" in fault
    # The new host of the same group has no etcd yet.
    found = member_removal({**facts("ab", "abc"), "d": {"etcd": {}}}, "c", rows("a", "b"), {}, replaced=True)
    assert found["faults"] == [] and found["ids"] == ["c"] and found["rest"] == ["a", "b"]


def test_an_even_rest_is_refused_with_the_way_to_an_odd_one() -> None:
    (fault,) = member_removal(facts("abcd", "abcde"), "e", rows("a", "bcde"), {"e": THERE})["faults"]
    assert "the cluster has 4 members" in fault and "Or remove 1 more in the same run" in fault


@pytest.mark.parametrize(
    ("known", "leaves", "said", "reached", "words"),
    [
        (facts("ab", "abc"), "", rows("a", "b"), {}, ["postgres_member is empty"]),
        (facts("ab", "abc", down="ab"), "c", rows("a", "b"), {}, ["No host of the group postgres apart from c runs etcd (a, b)"]),
        (facts("abc", "abcdefg"), "d,e,f,g", rows("a", "bc"), {}, ["etcd has 7 members and needs 4", "of those that stay 3 (a, b, c) can"]),
        (facts("ab", "abc", down="b"), "c", rows("a", "b"), {}, ["etcd has 3 members and needs 2", "1 (a) can"]),
        (facts("abc", "abcde"), "d,x", rows("a", "bc"), {}, ["x: etcd has no member of this name. Its members are a, b, c, d, e", "run site.yml"]),
        # It runs, and nobody would stop it.
        (facts("abc", "abcde"), "d,e", rows("a", "bcd"), {"e": THERE}, ["Patroni says that d runs, and Ansible does not reach it", "disable --now patroni"]),
        (facts("abc", "abcde"), "d,e", rows("a", "bcd"), {"d": {}, "e": THERE}, ["Patroni says that d runs, and Ansible does not reach it"]),
        # A new machine has the name of a former one, which still runs.
        (facts("abc", "abcde"), "d,e", rows("a", "bcd"), {"d": {"stack": {}}}, ["no data of etcd: it is another machine"]),
        (facts("abc", "abcde"), "d,e", rows("", "bc"), {}, ["The cluster has no primary"]),
        (facts("abc", "abcde"), "d,e", rows("d", "abc", a="stopped", b="start failed", c="stopped"), {"d": THERE}, ["d is the primary, and no replica"]),
    ],
)
def test_a_removal_that_would_break_the_cluster_is_refused(known: Any, leaves: str, said: Any, reached: Any, words: list[str]) -> None:
    found = member_removal(known, leaves, said, reached, replaced=True)
    assert len(found["faults"]) == 1 and all(word in found["faults"][0] for word in words)


def test_a_member_that_has_never_started_is_removed_by_its_address() -> None:
    found = member_removal(facts("abc", "abcd", new="d"), "10.0.0.4", rows("a", "bc"), {})
    assert found["faults"] == [] and found["ids"] == ["d"]


def test_etcd_is_asked_where_it_has_a_majority() -> None:
    known = facts("ab", "ab")
    known["a"]["etcd"]["healthy"] = False
    assert etcd_speaker(known) == "b"
    assert etcd_speaker({"a": known["a"]}) == "a" and etcd_speaker({"x": {}}) == ""


@pytest.mark.parametrize(
    ("said", "leaves", "name"),
    [
        (rows("a", "c", "b"), "a", "b"),
        # Only the synchronous replica has all writes. If it leaves too, Patroni chooses another one after it has stopped.
        (rows("a", "c", "b"), "ab", ""),
        (rows("a", "c"), "ab", "c"),
        ([*rows("a", "b"), {"Member": "c", "Role": "Replica", "State": "streaming", "Receive Lag": 3}], "a", "b"),
        ([*rows("a"), *({"Member": name, "Role": "Replica", "State": "running", "Receive Lag": lag} for name, lag in (("b", "unknown"), ("c", 7)))], "a", "c"),
        (rows("a", "b", b="stopped"), "a", ""),
    ],
)
def test_the_next_primary_loses_no_write(said: list[dict[str, Any]], leaves: str, name: str) -> None:
    assert next_primary(said, list(leaves)) == name


def test_no_replica_takes_over_before_patroni_has_recorded_a_synchronous_one() -> None:
    assert [next_primary(rows("a", "bc"), [], synchronous) for synchronous in (False, True)] == ["b", ""]
    assert next_primary(rows("a", "c", "b"), [], True) == "b"


@pytest.mark.parametrize(("member", "slot"), [("pg-1.Example.com", "pg_1_example_com"), ("pg1", "pg1"), ("a@b", "au0064b")])
def test_a_slot_has_the_name_that_patroni_makes(member: str, slot: str) -> None:
    assert slot_of(member) == slot


LISTED = {
    "header": {"member_id": 10501334649042878790},
    "members": [
        {"ID": 10501334649042878790, "name": "a", "peerURLs": ["https://10.0.0.1:2380"], "clientURLs": ["https://10.0.0.1:2379"]},
        {"ID": 26, "peerURLs": ["https://10.0.0.2:2380"]},
    ],
}
SETTINGS = (
    'ETCD_NAME="a"\nETCD_ADVERTISE_CLIENT_URLS="https://10.0.0.1:2379"\nETCD_CERT_FILE="/tls/etcd.pem"\nETCD_KEY_FILE="/tls/etcd.key"\n'
    'ETCD_TRUSTED_CA_FILE="/tls/authority.pem"\n'
)


def test_a_host_says_which_members_its_etcd_has(tmp_path: Path) -> None:
    path = tmp_path / etcd.SETTINGS
    path.parent.mkdir(parents=True)
    asked: list[list[str]] = []

    def run(command: list[str]) -> tuple[int, str]:
        asked.append(command)
        return (0, json.dumps(LISTED)) if "list" in command else (1, "")

    assert etcd.read_etcd(run, {2379}, tmp_path) == {}
    path.write_text("# The settings of the package\n")
    assert etcd.read_etcd(run, {2379}, tmp_path) == {} and asked == []
    path.write_text(SETTINGS)
    found = etcd.read_etcd(run, {2379}, tmp_path)
    assert found["members"] == [
        {"id": "91bc3c398fb3c146", "name": "a", "url": "https://10.0.0.1:2380"},
        {"id": "1a", "name": "", "url": "https://10.0.0.2:2380"},
    ]
    assert not found["healthy"]
    assert found["command"][2:] == ["--endpoints=https://10.0.0.1:2379", "--cacert=/tls/authority.pem", "--cert=/tls/etcd.pem", "--key=/tls/etcd.key"]
    # A command would wait for its time-out if nothing listens.
    asked.clear()
    assert etcd.read_etcd(run, {2380}, tmp_path) == {} and asked == []


def test_an_etcd_that_gives_no_list_has_no_members(tmp_path: Path) -> None:
    (tmp_path / etcd.SETTINGS).parent.mkdir(parents=True)
    (tmp_path / etcd.SETTINGS).write_text(SETTINGS)
    for answer in ((1, ""), (0, "no JSON")):
        found = etcd.read_etcd(lambda _command, answer=answer: answer, {2379}, tmp_path)
        assert found["members"] == [] and not found["healthy"]


def cluster_run(**of_hosts: dict[str, Any]) -> Run:
    """Return a run with a cluster, whose hosts have more facts."""
    case = next(case for case in CORNERS if len(case.of("postgres")) > 1)
    known = {name: {**given} for name, given in case.hosts.items()}
    made = Run(type(case)(case.groups, known))
    for name, more in of_hosts.items():
        made.hosts[name]["ansible_facts"] |= more
    hostvars = {name: trusted(variables) for name, variables in made.hosts.items()}
    from ansible_collections.atlas.mlflow.plugins.action.plan import ActionModule
    from in_process import act

    made.plans = {name: act(ActionModule, {"part": "all"}, {**own, "groups": case.groups, "hostvars": hostvars}) for name, own in hostvars.items()}
    return made


def test_a_new_member_starts_with_the_members_of_the_etcd_that_exists_and_the_others_keep_their_files() -> None:
    urls = {"one": "https://10.0.0.1:2380", "Two.Example.com": "https://host2.corp:2380"}
    present = [{"id": "1", "name": name, "url": url} for name, url in urls.items()]
    known = {"stack": {"etcd": {"member": True}}, "etcd": {"members": present, "healthy": True}}
    run = cluster_run(one=known)
    assert run.value("ml_three", "etcd", "_etcd_join.joining") == ["ml_three"]
    (written,) = run.value("ml_three", "etcd", "_etcd_initial_files")
    assert 'ETCD_INITIAL_CLUSTER_STATE="existing"' in written["content"]
    (listed,) = [line for line in written["content"].splitlines() if line.startswith("ETCD_INITIAL_CLUSTER=")]
    assert [one.partition("=")[0] for one in listed.partition('"')[2].split(",")] == ["one", "Two.Example.com", "ml_three"]
    # A change of the members restarts no member that has data.
    assert run.value("one", "etcd", "_etcd_initial_files") == []
    assert "INITIAL" not in run.value("one", "etcd", "lookup('ansible.builtin.template', 'etcd.j2')")
    # The new member cannot answer itself.
    (endpoints,) = [word for word in run.value("ml_three", "etcd", "_etcd_others_argv") if word.startswith("--endpoints=")]
    assert endpoints.count("https://") == 2 and run.hosts["ml_three"]["atlas_mlflow_address"] not in endpoints


def test_members_of_a_new_cluster_start_as_new() -> None:
    run = cluster_run()
    (written,) = run.value("ml_three", "etcd", "_etcd_initial_files")
    assert 'ETCD_INITIAL_CLUSTER_STATE="new"' in written["content"] and written["content"].count("=https://") == 3


def test_an_etcd_without_a_majority_is_not_believed() -> None:
    present = [{"id": "1", "name": "one", "url": "https://10.0.0.1:2380"}]
    assert cluster_run(one={"etcd": {"members": present, "healthy": False}}).plans["one"]["etcd_present"] == []
    assert cluster_run(one={"etcd": {"members": present, "healthy": True}}).plans["ml_three"]["etcd_present"] == present
