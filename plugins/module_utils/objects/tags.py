# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags of things, as MLflow lists them and as a user gives them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def pairs(rows: Iterable[Mapping[str, Any]] | None) -> dict[str, str]:
    """Return tags as a dictionary. MLflow lists them, each with its key and its value."""
    return {row["key"]: row.get("value", "") for row in rows or ()}


def rows(tags: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return tags as MLflow lists them, without those that are to be removed."""
    return [{"key": key, "value": value} for key, value in tags.items() if value is not None]


def as_text(given: Mapping[str, Any] | None) -> dict[str, str | None]:
    """Return tags with values as MLflow keeps them. C(None) stays: it removes a tag."""
    return {str(key): value if value is None or isinstance(value, str) else json.dumps(value) for key, value in (given or {}).items()}


def changed_tags(present: Mapping[str, str], wanted: Mapping[str, str | None]) -> Iterator[tuple[str, str | None]]:
    """Return the tags whose value differs. The value of a tag to remove is C(None)."""
    return ((key, value) for key, value in wanted.items() if present.get(key) != value)


def after_tags(present: Mapping[str, str], wanted: Mapping[str, str | None]) -> dict[str, str]:
    """Return all tags after the change."""
    return {key: value for key, value in {**present, **wanted}.items() if value is not None}
