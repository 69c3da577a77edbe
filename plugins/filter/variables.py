# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that find what Ansible's own checks of variables pass over: a name with a slip of the pen, and what is wrong inside a dictionary."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Optional

from ansible_collections.atlas.mlflow.plugins.plugin_utils.settings import misspelled

def unfit_settings(settings: Mapping[str, Any], refused: Optional[Mapping[str, str]] = None) -> list[str]:
    """Return what is wrong in a dictionary of settings, a part of a sentence for each fault, without the values: one may be a secret.

    :param settings: Names and values.
    :param refused: Names that may not stand there, each with the way out.
    """
    faults = []
    for name, value in settings.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", str(name)):
            faults.append(f"{name}: this is no name of a setting")
        elif refused and name in refused:
            faults.append(f"{name}: {refused[name]}")
        elif isinstance(value, (list, tuple, Mapping)):
            faults.append(f"{name}: its value is a list or a dictionary, and must be a string, a number or a boolean")
    return faults


class FilterModule:
    """Make the filters known to Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {"misspelled": misspelled, "unfit_settings": unfit_settings}
