"""The hosts of a pool of MinIO restart one at a time, each drained before at the proxies and put back into service afterwards, or all together.

After either, they get time to find each other.
"""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest
import yaml
from playbook_forks import ansible_playbook

ROOT = Path(__file__).resolve().parents[3]
TASKS = ROOT / "roles/minio/tasks"
#: Stands for each module: writes to a log which host did what.
STUB = """
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    _VALID_ARGS = None
    def run(self, tmp=None, task_vars=None):
        given = self._task.args
        what = " ".join(filter(None, [given.get("state"), given.get("backend")])) or self._task.action.rpartition(".")[2]
        with open(task_vars["log"], "a") as log:
            log.write(f"{task_vars['inventory_hostname']} {what}\\n")
        return {"changed": given.get("state") == "restarted", "status": 200, "failed": f"{task_vars['inventory_hostname']} {what}" == task_vars["fails"]}
"""
MODULES = ("haproxy_server", "systemd_service", "uri", "wait_for", "files")
FILES = ("restart_in_turn.yml", "served.yml", "connect.yml")
TURN = ["uri"] * 3 + ["drain minio", "restarted", "uri", "wait_for", "ready minio"]
TOGETHER = ["restarted", "uri", "files", "wait_for"]


def run(folder: Path, fails: str = "", how: str = "in turn") -> list[tuple[str, str]]:
    """Return what the hosts of a pool do in their order if a step of a host fails.

    :param how: How the hosts restart: in turn or together.
    """
    actions, tasks = folder / "collections/ansible_collections/atlas/mlflow/plugins/action", folder / "tasks"
    actions.mkdir(parents=True)
    tasks.mkdir()
    for name in MODULES:
        (actions / f"{name}.py").write_text(STUB)
    for name in FILES:
        text = (TASKS / name).read_text()
        (tasks / name).write_text(re.sub(f"ansible[.]builtin[.]({'|'.join(MODULES)})", r"atlas.mlflow.\1", text).replace("retries: 120", "retries: 1"))
    text = re.sub(f"ansible[.]builtin[.]({'|'.join(MODULES)})", r"atlas.mlflow.\1", (TASKS / "service_pool.yml").read_text())
    text = re.sub(f"({'|'.join(FILES)})", r"tasks/\1", text)
    # The tasks that restart and wait, without what happens if they fail.
    (block,) = [task["block"] for task in yaml.safe_load(text) if "block" in task]
    (folder / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": block}]))
    names = ["one", "two", "three"]
    variables = {
        "ansible_connection": "local",
        "log": str(folder / "log"),
        "fails": fails,
        "__minio_restart": how,
        "__together": how == "together",
        "minio_port": 9000,
        "minio_tls_certificate": "",
        "minio_drain_timeout": 300,
        "_minio_pools": [[{"name": name, "scheme": "http", "address": name, "port": 9000} for name in names]],
        "_atlas_mlflow_plan": {"proxies": ["edge"]},
        **dict.fromkeys(
            ["_minio_authority_file", "_minio_endpoint_url", "_minio_health", "_minio_name_in_proxies", "_minio_served_file", "_minio_server"], "x"
        ),
    }
    (folder / "log").touch()
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": dict.fromkeys(names, variables)}}))
    paths = str(folder / "collections")
    done = ansible_playbook(folder, "-i", folder / "hosts.json", folder / "play.yml", ANSIBLE_COLLECTIONS_PATH=paths)
    assert (done.returncode != 0) == bool(fails), done.stdout + done.stderr
    return [(host, what) for host, _space, what in (line.partition(" ") for line in (folder / "log").read_text().splitlines())]


def test_each_host_is_drained_and_serves_again_before_the_next_one_begins(tmp_path: Path) -> None:
    done, names = run(tmp_path), ["one", "two", "three"]
    turns, served = done[: -len(names)], done[-len(names) :]
    assert turns in [[(host, what) for host in order for what in TURN] for order in itertools.permutations(names)]
    # What serves is recorded in the end.
    assert sorted(served) == sorted((name, "files") for name in names)


@pytest.mark.parametrize(("step", "did"), [("restarted", ["uri"] * 3 + ["drain minio", "restarted", "ready minio"]), ("uri", ["uri"] * 6)])
def test_no_other_host_restarts_after_a_failure_and_the_drained_host_is_put_back(tmp_path: Path, step: str, did: list[str]) -> None:
    done = run(tmp_path, f"two {step}")
    order = list(dict.fromkeys(host for host, _what in done))
    # Nothing happens on the hosts whose turn has not come.
    assert order[-1] == "two"
    assert {host: [what for one, what in done if one == host] for host in order} == {**dict.fromkeys(order, TURN), "two": did}


def test_hosts_that_restart_together_find_each_other_before_the_next_step(tmp_path: Path) -> None:
    done = run(tmp_path, how="together")
    assert {host: [what for one, what in done if one == host] for host, _what in done} == dict.fromkeys(["one", "two", "three"], TOGETHER)
