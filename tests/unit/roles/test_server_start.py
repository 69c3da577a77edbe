"""MLflow is loaded once: its own command line decides, in a child that ends, and the process that asked becomes the web server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from server_package import LIB, load

#: Packages with the few names that the start uses. Each says what was done with it, as a line of JSON with the process that did it.
PACKAGES = {
    "said.py": """
import json, os, sys
def say(what, **more):
    os.write(1, (json.dumps({"what": what, "pid": os.getpid(), **more}) + "\\n").encode())
""",
    "mlflow/__init__.py": "import os\nif os.environ.get('EAGER'): import mlflow.server",
    "mlflow/__main__.py": "import sys; from said import say; say('own program', arguments=sys.argv[1:])",
    "mlflow/cli.py": """
import os, subprocess, sys, time
from said import say
def cli(arguments, prog_name):
    import mlflow.server
    say("command line", arguments=arguments)
    if "--wrong" in arguments:
        sys.exit(3)
    mlflow.server.store = "connected"
    os.environ["OPTION"] = "set by the command line"
    web_server = "gunicorn" if "--gunicorn" in arguments else "uvicorn"
    started = mlflow.server._exec_cmd([sys.executable, "-m", web_server, "--workers", "2", "mlflow.server.app:make"], extra_env={"MORE": "x"}, synchronous=False)
    if "--jobs" in arguments:
        subprocess.Popen([sys.executable, "-c", "import said, time; time.sleep(1); said.say('jobs end')"])
    assert started.poll() is None
    say("told", server=started.pid)
    started.wait()
    time.sleep(0.3)
    say("command line ends")
""",
    "mlflow/server/__init__.py": """
import os
from said import say
option, store = os.environ.get("OPTION"), None
say("server loaded", option=option)
def _exec_cmd(command, **named): raise AssertionError("the web server was started as a new program")
""",
    "mlflow/server/fastapi_app.py": "",
    "mlflow/server/auth/__init__.py": "from said import say; say('models of users loaded')",
    "mlflow/store/jobs/sqlalchemy_store.py": "from said import say; say('models of jobs loaded')",
    "mlflow/server/app.py": """
import mlflow.server, os
from said import say
say("application loaded")
def make():
    say("application made", option=os.environ["OPTION"], more=os.environ["MORE"], store=mlflow.server.store, parent=os.getppid())
    return "application"
""",
    "uvicorn/__init__.py": "",
    "uvicorn/_subprocess.py": "spawn = None",
    "uvicorn/main.py": """
import gc, importlib
import uvicorn._subprocess
from said import say
def serve(module, name): getattr(importlib.import_module(module), name)()
def main(arguments, prog_name):
    say("uvicorn", arguments=arguments, collects=gc.isenabled())
    module, name = arguments[-1].split(":")
    workers = [uvicorn._subprocess.spawn.Process(target=serve, kwargs={"module": module, "name": name}) for _ in range(2)]
    for worker in workers: worker.start()
    for worker in workers: worker.join()
    say("uvicorn ends")
