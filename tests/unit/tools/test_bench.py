"""What the measurements decide: ratios, what counts as fallen, where a load may go, and that the document shows its results."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.bench import __main__ as bench
from tools.bench import figures, hosts, play, report, rows, scaling, seed, short, targets
from tools.bench.figures import Pair
from tools.testbed.shell import TestbedError

ON_HOST = Path(hosts.__file__).parent / "on_host"


def pair(ours: list[float], other: list[float], more_is_better: bool = True, aim: float | None = None) -> Pair:
    """Return a pair with these values."""
    return Pair("row", "what", "s", "other", ours, other, more_is_better, aim)


# Statistics


def test_the_ratio_is_the_median_of_the_ratios_of_each_round() -> None:
    # The ratio of the medians would be 20 / 30.
    measured = pair([10, 20, 90], [40, 10, 30])
    assert measured.ratios == [0.25, 2.0, 3.0]
    assert measured.ratio == 2.0


def test_the_spread_is_a_part_of_the_median() -> None:
    assert figures.spread([8.0, 10.0, 13.0]) == 0.5
    assert figures.spread([7.0]) == 0


@pytest.mark.parametrize(("ours", "other"), [([], []), ([1.0], [1.0, 2.0]), ([1.0, 0.0], [1.0, 2.0])])
def test_values_that_are_no_rounds_in_turns_are_refused(ours: list[float], other: list[float]) -> None:
    with pytest.raises(ValueError):
        pair(ours, other)


@pytest.mark.parametrize(
    ("ours", "more_is_better", "aim", "reached"),
    [(2.0, True, 2.0, True), (1.9, True, 2.0, False), (2.0, False, 2.0, True), (2.1, False, 2.0, False), (1.0, True, None, None)],
)
def test_an_aim_is_reached_in_the_direction_of_the_pair(ours: float, more_is_better: bool, aim: float | None, reached: bool | None) -> None:
    assert pair([ours], [1.0], more_is_better, aim).reached is reached


def test_a_pair_survives_json() -> None:
    measured = pair([1.5, 2.0], [1.0, 1.0], False, 0.5)
    assert figures.read(json.loads(json.dumps([measured.document()]))) == [measured]


# The short form


@pytest.mark.parametrize(
    ("ours", "more_is_better", "complains"),
    [
        ([1.01, 1.01], True, False),
        ([0.99, 0.99], True, True),
        ([9.0, 9.0], True, False),
        ([3.99, 3.99], False, False),
        ([4.01, 4.01], False, True),
        ([0.1, 0.1], False, False),
    ],
)
def test_a_ratio_is_fallen_if_it_is_twice_as_bad_as_its_reference(ours: list[float], more_is_better: bool, complains: bool) -> None:
    measured = pair(ours, [1.0, 1.0], more_is_better)
    complaints = figures.fallen([measured], {measured.name: 2.0})
    assert bool(complaints) is complains


def test_a_complaint_has_the_ratio_its_rounds_and_its_reference() -> None:
    requests, start = pair([0.8, 0.9, 0.7], [1.0, 1.0, 1.0]), Pair("start", "first answer", "s", "import", [5.0], [1.0], more_is_better=False)
    assert short.judge([requests, start], {requests.name: 1.8, start.name: 2.0}) == [
        "row: what, ours / other: the ratio is 0.80 (rounds: 0.80, 0.90, 0.70), below half of the reference 1.80.",
        "start: first answer, ours / import: the ratio is 5.00 (rounds: 5.00), above twice the reference 2.00.",
    ]


def test_a_pair_without_a_reference_fails() -> None:
    with pytest.raises(TestbedError, match="no reference of row: what, ours / other"):
        short.judge([pair([1.0], [1.0])], {})


@contextlib.contextmanager
def no_server(_: str, jobs: bool) -> Iterator[hosts.Server]:
    """Stand in for the server with defaults."""
    yield hosts.Server("container", hosts.DEFAULTS_UNIT, hosts.DEFAULTS_PORT)


@pytest.fixture
def measured_without_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all that would need a host return values."""
    printed = {"start": [3.0], "import": [2.0]}
    monkeypatch.setattr(rows, "install", lambda: None)
    monkeypatch.setattr(rows, "load_in_turns", lambda servers, rounds, seconds, login=None: [[10.0] * rounds for _ in servers])
    monkeypatch.setattr(hosts, "defaults_server", no_server)
    monkeypatch.setattr(hosts.Server, "memory", lambda self: 10**9)
    monkeypatch.setattr(hosts, "in_host", lambda *_, **__: json.dumps(printed))
    monkeypatch.setattr(hosts, "with_servers_settings", lambda *_: {f"{way} {end}": [1.0, 1.0] for way in ("http", "boto3") for end in ("up", "down")})


