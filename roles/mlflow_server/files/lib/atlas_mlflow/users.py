"""Create the store of MLflow's users, and set the configured password of its administrator, before a server starts.

If a server of release 3.16 or older finds no administrator, it creates one with a well-known password, unless its settings have another one. No
release changes the password of an existing administrator. Its workers, and several servers, create the schema of an empty store at the same time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from atlas_mlflow import schema, settings, stores, users_basic, users_oidc
from atlas_mlflow.login import Config, read_config

STORE = "the store of users"


@dataclass(frozen=True)
class App:
    """The functions for the store of an app's users: the tables with its revision, its schema, and the password of its administrator."""

    noted_in: tuple[str, ...]
    read_schema: Callable[[], schema.Schema]
    give_password: Callable[[Any, Config], str]


BASIC = App(users_basic.NOTED_IN, users_basic.read_schema, users_basic.give_password)
OIDC = App(users_oidc.NOTED_IN, users_oidc.read_schema, users_oidc.give_password)


def app_of(config: Config) -> App:
    """Return the app of a configuration."""
    return OIDC if config.app == "oidc" else BASIC


def prepare(environment: Mapping[str, str], timeout: float, schema_revision: str, upgrade: bool) -> list[str]:
    """Wait for the store of users, create its schema and its administrator.

    :param timeout: Seconds to wait.
    :param schema_revision: The revision that the release's schema has, if it is known.
    :param upgrade: Whether an older schema in a database other than SQLite may be migrated.
    :returns: A line for each change, empty if the service has no users.
    :raises StoreError: If the store does not answer, or its schema cannot be used.
    """
    config = read_config(environment)
    if not config:
        return []
    engine, app = stores.make_engine(config.uri), app_of(config)
    stores.wait([partial(stores.database_problem, engine, STORE)], timeout)
    unfit = schema.needs_migration(engine, schema_revision, False, app.noted_in, STORE)
    done = [schema.migrate(engine, upgrade, app.read_schema)] if unfit else []
    return [line for line in (*done, app.give_password(engine, config)) if line]


def main() -> int:
    """Set the administrator's configured password in the store of a running server, and return the exit status."""
    parser = argparse.ArgumentParser(description="Set the administrator's configured password in a running server's store")
    parser.add_argument("--settings", type=Path, help="JSON file with the server's environment")
    given = parser.parse_args()
    config = read_config(settings.read_environment(given.settings))
    try:
        print(app_of(config).give_password(stores.make_engine(config.uri), config) if config else "", flush=True)
    except stores.StoreError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
