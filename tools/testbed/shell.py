"""What the other modules share: paths, running commands, asking quickly, telling how long a step took."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "atlas-mlflow"

#: Seconds between two signs of life of what is under way.
HEARTBEAT = 30

#: Former names of scenarios and topologies, and their names.
RENAMED = {"full_stack": "one_host", "default": "embedded"}

Argv = Sequence["str | Path"]


class TestbedError(Exception):
    """Something that the user has to know or mend; the text says what."""

    __test__ = False


def known(kind: str, names: Iterable[str], present: Iterable[str]) -> None:
    """Refuse names that nothing has, and tell the name of what had another one formerly.

    :param kind: What the names are of: "scenario" or "topology".
    :raises TestbedError: when there is no such scenario or topology.
    """
    there = sorted(present)
    for name in sorted(set(names) - set(there)):
        renamed = RENAMED.get(name)
        raise TestbedError(f"There is no {kind} {name}. " + (f"It is called {renamed} now." if renamed in there else f"There are {', '.join(there)}."))


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a tool of .venv: its own tools first on the path, this checkout's settings for Ansible."""
    path = os.pathsep.join([str(BIN), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return {**os.environ, "PATH": path, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), **(extra or {})}


def which(name: str) -> str | None:
    """Return the path of an executable, system administration's folders included."""
    return shutil.which(name, path=environment()["PATH"])


def ask(command: Argv, timeout: float = 30) -> str | None:
    """Return what a command prints, stripped, or None when it fails, is missing or takes longer than ``timeout`` seconds."""
    try:
        done = subprocess.run(_words(command), capture_output=True, text=True, timeout=timeout, env=environment(), cwd=ROOT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def run(command: Argv, quiet: bool = True, **extra: str) -> None:
    """Run a command from the checkout.

    :param quiet: Show what it says only when it fails; otherwise as it comes.
    :param extra: More of its environment.
    :raises TestbedError: when it fails or is missing.
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
    """Return the command as root runs it, by sudo where this is somebody else."""
    return [*([] if os.geteuid() == 0 else ["sudo"]), *_words(command)]


def apt_install(*packages: str) -> None:
    """Install packages of the distribution.

    :raises TestbedError: where there is no apt, or it fails.
    """
    if not which("apt-get"):
        raise TestbedError(f"Needs {', '.join(packages)}, and there is no apt-get to install it with. Install it by hand.")
    say(f"installs {', '.join(packages)} with apt-get")
    run(as_root(["apt-get", "update"]))
    install = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    run(as_root(["env", "DEBIAN_FRONTEND=noninteractive", *install]))


def say(text: str) -> None:
    """Print a line at once, so that a log that is followed is never behind."""
    print(text, flush=True)


@contextlib.contextmanager
def step(title: str, streams: bool = False) -> Iterator[None]:
    """Tell that a step begins, every while that it goes on, and after it how many seconds it took.

    :param streams: What it does shows that it goes on.
    """
    say(f"==> {title}")
    started = time.monotonic()
    done = threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT):
            say(f"    {title}: goes on, {time.monotonic() - started:.0f} s")

    heart = threading.Thread(target=beat, daemon=True)
    if not streams:
        heart.start()
    try:
        yield
    finally:
        done.set()
    say(f"    {title}: {time.monotonic() - started:.1f} s")


def _words(command: Argv) -> list[str]:
    return [str(word) for word in command]
