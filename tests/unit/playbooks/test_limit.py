"""A run with --limit knows the hosts that are left out, or ends before it touches any."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.template import Templar
from ansible_collections.atlas.mlflow.plugins.action.settings import ActionModule
from in_process import LOADER, act, facts_of_this_machine, trusted
from playbook_forks import ansible_playbook

ROOT = Path(__file__).resolve().parents[3]
PLAYBOOKS = ROOT / "playbooks"
DEAD = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Return a function that runs a playbook on four hosts which are all this machine, and returns what Ansible wrote."""
    sudo = tmp_path / "sudo"
    sudo.write_text('#!/bin/sh\nwhile [ "$1" != /bin/sh ]; do shift; done\nexec "$@"\n')
    # Nothing but the facts is read on a host, whatever becomes of the playbooks: all hosts are this machine, whose facts are read once.
    (tmp_path / "facts.json").write_text(facts_of_this_machine())
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncase "$*" in *host_facts*) exec cat {tmp_path}/facts.json;; esac\nexit 126\n')
    for program in (sudo, python):
        program.chmod(0o755)

    def run(playbook: Path, limit: str, **hosts: dict[str, Any]) -> str:
        groups = {"mlflow_servers": "server", "postgres": "db", "minio": "store", "haproxy": "proxy"}
        inventory = {
            "all": {
                "vars": {
                    "ansible_connection": "local",
                    "ansible_become_exe": str(sudo),
                    "ansible_pipelining": False,  # so that the interpreter is given the module by its name
                    "ansible_python_interpreter": str(python),
                    "atlas_mlflow_secrets_dir": str(tmp_path / "secrets"),
                },
                "children": {group: {"hosts": {host: hosts.get(host, {})}} for group, host in groups.items()},
            }
        }
        (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
        done = ansible_playbook(tmp_path, "-i", tmp_path / "hosts.yml", playbook, "--limit", limit, ANSIBLE_TIMEOUT="5")
        return done.stdout + done.stderr

    return run


def test_the_stores_of_a_limited_run_have_the_addresses_of_hosts_left_out(run: Any, tmp_path: Path) -> None:
    facts = tmp_path / "facts.yml"
    show = {"ansible.builtin.copy": {"dest": str(tmp_path / "shown.json"), "content": "{{ _atlas_mlflow_plan | to_json }}"}, "delegate_to": "localhost"}
    plays = [
        {"ansible.builtin.import_playbook": str(PLAYBOOKS / "internal/facts.yml")},
        {"hosts": "mlflow_servers", "gather_facts": False, "tasks": [show]},
    ]
    facts.write_text(yaml.safe_dump(plays, sort_keys=False))
    said = run(facts, "mlflow_servers", db={"atlas_mlflow_address": "192.0.2.5"}, store={**DEAD, "atlas_mlflow_address": "192.0.2.9"})
    shown = json.loads((tmp_path / "shown.json").read_text()) if (tmp_path / "shown.json").exists() else said
    assert "@192.0.2.5:5432/mlflow" in shown["backend_store"], shown
    assert shown["s3_endpoint_url"] == "http://192.0.2.9:9000"
    assert platform.node().partition(".")[0] in shown["called_names"], shown


def test_a_host_left_out_that_cannot_be_read_ends_the_run_by_its_name(run: Any) -> None:
    said = run(PLAYBOOKS / "site.yml", "mlflow_servers", db=DEAD)
    assert "--limit leaves out db, with whose address" in said and "and it cannot be reached" in said, said
    assert "PLAY [Check all settings before" not in said


def refusal(playbook: str, *selected: str) -> str:
    """Return what a playbook says of a run on these hosts, one of each group, or nothing."""
    imported = next(
        play for play in yaml.safe_load((PLAYBOOKS / f"{playbook}.yml").read_text()) if play.get("ansible.builtin.import_playbook") == "internal/facts.yml"
    )
    groups = {"mlflow_servers": ["server"], "postgres": ["db"], "minio": ["store"], "haproxy": ["proxy"]}
    run = {"groups": groups, "ansible_play_hosts_all": list(selected), "ansible_limit": ",".join(selected), "inventory_hostname": selected[0]}
    hostvars = {host: {"inventory_dir": "/inventory"} for hosts in groups.values() for host in hosts}
    variables = {**run, "hostvars": hostvars}
    needed = Templar(loader=LOADER, variables=variables).template(trusted(imported.get("vars", {}).get("_atlas_mlflow_acts_on", [])))
    return str(act(ActionModule, {"acts_on": needed}, variables, tags=["always"]).get("msg", ""))


@pytest.mark.parametrize(
    ("playbook", "selected", "missing"),
    [
        ("remove", ["store"], "server"),
        ("verify", ["proxy"], "server"),
        ("restore", ["server", "store"], "db"),
        ("move_stores", ["server", "db"], "store"),
        ("upgrade", ["db"], "server"),
        ("update_postgres", ["server"], "db"),
        ("upgrade_postgres", ["server"], "db"),
        ("rotate_secrets", ["server", "db"], "store, proxy"),
    ],
)
def test_a_playbook_that_acts_on_hosts_left_out_is_refused(playbook: str, selected: list[str], missing: str) -> None:
    assert f"--limit {','.join(selected)} leaves out {missing}, on which this playbook has to act as well" in refusal(playbook, *selected)
    assert refusal(playbook, "server", "db", "store", "proxy") == ""


def test_site_has_to_act_on_no_other_host() -> None:
    assert refusal("site", "server") == ""


def test_the_refusal_ends_the_run_before_a_host_is_touched(run: Any) -> None:
    said = run(PLAYBOOKS / "backup.yml", "mlflow_servers")
    assert "--limit mlflow_servers leaves out db, on which this playbook has to act as well" in " ".join(said.split()), said
    assert "Gather facts" not in said


@pytest.mark.parametrize(
    "playbook", ["backup", "move_stores", "remove", "restore", "rotate_secrets", "update_postgres", "upgrade", "upgrade_postgres", "verify"]
)
def test_each_playbook_but_site_says_on_which_hosts_it_has_to_act(playbook: str) -> None:
    facts = [
        play for play in yaml.safe_load((PLAYBOOKS / f"{playbook}.yml").read_text()) if play.get("ansible.builtin.import_playbook") == "internal/facts.yml"
    ]
    assert facts and "_atlas_mlflow_acts_on" in facts[0].get("vars", {})
