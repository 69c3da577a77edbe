"""The rights of a user of MLflow's basic-auth app are known by their text, and MLflow decides by those that are on a thing."""

from __future__ import annotations

import json
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from server_package import fresh


@pytest.fixture
def rights(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return fresh(monkeypatch, "rights_basic")


def right(kind: str, pattern: str, permission: str) -> Any:
    """Return a right, as MLflow's object for it."""
    return SimpleNamespace(resource_type=kind, resource_pattern=pattern, permission=permission)


def permissions_of(found: Any) -> list[str]:
    """Return the permissions of rights."""
    return [one.permission for one in found]


TEXT = json.dumps([["experiment", "1", "READ"], ["experiment", "*", "EDIT"], ["experiment", "1", "DENY"], ["run", "*", "USE"], ["prompt", "1", "MANAGE"]])


def test_a_text_means_the_rights_in_it_and_another_text_means_others(rights: ModuleType) -> None:
    known = rights.KnownRights(right)
    assert permissions_of(known.of(TEXT, {"experiment", "run"})) == ["READ", "EDIT", "DENY", "USE"]
    assert known.of(TEXT, {"experiment", "run"}) is known.of(TEXT, ["run", "experiment"])
    assert permissions_of(known.of(TEXT, {"prompt"})) == ["MANAGE"]
    assert permissions_of(known.of(TEXT.replace("DENY", "READ"), {"experiment"})) == ["READ", "EDIT", "READ"]
    assert known.of("[]", {"experiment"}) == []


def test_the_memory_has_a_limit(rights: ModuleType) -> None:
    known = rights.KnownRights(right, length=2 * len(TEXT) + 2)
    texts = [TEXT.replace("READ", f"REA{letter}") for letter in "ABC"]
    for text in [*texts[:2], texts[0], texts[2]]:
        assert permissions_of(known.of(text, {"experiment"}))[0] == json.loads(text)[0][2]
    # The text that was used least recently is forgotten.
    assert list(known._known) == [texts[0], texts[2]]
    assert permissions_of(known.of(f"{TEXT} " + " " * 2 * len(TEXT), {"run"})) == ["USE"]
    assert not known._known and known._length == 0


def test_mlflow_decides_by_the_rights_on_a_thing(rights: ModuleType) -> None:
    fold = rights.folding(lambda given, key: (key.resource_id, permissions_of(given)))
    given = rights.KnownRights(right).of(TEXT, {"experiment", "run"})

    def on(kind: str, thing: str | None) -> Any:
        return fold(given, SimpleNamespace(resource_type=kind, resource_id=thing))[1]

    assert (on("experiment", "1"), on("experiment", "2"), on("experiment", "*"), on("experiment", None)) == (["READ", "DENY", "EDIT"], *[["EDIT"]] * 3)
    assert (on("run", "1"), on("prompt", "1")) == (["USE"], [])
    # Rights that MLflow has read itself are given as they are.
    assert len(fold(list(given), SimpleNamespace(resource_type="run", resource_id="1"))[1]) == 4


@pytest.mark.parametrize(
    ("text", "asked"), [(b'{"tags": [{"key": "model_id", "value": "\\"model_id\\""}]}', 1), (b'{"model_ids": 1}', 0), (b'{"model_id": ""}', 1)]
)
def test_only_an_answer_with_links_is_looked_at(rights: ModuleType, text: bytes, asked: int) -> None:
    looked: list[Any] = []
    rights.only_with(["model_id"], looked.append)(SimpleNamespace(get_data=lambda: text))
    assert len(looked) == asked


def test_functions_of_another_release_are_left_alone(rights: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(*_given: Any) -> None:
        """A function of another release."""

    handlers = {("/search", "POST"): other}
    enough = frozenset({other})
    auth = SimpleNamespace(filter_search_experiments=other, AFTER_REQUEST_HANDLERS=handlers, _SELF_AUTHORIZING_AFTER_REQUEST_HANDLERS=enough)
    assert rights.install(auth) == ["fold_grants_for_key", "filter_search_experiments", "_redact_run_response"]
    assert handlers == {("/search", "POST"): other} and set(auth._SELF_AUTHORIZING_AFTER_REQUEST_HANDLERS) == {other}
    # A filter whose source is known is replaced, and still lets MLflow answer the request.
    monkeypatch.setattr(rights, "EXPERIMENTS", {rights.source.digest(other): "1"})
    monkeypatch.setattr(rights, "readable_experiments", lambda *_given: print)
    assert rights.install(auth) == ["fold_grants_for_key", "_redact_run_response"]
    assert handlers == {("/search", "POST"): print} and print in auth._SELF_AUTHORIZING_AFTER_REQUEST_HANDLERS
