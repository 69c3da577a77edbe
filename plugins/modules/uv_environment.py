#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that makes a Python environment from a lock, with uv."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: uv_environment
short_description: Make a Python environment from a lock with hashes
version_added: 0.1.0
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
extends_documentation_fragment: [atlas.mlflow.attributes, atlas.mlflow.downloads]
description:
  - Makes a virtual environment with exactly the packages in a lock with hashes, with C(uv).
  - Installs C(uv) first into its own environment, also from a lock with hashes, with the host's C(python3 -m venv) and C(pip).
  - Two calls for the same environment at the same time wait for each other.
  - A stamp, written last, records the content of the environment, so a second run reads only one small file, and an interrupted run starts again.
  - If the facts of M(atlas.mlflow.host_facts) have the same stamp, the module does not run on the host.
attributes:
  check_mode:
    description: Can run in check mode and say what would change.
    support: full
  diff_mode:
    description: Returns which parts would change.
    support: full
options:
  path:
    description: The environment's directory. A missing parent is created.
    type: path
    required: true
  requirements:
    description: Text of the lock, each package with its version and hashes, in the form of C(uv pip compile --generate-hashes).
    type: str
    required: true
  extra_files:
    description:
      - Additional files in the environment's C(site-packages), as relative path and text.
    type: dict
    default: {}
  uv_path:
    description: Directory of the environment with C(uv).
    type: path
    required: true
  uv_requirements:
    description: Text of the lock that pins C(uv).
    type: str
    required: true
  python:
    description: The interpreter of the environment. On Enterprise Linux, V(python3) means C(python3.12) if it is there.
    type: str
    default: python3
  index_url:
    description: A package index to use instead of the default one.
    type: str
  warm_imports:
    description:
      - Modules that are imported once to create their bytecode, for a service that has no write permission and would compile them at
        each start. Modules that the environment does not have are skipped. Compiling all packages takes several times longer.
    type: list
    elements: str
    default: []
  bundle:
    description:
      - Path on the control node of a bundle, which the playbook C(bundle.yml) made, an archive or a folder with its files. C(uv) and the packages are installed
        from the bundle, and no package index is asked. Empty, use the package index.
    type: path
    default: ""
  parts:
    description: Archive on the host with the wheels of the locks. The action plugin copies it from O(bundle), and the module removes it.
    type: path
  ca_bundle:
    description: CA file (PEM) that the package clients trust. Ignored if the file does not exist. By default that of the host's trust store.
    type: path
"""

EXAMPLES = r"""
- name: Install MLflow from its lock
  atlas.mlflow.uv_environment:
    path: /opt/mlflow/releases/3.17.2
    requirements: "{{ lookup('ansible.builtin.file', 'releases/3.17.2/requirements.txt') }}"
    uv_path: /opt/mlflow/uv
    uv_requirements: "{{ lookup('ansible.builtin.file', 'uv.txt') }}"
"""

RETURN = r"""
path:
  description: The environment's directory.
  returned: always
  type: str
  sample: /opt/mlflow/releases/3.17.2
python:
  description: The environment's interpreter.
  returned: always
  type: str
  sample: /opt/mlflow/releases/3.17.2/bin/python
changed_parts:
  description: What was changed, of V(uv), V(packages) and V(files).
  returned: always
  type: list
  elements: str
  sample: [packages, files]
"""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.atlas.mlflow.plugins.module_utils.bundle_parts import unpacked
from ansible_collections.atlas.mlflow.plugins.module_utils.downloads import DOWNLOADS, use_environment
from ansible_collections.atlas.mlflow.plugins.module_utils.environments import STAMP, digest, python_of, read_stamp, wanted_stamp
from ansible_collections.atlas.mlflow.plugins.module_utils.os_release import ca_file_of, family_of, own_os_release
from ansible_collections.atlas.mlflow.plugins.module_utils.redaction import Redactor, uri_secrets

#: Imports the modules in its arguments, in a separate process. Its output and its failures are ignored: it only compiles bytecode.
WARM = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception:
        pass
"""


