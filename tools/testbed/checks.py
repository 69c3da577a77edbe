"""The checks that need no host: lint with the syntax of all playbooks, types, unit tests, locks, and that the collection builds."""

from __future__ import annotations

import concurrent.futures
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

from .shell import BIN, ROOT, TestbedError, environment, say

#: Parts without which the built collection is none, and the beginnings of names that a checkout has and a collection has not.
SHIPPED = ("roles/mlflow_server/tasks/main.yml", "plugins/modules/mlflow_probe.py", "playbooks/site.yml", "MANIFEST.json")
NOT_SHIPPED = (".venv", ".git/", ".demo", ".logs", ".ansible/", "collections/", ".cache")


def commands() -> dict[str, list[str]]:
    """Return the checks that are a command, by what they are called."""
    inventories = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "inventories").glob("*/hosts.yml"))
    listed = {f"inventory {name}": [str(BIN / "ansible-inventory"), "--list", "-i", name] for name in inventories}
    return {
        "ansible-lint": [str(BIN / "python"), "-m", "tools.lint", "--offline", "--profile", "production", "-q"],
        "unit tests": [str(BIN / "python"), "-m", "pytest", "-q", "tests/unit"],
        "types": [str(BIN / "mypy")],
        "locks": [str(BIN / "python"), "tools/locks.py", "--check"],
        **listed,
    }


def run_all() -> None:
    """Run the checks, two at a time, and show what those that fail said.

    :raises TestbedError: when one fails.
    """
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        checks = {pool.submit(_command, argv): name for name, argv in commands().items()}
        checks[pool.submit(_build)] = "collection builds"
        failed = []
        for check in concurrent.futures.as_completed(checks):
            complaint, last, seconds = check.result()
            say(f"    {checks[check]}: {'FAILED' if complaint else 'ok'}, {seconds:.1f} s{last}")
            if complaint:
                failed.append(checks[check])
                say(complaint)
    if failed:
        raise TestbedError(f"Failed: {', '.join(failed)}")


def _command(argv: list[str]) -> tuple[str, str, float]:
    """Run a command, and return what it said if it failed, its last line if that is a count of tests, and its seconds."""
    started = time.monotonic()
    done = subprocess.run(
        argv,
        cwd=ROOT,
        # Of an inventory that it cannot read, Ansible says so and goes on without, unless told otherwise.
        env=environment({"NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1", "PY_COLORS": "0", "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true"}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    said = done.stdout.rstrip()
    last = said.splitlines()[-1].strip("= ") if said else ""
    complaint = "" if done.returncode == 0 else said or f"exit code {done.returncode}"
    return complaint, f"\n{last}" if " passed" in last else "", time.monotonic() - started


def _build() -> tuple[str, str, float]:
    """Build the collection, and look at what is in it."""
    with tempfile.TemporaryDirectory() as folder:
        result = _command([str(BIN / "ansible-galaxy"), "collection", "build", "--output-path", folder, str(ROOT)])
        if not result[0]:
            (archive,) = Path(folder).glob("*.tar.gz")
            with tarfile.open(archive) as content:
                result = (contents(content.getnames()), *result[1:])
    return result


def contents(names: list[str]) -> str:
    """Return what is wrong with the files of a built collection, or nothing."""
    missing = [name for name in SHIPPED if name not in names]
    stray = [name for name in names if name.startswith(NOT_SHIPPED)]
    complaints = [f"It lacks {', '.join(missing)}."] * bool(missing) + [f"It has {', '.join(stray[:5])}."] * bool(stray)
    return " ".join(complaints)
