"""Lets the tests import the collection, whose alerts they test."""

from __future__ import annotations

import sys

from stack.support import ROOT

sys.path.append(str(ROOT / "collections"))
