"""MLflow reads from the replicas of PostgreSQL that follow the primary, and from the primary if none does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from parts import PATRONICTL, SHARED, host, primary, server_environment, sql, wait_whole
from stack.support import authority, hosts_of, run_python
from stack.writing import wait_for
from testinfra.host import Host

#: Logs runs and reads each back, or reads one run for some seconds. Runs on the client host, and prints what it saw as JSON.
SCRIPT = """
import json, ssl, sys, time, urllib.error, urllib.request
base, authority, job, number, run = json.load(sys.stdin)
trust = urllib.request.HTTPSHandler(context=ssl.create_default_context(cadata=authority))
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), trust)
def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{base}/api/2.0/mlflow/{path}", data=data, headers={"Content-Type": "application/json"})
    try:
        with opener.open(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, error.read(300).decode(errors="replace")
    except OSError as error:
        return 0, str(error)
def log(number):
    created = ask("runs/create", {"experiment_id": "0", "start_time": int(time.time() * 1000)})
    assert created[0] == 200, created
    run = created[1]["run"]["info"]["run_id"]
    logged = ask("runs/log-batch", {"run_id": run, "params": [{"key": "number", "value": str(number)}]})
    assert logged[0] == 200, logged
    return run
def seen(run, number):
    status, answer = ask(f"runs/get?run_id={run}")
    return status == 200 and answer["run"]["data"].get("params") == [{"key": "number", "value": str(number)}]
found = []
if job == "log":
    for each in range(number):
        run, since, late = log(each), time.time(), 0
        while not seen(run, each) and time.time() < since + 30:
            late = time.time() - since
        found.append([run, late])
else:
    until = time.time() + number
    while time.time() < until:
        began = time.time()
        status, answer = ask(f"runs/get?run_id={run}")
        found.append([status, time.time() - began, "" if status == 200 else answer])
print(json.dumps(found))
"""
#: Runs that are logged.
RUNS = 40


def client_does(client: Host, job: str, number: int, run: str = "") -> list[Any]:
    """Let the client log runs, or read one for some seconds."""
    return run_python(client, SCRIPT, [f"https://{SHARED}", authority(), job, number, run])


def missed(logged: list[Any]) -> list[Any]:
    """Return the runs that the first read after them did not see, each with the seconds until a read saw it."""
    return [(run, late) for run, late in logged if late]


def replicas() -> list[str]:
    """Return the hosts of the replicas."""
    return [name for name in hosts_of("postgres") if name != primary()]


def transactions(names: list[str]) -> int:
    """Return how many transactions MLflow has ended on some members. PostgreSQL counts those of a session at most a second later."""
    return sum(int(sql(name, "SELECT xact_commit FROM pg_stat_database WHERE datname = 'mlflow'") or 0) for name in names)


def sessions(name: str) -> int:
    """Return how many sessions of MLflow a member has."""
    return int(sql(name, "SELECT count(*) FROM pg_stat_activity WHERE datname = 'mlflow' AND usename = 'mlflow'") or 0)


def wait_returned(client: Host, run: str) -> None:
    """Wait until all reads come to replicas."""

    def returned() -> bool:
        before, reads = transactions(replicas()), client_does(client, "read", 3, run)
        time.sleep(1.5)
        return transactions(replicas()) - before >= len(reads)

    wait_for(returned, lambda: str({name: sessions(name) for name in hosts_of("postgres")}))


@contextmanager
def without(names: list[str]) -> Iterator[None]:
    """Stop PostgreSQL on some members."""
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda name: host(name).check_output("systemctl stop patroni.service"), names))
        yield
    finally:
        for name in names:
            host(name).check_output("systemctl start patroni.service")


def test_runs_are_read_back_from_a_replica(client: Host) -> None:
    wait_whole(client)
    for name in hosts_of("mlflow_servers"):
        (uri,) = (line for line in server_environment(name) if line.startswith("MLFLOW_READ_REPLICA_BACKEND_STORE_URI="))
        password = uri.partition("password=")[2].partition("&")[0] or uri.partition("://")[2].partition("@")[0].partition(":")[2]
        assert password and password not in host(name).check_output("ps -ef"), "a password is in the list of processes"
    # Connections of before a fault return a little later.
    wait_returned(client, client_does(client, "log", 1)[0][0])
    logged = client_does(client, "log", RUNS)
    assert missed(logged) == []
    time.sleep(1.5)
    before = transactions(replicas())
    reads = client_does(client, "read", 3, logged[0][0])
    assert {status for status, *_rest in reads} == {200} and len(reads) > RUNS
    wait_for(lambda: transactions(replicas()) - before >= len(reads), lambda: f"{transactions(replicas()) - before} of {len(reads)} reads came to replicas")


def test_without_a_replica_the_primary_is_read(client: Host, capsys: pytest.CaptureFixture[str]) -> None:
    wait_whole(client)
    ((run, _late),) = client_does(client, "log", 1)
    first, others = primary(), replicas()
    with ThreadPoolExecutor() as pool:
        reading = pool.submit(client_does, client, "read", 30, run)
        time.sleep(3)
        with without(others):
            reads = reading.result()
            failed = [answer for status, _took, answer in reads if status != 200]
            longest = max(took for _status, took, _answer in reads)
            with capsys.disabled():
                print(f"\n{len(failed)} of {len(reads)} reads failed, the longest took {longest:.1f} s: {sorted(set(failed))}")
            assert primary() == first
            after = client_does(client, "read", 3, run)
            assert {status for status, *_rest in after} == {200}, after
            assert missed(client_does(client, "log", 1)) == []
    assert failed == []
    wait_whole(client)
    wait_returned(client, run)


def test_replicas_that_do_not_follow_are_not_read(client: Host) -> None:
    """They have the log of the primary, so that no write waits for them, and do not replay it."""
    wait_whole(client)
    others = replicas()
    wait_returned(client, client_does(client, "log", 1)[0][0])
    # Else Patroni lets them replay again.
    host(others[0]).check_output(f"{PATRONICTL} pause --wait")
    try:
        for name in others:
            sql(name, "SELECT pg_wal_replay_pause()", "postgres")
        logged = client_does(client, "log", RUNS)
    finally:
        for name in others:
            host(name).check_output("sudo -u postgres psql --command 'SELECT pg_wal_replay_resume()'")
        host(others[0]).check_output(f"{PATRONICTL} resume --wait")
    assert missed(logged) == []
    wait_returned(client, logged[-1][0])
