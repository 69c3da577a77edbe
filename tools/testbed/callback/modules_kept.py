"""Let the runs of Ansible in a scenario share the modules that they have made ready for hosts.

Without it, each run parses and compresses all files that each of its modules imports. This takes a tenth of the processor time of a run. With this plugin,
the runs of a scenario share the result in the scenario's folder for temporary files, if ansible-core, Python and the content of the collections are the same.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import ansible
from ansible import constants
from ansible.plugins.callback import CallbackBase
from ansible.utils.collection_loader._collection_finder import _get_collection_path

DOCUMENTATION = r"""
name: modules_kept
type: aggregate
short_description: Share the modules that the runs of a scenario have made ready
description: Has no options.
"""

#: The folder in which ansible-core keeps them, below its temporary folder for a run.
NAME = "ansiballz_cache"
#: The files that a module of this collection is made from. Another collection has a file with the checksums of all its files.
OWN, FILES = ("plugins/modules/*.py", "plugins/module_utils/**/*.py"), "FILES.json"
OTHERS = ("community.crypto", "community.docker", "community.library_inventory_filtering_v1", "community.postgresql")


def digest(own: Path, others: list[Path]) -> str:
    """Return a hash of the versions of Python and ansible-core, and of the files from which modules are made.

    :param own: The folder of this collection.
    :param others: The folders of other collections.
    """
    total = hashlib.sha256(f"{sys.version} {ansible.__version__}".encode())
    for path in [*sorted(path for pattern in OWN for path in own.glob(pattern)), *(folder / FILES for folder in others)]:
        content = path.read_bytes()
        total.update(f"{path.name} {len(content)}\0".encode() + content)
    return total.hexdigest()


class CallbackModule(CallbackBase):
    """Put a link to the shared folder in place of the run's own. Ansible removes the link at the end of the run."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "modules_kept"

    def __init__(self) -> None:
        """Do this when the run begins."""
        super().__init__()
        try:
            own, *others = (Path(_get_collection_path(name)) for name in ("atlas.mlflow", *OTHERS))
        except ValueError:
            # A run that lacks one of them has modules of its own.
            return
        shared = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "modules", digest(own, others))
        shared.mkdir(parents=True, exist_ok=True)
        Path(constants.DEFAULT_LOCAL_TMP, NAME).symlink_to(shared)
