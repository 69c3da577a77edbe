"""Start a tracking server: load MLflow once, let MLflow's own command line decide everything, and fork the workers.

``mlflow server`` loads MLflow in the process of the command line, starts uvicorn as a new program, and uvicorn starts each worker as a new
program, which loads MLflow again. Loading takes two to three seconds of processor time each, and each process keeps its own copy in memory.

This program loads what does not depend on the options of the server (`PRELOADED`), and forks a child. The child runs MLflow's own command line
with the same arguments: it checks them, prepares the stores and the administrator, and makes the environment of the server. Then the child gives
the command and the environment of uvicorn to this process and ends. This process becomes uvicorn, and the workers are forks of it, which share
its memory. A worker that dies is replaced in a moment.

If MLflow would start another web server than uvicorn, or if a release loads its server with the rest of MLflow, this program becomes MLflow's own command line.

Two attributes of other packages are replaced, because they offer no other way: ``mlflow.server._exec_cmd``, in the child alone, and
``uvicorn._subprocess.spawn``.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from types import SimpleNamespace
from typing import Any, NoReturn

from atlas_mlflow import app

#: Modules that take long to load and do not read the server's options, in any release. Modules that a release does not have are skipped.
PRELOADED = (
    "uvicorn.main",
    "uvicorn.supervisors.multiprocess",
    "uvicorn.protocols.http.auto",
    "uvloop",
    "fastapi",
    "flask_cors",
    "flask_wtf.csrf",
    "mlflow",
    "mlflow.entities",
    "mlflow.genai",
    "mlflow.gateway.config",
    "mlflow.gateway.utils",
    "mlflow.store.artifact.s3_artifact_repo",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "alembic.command",
    "alembic.migration",
    "sqlalchemy.dialects.postgresql",
    "psycopg2",
    "graphene",
    "aiohttp",
    "boto3",
    "botocore.client",
)

#: What MLflow starts if its web server is uvicorn.
_UVICORN = [sys.executable, "-m", "uvicorn"]
#: Signals that the supervisor of uvicorn handles. A worker must not inherit the handlers.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)


#: Settings by which libraries start no thread while they are loaded: NumPy's for numbers, and the one of PyArrow's allocator, which returns memory.
WITHOUT_THREADS = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}


def preload() -> None:
    """Load the modules in `PRELOADED` without threads: a process with threads must not be forked."""
    former = {name: os.environ.get(name) for name in WITHOUT_THREADS}
    os.environ.update(WITHOUT_THREADS)
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for name, value in former.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


class _Handed:
    """The web server as MLflow's command line knows it: the parent process, which becomes the web server."""

    def __init__(self, sender: Connection, pid: int) -> None:
        self.pid = pid
        self._sender = sender

    def poll(self) -> int | None:
        """Return None: the web server runs."""
        return None

    def send_signal(self, number: int) -> None:
        """Send a signal to the web server."""
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Return at once, or if this process has children, such as the runner of jobs, at the end of the last child."""
        has_children = True
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            has_children = False
        self._sender.send(has_children)
        self._sender.close()
        while has_children:
            try:
                os.wait()
            except ChildProcessError:
                has_children = False
        return 0


def _run_command_line(arguments: list[str], sender: Connection) -> NoReturn:
    """Run MLflow's command line. Give the command of uvicorn and its environment to the parent process; give None if it is another command.

    :raises SystemExit: Always, with the status of the command line.
    """
    import mlflow.cli
    import mlflow.server

    start_command = mlflow.server._exec_cmd
    parent = os.getppid()

    def hand_over(command: list[str], *rest: Any, **named: Any) -> Any:
        if command[: len(_UVICORN)] == _UVICORN:
            sender.send((command[len(_UVICORN) :], {**os.environ, **named.get("extra_env", {})}))
            return _Handed(sender, parent)
        if any(word in ("gunicorn", "waitress") for word in command):
            sender.send(None)
            sys.exit(0)
        return start_command(command, *rest, **named)

    mlflow.server._exec_cmd = hand_over
    mlflow.cli.cli(arguments, prog_name="mlflow")
    sys.exit(0)


def ask_command_line(arguments: list[str]) -> tuple[list[str], dict[str, str]] | None:
    """Return the arguments and the environment of uvicorn that MLflow's command line makes, or None if it starts another web server.

    :param arguments: The arguments of ``mlflow``, which begin with ``server``.
    :raises SystemExit: With the status of the command line, if it ends without a command.
    """
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if not child:
        receiver.close()
        _run_command_line(arguments, sender)
    sender.close()
    handed: tuple[list[str], dict[str, str]] | None
    try:
        handed = receiver.recv()
        stays = bool(handed and receiver.recv())
    except EOFError:
        raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or 1) from None
    if not stays:
        os.waitpid(child, 0)
    return handed


@contextlib.contextmanager
def _blocked() -> Iterator[None]:
    """Hold back the signals that the supervisor handles."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Worker(ForkProcess):
    """A worker of uvicorn as a fork of its supervisor. A signal that comes before the worker has handlers of its own ends the worker."""

    def start(self) -> None:
        """Fork the worker while the signals are held back, so that the supervisor's handlers never run in the worker."""
        with _blocked():
            super().start()

    def run(self) -> None:
        """Forget the supervisor's handlers, and be the worker."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        super().run()


def become_uvicorn(arguments: list[str]) -> None:
    """Be uvicorn with MLflow's application in the application of this collection.

    :param arguments: The arguments of ``uvicorn``, of which the last one is MLflow's application.
    :raises SystemExit: At the end of the server, with its status.
    """
    import uvicorn._subprocess
    import uvicorn.main

    *options, application = arguments
    app.load(application)
    uvicorn._subprocess.spawn = SimpleNamespace(Process=Worker)  # uvicorn calls this function alone.
    gc.freeze()
    gc.enable()
    uvicorn.main.main([option for option in options if option != "--factory"] + ["--factory", f"{app.__name__}:create_app"], prog_name="uvicorn")


def main(arguments: list[str]) -> None:
    """Start the server.

    :param arguments: The arguments of ``mlflow``, which begin with ``server``.
    """
    # While modules are loaded, there is no garbage, and to search for it takes a fifth of the time.
    gc.disable()
    preload()
    # Objects that are never freed are not searched again, so the pages that the processes share are not copied.
    gc.freeze()
    # MLflow's server reads its options while it is loaded, so it must be loaded after the command line has set them.
    handed = None if "mlflow.server" in sys.modules else ask_command_line(arguments)
    if handed is None:
        os.execv(sys.executable, [sys.executable, "-m", "mlflow", *arguments])
    command, environment = handed
    os.environ.clear()
    os.environ.update(environment)
    become_uvicorn(command)


if __name__ == "__main__":
    main(sys.argv[1:])
