# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of images."""

from __future__ import annotations


def full_image_name(name: str) -> str:
    """Return the name of an image with its registry, which Podman needs where Docker adds its own.

    :param name: The name, as Docker takes it.
    """
    first, slash, _rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return name
    return f"docker.io/{name}" if slash else f"docker.io/library/{name}"
