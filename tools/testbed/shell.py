"""Shared functions of the other modules: paths, running commands, short requests, and the duration of a step."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "atlas-mlflow"

#: The environment in which Python collects garbage more seldom, for Ansible's processes of tests.
SELDOM = {"PYTHONPATH": str(Path(__file__).parent / "seldom")}

#: The environment in which the runs of Ansible in a scenario share modules, see `callback/modules_kept.py`.
SHARE = {"ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).parent / "callback")}

#: A folder with a quick `docker exec`, which stands first in the PATH of a scenario's processes, see `entry/client.py`.
ENTRY = Path(__file__).parent / "entry"

#: Seconds between two messages about a running step.
HEARTBEAT = 30

#: Former names of scenarios and topologies, with their present names.
RENAMED = {"full_stack": "one_host", "default": "embedded"}

Argv = Sequence["str | Path"]


class TestbedError(Exception):
    """Something that the user must know or fix. The text says what."""

    __test__ = False


def known(kind: str, names: Iterable[str], present: Iterable[str]) -> None:
    """Refuse unknown names, and print the present name for a former one.

    :param kind: The kind of the names: "scenario" or "topology".
    :raises TestbedError: If there is no such scenario or topology.
    """
    there = sorted(present)
    for name in sorted(set(names) - set(there)):
        renamed = RENAMED.get(name)
        raise TestbedError(f"There is no {kind} {name}. " + (f"It is called {renamed} now." if renamed in there else f"There are {', '.join(there)}."))


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a tool of .venv: its own tools first in the path, and this checkout's settings for Ansible."""
    path = os.pathsep.join([str(BIN), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return {**os.environ, "PATH": path, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), **(extra or {})}


def which(name: str) -> str | None:
    """Return the path of an executable. Folders for system administration are searched too."""
    return shutil.which(name, path=environment()["PATH"])


def ask(command: Argv, timeout: float = 30) -> str | None:
    """Return the output of a command without blanks at both ends, or None if it fails, is missing or takes longer than ``timeout`` seconds."""
    try:
        done = subprocess.run(_words(command), capture_output=True, text=True, timeout=timeout, env=environment(), cwd=ROOT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def run(command: Argv, quiet: bool = True, **extra: str) -> None:
    """Run a command in the checkout.

    :param quiet: Whether to show its output only if it fails, and not while it runs.
    :param extra: Additional environment variables.
    :raises TestbedError: If it fails or is missing.
    """
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if quiet else {}
    try:
        done = subprocess.run(_words(command), cwd=ROOT, env=environment(extra), stdin=subprocess.DEVNULL, text=True, errors="replace", check=False, **pipes)  # type: ignore[call-overload]
    except FileNotFoundError as error:
        raise TestbedError(f"`{error.filename}` is not installed.") from error
    if done.returncode:
        said = f"{done.stdout.rstrip()}\n" if quiet else ""
        raise TestbedError(f"{said}`{' '.join(_words(command)[:6])} ...` ended with {done.returncode}.")


def as_root(command: Argv) -> list[str]:
    """Return the command for root, with sudo if this user is not root."""
    return [*([] if os.geteuid() == 0 else ["sudo"]), *_words(command)]


def apt_install(*packages: str) -> None:
    """Install packages of the distribution.

    :raises TestbedError: If there is no apt, or it fails.
    """
    if not which("apt-get"):
        raise TestbedError(f"Needs {', '.join(packages)}, and there is no apt-get to install it with. Install it by hand.")
    say(f"installs {', '.join(packages)} with apt-get")
    run(as_root(["apt-get", "update"]))
    install = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    run(as_root(["env", "DEBIAN_FRONTEND=noninteractive", *install]))


def check_sha256(path: Path, pin: Mapping[str, str], pins: str) -> None:
    """Compare a downloaded file with its pin.

    :param pin: The ``url`` and the ``sha256``.
    :param pins: The file that has the pin, for the message.
    :raises TestbedError: If the file is not the pinned one.
    """
    if (seen := hashlib.sha256(path.read_bytes()).hexdigest()) != pin["sha256"]:
        raise TestbedError(f"{pin['url']} has the sha256 {seen}, and {pins} says {pin['sha256']}.")


def say(text: str) -> None:
    """Print a line without buffering, so that a log is always up to date."""
    print(text, flush=True)


class Progress:
    """How far a step is: a bar on a terminal, and words in the lines that say from time to time that the step continues."""

    WIDTH = 30

    def __init__(self, title: str) -> None:
        """Take the title of the step."""
        self._title = title
        self._drawn = ""
        self.words = "goes on"

    def share(self, done: int, total: int, unit: str = "") -> None:
        """Show how much is done.

        :param total: All there is to do, 0 if that is not known.
        :param unit: The word behind the numbers.
        """
        if total:
            full = self.WIDTH * min(done, total) // total
            self.words = f"[{'#' * full}{'.' * (self.WIDTH - full)}] {100 * min(done, total) // total} % of {total} {unit}".rstrip()
        else:
            self.words = f"{done} {unit}".rstrip()
        if sys.stdout.isatty() and self.words != self._drawn:
            self._drawn = self.words
            print(f"\r    {self._title}: {self.words}", end="", flush=True)

    def end(self) -> None:
        """End the line of the bar."""
        if self._drawn:
            print(flush=True)


@contextlib.contextmanager
def step(title: str, streams: bool = False) -> Iterator[Progress]:
    """Print that a step starts, print from time to time that it continues, and at its end its seconds.

    The step may say how far it is.

    :param streams: Whether the output of the step shows that it continues.
    """
    say(f"==> {title}")
    started, progress = time.monotonic(), Progress(title)
    done = threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT):
            say(f"    {title}: {progress.words}, {time.monotonic() - started:.0f} s")

    heart = threading.Thread(target=beat, daemon=True)
    if not streams:
        heart.start()
    try:
        yield progress
    finally:
        done.set()
        progress.end()
    say(f"    {title}: {time.monotonic() - started:.1f} s")


def wait_for_answer(url: str, seconds: float) -> bool:
    """Wait for a successful answer, asked for without a proxy, and return whether it came in time.

    :param seconds: How long to wait.
    """
    opener, deadline = urllib.request.build_opener(urllib.request.ProxyHandler({})), time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), opener.open(url, timeout=10) as answer:
            answer.read()
            return True
        time.sleep(0.2)
    return False


def run_command_line(parser: argparse.ArgumentParser) -> int:
    """Run the function `do` of the parsed arguments with them, and return the exit status of the program. Print what the user must know.

    :param parser: Sets `do` for each command.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    given = parser.parse_args()
    try:
        given.do(given)
    except TestbedError as error:
        if str(error):
            print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _words(command: Argv) -> list[str]:
    return [str(word) for word in command]
