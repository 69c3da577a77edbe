"""The locks fit their pins, and the check that says so notices when they do not."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """Return tools/locks.py as a module."""
    spec = importlib.util.spec_from_file_location("locks", ROOT / "tools/locks.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["locks"] = module
    spec.loader.exec_module(module)
    return module


def test_every_lock_of_the_checkout_fits_its_pins(tool: ModuleType) -> None:
    assert [fault for lock in tool.locks(ROOT) for fault in tool.faults(lock)] == []
    assert len(tool.locks(ROOT)) >= 7


def test_releases_on_uvicorn_have_its_faster_parser_and_loop(tool: ModuleType) -> None:
    releases = ROOT / "roles/mlflow_server/files/releases"
    for facts in releases.glob("*/options.json"):
        packages = tool.pins_of((facts.parent / "requirements.txt").read_text())
        assert ({"httptools", "uvloop"} <= packages.keys()) == (json.loads(facts.read_text())["web_server"] == "uvicorn"), facts


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("    --hash=sha256:", "    --hash=md5:", "neither a pinned package nor its sha256"),
        ("uv==", "uv>=", "neither a pinned package nor its sha256"),
        ("uv==0.13.9", "uv==0.13.8", "is asked for"),
    ],
)
def test_a_broken_lock_is_named(tool: ModuleType, tmp_path: Path, before: str, after: str, said: str) -> None:
    lock = next(lock for lock in tool.locks(ROOT) if lock.name == "uv")
    copy = dataclasses.replace(lock, path=tmp_path / "uv.txt")
    copy.path.write_text(lock.path.read_text().replace(before, after))
    assert any(said in fault for fault in tool.faults(copy))


def test_a_package_without_a_hash_is_named(tool: ModuleType, tmp_path: Path) -> None:
    lock = next(lock for lock in tool.locks(ROOT) if lock.name == "minio-admin")
    copy = dataclasses.replace(lock, path=tmp_path / "admin.txt")
    lines = lock.path.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if "==" in line)
    second = next(number for number, line in enumerate(lines) if "==" in line and number > first)
    copy.path.write_text("\n".join(lines[: first + 1] + lines[second:]) + "\n")
    assert any("has no sha256" in fault for fault in tool.faults(copy))


def test_a_missing_lock_is_named(tool: ModuleType, tmp_path: Path) -> None:
    lock = dataclasses.replace(tool.locks(ROOT)[0], path=tmp_path / "none.txt")
    assert "is missing" in tool.faults(lock)[0]


RELEASE = "roles/mlflow_server/files/releases/3.5.1"


@pytest.fixture
def checkout(tool: ModuleType, tmp_path: Path) -> Path:
    """Return a copy of the checkout's locks, of what they are made of, and of the tool."""
    files = {ROOT / "tools" / name for name in ("locks.py", "pins.yml", "requirements.in", "bench/requirements.in", "docs/requirements.in")} | {
        ROOT / "examples/requirements.in"
    }
    for lock in tool.locks(ROOT):
        files |= {lock.path, *lock.path.parent.glob("options.json")}
    for path in files:
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return tmp_path


def check(checkout: Path) -> subprocess.CompletedProcess[str]:
    """Run the check of a checkout as its users do."""
    return subprocess.run([sys.executable, checkout / "tools/locks.py", "--check"], capture_output=True, text=True, check=False)


def test_the_command_passes_a_good_checkout(checkout: Path) -> None:
    done = check(checkout)
    assert (done.returncode, done.stdout) == (0, "17 locks fit their pins\n"), done.stderr


@pytest.mark.parametrize(
    ("name", "pattern", "becomes", "said"),
    [
        (f"{RELEASE}/requirements.txt", r"(mlflow==3\.5\.1 \\\n)(    --hash.*\n)+", r"\1", "the package above has no sha256"),
        (f"{RELEASE}/requirements.txt", r"mlflow==3\.5\.1 ", "mlflow==3.5.0 ", "mlflow is ['3.5.0'], and ['3.5.1'] is asked for"),
        (f"{RELEASE}/requirements.txt", r"\npsycopg==.*\\\n(    --hash.*\n)+", r"\n", "psycopg is asked for and missing"),
        (f"{RELEASE}/requirements.txt", r"mlflow==3\.5\.1 ", "mlflow==3.5.1 ; https://example.org/mlflow.whl ", "neither a pinned package"),
        (f"{RELEASE}/options.json", '"web_server_options"', '"options_of_nobody"', "does not say what `mlflow server` takes"),
        (f"{RELEASE}/requirements.txt", r"\nprometheus-flask-exporter==.*\\\n(    --hash.*\n)+", r"\n", "prometheus-flask-exporter is asked for and missing"),
        (f"{RELEASE}/options.json", '"--workers"', '"--labourers"', "does not say what `mlflow server` takes"),
        ("roles/mlflow_server/files/releases/3.17.2/oidc.txt", r"\ntruststore==\S+", r"\nflask==3.1.3", "flask is in"),
        ("tools/pins.yml", r"  3\.17\.2: 10\S+", "  3.17.2: 9.0.0", "mlflow-oidc-auth is ['10.1.3'], and ['9.0.0'] is asked for"),
        ("roles/minio/files/admin.txt", r"(?s).+", "", "boto3 is asked for and missing"),
        ("tools/pins.yml", r"uv: \S+", "uv: 0.0.1", "uv is ['0.13.9'], and ['0.0.1'] is asked for"),
    ],
)
def test_the_command_names_each_fault(checkout: Path, name: str, pattern: str, becomes: str, said: str) -> None:
    path = checkout / name
    broken, count = re.subn(pattern, becomes, path.read_text(), count=1)
    assert count == 1
    path.write_text(broken)
    done = check(checkout)
    assert done.returncode == 1, done.stderr
    assert said in done.stdout
    assert "Traceback" not in done.stderr
