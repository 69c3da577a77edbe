"""The hosts of the scenario under test, by their part in the stack."""

from __future__ import annotations

import pytest
from testinfra.host import Host

from stack.support import Service, host_of, hosts_of, secrets_folder, service_of


@pytest.fixture(scope="session")
def server() -> Host:
    """Return the tracking server's host."""
    return host_of("mlflow_servers")


@pytest.fixture
def service(server: Host) -> Service:
    """Return the tracking server's service, as it is now."""
    return service_of(server)


@pytest.fixture(scope="session")
def server_name() -> str:
    """Return the tracking server's name in the inventory, which the scenario's network resolves."""
    return hosts_of("mlflow_servers")[0]


@pytest.fixture(scope="session")
def client() -> Host:
    """Return a host that has no part in the stack."""
    return host_of("clients")


@pytest.fixture(scope="session")
def postgres() -> Host:
    """Return PostgreSQL's host."""
    return host_of("postgres")


@pytest.fixture(scope="session")
def minio() -> Host:
    """Return MinIO's host."""
    return host_of("minio")


@pytest.fixture(scope="session")
def secrets() -> dict[str, str]:
    """Return the secrets in use, by name, from where the playbook keeps them on the control node."""
    generated = {path.name: path.read_text(encoding="utf-8").strip() for path in secrets_folder().glob("*") if path.is_file()}
    # Of a key, a line that no other key has.
    return generated | {path.name: path.read_text(encoding="utf-8").splitlines()[2] for path in secrets_folder().glob("tls/*.key")}
