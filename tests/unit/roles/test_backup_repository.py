"""A PostgreSQL in a container archives its log to a bucket, and checks the bucket's certificate with the CA file of the settings, also if that file changes."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from inventories import Case, Run

#: The tasks that read what the backup has written for the container.
READS = Path(__file__).resolve().parents[3] / "roles/postgres/tasks/container_needs.yml"
ON_S3 = {
    "backup_repository": "s3://kept/atlas",
    "backup_repository_s3_endpoint_url": "https://s3.example.com",
    "backup_repository_s3_access_key_id": "backup",
}
#: What PostgreSQL in a container says before its backup is set up.
ANSWER = {"data": "/var/lib/postgresql/data", "config": "/var/lib/postgresql/data/postgresql.conf", "major": 17, "mark": None}
#: The CA file in the settings, and the one that the container must read, by its path on the host.
AUTHORITIES = {"/own/ca.pem": "/opt/atlas-mlflow/backup/repository-authority.pem", "": "/etc/ssl/certs/ca-certificates.crt"}


def role(deployment: str, authority: str, **more: Any) -> Run:
    """Return what a run knows of a backup to a bucket."""
    given = {"atlas_mlflow_deployment": deployment, **ON_S3, "backup_repository_s3_authority": authority, **more}
    known = Run(Case({"mlflow_servers": ["web"], "postgres": ["db"]}, {"web": given, "db": given}))
    known.hosts["db"] |= {"__backup_postgres": {"query_result": [ANSWER]}, "ansible_managed": "Ansible"}
    return known


def authority_of(known: Run) -> PurePosixPath:
    """Return the CA file that pgBackRest reads."""
    (path,) = re.findall("^repo1-storage-ca-file=(.*)$", known.value("db", "backup", "lookup('ansible.builtin.template', 'pgbackrest.conf.j2')"), re.MULTILINE)
    return PurePosixPath(path)


@pytest.mark.parametrize("deployment", ["container", "podman"])
@pytest.mark.parametrize("authority", AUTHORITIES)
def test_a_container_reads_the_ca_file_on_its_host_also_if_another_takes_its_place(deployment: str, authority: str) -> None:
    known = role(deployment, authority)
    inside = authority_of(known)
    (mount,) = [one for one in known.value("db", "backup", "_backup_container_mounts") if inside.is_relative_to(one["target"])]
    assert mount["read_only"]
    assert str(PurePosixPath(mount["source"]) / inside.relative_to(mount["target"])) == AUTHORITIES[authority]
    # A mounted file would stay the former one.
    assert inside != PurePosixPath(mount["target"])
    if authority:
        assert AUTHORITIES[authority] == known.value("db", "backup", "_backup_repository_authority_file")


def test_a_service_reads_the_ca_file_of_the_settings() -> None:
    assert str(authority_of(role("systemd", "/own/ca.pem"))) == AUTHORITIES["/own/ca.pem"]


@pytest.mark.parametrize("deployment", ["container", "podman"])
def test_the_password_of_a_proxy_for_the_build_is_in_no_output(deployment: str) -> None:
    """The role postgres builds the image with the arguments in this file. Ansible shows the content of other files in differences, and logs it."""
    arguments = {"HTTPS_PROXY": "http://ci:canary-proxy@proxy.example.com:3128"}
    known = role(deployment, "", backup_download_environment=arguments)
    known.hosts["db"]["__backup_served"] = {"results": []}
    files = known.value("db", "backup", "_backup_files + _backup_postgres_files")
    assert "/etc/atlas-mlflow/postgres-backup/container.json" in [file["path"] for file in files] and "canary-proxy" not in str(files)
    hidden = known.value("db", "backup", "_backup_secret_contents['/etc/atlas-mlflow/postgres-backup/container.json']")
    assert json.loads(hidden)["build"]["args"] == arguments and hidden.endswith("}\n")
    (reading,) = [task for task in yaml.safe_load(READS.read_text(encoding="utf-8")) if "ansible.builtin.slurp" in task]
    assert reading["ansible.builtin.slurp"]["src"] == "/etc/atlas-mlflow/postgres-backup/container.json" and reading["no_log"] is True
