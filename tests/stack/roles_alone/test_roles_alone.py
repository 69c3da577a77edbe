"""The examples without MLflow: each login reaches what it should, and nothing else. The logins come over the network."""

from __future__ import annotations

import json

import pytest
from stack.support import run_python
from testinfra.host import Host

#: Prints how an account does with a bucket: what it may do of writing, reading and listing. Runs with MinIO's client libraries.
ASK_MINIO = """
import io, json, sys
from minio import Minio
from minio.error import S3Error
access_key, secret_key, bucket, address = json.load(sys.stdin)
client = Minio(endpoint=f"{address}:9000", access_key=access_key, secret_key=secret_key, secure=False, region="us-east-1")
asks = {
    "write": lambda: client.put_object(bucket_name=bucket, object_name=access_key, data=io.BytesIO(b"kept"), length=4),
    "read": lambda: client.get_object(bucket_name=bucket, object_name="seed").read(),
    "list": lambda: list(client.list_objects(bucket_name=bucket)),
}
able = []
for name, ask in asks.items():
    try:
        ask()
        able.append(name)
    except S3Error as error:
        # An object that is not there was read for.
        able += [name] if error.code == "NoSuchKey" else []
print(json.dumps(able))
"""
PYTHON = "/opt/minio/admin/bin/python"


@pytest.fixture(scope="module")
def address(postgres: Host) -> str:
    """Return the address at which the network reaches the host."""
    return str(postgres.check_output("hostname --all-ip-addresses").split()[0])


def psql(host: Host, address: str, user: str, database: str, password: str, query: str) -> str:
    """Return what PostgreSQL prints for a query, or its refusal."""
    command = "PGPASSWORD=%s psql --no-psqlrc --no-align --tuples-only --host %s --username %s --dbname %s --command %s 2>&1 || true"
    return str(host.check_output(command, password, address, user, database, query)).strip()


@pytest.mark.parametrize(("user", "database"), [("airflow", "airflow"), ("grafana", "grafana"), ("grafana", "grafana_staging")])
def test_a_user_owns_its_databases(postgres: Host, address: str, user: str, database: str) -> None:
    query = "CREATE TABLE IF NOT EXISTS kept (n int); SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
    assert psql(postgres, address, user, database, f"{user}-of-the-test", query).splitlines()[-1] == user


@pytest.mark.parametrize(("user", "database"), [("airflow", "grafana"), ("grafana", "airflow"), ("grafana", "postgres")])
def test_a_user_reaches_no_other_database(postgres: Host, address: str, user: str, database: str) -> None:
    assert "no pg_hba.conf entry" in psql(postgres, address, user, database, f"{user}-of-the-test", "SELECT 1")


def test_a_wrong_password_is_refused(postgres: Host, address: str) -> None:
    assert "password authentication failed" in psql(postgres, address, "grafana", "grafana", "airflow-of-the-test", "SELECT 1")


def test_no_user_is_more_than_a_user(postgres: Host) -> None:
    query = "SELECT count(*) FROM pg_roles WHERE rolname IN ('airflow', 'grafana') AND NOT (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication)"
    assert postgres.check_output(f'cd /tmp && su postgres -c "psql --no-align --tuples-only --command \\"{query}\\""') == "2"


@pytest.mark.parametrize(
    ("account", "bucket", "able"),
    [
        ("photos", "photos", ["write", "read", "list"]),
        ("site", "photos", ["read", "list"]),
        ("reports", "reports", ["write", "read", "list"]),
        ("reports", "archive", ["write", "read", "list"]),
        ("auditor", "archive", ["list"]),
        ("photos", "reports", []),
        ("site", "archive", []),
        ("auditor", "photos", []),
    ],
)
def test_an_account_may_do_what_its_policy_says(minio: Host, address: str, account: str, bucket: str, able: list[str]) -> None:
    assert run_python(minio, ASK_MINIO, [account, f"{account}-of-the-test", bucket, address], PYTHON) == able


def test_no_password_is_readable_by_others(minio: Host) -> None:
    found = minio.check_output("grep --recursive --files-with-matches --exclude-dir=proc --exclude-dir=sys of-the-test /etc /var/log /run || true").split()
    open_to_others = [path for path in found if minio.file(path).mode & 0o004]
    assert json.dumps(open_to_others) == "[]"
