"""A server of HAProxy is drained before a restart and gets requests again afterwards, and nothing is done where that would make it worse."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from ansible_collections.atlas.mlflow.plugins.module_utils import haproxy
from ansible_collections.atlas.mlflow.plugins.module_utils.haproxy import HaproxyError, Outcome, Proxy, Wanted, asker, drain, drained_servers, make_ready

#: What HAProxy 2.6 answers, without the columns that nobody reads.
STATE = "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_port srv_use_ssl"
STATISTICS = "# pxname,svname,qcur,scur,status,check_status,check_code,last_chk,"
PROCESSES = """\
#<PID>          <type>          <reloads>       <uptime>        <version>
270             master          1 [failed: 0]   0d00h17m24s     2.6.12-1+deb12u3
# workers
300             worker          0               0d00h00m24s     2.6.12-1+deb12u3
# old workers
272             worker          1               0d00h17m24s     2.6.12-1+deb12u3
# programs

"""


class Fake:
    """A HAProxy with the servers one and two in one backend, whose time goes on by a second with each question."""

    def __init__(self, backend: str = "mlflow_servers") -> None:
        self.backend = backend
        self.running = {"one": True, "two": True}
        self.bits = {"one": 0, "two": 0}
        #: Questions after which the requests of a worker have ended, by the worker's process.
        self.ends = {"300": 0, "272": 0}
        self.up_after: int | None = None
        self.asked: list[str] = []
        self.refuses = ""

    def clock(self) -> float:
        """Return the seconds so far."""
        return len(self.asked)

    def __call__(self, command: str) -> str:
        """Answer a command of the master's socket."""
        self.asked.append(command)
        if self.up_after is not None and len(self.asked) >= self.up_after:
            self.running = dict.fromkeys(self.running, True)
        worker, _space, rest = command.partition(" ")
        if command == "show proc":
            return PROCESSES
        if rest.startswith(f"show servers state {self.backend}"):
            rows = [
                f"3 {self.backend} {number} {name} 10.0.0.{number} {2 if self.running[name] else 0} {self.bits[name]} 1 5001 0"
                for number, name in enumerate(self.bits)
            ]
            return "\n".join(["1", STATE, *rows, "", ""])
        if rest.startswith("show servers state"):
            return "Can't find backend.\n\n"
        if rest.startswith(f"show stat {self.backend} 4 -1"):
            pid = worker.removeprefix("@!").replace("@1", "300")
            open_ones = int(len(self.asked) < self.ends[pid])
            rows = [f"{self.backend},{name},0,{open_ones},{'UP' if self.running[name] else 'DOWN'},L4CON,,Connection refused," for name in self.bits]
            return "\n".join([STATISTICS, *rows, "", ""])
        if self.refuses:
            return f"{self.refuses}\n\n"
        name, state = rest.removeprefix(f"set server {self.backend}/").split(" state ")
        self.bits[name] = {"drain": 8, "ready": 0}[state]
        return "\n"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait between two questions."""
    monkeypatch.setattr(haproxy, "PAUSE", 0)


@pytest.fixture
def fake() -> Fake:
    """Return a HAProxy with two servers that both serve."""
    return Fake()


@pytest.mark.parametrize("worker", ["300", "272"])
def test_it_is_drained_until_its_last_request_has_ended(fake: Fake, worker: str) -> None:
    """A worker that was there before a reload may have an upload under way."""
    fake.ends[worker] = 20
    assert drain(Proxy(fake), Wanted("one"), 60, clock=fake.clock) == Outcome(changed=True)
    assert fake.bits == {"one": 8, "two": 0}
    assert len(fake.asked) >= 20


def test_a_request_that_takes_longer_is_reported(fake: Fake) -> None:
    fake.ends["300"] = 1000
    outcome = drain(Proxy(fake), Wanted("one"), 10, clock=fake.clock)
    assert outcome.requests == 1 and "1 requests to the server one were still open after 10 s" in outcome.warning
    assert len(fake.asked) < 30


@pytest.mark.parametrize("other", ["down", "drained", "in maintenance"])
def test_the_last_server_that_serves_is_not_drained(fake: Fake, other: str) -> None:
    fake.running["two"], fake.bits["two"] = other != "down", {"drained": 8, "in maintenance": 1}.get(other, 0)
    outcome = drain(Proxy(fake), Wanted("one"), 60, clock=fake.clock)
    assert not outcome.changed and "no other server gets requests" in outcome.warning
    assert fake.bits["one"] == 0


def test_another_server_that_has_just_started_is_waited_for(fake: Fake) -> None:
    fake.running["two"], fake.up_after = False, 10
    assert drain(Proxy(fake), Wanted("one"), 60, clock=fake.clock).changed
    assert fake.bits["one"] == 8


def test_it_gets_requests_again_and_is_waited_for(fake: Fake) -> None:
    fake.bits["one"], fake.running["one"], fake.up_after = 8, False, 12
    assert make_ready(Proxy(fake), Wanted("one"), 60, clock=fake.clock) == Outcome(changed=True)
    assert fake.bits["one"] == 0 and len(fake.asked) >= 12


def test_one_that_is_not_found_healthy_is_reported(fake: Fake) -> None:
    """Its settings may not fit the proxy's until the proxy's turn."""
    fake.bits["one"], fake.running["one"] = 8, False
    outcome = make_ready(Proxy(fake), Wanted("one"), 10, clock=fake.clock)
    assert "the server one healthy after 10 s. Its last check: DOWN L4CON Connection refused" in outcome.warning
    # It gets requests as soon as a check succeeds.
    assert outcome.changed and fake.bits["one"] == 0


@pytest.mark.parametrize("bring", [drain, make_ready])
@pytest.mark.parametrize(("port", "tls", "skipped"), [(5001, False, False), (None, False, False), (5001, None, False), (5002, False, True), (5001, True, True)])
def test_a_proxy_that_knows_the_server_otherwise_is_left_alone(fake: Fake, bring: object, port: int | None, tls: bool | None, skipped: bool) -> None:
    """After the server's restart it cannot reach the server, until its settings are written."""
    outcome = bring(Proxy(fake), Wanted("one", port, tls), 60)  # type: ignore[operator]
    assert ("another port or TLS setting" in outcome.skipped) == skipped
    assert fake.bits["one"] == (8 if bring is drain and not skipped else 0)


