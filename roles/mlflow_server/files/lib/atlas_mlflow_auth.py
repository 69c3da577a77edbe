"""Make the store of MLflow's users, and see that its administrator has the configured password, before a server starts.

A server of release 3.16 or older that finds no administrator makes one whose password everybody knows, unless its settings say otherwise, and
none ever gives a changed one to an administrator that is there. Its own workers, and several servers, race for the schema of an empty store.
"""

from __future__ import annotations

import argparse
import configparser
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import atlas_mlflow_store as stores

#: Names the file with the settings of MLflow's basic-auth app.
CONFIG_PATH = "MLFLOW_AUTH_CONFIG_PATH"
STORE = "the store of users"
#: The tables that say its store's revision, since release 3.6 and before.
NOTED_IN = ("alembic_version_auth", "alembic_version")


@dataclass(frozen=True)
class Config:
    """What the app is told that lets users in."""

    app: str
    uri: str
    name: str
    password: str


def read_config(environment: Mapping[str, str]) -> Config | None:
    """Return the settings of the app that lets users in, nothing where a service does without one."""
    if not environment.get(CONFIG_PATH):
        return None
    parser = configparser.ConfigParser()
    parser.read_string(Path(environment[CONFIG_PATH]).read_text(encoding="utf-8"))
    section = parser["mlflow"]
    return Config(section.get("app", "basic"), section["database_uri"], section["admin_username"], section["admin_password"])


def log_in(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by which an MLflow client logs in as the administrator, none where nobody does."""
    config = read_config(environment)
    return {"MLFLOW_TRACKING_USERNAME": config.name, "MLFLOW_TRACKING_PASSWORD": config.password} if config else {}


def schema() -> stores.Schema:
    """Return the schema of the release's basic-auth app.

    :raises StoreError: When the release is installed without what the app needs.
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
    return stores.Schema(
        STORE,
        NOTED_IN,
        scripts.get_current_head(),
        lambda _engine: scripts,
        lambda engine: utils.migrate(engine, "head"),
        lambda engine: utils.migrate(engine, "head"),
    )


def give_password(engine: Any, config: Config) -> str:
    """See that the administrator is there with the configured password, and say in a line what was done, nothing where all was as it should be."""
    import sqlalchemy
    from werkzeug.security import check_password_hash, generate_password_hash

    with stores.alone(engine), engine.begin() as connection:
        row = connection.execute(sqlalchemy.text("SELECT password_hash, is_admin FROM users WHERE username = :name"), {"name": config.name}).fetchone()
        if row and row[1] and check_password_hash(row[0], config.password):
            return ""
        sql = (
            "UPDATE users SET password_hash = :hash, is_admin = :yes WHERE username = :name" if row
            else "INSERT INTO users (username, password_hash, is_admin) VALUES (:name, :hash, :yes)"
        )
        connection.execute(sqlalchemy.text(sql), {"name": config.name, "hash": generate_password_hash(config.password), "yes": True})
    return f"{'Gave' if row else 'Made'} the administrator {config.name}{' the configured password' if row else ''}."


def prepare(environment: Mapping[str, str], timeout: float, schema_revision: str, upgrade: bool) -> list[str]:
    """Wait for the store of users, make its schema and its administrator.

    :param timeout: Seconds to wait.
    :param schema_revision: The revision that the release's schema has, where it is known.
    :param upgrade: Whether an older schema in a database other than SQLite may be brought up.
    :returns: A line for each thing done; none where the service does without users.
    :raises StoreError: When the store does not answer, or its schema cannot be used.
    """
    config = read_config(environment)
    if not config:
        return []
    engine = stores.make_engine(config.uri)
    app = app_of(config)
    stores.wait([lambda: stores.database_problem(engine, STORE)], timeout)
    done = [stores.migrate(engine, upgrade, app.schema)] if stores.needs_migration(engine, schema_revision, False, app.NOTED_IN, STORE) else []
    return [line for line in (*done, app.give_password(engine, config)) if line]


def app_of(config: Config) -> ModuleType:
    """Return what knows the store of an app's users: in which tables its revision is noted, its schema, and how its administrator gets a password."""
    if config.app != "oidc":
        return sys.modules[__name__]
    import atlas_mlflow_oidc.users

    return atlas_mlflow_oidc.users


def main() -> int:
    """Give the administrator of a running server the configured password, whoever changed it, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", type=Path, help="JSON file with the server's environment")
    given = parser.parse_args()
    environment = dict(os.environ)
    if given.settings:
        import atlas_mlflow_start

        environment |= atlas_mlflow_start.read_settings(given.settings)
    config = read_config(environment)
    try:
        print(app_of(config).give_password(stores.make_engine(config.uri), config) if config else "", flush=True)
    except stores.StoreError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
