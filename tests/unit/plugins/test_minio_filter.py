"""The file of settings that MinIO reads by itself, held against MinIO's own rules by a parser of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.atlas.mlflow.plugins.filter.minio import minio_environment, minio_pools, minio_restart

AWKWARD = ["plain", "two words", "", 'a"b', '"quoted"', "'", '"', "back\\slash", "a$b", "${HOME}", "`id`", "#no comment", "a=b", " spaces ", "100%", "é", "\\"]


def parse(content: str) -> dict[str, str]:
    """Read a file as MinIO does: trimmed lines, a name before the first ``=``, and one pair of quotes removed from the value."""
    variables = {}
    for line in map(str.strip, content.splitlines()):
        if line and not line.startswith("#"):
            name, _, value = line.removeprefix("export").strip().partition("=")
            if len(value) >= 2 and value[0] in "\"'" and value[-1] == value[0]:
                value = value[1:-1]
            variables[name] = value
    return variables


def test_each_value_arrives_as_it_was_given() -> None:
    variables = {f"NAME_{number}": text for number, text in enumerate(AWKWARD)}
    assert parse(minio_environment(variables)) == variables


def test_booleans_numbers_and_what_is_left_out() -> None:
    assert minio_environment({"B": False, "A": 5, "C": None}) == 'A="5"\nB="false"\n'


def test_the_message_about_a_bad_value_does_not_show_it() -> None:
    with pytest.raises(AnsibleFilterError, match="SECRET") as refused:
        minio_environment({"SECRET": "hunter2\nhunter3"})
    assert "hunter" not in str(refused.value)


def test_each_pool_is_a_list_of_its_drives_in_order() -> None:
    hosts = [{"scheme": "https", "address": f"10.0.0.{number}", "port": 9000, "drives": ["/a", "/b"]} for number in (2, 1)]
    written = json.loads(minio_pools([hosts, [{"scheme": "http", "address": "s", "port": 9100, "drives": ["/c"]}]]))
    first = [f"https://10.0.0.{number}:9000/{drive}" for number in (2, 1) for drive in "ab"]
    assert written == {"version": "v2", "pools": [{"args": first}, {"args": ["http://s:9100/c"]}]}


SETTLED = {"changed": False, "changed_paths": [], "settled": True, "stale": False}


@pytest.mark.parametrize(
    ("files", "other", "restart"),
    [
        ({}, False, ""),
        ({}, True, "together"),
        ({"settled": False}, False, "start"),
        ({"settled": False, "stale": True}, False, "together"),
        ({"settled": False, "stale": True, "changed": True, "changed_paths": ["/unit"]}, False, "in turn"),
        ({"settled": False, "changed": True, "changed_paths": ["/unit", "/settings"]}, False, "together"),
    ],
)
def test_a_host_of_a_pool_restarts_alone_unless_its_settings_are_others(files: dict[str, Any], other: bool, restart: str) -> None:
    assert minio_restart({**SETTLED, **files}, ["/settings", "/pools"], other) == restart
