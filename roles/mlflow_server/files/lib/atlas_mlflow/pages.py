"""Read the pages of a search once in a request.

MLflow removes from the answer to a search what a user may not see, and fills the answer up from further pages. It takes of each page as many rows as it
still lacks, and begins the next page where it stopped, in the middle of the rows that it has read. A user with rights on half of the experiments costs
half a dozen queries in this way. Here the rest of a page is answered from memory, and each further page is twice as long as the one before it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from atlas_mlflow.login_memory import once

#: The greatest number of rows that are read at once, if the request itself does not ask for more.
LONGEST = 1000


def read_on(name: str, search: Callable[..., Any]) -> Callable[..., Any]:
    """Return a search of a store that reads no row twice in a request. Only searches that continue from a page are remembered.

    :param name: Names the search.
    :param search: `search_experiments` of a store, or a search with the same tokens.
    """
    from mlflow.store.entities import PagedList
    from mlflow.utils.search_utils import SearchUtils

    def ask(*args: Any, page_token: Any = None, max_results: Any = None, **kwargs: Any) -> Any:
        asked = kwargs if max_results is None else {"max_results": max_results, **kwargs}
        if args or not page_token or max_results is None:
            return search(*args, page_token=page_token, **asked)
        # Lists in a request are not hashable.
        pages: dict[int, Any] = once(("pages", name, repr(sorted(asked.items()))), dict)
        offset = SearchUtils.parse_start_offset_from_page_token(page_token)
        for start, page in pages.items():
            if start <= offset < start + len(page) or (offset == start + len(page) and not page.token):
                return PagedList(page[offset - start :], page.token)
        asked["max_results"] = max(max_results, min(max_results << len(pages), LONGEST))
        page = pages[offset] = search(page_token=page_token, **asked)
        return page

    return ask
