"""The short form: a few rounds on a host that a scenario has set up. It fails only if a ratio is twice as bad as its reference, several times."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tools.testbed.shell import TestbedError

from . import hosts, rows
from .figures import Pair, fallen
from .hosts import Server
from .rows import DEFAULTS, LoadFailed

REFERENCES = Path(__file__).parent / "reference.json"
#: Rounds, and seconds of the load in each. A start is measured once.
ROUNDS, SECONDS = 2, 4
#: How often a part is measured until none of its ratios has fallen: other scenarios use the machine at the same time.
ATTEMPTS = 3
WITHOUT_JOBS = f"{DEFAULTS} without job processes"
FIX = "Find what became slower, or record new references if it must be so: python -m tools.bench short --record CONTAINER"


def users(container: str, login: list[str]) -> list[Pair]:
    """Measure requests with a login. The server with defaults has no users, and ignores the login.

    :param login: The name and the password of the administrator.
    """
    server = Server(container, hosts.UNIT, hosts.PORT)
    with hosts.defaults_server(container, jobs=False) as defaults:
        ours, other = rows.load_in_turns([server, defaults], ROUNDS, SECONDS, login)
    return [Pair("users", "16 operations, 10 clients, basic auth, administrator", "requests/s", f"{WITHOUT_JOBS}, without users", ours, other)]


def servers(container: str) -> list[Pair]:
    """Measure requests and memory. Both servers run at the same time, and the one with defaults without its job processes, which saves half a minute."""
    server = Server(container, hosts.UNIT, hosts.PORT)
    with hosts.defaults_server(container, jobs=False) as defaults:
        ours, other = rows.load_in_turns([server, defaults], ROUNDS, SECONDS)
        memory = ([server.memory() / 1e9], [defaults.memory() / 1e9])
    return [
        Pair("requests", "16 operations, 10 clients, no users", "requests/s", WITHOUT_JOBS, ours, other),
        Pair("memory", "PSS after the load, both servers at once", "GB", WITHOUT_JOBS, *memory, more_is_better=False),
    ]


def artifacts(container: str) -> list[Pair]:
    """Measure the transfer of one file."""
    return rows.transfer(container, ROUNDS, "64 MB", ("http", "boto3"))


def start(container: str) -> list[Pair]:
    """Measure one start."""
    return rows.start_of(container, 1)


def measure(container: str, references: Mapping[str, float] | None, login: list[str] | None = None) -> list[Pair]:
    """Measure on a host of a scenario, which has all three services as units.

    :param references: The ratio of each pair when it was recorded, by the pair's name; None to compare nothing.
    :param login: The name and the password of the administrator, if the server has users. Then only the requests with a login are measured.
    :raises LoadFailed: If the tracking server fails requests, or the server with defaults does so in each attempt.
    :raises TestbedError: If a ratio is twice as bad in each attempt, or a pair has no reference. The text says which.
    """
    rows.install()
    measured: list[Pair] = []
    complaints: list[str] = []
    parts: tuple[Callable[[str], list[Pair]], ...] = (functools.partial(users, login=login),) if login else (servers, artifacts, start)
    for part in parts:
        for attempt in range(ATTEMPTS):
            try:
                pairs = part(container)
            except LoadFailed as error:
                # A comparison with a server that fails says nothing of the tracking server. A tracking server that fails is at fault.
                if error.server.unit != hosts.DEFAULTS_UNIT or attempt + 1 == ATTEMPTS:
                    raise
                hosts.notice(str(error))
                continue
            found = [] if references is None else judge(pairs, references)
            if not found:
                break
            hosts.notice("; ".join(found))
        measured += pairs
        complaints += found
    if complaints:
        raise TestbedError("\n".join([*complaints, FIX]))
    return measured


def judge(pairs: list[Pair], references: Mapping[str, float]) -> list[str]:
    """Return a complaint for each pair that is twice as bad as its reference.

    :raises TestbedError: If a pair has no reference.
    """
    if missing := [pair.name for pair in pairs if pair.name not in references]:
        raise TestbedError(f"{REFERENCES.name} has no reference of {'; '.join(missing)}. Record it: python -m tools.bench short --record CONTAINER")
    return fallen(pairs, references)


def read_references() -> dict[str, float]:
    """Return the recorded ratios, by the names of the pairs."""
    recorded: dict[str, Any] = json.loads(REFERENCES.read_text()) if REFERENCES.exists() else {}
    return {name: float(ratio) for name, ratio in recorded.items()}


def record(pairs: list[Pair]) -> None:
    """Record the ratios of pairs as references, and leave the other references as they are."""
    REFERENCES.write_text(json.dumps(read_references() | {pair.name: round(pair.ratio, 3) for pair in pairs}, indent=1) + "\n")
