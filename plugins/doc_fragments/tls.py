# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options by which modules check the tracking server's certificate."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of modules."""

    DOCUMENTATION = r"""
options:
  validate_certs:
    description: Whether certificates must be valid.
    type: bool
    default: true
  ca_path:
    description: CA file (PEM) to trust instead of the system's.
    type: path
  tls_name:
    description: Name or address that the certificate must be for. By default the host of O(url), which may be one that only the server's own host uses.
    type: str
"""
