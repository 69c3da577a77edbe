"""A stack whose host was lost and restored from its backup: what the backup shows, and what it says when something is broken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from stack.support import ask, base_url, run_python
from testinfra.backend.base import CommandResult
from testinfra.host import Host

REPOSITORY = "/var/backups/atlas-mlflow"


def backup(server: Host, *arguments: str) -> CommandResult:
    """Run the program of the backup."""
    return server.run("python3 /opt/atlas-mlflow/backup/atlas_mlflow_backup.py " + " ".join(["%s"] * len(arguments)), *arguments)


@contextmanager
def damaged(server: Host, path: str) -> Iterator[None]:
    """Change a byte in the middle of a file, and put it right afterwards."""
    flip = "import sys; f = open(sys.argv[1], 'r+b'); f.seek(0, 2); f.seek(f.tell() // 2); b = f.read(1)[0]; f.seek(-1, 1); f.write(bytes([b ^ 255]))"
    server.check_output("python3 -c %s %s", flip, path)
    try:
        yield
    finally:
        server.check_output("python3 -c %s %s", flip, path)


def test_the_timer_runs(server: Host) -> None:
    timer = server.service("atlas-mlflow-backup.timer")
    assert timer.is_enabled and timer.is_running


def test_the_repository_reads_well(server: Host) -> None:
    said = backup(server, "check")
    # Six runs had an artifact. Of two a version was set aside when it was deleted or overwritten, and one more when that was undone.
    assert said.rc == 0 and "status: ok" in said.stdout and "Read 9 files" in said.stdout, said


def test_nothing_of_it_is_readable_without_the_passphrase(server: Host, secrets: dict[str, str]) -> None:
    assert server.run("grep --recursive --text --quiet --regexp=fourth %s", REPOSITORY).rc == 1
    for path in ("/etc/atlas-mlflow/backup.json", "/etc/pgbackrest.conf"):
        assert secrets["backup_passphrase"] in server.file(path).content_string
        assert server.file(path).mode & 0o077 == 0, path
    assert secrets["backup_passphrase"] not in server.check_output("systemctl cat atlas-mlflow-backup.service")


def test_a_damaged_artifact_is_found(server: Host) -> None:
    path = server.check_output("find %s/files -type f", REPOSITORY).split()[0]
    with damaged(server, path):
        said = backup(server, "check")
    assert said.rc == 1 and "rclone hashsum ended with" in said.stderr, said
    assert backup(server, "check").rc == 0


def test_a_damaged_database_backup_is_found(server: Host) -> None:
    path = server.check_output("find %s/postgresql/backup -path '*/pg_data/*' -type f -size +8k", REPOSITORY).split()[0]
    with damaged(server, path):
        said = backup(server, "check")
    assert said.rc == 1 and "pgBackRest finds its repository damaged" in said.stderr, said


def test_a_backup_without_its_database_fails_and_says_so(server: Host) -> None:
    before = json.loads(backup(server, "list").stdout)
    server.check_output("systemctl stop postgresql@17-main.service")
    try:
        said = backup(server, "backup")
    finally:
        server.check_output("systemctl start postgresql@17-main.service")
    assert said.rc == 1 and "psql" in said.stderr and "Is the server running" in said.stderr, said
    assert json.loads(backup(server, "list").stdout) == before


def test_a_backup_is_what_the_source_was(server: Host) -> None:
    points = json.loads(backup(server, "list").stdout)
    assert [point["read_back"] for point in points] == [["backend"]] * len(points)
    assert points[-1]["counts"]["backend"]["runs"] >= 2
    assert "runs, " in backup(server, "check").stdout
    # The folder of the test restore has gone.
    assert server.run("ls /var/lib/postgresql/17/atlas-mlflow-test-restore").rc != 0


def test_one_backup_or_restore_runs_at_a_time(server: Host) -> None:
    hold = "import sys; sys.path.insert(0, '/opt/atlas-mlflow/backup'); import atlas_mlflow_backup as b, subprocess as s\n"
    hold += "with b.locked('restore'): print(s.run(['python3', b.__file__, 'backup'], stderr=s.PIPE, text=True).stderr)"
    said = server.check_output("python3 -B -c %s", hold)
    assert said.startswith("No backup now: the restore of process ") and "begun at " in said, said


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("yesterday", "neither latest, nor a point"),
        ("2026-05-04 12:30:00", "with its time zone"),
        ("2020-01-01 00:00:00+00:00", "is before the first backup"),
        ("2100-01-01 00:00:00+00:00", "is after the last backup"),
    ],
)
def test_what_cannot_be_restored_is_refused_before_anything_is_stopped(server: Host, wanted: str, message: str) -> None:
    said = backup(server, "restore", "--to", wanted)
    assert said.rc == 1 and message in said.stderr, said
    assert server.service("postgresql@17-main.service").is_running


def test_rotated_secrets_are_used_and_the_ones_before_are_refused(server: Host, secrets: dict[str, str]) -> None:
    database = """
