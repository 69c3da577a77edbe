"""The checks that need no host: lint with the syntax of all playbooks, format, types, unit tests, locks, and the built collection."""

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
NOT_SHIPPED = (".venv", ".git/", ".demo", ".logs", ".ansible/", "collections/", ".cache", "molecule/", "tests/unit/", "tests/stack/", "tools/")


def commands() -> dict[str, list[str]]:
    """Return the checks that are a command, by what they are called."""
    inventories = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "inventories").glob("*/hosts.yml"))
    listed = {f"inventory {name}": [str(BIN / "ansible-inventory"), "--list", "-i", name] for name in inventories}
    return {
        "unit tests": [str(BIN / "python"), "-m", "pytest", "-q", "tests/unit"],
        "ansible-lint": [str(BIN / "python"), "-m", "tools.lint", "--offline", "--profile", "production", "-q"],
        "ruff": [str(BIN / "ruff"), "check", "--no-cache", "--quiet", "--output-format=concise", "."],
        "format": [str(BIN / "ruff"), "format", "--no-cache", "--quiet", "--diff", "."],
        "types": [str(BIN / "mypy")],
        "READMEs of the roles": [str(BIN / "python"), "tools/readmes.py", "--check"],
        "locks": [str(BIN / "python"), "tools/locks.py", "--check"],
        **listed,
    }


def run_all() -> None:
    """Run the checks, two at a time and the longest first, and show what those that fail said.

    :raises TestbedError: when one fails.
    """
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        checks = {pool.submit(_collection): "built collection"}
        checks |= {pool.submit(_command, argv): name for name, argv in commands().items()}
        failed = []
        for check in concurrent.futures.as_completed(checks):
            complaint, last, seconds = check.result()
            say(f"    {checks[check]}: {'FAILED' if complaint else 'ok'}, {seconds:.1f} s{last}")
            if complaint:
                failed.append(checks[check])
                say(complaint)
    if failed:
        raise TestbedError(f"Failed: {', '.join(failed)}")


def _command(argv: list[str], folder: Path = ROOT, **extra: str) -> tuple[str, str, float]:
    """Run a command, and return what it said if it failed, its last line if that is a count of tests, and its seconds.

    :param argv: The command.
    :param folder: Where it runs.
    :param extra: More of its environment.
    """
    started = time.monotonic()
    done = subprocess.run(
        argv,
        cwd=folder,
        check=False,
        # Of an inventory that it cannot read, Ansible says so and goes on without, unless told otherwise.
        env=environment({"NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1", "PY_COLORS": "0", "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true", **extra}),
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


def _collection() -> tuple[str, str, float]:
    """Build the collection, and check what is in it as Galaxy and Ansible do."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        complaint = _command([str(BIN / "ansible-galaxy"), "collection", "build", "--output-path", name, str(ROOT)])[0] or _built(folder)
    return complaint, "", time.monotonic() - started


def _built(folder: Path) -> str:
    """Return what is wrong with the collection whose archive is in a folder, or nothing."""
    (archive,) = folder.glob("*.tar.gz")
    unpacked = folder / "ansible_collections" / "atlas" / "mlflow"
    with tarfile.open(archive) as content:
        complaint = contents(content.getnames())
        content.extractall(unpacked, filter="data")
    # Each rule of ansible-lint is asked on its own, for the whole checkout.
    imported = _command([str(BIN / "python"), "-m", "galaxy_importer.main", str(archive)], folder, GALAXY_IMPORTER_RUN_ANSIBLE_LINT="false")[0]
    sanity = _command([str(BIN / "python"), "-m", "tools.sanity"], unpacked, PYTHONPATH=str(ROOT))[0]
    return "\n".join(filter(None, (complaint, imported, sanity)))


def contents(names: list[str]) -> str:
    """Return what is wrong with the files of a built collection, or nothing."""
    missing = [name for name in SHIPPED if name not in names]
    stray = [name for name in names if name.startswith(NOT_SHIPPED)]
    complaints = [f"It lacks {', '.join(missing)}."] * bool(missing) + [f"It has {', '.join(stray[:5])}."] * bool(stray)
    return " ".join(complaints)
