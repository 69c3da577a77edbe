"""Say what the short ways of a request find in the release that runs this: what they do not know, and what they answer in another way. Prints JSON."""

import asyncio
import json
import logging
import os
import sys
import tempfile
import warnings

warnings.simplefilter("ignore")
json.load(sys.stdin)
folder = tempfile.TemporaryDirectory()
os.environ |= {
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "a key for this process",
    "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder.name}/runs.db",
    "_MLFLOW_SERVER_ARTIFACT_ROOT": folder.name,
}

from atlas_mlflow import flask_bridge, middleware  # noqa: E402
from mlflow.server import app, auth  # noqa: E402
from mlflow.server.fastapi_app import create_fastapi_app  # noqa: E402

logging.disable(logging.CRITICAL)
#: Requests that Flask answers, and some that middleware or another route answers.
REQUESTS = [("GET", "/version"), ("HEAD", "/version"), ("GET", "/nothing"), ("POST", "/version"), ("GET", "/gateway/x"), ("GET", "/ajax-api/3.0/jobs/x")]
WORKSPACE = [(b"host", b"localhost:5000"), (b"x-mlflow-workspace", b"team")]
#: Headers that differ between two answers of the same server.
CHANGING = (b"x-mlflow-gateway-duration-ms", b"allow")


def ask(application, method, path, headers):
    """Return the status, the headers and the body of an answer."""
    sent = []
    scope = {"type": "http", "http_version": "1.1", "scheme": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {"root_path": "", "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 5000), "asgi": {"version": "3.0"}}

    async def receive():
        """Give an empty body, and stay connected."""
        if scope.setdefault("asked", False):
            await asyncio.sleep(60)
        scope["asked"] = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        """Keep a message."""
        sent.append(message)

    asyncio.run(asyncio.wait_for(application(scope, receive, send), 60))
    told = sorted((name, value) for name, value in sent[0]["headers"] if name not in CHANGING)
    return sent[0]["status"], told, b"".join(message.get("body", b"") for message in sent[1:])


def made():
    """Return an application of the release, with the middleware of users."""
    application = create_fastapi_app(app)
    if hasattr(auth, "add_fastapi_permission_middleware"):
        auth.add_fastapi_permission_middleware(application)
    return application


plain, short = made(), made()
middleware.install(short, flask_bridge.install(short, app))
differences = [f"{entry.kwargs['dispatch'].__name__} is not known" for entry in short.user_middleware if entry.cls.__name__ == "BaseHTTPMiddleware"]
if not isinstance(short.router.routes[-1].app, flask_bridge.FlaskBridge):
    differences.append("the bridge to Flask is not known")
# Twice, because the second request takes the way that the first one found.
for number in range(2):
    for method, path in REQUESTS:
        for headers in (WORKSPACE[:1], WORKSPACE):
            answers = [ask(application, method, path, headers) for application in (plain, short)]
            if answers[0] != answers[1]:
                differences.append(f"request {number}, {method} {path} {len(headers)}: {answers[0]} and {answers[1]}")
print(json.dumps(differences))
