"""How far a stack goes: the row `replicas`, the processor time of units, the model, and the tables that docs/scaling.md shows of it."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tools.bench import hosts, model, processor, replicas, report, rows, scaling
from tools.bench.collection import HaproxyError, Proxy
from tools.bench.figures import Pair
from tools.bench.replicas import Turn
from tools.testbed import daemon
from tools.testbed.shell import TestbedError

#: Seconds of each part for a request, in round numbers.
COSTS = {model.SERVER: 0.008, model.DATABASE: 0.002, model.STORE: 0.0005, model.PROXY: 0.0002, model.CLIENT: 0.001}
FACTS = {"cores": "2, AMD EPYC"}


def turn(count: int, requests: float | None = None, costs: dict[str, float] = COSTS) -> Turn:
    """Return a turn in which servers answer as many requests as their shares allow, or a given number."""
    answered = count * model.SHARE / costs[model.SERVER] if requests is None else requests
    return Turn(answered, {part: answered * cost for part, cost in costs.items()}, 2 - answered * sum(costs.values()))


def measured(rounds: int = 3) -> list[Pair]:
    """Return the pairs of a measurement that agrees with the model."""
    return replicas.pairs_of([{count: [turn(count), turn(count)] for count in model.COUNTS} for _ in range(rounds)])


def by_name(pairs: list[Pair]) -> dict[tuple[str, str], Pair]:
    return {(pair.what, pair.ours): pair for pair in pairs}


# The processor time of units


def process(proc: Path, pid: int, groups: str, name: str, own: tuple[int, int], ended: tuple[int, int]) -> None:
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    (folder / "cgroup").write_text(groups)
    fields = ["S", *["0"] * 10, *map(str, (*own, *ended)), *["7"] * 20]
    (folder / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n")


def test_the_processor_time_of_a_part_is_that_of_its_units_and_of_their_children_that_ended(tmp_path: Path) -> None:
    first = "9:name=systemd:/docker/aaa\n0::/docker/aaa/system.slice/{}\n"
    ticks = processor.TICKS
    process(tmp_path, 10, first.format("mlflow-server.service"), "python) S 9", (2 * ticks, ticks), (ticks, 0))
    process(tmp_path, 11, "0::/docker/bbb/system.slice/mlflow-server.service\n", "python", (ticks, 0), (0, 0))
    process(tmp_path, 12, first.format("system-postgresql.slice/postgresql@15-main.service"), "postgres", (0, ticks), (0, 4 * ticks))
    # Other stacks, other units, and a process that ends while it is read.
    process(tmp_path, 13, "0::/docker/ccc/system.slice/mlflow-server.service\n", "python", (ticks, 0), (0, 0))
    process(tmp_path, 14, first.format("cron.service"), "cron", (ticks, 0), (0, 0))
    (tmp_path / "15").mkdir()
    parts = {"servers": [["aaa", "mlflow-server.service"], ["bbb", "mlflow-server.service"]], "database": [["aaa", "postgresql@"]], "none": []}
    assert processor.of_parts(parts, tmp_path) == {"servers": 5.0, "database": 5.0, "none": 0.0}


def test_the_idle_time_of_the_machine_is_that_of_all_cores(tmp_path: Path) -> None:
    ticks = processor.TICKS
    (tmp_path / "stat").write_text(f"cpu  1 2 3 {4 * ticks} {2 * ticks} 7 8\ncpu0 1 2 3 4 5\n")
    assert processor.idle(tmp_path) == 6.0


def test_a_busy_process_of_this_machine_is_counted() -> None:
    own = Path("/proc/self/cgroup").read_text().splitlines()[-1].rpartition("/")[2]
    before = processor.of_parts({"own": [["", own]]})["own"]
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True)
    assert processor.of_parts({"own": [["", own]]})["own"] - before > 0.25


# The row


def test_a_value_of_a_round_is_the_mean_of_its_turns() -> None:
    given = {1: [turn(1, 10.0), turn(1, 30.0)], 2: [turn(2, 50.0), turn(2, 30.0)], 4: [turn(4, 60.0), turn(4, 80.0)]}
    found = by_name(replicas.pairs_of([given, given]))
    two, four = found[model.throughput_pair(2)], found[model.throughput_pair(4)]
    assert (two.ours_values, two.other_values, two.aim, two.reached) == ([40.0, 40.0], [20.0, 20.0], 1.8, True)
    assert (four.ratio, four.aim) == (3.5, None)


def test_the_cost_of_a_request_is_compared_by_part_and_by_number_of_servers() -> None:
    dearer = COSTS | {model.DATABASE: 0.003}
    given = {1: [turn(1)], 2: [turn(2)], 4: [turn(4, costs=dearer)]}
    found = by_name(replicas.pairs_of([given]))
    costs = {part: found[model.cost_text(part), "4 servers"] for part in model.PARTS}
    assert costs[model.DATABASE].ours_values == pytest.approx([3.0]) and costs[model.DATABASE].other_values == pytest.approx([2.0])
    assert all(costs[part].ratio == pytest.approx(1.0) and costs[part].unit == "ms" for part in model.PARTS if part != model.DATABASE)
    share, idle = (found[what, "4 servers"] for what in ("share of the processor that the tracking servers used", "idle part of the machine"))
    assert share.ours_values == pytest.approx([100.0]) and share.other_values == pytest.approx([100.0])
    assert idle.ratio < 1


def test_a_part_whose_clock_did_not_tick_has_a_value() -> None:
    given = {count: [turn(count, costs=COSTS | {model.PROXY: 0.0})] for count in model.COUNTS}
    assert by_name(replicas.pairs_of([given]))[model.cost_text(model.PROXY), "4 servers"].ratio == 1.0


class FakeProxy:
    """HAProxy's socket: servers that get ready some questions after they are told to."""

    def __init__(self, servers: list[str], stuck: str = "") -> None:
        self.states = dict.fromkeys(servers, "ready")
        self.stuck, self.told, self.pending = stuck, [], 0

    def __call__(self, command: str) -> str:
        words = command.split()
        if words[1:3] == ["set", "server"]:
            name = words[3].partition("/")[2]
            self.told.append((name, words[5]))
            self.pending += self.states[name] != words[5]
            self.states[name] = words[5]
            return "" if name in self.states else "No such server."
        if words[1:3] == ["show", "servers"]:
            self.pending = max(0, self.pending - 1)
            rows = [
                f"3 mlflow_servers 1 {name} 10.0.0.1 {'0' if state == 'maint' or name == self.stuck or self.pending else '2'} {'1' if state == 'maint' else '0'} 5001 0"
                for name, state in self.states.items()
            ]
            return "\n".join(["1", "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_port srv_use_ssl", *rows, ""])
        return "1234 worker\n" if words == ["show", "proc"] else "# pxname,svname,scur,qcur\n"


