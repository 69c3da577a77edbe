"""Make the checkout importable as a collection, and the fakes as plain modules."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

UNIT = Path(__file__).resolve().parent
sys.path[:0] = [str(UNIT.parents[1] / "collections"), str(UNIT / "fakes")]


@pytest.fixture(autouse=True)
def _same_umask() -> Iterator[None]:
    """Give the next test the umask that this one had: a script that a test runs in this process sets its own."""
    former = os.umask(0o022)
    yield
    os.umask(former)
