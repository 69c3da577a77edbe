"""The dashboard is one that Grafana can import: panels that do not overlap, and a data source that the reader chooses."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

DASHBOARD: dict[str, Any] = json.loads((Path(__file__).resolve().parents[3] / "roles/prometheus/files/dashboard.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    """Return whether two places on the page overlap."""
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    return not beside and not below


def test_panels_have_a_place_of_their_own_on_the_page() -> None:
    places = [panel["gridPos"] for panel in PANELS]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert [pair for pair in combinations(places, 2) if overlap(*pair)] == []
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert len({(panel["title"], panel["type"]) for panel in PANELS}) >= len(PANELS) - 1


def test_each_query_asks_the_data_source_that_the_reader_chooses() -> None:
    assert {variable["name"] for variable in DASHBOARD["templating"]["list"]} == {"datasource", "instance"}
    asked = [target for panel in PANELS for target in panel.get("targets", [])]
    assert len(asked) > 20
    assert {target["datasource"]["uid"] for target in asked} == {"${datasource}"}
    assert all(target["expr"].count("(") == target["expr"].count(")") and target["expr"].count("{") == target["expr"].count("}") for target in asked)


def test_the_parts_of_the_stack_are_all_on_it() -> None:
    text = json.dumps(DASHBOARD)
    for name in ("mlflow_http", "haproxy_backend", "pg_stat_database", "minio_cluster", "node_filesystem", "atlas_mlflow_backup", "atlas_mlflow_certificate"):
        assert name in text
