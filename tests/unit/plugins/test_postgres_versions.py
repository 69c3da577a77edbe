"""The major version of PostgreSQL, and which clusters of other versions are the role's own."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.atlas.mlflow.plugins.module_utils.cluster_members import healthy_members
from ansible_collections.atlas.mlflow.plugins.plugin_utils.postgres import begun_upgrade, changed_counts, clusters, image_version, major_version, unready


@pytest.mark.parametrize(("wanted", "release", "version"), [("", "bookworm", "15"), (16, "bookworm", "16"), ("", "sid", ""), ("17", "", "17")])
def test_the_distribution_has_a_version_unless_one_is_set(wanted: Any, release: str, version: str) -> None:
    assert major_version(wanted, {"distribution_release": release}) == version


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("postgres:17", "17"),
        ("registry:5000/postgres", "16"),
        ("registry:5000/postgres:18-alpine", "18"),
        ("postgres@sha256:1234", "16"),
        ("postgres:15@sha256:1234", "15"),
    ],
)
def test_the_tag_of_an_image_tells_its_version(image: str, version: str) -> None:
    assert image_version(image, "16") == version


def cluster(version: str, ours: bool = True, upgrade: str = "", name: str = "main") -> dict[str, Any]:
    """Return a cluster as the facts tell of it."""
    return {"version": version, "name": name, "ours": ours, "upgrade": upgrade}


def test_the_former_cluster_is_the_newest_whose_data_the_version_lacks() -> None:
    found = clusters({"postgres_clusters": [cluster("9.6"), cluster("15"), cluster("13")]}, "17")
    assert found["former"]["version"] == "15"
    assert [old["version"] for old in found["older"]] == ["9.6", "13", "15"]


def test_with_data_of_the_version_only_an_upgrade_under_way_has_a_former_cluster() -> None:
    assert clusters({"postgres_clusters": [cluster("15"), cluster("17")]}, "17")["former"] == {}
    assert clusters({"postgres_clusters": [cluster("15", upgrade="begun"), cluster("17")]}, "17")["former"]["version"] == "15"


def test_a_running_cluster_of_somebody_else_is_left_alone() -> None:
    listeners = [{"group": "postgresql@15-main.service"}, {"group": "ssh.service"}]
    assert clusters({"postgres_clusters": [cluster("15", ours=False)], "listeners": listeners}, "17") == {"former": {}, "older": [], "failed": []}
    assert clusters({"postgres_clusters": [cluster("15", ours=False)], "listeners": []}, "17")["former"]["version"] == "15"


def test_a_cluster_that_an_upgrade_was_rolled_back_from_is_no_former_one() -> None:
    found = clusters({"postgres_clusters": [cluster("17", name="failed")]}, "17")
    assert found["former"] == {} and [failed["name"] for failed in found["failed"]] == ["failed"]


@pytest.mark.parametrize(
    ("replica", "healthy"),
    [
        ({"State": "streaming", "Lag in MB": 0}, ["a", "b", "c"]),
        ({"State": "running", "Lag in MB": 16}, ["a", "b", "c"]),
        # Newer releases of Patroni have two lags.
        ({"State": "streaming", "Receive Lag": 0, "Replay Lag": 17}, ["b", "c"]),
        ({"State": "streaming", "Lag in MB": "unknown"}, ["b", "c"]),
        ({"State": "starting", "Lag in MB": 0}, ["b", "c"]),
        ({"State": "stopped"}, ["b", "c"]),
    ],
)
def test_healthy_members_are_the_replicas_that_follow_and_then_the_primary(replica: dict[str, Any], healthy: list[str]) -> None:
    other = {"Member": "b", "Role": "Sync Standby", "State": "streaming", "Lag in MB": 0}
    listed = [{"Member": "c", "Role": "Leader", "State": "running", "Lag in MB": ""}, other, {"Member": "a", "Role": "Replica", **replica}]
    assert healthy_members(listed) == healthy


def patroni(version: str, phase: str = "", data: tuple[str, ...] = (), start: str = "15") -> dict[str, Any]:
    """Return the facts of a member of a cluster, whose settings name a version."""
    note = {"from": start, "to": "17", "primary": "b", "phase": phase} if phase else {}
    # The settings of Debian's unit, from when the member was one host.
    left = [cluster("15")]
    return {"postgres_clusters": left, "stack": {"postgres": {"members": ["a", "b"], "version": version, "data": list(data), "upgrade": note}}}


def test_a_member_tells_its_version_by_the_settings_of_patroni() -> None:
    assert clusters(patroni("17", data=("15", "17", "9.6")), "17") == {
        "former": {},
        "older": [{"version": "9.6", "name": "main"}, {"version": "15", "name": "main"}],
        "failed": [],
    }
    assert clusters(patroni("15", data=("15",)), "17")["former"] == {"version": "15", "name": "main", "upgrade": "", "primary": ""}
    assert clusters(patroni("17", "switched"), "17")["former"] == {"version": "15", "name": "main", "upgrade": "switched", "primary": "b"}


@pytest.mark.parametrize(
    ("members", "version", "phase"),
    [
        ([patroni("17"), patroni("17")], "", ""),
        ([patroni("15"), patroni("15")], "15", ""),
        ([patroni("15", "checking"), patroni("15")], "15", "checking"),
        ([patroni("15", "begun"), patroni("15", "checking")], "15", "begun"),
        # The servers have not started before all members have the last phase.
        ([patroni("17", "switched"), patroni("17", "begun")], "15", "begun"),
        ([patroni("17", "switched"), patroni("17", "switched")], "15", "switched"),
        ([patroni("17", "switched"), patroni("17")], "15", "switched"),
    ],
)
def test_an_upgrade_of_all_members_is_undone_unless_all_have_the_new_version(members: list[dict[str, Any]], version: str, phase: str) -> None:
    found = begun_upgrade(clusters(facts, "17")["former"] for facts in members)
    assert (found["version"], found["upgrade"], found["primary"]) == (version, phase, "b" if phase else "")


MEMBERS = [
    {"Member": "a", "Role": "Leader", "State": "running", "Receive Lag": "", "Replay Lag": ""},
    {"Member": "b", "Role": "Sync Standby", "State": "streaming", "Receive Lag": 0, "Replay Lag": 0},
]


@pytest.mark.parametrize(
    ("rows", "settings", "words"),
    [
        (MEMBERS, {}, ""),
        (MEMBERS, {"pause": False}, ""),
        (MEMBERS, {"pause": True}, "The cluster is paused"),
        (MEMBERS[1:], {}, "no primary"),
        (MEMBERS[:1], {}, "b does not follow the primary"),
        ([MEMBERS[0], {**MEMBERS[1], "State": "starting"}], {}, "b does not follow the primary"),
        ([MEMBERS[0], {**MEMBERS[1], "Receive Lag": 100}], {}, "b does not follow the primary"),
    ],
)
def test_a_cluster_is_upgraded_only_if_all_members_are_well(rows: list[dict[str, Any]], settings: dict[str, Any], words: str) -> None:
    said = unready(rows, ["a", "b"], settings)
    assert words in said and bool(words) == bool(said)


def test_tables_with_another_number_of_rows_are_named() -> None:
    before = {"mlflow": {"public.runs": 3, "public.tags": 0}, "postgres": {}}
    assert changed_counts(before, {"postgres": {}, "mlflow": {"public.tags": 0, "public.runs": 3}}) == ""
    assert changed_counts(before, {"mlflow": {"public.runs": 2}}) == "mlflow.public.runs had 3, and has 2; mlflow.public.tags had 0, and has no table"
    assert "new.t had no table, and has 1" in changed_counts({}, {"new": {"t": 1}})
