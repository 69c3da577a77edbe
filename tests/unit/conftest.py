"""Make the checkout importable as a collection, and the fakes as plain modules."""

from __future__ import annotations

import sys
from pathlib import Path

UNIT = Path(__file__).resolve().parent
sys.path[:0] = [str(UNIT.parents[1] / "collections"), str(UNIT / "fakes")]
