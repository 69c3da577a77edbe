"""Start a tracking server in its container: read its settings from a file, prepare its stores, and become the server.

The settings have secrets, so they are in a file that only the container's user can read: ``docker inspect`` shows the container's own
configuration. The command is a list of arguments, which no shell reads and no line break splits.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from atlas_mlflow import prepare, settings


def main() -> int:
    """Run from the command line. Return only if the stores cannot be prepared."""
    parser = prepare.parser("Start a tracking server in its container")
    parser.add_argument("--settings", type=Path, required=True, help="JSON file with the server's environment")
    parser.add_argument("command", nargs="+", help="the server's command, behind --")
    given = parser.parse_args()
    os.environ.update(settings.read_settings(given.settings))
    status = prepare.run(given)
    if status:
        return status
    os.execvp(given.command[0], given.command)


if __name__ == "__main__":
    sys.exit(main())
