# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a bundle that a task copied to this host: one archive, which is removed once it was used."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: The form of the manifest of a bundle. A change that older releases cannot read raises it.
FORM = 1
#: A folder on a disk, because /tmp may be in memory. systemd-tmpfiles(8) removes what an interrupted run leaves there.
PLACE = "/var/tmp"
PREFIX = "atlas-mlflow-bundle-"


@contextmanager
def unpacked(parts: str) -> Iterator[str]:
    """Unpack an archive into a folder of its own, and remove both at the end.

    :param parts: The path of the archive. Empty: the folder is empty.
    """
    folder = tempfile.mkdtemp(prefix=PREFIX, dir=PLACE)
    try:
        if parts:
            unpack(parts, folder)
            # The disk need not have the files twice.
            os.unlink(parts)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            os.unlink(parts)


def unpack(parts: str, folder: str) -> None:
    """Write the files of an archive into one folder, by the last parts of their names. Anything but a file is left out."""
    with tarfile.open(parts) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                with content, open(os.path.join(folder, os.path.basename(member.name)), "xb") as target:
                    shutil.copyfileobj(content, target)
