"""What the clients of the stores are told: the CA file that a certificate is checked with, and the region of the S3 endpoint."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from ansible_collections.atlas.mlflow.plugins.module_utils.faults import FAULTS
from ansible_collections.atlas.mlflow.plugins.plugin_utils.how_to_use import how_to_use
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.options import mlflow_environment_is_passed_on

from inventories import Case, Run

OWN = "/etc/atlas-mlflow/tls/authority.pem"
HOSTS = "/etc/ssl/certs/ca-certificates.crt"
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


@pytest.mark.parametrize("tls", [True, False])
def test_the_authorities_of_the_host_check_a_store_elsewhere(tls: bool) -> None:
    """The client of S3 brings public authorities alone."""
    assert checked_with(run({"mlflow_servers": ["web"]}, atlas_mlflow_tls=tls, **ELSEWHERE)) == (HOSTS, "")
    plain = {**ELSEWHERE, "mlflow_server_s3_endpoint_url": "http://s3.example.com"}
    assert checked_with(run({"mlflow_servers": ["web"]}, atlas_mlflow_tls=tls, **plain)) == (None, "")


@pytest.mark.parametrize(("database", "check"), [("web", "verify-ca"), ("db", "verify-full")])
@pytest.mark.parametrize("deployment", ["systemd", "container"])
def test_the_authorities_of_the_host_check_a_certificate_of_postgresql_from_the_inventory(database: str, check: str, deployment: str) -> None:
    """The drivers of PostgreSQL bring an OpenSSL that finds nothing by C(sslrootcert=system), and libpq refuses C(system) with C(verify-ca)."""
    company = {"postgres_tls_certificate": "galaxy.yml", "postgres_tls_key": "galaxy.yml", "mlflow_server_deployment": deployment}
    known = run({"mlflow_servers": ["web"], "postgres": [database]}, **company)
    options = dict(parse_qsl(urlsplit(known.value("web", "mlflow_server", "mlflow_server_backend_store_uri")).query))
    if (database, deployment) != ("web", "container"):
        assert (options["sslmode"], options["sslrootcert"]) == (check, HOSTS)
        assert HOSTS in [mount["source"] for mount in known.value("web", "mlflow_server", "_mlflow_server_container_mounts")]


@pytest.mark.parametrize("deployment", ["systemd", "container"])
def test_a_database_elsewhere_can_be_checked_with_the_authorities_of_the_host(deployment: str) -> None:
    uri = "postgresql+psycopg2://mlflow:p@db.example.com:5432/mlflow?sslmode=verify-full&sslrootcert={}"
    for named, found in (("system", HOSTS), (HOSTS, None)):
        known = run({"mlflow_servers": ["web"]}, mlflow_server_backend_store_uri=uri.format(named), mlflow_server_deployment=deployment)
        assert known.value("web", "mlflow_server", "_mlflow_server_environment")["SSL_CERT_FILE"] == found
        assert HOSTS in [mount["source"] for mount in known.value("web", "mlflow_server", "_mlflow_server_container_mounts")]
    known = run({"mlflow_servers": ["web"]}, mlflow_server_deployment=deployment)
    assert known.value("web", "mlflow_server", "_mlflow_server_environment")["SSL_CERT_FILE"] is None
    assert HOSTS not in [mount["source"] for mount in known.value("web", "mlflow_server", "_mlflow_server_container_mounts")]


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
        assert checked_with(known)[0] == HOSTS, name
        assert known.value("web", "mlflow_server", "mlflow_server_tls_authority") == known.plans["web"]["tls_authority"], name
    assert named
    # A store of the inventory with a certificate of a company.
    company = {"minio_tls_certificate": "galaxy.yml", "minio_tls_key": "galaxy.yml", "atlas_mlflow_tls_authority": "/srv/company.pem"}
    assert "atlas_mlflow_tls_authority" in fix
    assert checked_with(run({"mlflow_servers": ["web"], "minio": ["store"]}, **company))[0] == OWN


@pytest.mark.parametrize("name", ["s3-failed", "artifact-store-fails"])
def test_the_fix_for_a_store_that_refuses_checksums_is_taken(name: str) -> None:
    named = dict.fromkeys(re.findall(r"AWS_\w+", FAULTS[name].fix), "when_required")
    known = run({"mlflow_servers": ["web"]}, mlflow_server_environment=named, **ELSEWHERE)
    assert sorted(named) == ["AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION"]
    assert known.told("web", "mlflow_server", mlflow_environment_is_passed_on) == ""
    assert known.value("web", "mlflow_server", "_mlflow_server_environment").items() >= named.items()


def test_the_authority_that_the_host_has_is_left() -> None:
    with_file = run({"mlflow_servers": ["web"]}, atlas_mlflow_tls=True, mlflow_server_ca_certificate="/srv/site.pem", **ELSEWHERE)
    assert checked_with(with_file)[0] == HOSTS


PUBLIC = {"haproxy_tls_certificate": "galaxy.yml", "haproxy_tls_key": "galaxy.yml", "haproxy_servers_tls": True, "mlflow_server_url": "https://ml.example.com"}


@pytest.mark.parametrize("company", ["", "/srv/company.pem"])
def test_proxies_with_a_certificate_of_others_beside_the_own_authority_are_checked_by_those_that_clients_trust(company: str) -> None:
    """Such as one of a public authority, while the hosts use the inventory's own one among each other."""
    groups = {"mlflow_servers": ["web"], "haproxy": ["edge"], "postgres": ["db"], "minio": ["store"], "prometheus": ["eye"]}
    known = run(groups, atlas_mlflow_tls=True, atlas_mlflow_metrics=True, **PUBLIC, **({"atlas_mlflow_tls_authority": company} if company else {}))
    own = known.plans["web"]["tls_authority"]
    assert known.value("web", "mlflow_server", "_mlflow_server_front_authority") == known.plans["web"]["front_authority"] == company
    assert (company in str(how_to_use(known.plans["web"], ["hosts"], lambda _name: True))) and own not in str(how_to_use(known.plans["web"], ["hosts"]))
    # The hosts check each other as before.
    assert known.value("web", "mlflow_server", "mlflow_server_tls_authority") == known.value("edge", "haproxy", "haproxy_servers_tls_authority") == own
    assert checked_with(known) == (OWN, own)
    scrapes = {one["job_name"]: one["tls_config"] for one in known.value("eye", "prometheus", "_prometheus_settings")["scrape_configs"] if "tls_config" in one}
    assert scrapes["atlas_mlflow_haproxy_edge"] == {"server_name": "ml.example.com"} and "ca_file" in scrapes["atlas_mlflow_mlflow_web"]
    # The garbage collection passes the proxies by: the server checks itself by its own certificate.
    assert "https://127.0.0.1:5001" in known.value("web", "mlflow_server", "_mlflow_server_gc_argv")


def test_a_pool_behind_proxies_with_a_certificate_of_others_is_checked_by_the_authorities_of_the_host() -> None:
    groups = {"mlflow_servers": ["web"], "haproxy": ["edge"], "minio": ["one", "two", "three", "four"]}
    assert checked_with(run(groups, atlas_mlflow_tls=True, **PUBLIC)) == (HOSTS, "")
    assert checked_with(run(groups, atlas_mlflow_tls=True))[0] == OWN


@pytest.mark.parametrize(
    "given",
    [{"atlas_mlflow_tls": True}, {"atlas_mlflow_tls_authority": "/srv/company.pem", **PUBLIC}, {**PUBLIC, "mlflow_server_tls_authority": "/srv/both.pem"}, {}],
)
def test_otherwise_clients_check_proxies_as_the_servers_check_each_other(given: dict[str, Any]) -> None:
    known = run({"mlflow_servers": ["web"], "haproxy": ["edge"]}, **given)
    authority = known.value("web", "mlflow_server", "mlflow_server_tls_authority")
    assert known.value("web", "mlflow_server", "_mlflow_server_front_authority") == known.plans["web"]["front_authority"] == authority


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