def test_the_proxy_uses_exactly_the_wanted_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas.time, "sleep", lambda seconds: None)
    fake = FakeProxy(["one", "two", "three"])
    replicas.use(Proxy(fake), ["one"])
    assert fake.states == {"one": "ready", "two": "maint", "three": "maint"}
    replicas.use(Proxy(fake), ["one", "two"])
    assert fake.states == {"one": "ready", "two": "ready", "three": "maint"} and fake.pending == 0
    # The wanted servers come first, so that there is always one.
    assert fake.told[0] == ("one", "ready")


@pytest.mark.parametrize("wanted", [["one", "two"], ["one", "missing"]])
def test_a_server_that_the_proxy_does_not_use_fails_the_measurement(monkeypatch: pytest.MonkeyPatch, wanted: list[str]) -> None:
    monkeypatch.setattr(replicas.time, "sleep", lambda seconds: None)
    seconds = iter(range(10_000))
    fake = FakeProxy(["one", "two"], stuck="two")
    fake.states |= dict.fromkeys(wanted, "ready") if "missing" not in wanted else {}
    proxy = Proxy(fake)
    if "missing" in wanted:
        monkeypatch.setattr(proxy, "set_state", refuse)
    with pytest.raises(TestbedError, match="does not use exactly one, two" if "two" in wanted else "refuses"):
        replicas.use(proxy, wanted, clock=lambda: float(next(seconds)))


def refuse(name: str, state: str) -> None:
    raise HaproxyError(f"HAProxy refuses the state {state} of the server {name}")


