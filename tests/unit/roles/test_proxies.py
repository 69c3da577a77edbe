"""Which requests of the tasks go through the proxy of a host: downloads, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from plays import tasks_of

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted([*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("roles/*/handlers/*.yml"), *ROOT.glob("playbooks/**/*.yml")])
ASKING = [path for path in FILES if "ansible.builtin.uri:" in path.read_text()]


@pytest.mark.parametrize("path", ASKING, ids=lambda path: "-".join(path.relative_to(ROOT).with_suffix("").parts[1:]))
def test_a_service_of_the_stack_is_asked_without_a_proxy(path: Path) -> None:
    """A host may have http_proxy in /etc/environment. Its proxy would not reach the loopback addresses of the host."""
    asked = [task["ansible.builtin.uri"] for task in tasks_of(yaml.safe_load(path.read_text())) if "ansible.builtin.uri" in task]
    assert asked and all(request.get("use_proxy") is False for request in asked)


def test_podman_pulls_by_the_proxy_of_downloads() -> None:
    """It has no settings of its own, unlike Docker."""
    (pull,) = [task for task in tasks_of(yaml.safe_load((ROOT / "roles/common/tasks/podman_image.yml").read_text())) if "atlas.mlflow.podman_image" in task]
    assert pull["environment"] == "{{ common_download_environment }}"
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
    assert tasks and all(task["environment"] == "{{ postgres_download_environment }}" for task in tasks)
