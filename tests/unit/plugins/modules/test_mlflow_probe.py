"""The module as a whole, from its arguments to its result, against a tracking server with faults to switch on."""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from ansible.module_utils import basic
from ansible_collections.atlas.mlflow.plugins.module_utils import data_loss, probed_service, seen
from ansible_collections.atlas.mlflow.plugins.module_utils.containers import Container
from ansible_collections.atlas.mlflow.plugins.module_utils.tracking import TrackingServer
from ansible_collections.atlas.mlflow.plugins.module_utils.units import Unit
from ansible_collections.atlas.mlflow.plugins.module_utils.web import Base
from ansible_collections.atlas.mlflow.plugins.modules import mlflow_probe
from fake_tracking import FakeS3, FakeTracking, serving

ROOT = Path(__file__).resolve().parents[4]
INVALID = "403 Forbidden 'Invalid Host header - possible DNS rebinding attack detected'"


@pytest.fixture(name="fake")
def fixture_fake() -> Iterator[FakeTracking]:
    with serving(FakeTracking()) as server:
        assert isinstance(server, FakeTracking)
        yield server


def arguments(url: str, check_mode: bool = False, **options: Any) -> bytes:
    """Return the module's arguments as Ansible hands them over."""
    given = {"url": url, "prober": "test", "artifact_bytes": 100_000, "timeout": 5, **options}
    return json.dumps({"ANSIBLE_MODULE_ARGS": {**given, "_ansible_check_mode": check_mode}}).encode()


def probe(url: str, check_mode: bool = False, **options: Any) -> dict[str, Any]:
    """Run the module and return its result."""
    printed = io.StringIO()
    handed_over = {"_ANSIBLE_ARGS": arguments(url, check_mode, **options), "_ANSIBLE_PROFILE": "legacy"}
    with mock.patch.multiple(basic, create=True, **handed_over), redirect_stdout(printed), pytest.raises(SystemExit):
        mlflow_probe.main()
    result: dict[str, Any] = json.loads(printed.getvalue())
    return result


def only(result: dict[str, Any]) -> dict[str, str]:
    """Return the one finding of a failed probe, which its message must tell in full."""
    assert result["failed"] is True and result["changed"] is False
    assert len(result["findings"]) == 1, result["msg"]
    finding: dict[str, str] = result["findings"][0]
    assert result["msg"] == "{check}: expected {expected}, saw {seen}; likely cause: {cause} Fix: {fix} [{fault}]".format(**finding)
    return finding


def test_a_healthy_server_gives_facts_and_no_finding(fake: FakeTracking) -> None:
    fake.allowed.add("mlflow.example:5001")
    result = probe(fake.url, names=["127.0.0.1", "mlflow.example:5001"], artifact_mode="proxied")
    assert result.get("failed") is None and result["changed"] is False and result["findings"] == []
    assert [(name["host"], name["api"], name["page"], name["answers"]) for name in result["names"]] == [
        (f"127.0.0.1:{fake.port}", 200, 200, True),
        ("mlflow.example:5001", 200, 200, True),
    ]
    assert result["server"] == {
        "version": "3.17.2",
        "store_type": "SqlStore",
        "serves_artifacts": True,
        "presigned_for_client": False,
        "presigned_for_page": False,
    }
    trip = result["round_trip"]
    assert (trip["way"], trip["endpoint"], trip["bytes"], trip["run_id"]) == ("proxied", fake.url, 100_000, "run1")
    assert trip["upload_seconds"] >= 0 and trip["download_seconds"] >= 0 and len(trip["sha256"]) == 64
    assert result["seconds"] < 3


def test_ten_probes_leave_one_deleted_experiment_with_one_run_and_no_artifact(fake: FakeTracking) -> None:
    for _time in range(10):
        assert probe(fake.url)["findings"] == []
    assert [(one["name"], one["lifecycle_stage"]) for one in fake.experiments.values()] == [("atlas-mlflow-probe-test", "deleted")]
    (run,) = fake.runs.values()
    assert (run["info"]["lifecycle_stage"], run["info"]["status"]) == ("deleted", "FINISHED")
    assert fake.artifacts == {}


