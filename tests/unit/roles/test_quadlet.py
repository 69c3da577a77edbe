"""The unit of a container of Podman says what the settings say, also with characters that systemd reads otherwise."""

from __future__ import annotations

import re
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
