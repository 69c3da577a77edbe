"""The backup of a cluster, which one of its members makes while a client writes, and a restore of all members to it.

The tests share one writer, and run in this order. Later tests have a writer of their own, because a restore loses what was acknowledged after the backup.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from parts import (
    PATRONICTL,
    SHARED,
    host,
    primary,
    said,
    wait_whole,
)
from stack import support
from stack.support import assert_unchanged, hosts_of, play, playbook
from stack.writing import FOLDER, Stack, start, wait_for
from testinfra.host import Host

PROGRAM = "python3 /opt/atlas-mlflow/backup/atlas_mlflow_backup.py"
REPOSITORY = "/var/backups/atlas-mlflow"
UNIT = "atlas-mlflow-backup.service"
#: Seconds that a backup may take.
POINT_TAKES = 60
#: Seconds that a restore may take, with the run of site.yml at its end.
PATIENCE = 900
#: Prints the encrypted name of a file in the repository.
ENCRYPTED = (
    'python3 -c \'import json, sys; sys.path.insert(0, "/opt/atlas-mlflow/backup"); import atlas_mlflow_backup as backup; '
    'files = backup.Files(json.load(open("/etc/atlas-mlflow/backup.json"))); '
    'print(files.rclone("cryptdecode", "--reverse", "repository:", sys.argv[1]).split()[-1])\' %s'
)
#: What a database has of the runs of the writer that ended before a moment: their number, and a hash of their parameters, metrics and tags.
CONTENT = (
    "WITH old AS (SELECT run_uuid FROM runs JOIN experiments USING (experiment_id) WHERE experiments.name = 'survival' AND end_time < MOMENT), "
    "kept AS (SELECT run_uuid, key, value FROM params UNION ALL SELECT run_uuid, key, value::text FROM metrics UNION ALL SELECT run_uuid, key, value FROM tags) "
    "SELECT (SELECT count(*) FROM old), md5(string_agg(concat_ws('=', run_uuid, key, value), ',' ORDER BY run_uuid, key, value)) "
    "FROM kept WHERE run_uuid IN (SELECT run_uuid FROM old)"
)


@pytest.fixture(scope="module")
def stack(client: Host) -> Iterator[Stack]:
    """Return the stack, with a writer at work that uses the address of the proxies."""
    yield start(client, f"https://{SHARED}", retries=1)
    client.run("systemctl stop writer.service")
    client.check_output("rm --recursive %s", FOLDER)


def points() -> list[dict[str, Any]]:
    """Return the points that can be restored, which all members see alike."""
    (listed,) = {host(name).check_output(f"{PROGRAM} list") for name in hosts_of("postgres")}
    return json.loads(listed)


def moment(point: dict[str, Any]) -> float:
    """Return when a backup began."""
    return datetime.strptime(point["name"], "atlas-%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


def sql(name: str, query: str, database: str = "mlflow") -> str:
    """Return what a database answers on a host."""
    return host(name).check_output("timeout 20 sudo -u postgres psql --no-psqlrc --tuples-only --no-align --dbname %s --command %s", database, query)


def runs() -> int:
    """Return the number of runs in the database of the primary."""
    return int(sql(primary(), "SELECT count(*) FROM runs"))


def back_up_everywhere() -> dict[str, str]:
    """Start the backup on all members at once, as their timers do, and return what each one said."""
    before = time.time()

    def start_one(name: str) -> str:
        host(name).check_output("systemctl start %s", UNIT)
        return host(name).check_output("journalctl --unit %s --since @%s --output cat --no-pager", UNIT, str(int(before)))

    with ThreadPoolExecutor() as pool:
        return dict(zip(hosts_of("postgres"), pool.map(start_one, hosts_of("postgres")), strict=True))


def source() -> str:
    """Return the first replica by name."""
    return min(set(hosts_of("postgres")) - {primary()})


def timelines() -> set[int]:
    """Return the timelines of the members, as Patroni lists them."""
    listed = json.loads(said(primary(), f"{PATRONICTL} list --format json"))
    return {member["TL"] for member in listed}


def databases() -> list[str]:
    """Return the databases of MLflow in the cluster, also those that a restore has kept or left."""
    return sql(primary(), "SELECT datname FROM pg_database WHERE datname LIKE 'mlflow%' ORDER BY 1").split()


def server_pids() -> list[str]:
    """Return the main processes of the tracking servers."""
    return [said(name, "systemctl show --property MainPID --value mlflow-server.service") for name in hosts_of("mlflow_servers")]


def test_a_replica_makes_the_backup(stack: Stack, tmp_path: Path) -> None:
    wait_whole(stack.client)
    stack.wait_served(time.time())
    before, begun = runs(), time.time()
    done = play(playbook("backup", {}, tmp_path))
    assert done.returncode == 0, done.stdout[-3000:]
    after = runs()
    (point,) = points()
    assert point["kind"] == f"dump of {source()}" and point["read_back"] == ["backend"]
    assert before <= point["counts"]["backend"]["runs"] <= after and point["artifacts"] > 0
    assert f"{point['counts']['backend']['runs']} runs" in support.said(done) and "the same as in the source" in support.said(done)
    started = {name: said(name, f"systemctl show --property ExecMainStartTimestamp --value {UNIT}") for name in hosts_of("postgres")}
    assert [name for name, when in started.items() if when] == [source()]
    for name in hosts_of("postgres"):
        assert host(name).service("atlas-mlflow-backup.timer").is_running
        assert host(name).file("/etc/atlas-mlflow/backup.json").mode == 0o600
    assert stack.failed(begun) == []
    assert_unchanged(play(playbook("site", {}, tmp_path)))


def test_the_timers_of_all_members_make_one_backup(stack: Stack) -> None:
    known, maker, begun = points(), source(), time.time()
    spoken = back_up_everywhere()
    assert len(points()) == len(known) + 1 and points()[-1]["kind"] == f"dump of {maker}"
    assert "Made the backup" in spoken.pop(maker)
    assert all(f"Nothing to do: {maker} makes the backup" in words for words in spoken.values()), spoken
    assert stack.failed(begun) == []


def test_another_member_makes_the_backup_after_a_switch_over(stack: Stack, tmp_path: Path) -> None:
    known, former = points(), source()
    done = play(playbook("switch_over_postgres", {"all": {"vars": {"postgres_switch_over_to": former}}}, tmp_path))
    # A synchronous cluster switches over only to its synchronous replica.
    if done.returncode:
        done = play(playbook("switch_over_postgres", {}, tmp_path))
    assert done.returncode == 0, done.stdout[-3000:]
    wait_whole(stack.client)
    maker = source()
    spoken = back_up_everywhere()
    assert len(points()) == len(known) + 1 and points()[-1]["kind"] == f"dump of {maker}"
    assert "Made the backup" in spoken[maker]
    checked = stack.check(0)
    assert checked["runs"] > 0 and checked["missing"] == [], checked


@pytest.mark.parametrize(
    ("wanted", "message"),
    [("yesterday", "yesterday is neither latest, nor a point"), ("moment", "A backup of a cluster is restored to one of its points")],
)
def test_a_restore_to_what_is_no_point_is_refused(stack: Stack, tmp_path: Path, wanted: str, message: str) -> None:
    begun, pids, present = time.time(), server_pids(), runs()
    wanted = points()[0]["time"] if wanted == "moment" else wanted
    done = play(playbook("restore", {}, tmp_path), "--extra-vars", json.dumps({"backup_restore_to": wanted}))
    assert done.returncode and message in support.said(done), done.stdout[-3000:]
    assert server_pids() == pids and runs() >= present and stack.failed(begun) == []


def test_a_restore_that_fails_leaves_the_present_data(stack: Stack, tmp_path: Path) -> None:
    """The dump is damaged, as a bad disk would do."""
    begun, present, before = time.time(), runs(), (timelines(), databases())
    name = said(primary(), ENCRYPTED, f"dumps/{points()[-1]['name']}.backend.dump")
    dump, intact = f"{REPOSITORY}/files/{name}", "/root/intact.dump"
    host(primary()).check_output("cp %s %s && printf damaged | dd of=%s bs=1 seek=2000 conv=notrunc status=none", dump, intact, dump)
    try:
        done = play(playbook("restore", {}, tmp_path), "--extra-vars", "backup_restore_to=latest", patience=PATIENCE)
    finally:
        host(primary()).check_output("cp %s %s", intact, dump)
    assert done.returncode and "The restore failed, and the tracking servers serve the present databases again" in support.said(done), done.stdout[-3000:]
    stack.wait_served(time.time())
    assert runs() >= present and (timelines(), databases()) == before
    checked = stack.check(begun - 60)
    assert checked["runs"] > 0 and checked["missing"] == [], checked


def test_a_restore_takes_all_members_to_the_backup(stack: Stack, tmp_path: Path) -> None:
    wait_whole(stack.client)
    point, before = points()[-1], databases()

    def written() -> list[str]:
        # A run that began before the backup and ended after it belongs to neither side.
        begun = moment(point) + POINT_TAKES
        return [entry["run_id"] for entry in stack.entries(0) if entry.get("done") == "whole" and entry["began"] > begun]

    wait_for(lambda: len(written()) > 5, lambda: f"the client has written {written()} since the backup")
    later = written()
    done = play(playbook("restore", {}, tmp_path), "--extra-vars", "backup_restore_to=latest", patience=PATIENCE)
    assert done.returncode == 0, done.stdout[-5000:]
    stack.wait_served(time.time())
    wait_whole(stack.client)
    (former,) = set(databases()) - set(before)
    assert f"Restored {point['name']}" in support.said(done) and f"The former database is kept as {former}" in support.said(done)
    content = CONTENT.replace("MOMENT", str(int(moment(point) * 1000)))
    (kept,) = {sql(name, content) for name in hosts_of("postgres")}
    assert int(kept.split("|")[0]) > 0 and kept == sql(primary(), content, former)
    lost = "SELECT count(*) FROM runs WHERE run_uuid IN ('{}')".format("', '".join(later))
    assert {sql(name, lost) for name in hosts_of("postgres")} == {"0"}
    assert sql(primary(), lost, former) == str(len(later))
    (timeline,) = timelines()
    assert timeline > 0
    # What the client has written since then is there.
    checked = stack.check(stack.wait_served(time.time()) - 0.01)
    assert checked["missing"] == [], checked
    stack.client.check_output("systemctl stop writer.service")
    assert_unchanged(play(playbook("site", {}, tmp_path)))
    # The next backup is of the restored data.
    back_up_everywhere()
    last = points()[-1]
    assert last["name"] > point["name"] and last["counts"]["backend"]["runs"] == runs()
