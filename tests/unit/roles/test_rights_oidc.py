"""The rights of a user of the OpenID Connect plugin are read once in a request, and again at the next one. What follows from them is the plugin's."""

from __future__ import annotations

import asyncio
import importlib
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from server_package import load

STRENGTH = ["READ", "EDIT", "MANAGE", "NO_PERMISSIONS"]


@pytest.fixture
def rights(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module."""
    return load(monkeypatch, "rights_oidc")


class MissingError(Exception):
    """Stands in for the plugin's error for a right that is not there."""


class Plugin:
    """Stands in for the plugin and its database. Notes each query."""

    def __init__(self, rights: ModuleType) -> None:
        """Begin with the rights of one user."""
        self.own = [("user", str(number), "MANAGE", 0, number) for number in range(10)]
        self.others = [("group", "20", "EDIT", 0, 1), ("group", "20", "READ", 0, 2)]
        self.answers = True
        self.queries: list[tuple[str, str | None]] = []
        self.plugins: list[str] = []
        parts = [
            rights.RightsOfUsers(("experiment", name), self.reader(name), lambda one, two: STRENGTH.index(one) <= STRENGTH.index(two))
            for name in ("own", "others")
        ]
        self.sources = rights.with_rights(self.build, *parts, MissingError)

    def reader(self, name: str) -> Any:
        """Return the function that reads rows."""

        def read(username: str, thing: str | None) -> Any:
            self.queries.append((name, thing))
            rows = getattr(self, name) if username == "ada" else []
            return [row for row in rows if thing is None or row[1] in (thing, "")] if self.answers else None

        return read

    def build(self, thing: str, _username: str) -> Any:
        """Return the plugin's own sources."""

        def source(name: str) -> Any:
            def ask() -> str:
                self.plugins.append(name)
                return f"the plugin's {name} of {thing}"

            return ask

        return {name: source(name) for name in ("user", "group", "regex", "group-regex")}

    def right(self, thing: Any, username: str = "ada") -> Any:
        """Return where a right is from and which it is, as the plugin goes through its sources."""
        for name, source in self.sources(thing, username).items():
            try:
                return name, source()
            except MissingError:
                continue
        return None


@pytest.fixture
def plugin(rights: ModuleType) -> Plugin:
    """Return a stand-in for the plugin."""
    return Plugin(rights)


def in_a_request(function: Any) -> Any:
    """Return what a function returns that is called in a thread while a request is served."""
    memory = importlib.import_module("atlas_mlflow.login_memory")
    answers = []

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        answers.append(await asyncio.to_thread(function))

    asyncio.run(memory.AnswersOfEachRequest(app)({"type": "http"}, None, None))
    return answers[0]


def test_a_right_of_the_user_is_one_query_and_is_read_once_in_a_request(plugin: Plugin) -> None:
    assert in_a_request(lambda: [plugin.right("1") for _ in range(3)]) == [("user", "MANAGE")] * 3
    assert plugin.queries == [("own", "1")]


def test_rights_of_groups_and_patterns_are_asked_for_only_without_a_right_of_the_user(plugin: Plugin) -> None:
    assert in_a_request(lambda: [plugin.right("20"), plugin.right("21"), plugin.right("20")]) == [("group", "EDIT"), None, ("group", "EDIT")]
    assert plugin.queries == [("own", "20"), ("others", "20"), ("own", "21"), ("others", "21")]
    assert plugin.plugins == []


def test_a_changed_right_counts_at_the_next_request(plugin: Plugin) -> None:
    """The change is made by another worker: this one is not told."""
    seen = [in_a_request(lambda: plugin.right("1"))]
    plugin.own[1] = ("user", "1", "READ", 0, 1)
    seen.append(in_a_request(lambda: plugin.right("1")))
    plugin.own.clear()
    seen.append(in_a_request(lambda: plugin.right("1")))
    plugin.others.append(("group", "1", "EDIT", 0, 3))
    seen.append(in_a_request(lambda: plugin.right("1")))
    assert seen == [("user", "MANAGE"), ("user", "READ"), None, ("group", "EDIT")]


def test_outside_of_a_request_nothing_is_remembered(plugin: Plugin) -> None:
    assert plugin.right("1") == ("user", "MANAGE")
    plugin.own.clear()
    assert plugin.right("1") is None


def test_a_request_that_asks_for_many_things_reads_all_rights(plugin: Plugin, rights: ModuleType) -> None:
    names = [str(number) for number in range(30)]
    expected = [("user", "MANAGE")] * 10 + [None] * 10 + [("group", "EDIT")] + [None] * 9
    assert in_a_request(lambda: [plugin.right(name) for name in names]) == expected
    single = [str(number) for number in range(rights.SINGLE)]
    assert plugin.queries[: rights.SINGLE + 1] == [*(("own", name) for name in single), ("own", None)]
    assert len(plugin.queries) == 2 * (rights.SINGLE + 1)


def test_what_removes_from_an_answer_reads_all_rights_at_once(plugin: Plugin, rights: ModuleType) -> None:
    handle = rights.reading_all(lambda given: [given, plugin.right("1"), plugin.right("21")])
    assert in_a_request(lambda: handle("answer")) == ["answer", ("user", "MANAGE"), None]
    assert plugin.queries == [("own", None), ("others", None)]
    # The next request is another one.
    in_a_request(lambda: plugin.right("1"))
    assert plugin.queries[2:] == [("own", "1")]


def test_rights_of_one_user_are_not_those_of_another(plugin: Plugin) -> None:
    assert in_a_request(lambda: [plugin.right("1"), plugin.right("1", "bob"), plugin.right("20", "bob")]) == [("user", "MANAGE"), None, None]


@pytest.mark.parametrize("order", [1, -1])
def test_of_a_users_rights_on_a_name_the_first_counts_and_of_groups_the_strongest(plugin: Plugin, order: int) -> None:
    plugin.own = [("user", "m", "READ", 0, 9), ("user", "m", "MANAGE", 1, 1)][::order]
    plugin.others = [("group", "n", "READ", 0, 1), ("group", "n", "NO_PERMISSIONS", 0, 2), ("group", "n", "MANAGE", 0, 3)][::order]
    assert [plugin.right("m"), plugin.right("n")] == [("user", "READ"), ("group", "NO_PERMISSIONS")]


@pytest.mark.parametrize("kind", ["regex", "group-regex"])
def test_patterns_are_compared_by_the_plugin(plugin: Plugin, kind: str) -> None:
    plugin.others = [(kind, "", "", 0, 5)]
    assert in_a_request(lambda: [plugin.right("1"), plugin.right("21")]) == [("user", "MANAGE"), (kind, f"the plugin's {kind} of 21")]
    assert plugin.plugins == [kind]


@pytest.mark.parametrize("thing", ["1", 1, None])
def test_without_an_answer_of_the_database_and_for_what_is_no_text_the_plugin_is_asked(plugin: Plugin, thing: Any) -> None:
    plugin.answers = False
    assert plugin.right(thing) == ("user", f"the plugin's user of {thing}")
    assert len(plugin.queries) == (1 if thing == "1" else 0)


def test_what_the_plugin_found_out_is_remembered_for_one_request(rights: ModuleType) -> None:
    cache = rights.OfOneRequest()

    def serve(end: Any) -> list[Any]:
        before = cache.get("key")
        cache.set("key", "value")
        kept = cache.get("key")
        end()
        return [before, kept, cache.get("key")]

    assert in_a_request(lambda: serve(lambda: None)) == [None, "value", "value"]
    for end in (cache.clear, lambda: cache.delete("other"), lambda: cache.delete_prefix("k")):
        assert in_a_request(lambda end=end: serve(end)) == [None, "value", None]
    cache.set("key", "value")
    assert cache.get("key") is None


def test_a_right_that_a_request_changes_counts_in_the_same_request(plugin: Plugin, rights: ModuleType) -> None:
    def serve() -> list[Any]:
        before = plugin.right("30")
        plugin.own.append(("user", "30", "MANAGE", 0, 30))
        # The plugin empties its memory after each change.
        rights.OfOneRequest().clear()
        return [before, plugin.right("30")]

    assert in_a_request(serve) == [None, ("user", "MANAGE")]


def test_a_plugin_that_is_not_there_changes_nothing(rights: ModuleType) -> None:
    assert rights.install() is False


def test_of_several_sources_each_one_counts(rights: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {rights.source.digest_of_all(*functions) for functions in ((serve_one,), (serve_one, serve_two), (serve_two, serve_one))}
    assert len(seen) == 3
    assert rights.source.digest_of_all(serve_one, len) == ""


def serve_one() -> SimpleNamespace:
    """Stand for a function of the plugin."""
    return SimpleNamespace(one=1)


def serve_two() -> SimpleNamespace:
    """Stand for another one."""
    return SimpleNamespace(two=2)
