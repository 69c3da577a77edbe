"""A host for each part: the stores answer those that need them, and nobody else gets in."""

from __future__ import annotations

from stack.support import PORT, address_of, ask, listening
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
    info = ask(client, f"http://{server_name}:{PORT}/api/3.0/mlflow/server-info")
    assert info.status == 200 and info.json()["multipart_downloads_enabled"] is True
