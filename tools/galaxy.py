"""Check a built collection with Galaxy's importer, and read the documentation only for the kinds of plugins that the collection has.

galaxy-importer starts ansible-doc for each existing kind, even if the collection has no folder for it. This takes half of its processor time.

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
