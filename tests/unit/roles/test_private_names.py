"""A private name, which begins with an underscore, is read only in the role or in the playbooks that define it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
#: The plan of the host, which the playbooks and each role that is used alone make by the same task.
SHARED = {"_atlas_mlflow_plan"}
#: A name with one or two underscores before it. A function's keyword, an attribute and a part of a longer name are none.
PRIVATE = re.compile(r"(?<![\w./-])(__?[a-z]\w*)(?!\w*=)\b")


def owner(name: str) -> str:
    """Return the role that a private name belongs to, ``playbooks`` for one of the collection, nothing for one that is local to a file."""
    bare = name.lstrip("_")
    return next((role for role in ROLES if bare.startswith(f"{role}_")), "playbooks" if bare.startswith("atlas_mlflow_") else "")


def sources() -> list[Path]:
    """Return the files of roles and playbooks that have templates."""
    found = [path for folder in ("roles", "playbooks") for path in (ROOT / folder).rglob("*") if path.suffix in (".yml", ".j2")]
    return sorted(path for path in found if "meta" not in path.parts and "files" not in path.parts)


def room(path: Path) -> str:
    """Return the role of a file, or ``playbooks``."""
    parts = path.relative_to(ROOT).parts
    return parts[1] if parts[0] == "roles" else parts[0]


def foreign(text: str, place: str) -> set[str]:
    """Return the private names in a text of a role, or of the playbooks, that belong to another.

    :param text: The content of a file.
    :param place: The role, or ``playbooks``.
    """
    code = re.sub(r"(?m)^\s*#.*$", "", text)
    return {name for name in PRIVATE.findall(code) if owner(name) not in ("", place)} - SHARED


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_private_name_of_another_is_used(path: Path) -> None:
    assert foreign(path.read_text(), room(path)) == set()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("when: __firewall_files is changed", "playbooks"),
        ("x: '{{ _postgres_version }}'", "backup"),
        ("vars: {_minio_going_back: true}", "playbooks"),
        ("x: \"{{ lookup('vars', '_atlas_mlflow_secret') }}\"", "minio"),
    ],
)
def test_a_private_name_of_another_is_found(text: str, place: str) -> None:
    assert len(foreign(text, place)) == 1


def test_own_names_and_the_plan_pass() -> None:
    assert foreign("x: '{{ _minio_uid ~ __minio_user.uid ~ _atlas_mlflow_plan.proxies ~ __local }}'", "minio") == set()
