"""Remove runs that were deleted some time ago, with their artifacts, like `mlflow gc`, but without the database's password in the process list.

`mlflow gc` ends at the first run that it cannot remove, so later runs are not removed. This program continues with the next run. It keeps
each run whose artifacts it cannot remove, names all of them at the end, and then fails.

The settings are in the service's environment, or, in a container, in the file that the start program reads.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from atlas_mlflow import login, settings

#: Seconds in each unit of an age.
UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
DELETED = "deleted"


def milliseconds(age: str) -> int:
    """Return an age such as 30d or 1d12h in milliseconds."""
    return int(sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([.\d]+)([dhms])", age)) * 1000)


class Collection:
    """The removal of deleted runs, logged models and experiments, one by one."""

    def __init__(self, store: Any, older_than: int, repository: Callable[[str], Any], say: Callable[[str], None] = print) -> None:
        """Take the store and the limits.

        :param store: MLflow's backend store.
        :param older_than: Least age, in milliseconds, of runs that are removed.
        :param repository: Returns the repository of an artifact location.
        :param say: Prints a line for each removed thing.
        """
        self.store, self.older_than, self.repository, self.say = store, older_than, repository, say
        self.kept: list[str] = []

    def collect(self) -> list[str]:
        """Remove everything that can be removed, and return a line for each thing that cannot."""
        old = set(self.store._get_deleted_runs(older_than=self.older_than))
        # The same selection as MLflow's: deleted experiments are removed with their runs when they are old enough.
        experiments = {experiment.experiment_id: self._runs_of(experiment.experiment_id) for experiment in self._experiments()}
        failed = {run for run in sorted(old.union(*experiments.values())) if run in old and not self._remove("run", run, self._artifacts_of_run)}
        if hasattr(self.store, "_get_deleted_logged_models"):
            for model in sorted(self.store._get_deleted_logged_models(older_than=self.older_than)):
                self._remove("logged_model", model, lambda name: self.store.get_logged_model(name, allow_deleted=True).artifact_location)
        for experiment, runs in experiments.items():
            left = [run for run in runs if run in failed or run not in old]
            if not left:
                self._remove("experiment", experiment, None)
            elif failed.intersection(left):
                self.kept.append(f"experiment {experiment}: {len(left)} of its runs cannot be removed")
        return self.kept

    def _artifacts_of_run(self, name: str) -> str:
        run = self.store.get_run(name)
        if run.info.lifecycle_stage != DELETED:
            raise ValueError("somebody has restored it in the meantime")
        return str(run.info.artifact_uri)

    def _remove(self, kind: str, name: str, artifacts: Callable[[str], str] | None) -> bool:
        """Remove one thing, its artifacts first, and return whether it is removed. A thing with remaining artifacts keeps its record, which has their place."""
        words = kind.replace("_", " ")
        place = ""
        try:
            if artifacts:
                place = artifacts(name)
                self.repository(place).delete_artifacts()
            getattr(self.store, f"_hard_delete_{kind}")(name)
        # Any error of a store or a library: continue with the other things.
        except Exception as error:
            said = (str(error).strip() or repr(error)).splitlines()[0]
            self.kept.append(f"{words} {name}{f' with artifacts at {place}' if place else ''}: {said}")
            return False
        self.say(f"Removed the {words} {name}.")
        return True

    def _experiments(self) -> Iterator[Any]:
        from mlflow.entities import ViewType

        before = f"last_update_time < {int(time.time() * 1000) - self.older_than}"
        return pages(lambda token: self.store.search_experiments(view_type=ViewType.DELETED_ONLY, filter_string=before, page_token=token))

    def _runs_of(self, experiment: str) -> list[str]:
        from mlflow.entities import ViewType

        found = pages(
            lambda token: self.store.search_runs(experiment_ids=[experiment], filter_string="", run_view_type=ViewType.DELETED_ONLY, page_token=token)
        )
        return [run.info.run_id for run in found]


def pages(ask: Callable[[Any], Any]) -> Iterator[Any]:
    """Yield the results of a search, page by page."""
    token = None
    while True:
        page = ask(token)
        yield from page
        token = page.token
        if not token:
            return


def workspaces(store: Any, uri: str) -> list[Any]:
    """Return a context for each workspace of the store, or one context without effect if it has no workspaces."""
    import mlflow.cli

    resolve = getattr(mlflow.cli, "_resolve_gc_workspaces", None)
    if not resolve or not getattr(store, "supports_workspaces", False):
        return [contextlib.nullcontext()]
    from mlflow.environment_variables import MLFLOW_ENABLE_WORKSPACES
    from mlflow.utils.workspace_context import WorkspaceContext

    if not MLFLOW_ENABLE_WORKSPACES.get():
        return [contextlib.nullcontext()]
    return [WorkspaceContext(name) for name in resolve(store, True, None, uri)]


def main() -> int:
    """Run from the command line, and return the exit status."""
    parser = argparse.ArgumentParser(description="Remove for good what was deleted some time ago, with its artifacts")
    parser.add_argument("--settings", type=Path, help="JSON file with the server's environment")
    parser.add_argument("--older-than", required=True, help="age of what is removed, such as 30d")
    parser.add_argument("--tracking-uri", required=True, help="URL of the tracking server, through which artifacts are removed")
    given = parser.parse_args()
    os.environ.update(settings.read_environment(given.settings))
    os.environ.update(MLFLOW_TRACKING_URI=given.tracking_uri, **login.log_in(os.environ))
    # MLflow reads its settings during the import.
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.tracking import _get_store, set_tracking_uri

    uri = os.environ["MLFLOW_BACKEND_STORE_URI"]
    set_tracking_uri(given.tracking_uri)
    store = _get_store(uri, None)
    kept: list[str] = []
    for context in workspaces(store, uri):
        with context:
            kept += Collection(store, milliseconds(given.older_than), get_artifact_repository).collect()
    if kept:
        print(f"{len(kept)} could not be removed, and stay until the next time:", *kept, sep="\n  ", file=sys.stderr)
        print("Install or configure what reaches their artifacts, or remove the artifacts and delete the records by hand.", file=sys.stderr)
    return 1 if kept else 0


if __name__ == "__main__":
    sys.exit(main())
