#!/usr/bin/env python3
"""Write the locks: every Python package for hosts, clients and tools, by version and sha256.

python tools/locks.py               write all locks
python tools/locks.py uv mlflow-3.17.2   write only these
python tools/locks.py --check       compare the locks with the pins, offline
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
COMPILE = ["pip", "compile", "--quiet", "--generate-hashes", "--universal", "--no-emit-index-url", "--no-header", "--no-annotate"]
#: The oldest Python of a supported host or client, and of a control node.
HOST_PYTHON, CONTROL_PYTHON = "3.10", "3.11"
#: Drivers for PostgreSQL. psycopg2 is the driver that MLflow is developed with: it compares numbers with text, which psycopg 3 refuses (mlflow/mlflow#9151,
#: #17013, #25282: in 3.0 when a run is created, in later releases in some places). psycopg 3 is for users who name it in their URI.
DRIVERS = ("psycopg2-binary", "psycopg[binary]")
#: Packages that `mlflow server --expose-prometheus` imports, and that are no dependencies of MLflow.
METRICS = ("prometheus-flask-exporter",)
#: What uvicorn takes by itself if it is installed: a parser and an event loop in C. MLflow runs on uvicorn since this release.
WEB_SERVER, ON_UVICORN = ("httptools", "uvloop ; sys_platform != 'win32'"), (3, 5)
#: The oldest Python for the OpenID Connect plugin, and a package for which the pin of the plugin is ignored: it requires an older gunicorn,
#: but never imports it, because the server runs on uvicorn.
OIDC_PYTHON, OVERRIDDEN = "3.11", ("gunicorn",)
#: The Python for reading a release: every supported release runs on it.
READER_PYTHON = "3.11"
#: A program that a release's own Python runs: it reads the options of `mlflow server`, and the revisions of the release's schemas.
READ_RELEASE = """
import json
import mlflow.server.auth.db.utils
import mlflow.store.db.utils
from alembic.script import ScriptDirectory
from mlflow.cli import server

def described(command):
    prefix = command.context_settings.get("auto_envvar_prefix")
    for one in command.params:
        if one.param_type_name == "option":
            described = {
                "flags": [*one.opts, *one.secondary_opts], "takes_value": not one.is_flag, "type": one.type.name, "multiple": one.multiple,
                "envvar": one.envvar or (f"{prefix}_{one.name}".upper() if prefix else None),
            }
            yield {**described, **{limit: getattr(one.type, limit) for limit in ("choices", "min", "max") if getattr(one.type, limit, None) is not None}}

def described_gunicorn():
    from gunicorn.config import make_settings
    for one in make_settings().values():
        if one.cli:
            yield {"flags": list(one.cli), "takes_value": one.action not in ("store_true", "store_false", "store_const"), "type": "text"}

options = list(described(server))
on_uvicorn = any("--uvicorn-opts" in option["flags"] for option in options)
if on_uvicorn:
    from uvicorn.main import main as web_server
print(json.dumps({
    "options": options,
    "web_server": "uvicorn" if on_uvicorn else "gunicorn",
    "web_server_options": list(described(web_server)) if on_uvicorn else list(described_gunicorn()),
    "schema_revision": mlflow.store.db.utils._get_latest_schema_revision(),
    "auth_schema_revision": ScriptDirectory.from_config(mlflow.server.auth.db.utils._get_alembic_config("")).get_current_head(),
}, indent=1))
"""
#: A pin and its marker. Neither contains a colon, so a URL does not match.
PINNED = re.compile(r"^[A-Za-z0-9._-]+(\[[a-z0-9,_-]+\])?==[^\s;:]+( ; [^:]+)? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")


@dataclass(frozen=True)
class Lock:
    """A lock: its name on the command line, its file, and its requirements."""

    name: str
    path: Path
    requirements: tuple[str, ...]
    python: str = HOST_PYTHON
    exclude_newer: str = ""
    #: Whether the dependencies of the requirements are in the lock. Otherwise they are already present at the place of installation.
    whole: bool = True
    #: Another lock on top of which this one is installed. This lock contains only the missing packages, and is compatible with it.
    base: Path | None = None

    @property
    def direct(self) -> dict[str, set[str]]:
        """Return the packages that the requirements name, with their versions; without versions if any version is accepted."""
        found: dict[str, set[str]] = {}
        for line in self.requirements:
            if match := re.match(r"([A-Za-z0-9._-]+)(?:\[.*?\])?(?:==([^\s;]+))?", line):
                found.setdefault(canonical(match[1]), set()).update({match[2]} if match[2] else ())
        return found


def canonical(name: str) -> str:
    """Return a package's name in the form of an index (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def release(version: str) -> tuple[int, ...]:
    """Return the number of a release in a form that can be compared."""
    return tuple(int(part) for part in version.split("."))


