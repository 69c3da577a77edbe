# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run commands of a host for a module that only reads."""

from __future__ import annotations

from collections.abc import Callable

from ansible.module_utils.basic import AnsibleModule

#: A function that runs a command and returns its code, output and errors.
Run = Callable[[list[str]], tuple[int, str, str]]


def run_quietly(module: AnsibleModule) -> Run:
    """Return a function that runs a command and returns its code, output and errors. A missing command fails like any other."""

    def run(command: list[str]) -> tuple[int, str, str]:
        if not module.get_bin_path(command[0]):
            return 127, "", f"{command[0]} is not installed"
        code, out, err = module.run_command(command)
        return code, out, err

    return run
