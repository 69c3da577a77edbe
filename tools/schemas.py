"""Check the workflows, the issue forms and Renovate's settings with the JSON schemas that check-jsonschema carries. Nothing is fetched.

python -m tools.schemas
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Which files each schema is for.
SCHEMAS = {
    "github-workflows": (".github/workflows/*.yml",),
    "github-issue-forms": (".github/ISSUE_TEMPLATE/fault.yml", ".github/ISSUE_TEMPLATE/wish.yml"),
    "github-issue-config": (".github/ISSUE_TEMPLATE/config.yml",),
    "renovate": ("renovate.json",),
}


def files(root: Path) -> dict[str, list[str]]:
    """Return the files that a schema is for."""
    return {schema: sorted(str(path) for pattern in patterns for path in root.glob(pattern)) for schema, patterns in SCHEMAS.items()}


def main(root: Path = ROOT) -> int:
    """Run from the command line."""
    from check_jsonschema import main as check

    failed = 0
    for schema, paths in files(root).items():
        if not paths:
            print(f"There is no file for the schema {schema}.")
            failed = 1
            continue
        try:
            check([*paths, "--builtin-schema", f"vendor.{schema}", "--color", "never"], standalone_mode=True)
        except SystemExit as end:
            failed = failed or int(bool(end.code))
    return failed


if __name__ == "__main__":
    sys.exit(main())
