"""The major version of PostgreSQL, and which clusters of other versions are the role's own."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.atlas.mlflow.plugins.module_utils.cluster_members import healthy_members
from ansible_collections.atlas.mlflow.plugins.plugin_utils.postgres import clusters, image_version, major_version


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