def test_a_name_that_is_not_allowed_is_told_with_its_remedy(fake: FakeTracking) -> None:
    result = probe(fake.url, names=["mlflow.example", "127.0.0.1"])
    host = f"mlflow.example:{fake.port}"
    told = [(finding["check"], finding["expected"], finding["seen"], finding["fault"]) for finding in result["findings"]]
    assert told == [
        (f"api as {host}", "200 and JSON", INVALID, "host-header-refused"),
        (f"page as {host}", "200 and MLflow's page", INVALID, "host-header-refused"),
    ]
    assert f"'{host}'" in result["findings"][0]["cause"]
    assert "Add 'mlflow.example' and 'mlflow.example:*' to mlflow_server_allowed_hosts" in result["findings"][0]["fix"]
    assert result["names"][0]["answers"] is False
    assert result["round_trip"]["sha256"], "the round trip goes by the name that answers"


@pytest.mark.parametrize(("version", "fault"), [("3.17.2", "host-check-open"), ("3.0.1", "host-check-missing")])
def test_a_foreign_host_that_is_served_is_found(fake: FakeTracking, version: str, fault: str) -> None:
    fake.hosts_checked, fake.version = False, version
    finding = only(probe(fake.url, foreign_host="foreign.invalid"))
    assert (finding["check"], finding["expected"], finding["seen"]) == (f"foreign host foreign.invalid:{fake.port}", "403", "200 OK")
    assert finding["fault"] == fault
    assert probe(fake.url, foreign_host_refused=False)["findings"] == []


def test_a_dead_database_is_told_from_a_dead_server(fake: FakeTracking) -> None:
    fake.database_down = True
    result = probe(fake.url)
    finding = only(result)
    assert finding["check"] == f"api as 127.0.0.1:{fake.port}"
    assert finding["seen"] == "503 Service Unavailable 'TEMPORARILY_UNAVAILABLE connection to the database failed'"
    assert finding["fault"] == "backend-store-fails"
    assert result["round_trip"] == {"skipped": True, "reason": "the API does not answer"}


def test_another_program_on_the_port_is_found(fake: FakeTracking) -> None:
    fake.page = b"<html><title>It works!</title></html>"
    finding = only(probe(fake.url))
    assert (finding["check"], finding["seen"]) == (f"page as 127.0.0.1:{fake.port}", "200 OK with the title 'It works!'")
    assert finding["fault"] == "not-mlflow"


def test_a_corrupt_artifact_is_found_by_its_sha256(fake: FakeTracking) -> None:
    fake.corrupt = True
    result = probe(fake.url)
    finding = only(result)
    assert finding["check"] == "round trip, artifact"
    assert finding["expected"] == f"100000 bytes with sha256 {result['round_trip']['sha256']}"
    assert finding["seen"].startswith("99999 bytes with sha256 ")
    assert finding["fault"] == "artifact-changed"
    assert fake.artifacts == {} and fake.experiments["1"]["lifecycle_stage"] == "deleted", "a failed probe cleans up too"


def test_an_advertised_endpoint_is_followed_and_its_signature_kept(fake: FakeTracking) -> None:
    with serving(FakeS3(fake)) as store:
        assert isinstance(store, FakeS3)
        fake.advertised = store.origin
        result = probe(fake.url, artifact_mode="direct")
        assert result["findings"] == []
        assert (result["round_trip"]["way"], result["round_trip"]["endpoint"]) == ("presigned", store.origin)
        assert store.ranges == ["bytes=0-99999"]
        finding = only(probe(fake.url, artifact_mode="proxied"))
        assert (finding["check"], finding["seen"]) == ("artifact mode", "it is advertised to the client and the page")
        assert finding["fault"] == "links-advertised"
    assert "very-secret" not in json.dumps(result)


