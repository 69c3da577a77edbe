"""Run `ansible-test sanity` on a built collection with the tools of this environment, which the lock pins.

ansible-test makes an environment for each of its tests and downloads what it needs, pip from a host of its own. The lock has the same tools.

It starts pylint once for modules, once for module_utils and once for the rest, and each time pylint reads Ansible and the standard library again, which is half
of its time. Here one process reads them once.

    python -m tools.sanity [OPTION OF ANSIBLE-TEST]...      in the folder ansible_collections/NAMESPACE/NAME of the collection
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from ansible_test._internal import main
from ansible_test._internal.commands import sanity
from ansible_test._internal.commands.sanity import pylint as pylint_test
from ansible_test._internal.host_configs import VirtualPythonConfig
from ansible_test._internal.util import SubprocessError

#: The test that a module can be imported on a host: with Python alone.
BARE = "import.module"


def environment_for(folder: Path, python: Any, name: str) -> Any:
    """Return the Python to run a test with.

    :param folder: Where to make an environment without packages.
    :param python: The Python that ansible-test runs with.
    :param name: What the environment is for.
    """
    if name != BARE:
        return python
    if not folder.exists():
        venv.create(folder, with_pip=False)
    return VirtualPythonConfig(version=python.version, path=str(folder / "bin" / "python"))


def pylint_here(_args: Any, command: list[str], *, env: dict[str, str], **_options: Any) -> tuple[str, str]:
    """Run pylint in this process, which keeps what it has read of other files, and return what it wrote.

    :param command: Python, ``-m``, ``pylint`` and its arguments.
    :param env: The environment for it, with the folders of its plugins.
    :raises SubprocessError: If it found something or failed, as ansible-test expects it.
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
            # In one process: others would not leave here what they have read.
            Run([*command[3:], "--jobs", "1"])
        except SystemExit as end:
            status = end.code
    if status:
        raise SubprocessError(cmd=command, status=status if isinstance(status, int) else 1, stdout=said.getvalue(), stderr=complained.getvalue())
    return said.getvalue(), complained.getvalue()


def run() -> None:
    """Run the tests.

    :raises SystemExit: With ansible-test's code.
    """
    # What pylint reads stays to the end, so looking for what may be forgotten is a quarter of its time and finds little.
    gc.disable()
    pylint_test.run_command = pylint_here
    with tempfile.TemporaryDirectory() as folder:
        sanity.create_sanity_virtualenv = lambda _args, python, name, **_options: environment_for(Path(folder) / "bare", python, name)
        # Without it, tests that need it would be left out.
        sanity.check_sanity_virtualenv_yaml = lambda _python: bool(yaml.__with_libyaml__)
        sys.argv = [str(Path(sys.executable).parent / "ansible-test"), "sanity", "--python", "{}.{}".format(*sys.version_info), *sys.argv[1:]]
        main()


if __name__ == "__main__":
    run()
