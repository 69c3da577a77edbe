# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters for texts with URIs: find one that a parser reads otherwise than it is meant, and show a log without logins."""

from __future__ import annotations

from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.redaction import hide_by_shape
from ansible_collections.atlas.mlflow.plugins.module_utils.uris import ENCODED, not_encoded


def uri_fault(uri: str) -> str:
    """Return what is wrong with the password in a database's URI and the way out, empty if it is well; no part of the URI is in it.

    :param uri: The URI.
    """
    return f"has a password that is not percent-encoded. In the URI, {ENCODED}." if not_encoded(str(uri)) else ""


class FilterModule:
    """Make the filters known to Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {"uri_fault": uri_fault, "without_logins": hide_by_shape}
