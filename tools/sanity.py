"""Run `ansible-test sanity` on a built collection with the tools of this environment, which the lock pins.

ansible-test makes an environment for each of its tests and downloads what it needs, pip from a host of its own. The lock has the same tools.

    python -m tools.sanity [OPTION OF ANSIBLE-TEST]...      in the folder ansible_collections/NAMESPACE/NAME of the collection
"""

from __future__ import annotations

import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import yaml
from ansible_test._internal import main
from ansible_test._internal.commands import sanity
from ansible_test._internal.host_configs import VirtualPythonConfig

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


def run() -> None:
    """Run the tests.

    :raises SystemExit: With ansible-test's code.
    """
    with tempfile.TemporaryDirectory() as folder:
        sanity.create_sanity_virtualenv = lambda _args, python, name, **_options: environment_for(Path(folder) / "bare", python, name)
        # Without it, tests that need it would be left out.
        sanity.check_sanity_virtualenv_yaml = lambda _python: bool(yaml.__with_libyaml__)
        sys.argv = [str(Path(sys.executable).parent / "ansible-test"), "sanity", "--python", "{}.{}".format(*sys.version_info), *sys.argv[1:]]
        main()


if __name__ == "__main__":
    run()
