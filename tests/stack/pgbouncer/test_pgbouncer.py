"""PgBouncer in front of one host of PostgreSQL, and then of a cluster of three.

The tests build on one another, in this order.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import testinfra
from stack.support import (
    address_of,
    ask,
    base_url,
    changed,
    connect,
    hosts_of,
    listening,
    play,
    playbook,
    query,
    replicas_of,
    run_python,
    said,
    secrets_folder,
    wait_for_answer,
)
from stack.writing import Stack, finish, start, wait_for
from testinfra.host import Host

#: Seconds for a playbook.
LONG = 900
PORT, POOL = 6432, 5
UNIT = "atlas-mlflow-pgbouncer.service"
PATRONICTL = "/usr/local/bin/patronictl"
#: The writer has no login.
NO_LOGIN = {"mlflow_server_auth": "none"}
#: Requests that come to the tracking server at once.
AT_ONCE = 60
#: Prints many times the number of connections to each database.
COUNT = "SELECT datname || ' ' || count(*) FROM pg_stat_activity WHERE datname LIKE 'mlflow%' GROUP BY datname"
WATCH = f'for i in $(seq 300); do sudo -u postgres psql -qAt -c "{COUNT}"; sleep 0.1; done'
#: Makes a run by each of many threads, and prints the number of answers by their status.
MAKE_RUNS = """
import base64, collections, concurrent.futures, json, ssl, sys, urllib.request, urllib.error
url, login, authority, many = json.load(sys.stdin)
context = ssl.create_default_context(cadata=authority)
head = {"Content-Type": "application/json", "Authorization": "Basic " + base64.b64encode(":".join(login).encode()).decode()}
def make(number):
    body = json.dumps({"experiment_id": "0", "run_name": f"run {number}"}).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, head), context=context, timeout=100) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError as error:
        return str(error)
with concurrent.futures.ThreadPoolExecutor(many) as pool:
    print(json.dumps(collections.Counter(map(str, pool.map(make, range(many))))))
"""


@pytest.fixture(scope="module")
def over() -> dict[str, object]:
    """Return what is laid over the inventory: the further members."""
    return {"postgres": {"hosts": {name: {} for name in hosts_of("spares")}}}


@pytest.fixture(scope="module")
def proxied(client: Host, over: dict[str, object]) -> dict[str, object]:
    """Return the same with a proxy, on the client's host."""
    return {**over, "haproxy": {"hosts": {client.backend.name: {}}}}


@pytest.fixture(scope="module")
def members() -> dict[str, Host]:
    """Return the hosts that are members in the end, the first one first."""
    return {name: testinfra.get_host(f"docker://{name}") for name in hosts_of("postgres") + hosts_of("spares")}


@pytest.fixture(scope="module")
def stack(client: Host) -> Iterator[Stack]:
    """Return the stack, with a writer at work."""
    yield start(client, base_url(hosts_of("mlflow_servers")[0]), retries=1)
    client.run("systemctl stop writer.service")


def site(folder: Path, over: dict[str, object], name: str = "site", **given: Any) -> set[str]:
    """Run a playbook, and return what it changed on each host."""
    folder.mkdir(exist_ok=True)
    done = play(playbook(name, over, folder), "--extra-vars", json.dumps(given), patience=LONG)
    return changed(done)


def psql(host: Host, password: str, place: str, user: str = "mlflow", more: str = "sslmode=require", sql: str = "SELECT current_user") -> str:
    """Return what a database behind PgBouncer answers from a host, or the error."""
    words = f"host={place} port={PORT} user={user} dbname=mlflow connect_timeout=5 {more}"
    done = host.run("PGPASSWORD=%s psql --no-psqlrc --tuples-only --no-align --command %s %s", password, sql, words)
    return str(done.stdout if done.rc == 0 else done.stderr).strip()


def password() -> str:
    """Return the present password of the databases' owner."""
    return (secrets_folder() / "postgres_password").read_text(encoding="utf-8").strip()


def sources(host: Host) -> set[str]:
    """Return from where clients of MLflow's user are connected to PostgreSQL: a socket has no address."""
    return set(query(host, "SELECT DISTINCT coalesce(host(client_addr), 'socket') FROM pg_stat_activity WHERE usename = 'mlflow'").split())


def clients(host: Host) -> set[str]:
    """Return from where clients are connected to PgBouncer over the network."""
    lines = host.check_output(f"ss --no-header --tcp --numeric state established sport = :{PORT}").splitlines()
    return {line.split()[3].rpartition(":")[0] for line in lines} - {"127.0.0.1"}


def left(host: Host) -> list[str]:
    """Return what of PgBouncer a host has."""
    looks = {
        "process": "pgrep --exact pgbouncer",
        "unit": f"systemctl cat {UNIT}",
        "unit of the package": "ls /etc/systemd/system/pgbouncer.service",
        "files": "ls -d /etc/atlas-mlflow/pgbouncer || ls -d /opt/atlas-mlflow/pgbouncer",
        "package": "dpkg --status pgbouncer",
        "port": f"ss --no-header --listening --tcp --numeric | grep :{PORT}",
        "firewall": f"nft list ruleset | grep {PORT}",
        "callbacks": "grep follow_role /etc/patroni/config.yml",
    }
    return [what for what, command in looks.items() if host.run(command).rc == 0]