def test_an_advertised_endpoint_out_of_reach_is_told_in_these_words(fake: FakeTracking) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound and never listening
        where = f"127.0.0.1:{free.getsockname()[1]}"
        fake.advertised = f"http://{where}"
        result = probe(fake.url, artifact_mode="direct")
    finding = only(result)
    assert finding["check"] == "round trip, presigned download"
    assert finding["expected"] == f"the download from http://{where}, where the server sends clients"
    assert finding["seen"] == f"connection refused ({where})"
    assert finding["fault"] == "s3-unreachable-for-clients" and f"http://{where}" in finding["cause"] and "Nothing listens there" in finding["cause"]
    assert "very-secret" not in json.dumps(result)
    assert fake.artifacts == {}


def test_a_refused_signature_is_told_by_its_code_alone(fake: FakeTracking) -> None:
    with serving(FakeS3(fake, "SignatureDoesNotMatch")) as store:
        assert isinstance(store, FakeS3)
        fake.advertised = store.origin
        result = probe(fake.url)
    finding = only(result)
    assert finding["seen"] == "403 SignatureDoesNotMatch"
    assert finding["fault"] == "link-signature-changed"
    assert "very-secret" not in json.dumps(result)


def test_direct_mode_that_is_not_advertised_is_found(fake: FakeTracking) -> None:
    finding = only(probe(fake.url, artifact_mode="direct"))
    assert (finding["expected"], finding["seen"]) == ("direct: multipart_downloads_enabled is advertised", "it is not")


@pytest.mark.parametrize(("method", "step"), [("GET", "download"), ("PUT", "upload")])
@pytest.mark.parametrize("fault", ["hang_on", "trickle_on"])
def test_a_hung_transfer_ends_in_seconds(fake: FakeTracking, fault: str, method: str, step: str) -> None:
    setattr(fake, fault, f"{method} /api/2.0/mlflow-artifacts/artifacts/1/run1/artifacts/probe.bin")
    begin = time.monotonic()
    finding = only(probe(fake.url, timeout=1))
    assert time.monotonic() - begin < 4
    assert (finding["check"], finding["expected"]) == (f"round trip, {step}", f"{method} of 100000 bytes to succeed")
    assert finding["seen"] == f"no complete answer within 2 seconds (127.0.0.1:{fake.port})"
    assert finding["fault"] == "artifact-store-silent"


def test_a_param_that_comes_back_wrong_is_found(fake: FakeTracking) -> None:
    fake.wrong_param = True
    finding = only(probe(fake.url))
    assert (finding["check"], finding["expected"], finding["seen"]) == ("round trip, params", "atlas.mlflow.probe = 'yes'", "'no'")
    assert finding["fault"] == "values-changed"


@pytest.mark.parametrize(
    ("method", "path", "thing", "fault"),
    [
        ("POST", "experiments/delete", "the experiment atlas-mlflow-probe-test", "backend-store-fails"),
        ("DELETE", "probe.bin", "the artifact 1/run1/artifacts/probe.bin", "artifact-store-fails"),
    ],
)
def test_a_cleanup_that_fails_is_found(fake: FakeTracking, method: str, path: str, thing: str, fault: str) -> None:
    fake.fail_on = method, path
    finding = only(probe(fake.url))
    assert (finding["check"], finding["expected"]) == ("cleanup", f"to delete {thing}")
    assert finding["seen"] == "500 Internal Server Error 'INTERNAL_ERROR broken on purpose'"
    assert finding["fault"] == fault and finding["fix"].endswith("The next probe uses it again.")


def test_an_artifact_root_of_another_kind_is_found(fake: FakeTracking) -> None:
    fake.artifact_root = "s3://bucket/"
    finding = only(probe(fake.url))
    assert (finding["check"], finding["seen"]) == ("round trip, artifact root", "s3://bucket/1/run1/artifacts")
    assert finding["fault"] == "artifact-root-not-served" and "mlflow gc --experiment-ids 1" in finding["fix"]


