"""What the facts of hosts mean for what they share: each fault of a cluster, a pool and a shared address is named, and healthy ones give none."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.atlas.mlflow.plugins.filter.diagnosis import diagnosis, diagnosis_table, stack_diagnosis
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis import judge, judge_cluster
from test_diagnosis import CLIENT, UNHEARD, UNIT, changed
from test_diagnosis import WANTED as SERVER_WANTED

MEMBERS = ["db1", "db2", "db3"]
POOL = ["s1", "s2", "s3", "s4"]
PROXIES = ["p1", "p2"]
WANTED: dict[str, Any] = {"cluster_members": MEMBERS, "pool_members": POOL, "proxies": PROXIES, "virtual_address": "10.0.0.9", "pgbouncers": ["db1"]}
UP = {"state": "active/running", "log": "journalctl -u it.service"}
DOWN = {"state": "failed/failed", "log": "journalctl -u it.service"}
LOST = {"unreachable": True, "msg": "Failed to connect to the host via ssh: timed out\nmore"}
LISTED = [
    {"name": "db1", "role": "leader", "state": "running", "lag": None, "timeline": 2},
    {"name": "db2", "role": "sync_standby", "state": "running", "lag": 0, "timeline": 2},
    {"name": "db3", "role": "replica", "state": "running", "lag": 0, "timeline": 2},
]
PRIMARY = {
    "recovery": False,
    "receives": False,
    "seconds": None,
    "replicas": [
        {"name": "db2", "state": "streaming", "sync": "sync", "bytes": 0},
        {"name": "db3", "state": "streaming", "sync": "async", "bytes": 0},
    ],
}
REPLICA: dict[str, Any] = {"recovery": True, "receives": True, "seconds": 0, "replicas": []}
SILENT_SQL = {"error": "connection to server on socket failed"}


def member(role: str, postgres: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return the facts of a member of the cluster."""
    own = {
        "patroni": {"state": "running", "role": role, "timeline": 2},
        "error": "",
        "paused": False,
        "synchronous": True,
        "listed": LISTED,
        "postgres": postgres,
    }
    return {**UP, **own, **changes}


def etcd(name: str, **changes: Any) -> dict[str, Any]:
    """Return the facts of a member of etcd."""
    return {**UP, "name": name, "healthy": True, "members": MEMBERS, "error": "", **changes}


HOSTS: dict[str, Any] = {
    "db1": {"facts": {"member": member("master", PRIMARY), "etcd": etcd("db1"), "pooler": UP}},
    "db2": {"facts": {"member": member("replica", REPLICA), "etcd": etcd("db2")}},
    "db3": {"facts": {"member": member("replica", REPLICA), "etcd": etcd("db3")}},
    **{
        name: {"facts": {"store": {**UP, "health": {"live": 200, "cluster": 200, "cluster/read": 200}, "error": "", "drives": [{"path": "/d", "error": ""}]}}}
        for name in POOL
    },
    **{name: {"facts": {"proxy": {"has_address": name == "p2", "keepalived": UP, "haproxy": UP}}} for name in PROXIES},
}


def seen(*lost: str, **changes: Any) -> dict[str, Any]:
    """Return the results of all hosts with changes: db1__member__error is a fact of the member on db1.

    :param lost: Hosts that Ansible does not reach.
    """
    facts = copy.deepcopy({name: result["facts"] for name, result in HOSTS.items()})
    for name, value in changes.items():
        facts = changed(facts, **{name: value})
    return {name: LOST if name in lost else {"facts": facts[name]} for name in HOSTS}


def every(names: list[str], what: str, value: Any) -> dict[str, Any]:
    """Return the same change for several hosts."""
    return {f"{name}__{what}": value for name in names}


NO_PATRONI = {"member__patroni": {}, "member__error": "connection refused (10.0.0.1:8008)", "member__state": "failed/failed"}
GONE = {**NO_PATRONI, "member__postgres": SILENT_SQL, "member__listed": []}


def without(name: str, what: dict[str, Any]) -> dict[str, Any]:
    """Return changes of a host."""
    return {f"{name}__{key}": value for key, value in what.items()}


