"""A client that logs runs without a pause, faults under it, and the comparison of what was acknowledged with what is there.

The tests of a scenario share one writer and run in their order. Each adds a line to the table that the last one prints.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testinfra.host import Host

from stack.support import ROOT, authority, host_of, hosts_of

HERE = Path(__file__).parent
FOLDER = "/var/lib/writing"
JOURNAL = f"{FOLDER}/journal"
AUTHORITY = f"{FOLDER}/authority.pem"
PYTHON = "/opt/atlas-mlflow-demo/venv/bin/python"
#: Seconds that the stack may take to serve again.
PATIENCE = 400
#: The variables with which Python's own library and requests trust the scenario's authority.
TRUST = f"SSL_CERT_FILE={AUTHORITY} REQUESTS_CA_BUNDLE={AUTHORITY}"


@dataclass
class Fault:
    """A fault, and what it did to the client."""

    name: str
    healed_by: str
    #: When it was made, when it was mended or, where nobody does that, made, and when the first run after that was acknowledged.
    begun: float
    mended: float
    served: float = 0
    failed: list[dict[str, Any]] = field(default_factory=list)
    #: Seconds of the longest time in which no request was acknowledged.
    pause: float = 0

    @property
    def line(self) -> str:
        """Return its line of the table."""
        waited = max([entry["at"] - entry["began"] for entry in self.failed], default=0)
        return f"{self.name:<62} {len(self.failed):>6} {waited:>7.1f} {self.pause:>7.1f} {self.served - self.mended:>7.1f}  {self.healed_by}"


@dataclass
class Stack:
    """The stack with its writer, and what it has survived so far."""

    client: Host
    uri: str
    faults: list[Fault] = field(default_factory=list)

    def entries(self, since: float) -> list[dict[str, Any]]:
        """Return the journal's lines that were written since a moment."""
        lines = map(json.loads, self.client.check_output("tail --lines 2000 %s", JOURNAL).splitlines())
        return [line for line in lines if line["at"] >= since]

    def pause(self, since: float) -> float:
        """Return the seconds of the longest time without an acknowledged request that ended after a moment."""
        ends = [entry["at"] for entry in self.entries(0) if "done" in entry]
        return max((end - former for former, end in itertools.pairwise(ends) if end >= since), default=0)

    def failed(self, since: float) -> list[dict[str, Any]]:
        """Return the requests that failed since a moment."""
        return [entry for entry in self.entries(since) if "failed" in entry]

    def wait_failed(self, since: float, words: str = "") -> None:
        """Wait until a request has failed since a moment, with some words in its error."""
        wait_for(lambda: any(words in entry["error"] for entry in self.failed(since)), lambda: f"none failed with {words}: {self.entries(since)[-5:]}")

    def wait_served(self, since: float) -> float:
        """Wait until a run that was begun after a moment is acknowledged with all that belongs to it, and return when that was."""
        served: list[float] = []

        def look() -> bool:
            served.extend(entry["at"] for entry in self.entries(since) if entry.get("done") == "whole" and entry["began"] >= since)
            return bool(served)

        wait_for(look, lambda: f"no run was acknowledged; of the last requests {self.entries(0)[-5:]}")
        return served[0]

    def check(self, since: float, journal: str = JOURNAL) -> dict[str, Any]:
        """Compare what was acknowledged since a moment with what the server has."""
        return json.loads(self.client.check_output(f"{TRUST} python3 %s %s %s --since %s", f"{FOLDER}/checker.py", self.uri, journal, str(since)))

    @contextmanager
    def survives(self, name: str, healed_by: str = "itself") -> Iterator[Fault]:
        """Have something done to the stack, and see that it serves again and has lost nothing of what it acknowledged."""
        self.wait_served(time.time() - 2)
        fault = Fault(name, healed_by, begun=time.time(), mended=time.time())
        yield fault
        fault.served = self.wait_served(time.time())
        fault.failed, fault.pause = self.failed(fault.begun), self.pause(fault.begun)
        self.faults.append(fault)
        print(fault.line, sorted({entry["error"] for entry in fault.failed}), sep="\n")
        checked = self.check(fault.begun)
        if checked["missing"]:
            log = f"journalctl --unit mlflow-server --no-pager --output cat --since @{int(fault.begun)} | grep --invert-match INFO: | tail --lines 60"
            said = [host_of("mlflow_servers", number).run(log).stdout for number in range(len(hosts_of("mlflow_servers")))]
            print(*checked["missing"], *said, sep="\n")
        assert checked["runs"] > 0 and checked["missing"] == [], checked


def wait_for(condition: Callable[[], Any], otherwise: Callable[[], str]) -> None:
    """Wait until a condition holds, and fail with what is said otherwise."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.3)


def start(client: Host, uri: str, retries: int = 0) -> Stack:
    """Start a writer on the client host, and return the stack that it writes to.

    :param uri: The tracking server's.
    :param retries: How often MLflow's client repeats a request that failed.
    """
    client.check_output("mkdir --parents %s", FOLDER)
    for script in ("writer.py", "checker.py"):
        subprocess.run(["docker", "cp", str(HERE / script), f"{client.backend.name}:{FOLDER}/{script}"], check=True, capture_output=True)
    # Without an authority of the scenario's own, that of the system.
    client.check_output("printf '%%s' %s > %s; test -s %s || cp /etc/ssl/certs/ca-certificates.crt %s", authority(), AUTHORITY, AUTHORITY, AUTHORITY)
    given = {"GIT_PYTHON_REFRESH": "quiet", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": retries, **dict(pair.split("=") for pair in TRUST.split())}
    settings = " ".join(f"--setenv={name}={value}" for name, value in given.items())
    client.check_output(f"systemd-run --unit=writer {settings} %s %s %s %s", PYTHON, f"{FOLDER}/writer.py", uri, JOURNAL)
    wait_for(lambda: client.file(JOURNAL).exists, lambda: client.check_output("journalctl -u writer --no-pager --lines 30"))
    return Stack(client, uri)


def finish(stack: Stack, name: str) -> tuple[str, list[str]]:
    """End the writer, compare all that it was ever told with what is there, write the table of all faults to the scenario's findings, and return it.

    :param name: The scenario's.
    :return: The table, and what is missing.
    """
    stack.client.check_output("systemctl stop writer.service")
    checked = stack.check(0)
    failed = sum(len(fault.failed) for fault in stack.faults)
    title = f"{'fault':<62} {'failed':>6} {'longest':>7} {'pause':>7} {'seconds':>7}  healed by"
    total = f"{checked['runs']} runs were acknowledged and {failed} requests failed, which the client was told. Missing: {len(checked['missing'])}."
    legend = (
        "failed: requests, each an error that the client saw; longest: the longest of them; pause: the longest time without an acknowledged request; "
        "seconds: from what was done, or undone, to a whole run."
    )
    table = "\n".join([title, *(fault.line for fault in stack.faults), "", legend, total, ""])
    (ROOT / ".logs").mkdir(exist_ok=True)
    (ROOT / ".logs" / f"{name}.txt").write_text(table)
    return table, checked["missing"]