import json, psycopg2, sys
try:
    psycopg2.connect(host="127.0.0.1", user="mlflow", dbname="mlflow", password=json.load(sys.stdin))
    print('"allowed"')
except psycopg2.OperationalError as error:
    print(json.dumps(str(error)))
"""
    bucket = """
import boto3, botocore.exceptions, json, sys
user, secret = json.load(sys.stdin)
try:
    boto3.client("s3", endpoint_url="http://127.0.0.1:9000", aws_access_key_id=user, aws_secret_access_key=secret).list_objects(Bucket="mlflow")
    print('"allowed"')
except botocore.exceptions.ClientError as error:
    print(json.dumps(error.response["Error"]["Code"]))
"""
    python = "/opt/mlflow/current/bin/python"
    assert run_python(server, database, secrets["postgres_password"], python) == "allowed"
    assert "password authentication failed" in run_python(server, database, secrets["postgres_password.previous"], python)
    for user, name in (("mlflow", "minio_secret_key"), ("atlas-root", "minio_root_password")):
        assert run_python(server, bucket, [user, secrets[name]], python) == "allowed", name
        assert run_python(server, bucket, [user, secrets[f"{name}.previous"]], python) == "SignatureDoesNotMatch", name


def test_what_was_deleted_is_removed_for_good_by_the_garbage_collection(server: Host) -> None:
    assert server.service("mlflow-gc.timer").is_running
    api = f"{base_url('localhost')}/api/2.0"
    run = ask(server, f"{api}/mlflow/runs/create", method="POST", body={"experiment_id": "0"}).json()["run"]["info"]["run_id"]
    artifact = f"{api}/mlflow-artifacts/artifacts/0/{run}/artifacts/content.json"
    assert ask(server, artifact, method="PUT", body={}).status == 200
    server.check_output("systemctl start mlflow-gc.service")
    assert ask(server, f"{api}/mlflow/runs/get?run_id={run}").status == 200, "it has not been deleted yet"
    # MLflow's own program ends at the first that it cannot remove. Its order is that of a set, so there is more than one.
    experiment = ask(server, f"{api}/mlflow/experiments/create", method="POST", body={"name": "gone", "artifact_location": "gs://nowhere/runs"}).json()
    elsewhere = [
        ask(server, f"{api}/mlflow/runs/create", method="POST", body={"experiment_id": experiment["experiment_id"]}).json()["run"]["info"]["run_id"]
        for _ in range(4)
    ]
    for deleted in (run, *elsewhere):
        assert ask(server, f"{api}/mlflow/runs/delete", method="POST", body={"run_id": deleted}).status == 200
    done = server.run("sleep 2; systemctl start mlflow-gc.service")
    journal = server.check_output("journalctl --unit mlflow-gc.service --output cat --lines 20")
    assert done.rc == 1 and all(f"run {name} with artifacts at gs://nowhere/runs" in journal for name in elsewhere), journal
    assert all(ask(server, f"{api}/mlflow/runs/get?run_id={name}").status == 200 for name in elsewhere), "what still has artifacts keeps its record"
    # Their artifacts are in no backup, and a backup says so.
    find = "import json, sys; sys.path.insert(0, '/opt/atlas-mlflow/backup'); import atlas_mlflow_backup as b\n"
    find += "print(json.dumps(b.Repository(json.loads(b.SETTINGS.read_text())).elsewhere()))"
    unknown, listed = json.loads(server.check_output("python3 -B -c %s", find))
    assert [line.partition(":")[0] for line in unknown] == ["1 of experiments.artifact_location", "4 of runs.artifact_uri"] and not listed
    assert ask(server, f"{api}/mlflow/runs/get?run_id={run}").status == 404
    assert ask(server, artifact).status != 200


def test_the_database_is_maintained_by_the_clock(server: Host) -> None:
    assert server.service("postgres-maintenance.timer").is_running
    server.check_output("systemctl start postgres-maintenance.service")
    query = "SELECT count(*) FROM pg_stat_user_tables WHERE relname = 'runs' AND last_vacuum > now() - interval '1 minute'"
    assert server.check_output("sudo -u postgres psql --no-psqlrc --tuples-only --no-align --dbname mlflow --command %s", query) == "1"
