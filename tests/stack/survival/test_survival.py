"""Faults under a stack that a client writes to all along: what was acknowledged is there, and the stack serves again.

The tests share one writer and run in this order. Each adds a line to the table that the last one prints.
"""

from __future__ import annotations

import concurrent.futures
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from stack.support import address_of, assert_unchanged, base_url, cut_short, host_of, hosts_of, play, playbook, query, run_python, said
from stack.writing import FOLDER, JOURNAL, PYTHON, Stack, finish, start, wait_for
from testinfra.host import Host

#: Seconds for which PostgreSQL is stopped, a disk full, and the network cut.
STOPPED, FULL, CUT = 60, 8, 20
#: Bytes of the artifact whose upload is broken.
UPLOAD = 96 * 1024**2


@pytest.fixture(scope="module")
def stack(client: Host, server_name: str) -> Iterator[Stack]:
    """Return the stack, with a writer at work."""
    yield start(client, base_url(server_name))
    client.run("systemctl stop writer.service")


#: Where a process runs, and the command there that tells its number.
MLFLOW = "systemctl show --property MainPID --value mlflow-server.service"
POSTMASTER = "head -1 /var/lib/postgresql/*/main/postmaster.pid"
PROCESSES = {
    "MLflow's main process": ("mlflow_servers", MLFLOW),
    "a worker of MLflow": ("mlflow_servers", f"pgrep --parent $({MLFLOW}) | head -1"),
    "PostgreSQL's main process": ("postgres", POSTMASTER),
    "a backend of PostgreSQL": ("postgres", f"pgrep --parent $({POSTMASTER}) --full 'postgres: .* mlflow mlflow ' | head -1"),
    "MinIO": ("minio", "systemctl show --property MainPID --value minio.service"),
}


@pytest.mark.parametrize("process", PROCESSES)
def test_a_killed_process(stack: Stack, process: str) -> None:
    group, number = PROCESSES[process]
    host = host_of(group)
    with stack.survives(f"kill -9 of {process}"):
        killed = int(host.check_output(number))
        host.check_output(f"kill -9 {killed}")
        wait_for(lambda: host.run(number).stdout.strip() not in ("", "0", str(killed)), lambda: f"no other {process} has come: {host.run('ps axf').stdout}")


def test_postgresql_stopped_for_a_while(stack: Stack, postgres: Host) -> None:
    with stack.survives(f"PostgreSQL stopped for {STOPPED} s") as fault:
        postgres.check_output("systemctl stop postgresql.service")
        time.sleep(STOPPED)
        stack.wait_failed(fault.begun)
        fault.mended = time.time()
        postgres.check_output("systemctl start postgresql.service")


#: How MinIO is taken away in the middle of an upload, and what it is brought back by, where it does not come back by itself.
TAKEN_AWAY = {"stopped": ("systemctl stop minio", "systemctl start minio"), "killed": ("systemctl kill --signal KILL minio", "true")}


@pytest.mark.parametrize("how", TAKEN_AWAY)
def test_minio_is_gone_during_an_upload(stack: Stack, client: Host, minio: Host, how: str) -> None:
    parts = "/var/lib/minio/.minio.sys/multipart"
    gone, back = TAKEN_AWAY[how]
    with stack.survives(f"MinIO {how} during an upload") as fault:
        # As soon as the first part of it has come; of an upload before this one, there may be some left.
        come = f"find {parts} -newer /run/begun -name 'part.*' | grep --quiet part"
        minio.check_output("touch /run/begun && systemd-run --collect --unit=stopper sh -c %s", f"until {come}; do sleep 0.02; done; {gone}")
        client.check_output(
            "systemd-run --collect --unit=upload --wait %s %s %s %s --once %s || true", PYTHON, f"{FOLDER}/writer.py", stack.uri, JOURNAL, str(UPLOAD)
        )
        minio.check_output(back)
        fault.mended = time.time()
        assert [entry["failed"] for entry in stack.failed(fault.begun) if entry.get("size") == UPLOAD] == ["artifact"]


