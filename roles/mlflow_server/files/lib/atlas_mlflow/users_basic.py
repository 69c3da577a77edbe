"""The store of users of MLflow's basic-auth app, and the administrator in it."""

from __future__ import annotations

from typing import Any

from atlas_mlflow import stores
from atlas_mlflow.login import Config
from atlas_mlflow.schema import Schema

#: The tables with its store's revision, since release 3.6 and before.
NOTED_IN = ("alembic_version_auth", "alembic_version")


def read_schema() -> Schema:
    """Return the schema of the release's basic-auth app.

    :raises StoreError: If the packages that the app needs are not installed.
    """
    from alembic.script import ScriptDirectory

    try:
        from mlflow.server.auth.db import utils
    except ImportError as error:
        raise stores.StoreError(
            f"mlflow_server_auth is basic, and this MLflow is installed without what that needs: {stores.first_line(error)} "
            "Add Flask-WTF to the lock or the image (mlflow[auth])."
        ) from error
    scripts = ScriptDirectory.from_config(utils._get_alembic_config(""))
    return Schema(
        "the store of users",
        NOTED_IN,
        scripts.get_current_head(),
        lambda _engine: scripts,
        lambda engine: utils.migrate(engine, "head"),
        utils.migrate,
        lambda engine: utils.migrate(engine, "head"),
    )


def give_password(engine: Any, config: Config) -> str:
    """Create the administrator or set its password if needed, and return a line about the change, empty if there was none."""
    import sqlalchemy
    from werkzeug.security import check_password_hash, generate_password_hash

    with stores.locked(engine), engine.begin() as connection:
        row = connection.execute(sqlalchemy.text("SELECT password_hash, is_admin FROM users WHERE username = :name"), {"name": config.name}).fetchone()
        if row and row[1] and check_password_hash(row[0], config.password):
            return ""
        sql = (
            "UPDATE users SET password_hash = :hash, is_admin = :yes WHERE username = :name"
            if row
            else "INSERT INTO users (username, password_hash, is_admin) VALUES (:name, :hash, :yes)"
        )
        connection.execute(sqlalchemy.text(sql), {"name": config.name, "hash": generate_password_hash(config.password), "yes": True})
    return f"{'Gave' if row else 'Made'} the administrator {config.name}{' the configured password' if row else ''}."
