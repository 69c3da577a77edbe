"""Ask the tracking server in this container for an experiment: its /health returns 200 even if its stores do not answer."""

from __future__ import annotations

import base64
import ssl
import sys
import urllib.error
import urllib.request

from atlas_mlflow import login

#: Seconds for an answer. Docker's own limit for the check is a little longer.
PATIENCE = 8


def log_in(path: str) -> dict[str, str]:
    """Return the header for a login as the administrator in the login file, empty if there is no file."""
    config = login.read_config({login.CONFIG_PATH: path})
    return {"Authorization": f"Basic {base64.b64encode(f'{config.name}:{config.password}'.encode()).decode()}"} if config else {}


def problem(base: str, auth_file: str = "") -> str:
    """Return what is wrong with the API below a URL, empty if its answer is right."""
    headers = {"Content-Type": "application/json", **log_in(auth_file)}
    request = urllib.request.Request(f"{base}/api/2.0/mlflow/experiments/search", data=b'{"max_results": 1}', headers=headers, method="POST")
    try:
        # The server is in this container, so its certificate, which is for other names, proves nothing here.
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        with urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls)).open(request, timeout=PATIENCE):
            return ""
    except urllib.error.HTTPError as error:
        return f"{base} answers {error.code}: {error.read(200).decode(errors='replace')}"
    except OSError as error:
        return f"{base} does not answer: {error}"


if __name__ == "__main__":
    sys.exit(problem(*sys.argv[1:]) or 0)
