"""A server with the embedded stores moves to PostgreSQL and MinIO with its runs, users, models and artifacts. A move that fails changes nothing.

The tests run on the host of the scenario `embedded`, and build on one another, in this order.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from stack.support import play, playbook, run_python, said
from testinfra.host import Host

DATA = "/var/lib/mlflow"
PYTHON = "/opt/mlflow/current/bin/python"
LOGIN = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": "password-of-admin"}
#: Logs values that SQLite and PostgreSQL store in different ways.
SEED = """
import math, sys
# MLflow prints what it does.
out, sys.stdout = sys.stdout, sys.stderr
import mlflow
mlflow.set_tracking_uri("http://localhost:5001")
mlflow.set_experiment("moved é")
for number in range(3):
    with mlflow.start_run(run_name=f"run {number}") as run:
        mlflow.log_metrics({"nan": math.nan, "infinite": math.inf, "small": 1e-300, "number": number})
        mlflow.log_param("text", "a'b\\"c\\\\d\\n€")
        mlflow.log_text(f"content {number}", "folder ü/file %20.txt")
        mlflow.log_text("x" * 20_000_000, "large.txt")
client = mlflow.MlflowClient()
client.create_registered_model("moved")
version = client.create_model_version("moved", f"runs:/{run.info.run_id}/folder ü", run.info.run_id)
client.set_registered_model_alias("moved", "chosen", version.version)
print("null", file=out)
"""
#: Returns what a client sees of it.
DESCRIBE = """
import hashlib, json, sys
out, sys.stdout = sys.stdout, sys.stderr
import mlflow
mlflow.set_tracking_uri("http://localhost:5001")
client = mlflow.MlflowClient()
def digests(run, path=None):
    for file in client.list_artifacts(run, path):
        if file.is_dir:
            yield from digests(run, file.path)
        else:
            yield file.path, hashlib.sha256(open(client.download_artifacts(run, file.path), "rb").read()).hexdigest()
experiments = [one for one in client.search_experiments() if not one.name.startswith("atlas-mlflow")]
runs = [run for run in client.search_runs([one.experiment_id for one in experiments])]
print(json.dumps({
    "experiments": sorted([one.experiment_id, one.name, one.creation_time] for one in experiments),
    "runs": sorted([run.info.run_id, run.info.end_time, str(sorted(run.data.metrics.items())), run.data.params] for run in runs),
    "artifacts": {run.info.run_id: sorted(digests(run.info.run_id)) for run in runs},
    "models": [[one.name, one.version, one.source] for one in client.search_model_versions()],
    "chosen": client.get_model_version_by_alias("moved", "chosen").run_id,
}), file=out)
"""
USERS = """
import base64, urllib.request
request = urllib.request.Request("http://localhost:5001/api/2.0/mlflow/experiments/search?max_results=1")
request.add_header("Authorization", "Basic " + base64.b64encode(b"ada:password-of-ada").decode())
print(urllib.request.urlopen(request).status)
"""


def described(server: Host) -> Any:
    """Return what a client sees of the server."""
    return run_python(server, DESCRIBE, None, PYTHON, LOGIN)


def digests(server: Host) -> str:
    """Return the SHA-256 of each file of the embedded stores."""
    return server.check_output(f"find {DATA}/tracking.db {DATA}/auth.db {DATA}/artifacts -type f -exec sha256sum {{}} + | sort")


@pytest.fixture(scope="module")
def embedded(server_name: str) -> dict[str, Any]:
    """Return the settings of the server on its embedded stores."""
    users = [{"name": "ada", "password": "password-of-ada"}]
    return {"mlflow_server_auth": "basic", "mlflow_server_admin_password": LOGIN["MLFLOW_TRACKING_PASSWORD"], "mlflow_server_users": users}


@pytest.fixture(scope="module")
def before(server: Host, server_name: str, embedded: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Give the server users and data, and return what a client sees of them."""
    done = play(playbook("site", {"mlflow_servers": {"hosts": {server_name: embedded}}}, tmp_path_factory.mktemp("before")))
    assert done.returncode == 0, done.stdout
    run_python(server, SEED, None, PYTHON, LOGIN)
    return described(server)


@pytest.fixture(scope="module")
def command(server_name: str, embedded: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the command of the move: the same host is in the groups of the stores."""
    # The scenario names its SQLite file, which would stay the backend store.
    uri = "{{ _atlas_mlflow_plan.backend_store | atlas.mlflow.with_password(lookup('atlas.mlflow.secret', 'postgres_password')) }}"
    stores = {group: {"hosts": {server_name: {}}} for group in ("postgres", "minio")}
    over = {"mlflow_servers": {"hosts": {server_name: {**embedded, "mlflow_server_backend_store_uri": uri}}}, **stores}
    return playbook("move_stores", over, tmp_path_factory.mktemp("inventory"))


def test_a_check_run_says_what_would_move(server: Host, before: Any, command: list[str]) -> None:
    done = play(command, "--check")
    assert done.returncode == 0, done.stdout
    assert f"from the file {DATA}/tracking.db to the postgresql database mlflow" in said(done), done.stdout
    assert f"from the folder {DATA}/artifacts to the bucket mlflow" in said(done), done.stdout
    assert f"from the file {DATA}/auth.db to the postgresql database mlflow_auth" in said(done), done.stdout
    assert set(re.findall(r"changed=\d+", done.stdout)) == {"changed=0"}, done.stdout


def test_a_server_that_cannot_be_verified_gets_its_former_stores_back(server: Host, before: Any, command: list[str]) -> None:
    unit = server.file("/etc/default/mlflow-server").content_string
    # Nothing answers there, which is seen after the switch.
    done = play(command, "--extra-vars", '{"mlflow_server_url": "http://localhost:5999", "mlflow_server_start_timeout": 30}')
    # The same address is asked on the way back.
    assert done.returncode and "the server serves its former stores again, which are as they were. But it does not verify" in said(done), done.stdout
    assert server.file("/etc/default/mlflow-server").content_string == unit
    assert described(server) == before
    assert not server.file("/etc/atlas-mlflow/move.json").exists


def test_everything_moves_and_the_former_stores_stay(server: Host, before: Any, command: list[str]) -> None:
    files = digests(server)
    done = play(command)
    assert done.returncode == 0, done.stdout
    settings = server.file("/etc/default/mlflow-server").content_string
    assert "postgresql+psycopg2://" in settings and 'MLFLOW_ARTIFACTS_DESTINATION="proxied-s3://mlflow"' in settings and "sqlite" not in settings
    assert described(server) == before
    assert run_python(server, USERS, {}) == 200
    assert digests(server) == files
    assert not server.file("/etc/atlas-mlflow/move.json").exists


def test_the_next_experiment_gets_a_new_number(server: Host, before: Any) -> None:
    create = "import mlflow; mlflow.set_tracking_uri('http://localhost:5001'); print(int(mlflow.create_experiment('after the move')))"
    assert run_python(server, create, None, PYTHON, LOGIN) > max(int(number) for number, _name, _time in before["experiments"])


def test_a_second_run_moves_nothing(server: Host, command: list[str]) -> None:
    done = play(command)
    assert done.returncode == 0 and "No store of" in said(done), done.stdout
    assert set(re.findall(r"changed=\d+", done.stdout)) == {"changed=0"}, done.stdout
