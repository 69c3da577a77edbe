"""The module as a whole, from its arguments to its result, against a server with users that gives permissions either way."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any
from unittest import mock

import pytest
from ansible.module_utils import basic
from ansible_collections.atlas.mlflow.plugins.modules import mlflow_user
from fake_tracking import serving
from fake_users import ADMIN, FakeUsers

ADA = {"name": "ada", "password": "adas-own-password", "experiments": {"churn": "EDIT"}, "registered_models": {"model": "READ"}}
GRACE = {"name": "grace", "password": "graces-own-password", "admin": True}
CHURN, MODEL = ("experiment", "7"), ("registered_model", "model")
PROMPT, TOOLS = ("prompt", "greeting"), ("mcp_server", "team/tools")


@pytest.fixture(name="fake", params=[False, True], ids=["apart", "roles"])
def fixture_fake(request: pytest.FixtureRequest) -> Iterator[FakeUsers]:
    with serving(FakeUsers(request.param)) as server:
        assert isinstance(server, FakeUsers)
        yield server


def run(fake: FakeUsers, users: list[dict[str, Any]], check_mode: bool = False, **options: Any) -> dict[str, Any]:
    """Run the module and return its result."""
    given = {"url": fake.url, "username": ADMIN[0], "password": ADMIN[1], "users": users, "timeout": 5, **options}
    handed_over = json.dumps({"ANSIBLE_MODULE_ARGS": {**given, "_ansible_check_mode": check_mode, "_ansible_diff": True}}).encode()
    printed = io.StringIO()
    with mock.patch.multiple(basic, create=True, _ANSIBLE_ARGS=handed_over, _ANSIBLE_PROFILE="legacy"), redirect_stdout(printed), pytest.raises(SystemExit):
        mlflow_user.main()
    result: dict[str, Any] = json.loads(printed.getvalue())
    for secret in (ADMIN[1], *(one["password"] for one in users if len(one.get("password") or "") > 8)):
        assert secret not in printed.getvalue()
    return result


def test_users_are_made_with_their_permissions_and_a_second_run_changes_nothing(fake: FakeUsers) -> None:
    result = run(fake, [ADA, GRACE])
    assert result["changed"] is True
    assert result["users"] == {"ada": ["admin", "experiments", "password", "registered_models", "state"], "grace": ["admin", "password", "state"]}
    assert fake.users["ada"] == {"id": 2, "password": ADA["password"], "admin": False, "given": {CHURN: "EDIT", MODEL: "READ"}, "elsewhere": {}}
    assert fake.users["grace"]["admin"] is True
    changes = list(fake.changes)
    again = run(fake, [ADA, GRACE])
    assert (again["changed"], again["users"], fake.changes) == (False, {}, changes)
    assert again["diff"]["before"] == again["diff"]["after"]


def test_check_mode_says_what_would_change_and_changes_nothing(fake: FakeUsers) -> None:
    result = run(fake, [ADA], check_mode=True)
    assert result["changed"] is True and fake.changes == [] and "ada" not in fake.users
    assert result["diff"]["before"] == {"ada": {"state": "absent", "experiments": {"churn": "DEFAULT"}, "registered_models": {"model": "DEFAULT"}}}
    assert result["diff"]["after"]["ada"]["experiments"] == {"churn": "EDIT"}
    run(fake, [ADA])
    assert run(fake, [ADA], check_mode=True)["changed"] is False


def test_a_changed_password_changes_that_and_nothing_else(fake: FakeUsers) -> None:
    run(fake, [ADA, GRACE])
    fake.changes.clear()
    result = run(fake, [{**ADA, "password": "another-password"}, GRACE])
    assert (result["users"], fake.changes) == ({"ada": ["password"]}, ["PATCH users/update-password"])
    assert fake.users["ada"]["password"] == "another-password"
    assert result["diff"]["before"]["ada"]["password"] == "another"


def test_a_changed_permission_changes_that_and_nothing_else(fake: FakeUsers) -> None:
    run(fake, [ADA])
    fake.changes.clear()
    assert run(fake, [{**ADA, "experiments": {"churn": "MANAGE"}}])["users"] == {"ada": ["experiments"]}
    assert len(fake.changes) == 1 and fake.users["ada"]["given"] == {CHURN: "MANAGE", MODEL: "READ"}


def test_what_is_not_listed_is_left_alone(fake: FakeUsers) -> None:
    run(fake, [ADA, GRACE])
    assert run(fake, [{"name": "ada"}])["changed"] is False
    assert fake.users["ada"]["given"] == {CHURN: "EDIT", MODEL: "READ"} and "grace" in fake.users
    assert run(fake, [])["changed"] is False


@pytest.mark.parametrize("given", ["MANAGE", "READ"])
def test_a_permission_on_a_model_of_the_same_name_in_another_workspace_stays(fake: FakeUsers, given: str) -> None:
    """MLflow gives whoever creates a model the permission to manage it, in the workspace of the model."""
    run(fake, [GRACE, {"name": "ada", "password": ADA["password"]}])
    fake.users["ada"]["elsewhere"] = {MODEL: given}
    wanted = [{"name": "ada", "registered_models": {"model": "READ"}}]
    result = run(fake, wanted)
    assert result["diff"]["before"]["ada"]["registered_models"] == {"model": "DEFAULT"} and result["users"] == {"ada": ["registered_models"]}
    assert (fake.users["ada"]["given"], fake.users["ada"]["elsewhere"]) == ({MODEL: "READ"}, {MODEL: given})
    assert run(fake, wanted)["changed"] is False
    for permission in ("EDIT", "DEFAULT"):
        wanted = [{"name": "ada", "registered_models": {"model": permission}}]
        assert run(fake, wanted)["changed"] and run(fake, wanted)["changed"] is False
    assert (fake.users["ada"]["given"], fake.users["ada"]["elsewhere"]) == ({}, {MODEL: given})


def test_a_permission_is_taken_back_and_none_at_all_is_given(fake: FakeUsers) -> None:
    run(fake, [ADA])
    wanted = {"name": "ada", "experiments": {"churn": "DEFAULT"}, "registered_models": {"model": "NO_PERMISSIONS"}}
    assert run(fake, [wanted])["users"] == {"ada": ["experiments", "registered_models"]}
    assert fake.users["ada"]["given"] == {MODEL: "DENY" if fake.roles else "NO_PERMISSIONS"}
    assert run(fake, [wanted])["changed"] is False


def test_a_permission_on_a_prompt_goes_where_the_release_looks_for_it(fake: FakeUsers) -> None:
    """The older way has no prompts: a permission on the registered model of the name applies to the prompt."""
    run(fake, [ADA])
    place = PROMPT if fake.roles else ("registered_model", "greeting")
    for permission, kept in (("READ", "READ"), ("EDIT", "EDIT"), ("NO_PERMISSIONS", "DENY" if fake.roles else "NO_PERMISSIONS"), ("DEFAULT", None)):
        wanted = [{"name": "ada", "prompts": {"greeting": permission}}]
        fake.changes.clear()
        looked = run(fake, wanted, check_mode=True)
        assert (looked["users"], fake.changes) == ({"ada": ["prompts"]}, [])
        result = run(fake, wanted)
        assert result["users"] == {"ada": ["prompts"]} and result["diff"] == looked["diff"] and len(fake.changes) == 1
        assert result["diff"]["after"]["ada"]["prompts"] == {"greeting": permission} != result["diff"]["before"]["ada"]["prompts"]
        given = {CHURN: "EDIT", MODEL: "READ", place: kept}
        assert fake.users["ada"]["given"] == {one: held for one, held in given.items() if held}
        assert run(fake, wanted)["changed"] is False


def test_a_model_and_a_prompt_of_one_name(fake: FakeUsers) -> None:
    """The older way keeps one permission for both, so it is given once, and two different ones are refused."""
    same = {**GRACE, "registered_models": {"greeting": "READ"}, "prompts": {"greeting": "READ"}}
    assert run(fake, [same])["changed"] is True
    assert fake.users["grace"]["given"] == {("registered_model", "greeting"): "READ", **({PROMPT: "READ"} if fake.roles else {})}
    assert run(fake, [same])["changed"] is False
    fake.changes.clear()
    different = [ADA, {**same, "prompts": {"greeting": "DEFAULT"}}]
    result = run(fake, different)
    if fake.roles:
        assert fake.users["grace"]["given"] == {("registered_model", "greeting"): "READ"}
    else:
        assert "permissions of grace on greeting differ between registered_models and prompts, and MLflow before 3.13.0" in result["msg"]
        assert fake.changes == [] and "ada" not in fake.users


def test_a_permission_on_an_mcp_server_needs_a_release_that_has_it(fake: FakeUsers) -> None:
    wanted = [ADA, {**GRACE, "mcp_servers": {"team/tools": "USE"}}]
    result = run(fake, wanted)
    if fake.roles:
        assert fake.users["grace"]["given"] == {TOOLS: "USE"} and run(fake, wanted)["changed"] is False
        assert run(fake, [{**GRACE, "mcp_servers": {"team/tools": "DEFAULT"}}])["users"] == {"grace": ["mcp_servers"]}
        assert fake.users["grace"]["given"] == {}
    else:
        assert "grace has permissions in mcp_servers" in result["msg"] and "3.15.0 or newer" in result["msg"]
        assert fake.changes == [] and "ada" not in fake.users
    assert run(fake, [{"name": "grace", "state": "absent", "mcp_servers": {"team/tools": "USE"}}]).get("msg") is None


def test_a_user_is_removed_when_that_is_said(fake: FakeUsers) -> None:
    run(fake, [ADA])
    assert run(fake, [{"name": "ada", "state": "absent"}])["users"] == {"ada": ["state"]}
    assert "ada" not in fake.users
    assert run(fake, [{"name": "ada", "state": "absent"}])["changed"] is False


def test_an_administrator_is_made_and_unmade(fake: FakeUsers) -> None:
    run(fake, [ADA])
    assert run(fake, [{**ADA, "admin": True}])["users"] == {"ada": ["admin"]}
    assert fake.users["ada"]["admin"] is True
    run(fake, [ADA])
    assert fake.users["ada"]["admin"] is False


def test_a_missing_experiment_is_said_or_made(fake: FakeUsers) -> None:
    wanted = [{**ADA, "experiments": {"forecast": "READ"}}]
    assert "there is no experiment forecast" in run(fake, wanted)["msg"]
    assert run(fake, wanted, missing_experiments="create", check_mode=True)["changed"] is True and "forecast" not in fake.experiments
    run(fake, wanted, missing_experiments="create")
    assert fake.users["ada"]["given"][("experiment", fake.experiments["forecast"])] == "READ"


@pytest.mark.parametrize("missing", ["fail", "create"])
def test_a_permission_is_taken_back_without_the_experiment(fake: FakeUsers, missing: str) -> None:
    run(fake, [ADA])
    fake.changes.clear()
    wanted = [{"name": "ada", "experiments": {"churn": "DEFAULT", "never there": "DEFAULT"}}]
    assert run(fake, wanted, missing_experiments=missing)["users"] == {"ada": ["experiments"]}
    assert len(fake.changes) == 1 and CHURN not in fake.users["ada"]["given"] and list(fake.experiments) == ["churn"]
    assert run(fake, wanted, missing_experiments=missing)["changed"] is False


@pytest.mark.parametrize(
    ("users", "said"),
    [
        ([{"name": "ada", "password": "tiny"}], "The password of ada is shorter than 12"),
        ([{"name": "ada", "password": "password1234"}], "or the one that old releases came with"),
        ([{"name": "ada", "experiments": {"churn": "WRITE"}}], "The permission of ada on churn is WRITE: choose one of READ, USE"),
        ([{"name": "ada", "prompts": {"greeting": "WRITE"}}], "The permission of ada on greeting is WRITE: choose one of READ, USE"),
        ([ADA, ADA], "The user ada is given twice"),
        ([{"name": "a:da"}], "may not be empty or hold a colon"),
        ([{"name": "admin"}], "The user admin is who this logs in as"),
        ([{"name": "ada"}], "no password is given to make it with"),
    ],
)
def test_bad_input_is_said_and_changes_nothing(fake: FakeUsers, users: list[dict[str, Any]], said: str) -> None:
    result = run(fake, users)
    assert result["failed"] is True and said in result["msg"] and fake.changes == []


def test_what_the_server_refuses_is_said(fake: FakeUsers) -> None:
    fake.add("eve", "eves-own-password")
    assert "refuses the login of admin" in run(fake, [ADA], password="wrong-password")["msg"]
    assert "eve is no administrator" in run(fake, [ADA], username="eve", password="eves-own-password")["msg"]
    fake.broken = "/users/create"
    assert "was answered by 500" in run(fake, [ADA])["msg"] and "broken on purpose" in run(fake, [ADA])["msg"]
    fake.broken = "/experiments/search"
    fake.add("ada", "adas-own-password")
    assert "a login of ada was answered by 500" in run(fake, [ADA])["msg"]
    assert "refused" in run(fake, [ADA], url="http://127.0.0.1:1")["msg"]
