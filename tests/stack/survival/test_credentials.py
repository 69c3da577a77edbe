"""Wrong and missing credentials at stores that are reached over a network, from a host that needs them and from one that does not."""

from __future__ import annotations

import pytest
from stack.support import address_of, ask, run_python
from testinfra.host import Host

PYTHON = "/opt/mlflow/current/bin/python"
#: Logs in to PostgreSQL, and prints what came of it.
LOGIN = """
import json, psycopg2, sys
try:
    psycopg2.connect(connect_timeout=10, **json.load(sys.stdin)).close()
    print(json.dumps("let in"))
except psycopg2.OperationalError as error:
    print(json.dumps(str(error)))
"""
#: Asks for what is in the bucket, and prints what came of it.
LIST = """
import boto3, botocore.client, botocore.exceptions, json, sys
endpoint, key, secret = json.load(sys.stdin)
try:
    boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=key, aws_secret_access_key=secret, region_name="us-east-1").list_objects_v2(Bucket="mlflow")
    print(json.dumps("let in"))
except botocore.exceptions.ClientError as error:
    print(json.dumps(error.response["Error"]["Code"]))
"""
#: Opens a session as PostgreSQL's protocol begins one, without its library, and prints the answer. Runs on a host that has no part in the stack.
STARTUP = """
import socket, struct, sys
said = b"user\\0mlflow\\0database\\0mlflow\\0\\0"
connection = socket.create_connection((sys.argv[1], 5432), timeout=10)
connection.sendall(struct.pack("!ii", len(said) + 8, 196608) + said)
print(connection.recv(4096).decode(errors="replace").replace("\\0", " "))
"""


@pytest.mark.parametrize(
    ("login", "said"),
    [
        ({}, "let in"),
        ({"password": "wrong-password"}, "password authentication failed"),
        ({"password": ""}, "no password supplied"),
        ({"user": "postgres", "password": "wrong-password"}, "no pg_hba.conf entry"),
        ({"dbname": "postgres"}, "no pg_hba.conf entry"),
        ({"user": "nobody"}, "no pg_hba.conf entry"),
    ],
)
def test_postgresql_lets_in_one_user_with_its_password(server: Host, postgres: Host, secrets: dict[str, str], login: dict[str, str], said: str) -> None:
    right = {"host": address_of(postgres), "user": "mlflow", "dbname": "mlflow", "password": secrets["postgres_password"]}
    assert said in run_python(server, LOGIN, right | login, PYTHON)


def test_postgresql_hears_nobody_from_another_host(client: Host, postgres: Host) -> None:
    assert "no pg_hba.conf entry" in client.check_output("python3 -c %s %s", STARTUP, address_of(postgres))


@pytest.mark.parametrize(
    ("key", "secret", "said"),
    [
        ("mlflow", "", "let in"),
        ("mlflow", "wrong-secret", "SignatureDoesNotMatch"),
        ("atlas-root", "wrong-secret", "SignatureDoesNotMatch"),
        ("nobody", "wrong-secret", "InvalidAccessKeyId"),
        ("minioadmin", "minioadmin", "InvalidAccessKeyId"),
    ],
)
def test_minio_lets_in_one_account_with_its_secret(server: Host, minio: Host, secrets: dict[str, str], key: str, secret: str, said: str) -> None:
    assert run_python(server, LIST, [f"http://{address_of(minio)}:9000", key, secret or secrets["minio_secret_key"]], PYTHON) == said


def test_minio_answers_nobody_without_credentials(client: Host, minio: Host) -> None:
    base = f"http://{address_of(minio)}:9000"
    buckets = ["/", "/mlflow", "/mlflow/?list-type=2", "/mlflow/..%2f.minio.sys/config", "/.minio.sys/config/config.json"]
    paths = [*buckets, "/minio/admin/v3/info", "/minio/v2/metrics/cluster"]
    answers = [ask(client, base + path, method=method) for path in paths for method in ("GET", "PUT")]
    assert all(400 <= answer.status < 500 for answer in answers), answers
