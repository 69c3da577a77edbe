# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that remove logins from a log, and add a password to a URI."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from ansible_collections.atlas.mlflow.plugins.module_utils.redaction import hide_by_shape


def with_password(uri: str, password: str) -> str:
    """Return a URI with a password for its user.

    :param uri: The URI with the user and without a password.
    :param password: The password, not encoded. It may have any characters.
    """
    user, at, place = uri.partition("@")
    return f"{user}:{quote(password, safe='')}{at}{place}"


class FilterModule:
    """Register the filters with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {"without_logins": hide_by_shape, "with_password": with_password}