@pytest.mark.parametrize(("used", "fails"), [(0.41, False), (0.9, True)])
def test_servers_that_use_more_than_their_share_fail_the_measurement(monkeypatch: pytest.MonkeyPatch, used: float, fails: bool) -> None:
    counted = {"requests": 500, "failures": 0, "errors": []}
    result = {**counted, "requests_per_second": 50.0, "seconds": 10.0, "processor_seconds": {model.SERVER: used * 10, model.DATABASE: 1.0}, "idle_seconds": 5.0}
    monkeypatch.setattr(rows, "results_in_turns", lambda *_, **__: [[result]])
    with pytest.raises(TestbedError, match="CPUQuota has no effect") if fails else contextlib.nullcontext():
        taken = replicas.turn("http://127.0.0.1", 2, 10, {})
        assert taken == Turn(50.0, {model.SERVER: used, model.DATABASE: 0.1}, 0.5)


def test_the_limit_of_the_servers_is_removed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setattr(hosts, "in_host", lambda host, *command, **_: given.append((host, command[-1])) or "")
    with contextlib.suppress(ZeroDivisionError), replicas.limited(["one", "two"]):
        assert given == [("one", "20%"), ("two", "20%")]
        raise ZeroDivisionError
    assert given[2:] == [("one", ""), ("two", "")]


def test_failed_requests_fail_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "results_in_turns", lambda *_, **__: [[{"requests": 500, "failures": 6, "errors": ["6 x 500"]}]])
    with pytest.raises(TestbedError, match="6 of 500 requests to http://127.0.0.1 failed: 6 x 500"):
        replicas.turn("http://127.0.0.1", 2, 10, {})


def test_each_round_goes_up_and_down_with_the_limit_and_artifacts_come_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []

    @contextlib.contextmanager
    def around(*_: Any, what: str) -> Iterator[Any]:
        done.append(f"begin {what}")
        yield replicas.STACK
        done.append(f"end {what}")

    monkeypatch.setattr(daemon, "address", lambda name: "172.30.0.2")
    monkeypatch.setattr(daemon, "identifier", lambda name: f"id-{name}")
    monkeypatch.setattr(hosts, "running", lambda *_: around(what="stack"))
    monkeypatch.setattr(replicas, "limited", lambda names: around(what="limit"))
    monkeypatch.setattr(replicas, "use", lambda proxy, names: done.append(len(names)))
    monkeypatch.setattr(rows, "results_in_turns", lambda urls, *_: done.append(urls[0]))
    monkeypatch.setattr(
        hosts, "with_servers_settings", lambda *given: done.append(given[2:]) or {f"{way} {end}": [1.0] for way in ("http", "proxy") for end in ("up", "down")}
    )
    monkeypatch.setattr(replicas, "turn", lambda url, count, seconds, parts: done.append((url, count, len(parts[model.SERVER]))) or turn(count))
    found = replicas.replicas(rows.Options(rounds=1))
    url, server = "http://172.30.0.2", "http://172.30.0.2:5001"
    turns = [step for count in (1, 2, 4, 4, 2, 1) for step in (count, (url, count, 4))]
    transfers = (server, "64000000", "1", "1", "http,proxy", url)
    assert done == ["begin stack", 1, transfers, 4, url, "begin limit", *turns, "end limit", "end stack"]
    assert [(pair.what, pair.ours, pair.other) for pair in found[-2:]] == [
        (f"64 MB {end}", "through HAProxy", "straight to the server") for end in ("up", "down")
    ]
    assert len({pair.name for pair in found}) == len(found)


def test_the_first_host_of_the_row_has_the_stores_and_the_proxy() -> None:
    children = replicas.STACK.document()["all"]["children"]
    assert {group: list(given["hosts"]) for group, given in children.items()} == {
        "mlflow_servers": replicas.STACK.hosts,
        "postgres": replicas.STACK.hosts[:1],
        "minio": replicas.STACK.hosts[:1],
        "haproxy": replicas.STACK.hosts[:1],
    }
    assert "haproxy" not in replace(replicas.STACK, proxied=False).document()["all"]["children"]


