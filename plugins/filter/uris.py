# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that take logins out of a log, and put a password into a URI."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from ansible_collections.atlas.mlflow.plugins.module_utils.redaction import hide_by_shape


def with_password(uri: str, password: str) -> str:
    """Return a URI that has a user with this password.

    :param uri: The URI with the user and without a password.
    :param password: The password as it is, with any signs.
    """
    user, at, place = uri.partition("@")
    return f"{user}:{quote(password, safe='')}{at}{place}"


class FilterModule:
    """Make the filters known to Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {"without_logins": hide_by_shape, "with_password": with_password}