NO_ETCD = {"healthy": None, "members": [], "error": "connection refused", **DOWN}
APART = {"healthy": False, "members": MEMBERS, "error": "RAFT NO LEADER", **UP}
PROMOTED = {"recovery": False, "receives": False, "seconds": None, "replicas": []}
BEHIND = changed({"x": PRIMARY}, x__replicas=[PRIMARY["replicas"][0], {**PRIMARY["replicas"][1], "bytes": 5 * 1024**2}])["x"]
LONE = {**PRIMARY, "replicas": PRIMARY["replicas"][:1]}
DEAD_STORE = {"health": {"live": 0}, "error": "connection refused (10.0.0.5:9000)", "drives": [], **DOWN}
UNWILLING = {"live": 200, "cluster": 503, "cluster/read": 200}
#: The faults, each with the results of all hosts.
CASES: list[tuple[list[str], dict[str, Any]]] = [
    (["host-unreachable"], seen("db3")),
    (["host-unreachable"], seen("s4")),
    (["host-unreachable"], seen("p1")),
    # The primary's host is lost to Ansible alone: the others still name it.
    (["host-unreachable"], seen("db1")),
    (["etcd-without-quorum"], seen(**every(MEMBERS, "etcd", {**etcd("x"), **APART}))),
    (["etcd-without-quorum"], seen(db1__etcd={**etcd("db1"), **APART}, db2__etcd={**etcd("db2"), **NO_ETCD}, db3__etcd={**etcd("db3"), **NO_ETCD})),
    # A primary gives its role up without etcd.
    (
        ["etcd-without-quorum"],
        seen(**every(MEMBERS, "etcd", {**etcd("x"), **NO_ETCD}), db1__member__postgres=REPLICA, db1__member__patroni__role="replica"),
    ),
    (
        ["etcd-without-quorum"],
        seen(**every(MEMBERS, "etcd", {**etcd("x"), **APART}), db1__member__patroni={"state": "stopping", "role": "master"}, db1__member__postgres=SILENT_SQL),
    ),
    (["etcd-member-missing"], seen(db3__etcd={**etcd("db3"), **NO_ETCD})),
    (["etcd-member-missing"], seen(db3__etcd={**etcd("db3"), **APART})),
    (["etcd-member-missing"], seen(db3__etcd={})),
    (["etcd-member-missing"], seen(**every(MEMBERS, "etcd__members", ["db1", "db2"]))),
    (["cluster-without-primary"], seen(db1__member__postgres=REPLICA, db1__member__patroni__role="replica")),
    (["cluster-without-primary", "cluster-member-missing"], seen(**without("db1", GONE))),
    (["cluster-without-primary", "cluster-member-missing"], seen(**without("db1", GONE), **without("db2", GONE), **without("db3", GONE))),
    (["cluster-two-primaries"], seen(db2__member__postgres=PROMOTED, db2__member__patroni__role="master")),
    # PostgreSQL runs on without Patroni while another member was made the primary: neither Patroni nor etcd says so.
    (
        ["cluster-two-primaries", "cluster-member-missing"],
        seen(db2__member__postgres=PROMOTED, db2__member__patroni__role="primary", **without("db1", NO_PATRONI)),
    ),
    (["cluster-member-missing"], seen(**without("db3", GONE))),
    (["cluster-member-missing"], seen(db3__member={})),
    (["cluster-member-missing"], seen(db3__member__patroni={"state": "start failed", "role": "replica"}, db3__member__postgres=SILENT_SQL)),
    # The same of a primary that writes while Patroni is stopped.
    (["cluster-member-missing"], seen(**without("db1", NO_PATRONI))),
    (["replica-not-streaming"], seen(db1__member__postgres=LONE)),
    (["replica-not-streaming"], seen(db1__member__postgres=SILENT_SQL, db3__member__postgres={**REPLICA, "receives": False})),
    (["replica-lags"], seen(db1__member__postgres=BEHIND, db3__member__postgres__seconds=600.5)),
    # Nobody knows for how long.
    (["replica-lags"], seen(db1__member__postgres=BEHIND, db3__member__postgres=SILENT_SQL)),
    (
        ["replica-lags"],
        seen(
            db1__member__postgres=SILENT_SQL, db3__member__postgres=SILENT_SQL, **every(MEMBERS, "member__listed", [*LISTED[:2], {**LISTED[2], "lag": 2**30}])
        ),
    ),
    (["pool-without-write-quorum"], seen(**every(POOL, "store__health", UNWILLING))),
    (["pool-without-write-quorum", "pool-host-missing"], seen(s1__store=DEAD_STORE, s2__store=DEAD_STORE, **every(POOL[2:], "store__health", UNWILLING))),
    (["pool-host-missing"], seen(s2__store=DEAD_STORE)),
    (["pool-host-missing"], seen(s2__store={})),
    # A host that does not reach enough others.
    (["pool-host-missing"], seen(s2__store__health={"live": 200, "cluster": 503, "cluster/read": 503})),
    (["pool-drive-missing"], seen(s2__store__drives=[{"path": "/d", "error": "Input/output error"}])),
    (["keepalived-not-running"], seen(p1__proxy__keepalived=DOWN)),
    (["keepalived-not-running"], seen(p1__proxy__keepalived=DOWN, p2__proxy__keepalived=DOWN, p2__proxy__has_address=False)),
    (["virtual-address-missing"], seen(p2__proxy__has_address=False)),
    (["virtual-address-twice"], seen(p1__proxy__has_address=True)),
    # keepalived was killed, and left the address to the host.
    (["keepalived-not-running", "virtual-address-twice"], seen(p1__proxy__has_address=True, p1__proxy__keepalived=DOWN)),
    (["pgbouncer-not-running"], seen(db1__pooler=DOWN)),
    (["proxy-without-primary"], seen(p1__proxy__primaries=[], p2__proxy__primaries=["db1"])),
    # Without a primary, no proxy finds one.
    (
        ["cluster-without-primary"],
        seen(**every(PROXIES, "proxy__primaries", []), db1__member__patroni__role="replica", db1__member__postgres__recovery=True),
    ),
]


