"""A slip of the pen is found, and another role's variable is left alone."""

from __future__ import annotations

from ansible_collections.atlas.mlflow.plugins.filter.variables import misspelled

KNOWN = ["postgres_version", "postgres_password", "postgres_port"]


def test_a_slip_is_found() -> None:
    assert misspelled(["postgres_pasword", "postgres_prot"], KNOWN) == [
        "postgres_pasword (did you mean postgres_password?)",
        "postgres_prot (did you mean postgres_port?)",
    ]


def test_a_known_name_and_another_roles_are_left_alone() -> None:
    assert misspelled(["postgres_version", "postgres_exporter_version", "postgres_exporter_port"], KNOWN) == []
