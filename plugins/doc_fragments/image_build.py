# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of what the modules that build images share. Their arguments are C(BUILD) in C(module_utils/images.py)."""

from __future__ import annotations


class ModuleDocFragment:
    """Options and attributes of modules that build an image."""

    DOCUMENTATION = r"""
attributes:
  check_mode:
    description: Can run in check mode and say whether the image is missing.
    support: full
  diff_mode:
    description: Says nothing more in diff mode.
    support: none
options:
  build_args:
    description: Arguments of the build by their names. They are in no list of processes, and passwords in URLs are not in the output of the module.
    type: dict
    default: {}
  build_network:
    description: Network of the build. If empty, the default network of the program that builds.
    type: str
    default: ""
"""
