"""The secrets of a cluster are replaced while a client writes: no request fails, the former secrets are refused, and a backup is made with the new ones.

The tests share one writer, and run in this order, after those of the backup. A later backup would not fit on the disk.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from parts import SHARED, host, primary, wait_whole
from stack.support import address_of, assert_unchanged, hosts_of, minio_endpoint, play, playbook, run_boto, run_python, said, secrets_folder
from stack.writing import FOLDER, Stack, start
from test_backup import points, runs
from testinfra.host import Host

#: Seconds for a rotation with the restarts of all members of each part, one at a time.
PATIENCE = 1200
#: The secrets whose rotation no client notices. MinIO's own administrator is one of all hosts of a pool, which therefore restart together.
QUIET = ("postgres_password", "minio_secret_key", "mlflow_webhook_key", "mlflow_kek_passphrase")
#: Logs in to PostgreSQL, and prints why that failed.
LOG_IN = """
import json, sys, psycopg2
address, password = json.load(sys.stdin)
try:
    psycopg2.connect(host=address, dbname="mlflow", user="mlflow", password=password, sslmode="require").close()
    print(json.dumps(""))
except psycopg2.OperationalError as error:
    print(json.dumps(str(error)))
"""
#: Lists the bucket, and prints the code of the error.
LIST = """
import json, sys, boto3, botocore.exceptions
endpoint, secret = json.load(sys.stdin)
try:
    boto3.client("s3", endpoint_url=endpoint, aws_access_key_id="mlflow", aws_secret_access_key=secret).list_objects_v2(Bucket="mlflow", MaxKeys=1)
    print(json.dumps(""))
except botocore.exceptions.ClientError as error:
    print(json.dumps(error.response["Error"]["Code"]))
"""


@pytest.fixture(scope="module")
def stack(client: Host) -> Iterator[Stack]:
    """Return the stack, with a writer at work that uses the address of the proxies."""
    yield start(client, f"https://{SHARED}", retries=1)
    client.run("systemctl stop writer.service")
    client.check_output("rm --recursive %s", FOLDER)


def secret(name: str) -> str:
    """Return a secret in use, from where the playbook keeps it on the control node."""
    return (secrets_folder() / name).read_text(encoding="utf-8").strip()


def database_says(password: str) -> str:
    """Return why PostgreSQL refuses a password of the tracking servers, empty if it does not."""
    return str(run_python(host(hosts_of("mlflow_servers")[0]), LOG_IN, [address_of(host(primary())), password]))


def bucket_says(name: str, given: str) -> str:
    """Return why MinIO on a host refuses a secret of the tracking servers, empty if it does not."""
    return str(run_boto(host(name), LIST, [minio_endpoint(host(name)), given]))


def rotate(names: tuple[str, ...], folder: Path) -> None:
    """Replace secrets by the playbook."""
    done = play(playbook("rotate_secrets", {}, folder), "--extra-vars", json.dumps({"rotate_secrets": names}), patience=PATIENCE)
    assert done.returncode == 0, done.stdout[-5000:]


def assert_settled(folder: Path) -> None:
    """See that `site.yml` changes nothing."""
    assert_unchanged(play(playbook("site", {}, folder), patience=PATIENCE))


def test_no_request_fails_while_secrets_are_replaced(stack: Stack, tmp_path: Path) -> None:
    wait_whole(stack.client)
    stack.wait_served(time.time())
    begun, former = time.time(), {name: secret(name) for name in QUIET}
    rotate(QUIET, tmp_path)
    present = {name: secret(name) for name in QUIET}
    assert all(present[name] != former[name] for name in QUIET)
    assert stack.failed(begun) == []
    assert "password authentication failed" in database_says(former["postgres_password"]) and database_says(present["postgres_password"]) == ""
    refusals = {name: (bucket_says(name, former["minio_secret_key"]), bucket_says(name, present["minio_secret_key"])) for name in hosts_of("minio")}
    assert set(refusals.values()) == {("SignatureDoesNotMatch", "")}, refusals
    wait_whole(stack.client)
    assert_settled(tmp_path)


def test_the_pool_gets_another_administrator(stack: Stack, tmp_path: Path) -> None:
    """All hosts of the pool restart, so requests may fail, but nothing that was acknowledged is lost."""
    former, begun = secret("minio_root_password"), time.time()
    rotate(("minio_root_password",), tmp_path)
    assert secret("minio_root_password") != former
    wait_whole(stack.client)
    stack.wait_served(time.time())
    checked = stack.check(begun)
    assert checked["runs"] > 0 and checked["missing"] == [], checked
    assert_settled(tmp_path)


def test_a_backup_is_made_with_the_new_secrets(stack: Stack, tmp_path: Path) -> None:
    stack.client.check_output("systemctl stop writer.service")
    known = points()
    done = play(playbook("backup", {}, tmp_path), patience=PATIENCE)
    assert done.returncode == 0 and "the same as in the source" in said(done), done.stdout[-3000:]
    assert len(points()) == len(known) + 1 and points()[-1]["counts"]["backend"]["runs"] == runs()
