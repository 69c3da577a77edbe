# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options by which modules log in to a MinIO server as its administrator."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of modules."""

    DOCUMENTATION = r"""
requirements:
  - minio (Python library) on the host that runs the module
options:
  endpoint:
    description: URL of the server, such as V(http://127.0.0.1:9000).
    type: str
    required: true
  root_user:
    description: Name of the administrator.
    type: str
    required: true
  root_password:
    description: The administrator's password.
    type: str
    required: true
  ca_bundle:
    description: CA file (PEM) with which the certificate of an endpoint with TLS is checked.
    type: path
"""