def find_uv() -> str:
    """Return the uv next to this Python, or else the one on PATH.

    :raises SystemExit: If there is none.
    """
    beside = shutil.which("uv", path=str(Path(sys.executable).parent))
    return beside or shutil.which("uv") or sys.exit("uv is neither beside this Python nor on PATH")


def read_input(path: Path) -> tuple[str, ...]:
    """Return the requirements in an input file, without its comments."""
    return tuple(line.strip() for line in path.read_text().splitlines() if line.strip() and not line.startswith("#"))


def read_pins(root: Path) -> dict[str, Any]:
    """Return the pins of a checkout that are in no requirements.in."""
    pins: dict[str, Any] = yaml.safe_load((root / "tools/pins.yml").read_text())
    return pins


def locks(root: Path) -> list[Lock]:
    """Return every lock of a checkout."""
    pins = read_pins(root)
    releases = root / "roles/mlflow_server/files/releases"
    return [
        Lock("uv", root / "roles/common/files/uv.txt", (f"uv=={pins['uv']}",)),
        Lock("minio-admin", root / "roles/minio/files/admin.txt", ("boto3", "minio", "packaging")),
        Lock("patroni", root / "roles/postgres/files/patroni.txt", (f"patroni=={pins['patroni']}",), whole=False),
        Lock("drivers", root / "roles/mlflow_server/files/image/drivers.txt", (*DRIVERS, "boto3")),
        Lock("metrics", root / "roles/mlflow_server/files/image/metrics.txt", (*METRICS, "prometheus-client"), whole=False),
        Lock("auth", root / "roles/mlflow_server/files/image/auth.txt", ("flask-wtf", "wtforms"), whole=False),
        Lock("tools", root / "tools/requirements.txt", read_input(root / "tools/requirements.in"), CONTROL_PYTHON),
        Lock("docs", root / "tools/docs/requirements.txt", read_input(root / "tools/docs/requirements.in"), CONTROL_PYTHON),
        Lock("bench", root / "tools/bench/requirements.txt", read_input(root / "tools/bench/requirements.in"), CONTROL_PYTHON),
        Lock("examples", root / "examples/requirements.txt", read_input(root / "examples/requirements.in")),
        *(
            Lock(
                f"mlflow-{version}",
                releases / version / "requirements.txt",
                (f"mlflow[auth]=={version}", *DRIVERS, "boto3", *METRICS, *(WEB_SERVER if release(version) >= ON_UVICORN else ())),
                exclude_newer=str(day or ""),
            )
            for version, day in pins["mlflow"].items()
        ),
        *(
            Lock(
                f"oidc-{version}",
                releases / version / "oidc.txt",
                (f"mlflow-oidc-auth=={plugin}",),
                OIDC_PYTHON,
                str(pins["mlflow"][version] or ""),
                base=releases / version / "requirements.txt",
            )
            for version, plugin in pins["oidc"].items()
        ),
        Lock("oidc-provider", root / "molecule/oidc/files/provider.txt", ("canaille[front,oidc,server,sqlite]",), OIDC_PYTHON),
    ]


def pins_of(text: str) -> dict[str, str]:
    """Return each package of a lock with its pins. A package with several versions has several pins."""
    found: dict[str, str] = {}
    for block in re.split(r"^(?=\S)", text, flags=re.MULTILINE):
        if block.strip():
            name = canonical(re.split(r"[\[=]", block, maxsplit=1)[0])
            found[name] = found.get(name, "") + block
    return found


