# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter that finds a database's URI that a parser reads otherwise than it is meant."""

from __future__ import annotations

from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.uris import ENCODED, not_encoded


def uri_fault(uri: str) -> str:
    """Return what is wrong with the password in a database's URI and the way out, empty if it is well; no part of the URI is in it.

    :param uri: The URI.
    """
    return f"has a password that is not percent-encoded. In the URI, {ENCODED}." if not_encoded(str(uri)) else ""


class FilterModule:
    """Make the filter known to Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filter by its name."""
        return {"uri_fault": uri_fault}