def test_files_in_turn_are_compared_with_files_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"http": 1.0, "boto3": 2.0, "http-in-turn": 3.0, "boto3-in-turn": 12.0}
    printed = {f"{way} {end}": [value] for way, value in seconds.items() for end in ("up", "down")}
    monkeypatch.setattr(hosts, "with_servers_settings", lambda *_: printed)
    measured = rows.transfer("container", 1, "200 x 100 kB", tuple(seconds))
    assert [(one.other, round(one.ratio, 2), one.aim) for one in measured[::2]] == [("boto3", 2.0, 0.8), ("boto3, in turn", 4.0, None)]


@pytest.mark.usefixtures("measured_without_a_host")
def test_each_pair_of_the_short_form_has_a_reference_and_no_reference_is_left_over() -> None:
    with_users = short.measure("container", None, ["admin", "a-password"])
    assert {measured.name for measured in [*short.measure("container", None), *with_users]} == set(short.read_references())


@pytest.mark.usefixtures("measured_without_a_host")
def test_requests_with_users_are_sent_with_the_password_of_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: list[list[str] | None] = []

    def load(servers: list[hosts.Server], rounds: int, seconds: float, login: list[str] | None = None) -> list[list[float]]:
        given.append(login)
        return [[10.0] * rounds for _ in servers]

    monkeypatch.setattr(rows, "load_in_turns", load)
    monkeypatch.setattr(bench.machine, "facts", dict)
    monkeypatch.setattr(short, "REFERENCES", tmp_path / "reference.json")
    short.REFERENCES.write_text('{"another": 1.0}')
    (tmp_path / "password").write_text("a-password\n")
    monkeypatch.setattr(sys, "argv", ["bench", "short", "container", "--record", "--password", str(tmp_path / "password")])
    assert bench.main() == 0
    assert given == [["admin", "a-password"]]
    assert list(short.read_references().values()) == [1.0, 1.0]


@pytest.mark.usefixtures("measured_without_a_host")
def test_the_command_fails_if_a_ratio_has_fallen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    names = [measured.name for measured in short.measure("container", None)]
    monkeypatch.setattr(sys, "argv", ["bench", "short", "container"])
    monkeypatch.setattr(bench.machine, "facts", dict)
    monkeypatch.setattr(short, "read_references", lambda: dict.fromkeys(names, 1.0))
    assert bench.main() == 0
    monkeypatch.setattr(short, "read_references", lambda: dict.fromkeys(names, 1.0) | {names[0]: 2.5})
    assert bench.main() == 1
    said = capsys.readouterr().err
    assert "below half of the reference 2.50" in said and "--record" in said


@pytest.mark.parametrize(("slow", "fails"), [(short.ATTEMPTS - 1, False), (short.ATTEMPTS, True)])
@pytest.mark.usefixtures("measured_without_a_host")
def test_a_part_is_measured_again_if_a_ratio_has_fallen(monkeypatch: pytest.MonkeyPatch, slow: int, fails: bool) -> None:
    names = [measured.name for measured in short.measure("container", None)]
    measured = [pair([0.4], [1.0])] * slow + [pair([1.0], [1.0])]
    monkeypatch.setattr(short, "start", lambda container: [measured.pop(0)])
    references = dict.fromkeys(names, 1.0) | {measured[0].name: 1.0}
    with pytest.raises(TestbedError, match="below half") if fails else contextlib.nullcontext():
        short.measure("container", references)
    assert len(measured) == (1 if fails else 0)


# Where a load may go


@pytest.mark.parametrize("url", ["http://127.0.0.1:5001", "http://[::1]:5001", "http://172.30.0.7:5001"])
def test_a_load_goes_to_loopback_and_to_the_test_bed(url: str) -> None:
    targets.check(url, ["172.30.0.0/16"])


