"""A server that has gone through every supported release, on the data of the oldest."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stack.support import ask, assert_kept_run, base_url, run_python
from testinfra.host import Host

#: Compares the store of users with a memory to the one of the release that runs it.
LOGIN_MEMORY = (Path(__file__).parent / "login_memory.py").read_text(encoding="utf-8")
#: Compares answers that take a short way through the server to those of the release that runs it.
SHORT_WAYS = (Path(__file__).parent / "short_ways.py").read_text(encoding="utf-8")
#: The releases whose server is a FastAPI application.
WITH_FASTAPI = ["3.5.1", "3.10.1", "3.17.2"]


def test_the_default_release_runs_and_the_older_ones_are_still_there(server: Host) -> None:
    assert server.file("/opt/mlflow/current").linked_to == "/opt/mlflow/releases/3.17.2"
    assert sorted(server.file("/opt/mlflow/releases").listdir()) == ["3.0.1", "3.10.1", "3.17.2", "3.5.1"]


def test_its_options_work(client: Host, server_name: str) -> None:
    """The scenario starts each release with every option that is not refused."""
    answer = ask(client, f"{base_url(server_name)}/metrics")
    assert answer.status == 200 and "mlflow_http_request_total" in answer.body, answer
    assert ask(client, f"{base_url(server_name)}/metrics", host="evil.example.com").status == 403


def test_a_run_of_the_oldest_release_is_kept(client: Host, server_name: str) -> None:
    assert_kept_run(client, server_name)


def test_each_change_of_the_schema_left_a_backup(server: Host) -> None:
    backups = [name for name in server.file("/var/lib/mlflow").listdir() if name.startswith("mlflow.db.") and name.endswith(".bak")]
    assert backups, server.file("/var/lib/mlflow").listdir()
    script = "import json, sqlite3, sys; print(json.dumps([sqlite3.connect(p).execute('SELECT count(*) FROM params').fetchone()[0] for p in sys.argv[1:]]))"
    assert min(json.loads(server.check_output("python3 -c %s " + " ".join(f"/var/lib/mlflow/{name}" for name in backups), script))) >= 1


def of_each_release(server: Host, script: str) -> dict[str, object]:
    """Return what a script prints in each release with FastAPI. At once, because each takes some seconds to import MLflow."""
    with ThreadPoolExecutor() as pool:
        printed = pool.map(lambda name: run_python(server, script, None, f"/opt/mlflow/releases/{name}/bin/python"), WITH_FASTAPI)
        return dict(zip(WITH_FASTAPI, printed, strict=True))


def test_each_release_has_what_the_memory_for_logins_builds_on(server: Host) -> None:
    assert of_each_release(server, LOGIN_MEMORY) == {name: [] for name in WITH_FASTAPI}


def test_requests_that_take_a_short_way_get_the_same_answers(server: Host) -> None:
    assert of_each_release(server, SHORT_WAYS) == {name: [] for name in WITH_FASTAPI}
