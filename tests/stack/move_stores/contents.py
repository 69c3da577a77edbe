"""What a tracking server contains: values that databases store in different ways, and what a client sees of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stack.support import ask, run_python
from testinfra.host import Host

#: The new server, as its own host knows it, and the name and the password of a user.
URL, ADA = "http://localhost:5001", ("ada", "password-of-ada")
#: Logs values that SQLite and PostgreSQL store in different ways, and creates a user.
SEED = """
import json, math, sys
# MLflow prints what it does.
out, sys.stdout = sys.stdout, sys.stderr
import mlflow
from mlflow.server import get_app_client
url, user, password, file = json.load(sys.stdin)
mlflow.set_tracking_uri(url)
mlflow.set_experiment("moved é")
for number in range(3):
    with mlflow.start_run(run_name=f"run {number}") as run:
        mlflow.log_metrics({"nan": math.nan, "infinite": math.inf, "small": 1e-300, "number": number})
        mlflow.log_param("text", "a'b\\"c\\\\d\\n€")
        mlflow.log_text(f"content {number}", f"folder ü/{file}")
        mlflow.log_text("x" * 20_000_000, "large.txt")
client = mlflow.MlflowClient()
client.create_registered_model("moved")
version = client.create_model_version("moved", f"runs:/{run.info.run_id}/folder ü", run.info.run_id)
client.set_registered_model_alias("moved", "chosen", version.version)
if user:
    get_app_client("basic-auth", tracking_uri=url).create_user(user, password)
print("null", file=out)
"""
#: Returns what a client sees of it.
DESCRIBE = """
import hashlib, json, pathlib, sys
out, sys.stdout = sys.stdout, sys.stderr
import mlflow
mlflow.set_tracking_uri(json.load(sys.stdin))
client = mlflow.MlflowClient()
def digest(path):
    return hashlib.sha256(open(path, "rb").read()).hexdigest()
def digests(run, path=None):
    for file in client.list_artifacts(run, path):
        if file.is_dir:
            yield from digests(run, file.path)
        else:
            yield file.path, digest(client.download_artifacts(run, file.path))
experiments = [one for one in client.search_experiments() if not one.name.startswith("atlas-mlflow")]
runs = [run for run in client.search_runs([one.experiment_id for one in experiments])]
chosen = client.get_model_version_by_alias("moved", "chosen")
print(json.dumps({
    "experiments": sorted([one.experiment_id, one.name, one.creation_time] for one in experiments),
    "runs": sorted([run.info.run_id, run.info.end_time, str(sorted(run.data.metrics.items())), run.data.params] for run in runs),
    "artifacts": {run.info.run_id: sorted(digests(run.info.run_id)) for run in runs},
    "models": [[one.name, int(one.version), one.run_id] for one in client.search_model_versions()],
    # This way decodes the names of files.
    "chosen": [chosen.run_id, *(digest(path) for path in sorted(pathlib.Path(mlflow.artifacts.download_artifacts("models:/moved@chosen")).iterdir()))],
}), file=out)
"""


@dataclass(frozen=True)
class Contents:
    """A tracking server as a client on a host sees it.

    :param host: The client's host.
    :param python: The client's interpreter, with MLflow.
    :param url: The tracking server's URL, as the client knows it.
    :param password: The password of the administrator ``admin``.
    :param file: The name of an artifact in each run.
    """

    host: Host
    python: str
    url: str
    password: str
    file: str = "file %20.txt"

    def _run(self, script: str, given: Any) -> Any:
        login = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": self.password}
        return run_python(self.host, script, given, self.python, login)

    def seed(self, user: str = "", password: str = "") -> None:
        """Log runs with artifacts and a model, and create a user if one is named."""
        self._run(SEED, [self.url, user, password, self.file])

    def described(self) -> Any:
        """Return what a client sees of the server, with the SHA-256 of each artifact."""
        return self._run(DESCRIBE, self.url)

    def next_experiment(self, name: str) -> int:
        """Create an experiment, and return its number."""
        script = f"import json, mlflow, sys; mlflow.set_tracking_uri(json.load(sys.stdin)); print(mlflow.create_experiment({name!r}))"
        return int(self._run(script, self.url))


def search_as(host: Host, *login: str) -> int:
    """Return the status with which the new server on a host answers a user's search for experiments."""
    return ask(host, f"{URL}/api/2.0/mlflow/experiments/search?max_results=1", login=(login[0], login[1])).status
