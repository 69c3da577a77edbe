"""Which requests of the tasks go through the proxy of a host: downloads, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.template import Templar
from in_process import LOADER, role_variables, trusted
from plays import tasks_of

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted([*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("roles/*/handlers/*.yml"), *ROOT.glob("playbooks/**/*.yml")])
PROXY = "http://proxy.example.com:3128"
#: The names by which a server reaches itself.
OWN = "localhost,127.0.0.1,::1,ml.example.com"
ASKING = [path for path in FILES if "ansible.builtin.uri:" in path.read_text()]


@pytest.mark.parametrize("path", ASKING, ids=lambda path: "-".join(path.relative_to(ROOT).with_suffix("").parts[1:]))
def test_a_service_of_the_stack_is_asked_without_a_proxy(path: Path) -> None:
    """A host may have http_proxy in /etc/environment. Its proxy would not reach the loopback addresses of the host."""
    asked = [task["ansible.builtin.uri"] for task in tasks_of(yaml.safe_load(path.read_text())) if "ansible.builtin.uri" in task]
    assert asked and all(request.get("use_proxy") is False for request in asked)


def test_podman_pulls_by_the_proxy_of_downloads() -> None:
    """It has no settings of its own, unlike Docker."""
    (pull,) = [task for task in tasks_of(yaml.safe_load((ROOT / "roles/common/tasks/podman_image.yml").read_text())) if "atlas.mlflow.podman_image" in task]
    assert pull["atlas.mlflow.podman_image"]["download_environment"] == "{{ common_download_environment }}"
    calls = [(path.parts[-3], task) for path in FILES for task in tasks_of(yaml.safe_load(path.read_text())) if "podman_image" in tasks_from(task)]
    assert {role for role, _task in calls} == {"mlflow_server", "postgres", "minio"}
    assert all(task["vars"]["common_download_environment"] == f"{{{{ {role}_download_environment }}}}" for role, task in calls)


def tasks_from(task: dict[str, object]) -> str:
    """Return the file of tasks of a role that a task includes."""
    included = task.get("ansible.builtin.include_role")
    return str(included.get("tasks_from", "")) if isinstance(included, dict) else ""


def test_the_key_of_a_repository_comes_by_the_proxy_of_downloads() -> None:
    files = [path for path in FILES if "deb822_repository:" in path.read_text()]
    tasks = [task for path in files for task in tasks_of(yaml.safe_load(path.read_text())) if "ansible.builtin.deb822_repository" in task]
    assert tasks
    for task in tasks:
        for key, expected in (("https://keys.example.com/key.asc", {"HTTPS_PROXY": PROXY}), ("/etc/apt/keyrings/key.asc", {})):
            variables = {"postgres_download_environment": {"HTTPS_PROXY": PROXY}, "postgres_pgdg_key_url": key}
            assert Templar(loader=LOADER, variables=variables).template(trusted(task["environment"])) == expected


def test_no_other_task_puts_the_variables_of_downloads_into_a_command_line() -> None:
    """Ansible puts the keyword C(environment) of a task into the command line of its module, and a proxy may have a password."""
    tasks = [task for path in FILES for task in tasks_of(yaml.safe_load(path.read_text())) if "download_environment" in str(task.get("environment", ""))]
    assert [task["name"] for task in tasks] == ["Add the repository of the PostgreSQL project"]
    given = [task for path in FILES for task in tasks_of(yaml.safe_load(path.read_text())) if "download_environment" in str(task)]
    modules = {name for task in given for name in task if name.startswith("atlas.mlflow.")}
    assert modules == {f"atlas.mlflow.{name}" for name in ("bundle_make", "download", "podman_image", "uv_environment")}


@pytest.mark.parametrize("deployment", ["systemd", "container", "podman"])
@pytest.mark.parametrize(
    ("given", "direct"),
    [
        ({}, None),
        ({"mlflow_server_environment": {"MLFLOW_GATEWAY_URI": "http://x"}}, None),
        ({"mlflow_server_environment": {"HTTPS_PROXY": PROXY}}, f"{OWN},10.0.0.9"),
        ({"mlflow_server_environment": {"http_proxy": PROXY}}, f"{OWN},10.0.0.9"),
        ({"mlflow_server_environment": {"ALL_PROXY": PROXY}}, f"{OWN},10.0.0.9"),
        # An endpoint elsewhere may be behind the proxy.
        ({"mlflow_server_environment": {"HTTPS_PROXY": PROXY}, "mlflow_server_s3_endpoint_url": "https://s3.example.com"}, OWN),
        ({"mlflow_server_environment": {"HTTPS_PROXY": PROXY, "NO_PROXY": ".example.com"}}, ".example.com"),
        ({"mlflow_server_environment": {"HTTPS_PROXY": PROXY, "no_proxy": ".example.com"}}, None),
    ],
)
def test_the_server_reaches_itself_and_its_store_without_a_proxy(deployment: str, given: dict[str, Any], direct: str | None) -> None:
    plan = {"server_is_alone": True, "s3_endpoint_url": "http://10.0.0.9:9000", "minio_host": "", "artifacts_destination": "s3://mlflow"}
    secrets = {"mlflow_server_webhook_key": "", "mlflow_server_kek_passphrase": "", "mlflow_server_url": "https://ml.example.com/ml"}
    variables = {**role_variables("mlflow_server", {"mlflow_server_deployment": deployment, **secrets, **given}), "_atlas_mlflow_plan": plan}
    environment = Templar(loader=LOADER, variables=variables).template(trusted("{{ _mlflow_server_environment }}"))
    assert environment.get("NO_PROXY") == direct


def test_the_provider_is_probed_by_the_proxy_of_the_server_and_without_its_other_variables() -> None:
    tasks = tasks_of(yaml.safe_load((ROOT / "roles/mlflow_server/tasks/verify.yml").read_text()))
    (probed,) = [task["atlas.mlflow.oidc_probe"] for task in tasks if "atlas.mlflow.oidc_probe" in task]
    given = {"HTTPS_PROXY": PROXY, "OIDC_USERNAME_FIELD": "email", "AWS_CA_BUNDLE": "x"}
    secrets = {"mlflow_server_webhook_key": "", "mlflow_server_kek_passphrase": "", "mlflow_server_url": "https://ml.example.com/ml"}
    for environment, expected in (
        (given, {"HTTPS_PROXY": PROXY, "NO_PROXY": OWN}),
        ({}, {}),
        ({**given, "no_proxy": "*"}, {"HTTPS_PROXY": PROXY, "no_proxy": "*"}),
    ):
        variables = {**role_variables("mlflow_server", {"mlflow_server_environment": environment, **secrets}), "_atlas_mlflow_plan": {}}
        assert Templar(loader=LOADER, variables=variables).template(trusted(probed["environment"])) == expected
