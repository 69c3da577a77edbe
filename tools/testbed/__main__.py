"""The command line of the test bed; `make` calls it. Each command can be run again at any time, and does what is missing."""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import sys
import time
from collections.abc import Callable, Mapping

from . import checks, daemon, demo, images, minio, preparation, registry, scenarios
from .shell import ROOT, TestbedError, known, run_command_line, say, step

#: Seconds that everything may take on two cores, if images and downloads are cached.
BUDGET = 1800
#: How many scenarios do not run while the checks do, which keep both cores of CI busy.
CHECKS_INSTEAD = 2


def check() -> None:
    """Run the checks that need no host."""
    with step("Checks"):
        checks.run_all()


def test(names: list[str], system: str) -> None:
    """Run the checks and the scenarios that need no name, or only the named scenarios. A scenario starts once its images are there, also while the checks run.

    :param system: The system of the hosts in these scenarios, if it is not that of the scenarios.
    :raises TestbedError: If there is no scenario or system of a name, or something fails.
    """
    present = scenarios.discover(ROOT / "molecule")
    known("scenario", names, present)
    known("system", [system] if system else [], sorted(images.SYSTEMS))
    if system and not names:
        raise TestbedError("A system is for named scenarios: the others check what is particular to a release of Debian.")
    if names:
        preparation.Preparation(names, system).wait()
        os.environ["TESTBED_SYSTEM"] = system
        scenarios.run_all(names)
        return
    chosen = [name for name in present if name not in scenarios.BY_NAME]
    begun = time.monotonic()
    done: list[scenarios.Scenario] = []
    parts = preparation.Preparation(chosen)
    try:
        with concurrent.futures.ThreadPoolExecutor(max_workers=1) as pool:
            checking = pool.submit(check)

            def others() -> int:
                if checking.done():
                    checking.result()
                return 0 if checking.done() else CHECKS_INSTEAD

            scenarios.run_all(chosen, done, parts.ready, others)
            checking.result()
    finally:
        say(over_budget(time.monotonic() - begun, {item.name: item.seconds for item in done}))
        say(f"Not run, because only a name runs them: {', '.join(scenarios.BY_NAME)} (make test SCENARIO={scenarios.BY_NAME[0]}).")


def over_budget(seconds: float, scenarios_seconds: Mapping[str, float]) -> str:
    """Return how long everything took and may take, and the slowest scenarios. This does not fail the run, because machines differ.

    :param seconds: Seconds of the whole run.
    :param scenarios_seconds: Seconds of each scenario, by its name.
    """
    slowest = sorted(scenarios_seconds, key=lambda name: -scenarios_seconds[name])[:3]
    told = f"All of it took {seconds / 60:.0f} of {BUDGET // 60} minutes."
    told += f" The slowest scenarios: {', '.join(f'{name} {scenarios_seconds[name]:.0f} s' for name in slowest)}." if slowest else ""
    return f"WARNING: {told} Make them faster." if seconds > BUDGET else told


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(prog="python -m tools.testbed", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, text: str, do: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(do=do)
        return command

    add("docker", "see to it that Docker runs", lambda _: daemon.ensure())
    add(
        "images",
        "build the images of the test hosts",
        lambda given: preparation.ensure(place(name) for name in given.system for place in (preparation.bare, preparation.prepared)),
    ).add_argument("--system", nargs="+", choices=sorted(images.SYSTEMS), default=sorted(images.SYSTEMS))
    add("minio", "put MinIO's executable into the cache", lambda _: minio.ensure())
    add("registry", "put the registry with its images of MLflow into the cache", lambda _: registry.ensure())
    add("up", "make the demo, and print its address", lambda given: demo.up(given.topology)).add_argument(
        "--topology", default="one_host", help=", ".join(sorted(demo.TOPOLOGIES))
    )
    add("verify", "prove the running demo once more", lambda _: demo.verify())
    add("diagnose", "say why a tracking server cannot be used", lambda given: demo.diagnose(given.inventory)).add_argument(
        "--inventory", default="", help="an inventory in place of the running demo's"
    )
    add("down", "remove the demo", lambda given: demo.down(given.purge)).add_argument("--purge", action="store_true", help="images, downloads and tools too")
    add("check", "lint, unit tests, syntax, locks, build", lambda _: check())
    scenario = add("test", "the checks, then all scenarios", lambda given: test(given.scenario, given.system))
    scenario.add_argument("scenario", nargs="*", help="these alone, without the checks")
    scenario.add_argument("--system", default="", help=f"system of the hosts in these scenarios: {', '.join(images.SYSTEMS)}")
    return top


def main() -> int:
    """Run from the command line."""
    return run_command_line(parser())


if __name__ == "__main__":
    sys.exit(main())
