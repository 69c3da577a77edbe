"""The garbage collection goes on run by run, keeps what it cannot remove, and says so."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from server_package import load


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the program as a module, with the one name that it takes from MLflow."""
    monkeypatch.setitem(sys.modules, "mlflow.entities", SimpleNamespace(ViewType=SimpleNamespace(DELETED_ONLY="deleted only")))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "mlflow", ModuleType("mlflow"))
    return load(monkeypatch, "gc")


class Page(list[Any]):
    """A page of a search, and the token of the next."""

    token = ""


class Store:
    """Stands in for MLflow's backend store."""

    def __init__(self, runs: dict[str, str], old: set[str], experiments: dict[str, list[str]], models: dict[str, str] | None = None) -> None:
        """Take the deleted runs with their artifacts, which of them are old, the deleted experiments with their runs, and the deleted models."""
        self.runs, self.old, self.experiments, self.models = runs, old, experiments, models or {}
        self.refused: set[str] = set()

    def _get_deleted_runs(self, older_than: int) -> list[str]:
        return [run for run in self.runs if run in self.old]

    def _get_deleted_logged_models(self, older_than: int) -> list[str]:
        return list(self.models)

    def get_logged_model(self, name: str, allow_deleted: bool) -> Any:
        return SimpleNamespace(artifact_location=self.models[name])

    def get_run(self, name: str) -> Any:
        return SimpleNamespace(info=SimpleNamespace(artifact_uri=self.runs[name], lifecycle_stage="deleted"))

    def search_experiments(self, view_type: str, filter_string: str, page_token: str | None) -> Page:
        return Page(SimpleNamespace(experiment_id=name) for name in self.experiments)

    def search_runs(self, experiment_ids: list[str], filter_string: str, run_view_type: str, page_token: str | None) -> Page:
        # A run a page.
        names = self.experiments[experiment_ids[0]]
        number = int(page_token or 0)
        page = Page(SimpleNamespace(info=SimpleNamespace(run_id=name)) for name in names[number : number + 1])
        page.token = str(number + 1) if number + 1 < len(names) else ""
        return page

    def _hard_delete(self, kind: dict[str, Any], name: str) -> None:
        if name in self.refused:
            raise RuntimeError("database is locked\nSQL: DELETE")
        del kind[name]

    def _hard_delete_run(self, name: str) -> None:
        self._hard_delete(self.runs, name)

    def _hard_delete_experiment(self, name: str) -> None:
        self._hard_delete(self.experiments, name)

    def _hard_delete_logged_model(self, name: str) -> None:
        self._hard_delete(self.models, name)


def repository(place: str) -> Any:
    """Return the repository of a place; Google's has no library here, as where nobody has installed it."""
    if place.startswith("gs://"):
        raise ModuleNotFoundError("No module named 'google'")
    return SimpleNamespace(delete_artifacts=lambda: None)


def test_what_is_behind_a_run_that_cannot_be_removed_is_removed(program: ModuleType) -> None:
    store = Store({"a": "mlflow-artifacts:/1/a", "b": "gs://other/b", "c": "mlflow-artifacts:/1/c", "d": "s3://x/d"}, {"a", "b", "c"}, {})
    said: list[str] = []
    kept = program.Collection(store, 1000, repository, said.append).collect()
    assert list(store.runs) == ["b", "d"], "what cannot be removed keeps its record, and what is not old enough is not touched"
    assert kept == ["run b with artifacts at gs://other/b: No module named 'google'"]
    assert said == ["Removed the run a.", "Removed the run c."]


def test_a_database_that_refuses_one_does_not_keep_the_others(program: ModuleType) -> None:
    store = Store({"a": "s3://x/a", "b": "s3://x/b"}, {"a", "b"}, {}, {"m": "gs://other/m", "n": "s3://x/n"})
    store.refused = {"a"}
    kept = program.Collection(store, 1000, repository, lambda _line: None).collect()
    assert (list(store.runs), list(store.models)) == (["a"], ["m"])
    assert kept == ["run a with artifacts at s3://x/a: database is locked", "logged model m with artifacts at gs://other/m: No module named 'google'"]


def test_a_deleted_experiment_goes_when_its_last_run_has_gone(program: ModuleType) -> None:
    runs = {"a": "s3://x/a", "b": "s3://x/b", "c": "gs://other/c", "young": "s3://x/young"}
    store = Store(runs, {"a", "b", "c"}, {"1": ["a", "b"], "2": ["c"], "3": ["young"], "4": []})
    kept = program.Collection(store, 1000, repository, lambda _line: None).collect()
    assert list(store.experiments) == ["2", "3"]
    # A run that is not old enough is no fault; MLflow's own program ends at it.
    assert [line.split(":")[0] for line in kept] == ["run c with artifacts at gs", "experiment 2"]


@pytest.mark.parametrize(("age", "expected"), [("30d", 2_592_000_000), ("1s", 1000), ("1d12h", 129_600_000), ("90m", 5_400_000)])
def test_an_age_is_read_as_mlflow_reads_it(program: ModuleType, age: str, expected: int) -> None:
    assert program.milliseconds(age) == expected


def test_the_program_fails_at_the_end_and_names_what_stays(program: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store({"a": "gs://other/a", "b": "s3://x/b"}, {"a", "b"}, {})
    for name, content in {
        "mlflow.cli": {},
        "mlflow.store.artifact.artifact_repository_registry": {"get_artifact_repository": repository},
        "mlflow.tracking": {"_get_store": lambda _uri, _artifacts: store, "set_tracking_uri": lambda _uri: None},
    }.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**content))  # type: ignore[arg-type]
    monkeypatch.setattr(sys.modules["mlflow"], "cli", sys.modules["mlflow.cli"], raising=False)
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "sqlite:////nowhere/mlflow.db")
    monkeypatch.setattr(sys, "argv", ["gc", "--older-than", "1s", "--tracking-uri", "http://127.0.0.1:5001"])
    assert program.main() == 1
    said = capsys.readouterr()
    assert "1 could not be removed" in said.err and "run a with artifacts at gs://other/a" in said.err
    assert said.out == "Removed the run b.\n"
    del store.runs["a"]
    assert program.main() == 0
