"""PostgreSQL and MinIO behind the tracking server: what is logged is in them, and they open to nobody else."""

from __future__ import annotations

import uuid

import pytest
from stack.support import Service, ask, base_url, engine_of, minio_endpoint, query, run_boto
from testinfra.host import Host


@pytest.fixture(scope="module")
def run_with_artifact(client: Host, server_name: str) -> dict[str, str]:
    """Log a run with a parameter and an artifact from another host, by the tracking server's name."""
    base, marker = base_url(server_name), uuid.uuid4().hex
    api = f"{base}/api/2.0/mlflow"
    experiment = ask(client, f"{api}/experiments/create", method="POST", body={"name": f"stores-{marker}"}).json()["experiment_id"]
    run = ask(client, f"{api}/runs/create", method="POST", body={"experiment_id": experiment}).json()["run"]["info"]
    logged = ask(client, f"{api}/runs/log-parameter", method="POST", body={"run_id": run["run_id"], "key": "marker", "value": marker})
    assert logged.status == 200, logged
    root = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
    stored = ask(client, f"{base}/api/2.0/mlflow-artifacts/artifacts/{root}/marker.json", method="PUT", body={"marker": marker})
    assert stored.status == 200, stored
    return {"run_id": run["run_id"], "marker": marker, "key": f"{root}/marker.json"}


def test_postgresql_holds_the_run(postgres: Host, run_with_artifact: dict[str, str]) -> None:
    sql = f"SELECT value FROM params WHERE run_uuid = '{run_with_artifact['run_id']}' AND key = 'marker'"
    assert query(postgres, sql) == run_with_artifact["marker"]


def test_minio_holds_the_object(minio: Host, run_with_artifact: dict[str, str]) -> None:
    # A small object stands whole in its own xl.meta.
    volumes = {"docker": "/var/lib/docker/volumes", "podman": "/var/lib/containers/storage/volumes"}
    engine = engine_of(minio, "atlas-minio")
    data = f"{volumes[engine]}/atlas-minio-data/_data" if engine else "/var/lib/minio"
    found = minio.run("grep --text --fixed-strings --count %s %s", run_with_artifact["marker"], f"{data}/mlflow/{run_with_artifact['key']}/xl.meta")
    assert found.rc == 0 and int(found.stdout) >= 1, found


def test_passwords_are_kept_as_scram_hashes(postgres: Host) -> None:
    assert query(postgres, "SELECT left(rolpassword, 14) FROM pg_authid WHERE rolname = 'mlflow'") == "SCRAM-SHA-256$"


def test_the_owner_has_no_rights_beyond_its_database(postgres: Host) -> None:
    assert query(postgres, "SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = 'mlflow'") == "f|f|f"


def test_a_login_with_a_wrong_password_is_refused(postgres: Host) -> None:
    engine = engine_of(postgres, "atlas-postgres")
    inside = f"{engine} exec --env PGPASSWORD=wrong-password atlas-postgres" if engine else "env PGPASSWORD=wrong-password"
    refused = postgres.run(f"{inside} psql --host 127.0.0.1 --username mlflow --dbname mlflow --command 'SELECT 1'")
    assert refused.rc != 0 and "password authentication failed" in refused.stderr


def test_the_tracking_server_does_not_hold_the_administrators_credentials(server: Host, service: Service, secrets: dict[str, str]) -> None:
    settings = server.check_output(f"cat {service.settings}")
    assert secrets["minio_secret_key"] in settings
    assert secrets["minio_root_password"] not in settings


def test_the_tracking_servers_account_reaches_its_bucket_alone(minio: Host, secrets: dict[str, str]) -> None:
    """Asked with boto3 from the role's own tools, as the account and as the administrator for contrast."""
    script = """
import boto3, botocore.exceptions, json, sys
endpoint, access_key, secret_key, another = json.load(sys.stdin)
client = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=access_key, aws_secret_access_key=secret_key, region_name="us-east-1")
def outcome(call, **arguments):
    try:
        call(**arguments)
        return "allowed"
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"]
print(json.dumps({
    "own": outcome(client.list_objects_v2, Bucket="mlflow"),
    "make": outcome(client.create_bucket, Bucket=another),
    "another": outcome(client.list_objects_v2, Bucket=another),
}))
"""
    endpoint = minio_endpoint(minio)
    another = f"another-{uuid.uuid4().hex}"
    # In a container it has signs that a shell, systemd and YAML each read otherwise: see molecule/containers, where Molecule makes one $ of two, and
    # Ansible leaves the two backslashes.
    root_password = secrets["minio_root_password"] + ('$A"`\\\\' if engine_of(minio, "atlas-minio") else "")
    as_root = run_boto(minio, script, [endpoint, "atlas-root", root_password, another])
    assert as_root == {"own": "allowed", "make": "allowed", "another": "allowed"}
    as_account = run_boto(minio, script, [endpoint, "mlflow", secrets["minio_secret_key"], another])
    assert as_account == {"own": "allowed", "make": "AccessDenied", "another": "AccessDenied"}
