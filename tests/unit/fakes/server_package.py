"""The server's own package `atlas_mlflow`, which runs next to MLflow on a host."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

LIB = Path(__file__).resolve().parents[3] / "roles/mlflow_server/files/lib"


def load(monkeypatch: pytest.MonkeyPatch, name: str) -> ModuleType:
    """Return a module of the package.

    :param name: Its name in the package, such as ``stores``.
    """
    monkeypatch.syspath_prepend(str(LIB))
    return importlib.import_module(f"atlas_mlflow.{name}")


def fresh(monkeypatch: pytest.MonkeyPatch, *names: str) -> ModuleType:
    """Load modules of the package again, so that they find the stand-ins of a test, and return the first.

    :param names: Names in the package, such as ``sockets``. A module that the first one imports comes after it.
    """
    for name in names:
        monkeypatch.delitem(sys.modules, f"atlas_mlflow.{name}", raising=False)
    return load(monkeypatch, names[0])