@pytest.mark.parametrize(
    "url", ["http://172.31.0.7:5001", "http://192.168.1.4:5001", "http://8.8.8.8", "http://mlflow.example.com", "http://localhost:5001", "x"]
)
def test_a_load_goes_nowhere_else(url: str) -> None:
    with pytest.raises(targets.TargetError):
        targets.check(url, ["172.30.0.0/16"])


def test_only_networks_of_the_test_bed_count() -> None:
    def network(owner: str | None, subnet: str, driver: str = "bridge") -> dict[str, Any]:
        return {"Labels": {"owner": owner} if owner else None, "Driver": driver, "IPAM": {"Config": [{"Subnet": subnet}]}}

    given = [network("molecule", "10.1.0.0/16"), network("atlas-mlflow-bench", "10.2.0.0/16"), network("somebody", "10.3.0.0/16"), network(None, "10.4.0.0/16")]
    given.append(network("molecule", "192.168.0.0/16", "macvlan"))
    assert targets.subnets_of(json.dumps(given)) == ["10.1.0.0/16", "10.2.0.0/16"]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return load.py with a stand-in for locust, which is installed in another environment. It records the tasks with their weights."""
    fake: Any = types.ModuleType("locust")
    fake.tasks = {}

    def task(weight: int) -> Any:
        def record(method: Any) -> Any:
            fake.tasks[method.__qualname__] = weight
            return method

        return record

    fake.FastHttpUser, fake.constant, fake.events, fake.task = object, lambda seconds: seconds, None, task
    fake_environment: Any = types.ModuleType("locust.env")
    fake_environment.Environment = None
    gevent: Any = types.ModuleType("gevent")
    gevent.pool = types.ModuleType("gevent.pool")
    for name, module in (("locust", fake), ("locust.env", fake_environment), ("gevent", gevent), ("gevent.pool", gevent.pool)):
        monkeypatch.setitem(sys.modules, name, module)
    yield importlib.import_module("tools.bench.load")
    del sys.modules["tools.bench.load"]


def test_the_load_has_sixteen_operations_and_a_fifth_of_the_clients_write(load: Any) -> None:
    kinds = [name.partition(".")[0] for name in sys.modules["locust"].tasks]
    assert (kinds.count("Writer"), kinds.count("Reader")) == (8, 8)
    assert load.Writer.fixed_count / (load.Writer.fixed_count + load.Reader.fixed_count) == 0.2


def test_the_load_refuses_another_host(load: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(targets, "testbed_subnets", lambda: ["172.30.0.0/16"])
    monkeypatch.setattr(load, "run", lambda *_: pytest.fail("It was sent"))
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({"urls": ["http://127.0.0.1:5001", "http://192.168.1.4:5001"], "rounds": 1, "seconds": 1})))
    assert load.main() == 1
    assert "goes only to loopback" in capsys.readouterr().err


@pytest.mark.parametrize(("status", "said"), [(200, None), (404, '404 {"error_code": "BROKEN"}'), (500, '500 {"error_code": "BROKEN"}')])
def test_the_load_counts_an_error_with_the_beginning_of_its_answer(load: Any, status: int, said: str | None) -> None:
    failed: list[str] = []
    answer = types.SimpleNamespace(
        status_code=status, text='{"error_code": "BROKEN"}' + " " * load.SHOWN, json=dict, failure=lambda text: failed.append(text.strip())
    )
    client = load.Client()
    client.client = types.SimpleNamespace(request=lambda *_, **given: contextlib.nullcontext(answer) if given["catch_response"] else None)
    client.api("GET", "runs/get", "get run")
    assert failed == ([said] if said else [])


@pytest.mark.parametrize(("requests", "failures", "fails"), [(1000, 0, False), (1000, 10, False), (1000, 11, True), (0, 0, True)])
@pytest.mark.usefixtures("measured_without_a_host")
def test_a_load_with_failed_requests_has_no_result(monkeypatch: pytest.MonkeyPatch, requests: int, failures: int, fails: bool) -> None:
    monkeypatch.setattr(hosts, "daemon", types.SimpleNamespace(address=lambda _: "172.30.0.7"))
    monkeypatch.setattr(hosts, "in_host", lambda *_: "Traceback of the server")
    good = {"requests": 1000, "failures": 0, "requests_per_second": 10}
    result = {"requests": requests, "failures": failures, "errors": ["1 x GET get run: 500"], "requests_per_second": 10}
    servers = [hosts.Server("container", hosts.UNIT, hosts.PORT), hosts.Server("container", hosts.DEFAULTS_UNIT, hosts.DEFAULTS_PORT)]
    with (
        pytest.raises(rows.LoadFailed, match="(?s):5002 failed: 1 x GET get run: 500.*Traceback of the server") if fails else contextlib.nullcontext() as error
    ):
        rows.requests_per_second(servers, [[good, good], [good, result]])
    assert not fails or error.value.server is servers[1]


@pytest.mark.parametrize(("unit", "failing", "fails"), [(hosts.DEFAULTS_UNIT, 2, False), (hosts.DEFAULTS_UNIT, 3, True), (hosts.UNIT, 1, True)])
@pytest.mark.usefixtures("measured_without_a_host")
def test_a_comparison_is_measured_again_if_the_server_with_defaults_fails(monkeypatch: pytest.MonkeyPatch, unit: str, failing: int, fails: bool) -> None:
    attempts: list[str] = []

    def load(servers: list[hosts.Server], rounds: int, *_: Any) -> list[list[float]]:
        attempts.append("load")
        if len(attempts) <= failing:
            raise rows.LoadFailed(hosts.Server("container", unit, hosts.PORT), "requests failed")
        return [[10.0] * rounds for _ in servers]

    monkeypatch.setattr(rows, "load_in_turns", load)
    with pytest.raises(TestbedError, match="requests failed") if fails else contextlib.nullcontext():
        short.measure("container", None)
    assert len(attempts) == (failing if fails else failing + 1)


def test_a_load_records_the_processor_time_of_parts_in_the_seconds_that_it_counts(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    total = types.SimpleNamespace(num_requests=0, num_failures=0, median_response_time=5)
    done: list[str] = []

    def sleep(_: float) -> None:
        done.append("sleep")
        total.num_requests += 100

    def count(parts: Any) -> dict[str, float]:
        done.append("count")
        return {part: 7.0 + 2 * done.count("sleep") for part in parts}

    stats = types.SimpleNamespace(total=total, errors={}, entries={}, reset_all=lambda: (done.append("reset"), setattr(total, "num_requests", 0)))
    runner = types.SimpleNamespace(start=lambda *_, **__: done.append("start"), quit=lambda: done.append("quit"))
    monkeypatch.setattr(load, "Environment", lambda **_: types.SimpleNamespace(stats=stats, create_local_runner=lambda: runner))
    monkeypatch.setattr(load.gevent, "sleep", sleep, raising=False)
    monkeypatch.setattr(load.processor, "of_parts", count)
    monkeypatch.setattr(load.processor, "idle", lambda: 3.0 * done.count("sleep"))
    result = load.send("http://127.0.0.1", 10, {"database": [["id", "postgresql@"]]})
    # One part of the warm-up, and the load: what is counted lies between, and ends before the clients do.
    assert done == ["start", "sleep", "reset", "count", "sleep", "count", "quit"]
    assert (result["requests"], result["processor_seconds"]["database"], result["idle_seconds"]) == (100, 2.0, 3.0)
    assert result["processor_seconds"][load.CLIENT] >= 0 and result["seconds"] > 0


# Hosts


def test_a_user_of_the_measurements_has_rights_on_all_of_the_seed() -> None:
    (user,) = rows.USERS.document()["all"]["vars"]["mlflow_server_users"]
    assert list(user["experiments"]) == seed.EXPERIMENTS and len(seed.EXPERIMENTS) == 100
    # A right on a registered model is none on a prompt.
    assert user["prompts"] == dict.fromkeys(seed.PROMPTS, "MANAGE")


def test_each_stack_has_its_own_hosts() -> None:
    stacks = {stack.name: stack for listed in bench.STACKS.values() for stack in listed}.values()
    assert len({host for stack in stacks for host in stack.hosts}) == sum(stack.servers for stack in stacks)
    several = hosts.Stack("several", servers=3)
    assert several.document()["all"]["children"]["mlflow_servers"]["hosts"] == dict.fromkeys(several.hosts)
    assert list(several.document()["all"]["children"]["postgres"]["hosts"]) == several.hosts[:1]


def test_each_row_says_which_stacks_it_needs() -> None:
    assert set(bench.STACKS) == set(bench.ROWS) >= set(bench.USUAL)


def test_an_unknown_row_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "run", "requets"])
    assert bench.main() == 1
    assert "There is no row requets" in capsys.readouterr().err


def test_the_server_with_defaults_gets_the_stores_and_nothing_else(tmp_path: Path) -> None:
    settings, written = tmp_path / "settings", tmp_path / "written"
    settings.write_text(
        'MLFLOW_BACKEND_STORE_URI="postgresql://mlflow:a%%b@127.0.0.1/mlflow"\nMLFLOW_ARTIFACTS_DESTINATION="proxied-s3://mlflow"\n'
        'AWS_ACCESS_KEY_ID="key"\nMLFLOW_SERVER_ENABLE_JOB_EXECUTION="False"\nMLFLOW_SQLALCHEMYSTORE_POOL_SIZE="20"\n'
    )
    subprocess.run([sys.executable, ON_HOST / "defaults_environment.py", settings, written], check=True)
    assert written.read_text().splitlines() == [
        "MLFLOW_BACKEND_STORE_URI=postgresql://mlflow:a%%b@127.0.0.1/mlflow",
        "MLFLOW_ARTIFACTS_DESTINATION=s3://mlflow",
        "AWS_ACCESS_KEY_ID=key",
        "MLFLOW_DISABLE_TELEMETRY=true",
        "UVICORN_TIMEOUT_WORKER_HEALTHCHECK=60",
    ]
    assert written.stat().st_mode & 0o777 == 0o600


def test_the_memory_of_a_process_has_that_of_its_descendants() -> None:
    def memory() -> int:
        return int(subprocess.run([sys.executable, ON_HOST / "memory.py", str(os.getpid())], capture_output=True, text=True, check=True).stdout)

    alone = memory()
    with subprocess.Popen([sys.executable, "-c", "x = b'x' * 10**8; print(flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin and child.stdout
        child.stdout.readline()
        assert memory() - alone > 9 * 10**7
        child.stdin.close()


@pytest.mark.parametrize(("keep", "kept"), [(False, [["ours"], []]), (True, [["ours"], ["ours"]])])
def test_hosts_stay_for_a_later_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, keep: bool, kept: list[list[str]]) -> None:
    seen = []

    def row(options: rows.Options) -> list[Pair]:
        seen.append(sorted(options.keep))
        return [pair([1.0], [1.0])]

    monkeypatch.setattr(bench, "ROWS", {"requests": row, "start": row})
    monkeypatch.setattr(bench, "BENCH", tmp_path)
    monkeypatch.setattr(hosts, "prepare", lambda stacks: None)
    monkeypatch.setattr(rows, "install", lambda: None)
    bench.measure(["requests", "start"], rows.Options(), keep, docs=False)
    assert seen == kept
    assert sorted(json.loads(path.read_text()).popitem()[0] for path in tmp_path.glob("*.json")) == ["requests", "start"]


# Rows


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let hosts only record what is done with them."""
    done: list[str] = []

    def record(what: str, result: Any = None) -> Any:
        return lambda self, *_, **__: (done.append(f"{what} {getattr(self, 'name', getattr(self, 'unit', ''))}"), result)[1]

    @contextlib.contextmanager
    def around(given: Any, *_: Any, what: str = "") -> Iterator[Any]:
        done.append(f"begin {what}")
        yield given
        done.append(f"end {what}")

    for method, result in (("create", None), ("play", 6.0), ("remove", None)):
        monkeypatch.setattr(hosts.Stack, method, record(method, result))
    monkeypatch.setattr(hosts.Server, "memory", lambda self: 10**9)
    monkeypatch.setattr(hosts.Server, "wait", lambda self: None)
    monkeypatch.setattr(hosts, "stopped", lambda server: around(server, what=f"without {server.unit}"))
    monkeypatch.setattr(hosts, "defaults_server", lambda container: around(hosts.Server(container, hosts.DEFAULTS_UNIT, 1), what="defaults"))
    monkeypatch.setattr(rows, "load", record("load", 10.0))
    return done


