"""Measure in turns what the collection sets up, and what it could be replaced with. `make bench` calls it.

On a machine with other work absolute values mean little: read the ratios, whose two values are from the same round.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from tools.testbed.shell import known, run_command_line, say

from . import hosts, machine, play, replicas, report, rows, short
from .hosts import BENCH
from .rows import TRANSFERS, Options

ROWS = rows.ROWS | play.ROWS | replicas.ROWS
STACKS = rows.STACKS | play.STACKS | replicas.STACKS
#: The rows of a call without names. The others set up many hosts, and take an hour.
USUAL = ("requests", "users", "artifacts", "direct", "start")


def measure(names: list[str], options: Options, keep: bool, docs: bool) -> None:
    """Measure some rows, print them, and write them to .bench/.

    :param keep: Whether to leave the hosts for the next call.
    :param docs: Whether to write them to the documents too.
    :raises TestbedError: If there is no row of a name, or a measurement fails.
    """
    known("row", names, ROWS)
    stacks = {name: STACKS[name] for name in names}
    hosts.prepare([stack for given in stacks.values() for stack in given])
    rows.install()
    results: dict[str, Any] = {}
    for place, name in enumerate(names):
        say(f"==> {name}")
        later = {stack.name for other in (names if keep else names[place + 1 :]) for stack in stacks[other]}
        facts = machine.facts()
        pairs = ROWS[name](replace(options, keep=frozenset(later)))
        results[name] = {"facts": facts, "pairs": [pair.document() for pair in pairs]}
        say(report.terminal(pairs, facts))
        # After each row, so that an error in the next one loses nothing.
        path = BENCH / f"{time.strftime('%Y-%m-%d-%H%M%S')}-{name}.json"
        path.write_text(json.dumps({name: results[name]}, indent=1) + "\n")
        say(f"    values: {path}")
        if docs:
            report.write_document({name: results[name]})
    if docs:
        say(f"Wrote {', '.join(str(path) for path in report.DOCUMENTS)} and their plots.")


def measure_short(container: str, record: bool, password: Path | None = None) -> None:
    """Measure the short form on a host, and compare it with the references.

    :param record: Whether to record the ratios as references instead.
    :param password: A file with the password of the administrator, if the server has users.
    :raises TestbedError: If a ratio is twice as bad.
    """
    begun = time.monotonic()
    login = [rows.ADMINISTRATOR, password.read_text().strip()] if password else None
    pairs = short.measure(container, None if record else short.read_references(), login)
    say(report.terminal(pairs, machine.facts()))
    say(f"\n{time.monotonic() - begun:.0f} s")
    if record:
        short.record(pairs)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("run", help="measure rows on hosts of their own")
    command.add_argument("rows", nargs="*", default=USUAL, metavar="ROW", help=f"{', '.join(ROWS)} (default: {', '.join(USUAL)})")
    command.add_argument("--rounds", type=int, default=Options.rounds, help="rounds in turns (default: %(default)s)")
    command.add_argument("--seconds", type=float, default=Options.seconds, help="seconds of the load in each round (default: %(default)s)")
    command.add_argument("--files", nargs="+", choices=TRANSFERS, default=list(TRANSFERS), help="files of the row artifacts")
    command.add_argument(
        "--most-servers", type=int, default=Options.most_servers, help="the greatest number of hosts of the row servers (default: %(default)s)"
    )
    command.add_argument("--role", type=Path, help=f"folder with {play.ROLE} for the row runs; Galaxy's, if it answers, without it")
    command.add_argument("--keep", action="store_true", help="leave the hosts for the next call; `remove` removes them")
    command.add_argument("--docs", action="store_true", help="write the results to docs/performance.md, docs/scaling.md and their plots")
    command.set_defaults(
        do=lambda given: measure(
            list(given.rows),
            Options(given.rounds, given.seconds, tuple(given.files), role=given.role, most_servers=given.most_servers),
            given.keep,
            given.docs,
        )
    )
    command = commands.add_parser("short", help="measure on a host of a scenario, and fail if a ratio is twice as bad as its reference")
    command.add_argument("container", help="the host, a container with all three services")
    command.add_argument("--record", action="store_true", help="record the ratios as references")
    command.add_argument("--password", type=Path, metavar="FILE", help="a file with the administrator's password; measures the requests of a server with users")
    command.set_defaults(do=lambda given: measure_short(given.container, given.record, given.password))
    commands.add_parser("docs", help="write the documents again from their results").set_defaults(do=lambda _: report.write_document({}))
    commands.add_parser("remove", help="remove hosts that were kept").set_defaults(do=lambda _: hosts.remove_all())
    return top


def main() -> int:
    """Run from the command line."""
    return run_command_line(parser())


if __name__ == "__main__":
    sys.exit(main())