def remove_file(root: str, name: str) -> None:
    """Remove a file, and the folders around it that then have only bytecode: Python would still import an empty folder.

    :param root: The folder that is kept.
    :param name: The file's path in it.
    """
    target = os.path.join(root, name)
    if os.path.exists(target):
        os.unlink(target)
    folder = os.path.dirname(name)
    while folder:
        path = os.path.join(root, folder)
        if os.path.isdir(path):
            if set(os.listdir(path)) - {"__pycache__"}:
                return
            shutil.rmtree(path)
        folder = os.path.dirname(folder)


@contextmanager
def alone(path: str) -> Iterator[None]:
    """Lock an environment during a change, and wait for other changes: one may run in the background."""
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, f".{name}.lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_stamp(path: str, content: dict[str, object]) -> None:
    """Write an environment's stamp in one step, so that an interruption never leaves a part of it."""
    target = os.path.join(path, STAMP)
    with open(target + ".new", "w", encoding="utf-8") as stamp:
        json.dump(content, stamp, indent=2, sort_keys=True)
    os.replace(target + ".new", target)


class Environment:
    """One environment, and the uv that creates it."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        parameters = module.params
        self._secrets = use_environment(module) | uri_secrets(parameters["index_url"] or "")
        self.path: str = parameters["path"]
        self.uv_path: str = parameters["uv_path"]
        self.requirements: str = parameters["requirements"]
        self.uv_requirements: str = parameters["uv_requirements"]
        self.extra_files: dict[str, str] = {name: str(text) for name, text in parameters["extra_files"].items()}
        found = python_of(family_of(own_os_release()), module.get_bin_path) if parameters["python"] == "python3" else ""
        self.python: str = found or module.get_bin_path(parameters["python"], required=True)
        #: Arguments of pip and uv for the place of the packages. Empty: the package index.
        self.place: list[str] = []

    def wanted_uv(self) -> dict[str, object]:
        """Return the stamp of the wanted uv."""
        return {"requirements": digest(self.uv_requirements)}

    def wanted(self) -> dict[str, object]:
        """Return the stamp of the wanted environment."""
        return wanted_stamp(self.requirements, os.path.realpath(self.python), self.extra_files)

    def outdated_parts(self) -> list[str]:
        """Return the parts that differ from the wanted ones."""
        stamp, wanted = read_stamp(self.path), self.wanted()
        parts = []
        if any(stamp.get(key) != wanted[key] for key in ("requirements", "interpreter")):
            # uv is needed, and so checked, only if packages must be installed.
            if read_stamp(self.uv_path) != self.wanted_uv():
                parts.append("uv")
            parts.append("packages")
        if stamp.get("files", {}) != wanted["files"]:
            parts.append("files")
        return parts

    def client_environment(self) -> dict[str, str]:
        """Return the environment variables that make pip and uv use the host's trust store and the wanted index."""
        variables = {"PYTHONDONTWRITEBYTECODE": "", "UV_NO_PROGRESS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "UV_NO_CONFIG": "1"}
        # Not in root's home. HOME itself is not changed, because the logins of a private index are in its .netrc.
        variables.update(UV_CACHE_DIR=os.path.join(self.uv_path, "cache"), PIP_NO_CACHE_DIR="1")
        bundle = self.module.params["ca_bundle"] or ca_file_of(own_os_release())
        if os.path.exists(bundle):
            variables.update(PIP_CERT=bundle, SSL_CERT_FILE=bundle)
        if self.module.params["index_url"]:
            variables.update(PIP_INDEX_URL=self.module.params["index_url"], UV_DEFAULT_INDEX=self.module.params["index_url"])
        return variables

    def run(self, what: str, argv: list[str], **variables: str) -> None:
        """Run a command with additional environment variables, and fail the module with the command's output if the command fails."""
        code, out, error = self.module.run_command(argv, environ_update={**self.client_environment(), **variables})
        if code != 0:
            # The URL of an index may have a login, also one from another setting of the host.
            hide = Redactor(self._secrets, public=[self.path, self.uv_path]).text
            self.module.fail_json(msg=f"{what} failed: {hide((error or out).strip())}", cmd=argv, rc=code, stdout=hide(out), stderr=hide(error))

    def write_lock(self, text: str) -> str:
        """Write a lock to a file that exists until the module ends, and return its path."""
        # Not in Ansible's own folder: for a module without a file, Ansible would create it in root's home.
        handle, name = tempfile.mkstemp(suffix=".txt")
        self.module.add_cleanup_file(name)
        with os.fdopen(handle, "w", encoding="utf-8") as lock:
            lock.write(text)
        return name

    def install_uv(self) -> None:
        """Create the environment of uv with the tools of every Debian: venv and pip."""
        shutil.rmtree(self.uv_path, ignore_errors=True)
        self.run(f"Making {self.uv_path} (is python3-venv installed?)", [self.python, "-m", "venv", self.uv_path])
        lock = self.write_lock(self.uv_requirements)
        pip = [os.path.join(self.uv_path, "bin", "python"), "-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps"]
        self.run("Installing uv", [*pip, *self.place, "--requirement", lock])
        write_stamp(self.uv_path, self.wanted_uv())

    def install_packages(self) -> None:
        """Create the environment again. Remove its stamp first, so that the next run notices an interruption."""
        uv = os.path.join(self.uv_path, "bin", "uv")
        if os.path.exists(self.path):
            if not os.path.exists(os.path.join(self.path, "pyvenv.cfg")) and os.listdir(self.path):
                self.module.fail_json(msg=f"{self.path} holds files and is no Python environment: move it away or name another path")
            shutil.rmtree(self.path)
        self.run(f"Making {self.path}", [uv, "venv", "--quiet", "--no-python-downloads", "--python", self.python, self.path])
        lock = self.write_lock(self.requirements)
        sync = [uv, "pip", "sync", "--quiet", "--require-hashes", *self.place, "--python", self.path, lock]
        self.run("Installing the lock", sync)
        if self.module.params["warm_imports"]:
            interpreter = os.path.join(self.path, "bin", "python")
            # Packages such as matplotlib write to the home folder when they are imported.
            with tempfile.TemporaryDirectory() as home:
                homes = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"), home)
                self.run("Importing the packages once", [interpreter, "-c", WARM, *self.module.params["warm_imports"]], **homes)

    def write_files(self, previous: dict[str, object]) -> None:
        """Write the extra files, and remove those that an earlier run wrote and that are no longer wanted."""
        packages = os.path.join(self.path, "lib", os.path.basename(os.path.realpath(os.path.join(self.path, "bin", "python"))), "site-packages")
        for name in set(previous) - set(self.extra_files):
            remove_file(packages, name)
        for name, text in self.extra_files.items():
            target = os.path.join(packages, name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "w", encoding="utf-8") as file:
                file.write(text)

    def make(self, parts: list[str]) -> None:
        """Bring the given parts to the wanted state."""
        if not parts:
            return
        previous = read_stamp(self.path).get("files")
        if "uv" in parts:
            with alone(self.uv_path):
                if read_stamp(self.uv_path) != self.wanted_uv():
                    self.install_uv()
        if "packages" in parts:
            self.install_packages()
            previous = None
        if "packages" in parts or "files" in parts:
            self.write_files(previous if isinstance(previous, dict) else {})
        write_stamp(self.path, self.wanted())


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "requirements": {"type": "str", "required": True},
            "extra_files": {"type": "dict", "default": {}},
            "uv_path": {"type": "path", "required": True},
            "uv_requirements": {"type": "str", "required": True},
            "python": {"type": "str", "default": "python3"},
            "index_url": {"type": "str", "no_log": True},
            "bundle": {"type": "path", "default": ""},
            "parts": {"type": "path"},
            "warm_imports": {"type": "list", "elements": "str", "default": []},
            "ca_bundle": {"type": "path"},
            **DOWNLOADS,
        },
        supports_check_mode=True,
    )
    environment = Environment(module)
    os.umask(0o022)
    parts = environment.outdated_parts()
    if parts and not module.check_mode:
        with alone(environment.path), unpacked(module.params["parts"] or "") as wheels:
            if module.params["bundle"]:
                environment.place = ["--no-index", "--find-links", wheels]
            parts = environment.outdated_parts()
            environment.make(parts)
    diff = {"before": "", "after": "".join(f"{environment.path}: {part}\n" for part in parts)}
    module.exit_json(
        changed=bool(parts),
        changed_parts=parts,
        path=environment.path,
        python=os.path.join(environment.path, "bin", "python"),
        diff=diff,
    )


if __name__ == "__main__":
    main()
