# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The descriptions of containers, of which Podman's Quadlet makes units of systemd."""

from __future__ import annotations

import re
from collections.abc import Iterable

FOLDER = "/etc/containers/systemd"


def quadlet_file(unit: str) -> str:
    """Return the path of the description of a container.

    :param unit: The unit that Quadlet makes of it, such as C(mlflow-server.service).
    """
    return f"{FOLDER}/{unit.removesuffix('.service')}.container"


def quadlet_volume(text: str, targets: Iterable[str]) -> str:
    """Return the name of the volume that a container has at one of some paths, empty if there is none.

    :param text: The description of the container.
    :param targets: The paths in the container.
    """
    mounts = re.findall(r"^Volume=([^:/\n]+):([^:\n]+)", text, re.MULTILINE)
    return next((name for name, target in mounts if target in set(targets)), "")
