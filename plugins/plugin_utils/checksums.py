# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checksums of files on the control node."""

from __future__ import annotations

import hashlib
import os
from typing import BinaryIO


def stream_sha256(file: BinaryIO) -> str:
    """Return the sha256 of the rest of an open file in hexadecimal."""
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def file_sha256(path: str) -> str:
    """Return the sha256 of a file on the control node in hexadecimal.

    :param path: Its path; ``~`` is the home of the user who runs Ansible, and a relative path starts in Ansible's working directory.
    :raises OSError: If there is no such file, or it cannot be read.
    """
    with open(os.path.expanduser(path), "rb") as file:
        return stream_sha256(file)