#: Stores an artifact, reads its first bytes, waits for a file, and prints how reading on ends.
READ_SLOWLY = """
import json, pathlib, requests, sys, time
url, length, began, go = json.load(sys.stdin)
requests.put(url, data=bytes(length), timeout=60).raise_for_status()
answer = requests.get(url, stream=True, timeout=120)
read, chunks = 0, answer.iter_content(2**20)
try:
    for chunk in chunks:
        read += len(chunk)
        pathlib.Path(began).touch()
        while not pathlib.Path(go).exists():
            time.sleep(0.1)
    end = "an end"
except requests.exceptions.RequestException as error:
    end = "an error"
print(json.dumps([end, read < length, answer.headers["Content-Length"]]))
"""


def test_minio_is_gone_during_a_download(stack: Stack, client: Host, minio: Host) -> None:
    began, go = f"{FOLDER}/began", f"{FOLDER}/go"
    client.check_output("rm --force %s %s", began, go)
    url = f"{stack.uri}/api/2.0/mlflow-artifacts/artifacts/slow/{time.time()}.bin"
    with stack.survives("MinIO stopped during a download") as fault, concurrent.futures.ThreadPoolExecutor() as pool:
        reader = pool.submit(run_python, client, READ_SLOWLY, [url, UPLOAD, began, go], PYTHON)
        wait_for(lambda: client.file(began).exists or reader.done(), lambda: "the download has not begun")
        minio.check_output("systemctl stop minio")
        client.check_output("touch %s", go)
        seen = reader.result()
        fault.mended = time.time()
        minio.check_output("systemctl start minio")
    assert seen == ["an error", True, str(UPLOAD)]


#: Each makes PostgreSQL take another file for its log. The first session writes a file, and needs room.
SWITCH = "sudo -u postgres psql --command 'SELECT txid_current(), pg_switch_wal()'"
#: A disk that is filled: where it is, what is done before, and what makes use of it then, until the client sees an error.
DISKS = {
    "PostgreSQL's data": ("postgres", "/var/lib/postgresql", SWITCH, f"for n in $(seq 30); do {SWITCH}; done"),
    "MinIO's data": ("minio", "/var/lib/minio", "true", "true"),
    # Artifacts pass through the server without a file, so no request needs it.
    "MLflow's data": ("mlflow_servers", "/var/lib/mlflow", "true", ""),
    # It is memory, half of what the machine has, and nothing of MLflow is there.
    "The host's temporary files": ("mlflow_servers", "/tmp", "mount -o remount,size=32m /tmp", ""),
}


@pytest.mark.parametrize("disk", DISKS)
def test_a_full_disk(stack: Stack, disk: str) -> None:
    group, folder, before, use = DISKS[disk]
    host = host_of(group)
    with stack.survives(f"disk full: {disk}") as fault:
        host.check_output(f"{before} && head --bytes 4G /dev/zero > {folder}/full; df {folder} | grep ' 100% '")
        if use:
            host.run(use)
            stack.wait_failed(fault.begun)
        time.sleep(FULL)
        fault.mended = time.time()
        host.check_output("rm %s", f"{folder}/full")


def test_postgresql_met_its_full_disk(postgres: Host) -> None:
    """It gave up, and was started again: what a full disk does to it is no mere error."""
    log = postgres.check_output("cat /var/log/postgresql/*.log")
    assert "PANIC" in log and "No space left on device" in log


@pytest.mark.parametrize(("group", "other"), [("postgres", "mlflow_servers"), ("minio", "mlflow_servers"), ("mlflow_servers", "clients")])
def test_a_cut_network(stack: Stack, group: str, other: str) -> None:
    host, route = host_of(group), f"blackhole {address_of(host_of(other))}"
    with stack.survives(f"network cut for {CUT} s: {hosts_of(other)[0]} and {hosts_of(group)[0]}") as fault:
        # What comes from there is answered no more, and nobody is told so.
        host.check_output(f"ip route add {route}")
        time.sleep(CUT)
        stack.wait_failed(fault.begun)
        fault.mended = time.time()
        host.check_output(f"ip route del {route}")


@pytest.mark.parametrize("group", ["mlflow_servers", "postgres", "minio"])
def test_a_restarted_host(stack: Stack, group: str) -> None:
    (name,) = hosts_of(group)
    with stack.survives(f"restart of the host {name}") as fault:
        subprocess.run(["docker", "restart", "--time", "30", name], check=True, capture_output=True)
        fault.mended = time.time()