def test_an_answer_that_is_not_mlflows_ends_the_round_trip_with_a_finding(fake: FakeTracking) -> None:
    fake.runs["other"] = {"info": {"lifecycle_stage": "active"}}
    finding = only(probe(fake.url))
    assert (finding["check"], finding["seen"]) == ("round trip", "one that does not fit (KeyError)")
    assert fake.experiments["1"]["lifecycle_stage"] == "deleted"


def test_artifacts_may_have_a_server_of_their_own(fake: FakeTracking) -> None:
    with serving(FakeTracking()) as other:
        assert isinstance(other, FakeTracking)
        fake.artifact_root = f"mlflow-artifacts://127.0.0.1:{other.port}/"
        result = probe(fake.url)
        assert result["findings"] == [] and result["round_trip"]["endpoint"] == other.url
        assert "PUT /api/2.0/mlflow-artifacts/artifacts/1/run1/artifacts/probe.bin" in other.paths


def test_check_mode_writes_nothing(fake: FakeTracking) -> None:
    result = probe(fake.url, check_mode=True)
    assert result["findings"] == [] and result["round_trip"] == {"skipped": True, "reason": "check mode"}
    assert {path.split()[0] for path in fake.paths} == {"GET"}


def basic_login(name: str, password: str) -> str:
    """Return the header of a login."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("opened", "check", "fault"),
    [
        ({"open": "GET /api"}, ["the API without a login", "the API by MLflow's old default login"], "login-not-asked-for"),
        ({"more_logins": [basic_login("admin", "password1234")]}, ["the API by MLflow's old default login"], "default-login"),
    ],
)
def test_a_server_that_is_open_in_spite_of_its_users_is_found(fake: FakeTracking, opened: dict[str, Any], check: list[str], fault: str) -> None:
    fake.login = basic_login("ada", "secret word")
    for switch, value in opened.items():
        setattr(fake, switch, value)
    findings = probe(fake.url, username="ada", password="secret word")["findings"]
    assert [finding["check"] for finding in findings] == check
    assert all(finding["expected"] == "401" and finding["seen"] == "200 OK" for finding in findings)
    assert findings[0]["fault"] == fault


def test_a_wrong_login_is_named(fake: FakeTracking) -> None:
    fake.login = basic_login("ada", "secret word")
    result = probe(fake.url, username="ada", password="another word")
    assert {finding["cause"] for finding in result["findings"]} == {"The server refuses the login of ada: its password is another, or there is no such user."}
    assert "another word" not in json.dumps(result)


def test_a_login_is_used_and_its_lack_is_named(fake: FakeTracking) -> None:
    fake.login = "Basic " + base64.b64encode(b"ada:secret word").decode()
    assert probe(fake.url, username="ada", password="secret word")["findings"] == []
    result = probe(fake.url)
    assert {finding["fault"] for finding in result["findings"]} == {"login-missing"}


def test_a_silent_address_is_one_finding_after_the_wait() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound and never listening
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        begin = time.monotonic()
        finding = only(probe(url, wait=1.5))
    assert 1 < time.monotonic() - begin < 5
    assert (finding["check"], finding["expected"]) == ("answer", f"an answer from {url} within 1.5 seconds")
    assert finding["seen"] == f"connection refused ({url.removeprefix('http://')})"
    assert finding["fault"] == "connection-refused"


def test_a_server_that_comes_up_during_the_wait_is_probed() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    late = f"import sys, time; sys.path.insert(0, {str(ROOT / 'tests/unit/fakes')!r}); time.sleep(1)\n" + LATE.format(port=port)
    with subprocess.Popen([sys.executable, "-c", late]) as server:
        try:
            assert probe(f"http://127.0.0.1:{port}", wait=20)["findings"] == []
        finally:
            server.terminate()


LATE = """
import http.server, fake_tracking
class Late(fake_tracking.FakeTracking):
    def server_bind(self):
        self.server_address = ("127.0.0.1", {port})
        super().server_bind()
