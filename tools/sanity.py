"""Run `ansible-test sanity` on a built collection with the tools of this environment, which the lock pins.

ansible-test itself creates an environment for each of its tests and downloads its packages, pip from its own host. The lock has the same tools.

ansible-test starts pylint for modules, for module_utils and for the rest. Each time pylint reads Ansible and the standard library again, which is half
of its time. Here one process reads them once. The test "import" imports Ansible again for each plugin; here the plugins are imported into a process that
has Ansible already. The test "ansible-doc" starts that program seven times, here in forks of one process.

    python -m tools.sanity [OPTION OF ANSIBLE-TEST]...      in the folder ansible_collections/NAMESPACE/NAME of the collection
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import os
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from ansible_test._internal import main, util_common
from ansible_test._internal.commands import sanity
from ansible_test._internal.commands.sanity import ansible_doc as doc_test
from ansible_test._internal.commands.sanity import pylint as pylint_test
from ansible_test._internal.coverage_util import cover_python
from ansible_test._internal.host_configs import VirtualPythonConfig
from ansible_test._internal.util import SubprocessError

from . import forks

#: The test that a module can be imported on a host, where only Python is installed.
BARE = "import.module"

#: Runs the program of the test "import" after it has imported the parts of Ansible that plugins use. The test removes from memory what a plugin has added, but
#: nothing that was there before. Modules and module_utils are left as they are: for these, the program begins without Ansible.
WITH_ANSIBLE = """
import gc, runpy, sys
import ansible.plugins.action, ansible.plugins.loader, ansible.plugins.lookup, ansible.template
gc.disable()
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def environment_for(folder: Path, python: Any, name: str) -> Any:
    """Return the Python for a test.

    :param folder: The folder for a new environment without packages.
    :param python: The Python of ansible-test.
    :param name: The purpose of the environment.
    """
    if name != BARE:
        return python
    if not folder.exists():
        venv.create(folder, with_pip=False)
    return VirtualPythonConfig(version=python.version, path=str(folder / "bin" / "python"))


def pylint_here(_args: Any, command: list[str], *, env: dict[str, str], **_options: Any) -> tuple[str, str]:
    """Run pylint in this process, which keeps the files that pylint has read, and return its output.

    :param command: Python, ``-m``, ``pylint`` and its arguments.
    :param env: Its environment, with the folders of its plugins.
    :raises SubprocessError: If it found something or failed, because ansible-test expects this.
    """
    from pylint.lint import Run

    said, complained = io.StringIO(), io.StringIO()
    path = [*env["PYTHONPATH"].split(os.pathsep), *sys.path]
    with (
        mock.patch.dict(os.environ, env, clear=True),
        mock.patch.object(sys, "path", path),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(complained),
    ):
        status: int | str | None = 1
        try:
            # In one process: other processes would not keep what they read here.
            Run([*command[3:], "--jobs", "1"])
        except SystemExit as end:
            status = end.code
    if status:
        raise SubprocessError(cmd=command, status=status if isinstance(status, int) else 1, stdout=said.getvalue(), stderr=complained.getvalue())
    return said.getvalue(), complained.getvalue()


def import_here(args: Any, python: Any, command: list[str], name: str, env: dict[str, str], **options: Any) -> tuple[str, str]:
    """Run the program of the test "import", and return its output.

    :param command: The name of the program.
    :param env: Its environment, with the kind of files that it imports.
    """
    if env["SANITY_IMPORTER_TYPE"] == "plugin":
        program = os.path.join(sanity.TARGET_SANITY_ROOT, "import", command[0])
        # Without the working directory in the path of imports, as for a program.
        command = [python.path, "-P", "-c", WITH_ANSIBLE, program, *command[1:]]
    said: tuple[str, str] = cover_python(args, python, command, name, env, **options)
    return said


def in_fork(_args: Any, command: list[str], *, env: dict[str, str], **_options: Any) -> tuple[str, str]:
    """Run ansible-doc in a fork of this process, and return its output.

    :raises SubprocessError: If it failed, because ansible-test expects this.
    """
    done = forks.ansible_doc(command, env)
    if done.returncode:
        raise SubprocessError(cmd=command, status=done.returncode, stdout=done.stdout, stderr=done.stderr)
    return done.stdout, done.stderr


def ansible_doc_here(*given: Any, **options: Any) -> tuple[str, str]:
    """Run ansible-doc in the environment that ansible-test makes for it, and return its output."""
    with mock.patch.object(util_common, "run_command", in_fork):
        said: tuple[str, str] = util_common.intercept_python(*given, **options)
    return said


def run() -> None:
    """Run the tests.

    :raises SystemExit: With the exit status of ansible-test.
    """
    # Files that pylint has read are needed until the end. Garbage collection would take a quarter of the time and find little.
    gc.disable()
    pylint_test.run_command = pylint_here
    doc_test.intercept_python = ansible_doc_here
    with tempfile.TemporaryDirectory() as folder:
        sanity.create_sanity_virtualenv = lambda _args, python, name, **_options: environment_for(Path(folder) / "bare", python, name)
        # Without it, ansible-test would skip some tests.
        sanity.check_sanity_virtualenv_yaml = lambda _python: bool(yaml.__with_libyaml__)
        # It takes these two functions when it is imported.
        importlib.import_module("ansible_test._internal.commands.sanity.import").cover_python = import_here  # type: ignore[attr-defined]
        sys.argv = [str(Path(sys.executable).parent / "ansible-test"), "sanity", "--python", "{}.{}".format(*sys.version_info), *sys.argv[1:]]
        main()


if __name__ == "__main__":
    run()
