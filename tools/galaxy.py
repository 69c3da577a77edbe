"""Import a built collection as Galaxy does, and ask for the documentation of those kinds of plugins alone that it has.

galaxy-importer starts ansible-doc for each kind that there is, to be told that a collection without such a folder has none: half of its processor time.

    python -m tools.galaxy ARCHIVE
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from galaxy_importer.constants import ANSIBLE_DOC_PLUGIN_MAP
from galaxy_importer.loaders import DocStringLoader
from galaxy_importer.main import main

_ask = DocStringLoader._run_ansible_doc_list


def plugins_of(loader: Any, kind: str) -> dict[str, Any]:
    """Return the plugins of a kind that ansible-doc finds in the collection at ``loader.path``."""
    there = Path(loader.path, "plugins", ANSIBLE_DOC_PLUGIN_MAP.get(kind, kind)).is_dir()
    found: dict[str, Any] = _ask(loader, kind) if there else {}
    return found


if __name__ == "__main__":
    DocStringLoader._run_ansible_doc_list = plugins_of
    sys.exit(main())