Late().serve_forever()
"""


def test_the_sockets_of_a_unit_are_judged(fake: FakeTracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f"#!/bin/sh\nprintf 'MainPID={os.getpid()}\\nControlGroup=\\nLoadState=loaded\\nActiveState=active\\nSubState=running\\n'\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    result = probe(fake.url, unit="mlflow-server.service", listen_address="127.0.0.1")
    assert result["findings"] == []
    (held,) = result["sockets"]
    assert (held["address"], held["port"], held["pid"], held["own"]) == ("127.0.0.1", fake.port, os.getpid(), True)
    finding = only(probe(fake.url, unit="mlflow-server.service"))
    assert (finding["check"], finding["seen"]) == ("listen", f"127.0.0.1:{fake.port}")
    assert finding["expected"] == f"mlflow-server.service listens on 0.0.0.0:{fake.port}"
    monkeypatch.setattr(probed_service.sockets, "socket_inodes", mock.Mock(side_effect=PermissionError))
    finding = only(probe(fake.url, unit="mlflow-server.service"))
    assert (finding["check"], finding["seen"]) == ("listen", "permission denied")
    assert finding["fault"] == "sockets-unreadable"


def test_a_container_that_was_started_again_tells_why_it_had_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    states = iter(["running", "restarting", "running"])
    monkeypatch.setattr(probed_service, "read_container", lambda _module, name: Container(name, next(states), 0, ()))
    monkeypatch.setattr(basic.AnsibleModule, "run_command", lambda _module, _command: (0, "table guardrails already exists\n", ""))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    result = probe(f"http://127.0.0.1:{port}", container="atlas-mlflow-server", wait=30)
    finding = result["findings"][0]
    assert (finding["check"], finding["seen"]) == ("container", "restarting; its log ends with: table guardrails already exists")
    assert finding["fault"] == "server-not-running" and "docker logs atlas-mlflow-server" in finding["fix"]


#: A unit as systemd shows it, one line a look: state, and how often it was started again.
LOOP = ["active/running 0", "activating/auto-restart 0", "activating/start-pre 1", "active/running 1", "activating/auto-restart 1", "active/running 2"]
JOURNAL = """INFO:     Started server process [812]
Traceback (most recent call last):
  File "/opt/mlflow/current/lib/python3.11/site-packages/mlflow/server/prometheus_exporter.py", line 2, in <module>
