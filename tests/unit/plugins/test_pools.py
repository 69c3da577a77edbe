"""How the drives of a pool of MinIO form erasure sets, held against examples from MinIO's own tables."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.atlas.mlflow.plugins.plugin_utils.pools import layout


@pytest.mark.parametrize(
    ("hosts", "drives", "size", "parity", "quorum", "writes", "reads", "percent"),
    [
        (4, 1, 4, 2, 3, 1, 2, 50),
        (4, 2, 8, 4, 5, 1, 2, 50),
        (4, 3, 12, 4, 8, 1, 1, 66),
        (4, 4, 16, 4, 12, 1, 1, 75),
        (5, 1, 5, 2, 3, 2, 2, 60),
        (6, 1, 6, 3, 4, 2, 3, 50),
        # Two sets of nine: two drives of a host in one of them.
        (6, 3, 9, 4, 5, 2, 2, 55),
        (16, 1, 16, 4, 12, 4, 4, 75),
    ],
)
def test_drives_form_the_sets_that_minio_forms(hosts: int, drives: int, size: int, parity: int, quorum: int, writes: int, reads: int, percent: int) -> None:
    found = layout(hosts, drives, {})
    assert (found.size, found.parity, found.write_quorum) == (size, parity, quorum)
    assert (found.hosts_to_lose_for_writes, found.hosts_to_lose_for_reads, found.usable_percent) == (writes, reads, percent)


@pytest.mark.parametrize(("environment", "parity"), [({"MINIO_STORAGE_CLASS_STANDARD": "EC:3"}, 3), ({"MINIO_STORAGE_CLASS_STANDARD": "other"}, 4), ({}, 4)])
def test_the_parity_of_the_settings_counts(environment: dict[str, Any], parity: int) -> None:
    assert layout(4, 2, environment).parity == parity


def test_a_number_of_drives_that_no_set_divides_forms_none() -> None:
    assert layout(17, 1, {}).size == 0
