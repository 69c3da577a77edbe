"""Wait for a tracking server's stores and create their schema, before the server starts.

The release's own Python runs this with the service's environment. A server that starts creates or migrates the schema by itself. Its lock
is in the temporary folder of its own host, so several servers that start at once on an empty database collide. This program uses a lock of
PostgreSQL. The output contains no password.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from atlas_mlflow import folders, keys, login, schema, stores, users


def prepare(environment: Mapping[str, str], given: argparse.Namespace) -> list[str]:
    """Wait for the stores in a service's environment and create their schema.

    :param given: The options of the command line.
    :returns: A line for each change.
    :raises StoreError: If a folder is not writable, a store does not answer, or its schema cannot be used.
    """
    of_users = login.read_config(environment)
    if problems := folders.problems(given.folder, environment, of_users.uri if of_users else ""):
        raise stores.StoreError(" ".join(problems))
    if given.spool:
        folders.empty(given.spool)
    if given.metrics:
        folders.forget_metrics(given.metrics)
    engines = [stores.make_engine(uri) for uri in stores.uris_of(environment)]
    questions: list[Callable[[], str]] = [partial(stores.database_problem, engine) for engine in engines]
    destination = environment.get("MLFLOW_ARTIFACTS_DESTINATION", "")
    if destination.startswith(("s3://", "proxied-s3://")):
        questions.append(partial(stores.bucket_problem, destination, environment))
    stores.wait(questions, given.timeout)
    done = [schema.migrate(engine, given.upgrade) for engine in engines if schema.needs_migration(engine, given.schema_revision, given.lone_server)]
    former = keys.read_former(given.former_keys)
    done += [line for engine in engines for line in keys.prepare(engine, environment, former)]
    return done + users.prepare(environment, given.timeout, given.auth_schema_revision, given.upgrade)


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options for the preparation of the stores.

    :param description: The description of the program that has these options.
    """
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--timeout", type=float, default=60, help="seconds to wait for the stores")
    options.add_argument("--schema-revision", default="", help="revision that the release's schema has, if it is known")
    options.add_argument("--auth-schema-revision", default="", help="the same of the store of users")
    options.add_argument("--lone-server", action="store_true", help="no other server uses the database: leave an empty one to this server")
    options.add_argument("--folder", action="append", default=[], help="folder that the server writes to; may be given again")
    options.add_argument("--spool", default="", help="folder that the server spools to, which is emptied")
    options.add_argument("--metrics", default="", help="folder of the metrics for Prometheus, from which those of former processes are removed")
    options.add_argument("--former-keys", type=Path, help="JSON file with the keys by which the store's secrets were encrypted before")
    options.add_argument("--upgrade", action="store_true", help="bring up an older schema in a database other than SQLite")
    return options


def run(given: argparse.Namespace) -> int:
    """Prepare the stores with the options of the command line, and return the exit status."""
    try:
        for line in prepare(os.environ, given):
            print(line, flush=True)
    except stores.StoreError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run(parser("Wait for a tracking server's stores and make their schema").parse_args()))
