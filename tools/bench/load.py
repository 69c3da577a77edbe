"""The load: sixteen operations of training and browsing, by locust. Runs in .bench/venv, which has locust.

Reads its task as JSON from its input, because a login must not stand in its arguments, and prints its result as JSON.
"""

from __future__ import annotations

import base64
import contextlib
import json
import random
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

import gevent.pool
from locust import FastHttpUser, constant, events, task
from locust.env import Environment

from tools.bench import processor, targets
from tools.bench.seed import EXPERIMENTS, PROMPTS

#: Clients, and those of them that write: a fifth.
CLIENTS, WRITERS = 10, 2
ARTIFACT = bytes(range(256)) * 40
#: The load is recorded after this number of requests, or of seconds: the first requests of a worker take much longer.
WARM_UP_REQUESTS, WARM_UP_SECONDS = 5 * CLIENTS, 30
#: The number of characters of an error's answer that are shown.
SHOWN = 300
#: The name of the load itself among the parts whose processor time is recorded.
CLIENT = "the client"
PROMPT_TAG = {"key": "mlflow.prompt.is_prompt", "value": "true"}

#: What the operations choose from, by the seed.
seeded: dict[str, list[Any]] = {"experiments": [], "runs": [], "prompts": []}


def headers_of(login: list[str] | None) -> dict[str, str]:
    """Return the headers of a login with name and password."""
    return {"Authorization": "Basic " + base64.b64encode(":".join(login).encode()).decode()} if login else {}


class Client(FastHttpUser):
    """A client that waits for its answer, and sends its next request at once."""

    abstract = True
    wait_time = constant(0)
    headers: dict[str, str] = {}  # noqa: RUF012

    @contextlib.contextmanager
    def request(self, method: str, path: str, operation: str, **given: Any) -> Iterator[Any]:
        """Send a request, and count an error with the beginning of its answer, which says why.

        :param operation: The name under which locust counts.
        """
        with self.client.request(method, path, name=operation, headers=self.headers, catch_response=True, **given) as answer:
            # Without a connection, the status is 0, and locust has recorded the error.
            if answer.status_code >= 400:
                answer.failure(f"{answer.status_code} {(answer.text or '')[:SHOWN]}")
            yield answer

    def api(self, method: str, path: str, operation: str, body: Any = None, query: dict[str, Any] | None = None) -> Any:
        """Send a request, and return the answer as JSON.

        :param path: The path below the API.
        :param operation: The name under which locust counts.
        """
        given = {"json": body} if body is not None else {}
        with self.request(method, f"/api/2.0/mlflow/{path}", operation, params=query, **given) as answer:
            return answer.json() if answer.status_code == 200 else {}

    def artifact(self, method: str, run: dict[str, Any], operation: str, number: int, content: bytes | None = None) -> None:
        """Upload or download an artifact of 10 KB through the server."""
        path = run["artifact_uri"].removeprefix("mlflow-artifacts:")
        url = f"/api/2.0/mlflow-artifacts/artifacts{path}/file-{number}.bin"
        with self.request(method, url, operation, data=content):
            pass


