"""Several tracking servers restart one at a time, each drained before and put back into service afterwards. After a failure no other one is touched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import yaml
from playbook_forks import ansible_playbook

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles/mlflow_server"
#: Stands for each module: writes to a log which host did what, and returns what the inventory says.
STUB = """
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    _VALID_ARGS = None
    def run(self, tmp=None, task_vars=None):
        what = self._task.args.get("state") or self._task.action.rpartition(".")[2]
        if what != "haproxy_server" and self._task.check_mode:
            what = "compared"
        with open(task_vars["log"], "a") as log:
            log.write(f"{task_vars['inventory_hostname']} {what}\\n")
        return {"changed": False, **self._templar.template(task_vars["results"]).get(what, {}), "failed": what in task_vars.get("fails", [])}
"""
#: The same steps in place of those for a unit of systemd.
CONFIGURE = "- atlas.mlflow.files:\n  register: __mlflow_server_files\n"
START = "- atlas.mlflow.start:\n"
CHANGED = {"changed": True, "active": True, "stale": False}
SETTLED = {"changed": False, "active": True, "stale": False}
STOPPED = {"changed": True, "active": False, "stale": False}
TURN = ["drain", "files", "start", "mlflow_probe", "ready"]


def run(folder: Path, hosts: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Run the tasks for several servers with these variables of each server.

    :returns: What each server did after the comparison, the servers in the order of their first step. A server whose steps others interrupt is refused.
    """
    actions, tasks = folder / "collections/ansible_collections/atlas/mlflow/plugins/action", folder / "tasks"
    actions.mkdir(parents=True)
    tasks.mkdir()
    for name in ("files", "start", "haproxy_server", "mlflow_probe"):
        (actions / f"{name}.py").write_text(STUB)
    for name, text in (("configure_systemd", CONFIGURE), ("service_systemd", START), ("systemd", CONFIGURE + START)):
        (tasks / f"{name}.yml").write_text(text)
    for name in ("several", "in_turn"):
        shutil.copy(ROLE / f"tasks/{name}.yml", tasks)
    (folder / "play.yml").write_text("- hosts: all\n  gather_facts: false\n  tasks:\n    - include_tasks: tasks/several.yml\n")
    log = folder / "log"
    log.touch()
    service = yaml.safe_load((ROLE / "vars/main/service.yml").read_text())
    common = {
        "ansible_connection": "local",
        "ansible_become_method": "sudo",
        "log": str(log),
        "mlflow_server_deployment": "systemd",
        "mlflow_server_drain_timeout": 300,
        "mlflow_server_start_timeout": 120,
        "mlflow_server_port": 5001,
        "mlflow_server_tls_certificate": "",
        "_mlflow_server_release_changed": False,
        "_atlas_mlflow_plan": {"proxies": ["edge"], "servers": list(hosts)},
        **dict.fromkeys(["_mlflow_server_local_url", "_mlflow_server_tls_name", "_mlflow_server_authority_file", "_mlflow_server_name_in_proxies"], "x"),
        "_mlflow_server_login": {"user": "", "password": ""},
        "_mlflow_server_in_docker": False,
        "_mlflow_server_needs_restart": service["_mlflow_server_needs_restart"],
    }
    inventory = {"all": {"hosts": {name: {**common, **given} for name, given in hosts.items()}}}
    (folder / "hosts.json").write_text(json.dumps(inventory))
    paths = str(folder / "collections")
    done = ansible_playbook(folder, "-i", folder / "hosts.json", folder / "play.yml", ANSIBLE_COLLECTIONS_PATH=paths)
    steps = [line.split() for line in log.read_text().splitlines()]
    assert len([what for _host, what in steps if what == "compared"]) == len(hosts), done.stdout + done.stderr
    did = [step for step in steps if step[1] != "compared"]
    order = [host for at, (host, _what) in enumerate(did) if at == 0 or did[at - 1][0] != host]
    assert len(order) == len(set(order)), did
    return {host: [what for one, what in did if one == host] for host in order}


def test_each_restart_is_finished_before_the_next_one_begins(tmp_path: Path) -> None:
    """A stopped server starts before others restart, so that it serves meanwhile."""
    kinds = {"one": CHANGED, "two": CHANGED, "three": SETTLED, "four": STOPPED}
    did = run(tmp_path, {name: {"results": {"compared": kind, "files": kind}} for name, kind in kinds.items()})
    assert did == {"one": TURN, "two": TURN, "three": ["start"], "four": ["files", "start"]}
    assert list(did)[2:] in (["one", "two"], ["two", "one"])


def test_no_other_server_is_touched_after_a_failure(tmp_path: Path) -> None:
    """Not even its files are written. The failed server gets requests as soon as the proxies find it healthy."""
    results = {"results": {"compared": CHANGED, "files": CHANGED}, "fails": ["start"]}
    assert list(run(tmp_path, {"one": results, "two": results}).values()) == [["drain", "files", "start", "ready"]]