#: What the playbook is to change, and the tasks at which it is killed. Each run after the first one also has to do what the killed runs left undone.
CHANGES = {
    "postgres_settings": {"max_connections": 320},
    "mlflow_server_install_dir": "/opt/mlflow-elsewhere",
    "mlflow_server_environment": {"MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": 6},
}
PHASES = {
    "PostgreSQL's handler": "atlas.mlflow.postgres : Reload PostgreSQL, or restart it if a setting requires it",
    "install": "atlas.mlflow.mlflow_server : Install the release in its own folder",
    "configure": "atlas.mlflow.mlflow_server : Activate the release, and write MLflow's unit and settings",
    "service": "atlas.mlflow.mlflow_server : Start MLflow, or restart it if its files changed",
    "verify": "atlas.mlflow.mlflow_server : Probe the tracking server on its own host",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the command that sets the stack up with the changed settings."""
    return playbook("site", {"all": {"vars": CHANGES}}, tmp_path_factory.mktemp("inventory"))


@pytest.mark.parametrize("phase", PHASES)
def test_a_playbook_that_is_killed(stack: Stack, server: Host, postgres: Host, minio: Host, site: list[str], tmp_path: Path, phase: str) -> None:
    with stack.survives(f"site.yml killed: {phase}") as fault:
        cut_short([server, postgres, minio], site, PHASES[phase], tmp_path / "log")
        fault.mended = time.time()


def test_a_playbook_that_was_killed_is_run_again_to_its_end(stack: Stack, server: Host, postgres: Host, site: list[str]) -> None:
    with stack.survives("site.yml run again after it was killed", healed_by="the play, run again") as fault:
        done = play(site)
        fault.mended = time.time()
        assert done.returncode == 0, done.stdout[-3000:]
    # What the services run with, and not only their files.
    assert query(postgres, "SHOW max_connections") == "320"
    pid = server.check_output(MLFLOW)
    assert "/opt/mlflow-elsewhere/" in server.check_output("tr '\\0' '\\n' < /proc/%s/cmdline", pid)
    assert "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE=6" in server.check_output("tr '\\0' '\\n' < /proc/%s/environ", pid).splitlines()


def test_a_playbook_that_ran_to_its_end_after_all_changes_nothing_more(site: list[str]) -> None:
    assert_unchanged(play(site))


def test_a_setting_that_postgresql_cannot_read_is_refused(postgres: Host, tmp_path: Path) -> None:
    """PostgreSQL would not start with it. The files that it has stay as they are."""
    files = "cat /etc/postgresql/*/main/conf.d/*.conf"
    before = postgres.check_output(files), postgres.check_output(POSTMASTER)
    done = play(playbook("site", {"postgres": {"vars": {"postgres_settings": {"work_mem": "much"}}}}, tmp_path))
    assert done.returncode != 0 and re.search(r'invalid value for parameter \\?"work_mem\\?": \\?"much', said(done)), said(done)[-3000:]
    assert (postgres.check_output(files), postgres.check_output(POSTMASTER)) == before


def test_the_check_finds_what_is_lost(stack: Stack, client: Host) -> None:
    """The checks above are worth something only if they find a run, a metric and an artifact that are not as acknowledged."""
    entries = stack.entries(0)
    batch, artifact = (next(entry for entry in reversed(entries) if entry.get("done") == done) for done in ("batch", "artifact"))
    forged = [
        batch | {"metrics": batch["metrics"] | {"metric-0": -1.0}},
        artifact | {"sha256": "0" * 64},
        artifact | {"path": "deleted.bin"},
        {"done": "run", "at": batch["at"], "run_id": "f" * 32},
    ]
    client.check_output("printf '%%s\\n' %s > %s/forged", "\n".join(map(json.dumps, forged)), FOLDER)
    found = sorted(stack.check(0, f"{FOLDER}/forged")["missing"])
    expected = ("artifact content.bin is", "artifact deleted.bin is", "metrics is", f"{'f' * 32} is not there")
    assert len(found) == len(expected) and all(any(words in line for line in found) for words in expected), found


def test_all_that_was_ever_acknowledged_is_there(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    table, missing = finish(stack, "survival")
    with capsys.disabled():
        print(f"\n{table}")
    assert missing == []