def test_requests_are_measured_in_turns_and_only_one_server_runs(calls: list[str]) -> None:
    requests, memory = rows.requests(rows.Options(rounds=2))
    turn = ["load mlflow-server.service", "begin without mlflow-server.service", "begin defaults", "load bench-defaults.service"]
    turn += ["end defaults", "end without mlflow-server.service"]
    assert calls == ["create ours", "play ours", *turn, *turn, "remove ours"]
    assert (requests.ours_values, requests.aim, memory.more_is_better) == ([10.0, 10.0], 2.0, False)


def test_hosts_that_a_later_row_needs_are_not_removed(calls: list[str]) -> None:
    rows.requests(rows.Options(rounds=1, keep=frozenset({"ours"})))
    assert "remove ours" not in calls


@pytest.mark.parametrize(("role", "compared"), [(True, ["bare script", "geerlingguy.postgresql, PostgreSQL alone"]), (False, ["bare script"])])
@pytest.mark.usefixtures("calls")
def test_a_first_and_a_second_run_are_compared_with_the_script_and_with_the_role_if_there_is_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, role: bool, compared: list[str]
) -> None:
    monkeypatch.setattr(play, "bare_script", lambda stack: 3.0)
    monkeypatch.setattr(play, "play_role", lambda stack, folder: 12.0)
    monkeypatch.setattr(play, "role_folder", lambda options, scratch: tmp_path if role else None)
    found = play.runs(rows.Options(rounds=2))
    assert [(one.what, one.other) for one in found] == [(f"{which} run", other) for which in ("first", "second") for other in compared]
    assert found[0].ratio == 2.0 and found[-1].ratio == (0.5 if role else 2.0)
    assert ("so it is left out" in capsys.readouterr().out) is not role


