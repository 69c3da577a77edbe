#!/usr/bin/env python3
"""Measure the running demo: a run of site.yml without changes, a start of the tracking server, and the transfer of an artifact.

On a machine with other work, absolute times have little value: compare the values of one call with each other.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
CONTAINER = "atlas-mlflow-demo-mlflow"


def ansible(*arguments: str) -> str:
    """Run an Ansible tool in the checkout, and return its output.

    :raises subprocess.CalledProcessError: If it fails.
    """
    settings = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    path = os.pathsep.join([str(BIN), os.environ["PATH"]])
    command = [str(BIN / arguments[0]), *arguments[1:]]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **settings, "PATH": path}, stdout=subprocess.PIPE, text=True, check=True).stdout


def unchanged_run(hosts: Path) -> float:
    """Return the seconds of a run of site.yml that changes nothing.

    :raises SystemExit: If the run changes something, because the value would then have another meaning.
    """
    begun = time.monotonic()
    printed = ansible("ansible-playbook", "-i", str(hosts), "site.yml")
    seconds = time.monotonic() - begun
    if changed := [line for line in printed.splitlines() if re.search(r"changed=[1-9]", line)]:
        raise SystemExit(f"This run changed something: {changed}")
    return seconds


def probe(hosts: Path, **options: object) -> dict[str, Any]:
    """Return the facts of a probe on the tracking server's host."""
    arguments = json.dumps({"url": "http://127.0.0.1:5001", **options})
    printed = ansible("ansible", "mlflow_servers", "-i", str(hosts), "--become", "-m", "atlas.mlflow.mlflow_probe", "-a", arguments)
    facts: dict[str, Any] = json.loads(printed[printed.index("{") :])
    return facts


def start(hosts: Path) -> float:
    """Restart the tracking server, and return the seconds until it answers."""
    begun = time.monotonic()
    subprocess.run(["docker", "exec", CONTAINER, "systemctl", "restart", "mlflow-server.service"], check=True)
    probe(hosts, wait=120, round_trip=False)
    return time.monotonic() - begun


def show(what: str, figures: list[float], unit: str) -> None:
    """Print the minimum, the median and the maximum of some values."""
    print(f"{what:<44} {min(figures):8.1f} {statistics.median(figures):8.1f} {max(figures):8.1f}  {unit}", flush=True)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="how often each thing is measured")
    runs = parser.parse_args().runs
    hosts = next(iter((ROOT / ".demo").glob("*/hosts.yml")), None)
    if hosts is None:
        print("There is no demo to measure. Make one: make up", file=sys.stderr)
        return 1
    print(f"{'demo ' + hosts.parent.name:<44} {'min':>8} {'median':>8} {'max':>8}")
    show("site.yml, nothing to do", [unchanged_run(hosts) for _ in range(runs)], "s")
    show("restart of the server to its first answer", [start(hosts) for _ in range(runs)], "s")
    size = 64 * 1024**2
    trips = [probe(hosts, artifact_bytes=size, timeout=60)["round_trip"] for _ in range(runs)]
    for way in ("upload", "download"):
        show(f"{way} of 64 MiB through the server", [size / 1024**2 / trip[f"{way}_seconds"] for trip in trips], "MiB/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
