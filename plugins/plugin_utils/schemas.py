# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The schemas of the databases of two releases of MLflow. Servers of both may use a database side by side only if its schema is the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: The stores of a server in words, by the name of the schema's newest revision in a release's options.json.
STORES = {"schema_revision": "backend store", "auth_schema_revision": "store of users"}


def schema_changes(former: Mapping[str, Any], wanted: Mapping[str, Any], auth: str) -> list[str]:
    """Return a part of a sentence for each database of a server whose schema an upgrade changes, or may change.

    :param former: The facts of the present release, from its options.json. Empty if they are not known.
    :param wanted: The same of the release to upgrade to.
    :param auth: The kind of login.
    """
    changes = []
    for name, store in STORES.items():
        before, after = former.get(name), wanted.get(name)
        if name == "auth_schema_revision" and auth != "basic":
            continue
        if not before or not after:
            changes.append(f"the revision of the schema of the {store} is not known")
        elif before != after:
            changes.append(f"the schema of the {store} changes from revision {before} to {after}")
    # The plugin has its own schema, which no release tells.
    return [*changes, "the revision of the schema of the store of users is not known"] if auth == "oidc" else changes
