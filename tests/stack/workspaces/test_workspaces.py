"""Workspaces keep teams apart: what members see, log and change, and where their artifacts are.

The tests build on one another, in this order.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from stack.support import PORT, administrator, assert_unchanged, hosts_of, login_of, play, playbook, run_boto, run_python, said
from testinfra.host import Host

PYTHON = "/opt/atlas-mlflow-demo/venv/bin/python"
VISION: dict[str, Any] = {"name": "vision", "description": "Pictures", "members": {"ada": "MANAGE", "grace": "USE"}}
SPEECH: dict[str, Any] = {"name": "speech", "members": {"heidi": "USE"}}
#: Does one thing as a user in a workspace with MLflow's client, and prints what came of it, or the refusal.
DO = """
import json, os, sys
uri, (name, password), workspace, action, given = json.load(sys.stdin)
# MLflow prints where a run can be seen.
out, sys.stdout = sys.stdout, sys.stderr
os.environ.update(MLFLOW_TRACKING_URI=uri, MLFLOW_TRACKING_USERNAME=name, MLFLOW_TRACKING_PASSWORD=password, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
import mlflow
from mlflow.exceptions import MlflowException

def log(experiment):
    mlflow.set_experiment(experiment)
    with mlflow.start_run() as run:
        mlflow.log_param("by", name)
        mlflow.log_text(f"from {name}", "note.txt")
    return run.info.run_id

def read(run_id):
    return [mlflow.get_run(run_id).data.params["by"], mlflow.artifacts.load_text(f"runs:/{run_id}/note.txt")]

def rename(run_id):
    mlflow.MlflowClient().set_tag(run_id, "mlflow.runName", f"by {name}")
    return mlflow.get_run(run_id).info.run_name

def experiments(_given):
    return sorted(one.name for one in mlflow.search_experiments())

try:
    mlflow.set_workspace(workspace)
    print(json.dumps(globals()[action](given)), file=out)
except MlflowException as error:
    print(json.dumps({"refused": error.error_code}), file=out)
"""
REFUSED = {"refused": "PERMISSION_DENIED"}
#: Prints the names of all objects of a bucket.
LIST = """
import json, sys
import boto3
endpoint, key, secret, bucket = json.load(sys.stdin)
store = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=key, aws_secret_access_key=secret)
pages = store.get_paginator("list_objects_v2").paginate(Bucket=bucket)
print(json.dumps([found["Key"] for page in pages for found in page.get("Contents", [])]))
"""


@pytest.fixture(scope="module")
def act(client: Host) -> Any:
    """Return what does one thing as a user in a workspace, from the client's host."""

    def do(name: str, workspace: str, action: str, given: str = "") -> Any:
        login = administrator() if name == "admin" else login_of(name)
        return run_python(client, DO, [f"http://{hosts_of('mlflow_servers')[0]}:{PORT}", login, workspace, action, given], PYTHON)

    return do


@pytest.fixture(scope="module")
def runs() -> dict[str, str]:
    """Return the runs that the tests have logged, by their users."""
    return {}


def put(folder: Path, *workspaces: dict[str, Any], user: str = "admin", check: bool = False) -> Any:
    """Set workspaces by the module, and return how that ended."""
    given = json.dumps({"given_workspaces": workspaces, "given_user": user})
    return play(playbook("../molecule/workspaces/set", {}, folder), "--diff", *(["--check"] if check else []), "--extra-vars", given)


def test_a_check_run_makes_no_workspace(act: Any, tmp_path: Path) -> None:
    done = put(tmp_path, VISION, SPEECH, check=True)
    assert done.returncode == 0 and "changed=1" in done.stdout and "Pictures" in done.stdout, done.stdout
    assert "refused" in act("admin", "vision", "experiments")


def test_workspaces_with_members_are_made_once(tmp_path: Path) -> None:
    done = put(tmp_path, VISION, SPEECH)
    assert done.returncode == 0 and "changed=1" in done.stdout, done.stdout
    assert_unchanged(put(tmp_path, VISION, SPEECH))


def test_members_log_in_their_own_workspace(act: Any, runs: dict[str, str]) -> None:
    runs.update(grace=act("grace", "vision", "log", "cats"), heidi=act("heidi", "speech", "log", "vowels"))
    assert all(isinstance(run, str) for run in runs.values()), runs
    assert act("grace", "vision", "read", runs["grace"]) == ["grace", "from grace"]
    assert (act("grace", "vision", "experiments"), act("heidi", "speech", "experiments")) == (["cats"], ["vowels"])


def test_whoever_is_no_member_can_do_nothing(act: Any, runs: dict[str, str]) -> None:
    assert act("heidi", "vision", "log", "dogs") == REFUSED
    assert act("heidi", "vision", "read", runs["grace"]) == REFUSED
    assert act("heidi", "vision", "experiments") in (REFUSED, [])
    # The demo's run is in the workspace that every server has.
    assert act("grace", "default", "log", "dogs") == REFUSED
    assert act("grace", "default", "experiments") in (REFUSED, [])
    # Nor by the way of one's own.
    assert act("heidi", "speech", "read", runs["grace"]) == REFUSED