ModuleNotFoundError: No module named 'prometheus_flask_exporter'
mlflow-server.service: Main process exited, code=exited, status=1/FAILURE
mlflow-server.service: Scheduled restart job, restart counter is at 2.
"""


def systemd(folder: Path, monkeypatch: pytest.MonkeyPatch, looks: list[str]) -> None:
    """Put a systemctl that shows one look after another, and a journalctl, in the module's way."""
    (folder / "looks").write_text("\n".join(looks))
    (folder / "journal").write_text(JOURNAL)
    show = f"""#!{sys.executable}
import pathlib
looks = pathlib.Path({str(folder / "looks")!r})
first, *rest = looks.read_text().splitlines()
looks.write_text("\\n".join(rest or [first]))
state, restarts = first.split()
active, sub = state.split("/")
print(f"MainPID=0\\nControlGroup=\\nLoadState=loaded\\nActiveState={{active}}\\nSubState={{sub}}\\nNRestarts={{restarts}}")
"""
    for name, text in (("systemctl", show), ("journalctl", f"#!/bin/sh\ncat {folder / 'journal'}\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_a_unit_that_ends_again_and_again_ends_the_wait_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemd(tmp_path, monkeypatch, LOOP)
    begin = time.monotonic()
    result = probe(f"http://127.0.0.1:{unused_port()}", unit="mlflow-server.service", wait=60)
    assert time.monotonic() - begin < 30
    finding = result["findings"][0]
    assert (finding["check"], finding["expected"]) == ("service", "mlflow-server.service runs")
    assert finding["seen"].startswith("ended 2 times")
    assert finding["seen"].endswith("; its log ends with: ModuleNotFoundError: No module named 'prometheus_flask_exporter'")
    assert finding["fault"] == "packages-do-not-fit"


@pytest.mark.parametrize(
    "looks",
    [
        ["active/running 0", "activating/auto-restart 0", "active/running 1"],  # ended once
        ["active/running 7"],  # ended often, and long ago
    ],
)
def test_a_unit_that_has_come_back_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: list[str]) -> None:
    systemd(tmp_path, monkeypatch, looks)
    result = probe(f"http://127.0.0.1:{unused_port()}", unit="mlflow-server.service", wait=2)
    assert [finding["check"] for finding in result["findings"]] == ["listen", "answer"]
    assert "within 2 seconds" in result["msg"]


@pytest.mark.parametrize(
    ("died", "times"),
    [
        ("INFO:     Waiting for child process [812]\nINFO:     Child process [812] died\n", 4),
        ("Process SpawnProcess-1:\n", 2),
        ("Process Worker-1:\n", 2),
    ],
)
def test_workers_that_end_again_and_again_end_the_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, died: str, times: int) -> None:
    """uvicorn starts workers again for ever, and systemd sees a service that runs."""
    systemd(tmp_path, monkeypatch, ["active/running 0"])
    (tmp_path / "journal").write_text((JOURNAL.partition("mlflow-server.service")[0] + died) * times)
    monkeypatch.setattr(probed_service, "LOG_EVERY", 0.2)
    begin = time.monotonic()
    result = probe(f"http://127.0.0.1:{unused_port()}", unit="mlflow-server.service", wait=60)
    assert time.monotonic() - begin < 30
    assert result["findings"][0]["seen"].startswith(f"its workers ended {times} times")
    assert "No module named 'prometheus_flask_exporter'" in result["findings"][0]["seen"]


def test_a_container_of_podman_that_has_ended_is_explained_by_the_journal_of_its_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    programs: list[str] = []

    def run(_module: basic.AnsibleModule, command: list[str]) -> tuple[int, str, str]:
        programs.append(command[0])
        return 0, "table guardrails already exists\n", ""

    monkeypatch.setattr(probed_service, "read_unit", lambda _module, name: Unit(name, "active/running", (os.getpid(),)))
    monkeypatch.setattr(probed_service, "read_container", lambda _module, name: Container(name, "exited", 0, ()))
    monkeypatch.setattr(basic.AnsibleModule, "run_command", run)
    result = probe(f"http://127.0.0.1:{unused_port()}", unit="mlflow-server.service", container="atlas-mlflow-server")
    finding = result["findings"][0]
    assert finding["seen"] == "exited; its log ends with: table guardrails already exists" and "journalctl -u mlflow-server.service" in finding["fix"]
    assert "journalctl" in programs and "docker" not in programs


def test_a_container_that_docker_starts_again_and_again_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter(range(100))
    monkeypatch.setattr(probed_service, "read_container", lambda _module, name: Container(name, "running", 0, (), next(counts)))
    monkeypatch.setattr(basic.AnsibleModule, "run_command", lambda _module, _command: (0, "Error: No such option: --no-such\n", ""))
    begin = time.monotonic()
    result = probe(f"http://127.0.0.1:{unused_port()}", container="atlas-mlflow-server", wait=60)
    assert time.monotonic() - begin < 30
    assert result["findings"][0]["check"] == "service" and result["findings"][0]["seen"].startswith("ended 2 times")
    assert "its log ends with: Error: No such option: --no-such" in result["msg"] and result["findings"][0]["fault"] == "arguments-refused"


