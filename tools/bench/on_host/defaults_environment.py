"""Write the environment of `mlflow server` with its defaults on the stores of this host's tracking server. Runs on the host, as root."""

import os
import shlex
import sys
from pathlib import Path

#: What tells MLflow where its stores are. All other settings of the tracking server are left out.
STORES = ("MLFLOW_BACKEND_STORE_URI", "MLFLOW_ARTIFACTS_DESTINATION", "MLFLOW_S3_ENDPOINT_URL", "AWS_")

lines = []
for line in Path(sys.argv[1]).read_text().splitlines():
    if line.startswith(STORES):
        name, _, value = line.partition("=")
        lines.append(f"{name}={shlex.quote(shlex.split(value)[0].removeprefix('proxied-'))}")
# A test sends nothing to MLflow's makers.
lines.append("MLFLOW_DISABLE_TELEMETRY=true")
# By default, a worker that needs more than 5 seconds for its imports is killed and started again: on a busy machine the server would never answer.
lines.append("UVICORN_TIMEOUT_WORKER_HEALTHCHECK=60")
os.umask(0o077)
Path(sys.argv[2]).write_text("\n".join(lines) + "\n")