def test_whoever_manages_a_workspace_changes_what_others_logged(act: Any, runs: dict[str, str]) -> None:
    assert act("ada", "vision", "rename", runs["grace"]) == "by ada"
    runs["ada"] = act("ada", "vision", "log", "cats")
    assert act("ada", "speech", "read", runs["heidi"]) == REFUSED


def test_an_experiment_is_made_in_a_workspace(act: Any, tmp_path: Path) -> None:
    given = json.dumps({"given_workspaces": [], "given_experiments": {"vision": [{"name": "birds", "tags": {"team": "vision"}}]}, "given_user": "ada"})
    command = [*playbook("../molecule/workspaces/set", {}, tmp_path), "--extra-vars", given]
    done = play(command)
    assert done.returncode == 0 and "changed=1" in done.stdout, done.stdout
    assert_unchanged(play(command))
    assert [act(name, space, "experiments") for name, space in (("ada", "vision"), ("heidi", "speech"))] == [["birds", "cats"], ["vowels"]]


def test_a_member_makes_a_registered_model(tmp_path: Path) -> None:
    given = json.dumps({"given_workspaces": [], "given_models": {"vision": [{"name": "whiskers", "tags": {"team": "vision"}}]}, "given_user": "grace"})
    command = [*playbook("../molecule/workspaces/set", {}, tmp_path), "--extra-vars", given]
    # MLflow answers "Permission denied" about a model that is not there.
    done = play(command)
    assert done.returncode == 0 and "changed=1" in done.stdout, done.stdout
    assert_unchanged(play(command))


def test_a_workspace_that_is_missing_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    given = json.dumps({"given_workspaces": [], "given_experiments": {"visoin": [{"name": "birds"}]}, "given_user": "admin"})
    done = play([*playbook("../molecule/workspaces/set", {}, tmp_path), "--extra-vars", given])
    assert done.returncode and "there is no workspace visoin: create it with mlflow_workspace" in said(done), done.stdout


def test_a_member_does_not_change_the_workspaces(tmp_path: Path) -> None:
    for user in ("grace", "heidi"):
        done = put(tmp_path, {**VISION, "description": f"Of {user}"}, user=user)
        assert done.returncode and "403" in said(done), done.stdout


def test_artifacts_are_apart(act: Any, minio: Host, runs: dict[str, str], secrets: dict[str, str]) -> None:
    found = run_boto(minio, LIST, ["http://127.0.0.1:9000", "mlflow", secrets["minio_secret_key"], "mlflow"])
    places = {run: {key.partition("/")[0] + "/" + key.split("/")[1] for key in found if run in key} for run in runs.values()}
    assert places == {runs["grace"]: {"workspaces/vision"}, runs["ada"]: {"workspaces/vision"}, runs["heidi"]: {"workspaces/speech"}}, found


def test_a_member_that_is_taken_out_can_do_nothing_more(act: Any, runs: dict[str, str], tmp_path: Path) -> None:
    changed = {"name": "vision", "members": {"grace": "NONE", "heidi": "USE"}}
    done = put(tmp_path, changed)
    assert done.returncode == 0 and "changed=1" in done.stdout, done.stdout
    assert_unchanged(put(tmp_path, changed))
    # MLflow gave her a right of her own to the experiment that she created.
    assert act("grace", "vision", "read", runs["grace"]) == REFUSED
    assert act("grace", "vision", "log", "cats") == REFUSED
    assert act("heidi", "vision", "log", "dogs") not in (REFUSED, {})
    # Those who are not named stay.
    assert act("ada", "vision", "read", runs["grace"]) == ["grace", "from grace"]


def test_a_workspace_with_content_is_not_removed(act: Any, runs: dict[str, str], tmp_path: Path) -> None:
    done = put(tmp_path, {"name": "speech", "state": "absent"})
    assert done.returncode and "changed=0" in done.stdout, done.stdout
    assert act("heidi", "speech", "read", runs["heidi"]) == ["heidi", "from heidi"]


def test_its_content_is_not_moved_to_where_nobody_could_read_the_artifacts(act: Any, runs: dict[str, str], tmp_path: Path) -> None:
    done = put(tmp_path, {"name": "speech", "state": "absent", "on_removal": "move_to_default"})
    assert done.returncode and "the experiment vowels of the workspace speech has artifacts that MLflow opens to this workspace alone" in said(done), (
        done.stdout
    )
    assert act("heidi", "speech", "read", runs["heidi"]) == ["heidi", "from heidi"]


def test_its_content_is_deleted_if_that_is_said(act: Any, tmp_path: Path) -> None:
    done = put(tmp_path, {"name": "speech", "state": "absent", "on_removal": "delete_content"})
    assert done.returncode == 0 and "changed=1" in done.stdout, done.stdout
    assert "refused" in act("heidi", "speech", "experiments")
    assert_unchanged(put(tmp_path, {"name": "speech", "state": "absent"}))
