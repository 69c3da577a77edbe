"""Remove for good what was deleted some time ago, with its artifacts: `mlflow gc`, without the database's password in the process list.

The settings come from the service's environment, or in a container from the file that its start reads.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def main() -> int:
    """Run from the command line, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", type=Path, help="JSON file with the server's environment")
    parser.add_argument("--older-than", required=True, help="age of what is removed, such as 30d")
    parser.add_argument("--tracking-uri", required=True, help="URL of the tracking server, through which artifacts are removed")
    given = parser.parse_args()
    if given.settings:
        import atlas_mlflow_start

        os.environ.update(atlas_mlflow_start.read_settings(given.settings))
    import atlas_mlflow_auth

    os.environ.update(MLFLOW_TRACKING_URI=given.tracking_uri, **atlas_mlflow_auth.log_in(os.environ))
    # MLflow reads its settings when it is imported.
    from mlflow.cli import gc

    uri = os.environ["MLFLOW_BACKEND_STORE_URI"]
    gc.main(args=["--older-than", given.older_than, "--backend-store-uri", uri, "--tracking-uri", given.tracking_uri], standalone_mode=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