@pytest.mark.parametrize(("faults", "hosts"), CASES, ids=lambda value: ",".join(value) if isinstance(value, list) else "")
def test_a_fault_is_named_and_no_other(faults: list[str], hosts: dict[str, Any]) -> None:
    checks = stack_diagnosis(WANTED, hosts)
    assert [check["fault"] for check in checks if check["verdict"] == "fault"] == faults, "\n".join(diagnosis_table(checks, "The stack"))
    for check in checks:
        assert "{" not in check.get("cause", "") + check.get("fix", "")


def test_a_healthy_stack_gives_no_finding_and_names_the_role_of_each_member() -> None:
    checks = stack_diagnosis(WANTED, seen())
    assert {check["verdict"] for check in checks} == {"ok"} and len(checks) == 13
    told = " | ".join(check["seen"] for check in checks)
    for part in (
        "db1: primary",
        "db2: replica",
        "db2 (synchronous): streams, 0 bytes behind, 0 s",
        "db3: streams",
        "writes by s1, s2, s3, s4",
        "10.0.0.9 is on p2",
    ):
        assert part in told, told


def test_a_proxy_that_passes_connections_to_postgresql_tells_its_primary() -> None:
    checks = stack_diagnosis(WANTED, seen(**every(PROXIES, "proxy__primaries", ["db1"])))
    assert {check["verdict"] for check in checks} == {"ok"} and checks[-1]["seen"] == "p1: db1; p2: db1"


@pytest.mark.parametrize("shared", [{}, {"proxies": PROXIES, "virtual_address": ""}, {"cluster_members": [], "pool_members": [], "proxies": []}])
def test_hosts_that_share_nothing_have_no_checks(shared: dict[str, Any]) -> None:
    assert stack_diagnosis(shared, {}) == []


def test_a_part_of_a_stack_has_the_checks_of_this_part_alone() -> None:
    layers = {check["layer"] for check in stack_diagnosis({"pool_members": POOL}, seen())}
    assert layers == {"hosts", "pool"}


def test_hosts_that_were_not_asked_are_unknown_and_no_fault() -> None:
    """As with --limit."""
    for result in ({}, {"skipped": True}):
        checks = stack_diagnosis(WANTED, dict.fromkeys(HOSTS, result))
        assert checks[0]["seen"].startswith("db1: not asked; db2: not asked")
        assert {check["verdict"] for check in checks if check["verdict"] != "ok"} == {"unknown"}, diagnosis_table(checks, "x")
        assert {check["layer"] for check in checks if check["verdict"] == "unknown"} == {"hosts", "PgBouncer", "etcd", "cluster", "pool", "virtual address"}


