"""Run Molecule's scenarios: all that exist, four at a time if memory allows, each with its own log."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .entry import client
from .shell import BIN, ENTRY, HEARTBEAT, ROOT, SELDOM, SHARE, TestbedError, environment, say

LOGS = ROOT / ".logs"
#: Memory in bytes for the hosts of a scenario, and the greatest number of parallel scenarios: with three, a quarter of two cores is idle, as they often wait.
SCENARIO_MEMORY = 3 * 1024**3
MOST_AT_ONCE = 4
#: The slowest scenarios, so that none of them starts late and runs alone. The others follow by name.
LONGEST_FIRST = (
    *("containers", "recovery", "store_upgrades", "reverse_proxy", "survival", "upgrade"),
    *("faults", "faults_containers", "one_host", "basic_auth", "images"),
)
#: Scenarios that run only if they are named: they install a browser or many packages, need many hosts, or are about a use beside the stack.
BY_NAME = (
    *("browser", "cluster", "cluster_upgrade", "first_of_three", "metrics", "move_stores"),
    *("no_network", "no_network_containers", "no_network_podman", "pgbouncer", "podman", "podman_operations", "pool_expansion", "roles_alone", "workspaces"),
)
#: Seconds after which a scenario is stopped, and for those with another limit.
TIMEOUT = 3600
TIMEOUTS = {"cluster": 3 * 3600, "cluster_upgrade": 2 * 3600}
#: Lines of a failed scenario's log that are shown.
TAIL = 150

ACTION = re.compile(r"^INFO +\[\S+ > (\w+)\] Executing", re.MULTILINE)
TASK = re.compile(r"^\W*TASK \[(.+?)\]?\s*\**$", re.MULTILINE)
#: Beginnings of lines with failures in the output of Ansible, Molecule and pytest, and the number of such lines that are repeated at the end.
FAILURE = re.compile(
    r"^(TASK \[.+\n(?=fatal:|failed:|\[ERROR\])|(?:fatal|failed): .+|\[ERROR\]: .+|(?:FAILED|ERROR|CRITICAL) (?!- RETRYING).+|E   .+)", re.MULTILINE
)
MOST_FAILURES = 8
WIDTH = 800


@dataclass
class Scenario:
    """A running scenario, and its result."""

    name: str
    result: str = "not run"
    seconds: float = 0.0
    process: subprocess.Popen[bytes] | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def log(self) -> Path:
        """Return the file of Molecule's output."""
        return LOGS / f"{self.name}.log"

    @property
    def report(self) -> Path:
        """Return the file in which pytest, as Molecule's verifier, records its tests."""
        return LOGS / f"{self.name}.xml"

    @property
    def findings(self) -> Path:
        """Return the file in which the scenario's tests may write measured values, which are shown."""
        return LOGS / f"{self.name}.txt"


def discover(folder: Path) -> list[str]:
    """Return the names of the scenarios in a folder, the slowest first. A link to a scenario is only another name, and does not count."""
    found = [path.parent.name for path in folder.glob("*/molecule.yml") if not path.parent.is_symlink()]
    return sorted(found, key=lambda name: (LONGEST_FIRST.index(name) if name in LONGEST_FIRST else len(LONGEST_FIRST), name))


