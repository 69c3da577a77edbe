# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options by which modules reach a tracking server and log in to it."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of modules in the action group C(mlflow) of C(meta/runtime.yml)."""

    DOCUMENTATION = r"""
options:
  url:
    description: Base URL to connect to. A path in it is the server's static prefix.
    type: str
    required: true
  username:
    description: User for a server with basic authentication, which must then refuse requests without a login.
    type: str
  password:
    description: The user's password.
    type: str
attributes:
  action_group:
    description: Use C(group/atlas.mlflow.mlflow) in C(module_defaults) to set the URL, the login and the CA file once for all modules of the group.
    support: full
    membership:
      - atlas.mlflow.mlflow
"""

    REQUEST = r"""
options:
  name:
    description: Name of the server in the Host header. By default the host of O(url).
    type: str
  timeout:
    description: Time limit of one request in seconds.
    type: float
    default: 30
"""

    WORKSPACE = r"""
options:
  workspace:
    description:
      - The workspace that has the things, with C(mlflow_server_workspaces). Without it, the workspace C(default). The module fails if the server has no such
        workspace, or no workspaces at all. In check mode, a workspace that is missing counts as an empty one, because a task before may create it.
    type: str
    default: ""
"""