def test_the_module_runs_as_a_program(fake: FakeTracking) -> None:
    ansible = Path(sys.executable).with_name("ansible")
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    command = [str(ansible), "localhost", "-m", "atlas.mlflow.mlflow_probe", "-a", f"url={fake.url} artifact_bytes=1000"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"way": "proxied"' in done.stdout


def test_options_that_make_no_sense_are_refused() -> None:
    assert "not an http or https URL" in probe("ftp://host")["msg"]
    assert "localhost" in probe("http://127.0.0.1:1", listen_address="localhost")["msg"]


def fill(fake: FakeTracking, made: int, runs: Sequence[str] = (), **names: int) -> None:
    """Put experiments into the database, beside MLflow's own, and note when they were made; and runs into MLflow's own."""
    fake.experiments.clear()
    fake.runs.clear()
    fake.experiments["0"] = {"experiment_id": "0", "name": "Default", "creation_time": made, "lifecycle_stage": "active"}
    for number, (name, when) in enumerate(names.items(), 1):
        fake.experiments[str(number)] = {"experiment_id": str(number), "name": name, "creation_time": when, "lifecycle_stage": "active"}
    for name in runs:
        fake.runs[name] = {"info": {"run_id": name, "experiment_id": "0", "lifecycle_stage": "active"}, "data": {"params": [], "metrics": [], "tags": []}}


def test_a_probe_remembers_the_database_and_names_one_that_has_lost_it(fake: FakeTracking, tmp_path: Path) -> None:
    memory = tmp_path / "folder" / "seen.json"
    fill(fake, 1000, churn=2000, fraud=3000)
    result = probe(fake.url, memory=str(memory))
    assert result["data"] == {"experiments": 2, "more": False, "runs": 0, "more_runs": False}
    assert json.loads(memory.read_text())["release"] == result["server"]["version"] != ""
    assert memory.stat().st_mode & 0o777 == 0o600
    # Another database, in which the team's experiments are not, and a number may be another's.
    for experiments in ({}, {"other": 5000}):
        fill(fake, 4000, **experiments)
        finding = only(probe(fake.url, memory=str(memory)))
        assert finding["check"] == "data" and "2 experiments (churn, fraud)" in finding["expected"] and "mlflow_server_allow_store_change" in finding["fix"]
    # It is not forgotten by that, and also not in check mode, until another database is expected.
    assert only(probe(fake.url, memory=str(memory)))["check"] == "data"
    assert only(probe(fake.url, check_mode=True, memory=str(memory)))["check"] == "data"
    assert probe(fake.url, memory=str(memory), memory_renewed=True)["findings"] == []
    assert probe(fake.url, memory=str(memory))["findings"] == []


@pytest.mark.parametrize(
    ("made", "experiments"),
    [(1000, {}), (4000, {"churn": 2000}), (0, {"churn": 2000, "more": 1}), (4000, {"new": 9, "fraud": 3000})],
    ids=["all deleted in the same database", "some are there", "no release tells when its database was made", "one has its number and time"],
)
def test_a_database_that_goes_on_is_well(fake: FakeTracking, tmp_path: Path, made: int, experiments: dict[str, int]) -> None:
    memory = tmp_path / "seen.json"
    fill(fake, 1000, churn=2000, fraud=3000)
    assert probe(fake.url, memory=str(memory))["findings"] == []
    fill(fake, made, **experiments)
    assert probe(fake.url, memory=str(memory))["findings"] == []


@pytest.mark.parametrize(("fault", "warned"), [(("GET", "/webhooks"), True), (("GET", "/none-of-it"), False)])
def test_webhooks_that_cannot_be_decrypted_are_told_and_fail_nothing(fake: FakeTracking, fault: tuple[str, str], warned: bool) -> None:
    fake.fail_on = fault
    with mock.patch.object(basic.AnsibleModule, "warn") as warn:
        assert probe(fake.url)["findings"] == []
    assert ["mlflow_server_former_webhook_keys" in call.args[0] for call in warn.call_args_list] == [True] * warned


def numbered(count: int) -> list[str]:
    """Return the names of so many runs."""
    return [f"logged{number}" for number in range(count)]


@pytest.mark.parametrize(
    ("runs", "experiments", "words"),
    [
        (numbered(3), {}, "no experiments beside Default and 3 runs"),
        (numbered(1), {"churn": 2000}, "1 experiment (churn) and 1 run"),
        (numbered(60), {"churn": 2000, "fraud": 3000}, "2 experiments (churn, fraud) and 50 or more runs"),
    ],
)
def test_runs_are_counted_and_missed_as_experiments_are(fake: FakeTracking, tmp_path: Path, runs: list[str], experiments: dict[str, int], words: str) -> None:
    memory = tmp_path / "seen.json"
    fill(fake, 1000, runs, **experiments)
    assert probe(fake.url, memory=str(memory))["findings"] == []
    fill(fake, 4000)
    finding = only(probe(fake.url, memory=str(memory)))
    assert finding["check"] == "data" and finding["expected"].endswith(f"with {words}") and finding["seen"].endswith("beside Default and no runs")


@pytest.mark.parametrize(("made", "runs"), [(1000, []), (4000, numbered(1)), (0, ["other", *numbered(2)])], ids=["deleted", "one is there", "no time"])
def test_a_database_with_runs_that_goes_on_is_well(fake: FakeTracking, tmp_path: Path, made: int, runs: list[str]) -> None:
    memory = tmp_path / "seen.json"
    fill(fake, 1000, numbered(3))
    assert probe(fake.url, memory=str(memory))["findings"] == []
    fill(fake, made, runs)
    assert probe(fake.url, memory=str(memory))["findings"] == []


@pytest.mark.parametrize("fault", [("POST", "/runs/search"), ("GET", "/runs/get")])
def test_runs_that_are_not_told_are_not_lost(fake: FakeTracking, tmp_path: Path, fault: tuple[str, str]) -> None:
    memory = tmp_path / "seen.json"
    fill(fake, 1000, numbered(3))
    server = TrackingServer(Base.parse(fake.url), f"127.0.0.1:{fake.port}")
    before = data_loss.look(server)
    fill(fake, 4000)
    fake.fail_on = fault
    now = data_loss.look(server)
    assert seen.words(before) == "no experiments beside Default and 3 runs" and (fault[0] == "GET") == ("runs" in now)
    assert (data_loss.vanished(server, before, now) is None) == (fault[0] == "GET")
    # The memory of an earlier release has no runs.
    memory.write_text(json.dumps({name: before[name] for name in ("at", "made", "experiments", "more", "some")}))
    old = seen.recall(memory)
    assert seen.words(old) == "no experiments beside Default" and data_loss.vanished(server, old, now) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"at": 1}'])
