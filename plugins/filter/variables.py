# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that finds variables whose name is a slip of the pen, which Ansible would pass over in silence."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

#: How alike two names are that are taken for one (difflib's ratio). Another role's variable of the same prefix is less alike.
LIKENESS = 0.9


def misspelled(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return the names that are not known and are nearly one that is, each with that one.

    :param names: Names that are set.
    :param known: Names that there are.
    """
    wanted = list(known)
    nearest = {name: difflib.get_close_matches(name, wanted, 1, LIKENESS) for name in sorted(set(names) - set(wanted))}
    return [f"{name} (did you mean {near[0]}?)" for name, near in nearest.items() if near]


class FilterModule:
    """Make the filter known to Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filter by its name."""
        return {"misspelled": misspelled}
