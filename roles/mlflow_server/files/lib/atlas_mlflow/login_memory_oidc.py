"""The collection's account in the OpenID Connect plugin at full speed.

The plugin checks the tokens that it issues and those of the provider fast, and makes two small queries for each request. Only the account of the
collection has a password that the plugin has not generated, so its hash is a slow one. Here such a password is checked slowly once, and later only
looked up, as in `login_memory`.

For each request, the plugin also asks whether the user is active and an administrator, by objects of SQLAlchemy with the user's groups, while the event loop
waits: a third of the processor time of a request. Here one small query reads the same facts, at each request as before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from atlas_mlflow import source
from atlas_mlflow.login_memory import LoginMemory
from atlas_mlflow.quick_rows import QuickRows

logger = logging.getLogger(__name__)

#: The sha256 of the source of the plugin's function that reads the facts about a user, by release.
KNOWN_FACTS = {"d105700e6c409ff2413314ea8b1a742a0e74900f92fd331c311cef57e2542c9b": "10.1.3"}


def remembering(
    check: Callable[[str, str], bool], read: Callable[[str], Any], has_fast_hash: Callable[[str], bool], seen: timedelta
) -> Callable[[str, str], bool]:
    """Return the plugin's check of a name and a password, with a memory.

    :param check: The plugin's check. It also notes when a password was last used.
    :param read: Returns the row of a user's password that the plugin has not generated, with `token_hash`, `expires_at` and `last_used_at` in UTC
        without a time zone. None if there is none.
    :param has_fast_hash: Returns whether the plugin has generated a password.
    :param seen: The plugin notes the use of a password at most this often.
    """
    logins = LoginMemory()

    def authenticate_user(username: str, password: str) -> bool:
        if has_fast_hash(password):
            return check(username, password)
        row = read(username)
        now = datetime.now(UTC).replace(tzinfo=None)
        if row and row.expires_at > now and row.last_used_at and now - row.last_used_at < seen and logins.knows(username, password, row.token_hash):
            return True
        if not check(username, password):
            return False
        # The row was read before the slow check. If the password changed in between, it was checked against another hash.
        if row and (again := read(username)) and again.token_hash == row.token_hash:
            logins.remember(username, password, row.token_hash)
        return True

    return authenticate_user


def reading(slow: Callable[[Any, str], Any], read: Callable[[str], Any]) -> Callable[[Any, str], Any]:
    """Return the plugin's function that reads the facts about a user, with a short way for those who may log in.

    :param slow: The plugin's function. It also finds out why somebody may not.
    :param read: Returns the row of a user, with `is_admin`, `active`, `is_service_account` and `service_account_source`. None if there is none.
    """

    def facts(middleware: Any, username: str) -> Any:
        row = read(username)
        if row is None or not row.active:
            return slow(middleware, username)
        return bool(row.is_admin), True, "", (bool(row.is_service_account), row.service_account_source)

    return facts


def install() -> bool:
    """Give the plugin a memory for passwords and a short way to a user's facts, and return whether this release of the plugin has what it needs."""
    try:
        import sqlalchemy
        from mlflow_oidc_auth.db.models import SqlUser, SqlUserToken
        from mlflow_oidc_auth.middleware.auth_middleware import AuthMiddleware
        from mlflow_oidc_auth.repository.user import normalize_username
        from mlflow_oidc_auth.repository.user_token import LAST_USED_RESOLUTION_SECONDS, parse_prefix
        from mlflow_oidc_auth.store import store

        # The plugin's own selection of the row.
        by_name = (
            sqlalchemy.select(SqlUserToken.token_hash, SqlUserToken.expires_at, SqlUserToken.last_used_at)
            .join(SqlUser, SqlUser.id == SqlUserToken.user_id)
            .where(SqlUser.username == sqlalchemy.bindparam("name"), SqlUserToken.token_prefix.is_(None))
            .order_by(SqlUserToken.id)
            .limit(1)
        )
        rows = QuickRows(store.engine)

        facts = sqlalchemy.select(SqlUser.is_admin, SqlUser.active, SqlUser.is_service_account, SqlUser.service_account_source).where(
            SqlUser.username == sqlalchemy.bindparam("name")
        )

        def reader(statement: Any) -> Callable[[str], Any]:
            def read(username: str) -> Any:
                found = rows.read(statement, name=normalize_username(username))
                return found[0] if found else None

            return read

        slow = AuthMiddleware._get_user_auth_facts
        seen = timedelta(seconds=LAST_USED_RESOLUTION_SECONDS)
        remembered = remembering(store.authenticate_user, reader(by_name), lambda password: parse_prefix(password) is not None, seen)
    except (ImportError, AttributeError, TypeError) as error:
        logger.warning("Each request with a password checks it again, because this release of the plugin has another store of users: %s", error)
        return False
    store.authenticate_user = remembered
    if source.digest(slow) in KNOWN_FACTS:
        AuthMiddleware._get_user_auth_facts = reading(slow, reader(facts))
    else:
        logger.warning("Each request reads the user and the user's groups, because this release of the plugin is not known.")
    return True
