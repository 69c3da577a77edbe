"""Another CA file of the site restarts the tracking server, which reads the trust store of its host, in each deployment."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.template import Templar
from in_process import LOADER, role_variables, trusted

#: What tasks find before the server is started.
FOUND = {
    "_atlas_mlflow_plan": {"server_is_alone": True},
    "ansible_managed": "Ansible managed",
    "__mlflow_server_files": {"newest": 17},
    "__mlflow_server_image": "registry.example.com/team/mlflow:3",
    "__mlflow_server_image_id": "4711",
    "_mlflow_server_uid": "994",
    "_mlflow_server_gid": "994",
}
#: What restarts the server if it differs: the text of the unit, the labels of the container, and the description by Quadlet.
RESTARTS = {
    "systemd": "lookup('ansible.builtin.template', 'mlflow-server.service.j2')",
    "container": "_mlflow_server_container_labels",
    "podman": "(_mlflow_server_podman_files | selectattr('path', 'eq', _mlflow_server_quadlet_file) | first).content",
}


@pytest.mark.parametrize("deployment", RESTARTS)
def test_another_authority_restarts_the_server(deployment: str, tmp_path: Path) -> None:
    file = tmp_path / "site.pem"

    def seen(content: str) -> str:
        file.write_text(content)
        variables = role_variables("mlflow_server", {"mlflow_server_deployment": deployment, "mlflow_server_ca_certificate": str(file)})
        return str(Templar(loader=LOADER, variables={**variables, **FOUND}).template(trusted(f"{{{{ {RESTARTS[deployment]} }}}}")))

    first = seen("one")
    assert first != seen("two"), "the server goes on with the former one"
    assert first == seen("one")
