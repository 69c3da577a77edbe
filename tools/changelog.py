"""Check that the changelog is what the changes of the releases give. `antsibull-changelog release` and `generate` write it.

python -m tools.changelog
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def written(root: Path) -> str:
    """Return the changelog that antsibull-changelog writes for a checkout, without a change in the checkout.

    :raises subprocess.CalledProcessError: If it cannot.
    """
    with tempfile.TemporaryDirectory() as name:
        shutil.copytree(root / "changelogs", Path(name, "changelogs"))
        shutil.copy(root / "galaxy.yml", name)
        subprocess.run([Path(sys.executable).parent / "antsibull-changelog", "generate"], cwd=name, check=True)
        return Path(name, "CHANGELOG.rst").read_text()


def main() -> int:
    """Run from the command line."""
    if written(ROOT) == (ROOT / "CHANGELOG.rst").read_text():
        return 0
    print("CHANGELOG.rst is not what changelogs/changelog.yaml gives. Run `.venv/bin/antsibull-changelog generate`.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
