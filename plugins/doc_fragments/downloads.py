# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of what the modules that download share. Their argument is C(DOWNLOADS) in C(module_utils/downloads.py)."""

from __future__ import annotations


class ModuleDocFragment:
    """Option of modules that download."""

    DOCUMENTATION = r"""
options:
  download_environment:
    description:
      - Environment variables for downloads, such as C(HTTPS_PROXY).
      - Unlike with the keyword C(environment) of a task, they are in no list of processes, and passwords in URLs are not in the output of the module.
    type: dict
    default: {}
"""