def leaders(members: dict[str, Host]) -> list[str]:
    """Return the members whose PostgreSQL is no replica."""
    runs = "sudo -u postgres psql --no-psqlrc --tuples-only --no-align --command 'SELECT pg_is_in_recovery()'"
    return [name for name, host in members.items() if host.run(f"timeout 10 {runs}").stdout.strip() == "f"]


def accepting(members: dict[str, Host]) -> list[str]:
    """Return the members whose PgBouncer takes a client that needs to write, as libpq asks for it."""
    more = "sslmode=require target_session_attrs=read-write"
    return [name for name, host in members.items() if psql(host, password(), "127.0.0.1", more=more) == "mlflow"]


def wait_whole(members: dict[str, Host]) -> str:
    """Wait until the cluster has a primary, from which all others stream, and return it."""

    def whole() -> bool:
        found = leaders(members)
        return len(found) == 1 and replicas_of(members[found[0]]) == f"{len(members) - 1} 1"

    wait_for(whole, lambda: f"the primaries are {leaders(members)}")
    return leaders(members)[0]


def lose_primary(stack: Stack, members: dict[str, Host], title: str) -> str:
    """Kill the host of the primary, see that another one takes over and that no acknowledged run is lost, start the host again, and return the new primary."""
    former = wait_whole(members)
    rest = {name: host for name, host in members.items() if name != former}
    with stack.survives(f"{title}: {former}", "the others") as fault:
        subprocess.run(["docker", "kill", former], check=True, capture_output=True)
        wait_for(lambda: leaders(rest), lambda: "no other primary")
        fault.mended = time.time()
        stack.wait_served(fault.mended)
    subprocess.run(["docker", "start", former], check=True, capture_output=True)
    present = wait_whole(members)
    assert present != former
    return present


def test_the_server_reaches_postgresql_through_pgbouncer(server: Host, postgres: Host) -> None:
    assert ask(server, f"{base_url('localhost')}/api/2.0/mlflow/experiments/get?experiment_id=0").status == 200
    assert sources(postgres) == {"socket"}
    assert listening(postgres, "pgbouncer") == {f"127.0.0.1:{PORT}", f"{address_of(postgres)}:{PORT}"}


def test_many_requests_share_few_connections(client: Host, postgres: Host) -> None:
    url = f"{base_url(hosts_of('mlflow_servers')[0])}/api/2.0/mlflow/runs/create"
    login = ["admin", (secrets_folder() / "mlflow_admin_password").read_text(encoding="utf-8").strip()]
    authority = (secrets_folder() / "tls" / "authority.pem").read_text(encoding="utf-8")
    seen = subprocess.Popen(["docker", "exec", postgres.backend.name, "bash", "-c", WATCH], stdout=subprocess.PIPE, text=True)
    answers = run_python(client, MAKE_RUNS, [url, login, authority, AT_ONCE])
    seen.kill()
    most: dict[str, int] = {}
    for line in seen.communicate()[0].splitlines():
        name, count = line.split()
        most[name] = max(most.get(name, 0), int(count))
    print(answers, most)
    assert answers == {"200": AT_ONCE}
    assert most["mlflow"] and max(most.values()) <= POOL, most


def test_only_the_owner_of_the_databases_logs_in(client: Host, postgres: Host, server: Host) -> None:
    place = address_of(postgres)
    # From its own host, PgBouncer is reached by loopback alone.
    assert psql(postgres, password(), "127.0.0.1") == "mlflow"
    for refused, words in {
        ("wrong", "mlflow", "sslmode=require", "127.0.0.1"): "SASL authentication failed",
        ("", "postgres", "sslmode=require", "127.0.0.1"): "login rejected",
        (password(), "postgres", "sslmode=require", "127.0.0.1"): "login rejected",
        (password(), "mlflow", "sslmode=disable", "127.0.0.1"): "SSL required",
        (password(), "mlflow", "sslmode=require", place): "login rejected",
        ("", "pgbouncer", "sslmode=require", "127.0.0.1"): "login rejected",
    }.items():
        secret, user, more, where = refused
        assert words in psql(postgres, secret, where, user, more), refused
    console = "sudo -u nobody psql --host /var/run/postgresql --port 6432 --username pgbouncer pgbouncer --command 'SHOW POOLS'"
    assert postgres.run(console).rc != 0
    # Only the tracking server is let in by the firewall.
    assert (connect(server, postgres, PORT), connect(client, postgres, PORT)) == (["open"], ["dropped"])


