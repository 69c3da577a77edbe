# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Downloads of modules, with the environment variables that name a proxy.

With the keyword C(environment) of a task, Ansible would put these variables into the command line that runs the module, on the host and on the control node.
"""

from __future__ import annotations

import os
import shutil
from http.client import HTTPException

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible_collections.atlas.mlflow.plugins.module_utils.images import build_secrets
from ansible_collections.atlas.mlflow.plugins.module_utils.redaction import Redactor

#: The argument of modules that download, as the fragment downloads documents it.
DOWNLOADS: dict[str, dict[str, object]] = {"download_environment": {"type": "dict", "default": {}, "no_log": True}}
#: Seconds in which a download must go on.
TIMEOUT = 60


def use_environment(module: AnsibleModule) -> set[str]:
    """Give this process, and those that it starts, the variables of O(download_environment), and return the secrets in them.

    The journal has none of these variables, and the output of the module all but their secrets.
    """
    variables = {name: str(value) for name, value in module.params["download_environment"].items()}
    secrets = build_secrets(variables)
    module.no_log_values = (module.no_log_values - set(variables.values())) | secrets
    os.environ.update(variables)
    return secrets


def fetch(module: AnsibleModule, url: str, path: str, sha256: str) -> None:
    """Download a file and compare it with its checksum, or fail the module.

    :param path: The path of the new file.
    """
    hide = Redactor(build_secrets({**module.params["download_environment"], "url": url})).text
    try:
        with open_url(url, timeout=TIMEOUT) as answer, open(path, "wb") as file:
            shutil.copyfileobj(answer, file)
    except (OSError, ValueError, HTTPException) as error:
        module.fail_json(msg=hide(f"The download of {url} failed: {error}"))
    if (seen := module.sha256(path)) != sha256:
        module.fail_json(msg=hide(f"{url} has the sha256 {seen}, and {sha256} is pinned."))
