# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the databases, and the owners of them, that are missing in PostgreSQL or differ from the wanted ones."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from typing import Any

#: The format in which PostgreSQL stores a password (https://www.postgresql.org/docs/current/catalog-pg-authid.html): iterations, salt, stored key, server key.
VERIFIER = re.compile(r"^SCRAM-SHA-256\$(\d+):([^$:]+)\$([^$:]+):([^$:]+)$")


def is_password(verifier: str, password: str) -> bool:
    """Return whether a password matches PostgreSQL's verifier (RFC 5802, section 3).

    :param verifier: The role's ``rolpassword``.
    :param password: The password. The result is False if it is not ASCII, because PostgreSQL prepares such a password by its own rules (RFC 4013).
    """
    match = VERIFIER.match(verifier)
    if not match or not password.isascii():
        return False
    iterations, salt, stored = int(match[1]), base64.b64decode(match[2]), base64.b64decode(match[3])
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client = hmac.digest(salted, b"Client Key", "sha256")
    return hmac.compare_digest(hashlib.sha256(client).digest(), stored)


def differences(rows: Iterable[Mapping[str, Any]], owners: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return what must be created or changed.

    :param rows: The roles and databases of PostgreSQL, each row with C(kind) (role or database), C(name), C(detail) (the verifier or the owner) and C(good):
        whether the other attributes are as wanted. Without rows, everything must be created.
    :param owners: The roles that own databases, each with C(name), C(password) and C(databases).
    :returns: ``owners``: the names of the roles that differ. ``databases``: the databases that differ, each with ``name`` and ``owner``.
    """
    known = {(row["kind"], row["name"]): str(row["detail"]) for row in rows if row["good"]}
    owners = list(owners)
    return {
        "owners": [owner["name"] for owner in owners if not is_password(known.get(("role", owner["name"]), ""), str(owner["password"]))],
        "databases": [
            {"name": name, "owner": owner["name"]}
            for owner in owners
            for name in owner.get("databases") or []
            if known.get(("database", name)) != owner["name"]
        ],
    }
