"""A tracking server that moves out of Docker takes its own container along, and no other one, also on a host whose Docker does not answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.template import Templar
from in_process import LOADER, role_variables, trusted
from playbook_forks import ansible_playbook
from plays import tasks_of

ROOT = Path(__file__).resolve().parents[3]
#: Stands for a module of Docker: writes its name to a log, and returns what the inventory says.
STUB = """
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    _VALID_ARGS = None
    def run(self, tmp=None, task_vars=None):
        what = self._task.action.rpartition(".")[2]
        with open(task_vars["log"], "a") as log:
            log.write(what + "\\n")
        return self._templar.template(task_vars["results"]).get(what, {})
"""


@pytest.mark.parametrize(
    ("found", "removed"),
    [
        ({"exists": True, "container": {"Config": {"Labels": {"atlas.mlflow.files": "17"}}}}, True),
        ({"exists": True, "container": {"Config": {"Labels": {"com.docker.compose.project": "else"}}}}, False),
        ({"exists": True, "container": {"Config": {"Labels": None}}}, False),
        ({"exists": False, "container": None}, False),
        # A Docker of others is stopped, or has no Python library.
        ({"failed": True, "msg": "Failed to import the required Python library (requests)"}, False),
        ({"failed": True, "msg": "Error connecting: ('Connection aborted.', FileNotFoundError(2, 'No such file or directory'))"}, False),
        ({"failed": True, "msg": "Error connecting: ('Connection aborted.', ConnectionRefusedError(111, 'Connection refused'))"}, False),
    ],
)
def test_only_the_container_of_the_role_is_removed(found: dict[str, Any], removed: bool, tmp_path: Path) -> None:
    status, steps = leave(found, tmp_path)
    assert (status, steps) == (0, ["docker_container_info"] + ["docker_container"] * removed)


def test_a_docker_that_runs_and_does_not_answer_ends_the_move(tmp_path: Path) -> None:
    """The container may still serve."""
    assert leave({"failed": True, "msg": "Error connecting: Read timed out. (read timeout=60)"}, tmp_path) == (2, ["docker_container_info"])


def leave(found: dict[str, Any], tmp_path: Path) -> tuple[int, list[str]]:
    """Run the tasks on a host whose Docker says this, and return the exit status and the modules of Docker that were called."""
    actions = tmp_path / "collections/ansible_collections/community/docker/plugins/action"
    actions.mkdir(parents=True)
    for name in ("docker_container", "docker_container_info"):
        (actions / f"{name}.py").write_text(STUB)
    log = tmp_path / "log"
    log.touch()
    given = {"ansible_connection": "local", "log": str(log), "mlflow_server_container_name": "one", "results": {"docker_container_info": found}}
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": {"one": given}}}))
    tasks = ROOT / "roles/mlflow_server/tasks/leave_docker.yml"
    (tmp_path / "play.yml").write_text(f"- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.include_tasks: {tasks}\n")
    done = ansible_playbook(tmp_path, "-i", tmp_path / "hosts.json", tmp_path / "play.yml", ANSIBLE_COLLECTIONS_PATH=str(tmp_path / "collections"))
    return done.returncode, log.read_text().split()


@pytest.mark.parametrize("packages", [{}, {"docker.io": []}, {"docker-ce": []}])
@pytest.mark.parametrize("role", ["common", "postgres", "minio"])
def test_a_removal_asks_docker_only_if_the_host_has_it(role: str, packages: dict[str, Any]) -> None:
    """An installation may have ended before Docker, and its removal must not."""
    tasks = tasks_of(yaml.safe_load((ROOT / f"roles/{role}/tasks/remove.yml").read_text()))
    asking = [task for task in tasks if any(name.startswith("community.docker.") for name in task)]
    given = {f"{role}_deployment": "container", f"{role}_remove_data": True, "common_in_container": True, "ansible_facts": {"packages": packages}}
    variables = role_variables(role, given)
    asked = [Templar(loader=LOADER, variables=variables).template(trusted("{{ " + task["when"] + " }}")) for task in asking]
    assert asked == [bool(packages)] * len(asking) and asking
