"""The unit of a container of Podman says what the settings say, also with characters that systemd reads otherwise."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from typing import Any

from ansible.template import Templar
from in_process import LOADER, role_variables, trusted

#: What tasks find before the unit is written.
FOUND = {
    "_atlas_mlflow_plan": {"server_is_alone": True},
    "ansible_managed": "Ansible managed",
    "__mlflow_server_image": "docker.io/team/mlflow:3",
    "__mlflow_server_image_id": "4711",
    "_mlflow_server_uid": "994",
    "_mlflow_server_gid": "994",
}


def unit(**given: Any) -> str:
    """Return the text of the unit."""
    variables = {**role_variables("mlflow_server", {"mlflow_server_deployment": "podman", **given}), **FOUND}
    files = Templar(loader=LOADER, variables=variables).template(trusted("{{ _mlflow_server_podman_files }}"))
    (text,) = [file["content"] for file in files if file["path"] == "/etc/containers/systemd/mlflow-server.container"]
    return str(text)


#: What tasks find before the unit of a store is written.
FOUND_OF_STORES = {
    "_atlas_mlflow_plan": {"minio_drives": ["/var/lib/minio"]},
    "ansible_managed": "Ansible managed",
    "__postgres_image_id": "4711",
    "__minio_podman_image": {"image": "4711"},
    "__minio_user": {"uid": 995, "group": 995},
    "minio_install_method": "file",
    "_minio_file_sha256": "ABCDEF0123456789",
}


def unit_of(role: str, **given: Any) -> str:
    """Return the text of the unit of a store."""
    variables = {**role_variables(role, {f"{role}_deployment": "podman", **given}), **FOUND_OF_STORES}
    files = Templar(loader=LOADER, variables=variables).template(trusted(f"{{{{ _{role}_podman_files }}}}"))
    (text,) = [file["content"] for file in files if file["path"] == f"/etc/containers/systemd/atlas-{role}.container"]
    return str(text)


def test_a_store_is_published_where_it_listens_with_its_data_on_a_volume() -> None:
    postgres = unit_of("postgres", postgres_listen_addresses=["localhost", "10.0.0.7"], postgres_port=5433)
    assert re.findall("^PublishPort=(.*)$", postgres, re.MULTILINE) == ["127.0.0.1:5433:5432", "10.0.0.7:5433:5432"]
    assert "\nVolume=atlas-postgres-data:/var/lib/postgresql/data\n" in postgres
    minio = unit_of("minio", minio_port=9002, minio_console_port=9003)
    assert re.findall("^PublishPort=(.*)$", minio, re.MULTILINE) == ["127.0.0.1:9002:9000", "127.0.0.1:9003:9001"]
    assert "\nVolume=atlas-minio-data:/data\n" in minio
    assert "\nVolume=atlas-postgres-data:/var/lib/postgresql\n" in unit_of("postgres", postgres_image="docker.io/library/postgres:18")


def test_the_secrets_of_a_store_are_files_that_are_mounted() -> None:
    postgres = unit_of("postgres", postgres_superuser_password="canary-secret", postgres_password="canary-secret")
    minio = unit_of("minio", minio_root_password="canary-secret", minio_secret_key="canary-secret", minio_environment={"MINIO_TOKEN": "canary-secret"})
    assert "canary-secret" not in postgres + minio and "EnvironmentFile" not in postgres + minio
    assert "\nVolume=/etc/atlas-mlflow/postgres/password:/run/secrets/postgres_password:ro\n" in postgres
    assert "\nVolume=/etc/atlas-mlflow/minio.env:/run/secrets/minio.env:ro\n" in minio


def test_a_setting_of_postgresql_arrives_as_it_is() -> None:
    text = unit_of("postgres", postgres_settings={"log_line_prefix": "%m [%p] $ 'x'"})
    assert "\"--log_line_prefix=%%m [%%p] $$ 'x'\"" in text


def test_postgresql_has_shared_memory_and_time_to_stop() -> None:
    """SIGINT is its fast shutdown: by SIGTERM it would wait for its clients."""
    text = unit_of("postgres")
    assert "\nReadOnlyTmpfs=true\n" in text and "\nTmpfs=/var/run/postgresql:mode=1777\n" in text
    assert '\nPodmanArgs="--shm-size=256m" "--stop-signal=SIGINT" "--stop-timeout=60"\n' in text
    assert '"--memory=2g" "--cpus=1.5"' in unit_of("postgres", postgres_container_memory="2g", postgres_container_cpus="1.5")


def test_the_images_of_the_stores_have_their_registry() -> None:
    assert "\nImage=docker.io/library/postgres:17\n" in unit_of("postgres", postgres_image="postgres:17")
    assert "\nUser=999:999\n" in unit_of("postgres")
    assert "\nImage=localhost/atlas-mlflow/silo:file-abcdef012345-995-995\n" in unit_of("minio") and "\nUser=995:995\n" in unit_of("minio")
    custom = unit_of("minio", minio_image="minio/minio:1")
    assert "\nImage=docker.io/minio/minio:1\n" in custom and "\nUser=0:0\n" in custom


def test_a_backup_runs_on_the_image_with_pgbackrest() -> None:
    settings = {"mounts": [{"type": "bind", "source": "/srv/b", "target": "/srv/b"}], "arguments": ["-c", "archive_mode=on"], "build": {}}
    written = {"content": b64encode(json.dumps(settings).encode()).decode()}
    text = unit_of("postgres", __postgres_backup=written, __postgres_base_id="4711")
    assert "\nImage=localhost/atlas-mlflow/postgres-backup:" in text and "\nVolume=/srv/b:/srv/b\n" in text and '"archive_mode=on"' in text


def test_the_port_is_published_where_the_server_listens() -> None:
    """In the container it listens on all addresses, or nobody would reach it."""
    text = unit(mlflow_server_host="127.0.0.1", mlflow_server_port=8080)
    assert "\nPublishPort=127.0.0.1:8080:8080\n" in text
    assert '"--host" "0.0.0.0" "--port" "8080"' in text


def test_a_secret_is_a_file_that_is_mounted() -> None:
    text = unit(mlflow_server_backend_store_uri="postgresql+psycopg2://u:canary-secret@db/m", mlflow_server_environment={"TOKEN": "canary-secret"})
    assert "canary-secret" not in text and "EnvironmentFile" not in text
    assert "\nVolume=/etc/atlas-mlflow/mlflow-server.json:/run/secrets/mlflow-server.json:ro\n" in text


def test_characters_of_systemd_arrive_as_they_are() -> None:
    text = unit(mlflow_server_extra_args=["--gunicorn-opts", 'a $HOME %n "b"'], mlflow_server_os_user="ml$%")
    assert '"a $$HOME %%n \\"b\\""' in text
    assert 'Environment="USER=ml$$%%"' in text


def test_another_image_changes_the_unit() -> None:
    text = unit()
    assert "\nImage=docker.io/team/mlflow:3\n" in text and "\nLabel=atlas.mlflow.image=4711\n" in text
    assert re.findall(r"^(DropCapability|ReadOnly|NoNewPrivileges|Pull|Restart)=(.*)$", text, re.MULTILINE) == [
        ("Pull", "never"),
        ("ReadOnly", "true"),
        ("DropCapability", "all"),
        ("NoNewPrivileges", "true"),
        ("Restart", "always"),
    ]


def test_a_port_below_1024_takes_one_capability() -> None:
    assert "AddCapability" not in unit()
    assert "\nAddCapability=NET_BIND_SERVICE\n" in unit(mlflow_server_port=443)