def write(lock: Lock) -> None:
    """Compile a lock, and read the options of a release of MLflow.

    :raises subprocess.CalledProcessError: If uv finds no compatible versions.
    """
    print(f"==> {lock.name}", flush=True)
    uv = find_uv()
    limit = ["--exclude-newer", lock.exclude_newer] if lock.exclude_newer else []
    limit += [] if lock.whole else ["--no-deps"]
    present = pins_of(lock.base.read_text()) if lock.base else {}
    with tempfile.TemporaryDirectory() as folder:
        for option, chosen in (("constraints", present.keys() - set(OVERRIDDEN)), ("overrides", present.keys() & set(OVERRIDDEN))):
            path = Path(folder) / option
            path.write_text("".join(present[name] for name in chosen))
            limit += [f"--{option}", str(path)]
        command = [uv, *COMPILE, "--python-version", lock.python, *limit, "-"]
        compiled = subprocess.run(command, input="\n".join(lock.requirements), stdout=subprocess.PIPE, text=True, check=True).stdout
    if present:
        compiled = "".join(text for name, text in pins_of(compiled).items() if name not in present)
    lock.path.parent.mkdir(parents=True, exist_ok=True)
    lock.path.write_text(compiled)
    if lock.name.startswith("mlflow-"):
        with installed(lock.path) as python:
            said = subprocess.run([python, "-c", READ_RELEASE], stdout=subprocess.PIPE, text=True, check=True).stdout
        (lock.path.parent / "options.json").write_text(said[said.index("{") :])


@contextlib.contextmanager
def installed(lock: Path) -> Iterator[Path]:
    """Install the packages of a lock in an environment, and return its Python.

    :raises subprocess.CalledProcessError: If they cannot be installed.
    """
    uv = find_uv()
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder, "venv", "bin", "python")
        subprocess.run([uv, "venv", "--quiet", "--python", READER_PYTHON, python.parents[1]], check=True)
        subprocess.run([uv, "pip", "sync", "--quiet", "--require-hashes", "--python", python, lock], check=True)
        yield python


def faults(lock: Lock) -> list[str]:
    """Return what is wrong with a lock, without network requests."""
    if not lock.path.exists():
        return [f"{lock.path} is missing: run tools/locks.py {lock.name}"]
    found: list[str] = []
    pinned: dict[str, set[str]] = {}
    hashes = 1
    for number, line in enumerate(lock.path.read_text().splitlines(), 1):
        if HASH.match(line):
            hashes += 1
        elif PINNED.match(line):
            if not hashes:
                found.append(f"{lock.path}:{number - 1}: the package above has no sha256")
            hashes = 0
            name, version = re.match(r"([A-Za-z0-9._-]+)(?:\[.*?\])?==(\S+)", line).groups()  # type: ignore[union-attr]
            pinned.setdefault(canonical(name), set()).add(version)
        else:
            found.append(f"{lock.path}:{number}: neither a pinned package nor its sha256: {line}")
    if not hashes:
        found.append(f"{lock.path}: the last package has no sha256")
    for name, versions in lock.direct.items():
        if name not in pinned:
            found.append(f"{lock.path}: {name} is asked for and missing: run tools/locks.py {lock.name}")
        elif versions and pinned[name] != versions:
            found.append(f"{lock.path}: {name} is {sorted(pinned[name])}, and {sorted(versions)} is asked for: run tools/locks.py {lock.name}")
    for name in sorted(pinned.keys() & (pins_of(lock.base.read_text()).keys() if lock.base else set())):
        found.append(f"{lock.path}: {name} is in {lock.base} already, and is installed with it: run tools/locks.py {lock.name}")
    options = lock.path.parent / "options.json"
    if lock.name.startswith("mlflow-"):
        facts = json.loads(options.read_text()) if options.exists() else {"options": []}
        flags = {flag for option in facts["options"] for flag in option["flags"]}
        if (
            not {"--host", "--port", "--workers"} <= flags
            or not facts.get("web_server_options")
            or not facts.get("schema_revision")
            or not facts.get("auth_schema_revision")
        ):
            found.append(f"{options} does not say what `mlflow server` takes: run tools/locks.py {lock.name}")
    return found


def main() -> int:
    """Run from the command line."""
    every = locks(ROOT)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"locks to write: {', '.join(lock.name for lock in every)}")
    parser.add_argument("--check", action="store_true", help="write nothing, and say whether the locks fit the pins")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - {lock.name for lock in every}:
        parser.error(f"there is no lock {', '.join(sorted(unknown))}")
    chosen = [lock for lock in every if not arguments.names or lock.name in arguments.names]
    if arguments.check:
        found = [fault for lock in chosen for fault in faults(lock)]
        print("\n".join(found) or f"{len(chosen)} locks fit their pins")
        return bool(found)
    for lock in chosen:
        write(lock)
    return 0


if __name__ == "__main__":
    sys.exit(main())
