# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove secrets from a module's result: one object knows the secrets, and cleans every text before it is returned.

A password in a URI that is not percent-encoded makes the URI ambiguous: a parser reads a part of the password as the host, the path or the
query, and an error message quotes that part. So the rules in this file read a URI in every possible way, take each possible password,
and replace each piece of it with at least C(SHORTEST) characters, at any place.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

#: The replacement for a secret.
SHOWN = "***"
#: The number of consecutive characters of a secret that are replaced at any place.
SHORTEST = 4
#: The same for a secret in lower case, as a parser of host names returns it. Shorter pieces would match common words.
SHORTEST_LOWERED = 6
#: Names of environment variables, options and parameters whose value is a secret.
_NAME = r"pass(?!ive)|pwd|secret|token|credential|(?:api|access|private|encryption|account|signing)[_-]?key|connection[_-]?string|(?<![a-z])key$"
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)
#: Names that are similar but have no secret: a folder, a file, the identity that belongs to a key.
_PLAIN_NAME = re.compile(
    r"^(?:OLDPWD|PWD)$|(?:file|path|dir|_id|version|_url|_name|timeout|algorithm|expir\w*|enabled?|type|location|provider)$", re.IGNORECASE
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_IN_URI = re.compile(r"(://).*@", re.DOTALL)
_NO_HOST = re.compile(r"(://[^\s/@:\[]*:)(?!(?:\d{1,5}|\*)(?:[/?#,;\s\"')\]]|$))\S+")
_ASSIGNED = re.compile(
    r"""([\w.-]*(?:pass|pwd|secret|token|credential|(?:api|access|private|encryption|account|signing)[_-]?key)[\w.-]*["']?\s*[=:]\s*)[^\n]+""", re.IGNORECASE
)
_WORD = re.compile(r"[A-Za-z0-9]+")
_HEADER = re.compile(r"\b(Basic|Bearer)\s+(?!auth)[A-Za-z0-9+/=._~-]{8,}")
#: Words that reveal nothing of a secret that contains them: common names and defaults, and words in messages of servers and drivers.
PUBLIC = frozenset(
    """
    mlflow server service atlas network postgres postgresql minio minioadmin artifacts artifact proxied host port workers backend store uri registry destination
    default root allowed hosts cors origins static prefix gunicorn uvicorn opts serve app name basic auth bind timeout localhost psycopg psycopg2 mysql pymysql
    mssql pyodbc sqlite http https docker container proxy python python3 bin usr opt var lib etc tmp run current db database bucket user admin administrator
    password passwords secret true false none null 0 1 127 5000 5001 5432 9000 active running failed exited restarting
    connection failed fatal error authentication does not exist could translate address resolve known refused permission denied for schema public remaining
    slots are reserved occurred when calling operation access connect endpoint url validation certificate verify module named such option already use
    """.split()
)


def is_secret_name(name: str) -> bool:
    """Return whether a variable, an option or a parameter of this name has a secret."""
    return bool(_SECRET_NAME.search(name)) and not _PLAIN_NAME.search(name)


def uri_secrets(text: str) -> set[str]:
    """Return all possible passwords in a text that is a URI or contains URIs, in every way to read it."""
    found: set[str] = set()
    whole = text.partition("://")[2]
    for rest in {whole, *_SCHEME.split(text)[1:], *(word.partition("://")[2] for word in text.split() if "://" in word)}:
        login, at, _place = rest.rpartition("@")
        _user, colon, password = (login if at else rest).partition(":")
        # Without a login, digits after a colon are a port.
        if colon and (at or not rest.startswith("[") and not re.match(r"(\d{1,5}|\*)([/?#,;\s\"')]|$)", password)):
            found.add(password)
        for match in re.finditer(r"[?&;]([^=&;?]*)=", rest):
            if is_secret_name(match.group(1)):
                value = rest[match.end() :]
                found |= {value, re.split(r"[&;\s]", value)[0]}
    return found


def argument_secrets(words: Iterable[str]) -> set[str]:
    """Return possible passwords in a list of arguments: in URIs, and after an option or an assignment with the name of a secret."""
    found: set[str] = set()
    before = ""
    for word in words:
        found |= uri_secrets(word)
        name, equals, value = word.partition("=")
        if equals and is_secret_name(name):
            found.add(value)
        elif before.startswith("--") and "=" not in before and is_secret_name(before):
            found.add(word)
        before = word
    return found


def text_secrets(text: str) -> set[str]:
    """Return possible passwords in a command line in which the end of an argument is unknown."""
    words = text.split()
    # A value with spaces ends at the next option.
    options = re.findall(r"(?:^|\s)--?([\w.-]+)[=\s]+(.*?)(?=\s--|$)", text, re.DOTALL)
    found = uri_secrets(text) | argument_secrets(words) | {value for name, value in options if is_secret_name(name)}
    try:
        return found | argument_secrets(shlex.split(text))
    except ValueError:  # a quote without an end
        return found | argument_secrets([word.strip("\"'") for word in words])


def environment_secrets(variables: Mapping[str, str]) -> set[str]:
    """Return possible passwords in an environment."""
    found: set[str] = set()
    for name, value in variables.items():
        if is_secret_name(name):
            found.add(value)
        if "://" in value:
            found |= uri_secrets(value)
        elif re.search(r"\s|=", value):  # a command line or a list of settings
            found |= text_secrets(value)
    return found


def hide_by_shape(text: str) -> str:
    """Return a text without texts that have the form of a credential, for unknown secrets such as those in a log."""
    text = _HEADER.sub(rf"\1 {SHOWN}", text)
    text = _IN_URI.sub(rf"\1{SHOWN}@", text)
    text = _NO_HOST.sub(rf"\1{SHOWN}", text)
    return _ASSIGNED.sub(rf"\1{SHOWN}", text)


class Redactor:
    """Knows secrets, and removes them from texts."""

    #: Facts that are words of a table, numbers or addresses: they contain nothing from outside.
    CLOSED = frozenset({"kind", "outcome", "schema", "fault", "address"})

    def __init__(self, secrets: Iterable[str] = (), public: Iterable[str] = ()) -> None:
        self._public = set(PUBLIC)
        self._secrets: dict[str, int] = {}  # each spelling, and the length of its shortest piece that is replaced
        self._pieces: dict[str, list[str]] = {}  # each piece of that length, and the spellings that contain it
        self.learn(secrets)
        self.publish(public)

    def learn(self, secrets: Iterable[str]) -> None:
        """Add secrets, in each spelling that may occur in a text."""
        for secret in secrets:
            plain, again = unquote(secret), unquote(unquote(secret))
            spellings = {secret, plain, again, unquote_plus(secret)}
            for text in (secret, plain):
                encoded = quote(text, safe="")
                spellings |= {encoded, quote(text), quote_plus(text), re.sub(r"%..", lambda match: match.group().lower(), encoded)}
                spellings |= {repr(text)[1:-1], text.replace("$", "$$"), text.replace("%", "%%"), text.replace('"', '\\"')}
            for spelling in spellings:
                self._add(spelling, SHORTEST)
                self._add(spelling.lower(), SHORTEST_LOWERED)

    def _add(self, spelling: str, shortest: int) -> None:
        if len(spelling) < shortest or self._secrets.get(spelling, shortest + 1) <= shortest:
            return
        self._secrets[spelling] = shortest
        for start in range(len(spelling) - shortest + 1):
            spellings = self._pieces.setdefault(spelling[start : start + shortest], [])
            if spelling not in spellings:
                spellings.append(spelling)

    def publish(self, texts: Iterable[str]) -> None:
        """Add texts whose words may be shown, even if a secret contains a piece of them: names from the caller."""
        for text in texts:
            self._public.update(_WORD.findall(text.lower()))

    def text(self, text: str) -> str:
        """Return a text without secrets."""
        return re.sub(r"\*{4,}", SHOWN, self._without_pieces(hide_by_shape(text)))

    def _without_pieces(self, text: str) -> str:
        shown = [True] * len(text)  # the characters that are not part of a word, or part of a public word
        for word in _WORD.finditer(text):
            if word.group().lower() not in self._public:
                shown[word.start() : word.end()] = [False] * len(word.group())
        parts: list[str] = []
        start = 0
        while start < len(text):
            length = self._piece_at(text, start)
            if length and all(shown[start : start + length]) and _WORD.search(text[start : start + length]):
                length = 0
            parts.append(SHOWN if length else text[start])
            start += length or 1
        return "".join(parts)

    def _piece_at(self, text: str, start: int) -> int:
        """Return the length of the longest piece of a secret at this position, 0 if there is none."""
        longest = 0
        for shortest in (SHORTEST, SHORTEST_LOWERED):
            for spelling in self._pieces.get(text[start : start + shortest], ()):
                length = shortest
                while start + length < len(text) and text[start : start + length + 1] in spelling:
                    length += 1
                longest = max(longest, length)
        return longest

    def words(self, words: Iterable[str]) -> list[str]:
        """Return a list of arguments without secrets, including short secrets after an option."""
        shown: list[str] = []
        before = ""
        for word in words:
            hidden = before.startswith("--") and "=" not in before and is_secret_name(before)
            shown.append(SHOWN if hidden else self.text(word))
            before = word
        return shown

    def clean(self, facts: Any) -> Any:
        """Return data with every text in it cleaned. The keys of dictionaries are the collection's own, and are not changed."""
        if isinstance(facts, str):
            return self.text(facts)
        if isinstance(facts, Mapping):
            return {key: value if key in self.CLOSED else self.clean(value) for key, value in facts.items()}
        if isinstance(facts, (list, tuple)):
            return self.words(facts) if facts and all(isinstance(one, str) for one in facts) else [self.clean(one) for one in facts]
        return facts
