# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A round trip through MLflow's REST API, in the same way as a client with default settings, that leaves nothing that grows.

MLflow's delete is soft, so each prober has one experiment with one run, which it restores, uses and deletes again. The logged values
are always the same (MLflow's SQL store keeps equal values once), except for one tag, which is overwritten.
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.atlas.mlflow.plugins.module_utils.faults import Fault, fault
from ansible_collections.atlas.mlflow.plugins.module_utils.findings import Finding
from ansible_collections.atlas.mlflow.plugins.module_utils.judge_answers import answer_fault, artifact_fault
from ansible_collections.atlas.mlflow.plugins.module_utils.seen import EXPERIMENT
from ansible_collections.atlas.mlflow.plugins.module_utils.tracking import API, ARTIFACTS, SERVER_INFO, Response, TrackingServer
from ansible_collections.atlas.mlflow.plugins.module_utils.web import Answer, Base, NoAnswer, ask

FILE = "probe.bin"
NONCE = "atlas.mlflow.nonce"
# A letter outside ASCII shows a database that cannot store it.
PARAMS = {"atlas.mlflow.probe": "yes", "atlas.mlflow.text": "größe"}
METRICS = {"atlas.mlflow.metric": 0.5}
# The slowest accepted transfer in bytes per second: MLflow 3.5.1 sends a local file line by line, 0.8 MB/s on an idle machine as measured.
SLOWEST = 262144
#: The fault for S3's answer to a link, by its error code.
LINK_FAULTS = {"RequestTimeTooSkewed": "clock-skew", "SignatureDoesNotMatch": "link-signature-changed", "AccessDenied": "link-denied"}
#: Seconds after which a write must be read, and between two reads. A server that reads from replicas of its database may be late.
READ_WITHIN, READ_AGAIN = 6, 0.2
LOGGED_AT = 1  # the metric's fixed time stamp, in milliseconds since 1970


def different(answer: Answer, wanted: dict[str, dict[str, Any]]) -> list[tuple[str, str, Any, Any]]:
    """Return what a run does not have of what was logged: the kind, the key, the value that was logged, and the value that the run has."""
    data = answer.json().get("run", {}).get("data", {})
    found = []
    for kind, logged in wanted.items():
        stored = {pair["key"]: pair.get("value") for pair in data.get(kind, [])}
        found += [(kind, key, value, stored.get(key)) for key, value in logged.items() if stored.get(key) != value]
    return found


class Failed(Exception):
    """A step that ends the round trip, with its finding."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


def lock_file(prober: str) -> str:
    """Return the path of the file that a prober's round trips lock on this machine. Each user has their own, as they cannot open the file of another user."""
    folder = "/run/lock" if os.access("/run/lock", os.W_OK) else tempfile.gettempdir()
    return os.path.join(folder, f"{EXPERIMENT}{os.getuid()}-{hashlib.sha256(prober.encode()).hexdigest()[:16]}.lock")


@contextmanager
def alone(prober: str) -> Iterator[None]:
    """Wait until no other round trip of this prober runs on this machine, and make others wait.

    Two round trips at once would delete each other's run. If a play is killed, its round trip continues on the host and meets that of the next
    play. It ends, because each of its requests has a time limit.
    """
    number = os.open(lock_file(prober), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


@dataclass
class RoundTrip:
    """One round trip of a prober; C(facts) and C(findings) have the results so far."""

    server: TrackingServer
    prober: str
    artifact_bytes: int
    facts: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    _uploaded: tuple[TrackingServer, str] | None = None

    def run(self) -> None:
        """Run all steps, and clean up even if one failed. Wait for another round trip of this prober on this machine.

        :raises OSError: If the lock file cannot be opened.
        """
        self.facts.update(skipped=False, experiment=EXPERIMENT + self.prober, bytes=self.artifact_bytes)
        with alone(self.prober):
            self._run()

    def _run(self) -> None:
        try:
            self._open_experiment()
            self._open_run()
            self._log()
            self._transfer()
        except Failed as failed:
            self.findings.append(failed.finding)
        except (KeyError, TypeError, ValueError) as error:  # status 200, but not an answer of MLflow
            self.findings.append(Finding("round trip", "MLflow's answers", f"one that does not fit ({type(error).__name__})", fault("not-mlflow")))
        finally:
            self._clean_up()

    def _step(self, step: str, expected: str, method: str, path: str, *accepted: int, **sent: Any) -> Answer:
        """Send one request to the tracking API; raise Failed unless its status is 200 or an accepted one."""
        response: Response
        try:
            response = self.server.post(path, sent) if method == "POST" else self.server.ask(method, API + path, sent)
        except NoAnswer as failure:
            response = failure
        if isinstance(response, Answer) and response.status in (200, *accepted):
            return response
        raise Failed(Finding(f"round trip, {step}", expected, response.seen, self._fault(response)))

    def _fault(self, response: Response) -> Fault:
        """Return the fault that best explains a refused step."""
        if isinstance(response, Answer) and response.status in (400, 404, 409):
            return fault("probes-collide", experiment=self.facts["experiment"])
        return answer_fault(self.server, response)

    def _open_experiment(self) -> None:
        name = self.facts["experiment"]
        answer = self._step("experiment", "to find or make it", "GET", "/experiments/get-by-name", 404, experiment_name=name)
        if answer.status == 404 and answer.json().get("error_code") != "RESOURCE_DOES_NOT_EXIST":
            raise Failed(Finding("round trip, experiment", "to find or make it", answer.seen, answer_fault(self.server, answer)))
        if answer.status == 404:
            self.facts["experiment_id"] = self._step("experiment", "to make it", "POST", "/experiments/create", name=name).json().get("experiment_id")
            return
        experiment = answer.json().get("experiment", {})
        self.facts["experiment_id"] = experiment.get("experiment_id")
        if experiment.get("lifecycle_stage") == "deleted":
            self._step("experiment", "to restore it", "POST", "/experiments/restore", experiment_id=self.facts["experiment_id"])

    def _open_run(self) -> None:
        experiment = self.facts["experiment_id"]
        search = {"experiment_ids": [experiment], "run_view_type": "ALL", "max_results": 1, "order_by": ["attributes.start_time ASC"]}
        runs = self._step("run", "to search for it", "POST", "/runs/search", **search).json().get("runs")
        if runs:
            info = runs[0]["info"]
            if info.get("lifecycle_stage") == "deleted":
                # 400: it was restored with its experiment, and the search has not seen it yet.
                self._step("run", "to restore it", "POST", "/runs/restore", 400, run_id=info["run_id"])
        else:
            now = int(time.time() * 1000)
            create = {"experiment_id": experiment, "run_name": "probe", "start_time": now}
            info = self._until(lambda answer: answer.status == 200, "run", "to make it", "POST", "/runs/create", **create).json()["run"]["info"]
        self.facts.update(run_id=info["run_id"])
        self._artifact_uri = info.get("artifact_uri", "")

    def _log(self) -> None:
        """Log parameters, a metric and a new tag, end the run, and compare the stored values."""
        run, nonce = self.facts["run_id"], uuid.uuid4().hex
        self._step(
            "log",
            "to log params, metrics and a tag",
            "POST",
            "/runs/log-batch",
            run_id=run,
            params=pairs(PARAMS),
            metrics=[{**pair, "timestamp": LOGGED_AT, "step": 0} for pair in pairs(METRICS)],
            tags=pairs({NONCE: nonce}),
        )
        self._step("log", "to end the run", "POST", "/runs/update", run_id=run, status="FINISHED", end_time=int(time.time() * 1000))
        wanted: dict[str, dict[str, Any]] = {"params": PARAMS, "metrics": METRICS, "tags": {NONCE: nonce}}
        answer = self._until(lambda answer: answer.status == 200 and not different(answer, wanted), "read back", "the run", "GET", "/runs/get", run_id=run)
        for kind, key, value, stored in different(answer, wanted):
            self.findings.append(Finding(f"round trip, {kind}", f"{key} = {value!r}", f"{stored!r}", fault("values-changed")))

    def _until(self, good: Callable[[Answer], bool], step: str, expected: str, method: str, path: str, **values: Any) -> Answer:
        """Send one request until its answer is good, or the time is over, and return the last answer."""
        deadline = time.monotonic() + READ_WITHIN
        while not good(answer := self._step(step, expected, method, path, 404, **values)) and time.monotonic() < deadline:
            time.sleep(READ_AGAIN)
        return answer if answer.status == 200 else self._step(step, expected, method, path, **values)

    def _transfer(self) -> None:
        """Upload and download an artifact, and compare its sha256."""
        server, path = self._artifact_place()
        content = os.urandom(self.artifact_bytes)
        self.facts.update(sha256=hashlib.sha256(content).hexdigest(), upload_seconds=None, download_seconds=None)
        self._uploaded = server, path
        headers = {"Content-Type": "application/octet-stream"}
        answer = self._artifact("upload", server, "PUT", f"{ARTIFACTS}/artifacts/{path}", body=content, headers=headers)
        self.facts["upload_seconds"] = round(answer.seconds, 3)
        begin = time.monotonic()
        received = self._download(server, path)
        self.facts["download_seconds"] = round(time.monotonic() - begin, 3)
        digest = hashlib.sha256(received).hexdigest()
        if digest != self.facts["sha256"]:
            expected, seen = (f"{size} bytes with sha256 {sha256}" for size, sha256 in ((len(content), self.facts["sha256"]), (len(received), digest)))
            raise Failed(Finding("round trip, artifact", expected, seen, fault("artifact-changed")))

    def _artifact_place(self) -> tuple[TrackingServer, str]:
        """Return the server for the run's artifacts, and the file's path there, as a client resolves them."""
        place = urlsplit(self._artifact_uri)
        if place.scheme != "mlflow-artifacts":
            seen = f"{place.scheme or 'a path'}{'://' if place.netloc else ':'}{place.netloc}{place.path}"
            note = f"Then remove the probe's own with 'mlflow gc --experiment-ids {self.facts['experiment_id']}', or probe with another prober name."
            found = fault("artifact-root-on-clients" if place.scheme in ("", "file") else "artifact-root-not-served").noting(note)
            raise Failed(Finding("round trip, artifact root", "mlflow-artifacts:/..., so that artifacts go through the server", seen, found))
        server = self.server.elsewhere(place.netloc) if place.netloc else self.server
        return server, f"{place.path.strip('/')}/{FILE}"

    def _transfer_timeout(self, server: TrackingServer) -> float:
        """Return the time limit in seconds of a request with the artifact: it may be large, and the link slow."""
        return server.timeout + math.ceil(self.artifact_bytes / SLOWEST)

    def _artifact(self, step: str, server: TrackingServer, method: str, path: str, **sent: Any) -> Answer:
        """Send one artifact request through a server; raise Failed unless it succeeds."""
        response: Response
        try:
            response = server.ask(method, path, timeout=self._transfer_timeout(server), **sent)
        except NoAnswer as failure:
            response = failure
        if isinstance(response, Answer) and response.status == 200:
            return response
        raise Failed(Finding(f"round trip, {step}", f"{method} of {self.artifact_bytes} bytes to succeed", response.seen, artifact_fault(server, response)))

    def _download(self, server: TrackingServer, path: str) -> bytes:
        """Download the artifact like MLflow's client: by a presigned URL if the server offers one, else through the server."""
        self.facts.update(way="proxied", endpoint=server.base.origin)
        info = server.attempt("GET", SERVER_INFO["client"])
        if isinstance(info, Answer) and info.status == 200 and info.json().get("multipart_downloads_enabled"):
            signed = self._artifact("presigned URL", server, "GET", f"{ARTIFACTS}/presigned/{path}").json()
            if signed.get("file_size") is not None:
                return self._fetch(str(signed.get("url", "")), signed.get("headers") or {}, int(signed["file_size"]), server)
        return self._artifact("download", server, "GET", f"{ARTIFACTS}/artifacts/{path}").body

    def _fetch(self, url: str, headers: Mapping[str, str], size: int, server: TrackingServer) -> bytes:
        """Download from a presigned URL. Only its endpoint may be shown: its query is a key."""
        base = Base.parse(url)
        self.facts.update(way="presigned", endpoint=base.origin)
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        # The client requests ranges of 100 MB. For a smaller file, one range with the whole file is the same request.
        headers = {**headers, "Range": f"bytes=0-{size - 1}"} if size else headers
        expected = f"the download from {base.origin}, where the server sends clients"
        try:
            answer = ask(base, "GET", target, headers=headers, timeout=self._transfer_timeout(server), tls=server.tls)
        except NoAnswer as failure:
            found = fault("s3-unreachable-for-clients", endpoint=base.origin, why=fault(failure.fault).cause)
            raise Failed(Finding("round trip, presigned download", expected, failure.seen, found)) from None
        if answer.status in (200, 206):
            return answer.body
        code = answer.text.partition("<Code>")[2].partition("</Code>")[0]  # the rest of S3's error quotes the signature
        found = fault(LINK_FAULTS.get(code, "link-elsewhere"))
        raise Failed(Finding("round trip, presigned download", expected, f"{answer.status} {code}".strip(), found))

    def _clean_up(self) -> None:
        """Delete artifact and experiment. Anything that remains is a finding."""
        left: list[tuple[str, Response]] = []
        if self._uploaded:
            server, path = self._uploaded
            response = server.attempt("DELETE", f"{ARTIFACTS}/artifacts/{path}")
            # It is not known what a failed upload left, so a failed deletion is no finding.
            if self.facts["upload_seconds"] is not None:
                left.append((f"the artifact {path}", response))
        if self.facts.get("experiment_id"):
            try:
                response = self.server.post("/experiments/delete", {"experiment_id": self.facts["experiment_id"]})
            except NoAnswer as failure:
                response = failure
            left.append((f"the experiment {self.facts['experiment']}", response))
        for thing, response in left:
            if not (isinstance(response, Answer) and response.status == 200):
                found = artifact_fault(self.server, response) if thing.startswith("the artifact") else self._fault(response)
                self.findings.append(Finding("cleanup", f"to delete {thing}", response.seen, found.noting("The next probe uses it again.")))


def pairs(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return key and value pairs in the form of MLflow's API."""
    return [{"key": key, "value": value} for key, value in values.items()]
