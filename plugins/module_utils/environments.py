# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stamp of an environment that ``uv_environment`` makes: the inputs of the environment."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping

#: The name of the stamp in the environment's folder.
STAMP = ".atlas-mlflow.json"
#: Names of the interpreter of an environment, the first one that exists. Enterprise Linux 9 has Python 3.9 by the name python3, with which MLflow does not
#: run, and 3.12 in a package beside it. In release 10, python3 is 3.12.
PYTHONS = {"RedHat": ("python3.12", "python3")}


def python_of(family: str, find: Callable[[str], str | None]) -> str:
    """Return the path of the interpreter for environments, empty if there is none.

    :param family: The family of the system.
    :param find: Returns the path of a program.
    """
    return next((path for name in PYTHONS.get(family, ("python3",)) if (path := find(name))), "")


def digest(text: str) -> str:
    """Return the sha256 of a text in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def read_stamp(path: str) -> dict[str, object]:
    """Return the content of an environment's stamp, empty if there is no stamp or it cannot be read."""
    try:
        with open(os.path.join(path, STAMP), encoding="utf-8") as stamp:
            content = json.load(stamp)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def wanted_stamp(requirements: str, interpreter: str, extra_files: Mapping[str, str]) -> dict[str, object]:
    """Return the stamp of the requested environment.

    :param requirements: Text of the lock.
    :param interpreter: Path of the environment's interpreter, without symbolic links.
    :param extra_files: Texts of the files next to the packages, by their relative paths.
    """
    return {"requirements": digest(requirements), "interpreter": interpreter, "files": {name: digest(text) for name, text in extra_files.items()}}
