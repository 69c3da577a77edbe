"""Measure the start of a unit to its first answer, and an import alone, in turns. Runs on the host, as root.

Arguments: the unit, the URL, the interpreter, the modules to import (with commas), the number of rounds. Prints seconds as JSON.
"""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable

PATIENCE = 120

unit, url, python, modules, rounds = sys.argv[1:]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def seconds_of(action: Callable[[], object]) -> float:
    """Return the seconds that a function takes."""
    begun = time.monotonic()
    action()
    return time.monotonic() - begun


def start() -> None:
    """Start the unit, and wait for its first answer."""
    subprocess.run(["systemctl", "start", "--no-block", unit], check=True)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            opener.open(url, timeout=10).read()
        except OSError:
            time.sleep(0.02)
        else:
            return
    sys.exit(f"{unit} does not answer at {url}")


found: dict[str, list[float]] = {"start": [], "import": []}
for _ in range(int(rounds)):
    subprocess.run(["systemctl", "stop", unit], check=True)
    found["import"].append(seconds_of(lambda: subprocess.run([python, "-I", "-c", f"import {modules}"], check=True)))
    found["start"].append(seconds_of(start))
print(json.dumps(found))