def test_a_host_on_which_the_question_fails_is_a_fault() -> None:
    """A connection may take a host that does not run for reached."""
    checks = stack_diagnosis(WANTED, {**seen(), "db3": {"failed": True, "msg": "no python"}})
    assert [check["fault"] for check in checks if check["verdict"] == "fault"] == ["host-unreachable"]
    assert "db3: the question fails: no python" in checks[0]["seen"]


def test_what_follows_from_a_lost_host_is_no_fault_of_its_own() -> None:
    checks = stack_diagnosis(WANTED, seen("db3", "s4", "p1"))
    assert [check["fault"] for check in checks if check["verdict"] == "fault"] == ["host-unreachable"]
    (told,) = [check["seen"] for check in checks if check["fault"] == "host-unreachable"]
    assert told.startswith("db3: Ansible does not reach it: Failed to connect to the host via ssh: timed out; s4:") and "more" not in told
    assert [check["layer"] for check in checks if check["verdict"] == "follows"] == ["etcd", "pool"]


def test_a_member_that_is_still_created_is_no_fault() -> None:
    checks = stack_diagnosis(WANTED, seen(db3__member__patroni={"state": "creating replica", "role": "replica"}, db3__member__postgres=SILENT_SQL))
    told = [(check["verdict"], check["seen"]) for check in checks if check["verdict"] != "ok"]
    assert told == [("unknown", "db3: no role, Patroni says replica, creating replica")]


def test_a_pause_is_told() -> None:
    (check,) = [check for check in stack_diagnosis(WANTED, seen(db2__member__paused=True)) if check["verdict"] != "ok"]
    assert (check["verdict"], check["seen"]) == ("unknown", "an operator has paused it (patronictl resume)")


@pytest.mark.parametrize(("synchronous", "told"), [(True, ["a replica can take over"]), (False, [])])
def test_no_recorded_synchronous_replica_is_told(synchronous: bool, told: list[str]) -> None:
    """As for some seconds after each change of the primary."""
    unrecorded = [{**one, "role": one["role"].replace("sync_standby", "replica")} for one in LISTED]
    checks = stack_diagnosis(WANTED, seen(**every(MEMBERS, "member__listed", unrecorded), **every(MEMBERS, "member__synchronous", synchronous)))
    assert [check["expected"] for check in checks if check["verdict"] == "unknown"] == told
    assert not [check for check in checks if check["verdict"] == "fault"]


def test_a_replica_with_many_bytes_for_a_moment_is_not_late() -> None:
    """A healthy one is so in a busy moment."""
    moment = judge_cluster.LAG_SECONDS - 1
    checks = stack_diagnosis(WANTED, seen(db1__member__postgres=BEHIND, db3__member__postgres__seconds=moment))
    assert {check["verdict"] for check in checks} == {"ok"}


@pytest.mark.parametrize(
    ("fault", "server", "client"),
    [
        ("cluster-without-primary", {"stores__database__outcome": "down", "names": [{"host": "localhost:5001", "api": 503, "health": 200}]}, CLIENT),
        ("pool-without-write-quorum", {"stores__s3__outcome": "failed"}, CLIENT),
        ("virtual-address-missing", {}, changed(CLIENT, names=[UNHEARD])),
    ],
)
def test_a_server_that_lacks_what_hosts_share_is_not_at_fault_itself(fault: str, server: dict[str, Any], client: dict[str, Any]) -> None:
    facts = changed(UNIT, **server)
    alone = [check for check in diagnosis(SERVER_WANTED, facts, client) if check["verdict"] == "fault"]
    assert alone
    results = next(hosts for faults, hosts in CASES if faults == [fault])
    checks = diagnosis(SERVER_WANTED, facts, client, stack_diagnosis(WANTED, results))
    assert {check["verdict"] for check in checks} == {"ok", "follows"}
    # What has another cause is a fault of the server's still.
    other = diagnosis(SERVER_WANTED, changed(UNIT, stores__database__outcome="wrong-password"), CLIENT, stack_diagnosis(WANTED, results))
    assert [check["fault"] for check in other if check["verdict"] == "fault"] == ["database-wrong-password"]


def test_what_explains_a_fault_is_a_fault_that_can_be_found() -> None:
    from ansible_collections.atlas.mlflow.plugins.module_utils.faults import FAULTS

    assert {*judge.EXPLAINED, *(name for names in judge.EXPLAINED.values() for name in names)} <= set(FAULTS)
    assert set(judge.EXPLAINED) <= {fault for faults, _hosts in CASES for fault in faults}
