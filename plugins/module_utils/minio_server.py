# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Log in to a MinIO server as its administrator, with the Python library ``minio``. The documentation fragment minio describes the options."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from minio.error import MinioAdminException, MinioException, S3Error
    from urllib3.exceptions import HTTPError

    HAS_MINIO = True
except ImportError:
    HAS_MINIO = False

EXCERPT = 160  # characters of an answer that a message may quote

#: The options with which a module finds the server and logs in.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "endpoint": {"type": "str", "required": True},
    "root_user": {"type": "str", "required": True},
    "root_password": {"type": "str", "required": True, "no_log": True},
    "ca_bundle": {"type": "path"},
}


class NoMinio(Exception):
    """An answer that is not one of MinIO."""


def connection(module: AnsibleModule) -> dict[str, Any]:
    """Return the arguments with which the library's clients connect to the server; fail if the endpoint is no URL of a server."""
    url = urlsplit(module.params["endpoint"])
    if url.scheme not in ("http", "https") or not url.netloc or url.path.strip("/"):
        module.fail_json(msg=f"endpoint is {module.params['endpoint']}: give http://HOST:PORT or https://HOST:PORT")
    return {"endpoint": url.netloc, "secure": url.scheme == "https"}


def run(module: AnsibleModule, work: Callable[[AnsibleModule], dict[str, Any]]) -> None:
    """Run a module's work and exit with its result, or with the server's error."""
    if not HAS_MINIO:
        module.fail_json(msg=missing_required_lib("minio"))
    if module.params["ca_bundle"]:
        # The library reads the CA file from this variable.
        os.environ["SSL_CERT_FILE"] = module.params["ca_bundle"]
    try:
        result = work(module)
    except (MinioAdminException, S3Error) as error:
        module.fail_json(msg=f"{module.params['endpoint']} refused: {error}. Is root_password the one that the server was started with?")
    except (MinioException, NoMinio) as error:
        told = " ".join(str(error).split())[:EXCERPT]
        module.fail_json(msg=f"{module.params['endpoint']} does not answer as MinIO does: {told}. Is it the address of the S3 API, and not of the console?")
    except (HTTPError, OSError) as error:
        module.fail_json(msg=f"{module.params['endpoint']} did not answer: {error}")
    module.exit_json(**result)
