"""A host for each part, and TLS between them: the stores answer those that need them, and nobody else gets in or listens."""

from __future__ import annotations

from stack.support import PORT, Service, address_of, ask, base_url, listening, run_python
from testinfra.host import Host


def test_each_store_listens_where_the_topology_needs_it(postgres: Host, minio: Host) -> None:
    address = address_of(postgres)
    assert listening(postgres, "postgres") - {"[::1]:5432"} == {"127.0.0.1:5432", f"{address}:5432"}
    # MinIO adds loopback to an address that it is given.
    assert listening(minio, "minio") == {"127.0.0.1:9000", f"{address_of(minio)}:9000"}


def test_postgresql_lets_in_the_tracking_server_and_no_other_host(postgres: Host, client: Host, server: Host) -> None:
    rules = postgres.check_output("cat /etc/postgresql/*/main/pg_hba.conf")
    assert f"{address_of(server)}/32" in rules
    assert address_of(client) not in rules and "0.0.0.0" not in rules


def test_clients_are_sent_to_an_endpoint_that_they_reach(client: Host, server_name: str) -> None:
    """Artifact mode direct: the server says so, and the link it gives leads the client to the object."""
    info = ask(client, f"{base_url(server_name)}/api/3.0/mlflow/server-info")
    assert info.status == 200 and info.json()["multipart_downloads_enabled"] is True


def test_nobody_is_answered_in_the_clear(client: Host, minio: Host, server_name: str) -> None:
    for address, own_words in ((f"{server_name}:{PORT}", ""), (f"{address_of(minio)}:9000", "HTTP request to an HTTPS server")):
        answer = ask(client, f"http://{address}/")
        assert answer.status in (0, 400) and own_words in answer.body, (address, answer)


def test_a_client_that_does_not_know_the_authority_refuses_the_server(client: Host, server_name: str) -> None:
    refused = client.run("env -u http_proxy python3 -c %s", f"import urllib.request; urllib.request.urlopen('{base_url(server_name)}/health', timeout=20)")
    assert refused.rc != 0 and "CERTIFICATE_VERIFY_FAILED" in refused.stderr, refused


def test_postgresql_takes_a_login_over_the_network_by_tls_alone(server: Host, postgres: Host, secrets: dict[str, str]) -> None:
    """Asked by the server's own driver, from its own host."""
    script = """
import json, psycopg2, sys
host, password, options = json.load(sys.stdin)
try:
    connection = psycopg2.connect(host=host, dbname="mlflow", user="mlflow", password=password, connect_timeout=10, **options)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        print(json.dumps(cursor.fetchone()[0]))
except psycopg2.OperationalError as error:
    print(json.dumps(str(error)))
"""

    def login(**options: str) -> bool | str:
        return run_python(server, script, [postgres.backend.name, secrets["postgres_password"], options], "/opt/mlflow/current/bin/python")

    authority = "/etc/atlas-mlflow/tls/authority.pem"
    assert login(sslmode="verify-full", sslrootcert=authority) is True
    assert "no encryption" in str(login(sslmode="disable"))
    # An authority that did not sign it.
    assert "certificate verify failed" in str(login(sslmode="verify-full", sslrootcert="/etc/ssl/certs/ca-certificates.crt"))


def test_the_tracking_server_checks_the_certificates_of_its_stores(server: Host, service: Service) -> None:
    settings = server.check_output(f"cat {service.settings}")
    assert "sslmode=verify-full&sslrootcert=/etc/atlas-mlflow/tls/authority.pem" in settings
    assert "AWS_CA_BUNDLE=" in settings and 'MLFLOW_S3_ENDPOINT_URL="https://' in settings


def test_backups_are_on_s3_and_read_well_and_nothing_of_them_is_in_the_clear(postgres: Host, minio: Host) -> None:
    script = "python3 /opt/atlas-mlflow/backup/atlas_mlflow_backup.py"
    said = postgres.check_output(f"{script} check")
    assert "status: ok" in said and "The last point is atlas-" in said, said
    assert minio.run("grep --recursive --text --quiet --regexp=second /var/lib/minio/backups").rc == 1
    assert not postgres.file("/var/backups/atlas-mlflow").exists
    for path in ("/etc/atlas-mlflow/backup.json", "/etc/pgbackrest.conf"):
        assert "key-of-this-test-alone" in postgres.file(path).content_string and postgres.file(path).mode & 0o077 == 0, path


def test_a_backup_whose_bucket_refuses_it_fails_and_says_so(postgres: Host) -> None:
    script = "python3 /opt/atlas-mlflow/backup/atlas_mlflow_backup.py"
    postgres.check_output("sed 's/key-of-this-test-alone/another-key-altogether/' /etc/atlas-mlflow/backup.json > /root/wrong.json")
    said = postgres.run(f"{script} --settings /root/wrong.json list")
    assert said.rc == 1 and "rclone lsf" in said.stderr and "SignatureDoesNotMatch" in said.stderr, said
