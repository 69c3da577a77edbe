"""Raise the pins, and take up a release of MLflow. The locks follow.

python -m tools.pins raise               raise every pin to its newest version, and write the locks that changed
python -m tools.pins raise ruff uv       raise only these
python -m tools.pins mlflow 3.18.0       make the lock and read the options of a release, and compare it with the one before
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from . import locks
from .testbed.golang import go

ROOT = Path(__file__).resolve().parents[1]
#: A pin in a requirements.in, and its marker for the Python of the control node.
REQUIREMENT = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[a-z,]+\])?==(?P<version>[^\s;]+)(?: ; python_version (?P<sign>>=|<) \"(?P<python>[\d.]+)\")?$", re.MULTILINE
)
#: Pins of packages, and of a Go module, in the other files.
PACKAGES = {
    "tools/pins.yml": re.compile(r"^(?P<name>uv|patroni): (?P<version>\d\S*)$", re.MULTILINE),
    "execution-environment.yml": re.compile(r"^ +package_pip: (?P<name>[a-z-]+)==(?P<version>\S+)$", re.MULTILINE),
}
MODULE = re.compile(r"^registry: \{module: (?P<name>\S+?)/cmd/registry, version: (?P<version>v[\d.]+)\}$", re.MULTILINE)
#: Pins that follow another one: the client of the examples has the default release of MLflow, and `ansible-test sanity` demands versions of its tools.
FOLLOW = {("examples/requirements.in", "mlflow")} | {
    ("tools/requirements.in", name) for name in ("antsibull-changelog", "antsibull-docs-parser", "pylint", "voluptuous")
}
#: Programs that a release's Python runs, and that print as JSON what the short ways of this collection do not find in the release.
CHECKS = ("login_memory.py", "short_ways.py")
#: The Python of the image for ansible-navigator, and of the newest ansible-core.
NEWEST_PYTHON = "3.12"


@dataclass(frozen=True)
class Pin:
    """A pinned version: its file, its place in the text, and the Python that the version must support. A Go module has none."""

    path: Path
    start: int
    end: int
    name: str
    version: str
    python: str = ""


def _pins_in(path: Path, pattern: re.Pattern[str], python: Callable[[re.Match[str]], str]) -> list[Pin]:
    """Return the pins that a pattern finds in a file."""
    return [
        Pin(path, found.start("version"), found.end("version"), found["name"], found["version"], python(found)) for found in pattern.finditer(path.read_text())
    ]


def pins(root: Path) -> list[Pin]:
    """Return every pin that can be raised by itself. Releases of MLflow and the plugin for OpenID Connect are taken up one by one."""
    found = [
        pin
        for path in sorted(root.glob("**/requirements.in"))
        if not {".venv", "collections", ".ansible"} & set(path.relative_to(root).parts)
        for pin in _pins_in(path, REQUIREMENT, lambda match: match["python"] if match["sign"] == ">=" else locks.CONTROL_PYTHON)
        if (path.relative_to(root).as_posix(), pin.name) not in FOLLOW
    ]
    for name, pattern in PACKAGES.items():
        found += _pins_in(root / name, pattern, lambda _match, name=name: locks.HOST_PYTHON if name == "tools/pins.yml" else NEWEST_PYTHON)  # type: ignore[misc]
    return found + _pins_in(root / "tools/pins.yml", MODULE, lambda _match: "")


def newest_packages(names: Iterable[str], python: str) -> dict[str, str]:
    """Return the newest version of each package for a version of Python.

    :raises subprocess.CalledProcessError: If the index does not answer, or has no such package.
    """
    command = [locks.find_uv(), "pip", "compile", "--quiet", "--no-deps", "--no-header", "--no-annotate", "--python-version", python, "-"]
    said = subprocess.run(command, input="\n".join(names), stdout=subprocess.PIPE, text=True, check=True).stdout
    return dict(line.split("==", 1) for line in said.splitlines() if "==" in line)


def newest_module(name: str) -> str:
    """Return the newest version of a Go module.

    :raises subprocess.CalledProcessError: If the proxy does not answer, or has no such module.
    """
    said = subprocess.run([go(), "list", "-m", "-f", "{{.Version}}", f"{name}@latest"], stdout=subprocess.PIPE, text=True, check=True, cwd="/").stdout
    return said.strip()


def newest(wanted: Iterable[Pin]) -> dict[Pin, str]:
    """Return the newest version for each pin."""
    wanted = list(wanted)
    found = {pin: newest_module(pin.name) for pin in wanted if not pin.python}
    for python in sorted({pin.python for pin in wanted if pin.python}):
        of_python = [pin for pin in wanted if pin.python == python]
        versions = {locks.canonical(name): version for name, version in newest_packages(sorted({pin.name for pin in of_python}), python).items()}
        found |= {pin: versions[locks.canonical(pin.name)] for pin in of_python}
    return found


def write_versions(versions: dict[Pin, str]) -> None:
    """Write versions in the places of their pins."""
    for path in {pin.path for pin in versions}:
        text = path.read_text()
        # From the end, so that the places before stay where they are.
        for pin in sorted((pin for pin in versions if pin.path == path), key=lambda pin: -pin.start):
            text = text[: pin.start] + versions[pin] + text[pin.end :]
        path.write_text(text)


def raise_pins(root: Path, names: list[str]) -> list[str]:
    """Raise pins, write the locks whose requirements changed, and return a line for each change.

    :param names: The packages and modules. All, if the list is empty.
    :raises SystemExit: If a name has no pin.
    :raises subprocess.CalledProcessError: If there is no newest version, or if no lock fits the raised pins. The pins are written then, and the locks are not.
    """
    every = pins(root)
    if unknown := set(names) - {pin.name for pin in every}:
        raise SystemExit(f"There is no pin of {', '.join(sorted(unknown))}. There are {', '.join(sorted({pin.name for pin in every}))}.")
    versions = newest(pin for pin in every if not names or pin.name in names)
    raised = {pin: version for pin, version in versions.items() if version != pin.version}
    before = {lock.name: lock.requirements for lock in locks.locks(root)}
    write_versions(raised)
    for lock in locks.locks(root):
        if lock.requirements != before[lock.name]:
            locks.write(lock)
    return [f"{pin.path.relative_to(root)}: {pin.name} {pin.version} -> {version}" for pin, version in raised.items()]


def compare(before: dict[str, list[dict[str, object]]], after: dict[str, list[dict[str, object]]]) -> list[str]:
    """Return what differs between the facts of two releases: options that came, went or changed, and the revisions of the schemas.

    :param before: The facts of the older release, from its options.json.
    :param after: Those of the newer one.
    """
    lines = []
    for kind in ("options", "web_server_options"):
        old, new = ({str(option["flags"][0]): option for option in facts[kind]} for facts in (before, after))  # type: ignore[index]
        lines += [f"{flag} is new." for flag in sorted(new.keys() - old.keys())]
        lines += [f"{flag} is gone." for flag in sorted(old.keys() - new.keys())]
        lines += [f"{flag} was {old[flag]}, and is {new[flag]}." for flag in sorted(old.keys() & new.keys()) if old[flag] != new[flag]]
    for kind, what in (("schema_revision", "backend store"), ("auth_schema_revision", "store of users"), ("web_server", "web server")):
        if before[kind] != after[kind]:
            lines.append(f"The {what} goes from {before[kind]} to {after[kind]}.")
    return lines


def take_up(root: Path, version: str, day: str) -> list[str]:
    """Add a release of MLflow to the pins and to the releases of the role, make its lock, and return what differs from the release before.

    :param day: The day of the package index for the lock, as YYYY-MM-DD.
    :raises SystemExit: If the release is there already, or is no release.
    :raises subprocess.CalledProcessError: If no lock can be made. Nothing is written then.
    """
    path, variables = root / "tools/pins.yml", root / "roles/mlflow_server/vars/main/release.yml"
    known = [str(release) for release in locks.read_pins(root)["mlflow"]]
    if version in known or not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise SystemExit(f"{version} is {'there already' if version in known else 'no release'}. The releases are {', '.join(known)}.")
    listed = sorted([*known, version], key=locks.release, reverse=True)
    former = {one: one.read_text() for one in (path, variables)}
    days = {str(release): str(of or "") for release, of in locks.read_pins(root)["mlflow"].items()} | {version: day}
    block = "mlflow:\n" + "".join(f"  {release}: {days[release]}".rstrip() + "\n" for release in listed)
    path.write_text(re.sub(r"^mlflow:\n(?:  .*\n)+", block, former[path], flags=re.MULTILINE))
    variables.write_text(re.sub(r"^(_mlflow_server_releases: )\[.*\]$", rf"\g<1>[{', '.join(listed)}]", former[variables], flags=re.MULTILINE))
    try:
        (lock,) = (lock for lock in locks.locks(root) if lock.name == f"mlflow-{version}")
        locks.write(lock)
    except BaseException:
        for one, text in former.items():
            one.write_text(text)
        raise
    older = [release for release in listed if locks.release(release) < locks.release(version)]
    facts = [json.loads((root / "roles/mlflow_server/files/releases" / release / "options.json").read_text()) for release in (*older[:1], version)]
    return compare(*facts) if older else []


def short_ways(root: Path, version: str) -> list[str]:
    """Return what the short ways of this collection do not find in a release, or answer in another way: a line for each. The server goes MLflow's own way then.

    :raises subprocess.CalledProcessError: If a check cannot run with the release.
    """
    release = root / "roles/mlflow_server/files/releases" / version
    environment = {**os.environ, "PYTHONPATH": str(root / "roles/mlflow_server/files/lib")}
    found: list[str] = []
    with locks.installed(release / "requirements.txt") as python:
        for name in CHECKS:
            command: list[str | Path] = [python, "-W", "ignore", root / "tests/stack/releases" / name]
            said = subprocess.run(command, input="null", stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout
            found += json.loads(said.splitlines()[-1])
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.pins", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    commands.add_parser("raise", help="raise pins to their newest versions").add_argument("names", nargs="*", metavar="NAME")
    commands.add_parser("mlflow", help="take up a release of MLflow").add_argument("version", metavar="VERSION")
    given = parser.parse_args(arguments)
    try:
        if given.command == "raise":
            print("\n".join(raise_pins(ROOT, given.names)) or "Every pin has its newest version.")
            print("To prove it: make check, then make test.")
            return 0
        said = take_up(ROOT, given.version, datetime.datetime.now(datetime.timezone.utc).date().isoformat())
        print("\n".join(said) or "The options and the schemas are those of the release before.")
        print("\n".join(f"Without a short way: {line}" for line in short_ways(ROOT, given.version)) or "The release has all short ways.")
        print("To prove it: add the release to the scenario releases, then make check and make test SCENARIO=releases.")
    except subprocess.CalledProcessError as error:
        print(f"{' '.join(map(str, error.cmd[:3]))} failed: its message is above.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
