"""Lists of files, mounts and ports are made of plain paths."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.atlas.mlflow.plugins.plugin_utils.files import as_files, binds, owned_by, published_ports, socket_address, under


def test_paths_and_texts_get_the_same_attributes() -> None:
    assert as_files(["/a", "/b"], state="absent") == [{"path": "/a", "state": "absent"}, {"path": "/b", "state": "absent"}]
    assert as_files({"/a": "text"}, mode="0644") == [{"path": "/a", "content": "text", "mode": "0644"}]
    assert as_files([], state="absent") == []


def test_files_below_a_folder_come_after_their_folders() -> None:
    made = under({"a.py": "1", "package/b.py": "2"}, "/opt/lib")
    assert [entry["path"] for entry in made] == ["/opt/lib", "/opt/lib/package", "/opt/lib/a.py", "/opt/lib/package/b.py"]
    assert [entry.get("state", entry.get("content")) for entry in made] == ["directory", "directory", "1", "2"]
    assert ["content" in entry for entry in made] == [False, False, True, True]


def test_a_user_without_a_group_has_one_of_its_name() -> None:
    assert owned_by("999:998") == {"owner": "999", "group": "998"}
    assert owned_by("postgres") == {"owner": "postgres", "group": "postgres"}


def test_a_bind_is_at_the_same_place_unless_another_is_given() -> None:
    assert binds(["/a", ("/b", "/c")], read_only=True) == [
        {"type": "bind", "source": "/a", "target": "/a", "read_only": True},
        {"type": "bind", "source": "/b", "target": "/c", "read_only": True},
    ]


@pytest.mark.parametrize(
    ("addresses", "port", "expected"),
    [
        (["localhost", "10.0.0.7"], "5433", ["127.0.0.1:5433:5432", "10.0.0.7:5433:5432"]),
        (["*"], 5432, ["0.0.0.0:5432:5432"]),
        (["localhost", "127.0.0.1"], 5432, ["127.0.0.1:5432:5432"]),
        ("fd00::7", 5432, ["[fd00::7]:5432:5432"]),
        ("0.0.0.0", 0, []),
    ],
)
def test_a_port_is_published_once_at_each_address(addresses: Any, port: Any, expected: list[str]) -> None:
    assert published_ports(addresses, port, 5432) == expected


def test_an_address_of_ipv6_has_brackets() -> None:
    assert [socket_address("fd00::7", 9000), socket_address("10.0.0.7", "9000"), socket_address("::1"), socket_address("db")] == [
        "[fd00::7]:9000",
        "10.0.0.7:9000",
        "[::1]",
        "db",
    ]
