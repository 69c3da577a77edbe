"""The settings of a tracking server in a container, from a file."""

from __future__ import annotations

import json
import os
from pathlib import Path


def read_settings(path: Path) -> dict[str, str]:
    """Return an environment from a JSON file, with booleans in MLflow's form.

    :raises OSError: If the file cannot be read.
    :raises ValueError: If the file has no valid JSON.
    """
    settings = json.loads(path.read_text(encoding="utf-8"))
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in settings.items()}


def read_environment(path: Path | None) -> dict[str, str]:
    """Return the environment of this process. If there is a JSON file, its settings have precedence."""
    return {**os.environ, **(read_settings(path) if path else {})}
