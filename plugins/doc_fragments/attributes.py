# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of attributes that several modules share."""

from __future__ import annotations


class ModuleDocFragment:
    """Attributes of modules."""

    DOCUMENTATION = r"""
attributes:
  platform:
    description: The platforms on which the module runs.
    support: full
    platforms: posix
"""

    READS_ONLY = r"""
attributes:
  check_mode:
    description: Reads only.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
"""

    CONTROL_NODE = r"""
attributes:
  platform:
    support: full
    description: The control node.
    platforms: posix
  action:
    support: full
    description: Runs on the control node.
  check_mode:
    support: full
    description: Changes nothing.
  diff_mode:
    support: none
    description: Changes nothing.
"""