@pytest.mark.usefixtures("calls")
def test_several_servers_are_compared_with_one_up_to_a_limit() -> None:
    assert [one.what for one in play.servers(rows.Options(rounds=1, most_servers=4))] == [
        "run without changes, 2 tracking servers",
        "run without changes, 4 tracking servers",
    ]


@pytest.mark.usefixtures("calls")
def test_each_setting_is_compared_by_throughput_and_by_memory() -> None:
    found = rows.settings(rows.Options(rounds=1))
    assert len(found) == 2 * len(rows.SETTINGS) and {one.unit for one in found} == {"requests/s", "GB"}


# What is shown


def test_a_table_shows_medians_ratio_and_aim() -> None:
    measured = Pair("row", "requests", "requests/s", "defaults", [10.0, 12.0, 14.0], [5.0, 6.0, 8.0], aim=2.0)
    last = report.table([measured]).splitlines()[-1]
    assert last == "| requests | 12.0 requests/s ±17 % | defaults: 6.00 requests/s ±25 % | **2.00** | 1.75, 2.00 | ≥ 2 reached |"


def test_a_plot_shows_the_ratio_and_is_escaped() -> None:
    drawn = report.plot([Pair("row", "a < b", "s", "other", [3.0], [2.0], aim=1.3)])
    assert "a &lt; b" in drawn and ">1.50<" in drawn


