#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that installs packages of the distribution from the parts of a bundle."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bundle_packages
short_description: Install packages of the distribution from a bundle
version_added: 1.0.0
author:
  - atlas.mlflow maintainers (@atlas-mlflow)
extends_documentation_fragment: [atlas.mlflow.attributes]
description:
  - Installs packages with their dependencies from files, and asks no repository of the host.
  - M(atlas.mlflow.packages) calls this module twice. Without O(parts), the module only finds the files that are needed. With O(parts), it installs them, and
    removes the files.
attributes:
  check_mode:
    description: Finds the files that are needed, and installs nothing.
    support: full
  diff_mode:
    description: Has no diff.
    support: none
options:
  names:
    description: The packages, without versions.
    type: list
    elements: str
    required: true
  index:
    description: The index of the packages in the bundle, in the form of a repository's C(Packages).
    type: str
    required: true
  parts:
    description: Archive on the host with the files of the packages. The module removes it.
    type: path
"""

EXAMPLES = r"""
- name: Find the files of the packages
  atlas.mlflow.bundle_packages:
    names: [haproxy]
    index: "{{ lookup('ansible.builtin.file', 'packages/Packages') }}"
  become: true
"""

RETURN = r"""
files:
  description: The files of the packages that the host lacks, of O(names) and of their dependencies.
  returned: always
  type: list
  elements: str
  sample: [haproxy_2.6.12-1+deb12u2_amd64.deb]
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.atlas.mlflow.plugins.module_utils.bundle_parts import unpacked
from ansible_collections.atlas.mlflow.plugins.module_utils.package_index import configuration, files_to_install

#: The answers to questions about changed settings files are those of ansible.builtin.apt.
OPTIONS = [
    'Dir::Etc::sourceparts "/dev/null";',
    'DPkg::Options:: "--force-confdef";',
    'DPkg::Options:: "--force-confold";',
    'DPkg::Lock::Timeout "300";',
]


def run(module: AnsibleModule, folder: str, *arguments: str) -> str:
    """Run apt-get with the folder as its only repository, and return its output. Fail the module with its errors."""
    variables = {"APT_CONFIG": f"{folder}/apt.conf", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    code, out, error = module.run_command([module.get_bin_path("apt-get", required=True), "--quiet", *arguments], environ_update=variables)
    if code != 0:
        module.fail_json(msg=f"apt-get {' '.join(arguments)} failed with the packages of the bundle: {(error or out).strip()}", stdout=out, stderr=error)
    return str(out)


def make_repository(folder: str, index: str) -> None:
    """Make a folder a repository, and write apt's settings for it.

    Nobody has signed its index. The control node compared the bundle's files with their checksums before they were copied, and apt compares them with the
    index again.
    """
    for part in ("lists/partial", "archives/partial"):
        os.makedirs(f"{folder}/{part}")
    settings = [*OPTIONS, f'Dir::Etc::sourcelist "{folder}/sources.list";']
    texts = {"Packages": index, "sources.list": f"deb [trusted=yes] file:{folder} ./\n", "apt.conf": configuration(folder, settings)}
    for name, text in texts.items():
        with open(f"{folder}/{name}", "w", encoding="utf-8") as file:
            file.write(text)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "index": {"type": "str", "required": True},
            "parts": {"type": "path"},
        },
        supports_check_mode=True,
    )
    names, index, parts = (module.params[name] for name in ("names", "index", "parts"))
    install = ["install", "--yes", "--no-install-recommends", *names]
    with unpacked(parts or "") as folder:
        make_repository(folder, index)
        run(module, folder, "update")
        try:
            files = files_to_install(run(module, folder, "--simulate", *install), index)
        except KeyError as error:
            module.fail_json(msg=f"apt would install a package that the bundle does not have: {error}")
        if parts and not module.check_mode:
            run(module, folder, *install)
    module.exit_json(changed=bool(parts), files=files)


if __name__ == "__main__":
    main()
