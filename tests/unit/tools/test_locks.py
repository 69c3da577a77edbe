"""The locks fit their pins, and the check that says so notices when they do not."""

from __future__ import annotations

import dataclasses
import importlib.util
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
