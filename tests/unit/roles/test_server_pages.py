"""A filter of an answer reads no page of a search twice, and finds what it would find without a memory."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from server_package import load


class PagedList(list[Any]):
    """Stands in for MLflow's list with a token."""

    def __init__(self, rows: list[Any], token: str | None) -> None:
        """Take the rows, and the token of the next page."""
        super().__init__(rows)
        self.token = token


class SearchUtils:
    """Stands in for MLflow's tokens of pages."""

    @staticmethod
    def parse_start_offset_from_page_token(token: str) -> int:
        """Return the number of rows before the page."""
        return int(token.removeprefix("after "))


class Store:
    """A store with numbers, which counts its queries."""

    def __init__(self, rows: int) -> None:
        """Have the numbers below this one."""
        self.rows, self.queries = list(range(rows)), 0

    def search(self, max_results: int = 100, page_token: str | None = None, order_by: Any = None, backwards: bool = False) -> PagedList:
        """Return a page."""
        self.queries += 1
        first = SearchUtils.parse_start_offset_from_page_token(page_token) if page_token else 0
        rows = self.rows[::-1] if backwards else self.rows
        return PagedList(rows[first : first + max_results], f"after {first + max_results}" if first + max_results < len(rows) else None)


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module, which finds stand-ins for MLflow's modules."""
    for name, content in (("entities", {"PagedList": PagedList}), ("search_utils", {"SearchUtils": SearchUtils})):
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, f"mlflow.{'store' if name == 'entities' else 'utils'}.{name}", module)
    for name in ("mlflow", "mlflow.store", "mlflow.utils"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    return load(monkeypatch, "pages")


def in_one_request(ask: Callable[[], Any]) -> Any:
    """Return an answer that is asked for in a request."""

    async def serve(*_given: Any) -> None:
        answers.append(ask())

    answers: list[Any] = []
    memory = importlib.import_module("atlas_mlflow.login_memory")
    asyncio.run(memory.AnswersOfEachRequest(serve)({}, None, None))
    return answers[0]


def filled_up(search: Callable[..., Any], wanted: int, can_read: Callable[[int], bool]) -> list[int]:
    """Return the first rows that a user may read, as MLflow's filters of answers collect them."""
    page = search(max_results=wanted, page_token=None)
    found, token, offset = [row for row in page if can_read(row)], page.token, len(page)
    while len(found) < wanted and token:
        more = search(max_results=wanted, page_token=token, order_by=["name"])[: wanted - len(found)]
        if not more:
            break
        found += [row for row in more if can_read(row)]
        offset += len(more)
        token = f"after {offset}"
    return found


@pytest.mark.parametrize("rows", [0, 1, 24, 25, 26, 50, 51, 75, 400])
@pytest.mark.parametrize("every", [1, 2, 3, 10, 1000])
def test_an_answer_is_filled_up_with_the_same_rows_by_few_queries(pages: ModuleType, rows: int, every: int) -> None:
    store, plain = Store(rows), Store(rows)
    search = pages.read_on("search", store.search)
    found = in_one_request(lambda: filled_up(search, 25, lambda row: row % every == 0))
    assert found == filled_up(plain.search, 25, lambda row: row % every == 0) == [row for row in range(rows) if row % every == 0][:25]
    assert store.queries <= min(plain.queries, 6)


def test_half_of_the_rows_take_two_queries(pages: ModuleType) -> None:
    store, plain = Store(200), Store(200)
    in_one_request(lambda: filled_up(pages.read_on("search", store.search), 25, lambda row: row % 2 == 0))
    filled_up(plain.search, 25, lambda row: row % 2 == 0)
    assert (store.queries, plain.queries) == (2, 6)


def test_nothing_is_remembered_beyond_a_request(pages: ModuleType) -> None:
    store = Store(30)
    search = pages.read_on("search", store.search)
    for _request in range(2):
        in_one_request(lambda: [search(max_results=5, page_token="after 5") for _ in range(3)])
    assert store.queries == 2
    store.rows[5] = 77
    assert in_one_request(lambda: search(max_results=5, page_token="after 5"))[0] == 77
    # Outside of a request, each search is a query.
    assert [search(max_results=5, page_token="after 5") and store.queries for _ in range(2)] == [4, 5]


def test_one_search_is_not_answered_with_another(pages: ModuleType) -> None:
    store = Store(30)
    search, other = pages.read_on("search", store.search), pages.read_on("other", lambda **given: PagedList(["other"], None))

    def ask() -> Any:
        given = {"max_results": 5, "page_token": "after 5"}
        return search(**given)[:2], search(**given, backwards=True)[:2], search(max_results=2, page_token="after 5"), other(**given), search()[:2]

    assert in_one_request(ask) == ([5, 6], [24, 23], [5, 6], ["other"], [0, 1])


def test_a_page_is_no_longer_than_the_store_allows(pages: ModuleType) -> None:
    asked: list[int] = []

    def search(max_results: int, page_token: str) -> PagedList:
        asked.append(max_results)
        offset = SearchUtils.parse_start_offset_from_page_token(page_token)
        return PagedList(list(range(max_results)), f"after {offset + max_results}")

    def ask(first: int) -> None:
        offset = first
        for _page in range(4):
            offset += len(read_on(max_results=first, page_token=f"after {offset}"))

    read_on = pages.read_on("search", search)
    in_one_request(lambda: ask(300))
    in_one_request(lambda: ask(5000))
    assert asked == [300, 600, 1000, 1000, 5000, 5000, 5000, 5000]
