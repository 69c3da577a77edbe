"""Start a tracking server in its container: take its settings from a file, prepare its stores, and become it.

The settings hold secrets, so they come from a file that only the container's user reads: what stands in the container's own
configuration is shown by ``docker inspect``. The command is a list of arguments, which no shell reads and no newline cuts.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import atlas_mlflow_store


def read_settings(path: Path) -> dict[str, str]:
    """Return an environment from a JSON file, truth written as MLflow reads it.

    :raises ValueError: When the file holds no JSON.
    """
    settings = json.loads(path.read_text(encoding="utf-8"))
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in settings.items()}


def main() -> int:
    """Run from the command line; returns only when the stores cannot be prepared."""
    parser = atlas_mlflow_store.parser()
    parser.add_argument("--settings", type=Path, required=True, help="JSON file with the server's environment")
    parser.add_argument("command", nargs="+", help="the server's command, behind --")
    arguments = parser.parse_args()
    os.environ.update(read_settings(arguments.settings))
    status = atlas_mlflow_store.main(arguments)
    if status:
        return status
    os.execvp(arguments.command[0], arguments.command)


if __name__ == "__main__":
    sys.exit(main())