def test_the_parts_of_the_row_are_those_of_the_model_and_the_client_counts_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "identifier", lambda name: f"id-{name}")
    parts = replicas.parts_of(["one", "two"])
    assert {*parts, model.CLIENT} == set(model.PARTS)
    assert parts[model.SERVER] == [["id-one", hosts.UNIT], ["id-two", hosts.UNIT]] and parts[model.DATABASE] == [["id-one", "postgresql@"]]
    assert f'CLIENT = "{model.CLIENT}"' in (Path(rows.__file__).parent / "load.py").read_text()


def test_a_command_for_the_proxy_goes_through_its_socket(tmp_path: Path) -> None:
    path, got = tmp_path / "socket", []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, connection.makefile("rw") as stream:
                got.append(stream.read())
                stream.write("answer\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        script = (hosts.ON_HOST / "ask_proxy.py").read_text().replace("/run/haproxy/master.sock", str(path))
        done = subprocess.run([sys.executable, "-c", script, "@1 show stat"], capture_output=True, text=True, check=True, timeout=30)
        thread.join(30)
    assert (got, done.stdout) == (["@1 show stat\n"], "answer\n")


# The model


def test_the_slowest_part_limits_the_requests() -> None:
    parts = [model.Part("a", 4, 0.01), model.Part("b", 1, 0.005), model.Part("c", 8, 0.03)]
    assert [part.requests for part in parts] == pytest.approx([400, 200, 266.67], rel=1e-3)
    assert model.slowest(parts).name == "b"


@pytest.mark.parametrize(
    ("servers", "share", "cores", "requests", "limit"),
    [
        (1, 0.2, 2, 25.0, model.SERVER),
        (4, 0.2, 2, 100.0, model.SERVER),
        # A worker runs on one core at a time.
        (1, 3.0, 8, 125.0, model.SERVER),
        # All parts and the client share the machine: 11.7 ms for each request.
        (8, 1.0, 2, 170.94, model.MACHINE),
    ],
)
def test_a_prediction_is_the_least_of_servers_and_machine(servers: int, share: float, cores: float, requests: float, limit: str) -> None:
    found = model.predicted(COSTS, servers, share, cores)
    assert (found.requests, found.name) == (pytest.approx(requests, rel=1e-4), limit)


def test_the_error_is_positive_if_the_prediction_is_too_high() -> None:
    assert model.error(110, 100) == pytest.approx(10) and model.error(90, 100) == pytest.approx(-10)


def test_the_costs_come_from_one_server_and_none_may_be_missing() -> None:
    # With four servers a request costs more here, which the prediction must not know.
    given = [{1: [turn(1)], 2: [turn(2)], 4: [turn(4, costs=dict.fromkeys(COSTS, 1.0))]}]
    pairs = replicas.pairs_of(given)
    assert model.measured_costs(pairs) == pytest.approx(COSTS)
    with pytest.raises(KeyError):
        model.measured_costs([pair for pair in pairs if pair.what != model.cost_text(model.STORE)])


def test_a_user_sends_what_the_assumptions_say() -> None:
    assert pytest.approx(0.2 * 5 / 30 + 0.25 / 2) == model.REQUESTS_PER_USER


def test_sizes_for_numbers_of_users() -> None:
    small, team, company, large = (model.size(users, COSTS) for users in model.USERS)
    assert (small.servers, small.spare, small.proxies, small.database_hosts, small.store_hosts) == (1, 0, 0, 1, 1)
    assert (team.servers, team.spare, team.proxies, team.database_hosts, team.store_hosts) == (2, 1, 2, 1, 1)
    assert (company.servers, company.proxies, company.database_hosts, company.store_hosts) == (3, 2, 3, 4)
    # 1583 requests/s of 8 ms are 12.7 cores, which may be busy to 60 %: three servers with 8 cores, and one more.
    assert (large.servers, large.server_cores, large.workers, large.server_gib) == (4, 8, 8, 4)
    # 1583 requests/s of 2 ms are 3.2 cores, busy to 60 %: 5.3, so 8.
    assert large.database_cores == 8


@pytest.mark.parametrize("users", [1, 10, 99, 100, 999, 1000, 5000, 10_000, 100_000])
def test_a_stack_is_large_enough_for_its_users_also_without_its_spare_server(users: int) -> None:
    size = model.size(users, COSTS)
    for part in size.parts(COSTS):
        assert part.requests >= users * model.REQUESTS_PER_USER * 0.999, part.name
    assert size.users_at_limit(COSTS)[1] >= users * 0.999


def test_the_first_limit_is_that_of_the_servers_without_the_spare_one() -> None:
    # Three servers with eight cores, busy to 60 %, at 8 ms. PostgreSQL would be enough for 2400 requests/s.
    assert model.size(10_000, COSTS).users_at_limit(COSTS) == (model.SERVER, int(3 * 8 * 0.6 / 0.008 / model.REQUESTS_PER_USER))
    slow = COSTS | {model.DATABASE: 0.0029}
    assert model.size(10_000, slow).users_at_limit(slow) == (model.DATABASE, int(8 * 0.6 / 0.0029 / model.REQUESTS_PER_USER))


def test_the_connections_are_those_that_the_collection_sets() -> None:
    # Three pools of 15 and four connections for each worker with users, and ten of PostgreSQL and people: below 100, PostgreSQL's default stays.
    assert model.connections_of(1, 1) == 100
    assert model.connections_of(4, 8) == 1600
    assert model.size(10_000, COSTS).connections == 1600 and model.size(10_000, COSTS).database_gib == 32


def test_a_number_of_cores_is_a_power_of_two() -> None:
    assert [model.power(value, 2) for value in (0.0, 0.3, 2.0, 2.1, 8.0, 9.0)] == [2, 2, 2, 4, 8, 16]


def test_a_part_on_one_host_is_enough_for_a_number_of_users() -> None:
    assert model.most_users(0.002) == int(32 * 0.6 / 0.002 / model.REQUESTS_PER_USER)


# The document


def test_the_prediction_stands_beside_what_was_measured() -> None:
    lines = scaling.prediction(measured(), FACTS).splitlines()[2:]
    assert lines[0] == f"| 1 | 25.0 | 25.0 | +0 % | {model.SERVER} |"
    assert [line.split(" | ")[1:3] for line in lines] == [["25.0", "25.0"], ["50.0", "50.0"], ["100", "100"]]
    slow = [replace(pair, ours_values=[80.0] * 3) if (pair.what, pair.ours) == model.throughput_pair(4) else pair for pair in measured()]
    assert "| 4 | 80.0 | 100 | +25 % |" in scaling.prediction(slow, FACTS)
    # On one core, all parts together are the limit.
    assert model.MACHINE in scaling.prediction(measured(), {"cores": "1, other"})


def test_the_parts_are_shown_by_their_cost() -> None:
    shown = scaling.parts(measured(), FACTS)
    assert f"| {model.DATABASE} | 2.00 ms | 500 | 0.25 |" in shown and model.CLIENT not in shown


def test_the_sizes_are_shown_with_their_assumptions() -> None:
    shown = scaling.sizes(measured(), FACTS)
    assert "They are not measured" in shown and "0.158 requests/s" in shown
    assert "| 10,000 | 1583 | 4 x 8 cores, 4 GiB, 8 workers | 3 x 8 cores, 32 GiB | 1600 | 4 x 2 cores | 2 x 2 cores |" in shown
    assert "| 10 | 1.58 | 1 x 2 cores, 2 GiB, 2 workers |" in shown and "| none |" in shown


def test_a_computed_number_of_users_has_two_digits() -> None:
    assert [scaling.about(count) for count in (9, 87, 1148, 71_831)] == ["about 9", "about 87", "about 1,100", "about 72,000"]
    assert f"| {model.DATABASE} | about 61,000 |" in scaling.beyond(measured(), FACTS)


def test_the_document_has_all_tables_after_a_measurement(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "scaling.md"
    place.write_text(next(path for path in report.DOCUMENTS if path.name == "scaling.md").read_text())
    monkeypatch.setattr(report, "DOCUMENTS", [place])
    results = {"replicas": {"facts": FACTS, "pairs": json.loads(json.dumps([pair.document() for pair in measured()]))}}
    written = report.document(results)[place]
    assert "Not measured yet" not in written and "![The ratios of the row replicas](performance/replicas.svg)" in written
    for name, make in scaling.TABLES.items():
        assert f"<!-- begin {name} -->\n{make(measured(), FACTS)}\n<!-- end {name} -->" in written
    assert report.document({})[place].count("Not measured yet: `make bench ROWS=replicas DOCS=1`.") == 1 + len(scaling.TABLES)
