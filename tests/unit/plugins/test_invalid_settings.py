"""A slip of the pen is found, and another role's variable is left alone."""

from __future__ import annotations

from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.options import invalid_settings
from ansible_collections.atlas.mlflow.plugins.plugin_utils.settings import similar_names

KNOWN = ["postgres_version", "postgres_password", "postgres_port"]


def test_a_slip_is_found() -> None:
    assert similar_names(["postgres_pasword", "postgres_prot"], KNOWN) == [
        "postgres_pasword (did you mean postgres_password?)",
        "postgres_prot (did you mean postgres_port?)",
    ]


def test_a_known_name_and_another_roles_are_left_alone() -> None:
    assert similar_names(["postgres_version", "postgres_exporter_version", "postgres_exporter_port"], KNOWN) == []


def test_what_is_wrong_in_a_dictionary_is_said_without_its_value() -> None:
    given = {"work_mem": "8MB", "max connections": 1, "port": 5433, "a.b": ["canary"]}
    assert invalid_settings(given, {"port": "Set postgres_port."}) == [
        "max connections: this is no name of a setting",
        "port: Set postgres_port.",
        "a.b: its value is a list or a dictionary, and must be a string, a number or a boolean",
    ]
    assert invalid_settings({"work_mem": "8MB", "checks": True}) == []
    assert invalid_settings({"work_mem": None}) == ["work_mem: its value is empty (null). Remove the line, or give it a value"]
    assert invalid_settings({"HTTP_PROXY": None}, null_is_left_out=True) == []