class Writer(Client):
    """A training: it makes runs, and logs to them."""

    fixed_count = WRITERS

    def on_start(self) -> None:
        """Begin a run."""
        self.step = 0
        self.create_run()

    @task(2)
    def create_run(self) -> None:
        """Create a run in an experiment of the seed."""
        made = self.api("POST", "runs/create", "create run", {"experiment_id": random.choice(seeded["experiments"]), "start_time": 1})
        self.run_info = made["run"]["info"] if made else random.choice(seeded["runs"])

    @task(1)
    def create_experiment(self) -> None:
        """Create an experiment."""
        self.api("POST", "experiments/create", "create experiment", {"name": f"made-{uuid.uuid4().hex}"})

    @task(4)
    def log_metric(self) -> None:
        """Log a metric."""
        self.step += 1
        body = {"run_id": self.run_info["run_id"], "key": "loss", "value": random.random(), "timestamp": self.step, "step": self.step}
        self.api("POST", "runs/log-metric", "log metric", body)

    @task(4)
    def log_batch(self) -> None:
        """Log ten metrics at once."""
        self.step += 1
        metrics = [{"key": f"metric-{number}", "value": random.random(), "timestamp": self.step, "step": self.step} for number in range(10)]
        self.api("POST", "runs/log-batch", "log batch", {"run_id": self.run_info["run_id"], "metrics": metrics})

    @task(3)
    def log_parameter(self) -> None:
        """Log a parameter."""
        self.api("POST", "runs/log-parameter", "log parameter", {"run_id": self.run_info["run_id"], "key": f"key-{uuid.uuid4().hex[:8]}", "value": "1"})

    @task(2)
    def finish_run(self) -> None:
        """End the run. It takes more values all the same."""
        self.api("POST", "runs/update", "finish run", {"run_id": self.run_info["run_id"], "status": "FINISHED", "end_time": 2})

    @task(1)
    def register_prompt(self) -> None:
        """Register a version of a prompt of the seed."""
        text = {"key": "mlflow.prompt.text", "value": "Say {{ word }}."}
        body = {"name": random.choice(seeded["prompts"]), "source": "dummy-source", "tags": [PROMPT_TAG, text]}
        self.api("POST", "model-versions/create", "register prompt", body)

    @task(3)
    def upload_artifact(self) -> None:
        """Upload an artifact."""
        self.step += 1
        self.artifact("PUT", self.run_info, "upload artifact", self.step, ARTIFACT)


class Reader(Client):
    """A person who browses, or a program that reads."""

    fixed_count = CLIENTS - WRITERS

    @task(3)
    def search_experiments(self) -> None:
        """List experiments."""
        self.api("POST", "experiments/search", "search experiments", {"max_results": 25})

    @task(3)
    def get_experiment(self) -> None:
        """Get an experiment."""
        self.api("GET", "experiments/get", "get experiment", query={"experiment_id": random.choice(seeded["experiments"])})

    @task(4)
    def search_runs(self) -> None:
        """Search the runs of some experiments."""
        body = {"experiment_ids": random.sample(seeded["experiments"], 3), "max_results": 20, "order_by": ["attributes.start_time DESC"]}
        self.api("POST", "runs/search", "search runs", body)

    @task(4)
    def get_run(self) -> None:
        """Get a run."""
        self.api("GET", "runs/get", "get run", query={"run_id": random.choice(seeded["runs"])["run_id"]})

    @task(3)
    def metric_history(self) -> None:
        """Get all values of a metric."""
        self.api("GET", "metrics/get-history", "metric history", query={"run_id": random.choice(seeded["runs"])["run_id"], "metric_key": "loss"})

    @task(2)
    def list_artifacts(self) -> None:
        """List the artifacts of a run."""
        self.api("GET", "artifacts/list", "list artifacts", query={"run_id": random.choice(seeded["runs"])["run_id"]})

    @task(3)
    def download_artifact(self) -> None:
        """Download an artifact."""
        self.artifact("GET", random.choice(seeded["runs"]), "download artifact", 0)

    @task(2)
    def search_prompts(self) -> None:
        """Search the prompts."""
        self.api("GET", "registered-models/search", "search prompts", query={"filter": "tags.`mlflow.prompt.is_prompt` = 'true'", "max_results": 10})


