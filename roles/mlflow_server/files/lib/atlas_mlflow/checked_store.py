"""The backend store as checks of rights see it, those of MLflow and those of the OpenID Connect plugin.

A check needs to know in which experiment a run is, or whether there is an experiment and what its name is. MLflow loads whole objects for that: here
one small query reads the row. The filters of answers read further pages, see `pages`. All else is the store's own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from atlas_mlflow.login_memory import once
from atlas_mlflow.pages import read_on
from atlas_mlflow.quick_rows import rows_of


class RunInExperiment:
    """A run of which only its experiment is known, as for a check of rights. Everything else is read if it is used."""

    def __init__(self, experiment: str, read: Callable[[], Any]) -> None:
        """Take the number of the experiment, and a function that loads the whole run."""
        self._experiment, self._read = experiment, read

    @property
    def info(self) -> Any:
        """Return the information of the run."""
        return InfoOfRun(self._experiment, self._read)

    def __getattr__(self, name: str) -> Any:
        """Load the run, and return an attribute of it."""
        return getattr(self._read(), name)


class InfoOfRun:
    """The information of a run of which only its experiment is known."""

    def __init__(self, experiment: str, read: Callable[[], Any]) -> None:
        """Take the number of the experiment, and a function that loads the whole run."""
        self.experiment_id, self._read = experiment, read

    def __getattr__(self, name: str) -> Any:
        """Load the run, and return an attribute of its information."""
        return getattr(self._read().info, name)


class KnownExperiment:
    """An experiment of which only its number and its name are known. Everything else is read if it is used."""

    def __init__(self, row: Any, read: Callable[[], Any]) -> None:
        """Take the row with the number and the name, and a function that loads the whole experiment."""
        self.experiment_id, self.name, self._read = str(row[0]), row[1], read

    def __getattr__(self, name: str) -> Any:
        """Load the experiment, and return an attribute of it."""
        return getattr(self._read(), name)


class CheckedStore:
    """The backend store as MLflow's checks of rights see it: the experiment of a run is read by a small query. All else is the store's own."""

    def __init__(self, store: Any, experiment_of: Callable[[str], str | None]) -> None:
        """Take the backend store, and a function that returns the experiment of a run, None if it is not known."""
        self._store, self._experiment_of = store, experiment_of

    @functools.cached_property
    def search_experiments(self) -> Callable[..., Any]:
        """Return the search that reads no page twice in a request."""
        return read_on("search_experiments", self._store.search_experiments)

    def get_run(self, run_id: str) -> Any:
        """Return a run whose experiment is known. If it is not, the store says why."""
        experiment = once(("experiment of", run_id), lambda: self._experiment_of(run_id))
        if experiment is None:
            return self._store.get_run(run_id)
        return RunInExperiment(experiment, functools.cache(lambda: self._store.get_run(run_id)))

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the store."""
        return getattr(self._store, name)


class CheckedRegistry:
    """The model registry as MLflow's checks of rights see it: no page of a search is read twice in a request. All else is the registry's own."""

    def __init__(self, store: Any) -> None:
        """Take the model registry."""
        self._store = store

    @functools.cached_property
    def search_registered_models(self) -> Callable[..., Any]:
        """Return the search that reads no page twice in a request."""
        return read_on("search_registered_models", self._store.search_registered_models)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the registry."""
        return getattr(self._store, name)


class CheckedExperiments(CheckedStore):
    """The same for checks that ask for experiments too, as the plugin's do."""

    def __init__(self, store: Any, experiment_of: Callable[[str], str | None], experiment: Callable[[str], Any]) -> None:
        """Take what the other class takes, and a function that returns the row of an experiment by its number, None if it is not known."""
        super().__init__(store, experiment_of)
        self._experiment = experiment

    def get_experiment(self, experiment_id: str) -> Any:
        """Return an experiment whose name is known. If it is not, the store says why."""
        # The store takes other forms of a number too.
        if isinstance(experiment_id, str) and experiment_id.isdecimal() and str(int(experiment_id)) == experiment_id:
            row = once(("experiment", experiment_id), lambda: self._experiment(experiment_id))
            if row is not None:
                return KnownExperiment(row, functools.cache(lambda: self._store.get_experiment(experiment_id)))
        return self._store.get_experiment(experiment_id)


def checked(get_store: Callable[[], Any], experiments: bool = False) -> Callable[[], Any]:
    """Return MLflow's function for the backend store, for checks of rights.

    :param get_store: `_get_tracking_store` of MLflow's server.
    :param experiments: Whether experiments are read by a small query too.
    """
    import sqlalchemy
    from mlflow import environment_variables
    from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlRun

    workspaces = getattr(environment_variables, "MLFLOW_ENABLE_WORKSPACES", None)
    by_run = sqlalchemy.select(SqlRun.experiment_id).where(SqlRun.run_uuid == sqlalchemy.bindparam("run"))
    by_number = sqlalchemy.select(SqlExperiment.experiment_id, SqlExperiment.name).where(SqlExperiment.experiment_id == sqlalchemy.bindparam("number"))

    @functools.cache
    def checked_store(store: Any) -> Any:
        def only(statement: Any, **values: Any) -> Any:
            rows = rows_of(store).read(statement, **values)
            return rows[0] if rows and len(rows) == 1 else None

        def experiment_of(run_id: str) -> str | None:
            row = only(by_run, run=run_id)
            return str(row[0]) if row else None

        if experiments:
            return CheckedExperiments(store, experiment_of, lambda number: only(by_number, number=int(number)))
        return CheckedStore(store, experiment_of)

    def get_checked_store() -> Any:
        store = get_store()
        # A workspace hides the runs of others.
        return store if (workspaces and workspaces.get()) or not hasattr(store, "engine") else checked_store(store)

    return get_checked_store


def checked_registry(get_store: Callable[[], Any]) -> Callable[[], Any]:
    """Return MLflow's function for the model registry, for checks of rights.

    :param get_store: `_get_model_registry_store` of MLflow's server.
    """
    made = functools.cache(CheckedRegistry)

    def get_checked_registry() -> Any:
        store = get_store()
        return made(store) if hasattr(store, "engine") else store

    return get_checked_registry
