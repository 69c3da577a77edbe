"""What a Prometheus says of the stack, as its API answers on its own host."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from stack.support import ask
from testinfra.host import Host

PROMETHEUS = "http://127.0.0.1:9090"


def read(prometheus: Host, path: str) -> Any:
    """Return the data that the API of Prometheus answers."""
    answer = ask(prometheus, f"{PROMETHEUS}/api/v1/{path}", login=None)
    assert answer.status == 200, answer
    return answer.json()["data"]


def query(prometheus: Host, expression: str) -> list[tuple[dict[str, str], float]]:
    """Return the series of an expression with their values."""
    return [(one["metric"], float(one["value"][1])) for one in read(prometheus, f"query?query={quote(expression)}")["result"]]


def firing(prometheus: Host) -> set[tuple[str, str]]:
    """Return the names of the alerts that fire, each with its host."""
    return {(one["labels"]["alertname"], one["labels"].get("instance", "")) for one in read(prometheus, "alerts")["alerts"] if one["state"] == "firing"}
