"""The tables of docs/scaling.md that the model makes of the row `replicas`."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import model
from .figures import Pair, number, percent

#: The row that the tables are made of.
ROW = "replicas"


def table(heads: Iterable[str], lines: Iterable[Iterable[Any]]) -> str:
    """Return a table in Markdown."""
    heads = list(heads)
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in [heads, ["---"] * len(heads), *lines])


def about(count: int) -> str:
    """Return a number with two significant digits. A computed one is not more exact."""
    return f"about {round(count, 2 - len(str(count))):,}"


def parts(pairs: list[Pair], _: Mapping[str, str]) -> str:
    """Return what a request costs each part, and how many requests a core is enough for."""
    costs = model.measured_costs(pairs)
    heads = ("part", "processor time for each request", "requests/s of one core", "cores for each core of the tracking servers")
    return table(
        heads,
        (
            (part, f"{number(cost * 1000)} ms", number(1 / cost), number(cost / costs[model.SERVER]))
            for part, cost in costs.items()
            if part != model.CLIENT  # it is no part of a stack
        ),
    )


def measured_throughput(pairs: Iterable[Pair]) -> dict[int, float]:
    """Return the median of the requests per second, by the number of servers.

    :raises KeyError: If a number was not measured.
    """
    found = {(pair.what, pair.ours): pair for pair in pairs}
    several = {count: found[model.throughput_pair(count)] for count in model.COUNTS if count > 1}
    return {1: statistics.median(several[2].other_values)} | {count: statistics.median(pair.ours_values) for count, pair in several.items()}


def prediction(pairs: list[Pair], facts: Mapping[str, str]) -> str:
    """Return what the model predicts, beside what was measured. The model knows only the processor times with one server."""
    costs, cores = model.measured_costs(pairs), int(facts["cores"].split(",")[0])
    lines = []
    for count, measured in measured_throughput(pairs).items():
        limit = model.predicted(costs, count, model.SHARE, cores)
        lines.append((count, number(measured), number(limit.requests), f"{model.error(limit.requests, measured):+.0f} %", limit.name))
    return table(("tracking servers", "measured requests/s", "predicted requests/s", "error", "limit in the model"), lines)


def assumptions() -> str:
    """Return the assumptions and choices of the sizes."""
    browsing = model.BROWSING * model.PAGE_REQUESTS / model.PAGE_SECONDS
    return "\n".join(
        [
            "Assumptions, for the busiest minutes of a day. They are not measured:",
            "",
            f"- {percent(model.BROWSING)} of the users browse. Each opens a page every {model.PAGE_SECONDS} s, and a page sends {model.PAGE_REQUESTS} requests:"
            f" {browsing:.3f} requests/s for each user.",
            f"- {percent(model.TRAINING)} of the users have a training. It sends a request with metrics, parameters or a small artifact every"
            f" {model.LOG_SECONDS} s: {model.TRAINING / model.LOG_SECONDS:.3f} requests/s for each user.",
            f"- So a user sends {model.REQUESTS_PER_USER:.3f} requests/s. Each costs as much as the mean of the measured load, on a core like that of the"
            " measurement.",
            "- Large artifacts are not counted: see below.",
            "",
            "Choices:",
            "",
            f"- Each part uses at most {percent(model.BUSY)} of its cores.",
            f"- From {model.SPARE_FROM:,} users on, one tracking server more than needed, and two proxies with a shared address.",
            f"- From {model.CLUSTER_FROM:,} users on, a cluster of {model.CLUSTER} hosts with PostgreSQL, of which one answers, and a pool of {model.POOL}"
            " hosts with MinIO.",
            "- One worker for each core of a tracking server. `max_connections` is what the collection sets for a server with users.",
        ]
    )


def sizes(pairs: list[Pair], _: Mapping[str, str]) -> str:
    """Return the stack for each number of users."""
    costs = model.measured_costs(pairs)
    lines = []
    for users in model.USERS:
        size = model.size(users, costs)
        part, limit = size.users_at_limit(costs)
        lines.append(
            (
                f"{users:,}",
                number(size.requests),
                f"{size.servers} x {size.server_cores} cores, {size.server_gib} GiB, {size.workers} workers",
                f"{size.database_hosts} x {size.database_cores} cores, {size.database_gib} GiB",
                size.connections,
                f"{size.store_hosts} x {size.store_cores} cores",
                f"{size.proxies} x {size.proxy_cores} cores" if size.proxies else "none",
                f"{part}, {about(limit)} users",
            )
        )
    heads = ("users", "requests/s", "tracking servers", "PostgreSQL", "`max_connections`", "MinIO", "proxies", "first limit")
    return f"{assumptions()}\n\n{table(heads, lines)}"


def beyond(pairs: list[Pair], _: Mapping[str, str]) -> str:
    """Return how far the parts go that only one host does the work of."""
    costs = model.measured_costs(pairs)
    lines = [(part, about(model.most_users(costs[part]))) for part in (model.DATABASE, model.PROXY)]
    return table((f"part that works on one host, with {model.LARGE_HOST} cores", "enough for users"), lines)


#: The tables by their names in the document. Each takes the pairs and the facts of the row.
TABLES: dict[str, Callable[[list[Pair], Mapping[str, str]], str]] = {"parts": parts, "prediction": prediction, "sizes": sizes, "beyond": beyond}
