"""Know a function of MLflow by its source: another release may do more in it."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from typing import Any


def digest(function: Callable[..., Any]) -> str:
    """Return the sha256 of a function's source, empty if its source is not there."""
    try:
        return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()
    except (OSError, TypeError):
        return ""


def digest_of_all(*functions: Callable[..., Any]) -> str:
    """Return the sha256 of the sources of several functions, empty if the source of one of them is not there."""
    digests = [digest(function) for function in functions]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest() if all(digests) else ""