def seed(client: Client) -> None:
    """Make what the operations read, if it is missing, and record what is there.

    :raises KeyError: If the server refuses it.
    """

    def experiment(name: str) -> None:
        found = client.api("GET", "experiments/get-by-name", "seed", query={"experiment_name": name})
        number = found["experiment"]["experiment_id"] if found else client.api("POST", "experiments/create", "seed", {"name": name})["experiment_id"]
        runs = client.api("POST", "runs/search", "seed", {"experiment_ids": [number], "max_results": 1, "filter": "tags.seed = 'yes'"}).get("runs")
        if runs:
            run = runs[0]["info"]
        else:
            tags = [{"key": "seed", "value": "yes"}]
            run = client.api("POST", "runs/create", "seed", {"experiment_id": number, "start_time": 1, "tags": tags})["run"]["info"]
            metrics = [{"key": "loss", "value": 1 / (step + 1), "timestamp": step, "step": step} for step in range(50)]
            params = [{"key": f"param-{key}", "value": "1"} for key in range(10)]
            client.api("POST", "runs/log-batch", "seed", {"run_id": run["run_id"], "metrics": metrics, "params": params})
            client.artifact("PUT", run, "seed", 0, ARTIFACT)
        seeded["experiments"].append(number)
        seeded["runs"].append(run)

    def prompt(name: str) -> None:
        if not client.api("GET", "registered-models/get", "seed", query={"name": name}):
            client.api("POST", "registered-models/create", "seed", {"name": name, "tags": [PROMPT_TAG]})
        seeded["prompts"].append(name)

    pool = gevent.pool.Pool(8)
    jobs = [pool.spawn(experiment, name) for name in EXPERIMENTS] + [pool.spawn(prompt, name) for name in PROMPTS]
    gevent.joinall(jobs, raise_error=True)


def send(url: str, seconds: float, parts: processor.Parts) -> dict[str, Any]:
    """Send the load to a server, and return the requests per second, the failures, and the processor time of parts.

    :param seconds: Duration after the warm-up.
    """
    Client.host = url
    environment = Environment(user_classes=[Writer, Reader], events=events, host=url)
    runner = environment.create_local_runner()
    runner.start(CLIENTS, spawn_rate=CLIENTS)
    deadline = time.monotonic() + WARM_UP_SECONDS
    while environment.stats.total.num_requests < WARM_UP_REQUESTS and time.monotonic() < deadline:
        gevent.sleep(0.1)
    environment.stats.reset_all()
    begun, used, client, idle = time.monotonic(), processor.of_parts(parts), time.process_time(), processor.idle()
    gevent.sleep(seconds)
    # Read before the clients stop: requests that are cut then are no failures.
    total = environment.stats.total
    said = [f"{error.occurrences} x {error.method} {error.name}: {error.error}" for error in environment.stats.errors.values()]
    taken = {part: now - used[part] for part, now in processor.of_parts(parts).items()} | {CLIENT: time.process_time() - client}
    result = {
        "seconds": time.monotonic() - begun,
        "processor_seconds": taken,
        "idle_seconds": processor.idle() - idle,
        "requests": total.num_requests,
        "requests_per_second": total.num_requests / seconds,
        "median_ms": total.median_response_time,
        "failures": total.num_failures,
        "errors": said[:5],
        "operations": {entry.name: [entry.num_requests, round(entry.avg_response_time, 1)] for entry in environment.stats.entries.values()},
    }
    runner.quit()
    return result


def run(
    urls: list[str], rounds: int, seconds: float, login: list[str] | None, seed_login: list[str] | None, parts: processor.Parts
) -> list[list[dict[str, Any]]]:
    """Send the load to servers in turns, and return the results of each of them.

    :param urls: Servers with the same stores: the seed is made by the first.
    :param login: Name and password of the clients, if the servers have users.
    :param seed_login: Those of the user who makes the seed: the administrator.
    :param parts: The parts whose processor time is recorded.
    """
    Client.host, Client.headers = urls[0], headers_of(seed_login)
    seed(Reader(Environment(user_classes=[Reader], events=events, host=urls[0])))
    Client.headers = headers_of(login)
    results: list[list[dict[str, Any]]] = [[] for _ in urls]
    for _ in range(rounds):
        for url, found in zip(urls, results):
            found.append(send(url, seconds, parts))
    return results


def main() -> int:
    """Run from the command line."""
    given = json.load(sys.stdin)
    try:
        for url in given["urls"]:
            targets.check(url, targets.testbed_subnets())
    except targets.TargetError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(run(given["urls"], given["rounds"], given["seconds"], given.get("login"), given.get("seed_login"), given.get("parts") or {})))
    return 0


if __name__ == "__main__":
    sys.exit(main())