""",
}


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    for name, text in PACKAGES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def start(packages: Path, *arguments: str, **environment: str) -> tuple[int, list[dict[str, Any]], str]:
    """Return the status of a start, what was said in it, and its errors."""
    done = subprocess.run(
        [sys.executable, "-m", "atlas_mlflow.serve", "server", *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{packages}:{LIB}", **environment},
        cwd=packages,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def only(said: list[dict[str, Any]], what: str) -> dict[str, Any]:
    """Return what was said once."""
    found = [one for one in said if one["what"] == what]
    assert len(found) == 1, said
    return found[0]


def test_the_workers_are_forks_of_a_server_that_is_loaded_once(packages: Path) -> None:
    status, said, errors = start(packages, "--host", "0.0.0.0")
    assert (status, errors) == (0, "")
    asked = only(said, "command line")
    assert asked["arguments"] == ["server", "--host", "0.0.0.0"]
    uvicorn = only(said, "uvicorn")
    assert asked["pid"] != uvicorn["pid"] == only(said, "told")["server"]
    assert uvicorn["arguments"] == ["--workers", "2", "--factory", "atlas_mlflow.app:create_app"] and uvicorn["collects"]
    loaded = [one for one in said if one["what"] == "server loaded" and one["pid"] == uvicorn["pid"]]
    assert [one["option"] for one in loaded] == ["set by the command line"]
    assert only(said, "application loaded")["pid"] == uvicorn["pid"]
    made = [one for one in said if one["what"] == "application made"]
    assert len({one["pid"] for one in made}) == 2 and all(one["parent"] == uvicorn["pid"] for one in made)
    # What the command line did in its process, such as connections to the stores, is not in the workers. What it decided is.
    assert all((one["store"], one["option"], one["more"]) == (None, "set by the command line", "x") for one in made)
    # The command line has ended before the server starts.
    assert [one["what"] for one in said].index("command line ends") < [one["what"] for one in said].index("uvicorn")


def test_no_request_loads_models_of_the_database(packages: Path) -> None:
    """SQLAlchemy gives up models that one thread defines while another one loads a store, and the worker would answer with 500 until it ends."""
    _status, said, _errors = start(packages)
    server = only(said, "uvicorn")["pid"]
    assert [only(said, f"models of {what} loaded")["pid"] for what in ("users", "jobs")] == [server, server]


@pytest.mark.parametrize("missing", ["mlflow/server/auth/__init__.py", "mlflow/store/jobs/sqlalchemy_store.py"])
def test_a_release_without_these_models_starts(packages: Path, missing: str) -> None:
    (packages / missing).unlink()
    assert start(packages)[0] == 0


def test_a_refused_option_ends_the_start_with_the_status_of_the_command_line(packages: Path) -> None:
    status, said, _errors = start(packages, "--wrong")
    assert status == 3 and not [one for one in said if one["what"] == "uvicorn"]


@pytest.mark.parametrize(("arguments", "environment"), [(["--gunicorn"], {}), ([], {"EAGER": "1"})], ids=["another web server", "server loaded too early"])
def test_what_cannot_be_forked_is_left_to_the_own_program_of_mlflow(packages: Path, arguments: list[str], environment: dict[str, str]) -> None:
    status, said, errors = start(packages, *arguments, **environment)
    assert (status, errors) == (0, "")
    assert only(said, "own program")["arguments"] == ["server", *arguments]
    assert not [one for one in said if one["what"] == "uvicorn"]


def test_the_command_line_stays_with_the_runner_of_jobs(packages: Path) -> None:
    status, said, errors = start(packages, "--jobs")
    assert (status, errors) == (0, "")
    what = [one["what"] for one in said]
    # The server does not wait for the jobs, and the command line does.
    assert what.index("uvicorn") < what.index("jobs end") < what.index("command line ends")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_worker_that_has_no_handler_yet(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """With the handlers of its supervisor a worker would ignore the signal, and a stop during the start would never end."""
    serve = load(monkeypatch, "serve")
    before = signal.signal(number, lambda *_: None)
    try:
        worker = serve.Worker(target=time.sleep, args=(30,))
        worker.start()
        assert worker.pid
        os.kill(worker.pid, number)
        worker.join(10)
        assert worker.exitcode == -number
        assert signal.getsignal(number) != signal.SIG_DFL and number not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("former", [None, "background_thread:true"])
def test_libraries_are_loaded_without_threads(packages: Path, monkeypatch: pytest.MonkeyPatch, former: str | None) -> None:
    """A fork of a process with threads may wait for a lock for ever. What the workers do later is up to the settings of the service."""
    monkeypatch.syspath_prepend(str(packages))
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.delenv("JE_ARROW_MALLOC_CONF", raising=False)
    if former:
        monkeypatch.setenv("JE_ARROW_MALLOC_CONF", former)
    serve = load(monkeypatch, "serve")
    (packages / "numbers_library.py").write_text("import os; seen = {name: os.environ.get(name) for name in ('OPENBLAS_NUM_THREADS', 'JE_ARROW_MALLOC_CONF')}")
    monkeypatch.setattr(serve, "PRELOADED", ("no_such_library", "numbers_library"))
    monkeypatch.delitem(sys.modules, "numbers_library", raising=False)
    serve.preload()
    assert sys.modules.pop("numbers_library").seen == {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
    assert (os.environ.get("OPENBLAS_NUM_THREADS"), os.environ.get("JE_ARROW_MALLOC_CONF")) == (None, former)
