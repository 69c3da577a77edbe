"""The plugin's store of users, and the administrator in it, with which the collection logs in.

People come from the OpenID provider. The collection has no browser: its verification, its health check and its garbage collection log in
with a name and a password. In the plugin this is a service account, which cannot log in through the provider.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from atlas_mlflow import stores
from atlas_mlflow.login import Config
from atlas_mlflow.schema import Schema

#: The table with its store's revision.
NOTED_IN = ("alembic_version",)
#: The plugin requires an expiry date for each password. A start within the second half of this time sets a new date.
LIFETIME = timedelta(days=3650)
#: The plugin's name for a password that it has not generated. A user has one such password.
NAME = "default"
#: The display name of the account. It identifies the account after a change of its name.
SHOWN_AS = "atlas.mlflow"


def read_schema() -> Schema:
    """Return the schema of the plugin's store.

    :raises StoreError: If the plugin is not installed.
    """
    from alembic.script import ScriptDirectory

    try:
        from mlflow_oidc_auth.db import utils
    except ImportError as error:
        raise stores.StoreError(f"mlflow_server_auth is oidc, and its plugin is not installed: {stores.first_line(error)}") from error
    scripts = ScriptDirectory.from_config(utils._get_alembic_config(""))

    def make(engine: Any) -> None:
        utils.migrate(engine, "head")

    return Schema("the store of users", NOTED_IN, scripts.get_current_head(), lambda _engine: scripts, make, utils.migrate, make)


def give_password(engine: Any, config: Config) -> str:
    """Create the administrator or set its password if needed, and return a line about the change, empty if there was none.

    :raises StoreError: If the name belongs to a person.
    """
    from mlflow_oidc_auth.db.models import SqlUser, SqlUserToken
    from sqlalchemy.orm import Session
    from werkzeug.security import check_password_hash, generate_password_hash

    now = datetime.now(timezone.utc).replace(tzinfo=None)
    name = config.name.lower()
    with stores.locked(engine), Session(engine) as session, session.begin():
        user = session.query(SqlUser).filter_by(username=name).one_or_none()
        if user is None:
            user = SqlUser(username=name, display_name=SHOWN_AS)
            session.add(user)
        elif not user.is_service_account:
            raise stores.StoreError(f"{name} is a person, who logs in by the provider: set mlflow_server_admin_user to another name.")
        user.is_admin, user.is_service_account, user.active = True, True, True
        user.service_account_source, user.managed_by = "internal", "manual"
        # An account with an earlier name would keep its password.
        session.query(SqlUser).filter(SqlUser.display_name == SHOWN_AS, SqlUser.is_service_account, SqlUser.username != name).update({"active": False})
        session.flush()
        passwords = session.query(SqlUserToken).filter_by(user_id=user.id).all()
        if len(passwords) == 1 and passwords[0].expires_at > now + LIFETIME / 2 and check_password_hash(passwords[0].token_hash, config.password):
            return ""
        for password in passwords:
            session.delete(password)
        session.flush()
        hashed = generate_password_hash(config.password)
        session.add(SqlUserToken(user_id=user.id, name=NAME, token_hash=hashed, created_at=now, created_by=name, expires_at=now + LIFETIME))
    return f"Gave the administrator {name} the configured password."
