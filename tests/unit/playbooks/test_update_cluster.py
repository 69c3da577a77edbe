"""A minor update of a cluster of PostgreSQL: one replica after another, each followed until it is healthy, and then a switch-over. No primary is restarted."""

from __future__ import annotations

import json
import os
import shutil
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_tracking import serving
from playbook_forks import ansible_playbook

ROOT = Path(__file__).resolve().parents[3]
TASKS = ROOT / "roles/postgres/tasks"
#: Stands for patronictl and psql: a cluster in a file. A restarted replica follows the primary after the second look, and after a switch-over Patroni records a
#: synchronous replica after the third.
PROGRAM = """
import json, pathlib, sys
state = pathlib.Path(__file__).with_name("state.json")
seen = json.loads(state.read_text())
members, (action, *given) = seen["members"], sys.argv[1:]
if action == "version":
    print(members[given[0]]["version"])
elif action == "list":
    listed = []
    follow = [name for name, member in members.items() if name != seen["primary"] and member["state"] == "streaming"]
    recorded = follow[:1] if seen["unrecorded"] <= 0 else []
    seen["unrecorded"] -= 1
    for name, member in members.items():
        role = "Leader" if name == seen["primary"] else "Sync Standby" if name in recorded else "Replica"
        listed.append({"Member": name, "Role": role, "State": "running" if name == seen["primary"] else member["state"]})
        if member["state"] == "starting":
            member["state"] = member.pop("next", "starting")
        elif member["state"] == "stopped":
            member.update(state="starting", next="streaming")
    print(json.dumps(listed))
else:
    healthy = all(member["state"] == "streaming" for member in members.values())
    seen["did"].append([action, given[1] if action == "restart" else seen["primary"], healthy])
    for name in [given[1]] if action == "restart" else [seen["primary"]]:
        if name not in seen["stuck"]:
            members[name].update(version=seen["installed"])
        members[name]["state"] = "stopped" if action == "restart" else "streaming"
    if action == "switchover":
        seen["primary"] = next(name for name in members if name != seen["primary"])
        seen["unrecorded"] = 3
    print("Successfully switched over" if action == "switchover" else "Success: restart on member " + given[1])
# Members are asked for their versions side by side.
if action != "version":
    state.write_text(json.dumps(seen))
"""


class Ready(BaseHTTPRequestHandler):
    """Answers that PostgreSQL runs."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_given: Any) -> None:
        """Write nothing."""


def update(folder: Path, running: dict[str, str], stuck: list[str]) -> tuple[dict[str, Any], str]:
    """Update the members with these running versions to 17.9, and return the cluster and what Ansible wrote. The first member is the primary.

    :param stuck: Members that run the older version after a restart.
    """
    tasks = folder / "tasks"
    tasks.mkdir()
    for name in ("update_cluster", "update_member", "switch_over", "primary", "minors"):
        # Retries without a delay.
        (tasks / f"{name}.yml").write_text((TASKS / f"{name}.yml").read_text().replace("delay: 2", "delay: 0").replace("delay: 5", "delay: 0"))
    for name in ("cluster", "version"):
        shutil.copy(ROOT / f"roles/postgres/vars/main/{name}.yml", folder / f"{name}.yml")
    members = {name: {"version": version, "state": "streaming"} for name, version in running.items()}
    state = folder / "state.json"
    state.write_text(json.dumps({"members": members, "primary": next(iter(running)), "installed": "17.9", "stuck": stuck, "did": [], "unrecorded": 0}))
    (folder / "patroni.py").write_text(PROGRAM)
    dpkg = folder / "bin/dpkg-query"
    dpkg.parent.mkdir()
    dpkg.write_text("#!/bin/sh\nprintf 17.9-0+deb13u1\n")
    sudo = folder / "sudo"
    sudo.write_text('#!/bin/sh\nwhile [ "$1" != /bin/sh ]; do shift; done\nexec "$@"\n')
    for program in (sudo, dpkg):
        program.chmod(0o755)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Ready)
    asked = [sys.executable, str(folder / "patroni.py")]
    given = {
        "_postgres_patroni_argv": asked,
        "_postgres_psql": [*asked, "version", "{{ inventory_hostname }}"],
        "_postgres_patroni_url": f"http://127.0.0.1:{server.server_port}",
        "_postgres_remote_tmp": "/tmp",
        "postgres_version": "17",
        "postgres_synchronous_mode": True,
        "_postgres_leaving": [],
        "postgres_members": [{"name": name, "address": name, "ip": name} for name in running],
        "_postgres_authority_file": "/etc/ssl/certs/ca-certificates.crt",
    }
    play = {
        "hosts": "all",
        "gather_facts": False,
        "vars_files": ["cluster.yml", "version.yml"],
        "tasks": [{"include_tasks": f"tasks/{name}.yml"} for name in ("minors", "update_cluster")],
    }
    (folder / "play.yml").write_text(yaml.safe_dump([play], sort_keys=False))
    # The inventory may name a member for another playbook.
    common = {
        "postgres_switch_over_to": next(iter(running)),
        "ansible_connection": "local",
        "ansible_become_exe": str(sudo),
        "ansible_python_interpreter": sys.executable,
    }
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": common, "hosts": dict.fromkeys(running, {})}}))
    (folder / "given.json").write_text(json.dumps(given))
    with serving(server):
        done = ansible_playbook(
            folder,
            "-i",
            folder / "hosts.yml",
            folder / "play.yml",
            "-e",
            f"@{folder}/given.json",
            modules_here=True,
            PATH=f"{dpkg.parent}:{os.environ['PATH']}",
        )
    return json.loads(state.read_text()), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("running", "did"),
    [
        ({"a": "17.8", "b": "17.8", "c": "17.8"}, [["restart", "b", True], ["restart", "c", True], ["switchover", "a", True]]),
        # An interrupted run is continued.
        ({"a": "17.8", "b": "17.9", "c": "17.9"}, [["switchover", "a", True]]),
        ({"a": "17.9", "b": "17.8", "c": "17.9"}, [["restart", "b", True]]),
    ],
)
def test_replicas_are_updated_one_after_another_and_the_primary_by_a_switch_over(tmp_path: Path, running: dict[str, str], did: list[list[Any]]) -> None:
    found, said = update(tmp_path, running, [])
    assert found["did"] == did, said
    assert {member["version"] for member in found["members"].values()} == {"17.9"}
    assert "failed=1" not in said
    # The switch-over has seen the synchronous replica.
    assert found["unrecorded"] < 0


def test_a_member_that_still_runs_the_older_version_is_named(tmp_path: Path) -> None:
    _found, said = update(tmp_path, {"a": "17.9", "b": "17.8", "c": "17.9"}, ["b"])
    words = " ".join(said.split())
    assert "PostgreSQL 17.9-0+deb13u1 is installed on b, and 17.8 still runs." in words, said
