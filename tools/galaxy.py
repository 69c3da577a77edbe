"""Check a built collection with Galaxy's importer, and read the documentation only for the kinds of plugins that the collection has.

galaxy-importer starts ansible-doc for each existing kind, even if the collection has no folder for it. This takes half of its processor time. For the
other kinds, ansible-doc runs in forks of this process.

    python -m tools.galaxy ARCHIVE
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from galaxy_importer.constants import ANSIBLE_DOC_PLUGIN_MAP
from galaxy_importer.loaders import DocStringLoader, doc_string
from galaxy_importer.main import main

from . import forks

_ask = DocStringLoader._run_ansible_doc_list


def plugins_of(loader: Any, kind: str) -> dict[str, Any]:
    """Return the plugins of a kind that ansible-doc finds in the collection at ``loader.path``."""
    there = Path(loader.path, "plugins", ANSIBLE_DOC_PLUGIN_MAP.get(kind, kind)).is_dir()
    found: dict[str, Any] = _ask(loader, kind) if there else {}
    return found


def started(command: list[str], cwd: str, **_pipes: Any) -> Any:
    """Run ansible-doc in a fork of this process, and return what galaxy-importer uses of a finished process.

    :param command: ``env``, what it adds to the environment, and ansible-doc with its arguments.
    """
    at = command.index("ansible-doc")
    done: subprocess.CompletedProcess[str] = forks.ansible_doc(command[at:], os.environ | dict(word.split("=", 1) for word in command[1:at]), Path(cwd))
    return SimpleNamespace(returncode=done.returncode, communicate=lambda: (done.stdout.encode(), done.stderr.encode()))


if __name__ == "__main__":
    DocStringLoader._run_ansible_doc_list = plugins_of
    doc_string.Popen = started
    sys.exit(main())
