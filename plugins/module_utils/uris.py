# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the URI of a store as its author means it, even if its password is not percent-encoded, and find out how a parser would read it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

#: How to write a password in a URI, for messages.
ENCODED = "percent-encode it: @ as %40, : as %3A, / as %2F, ? as %3F, # as %23, [ as %5B, ] as %5D, % as %25"


@dataclass(frozen=True)
class StoreUri:
    """The parts of a store's URI, not decoded."""

    scheme: str
    user: str
    password: str
    host: str
    port: str
    path: str

    @property
    def place(self) -> str:
        """Return the URI without login and query. Omit host and path if they have characters that names of hosts and databases do not have."""
        plain = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]*)", self.host) and re.fullmatch(r"\d*", self.port) and re.fullmatch(r"[\w./~-]*", self.path)
        return f"{self.scheme}://" + (f"{self.host}{':' if self.port else ''}{self.port}{self.path}" if plain else "***")

    @property
    def origin(self) -> str:
        """Return scheme, host and port."""
        return StoreUri(self.scheme, "", "", self.host, self.port, "").place

    @property
    def cut(self) -> bool:
        """Return whether the password has an @. A parser ends the password there and reads the rest as the host."""
        return "@" in self.password


def _ends_before(rest: str, query: int) -> bool:
    """Return whether the text before a question mark is a place with or without a login, and not the beginning of a password."""
    return "@" in rest[:query] or not re.match(r"[^/?@]*:(?!\d+/)", rest)


def read_uri(text: str) -> StoreUri:
    """Return the parts of a URI. The password continues to the last @ before the query."""
    scheme, _sign, rest = text.partition("://")
    query = re.search(r"\?[\w.-]+=", rest)
    login, at, place = rest[: query.start()].rpartition("@") if query and _ends_before(rest, query.start()) else rest.rpartition("@")
    user, _colon, password = login.partition(":") if at else ("", "", "")
    found = re.match(r"(\[[^\]]*\]|[^:/?]*):?([^/?]*)([^?]*)", place)
    host, port, path = found.groups() if found else ("", "", "")
    return StoreUri(scheme, user, password, host, port, path)


def not_encoded(text: str) -> bool:
    """Return whether a database's URI has a password that is not percent-encoded, so that a parser cuts it or refuses the URI."""
    if "://" not in text or not read_uri(text).password:
        return False
    try:
        urlsplit(text)
    except ValueError:
        return True
    return read_uri(text).cut
