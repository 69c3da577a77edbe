"""Several tracking servers are upgraded one at a time if no schema changes. Otherwise all of them stop, which the playbook says before it stops any."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from ansible_collections.atlas.mlflow.plugins.plugin_utils.schemas import schema_changes
from playbook_forks import LOGGED, ansible_playbook, collection_with
from plays import tasks_of

ROOT = Path(__file__).resolve().parents[3]
RELEASES = {path.parent.name: json.loads(path.read_text()) for path in (ROOT / "roles/mlflow_server/files/releases").glob("*/options.json")}
#: Added to what stands for a file of tasks: it fails on some hosts.
FAIL = "- ansible.builtin.fail:\n    msg: it fails\n  when: inventory_hostname ~ ' ' ~ mlflow_server_version in fails\n"
STUBS = {
    "upgrade_preflight": "- ansible.builtin.meta: noop\n",
    "kept_revision": "- ansible.builtin.meta: noop\n",
    "upgrade_from": "- ansible.builtin.set_fact: {mlflow_server_upgrade_wanted: '{{ wanted }}', mlflow_server_upgrade_reasons: '{{ reasons }}',"
    " mlflow_server_upgrade_from: '1', mlflow_server_upgrade_to: '{{ mlflow_server_version }}'}\n",
    "apply": LOGGED.format(step="{{ mlflow_server_version }}") + FAIL,
    **{step: LOGGED.format(step=step) for step in ("install", "stop", "keep_database", "bring_back_database", "upgrade_done")},
}


class Run(NamedTuple):
    """What a run of the playbook did and wrote."""

    steps: list[tuple[str, str]]
    text: str
    status: int

    def of(self, host: str) -> list[str]:
        """Return the steps of a host."""
        return [step for one, step in self.steps if one == host]


def run(folder: Path, reasons: list[str], *arguments: str, fails: tuple[str, ...] = (), fatal: bool = False, **hosts: bool) -> Run:
    """Run the playbook with stubs of the role.

    :param reasons: Why all servers stop.
    :param fails: Servers, each with a release that does not run there.
    :param fatal: Whether an error of one host is fatal for all hosts by the settings of Ansible, which only a new process reads.
    :param hosts: The servers, with whether each of them has the former release.
    """
    collection = collection_with(folder, "upgrade.yml")
    for name, text in STUBS.items():
        (collection / f"roles/mlflow_server/tasks/{name}.yml").write_text(text)
    # As for users who take each release that the collection has as its default. Tasks outside of the role do not know it.
    (collection / "roles/mlflow_server/defaults").mkdir()
    (collection / "roles/mlflow_server/defaults/main.yml").write_text("mlflow_server_version: '2'\n")
    log = folder / "log"
    log.touch()
    common: dict[str, Any] = {"ansible_connection": "local", "log": str(log), "fails": list(fails), "reasons": reasons}
    common["ansible_python_interpreter"] = sys.executable
    inventory = {"mlflow_servers": {"hosts": {name: {**common, "wanted": wanted} for name, wanted in hosts.items()}}}
    (folder / "hosts.json").write_text(json.dumps(inventory))
    playbook, paths = collection / "playbooks/upgrade.yml", str(folder / "collections")
    words: list[str | Path] = ["-i", folder / "hosts.json", playbook, *arguments]
    if fatal:
        env = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": paths, "ANSIBLE_LOCAL_TEMP": str(folder / "temporary"), "ANSIBLE_ANY_ERRORS_FATAL": "true"}
        program = Path(sys.executable).parent / "ansible-playbook"
        done = subprocess.run([program, *words], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    else:
        done = ansible_playbook(folder, *words, modules_here=True, ANSIBLE_COLLECTIONS_PATH=paths)
    steps = [(host, step) for host, _space, step in (line.partition(" ") for line in log.read_text().splitlines())]
    return Run(steps, " ".join((done.stdout + done.stderr).split()), done.returncode)


def test_servers_with_the_same_schema_are_upgraded_one_at_a_time(tmp_path: Path) -> None:
    done = run(tmp_path, [], one=True, two=True, three=False)
    assert done.status == 0, done.text
    assert sorted(done.steps[:2]) == [("one", "install"), ("two", "install")]
    assert done.steps[2:] in [[(host, step) for host in order for step in ("2", "upgrade_done")] for order in (("one", "two"), ("two", "one"))]
    assert "The tracking servers one, two are upgraded one at a time, while the others serve: no schema changes." in done.text
    assert "Release 2 replaced 1." in done.text


def test_the_servers_after_a_failed_one_keep_their_release(tmp_path: Path) -> None:
    """It goes back itself. No record of the upgrade is left, with which site.yml would be refused."""
    done = run(tmp_path, [], fails=("one 2", "two 2"), one=True, two=True, three=False)
    assert done.status != 0
    failed, other = ("one", "two") if "2" in done.of("one") else ("two", "one")
    assert done.of(failed) == ["install", "2", "1", "upgrade_done"] and done.of(other) == ["install", "upgrade_done"] and done.of("three") == []
    assert f"The upgrade of {failed} to 2 failed, and was rolled back: release 1 serves again. Release 2 serves on three, and {other} kept" in done.text
    assert "The error: it fails" in done.text


def test_a_failed_rollback_is_told(tmp_path: Path) -> None:
    done = run(tmp_path, [], fails=("one 2", "one 1", "two 2", "two 1"), one=True, two=True)
    assert done.status != 0 and "release 1 serves again. But it does not verify: it fails" in done.text
    assert len([step for _host, step in done.steps if step == "2"]) == 1


def test_all_servers_go_back_if_one_does_not_and_errors_are_fatal_for_all_hosts(tmp_path: Path) -> None:
    """A record of the upgrade that is left behind would refuse site.yml."""
    done = run(tmp_path, ["the schema changes"], fails=("one 2", "one 1", "two 2"), fatal=True, one=True, two=True)
    assert done.status != 0
    assert [done.of(host)[-2:] for host in ("one", "two")] == [["1", "upgrade_done"]] * 2, done.text


def recovers(content: Any) -> bool:
    """Return whether tasks have a rescue, or include the file of tasks that rolls a server back."""
    return any("rescue" in task or "former_release.yml" in str(task.get("ansible.builtin.include_tasks")) for task in tasks_of(content))


PLAYS = [(path.name, play) for path in sorted((ROOT / "playbooks").rglob("*.yml")) for play in yaml.safe_load(path.read_text()) if "hosts" in play]
RECOVERING = [pytest.param(play, id=f"{name}-{play['name']}") for name, play in PLAYS if recovers(play.get("tasks"))]


@pytest.mark.parametrize("play", RECOVERING)
def test_a_play_that_recovers_says_that_an_error_is_not_fatal_for_other_hosts(play: dict[str, Any]) -> None:
    """Otherwise, the settings of Ansible may end the run for hosts that have no error, and so have nothing to recover from yet."""
    assert len(RECOVERING) > 5 and play.get("any_errors_fatal") is False


def test_all_servers_stop_for_another_schema_which_is_told_before(tmp_path: Path) -> None:
    done = run(tmp_path, ["the schema of the backend store changes from revision a to b"], one=True, two=True)
    assert done.status == 0, done.text
    stopped = [step for _host, step in done.steps].index("stop")
    assert "2" not in [step for _host, step in done.steps[: stopped + 2]] and done.of("one")[1] == done.of("two")[1] == "stop"
    words = (
        "The tracking servers one, two all stop for the upgrade, and their users are interrupted: the schema of the backend store changes from revision a to b."
    )
    assert done.text.count(words) == 1 and done.text.index(words) < done.text.index("PLAY [Install the release")


def test_a_check_run_says_what_stops_and_stops_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, ["the schema changes"], "--check", one=True, two=True)
    assert done.status == 0 and "all stop for the upgrade, and their users are interrupted: the schema changes." in done.text
    assert done.steps == []


def test_one_server_is_rolled_back_with_its_database_and_not_told_that_others_stop(tmp_path: Path) -> None:
    done = run(tmp_path, ["the schema changes"], fails=("one 2", "one 1"), one=True)
    assert done.of("one") == ["install", "stop", "keep_database", "2", "stop", "bring_back_database", "1", "upgrade_done"]
    assert done.status != 0 and "all stop" not in done.text
    assert "release 1 serves again, on the database as it was before. But it does not verify: it fails" in done.text


BASIC = {"schema_revision": "a", "auth_schema_revision": "c"}


@pytest.mark.parametrize(
    ("former", "wanted", "auth", "changes"),
    [
        (BASIC, BASIC, "none", []),
        (BASIC, BASIC, "basic", []),
        (BASIC, {**BASIC, "schema_revision": "b"}, "none", ["the schema of the backend store changes from revision a to b"]),
        (BASIC, {**BASIC, "auth_schema_revision": "d"}, "none", []),
        (BASIC, {**BASIC, "auth_schema_revision": "d"}, "basic", ["the schema of the store of users changes from revision c to d"]),
        ({}, BASIC, "none", ["the revision of the schema of the backend store is not known"]),
        (BASIC, {}, "none", ["the revision of the schema of the backend store is not known"]),
        (BASIC, BASIC, "oidc", ["the revision of the schema of the store of users is not known"]),
    ],
)
def test_a_schema_that_changes_is_named(former: dict[str, str], wanted: dict[str, str], auth: str, changes: list[str]) -> None:
    assert schema_changes(former, wanted, auth) == changes


def test_each_release_tells_its_schemas() -> None:
    for facts in RELEASES.values():
        assert schema_changes(facts, facts, "basic") == []
    assert schema_changes(RELEASES["3.10.1"], RELEASES["3.17.2"], "none") == [
        "the schema of the backend store changes from revision 1b5f0d9ad7c1 to dc11669786a5"
    ]