def test_one_that_failed_to_start_is_not_waited_for(fake: Fake) -> None:
    fake.bits["one"], fake.running["one"] = 8, False
    assert make_ready(Proxy(fake), Wanted("one"), 0, clock=fake.clock) == Outcome(changed=True)


@pytest.mark.parametrize("bring", [drain, make_ready])
def test_what_an_administrator_took_out_stays_out(fake: Fake, bring: object) -> None:
    fake.bits["one"] = 9
    outcome = bring(Proxy(fake), Wanted("one"), 60, clock=fake.clock)  # type: ignore[operator]
    assert not outcome.changed and "in maintenance" in outcome.skipped
    assert fake.bits["one"] == 9


@pytest.mark.parametrize("bring", [drain, make_ready])
def test_a_proxy_that_does_not_have_the_server_yet_is_no_fault(fake: Fake, bring: object) -> None:
    assert bring(Proxy(fake), Wanted("three"), 60).skipped == "HAProxy has no server three yet."  # type: ignore[operator]
    assert bring(Proxy(fake, "others"), Wanted("one"), 60).skipped == "HAProxy has no server one yet."  # type: ignore[operator]


def test_a_check_run_changes_nothing(fake: Fake) -> None:
    assert drain(Proxy(fake), Wanted("one"), 60, apply=False).changed
    fake.bits["two"] = 8
    assert make_ready(Proxy(fake), Wanted("two"), 60, apply=False).changed
    assert fake.bits == {"one": 0, "two": 8}


def test_what_is_so_already_is_no_change(fake: Fake) -> None:
    fake.bits["one"] = 8
    assert not drain(Proxy(fake), Wanted("one"), 60).changed
    assert not make_ready(Proxy(fake), Wanted("two"), 60).changed


def test_a_refusal_of_haproxy_is_passed_on(fake: Fake) -> None:
    fake.refuses = "Permission denied"
    with pytest.raises(HaproxyError, match="refuses the state drain of the server one: Permission denied"):
        drain(Proxy(fake), Wanted("one"), 60)


def test_a_host_of_minio_is_drained_in_its_own_backend() -> None:
    fake = Fake("minio")
    fake.ends["272"] = 10
    assert drain(Proxy(fake, "minio"), Wanted("one", 5001, False), 60, clock=fake.clock) == Outcome(changed=True)
    assert fake.bits == {"one": 8, "two": 0} and len(fake.asked) >= 10
    assert make_ready(Proxy(fake, "minio"), Wanted("one"), 60, clock=fake.clock) == Outcome(changed=True)
    assert fake.bits == {"one": 0, "two": 0}


@pytest.mark.parametrize("backend", ["mlflow_servers", "minio"])
def test_drained_servers_are_found_through_the_socket(tmp_path: Path, backend: str) -> None:
    """The master answers once its client has sent everything."""
    fake, path = Fake(backend), str(tmp_path / "master.sock")
    fake.bits["two"] = 8
    assert drained_servers(path) == []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def answer() -> None:
            for _question in range(2):
                connection, _peer = listener.accept()
                with connection, connection.makefile("rw") as stream:
                    stream.write(fake(stream.read().strip()))

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        assert drained_servers(path) == [{"backend": backend, "name": "two"}]
        thread.join()
    # The file of the socket is still there, and nothing listens.
    assert drained_servers(path) == []
    with pytest.raises(OSError, match="refused"):
        asker(path)("show proc")
