"""Run programs of Ansible in forks of a process that imports Ansible once.

The checks of a built collection start ansible-doc for each kind of plugins and each format. Most of the processor time of such a run is the import of Ansible.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn
from unittest import mock

#: The environment in which this process has imported Ansible, which reads its settings from there.
_imported: dict[str, str] = {}


def ansible_doc(argv: Sequence[str], env: Mapping[str, str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ansible-doc, and return its exit status and its output.

    :param argv: ``ansible-doc`` and its arguments.
    :param env: Its environment.
    :param folder: Its working directory.
    """
    if "ansible.constants" not in sys.modules:
        with mock.patch.dict(os.environ, env, clear=True):
            import ansible.cli.doc  # noqa: F401
        _imported.update(env)
    if _imported != env:
        return subprocess.run(argv, env=env, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    def doc() -> Any:
        from ansible.cli.doc import main

        return main()

    return fork(doc, argv, env, folder)


def fork(program: Callable[[], Any], argv: Sequence[str], env: Mapping[str, str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a function as a program in a fork of this process, and return its exit status and its output.

    :param program: The function. It returns its exit status, or raises SystemExit with it.
    :param argv: The name of the program and its arguments.
    :param env: Its environment.
    :param folder: Its working directory.
    """
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
        # The fork would write what this process has not written yet.
        sys.stdout.flush()
        sys.stderr.flush()
        process = os.fork()
        if process == 0:
            _run(program, argv, env, folder, said, complained)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        said.seek(0)
        complained.seek(0)
        return subprocess.CompletedProcess(argv, status, said.read().decode(), complained.read().decode())


def _run(program: Callable[[], Any], argv: Sequence[str], env: Mapping[str, str], folder: Path | None, said: IO[bytes], complained: IO[bytes]) -> NoReturn:
    """Run the function in place of what this process, a fork, would do."""
    status: Any = 1
    try:
        with open(os.devnull) as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(said.fileno(), 1)
        os.dup2(complained.fileno(), 2)
        os.environ.clear()
        os.environ.update(env)
        if folder:
            os.chdir(folder)
        sys.argv = list(argv)
        status = program()
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 1 if status else 0)