def test_a_memory_that_cannot_be_read_is_made_again(fake: FakeTracking, tmp_path: Path, text: str) -> None:
    memory = tmp_path / "seen.json"
    memory.write_text(text)
    fill(fake, 1000, churn=2000)
    assert probe(fake.url, memory=str(memory))["findings"] == []
    assert "churn" in memory.read_text()


def test_a_probe_that_finds_something_remembers_nothing(fake: FakeTracking, tmp_path: Path) -> None:
    fill(fake, 1000, churn=2000)
    fake.corrupt = True
    assert probe(fake.url, memory=str(tmp_path / "seen.json"))["failed"] and not (tmp_path / "seen.json").exists()


@pytest.mark.parametrize("hangs", ["GET /api/2.0/mlflow/experiments/get?", "GET /api/2.0/mlflow/experiments/search?max_results=200"])
def test_a_server_that_does_not_answer_in_time_has_not_lost_its_data(fake: FakeTracking, tmp_path: Path, hangs: str) -> None:
    memory = tmp_path / "seen.json"
    fill(fake, 1000, churn=2000)
    probe(fake.url, memory=str(memory))
    fill(fake, 4000)
    fake.hang_on = hangs
    result = probe(fake.url, memory=str(memory), timeout=0.3)
    assert "data" not in [finding["check"] for finding in result["findings"]] and "churn" in memory.read_text()
