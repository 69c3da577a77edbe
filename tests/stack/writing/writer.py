"""Log runs one after the other with MLflow's own client, and keep a journal of what the server acknowledged. Runs on the client host.

A line of the journal is JSON, and is on the disk before the next request is made: what was sent and when, or the error that came back.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Read when MLflow is imported. An error comes back as one, rather than after minutes of trying again.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ |= {"MLFLOW_HTTP_REQUEST_TIMEOUT": "40", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

EXPERIMENT, MODEL = "survival", "survivor"
#: Bytes of an artifact, and of one in each so many runs, of which a model version is made too.
SMALL, LARGE, EVERY = 200 * 1024, 6 * 1024**2, 20
#: Seconds between two runs, and after one that failed.
PAUSE = 0.5


def values(number: int) -> dict[str, float]:
    """Return the metrics of a run."""
    return {f"metric-{index}": number + index / 7 for index in range(5)}


class Writer:
    """Logs runs, and what came of each request."""

    def __init__(self, client: MlflowClient, journal: Path) -> None:
        """Append to a journal."""
        self.client = client
        self.journal = journal.open("a", encoding="utf-8")

    def note(self, **entry: Any) -> None:
        """Add a line to the journal, and see it to the disk."""
        print(json.dumps(entry), file=self.journal, flush=True)
        os.fsync(self.journal.fileno())

    def ask(self, call: str, request: Callable[[], Any], **sent: Any) -> Any:
        """Do one request, and note what was acknowledged or the error.

        :raises Exception: What the client raised.
        """
        began = time.time()
        try:
            answer = request()
        except Exception as error:
            self.note(failed=call, began=began, at=time.time(), error=f"{type(error).__name__}: {error}"[:500], **sent)
            raise
        self.note(done=call, began=began, at=time.time(), **({"run_id": answer.info.run_id} if call == "run" else {}), **sent)
        return answer

    def run(self, experiment: str, number: int, size: int) -> None:
        """Log one run with all that belongs to it, its artifact of so many bytes.

        :raises Exception: What the client raised.
        """
        began, client = time.time(), self.client
        run = self.ask("run", lambda: client.create_run(experiment), number=number).info
        metrics, now = values(number), int(time.time() * 1000)
        logged = [Metric(key, value, now, 0) for key, value in metrics.items()], [Param("number", str(number))], [RunTag("number", str(number))]
        self.ask("batch", lambda: client.log_batch(run.run_id, *logged), run_id=run.run_id, number=str(number), metrics=metrics)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "content.bin")
            file.write_bytes(random.Random(number).randbytes(size))
            sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
            self.ask("artifact", lambda: client.log_artifact(run.run_id, str(file)), run_id=run.run_id, path=file.name, sha256=sha256, size=size)
        if size == LARGE:
            source = f"{run.artifact_uri}/content.bin"
            self.ask("version", lambda: client.create_model_version(MODEL, source, run.run_id), run_id=run.run_id, source=source)
        self.ask("end", lambda: client.set_terminated(run.run_id), run_id=run.run_id)
        self.note(done="whole", began=began, at=time.time(), run_id=run.run_id)


def write(client: MlflowClient, journal: Path, once: int) -> None:
    """Log runs until somebody ends this process, or one with an artifact of so many bytes."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT)
    writer = Writer(client, journal)
    if once:
        writer.run(experiment_id, 0, once)
        return
    if not client.search_registered_models(filter_string=f"name = '{MODEL}'"):
        client.create_registered_model(MODEL)
    for number in range(1, sys.maxsize):
        with contextlib.suppress(Exception):  # The journal has it.
            writer.run(experiment_id, number, SMALL if number % EVERY else LARGE)
        time.sleep(PAUSE)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("uri", help="the tracking server's")
    parser.add_argument("journal", type=Path)
    parser.add_argument("--once", type=int, default=0, help="write one run, with an artifact of so many bytes")
    given = parser.parse_args()
    write(MlflowClient(given.uri), given.journal, given.once)
    return 0


if __name__ == "__main__":
    sys.exit(main())
