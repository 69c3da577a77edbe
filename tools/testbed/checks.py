"""The checks that need no host: lint with the syntax of all playbooks, format, types, unit tests, locks, and the built collection."""

from __future__ import annotations

import concurrent.futures
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .shell import BIN, ROOT, SELDOM, TestbedError, environment, say

#: Parts that the built collection must contain, and the beginnings of names that only a checkout has.
SHIPPED = ("roles/mlflow_server/tasks/main.yml", "plugins/modules/mlflow_probe.py", "playbooks/site.yml", "MANIFEST.json")
NOT_SHIPPED = (".venv", ".git/", ".demo", ".logs", ".ansible/", "collections/", ".cache", "molecule/", "tests/unit/", "tests/stack/", "tools/")
#: The name of the folders with generated secrets, which are next to an inventory.
SECRETS = ".secrets"

#: The path of the collection in a folder of collections.
PLACE = Path("ansible_collections/atlas/mlflow")

#: The slowest checks, in the order of their start. The other checks follow.
LONGEST = (
    "unit tests of the modules",
    "unit tests of the roles",
    "unit tests of the plugins",
    "unit tests of the playbooks",
    "sanity, pylint",
    "ansible-lint",
    "unit tests of the rest",
    "sanity, the rest",
    "types",
    "import into Galaxy",
)
#: The environment in which Python keeps what it has compiled, whatever the environment of `make` says: many processes of the checks import the same files.
KEEP = {"PYTHONDONTWRITEBYTECODE": ""}
#: The number of checks that run at a time: three more than CI has cores. The unit tests of the modules mostly wait for a time limit, others sometimes do.
AT_ONCE = 5


def commands() -> dict[str, list[str]]:
    """Return the checks of the checkout, by their names."""
    inventories = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "inventories").glob("*/hosts.yml"))
    pytest = [str(BIN / "python"), "-m", "pytest", "-q"]
    return {
        "unit tests of the modules": [*pytest, "tests/unit/plugins/modules"],
        "unit tests of the plugins": [*pytest, "tests/unit/plugins", "--ignore=tests/unit/plugins/modules"],
        "unit tests of the roles": [*pytest, "tests/unit/roles"],
        "unit tests of the playbooks": [*pytest, "tests/unit/playbooks"],
        "unit tests of the rest": [*pytest, "tests/unit", *(f"--ignore=tests/unit/{folder}" for folder in ("plugins", "roles", "playbooks"))],
        "ansible-lint": [str(BIN / "python"), "-m", "tools.lint", "--offline", "--profile", "production", "-q"],
        "types": [str(BIN / "mypy")],
        "ruff": [str(BIN / "ruff"), "check", "--no-cache", "--quiet", "--output-format=concise", "."],
        "format": [str(BIN / "ruff"), "format", "--no-cache", "--quiet", "--diff", "."],
        "READMEs of the roles": [str(BIN / "python"), "tools/readmes.py", "--check"],
        "locks": [str(BIN / "python"), "tools/locks.py", "--check"],
        "changelog": [str(BIN / "python"), "-m", "tools.changelog"],
        "workflows": [str(BIN / "python"), "-m", "tools.schemas"],
        "inventories": [str(BIN / "ansible-inventory"), "--list", *(word for name in inventories for word in ("-i", name))],
    }


def run_all() -> None:
    """Run the checks in parallel, the slowest first, and show the output of those that fail.

    :raises TestbedError: If one fails.
    """
    with tempfile.TemporaryDirectory() as name, concurrent.futures.ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        folder = Path(name)
        built = _build(folder)
        _tell("build of the collection", *built)
        failed = ["build of the collection"] if built[0] else []
        # Without a built collection, its checks are skipped without a message.
        given: dict[str, tuple[Any, ...]] = {name: (argv,) for name, argv in commands().items()} | ({} if failed else of_collection(folder))
        checks = {pool.submit(_command, *given[name]): name for name in sorted(given, key=_rank)}
        for check in concurrent.futures.as_completed(checks):
            _tell(checks[check], *check.result())
            if check.result()[0]:
                failed.append(checks[check])
    if failed:
        raise TestbedError(f"Failed: {', '.join(failed)}")


def _rank(name: str) -> int:
    """Return the place of a check in the order."""
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)


def _tell(name: str, complaint: str, last: str, seconds: float) -> None:
    """Print the result of a check, and its output if it failed."""
    say(f"    {name}: {'FAILED' if complaint else 'ok'}, {seconds:.1f} s{last}")
    if complaint:
        say(complaint)


def _command(argv: list[str], folder: Path = ROOT, extra: Mapping[str, str] | None = None) -> tuple[str, str, float]:
    """Run a command, and return its output if it failed, its last line if that is a count of tests, and its seconds.

    :param argv: The command.
    :param folder: Its working directory.
    :param extra: Additional environment variables.
    """
    started = time.monotonic()
    done = subprocess.run(
        argv,
        cwd=folder,
        check=False,
        # By default, Ansible only warns about an inventory that it cannot read, and continues without it.
        env=environment(
            {"NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1", "PY_COLORS": "0", "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true", **SELDOM, **KEEP, **(extra or {})}
        ),
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


def of_collection(folder: Path) -> dict[str, tuple[list[str], Path, dict[str, str]]]:
    """Return the checks of the collection that ``_build`` has put into a folder, with the folder and the environment of each.

    Each of the two parts of `ansible-test sanity` has its own copy, because it writes there.
    """
    (archive,) = folder.glob("*.tar.gz")
    sanity, here = [str(BIN / "python"), "-m", "tools.sanity"], {"PYTHONPATH": str(ROOT)}
    return {
        "sanity, pylint": ([*sanity, "--test", "pylint"], folder / "one" / PLACE, here),
        "sanity, the rest": ([*sanity, "--skip-test", "pylint"], folder / "two" / PLACE, here),
        # A separate check runs ansible-lint, for the whole checkout.
        "import into Galaxy": ([str(BIN / "python"), "-m", "tools.galaxy", str(archive)], folder, {**here, "GALAXY_IMPORTER_RUN_ANSIBLE_LINT": "false"}),
    }


def _build(folder: Path) -> tuple[str, str, float]:
    """Build the collection in a folder, and unpack it there twice. Return the same as ``_command``."""
    complaint, _, seconds = _command([str(BIN / "ansible-galaxy"), "collection", "build", "--output-path", str(folder), str(ROOT)])
    if complaint:
        return complaint, "", seconds
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as content:
        # Python 3.11.2, which Debian 12 has, does not know the filter. This archive was made here, so it needs none there.
        known: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        for copy in ("one", "two"):
            content.extractall(folder / copy / PLACE, **known)
        return contents(content.getnames()), "", seconds


def contents(names: list[str]) -> str:
    """Return what is wrong with the files of a built collection, or an empty text."""
    missing = [name for name in SHIPPED if name not in names]
    stray = [name for name in names if name.startswith(NOT_SHIPPED) or SECRETS in Path(name).parts]
    complaints = [f"It lacks {', '.join(missing)}."] * bool(missing) + [f"It has {', '.join(stray[:5])}."] * bool(stray)
    return " ".join(complaints)
