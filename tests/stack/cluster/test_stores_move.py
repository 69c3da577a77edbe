"""The tracking servers leave the bucket of a pool for another bucket together. A move that one server cannot follow leaves all of them where they were.

The tests run last, because the bucket has another name in the end. They build on one another, in this order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from parts import host
from stack.support import PORT, assert_unchanged, hosts_of, play, playbook, run_python, said
from testinfra.host import Host

PYTHON = "/opt/mlflow/current/bin/python"
SETTINGS = "/etc/default/mlflow-server"
#: A unit that does not start on the other bucket.
REFUSE = f"[Service]\nExecStartPre=+/bin/sh -c '! grep --quiet s3://moved {SETTINGS}'\n"
DROP_IN = "/etc/systemd/system/mlflow-server.service.d/refuse.conf"
#: Seconds for a playbook that sets up all hosts.
PATIENCE = 900
#: The beginning of the scripts, which read the URL of a server.
BEGIN = """
import hashlib, json, os, sys, tempfile
from concurrent.futures import ThreadPoolExecutor
out, sys.stdout = sys.stdout, sys.stderr
folder = tempfile.mkdtemp()
import mlflow
mlflow.set_tracking_uri(json.load(sys.stdin))
client = mlflow.MlflowClient()
"""
#: Logs runs with artifacts, two of which are uploaded in parts, and prints how many there are.
SEED = """
experiment = client.create_experiment("moved by its bucket")
def log(number):
    run = client.create_run(experiment).info.run_id
    os.makedirs(f"{folder}/{number}/folder ü")
    open(f"{folder}/{number}/folder ü/data %20.bin", "wb").write(os.urandom(12_000_000 if number < 2 else number))
    open(f"{folder}/{number}/page.html", "w").write(str(number))
    client.log_artifacts(run, f"{folder}/{number}")
    client.set_terminated(run)
with ThreadPoolExecutor(4) as pool:
    list(pool.map(log, range(100)))
print(100, file=out)
"""
#: Prints the SHA-256 of each artifact.
DESCRIBE = """
experiment = client.get_experiment_by_name("moved by its bucket").experiment_id
def files(run, path=None):
    for file in client.list_artifacts(run, path):
        yield from files(run, file.path) if file.is_dir else [file.path]
def describe(run):
    place = tempfile.mkdtemp()
    return run.info.run_id, {path: hashlib.sha256(open(client.download_artifacts(run.info.run_id, path, place), "rb").read()).hexdigest()
                             for path in files(run.info.run_id)}
with ThreadPoolExecutor(4) as pool:
    print(json.dumps(dict(pool.map(describe, client.search_runs([experiment], max_results=1000)))), file=out)
"""


def run(server: Host, script: str) -> Any:
    """Run a script with the server's own client, and return what it prints."""
    return run_python(server, BEGIN + script, f"http://localhost:{PORT}", PYTHON)


def parts_of_objects() -> dict[str, str]:
    """Return a sum of the files of the former bucket on each host of the pool."""
    return {name: host(name).check_output("cd /var/lib/minio/mlflow && find . -type f -exec sha256sum {} + | sort | sha256sum") for name in hosts_of("minio")}


def settings() -> list[str]:
    """Return the settings of each server."""
    return [host(name).file(SETTINGS).content_string for name in hosts_of("mlflow_servers")]


@pytest.fixture(scope="module")
def before(server: Host) -> Any:
    """Log runs, and return the artifacts."""
    run(server, SEED)
    described = run(server, DESCRIBE)
    assert len(described) == 100 and sum(map(len, described.values())) == 200
    return described


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the command of the move."""
    return playbook("move_stores", {"minio": {"vars": {"minio_bucket": "moved"}}}, tmp_path_factory.mktemp("move"))


def test_all_servers_go_back_if_one_of_them_does_not_start(server: Host, before: Any, command: list[str]) -> None:
    last, former = host(hosts_of("mlflow_servers")[-1]), settings()
    run_python(last, f"import os, json; os.makedirs({str(Path(DROP_IN).parent)!r}, exist_ok=True); print(open({DROP_IN!r}, 'w').write({REFUSE!r}))", None)
    last.check_output("systemctl daemon-reload")
    done = play(command, "--extra-vars", '{"mlflow_server_start_timeout": 30}', patience=PATIENCE)
    last.check_output(f"rm {DROP_IN} && systemctl daemon-reload")
    assert done.returncode and "the server serves its former stores again, which are as they were" in said(done), done.stdout
    assert settings() == former
    assert run(server, DESCRIBE) == run(last, DESCRIBE) == before


def test_the_artifacts_are_the_same_in_the_other_bucket_and_the_former_one_stays(server: Host, before: Any, command: list[str]) -> None:
    former = parts_of_objects()
    done = play(command, patience=PATIENCE)
    assert done.returncode == 0, done.stdout
    assert all('MLFLOW_ARTIFACTS_DESTINATION="proxied-s3://moved"' in text for text in settings())
    assert [run(host(name), DESCRIBE) == before for name in hosts_of("mlflow_servers")] == [True] * len(settings())
    assert parts_of_objects() == former


def test_a_second_run_moves_nothing(before: Any, command: list[str]) -> None:
    done = play(command, patience=PATIENCE)
    assert done.returncode == 0 and "No store of" in said(done), done.stdout
    assert_unchanged(done)