def test_the_documents_agree_with_their_results() -> None:
    """Write it again if this fails: python -m tools.bench docs."""
    expected = report.document(report.read_results())
    assert {path: path.read_text() for path in expected} == expected
    assert set(report.FOLDER.glob("*.svg")) == {path for path in expected if path.suffix == ".svg"}


def test_one_document_has_a_place_for_each_row_and_for_each_table_of_the_model() -> None:
    places = [match.group(1) for path in report.DOCUMENTS for match in report.MARKED.finditer(path.read_text())]
    assert sorted(places) == sorted([*bench.ROWS, *scaling.TABLES])
    assert set(report.read_results()) <= set(bench.ROWS)


def test_changed_results_change_the_document(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place, other = tmp_path / "performance.md", tmp_path / "scaling.md"
    monkeypatch.setattr(report, "DOCUMENTS", [place, other])
    place.write_text("Text\n<!-- begin start -->\nold\n<!-- end start -->\nmore\n")
    other.write_text("<!-- begin sizes -->\n<!-- end sizes -->\n")
    results = {"start": {"facts": {"cores": "2"}, "pairs": [pair([3.0], [2.0]).document()]}}
    first = report.document(results)[place]
    results["start"]["pairs"] = [pair([5.0], [2.0]).document()]
    second = report.document(results)[place]
    assert "**1.50**" in first and "**2.50**" in second and "old" not in first
    assert first.startswith("Text\n") and first.endswith("<!-- end start -->\nmore\n") and "cores: 2" in first
    assert "Not measured yet" in report.document({})[place]
    # A table of the model needs its row, and says which.
    assert "make bench ROWS=replicas" in report.document(results)[other]
