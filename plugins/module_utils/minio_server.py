# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How modules ask a MinIO server as its administrator, by the Python library ``minio``. See the documentation fragment of the same subject."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from minio.error import MinioAdminException, S3Error
    from urllib3.exceptions import HTTPError

    HAS_MINIO = True
except ImportError:
    HAS_MINIO = False

#: The options by which a module finds the server, and logs in.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "endpoint": {"type": "str", "required": True},
    "root_user": {"type": "str", "required": True},
    "root_password": {"type": "str", "required": True, "no_log": True},
    "ca_bundle": {"type": "path"},
}


def connection(module: AnsibleModule) -> dict[str, Any]:
    """Return the arguments by which the library's clients connect to the server; fail if the endpoint is no URL of a server."""
    url = urlsplit(module.params["endpoint"])
    if url.scheme not in ("http", "https") or not url.netloc or url.path.strip("/"):
        module.fail_json(msg=f"endpoint is {module.params['endpoint']}: give http://HOST:PORT or https://HOST:PORT")
    return {"endpoint": url.netloc, "secure": url.scheme == "https"}


def run(module: AnsibleModule, work: Callable[[AnsibleModule], dict[str, Any]]) -> None:
    """Do a module's work and exit with its result, or with what the server said."""
    if not HAS_MINIO:
        module.fail_json(msg=missing_required_lib("minio"))
    if module.params["ca_bundle"]:
        # The library reads its trust from there.
        os.environ["SSL_CERT_FILE"] = module.params["ca_bundle"]
    try:
        result = work(module)
    except (MinioAdminException, S3Error) as error:
        module.fail_json(msg=f"{module.params['endpoint']} refused: {error}. Is root_password the one that the server was started with?")
    except (HTTPError, OSError) as error:
        module.fail_json(msg=f"{module.params['endpoint']} did not answer: {error}")
    module.exit_json(**result)
