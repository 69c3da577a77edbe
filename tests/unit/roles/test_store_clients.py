"""What the clients of the S3 endpoint are told: the CA file that its certificate is checked with, and its region."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.atlas.mlflow.plugins.module_utils.faults import FAULTS

from inventories import Case, Run

OWN = "/etc/atlas-mlflow/tls/authority.pem"
ELSEWHERE = {"mlflow_server_artifacts_destination": "s3://team/mlflow", "mlflow_server_s3_endpoint_url": "https://s3.example.com"}


def run(groups: dict[str, list[str]], **given: Any) -> Run:
    """Return what a run knows of a tracking server and its stores."""
    hosts = {name for names in groups.values() for name in names}
    return Run(Case(groups, dict.fromkeys(hosts, given)), secrets={"postgres_password": "p", "minio_secret_key": "s", "backup_passphrase": "b"})


def checked_with(known: Run) -> tuple[Any, Any]:
    """Return the CA files for the tracking server and for its backup, empty for those that the host trusts."""
    environment = known.value("web", "mlflow_server", "_mlflow_server_environment")
    return environment.get("AWS_CA_BUNDLE"), known.value("web", "backup", "backup_s3_authority")


def test_the_own_authority_checks_the_own_store() -> None:
    own, backup = checked_with(run({"mlflow_servers": ["web"], "minio": ["store"]}, atlas_mlflow_tls=True))
    assert own == OWN and backup.endswith("/tls/authority.pem")


def test_the_own_authority_does_not_check_a_store_elsewhere() -> None:
    assert checked_with(run({"mlflow_servers": ["web"]}, atlas_mlflow_tls=True, **ELSEWHERE)) == (None, "")


@pytest.mark.parametrize("name", ["atlas_mlflow_tls_authority", "mlflow_server_tls_authority"])
def test_an_authority_of_the_site_checks_a_store_elsewhere(name: str) -> None:
    given = {name: "/srv/site.pem", **ELSEWHERE}
    assert checked_with(run({"mlflow_servers": ["web"]}, **given))[0] == OWN
    # A file for the tracking server that the user names beside the own authority.
    if name.startswith("mlflow_server"):
        assert checked_with(run({"mlflow_servers": ["web"]}, atlas_mlflow_tls=True, **given))[0] == OWN


def test_the_fix_for_a_store_that_is_not_trusted_leaves_the_server_its_own_authority() -> None:
    """With another CA file for the server itself, the probe would not trust the server any more."""
    fix = FAULTS["s3-untrusted-certificate"].fix
    named = [name for name in ("atlas_mlflow_ca_certificate", "mlflow_server_tls_authority") if name in fix]
    for name in named:
        known = run({"mlflow_servers": ["web"]}, atlas_mlflow_tls=True, **{name: "/srv/site.pem"}, **ELSEWHERE)
        assert checked_with(known)[0] == "/etc/ssl/certs/ca-certificates.crt", name
        assert known.value("web", "mlflow_server", "mlflow_server_tls_authority") == known.plans["web"]["tls_authority"], name
    assert named
    # A store of the inventory with a certificate of a company.
    company = {"minio_tls_certificate": "galaxy.yml", "minio_tls_key": "galaxy.yml", "atlas_mlflow_tls_authority": "/srv/company.pem"}
    assert "atlas_mlflow_tls_authority" in fix
    assert checked_with(run({"mlflow_servers": ["web"], "minio": ["store"]}, **company))[0] == OWN


def test_the_authority_that_the_host_has_is_left() -> None:
    with_file = run({"mlflow_servers": ["web"]}, atlas_mlflow_tls=True, mlflow_server_ca_certificate="/srv/site.pem", **ELSEWHERE)
    assert checked_with(with_file)[0] == "/etc/ssl/certs/ca-certificates.crt"


@pytest.mark.parametrize("given", [{}, {"minio_region": "eu-central-1"}])
def test_the_clients_have_the_region_of_the_store(given: dict[str, str]) -> None:
    known = run({"mlflow_servers": ["web"], "minio": ["store"]}, **given)
    wanted = known.value("store", "minio", "minio_region")
    assert wanted == given.get("minio_region", "us-east-1")
    assert known.value("web", "mlflow_server", "_mlflow_server_environment")["AWS_DEFAULT_REGION"] == wanted == known.value("web", "backup", "backup_s3_region")


def test_a_store_elsewhere_has_its_own_region() -> None:
    assert run({"mlflow_servers": ["web"]}, **ELSEWHERE).value("web", "mlflow_server", "mlflow_server_s3_region") == "us-east-1"
    other = run({"mlflow_servers": ["web"], "minio": ["store"]}, minio_region="eu-west-1", mlflow_server_s3_region="eu-central-1", **ELSEWHERE)
    assert other.value("web", "mlflow_server", "mlflow_server_s3_region") == "eu-central-1"
