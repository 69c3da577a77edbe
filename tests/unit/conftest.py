"""Make the checkout importable as a collection, its tools as a package, and the fakes as plain modules."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ansible.plugins.loader import init_plugin_loader

UNIT = Path(__file__).resolve().parent
sys.path[:0] = [str(UNIT / "fakes"), str(UNIT.parents[1])]
# As ansible-playbook does it, so that templates find the collection's filters.
init_plugin_loader([str(UNIT.parents[1] / "collections")])
importlib.import_module("compile_once").install()
importlib.import_module("tools.quick_copies").install()
# What the tests read once, they keep: a sixth of their processor time was spent on looking for what of it may be forgotten.
gc.disable()
# libyaml's parser reads the same several times as fast: yaml.safe_load() uses this name.
yaml.SafeLoader = yaml.CSafeLoader  # type: ignore[misc,assignment]


@pytest.fixture(autouse=True)
def _same_umask() -> Iterator[None]:
    """Give the next test the umask that this one had: a script that a test runs in this process sets its own."""
    former = os.umask(0o022)
    yield
    os.umask(former)