def test_no_password_is_in_a_file_of_pgbouncer(postgres: Host) -> None:
    assert postgres.run("grep --recursive --fixed-strings %s /etc/atlas-mlflow/pgbouncer /etc/pgbouncer /etc/systemd/system", password()).rc == 1
    assert postgres.check_output("stat --format '%a %U %G' /etc/atlas-mlflow/pgbouncer/*.*").splitlines() == ["640 root postgres"] * 2


def test_the_diagnosis_names_a_pgbouncer_that_does_not_run(postgres: Host, tmp_path: Path) -> None:
    command = [*playbook("diagnose", {}, tmp_path), "--extra-vars", f"diagnose_json={tmp_path}/report.json"]
    postgres.check_output(f"systemctl stop {UNIT}")
    try:
        done = play(command)
    finally:
        postgres.check_output(f"systemctl start {UNIT}")
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    found = {check["fault"] for checks in report.values() for check in checks if check["verdict"] == "fault"}
    assert done.returncode and found == {"pgbouncer-not-running"}, said(done)[-4000:]


def test_a_rotation_of_the_password_goes_through_pgbouncer(server: Host, postgres: Host, tmp_path: Path) -> None:
    former = password()
    site(tmp_path, {}, "rotate_secrets", rotate_secrets=["postgres_password"])
    assert password() != former
    assert (psql(postgres, password(), "127.0.0.1"), "SASL authentication failed" in psql(postgres, former, "127.0.0.1")) == ("mlflow", True)
    assert wait_for_answer(server, f"{base_url('localhost')}/api/2.0/mlflow/experiments/get?experiment_id=0").status == 200
    assert sources(postgres) == {"socket"}


def test_nothing_is_left_after_it_is_switched_off(server: Host, postgres: Host, tmp_path: Path) -> None:
    assert len(left(postgres)) == 7
    site(tmp_path / "1", {}, postgres_pgbouncer=False)
    assert left(postgres) == []
    assert ask(server, f"{base_url('localhost')}/api/2.0/mlflow/experiments/get?experiment_id=0").status == 200
    assert sources(postgres) == {address_of(server)}
    assert site(tmp_path / "2", {}, postgres_pgbouncer=False) == {"changed=0"}


def test_each_member_of_a_cluster_has_it(members: dict[str, Host], over: dict[str, object], tmp_path: Path) -> None:
    """One host without it becomes a cluster with it."""
    site(tmp_path / "1", over, **NO_LOGIN)
    primary = wait_whole(members)
    assert accepting(members) == [primary]
    assert site(tmp_path / "2", over, **NO_LOGIN) == {"changed=0"}
    assert {name: set(left(host)) >= {"process", "callbacks", "firewall"} for name, host in members.items()} == dict.fromkeys(members, True)


def test_the_primary_is_killed(stack: Stack, members: dict[str, Host]) -> None:
    present = lose_primary(stack, members, "primary's host killed")
    assert accepting(members) == [present]
    assert sources(members[present]) <= {"socket"}


def test_a_switch_over(stack: Stack, members: dict[str, Host], over: dict[str, object], tmp_path: Path) -> None:
    """PostgreSQL runs on each member all along, and PgBouncer has known it in its former role."""
    former = wait_whole(members)
    # Each PgBouncer has a connection of a member in its present role.
    assert accepting(members) == [former]
    with stack.survives("switch-over by playbook", "nothing to heal") as fault:
        site(tmp_path, over, "switch_over_postgres", **NO_LOGIN)
        fault.mended = time.time()
    present = wait_whole(members)
    assert present != former
    wait_for(lambda: accepting(members) == [present], lambda: f"clients that write are taken by {accepting(members)}, and the primary is {present}")


def test_all_that_was_ever_acknowledged_is_there(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    table, missing = finish(stack, "pgbouncer")
    with capsys.disabled():
        print(f"\n{table}")
    assert missing == []


def test_a_proxy_leads_to_the_pgbouncer_of_the_primary(client: Host, members: dict[str, Host], proxied: dict[str, object], tmp_path: Path) -> None:
    """HAProxy asks the members for their roles, and passes the tracking server's connections to PgBouncer. Clients now go through it too."""
    route = {**NO_LOGIN, "mlflow_server_postgres_route": "haproxy"}
    site(tmp_path / "1", proxied, **route)
    assert site(tmp_path / "2", proxied, **route) == {"changed=0"}
    stack = start(client, f"https://{client.backend.name}", retries=1)
    through_proxy = ({address_of(client)}, {"socket"})
    try:
        stack.wait_served(time.time())
        former = wait_whole(members)
        assert (clients(members[former]), sources(members[former])) == through_proxy
        present = lose_primary(stack, members, "behind a proxy, primary's host killed")
        assert (clients(members[present]), sources(members[present])) == through_proxy
    finally:
        client.check_output("systemctl stop writer.service")


def test_nothing_is_left_after_the_removal(members: dict[str, Host], proxied: dict[str, object], tmp_path: Path) -> None:
    site(tmp_path, proxied, "remove")
    assert {name: left(host) for name, host in members.items()} == dict.fromkeys(members, [])