def slots(available_memory: int, others: int = 0) -> int:
    """Return how many scenarios can run in parallel with this number of bytes of free memory, at least one.

    :param others: How many scenarios cannot run because of other work.
    """
    return max(1, min(MOST_AT_ONCE - others, available_memory // SCENARIO_MEMORY))


def available_memory() -> int:
    """Return the available memory in bytes (``MemAvailable``, see proc(5))."""
    found = re.search(r"^MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


def tests_passed(report: Path) -> int:
    """Return the number of passed tests in a JUnit report, 0 if there is no complete report."""
    try:
        suites = ElementTree.parse(report).getroot().iter("testsuite")
        counts = [[int(suite.get(key, 0)) for key in ("tests", "errors", "failures", "skipped")] for suite in suites]
    except (OSError, ElementTree.ParseError, ValueError):
        return 0
    return sum(tests - errors - failures - skipped for tests, errors, failures, skipped in counts)


def classify(returncode: int, passed: int, timed_out: bool = False) -> str:
    """Return the result of a scenario. A scenario that ended without errors but ran no test has proven nothing."""
    if timed_out:
        return "FAILED: not done in time"
    if returncode:
        return f"FAILED: exit code {returncode}"
    return f"passed ({passed} tests)" if passed > 0 else "FAILED: verified nothing"


def current(log: str) -> str:
    """Return the present step of a scenario from its log: Molecule's action and the task in it."""
    action = list(ACTION.finditer(log))
    if not action:
        return "starting"
    tasks = TASK.findall(log, action[-1].end())
    return f"{action[-1].group(1)}, {tasks[-1]}" if tasks else action[-1].group(1)


def table(scenarios: list[Scenario]) -> str:
    """Return the results as aligned lines, followed by a line that counts them."""
    width = max([len("scenario"), *(len(item.name) for item in scenarios)])
    lines = [f"{'scenario':<{width}}  seconds  result"]
    lines += [f"{item.name:<{width}}  {item.seconds:>7.0f}  {item.result}" for item in scenarios]
    passed = sum(item.result.startswith("passed") for item in scenarios)
    return "\n".join([*lines, "", f"{passed} passed, {len(scenarios) - passed} failed"])


def failures(log: str) -> list[str]:
    """Return the last lines of a log with failures, each cut to a readable width, with the failed task."""
    return [" ".join(line.split())[:WIDTH] for line in FAILURE.findall(log) if "...ignoring" not in line][-MOST_FAILURES:]


def run_all(
    names: list[str],
    done: list[Scenario] | None = None,
    ready: Callable[[str], bool] = lambda _name: True,
    others: Callable[[], int] = lambda: 0,
) -> None:
    """Run the scenarios, print their present steps from time to time, and print a table at the end.

    :param names: The scenarios, in the order in which they start.
    :param done: Collects the scenarios that have ended.
    :param ready: Tells whether a scenario can start. Until then, those after it do. If it raises an error, all scenarios stop.
    :param others: Tells how many scenarios cannot run because of other work. If it raises an error, all scenarios stop.
    :raises TestbedError: If there is no scenario, or one does not pass.
    """
    if not names:
        raise TestbedError("There is no scenario to run.")
    LOGS.mkdir(exist_ok=True)
    waiting = [Scenario(name) for name in names]
    running: list[Scenario] = []
    done = [] if done is None else done
    begun, beat = time.monotonic(), time.monotonic()
    try:
        while waiting or running:
            able, instead = [item for item in waiting if ready(item.name)], others()
            while able and (not running or len(running) < slots(available_memory(), instead)):
                waiting.remove(able[0])
                running.append(_start(able.pop(0)))
            time.sleep(0.5)
            for item in [item for item in running if _ended(item)]:
                running.remove(item)
                done.append(item)
                _tell(item)
            if running and time.monotonic() - beat >= HEARTBEAT:
                beat = time.monotonic()
                at = "; ".join(f"{item.name}: {current(_plain(item.log))}" for item in running)
                say(f"    {beat - begun:4.0f} s  {at}" + (f"  ({len(waiting)} to come)" if waiting else ""))
    finally:
        for item in running:
            _stop(item)
    failed = [item for item in done if not item.result.startswith("passed")]
    for item in failed:
        say("\n".join([f"\n{item.name} failed:", *failures(_plain(item.log))]))
    say(f"\n{table(done)}")
    if failed:
        raise TestbedError("")


def _start(item: Scenario) -> Scenario:
    """Start Molecule for a scenario, as the leader of its own process group."""
    say(f"==> {item.name}: molecule test (log: {item.log.relative_to(ROOT)})")
    for left in (item.report, item.findings):
        left.unlink(missing_ok=True)
    with item.log.open("wb") as output:
        item.process = subprocess.Popen(
            _molecule("test", item),
            cwd=ROOT,
            env=_settings(item),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    item.started = time.monotonic()
    return item


def _molecule(action: str, item: Scenario) -> list[str]:
    return [str(BIN / "molecule"), action, "--scenario-name", item.name]


def _settings(item: Scenario) -> dict[str, str]:
    """Return Molecule's environment: no colours in a log, its state in the checkout, a report of its tests, and a quick way into hosts."""
    plain = {"NO_COLOR": "1", "PY_COLORS": "0", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    folder = ROOT / ".ansible" / "molecule" / item.name
    state = {"MOLECULE_EPHEMERAL_DIRECTORY": str(folder), client.FOLDER: str(folder / "entry")}
    settings = environment({**SELDOM, **SHARE, **plain, **state, "PYTEST_ADDOPTS": f"--junitxml={item.report}"})
    return {**settings, "PATH": os.pathsep.join([str(ENTRY), settings["PATH"]])}


def _ended(item: Scenario) -> bool:
    """Record the result of a scenario, if it has ended or takes too long."""
    assert item.process
    item.seconds = time.monotonic() - item.started
    timed_out = item.seconds > TIMEOUTS.get(item.name, TIMEOUT)
    if item.process.poll() is None and not timed_out:
        return False
    _stop(item)
    item.result = classify(item.process.wait(), tests_passed(item.report), timed_out)
    return True


def _stop(item: Scenario) -> None:
    """Stop a scenario that still runs, and remove its hosts."""
    assert item.process
    if item.process.poll() is None:
        os.killpg(item.process.pid, signal.SIGTERM)
        item.process.wait()
        with item.log.open("ab") as output:
            subprocess.run(_molecule("destroy", item), cwd=ROOT, env=_settings(item), stdout=output, stderr=output, check=False)


def _tell(item: Scenario) -> None:
    """Print the result of a scenario with its measured values, and the end of its log if it did not pass."""
    say(f"<== {item.name}: {item.result}, {item.seconds:.0f} s")
    if item.findings.exists():
        say(item.findings.read_text())
    if not item.result.startswith("passed"):
        lines = _plain(item.log).splitlines()[-TAIL:]
        say("\n".join([f"----- the last {len(lines)} lines of {item.log.relative_to(ROOT)}", *lines, "-----"]))


def _plain(log: Path) -> str:
    """Return a log's text without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace"))
