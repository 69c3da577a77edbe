"""The collection's account and the tokens of users in the OpenID Connect plugin at full speed.

The plugin makes two queries for each request that comes with a name and a password or a token, by objects of SQLAlchemy: whether it is right, in a
thread of its own, and who the user is, with the user's groups, while the event loop waits. Here one small query reads both at each request as before: the
stored hash, and whether the user is active and an administrator. A keyed hash of what was right is remembered, as in `login_memory`, also because the
password of the collection's account, which the plugin has not generated, has a slow hash. What is not known to be right is checked by the plugin.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Callable
from contextvars import ContextVar
from datetime import datetime, timedelta, timezone
from typing import Any

from atlas_mlflow import source
from atlas_mlflow.login_memory import LoginMemory
from atlas_mlflow.quick_rows import rows_of

logger = logging.getLogger(__name__)

#: The sha256 of the sources of the plugin's functions that check a login and read the facts about a user, by release.
KNOWN = {"5ddba727002923c5f77b17e9889ce3b383578a05ece2b34d64903cc8cb671325": "10.1.3"}
#: Name and facts of the user whose login was just found to be right, for the plugin's next question in the same request.
_facts: ContextVar[tuple[str, Any] | None] = ContextVar("atlas_mlflow_facts", default=None)


class Logins:
    """The logins that were right, with what the database says about them.

    :param read: Returns the row of a user's password or token, by the user's name and the prefix of the token, None for a password: `token_hash`,
        `expires_at` and `last_used_at` in UTC without a time zone, and the facts about the user. None if there is none.
    :param prefix_of: Returns the prefix of a token, None for a password.
    :param seen: The plugin notes the use of a login at most this often.
    """

    def __init__(self, read: Callable[[str, str | None], Any], prefix_of: Callable[[str], str | None], seen: timedelta) -> None:
        self._read = read
        self._prefix_of = prefix_of
        self._seen = seen
        self._memory = LoginMemory()

    def row(self, username: str, password: str) -> Any:
        """Return the row for a login, None if there is none."""
        return self._read(username, self._prefix_of(password))

    def knows(self, row: Any, username: str, password: str) -> bool:
        """Return whether a login is right, its user is active, and the plugin has nothing to note."""
        now = datetime.now(timezone.utc).replace(tzinfo=None)
        if not row or not row.active or row.expires_at <= now or not row.last_used_at or now - row.last_used_at >= self._seen:
            return False
        return self._memory.knows(username, password, row.token_hash)

    def checked(self, before: Any, username: str, password: str) -> None:
        """Remember a login that the plugin found to be right.

        :param before: The row that was read before the check. If it changed in between, the login was checked against another hash.
        """
        if before and (again := self.row(username, password)) and again.token_hash == before.token_hash:
            self._memory.remember(username, password, before.token_hash)


def parse(header: str) -> tuple[str, str] | None:
    """Return name and password of a header, as the plugin reads them, None if it would refuse the header."""
    try:
        username, password = base64.b64decode(header.split(" ", 1)[1]).decode("utf-8").split(":", 1)
    except (binascii.Error, IndexError, ValueError):
        return None
    return username.lower(), password


def facts_of(row: Any) -> Any:
    """Return the facts about an active user, as the plugin's function does."""
    return bool(row.is_admin), True, "", (bool(row.is_service_account), row.service_account_source)


def authenticating(slow: Callable[[Any, str], Any], logins: Logins) -> Callable[[Any, str], Any]:
    """Return the plugin's check of a name and a password in a header, with a short way for a login that is known.

    :param slow: The plugin's function, which runs its slow check in a thread.
    """

    async def authenticate(middleware: Any, header: str) -> Any:
        login = parse(header)
        row = logins.row(*login) if login else None
        if login and logins.knows(row, *login):
            _facts.set((login[0], facts_of(row)))
            return True, login[0], ""
        answer = await slow(middleware, header)
        if login and answer[0]:
            logins.checked(row, *login)
        return answer

    return authenticate


def reading(slow: Callable[[Any, str], Any], read: Callable[[str], Any]) -> Callable[[Any, str], Any]:
    """Return the plugin's function that reads the facts about a user, with a short way for those who may log in.

    :param slow: The plugin's function. It also finds out why somebody may not.
    :param read: Returns the row of a user, with `is_admin`, `active`, `is_service_account` and `service_account_source`. None if there is none. It is asked if
        the facts did not come with the login of this request, as with a token of the provider.
    """

    def facts(middleware: Any, username: str) -> Any:
        known = _facts.get()
        _facts.set(None)
        if known and known[0] == username:
            return known[1]
        row = read(username)
        return facts_of(row) if row is not None and row.active else slow(middleware, username)

    return facts


def install() -> bool:
    """Give the plugin a memory for logins and a short way to a user's facts, and return whether this release of the plugin has what it needs."""
    try:
        import sqlalchemy
        from mlflow_oidc_auth.db.models import SqlUser, SqlUserToken
        from mlflow_oidc_auth.middleware import auth_middleware
        from mlflow_oidc_auth.repository import user_token
        from mlflow_oidc_auth.repository.user import normalize_username
        from mlflow_oidc_auth.store import store

        middleware = auth_middleware.AuthMiddleware
        known = source.digest_of_all(
            middleware.dispatch,
            middleware._authenticate_user,
            middleware._authenticate_basic_auth,
            middleware._get_user_auth_facts,
            auth_middleware._authenticate_basic_auth_sync,
            user_token.UserTokenRepository.authenticate,
            user_token.parse_prefix,
            normalize_username,
        )
        if known not in KNOWN:
            logger.warning("Each request checks its password again and reads the user and the user's groups, because this release of the plugin is not known.")
            return False
        name = SqlUser.username == sqlalchemy.bindparam("name")
        facts = (SqlUser.is_admin, SqlUser.active, SqlUser.is_service_account, SqlUser.service_account_source)
        # The plugin's own selection of the row.
        login = sqlalchemy.select(SqlUserToken.token_hash, SqlUserToken.expires_at, SqlUserToken.last_used_at, *facts)
        login = login.join(SqlUser, SqlUser.id == SqlUserToken.user_id).where(name).order_by(SqlUserToken.id).limit(1)
        of_password, of_token = login.where(SqlUserToken.token_prefix.is_(None)), login.where(SqlUserToken.token_prefix == sqlalchemy.bindparam("prefix"))
        of_name = sqlalchemy.select(*facts).where(name)
        rows = rows_of(store)

        def first(statement: Any, username: str, **values: Any) -> Any:
            found = rows.read(statement, name=normalize_username(username), **values)
            return found[0] if found else None

        def read_login(username: str, prefix: str | None) -> Any:
            return first(of_password, username) if prefix is None else first(of_token, username, prefix=prefix)

        logins = Logins(read_login, user_token.parse_prefix, timedelta(seconds=user_token.LAST_USED_RESOLUTION_SECONDS))
        authenticate = authenticating(middleware._authenticate_basic_auth, logins)
        read_facts = reading(middleware._get_user_auth_facts, lambda username: first(of_name, username))
    except (ImportError, AttributeError, TypeError) as error:
        logger.warning("Each request with a password checks it again, because this release of the plugin has another store of users: %s", error)
        return False
    middleware._authenticate_basic_auth = authenticate
    middleware._get_user_auth_facts = read_facts
    return True
