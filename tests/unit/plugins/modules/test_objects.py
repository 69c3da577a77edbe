"""The modules for what MLflow keeps by name, from their arguments to their results, against a server in memory."""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any
from unittest import mock

import pytest
from ansible.module_utils import basic
from fake_objects import FakeObjects
from fake_tracking import serving

SECRET = "signs-what-is-sent"
CHURN = {"name": "churn", "tags": {"team": "retention", "cost": 3}}
MODEL = {"name": "model", "description": "Predicts who leaves.", "tags": {"team": "retention"}, "aliases": {"champion": "latest", "first": 1}}
SUMMARY = {"name": "summary", "template": "Summarize: {{ text }}", "description": "Short.", "aliases": {"production": "latest"}}
HOOK = {"name": "hook", "url": "https://hooks.example.org/", "events": ["model_version.created", "prompt.created"], "secret": SECRET}
VISION = {"name": "vision", "description": "Pictures", "members": {"ada": "MANAGE", "grace": "USE"}}
#: A module with its option and a thing that it creates.
KINDS = {
    "mlflow_experiment": ("experiments", CHURN),
    "mlflow_registered_model": ("registered_models", {**MODEL, "aliases": {}}),
    "mlflow_prompt": ("prompts", SUMMARY),
    "mlflow_webhook": ("webhooks", HOOK),
    "mlflow_workspace": ("workspaces", VISION),
}
EACH = pytest.mark.parametrize("module", KINDS)


@pytest.fixture(name="fake")
def fixture_fake() -> Iterator[FakeObjects]:
    with serving(FakeObjects()) as server:
        assert isinstance(server, FakeObjects)
        yield server


def run(fake: FakeObjects, module: str, *things: dict[str, Any], check_mode: bool = False, **options: Any) -> dict[str, Any]:
    """Run a module and return its result, which has no secret."""
    given = {"url": fake.url, "timeout": 5, **({KINDS[module][0]: list(things)} if module in KINDS else {}), **options}
    handed_over = json.dumps({"ANSIBLE_MODULE_ARGS": {**given, "_ansible_check_mode": check_mode, "_ansible_diff": True}}).encode()
    printed = io.StringIO()
    program = importlib.import_module(f"ansible_collections.atlas.mlflow.plugins.modules.{module}")
    with mock.patch.multiple(basic, create=True, _ANSIBLE_ARGS=handed_over, _ANSIBLE_PROFILE="legacy"), redirect_stdout(printed), pytest.raises(SystemExit):
        program.main()
    assert SECRET not in printed.getvalue().partition('"invocation"')[0]
    result: dict[str, Any] = json.loads(printed.getvalue())
    return result


@EACH
def test_a_thing_is_created_once(fake: FakeObjects, module: str) -> None:
    option, thing = KINDS[module]
    planned = run(fake, module, thing, check_mode=True)
    assert planned["changed"] and fake.changes == []
    made = run(fake, module, thing)
    assert made[option] == planned[option] and list(made[option]) == [thing["name"]] and fake.changes
    fake.changes.clear()
    again = run(fake, module, thing)
    assert (again["changed"], again[option], fake.changes) == (False, {}, [])
    assert again["diff"]["before"] == again["diff"]["after"]


@EACH
def test_a_thing_is_removed_once(fake: FakeObjects, module: str) -> None:
    option, thing = KINDS[module]
    run(fake, module, thing)
    gone = {"name": thing["name"], "state": "absent", **({"remove_versions": True} if module == "mlflow_prompt" else {})}
    assert run(fake, module, gone, check_mode=True)["changed"] and run(fake, module, thing)["changed"] is False
    assert "state" in run(fake, module, gone)[option][thing["name"]]
    fake.changes.clear()
    assert run(fake, module, gone)["changed"] is False and fake.changes == []
    assert run(fake, module, {"name": "never there", "state": "absent"})["changed"] is False


@EACH
def test_a_bad_list_is_refused_before_anything_changes(fake: FakeObjects, module: str) -> None:
    thing = KINDS[module][1]
    assert "is given twice" in run(fake, module, thing, thing)["msg"]
    assert "is empty" in run(fake, module, thing, {**thing, "name": ""})["msg"]
    assert fake.changes == []


@EACH
def test_a_failed_request_is_told(fake: FakeObjects, module: str) -> None:
    fake.broken = {"mlflow_webhook": "webhooks", "mlflow_workspace": "workspaces"}.get(module, "create")
    assert "was answered by 500 Internal Server Error 'INTERNAL_ERROR broken on purpose'" in run(fake, module, KINDS[module][1])["msg"]


@EACH
def test_a_server_that_is_not_there_is_told(fake: FakeObjects, module: str) -> None:
    message = run(fake, module, KINDS[module][1], url="http://127.0.0.1:1")["msg"]
    assert message.startswith("http://127.0.0.1:1: connection refused (127.0.0.1:1).")


@pytest.mark.parametrize("state", ["present", "absent"])
@pytest.mark.parametrize("check_mode", [False, True])
@EACH
def test_another_program_is_not_taken_for_a_server_without_the_thing(fake: FakeObjects, module: str, check_mode: bool, state: str) -> None:
    """A web page that is there for every path answers 200 to everything."""
    for body in (b"<!doctype html><title>Welcome</title>", b"", b"[]", b'"text"'):
        fake.strange = (200, {"Content-Type": "text/html"}, body)
        result = run(fake, module, {**KINDS[module][1], "state": state}, check_mode=check_mode)
        assert "was answered by 200 OK. Another program answers in the server's place" in result["msg"] and "changed" not in result
    assert "Another program answers" in run(fake, "mlflow_info")["msg"]


def test_a_change_that_another_program_takes_is_refused(fake: FakeObjects) -> None:
    """A proxy may show a page of its own to requests that change something."""
    fake.strange, fake.changes_only = (200, {"Content-Type": "text/html"}, b"<html>Welcome</html>"), True
    message = run(fake, "mlflow_experiment", CHURN)["msg"]
    assert "POST /api/2.0/mlflow/experiments/create was answered by 200 OK. Another program" in message


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("https://user:hidden@sso.example.org/login?token=hidden", "A proxy sends clients on to https://sso.example.org/login."),
        ("/login?token=hidden", "A proxy sends clients on to /login."),
        ("//other.example.org/", "A proxy sends clients on to //other.example.org/."),
    ],
)
def test_a_redirect_is_told_without_its_secrets(fake: FakeObjects, location: str, told: str) -> None:
    fake.strange = (302, {"Location": location}, b"")
    message = run(fake, "mlflow_experiment", CHURN)["msg"]
    assert f"was answered by 302 Found. {told} Give the URL at which the server really answers." in message and "hidden" not in message


def test_a_path_that_is_missing_is_told(fake: FakeObjects) -> None:
    fake.strange = (404, {"Content-Type": "text/html"}, b"<html>nothing here</html>")
    assert "lacks the server's static prefix" in run(fake, "mlflow_experiment", CHURN)["msg"]


@EACH
@pytest.mark.parametrize("empty", [None, ""])
@pytest.mark.parametrize(("given", "missing"), [("username", "password"), ("password", "username")])
def test_half_a_login_is_refused(fake: FakeObjects, module: str, given: str, missing: str, empty: str | None) -> None:
    message = run(fake, module, KINDS[module][1], **{given: SECRET, missing: empty})["msg"]
    assert message.startswith(f"{given} is given without {missing}: set both") and fake.changes == []


def test_an_empty_login_is_none(fake: FakeObjects) -> None:
    assert run(fake, "mlflow_experiment", CHURN, username="", password="")["changed"]


@pytest.mark.parametrize("login", ["ada:sesame-open", "ada", ":sesame-open", "ada:sesame@open"])
def test_a_login_in_the_url_is_refused_without_its_secret(fake: FakeObjects, login: str) -> None:
    message = run(fake, "mlflow_experiment", CHURN, url=fake.url.replace("://", f"://{login}@"))["msg"]
    assert message == f"The URL of {fake.url} has a login, which would not be used: take it out, and set username and password." and fake.changes == []


@pytest.mark.parametrize("workspace", ["größe", "日本", "a/b", "a b", "../default", "new\nline"])
def test_a_text_that_cannot_name_a_workspace_is_refused(fake: FakeObjects, workspace: str) -> None:
    for check_mode in (False, True):
        message = run(fake, "mlflow_experiment", CHURN, workspace=workspace, check_mode=check_mode)["msg"]
        assert f"{workspace!r} is no name of a workspace" in message and fake.changes == []


def test_a_login_that_is_missing_is_told(fake: FakeObjects) -> None:
    fake.strange = (401, {}, b"")
    message = run(fake, "mlflow_experiment", CHURN)["msg"]
    assert message == f"{fake.url}: The server asks for a login. Set username and password to those of a user."
    assert "refuses the login of ada" in run(fake, "mlflow_experiment", CHURN, username="ada", password="adas-own-password")["msg"]


# Experiments


def test_tags_are_text_and_those_that_are_not_listed_stay(fake: FakeObjects) -> None:
    run(fake, "mlflow_experiment", CHURN)
    assert fake.experiments["churn"]["tags"] == {"team": "retention", "cost": "3"}
    fake.changes.clear()
    assert run(fake, "mlflow_experiment", {"name": "churn", "tags": {"team": "sales", "none": None}})["experiments"] == {"churn": ["tags"]}
    assert (fake.experiments["churn"]["tags"], fake.changes) == ({"team": "sales", "cost": "3"}, ["POST experiments/set-experiment-tag"])
    run(fake, "mlflow_experiment", {"name": "churn", "tags": {"team": None}})
    assert fake.experiments["churn"]["tags"] == {"cost": "3"}


def test_a_deleted_experiment_is_restored_with_its_number(fake: FakeObjects) -> None:
    run(fake, "mlflow_experiment", CHURN)
    number = fake.experiments["churn"]["experiment_id"]
    run(fake, "mlflow_experiment", {"name": "churn", "state": "absent"})
    assert fake.experiments["churn"]["lifecycle_stage"] == "deleted"
    fake.changes.clear()
    assert run(fake, "mlflow_experiment", CHURN)["changed"] is True
    assert (fake.changes, fake.experiments["churn"]["experiment_id"]) == (["POST experiments/restore"], number)


def test_another_location_is_refused(fake: FakeObjects) -> None:
    place = {"name": "churn", "artifact_location": "s3://bucket/churn"}
    run(fake, "mlflow_experiment", place)
    assert run(fake, "mlflow_experiment", {**place, "artifact_location": "s3://bucket/churn/"})["changed"] is False
    message = run(fake, "mlflow_experiment", {"name": "new"}, {**place, "artifact_location": "s3://bucket/other"})["msg"]
    assert "keeps its artifacts in s3://bucket/churn, and MLflow cannot change that to s3://bucket/other: leave artifact_location out" in message
    assert "new" not in fake.experiments


@pytest.mark.parametrize("location", ["artifacts/churn", "./churn", "churn"])
def test_a_location_that_depends_on_the_folder_of_the_server_is_refused(fake: FakeObjects, location: str) -> None:
    for check_mode in (True, False):
        message = run(fake, "mlflow_experiment", {"name": "churn", "artifact_location": location}, check_mode=check_mode)["msg"]
        assert f"is {location}: give a URI, or a path that begins with a slash" in message and fake.changes == []
    for number, place in enumerate(("/srv/churn", "s3://bucket/churn", "file:/srv/churn", "mlflow-artifacts:/churn")):
        assert run(fake, "mlflow_experiment", {"name": f"e{number}", "artifact_location": place})["changed"]


def test_a_release_that_cannot_remove_a_tag_says_so(fake: FakeObjects) -> None:
    fake.new = False
    run(fake, "mlflow_experiment", CHURN)
    assert "this release of MLflow cannot remove the tag of an experiment" in run(fake, "mlflow_experiment", {"name": "churn", "tags": {"team": None}})["msg"]


# Registered models


def test_aliases_follow_the_newest_version(fake: FakeObjects) -> None:
    run(fake, "mlflow_registered_model", {**MODEL, "aliases": {}})
    assert "has no version for its alias champion" in run(fake, "mlflow_registered_model", MODEL)["msg"]
    fake.add_version("model")
    assert run(fake, "mlflow_registered_model", MODEL)["registered_models"] == {"model": ["aliases"]}
    fake.add_version("model")
    run(fake, "mlflow_registered_model", MODEL)
    assert fake.models["model"]["aliases"] == {"champion": "2", "first": "1"}
    run(fake, "mlflow_registered_model", {"name": "model", "aliases": {"first": None}})
    assert fake.models["model"]["aliases"] == {"champion": "2"}
    assert fake.models["model"]["description"] == MODEL["description"]
    assert "give the number of a version, or latest" in run(fake, "mlflow_registered_model", {"name": "model", "aliases": {"a": "newest"}})["msg"]


@pytest.mark.parametrize("version", ["02", 2, "2", "latest"])
def test_the_version_of_an_alias_is_a_number(fake: FakeObjects, version: Any) -> None:
    run(fake, "mlflow_registered_model", {"name": "model"})
    fake.add_version("model")
    fake.add_version("model")
    wanted = {"name": "model", "aliases": {"champion": version}}
    assert run(fake, "mlflow_registered_model", wanted)["changed"] and fake.models["model"]["aliases"] == {"champion": "2"}
    assert run(fake, "mlflow_registered_model", wanted)["changed"] is False


@pytest.mark.parametrize(
    ("version", "told"), [(3, "its newest version is 2"), (0, "its newest version is 2"), ("²", "give the number"), (1.5, "give the number")]
)
def test_an_alias_for_a_version_that_does_not_exist_is_refused_before_anything_changes(fake: FakeObjects, version: Any, told: str) -> None:
    run(fake, "mlflow_registered_model", {"name": "model"})
    fake.add_version("model")
    fake.add_version("model")
    fake.changes.clear()
    for check_mode in (True, False):
        wanted = {"name": "model", "description": "New.", "aliases": {"champion": version}}
        assert told in run(fake, "mlflow_registered_model", wanted, check_mode=check_mode)["msg"] and fake.changes == []
    assert "there is no version" in run(fake, "mlflow_registered_model", {"name": "empty", "aliases": {"champion": 1}})["msg"] and fake.changes == []
    # The version that a prompt is about to get exists by then.
    assert run(fake, "mlflow_prompt", {**SUMMARY, "aliases": {"first": 1}})["changed"]


def test_versions_are_removed_only_if_that_is_said(fake: FakeObjects) -> None:
    run(fake, "mlflow_registered_model", {**MODEL, "aliases": {}})
    fake.add_version("model")
    gone = {"name": "model", "state": "absent"}
    assert "has versions, which MLflow removes for good: set remove_versions to true" in run(fake, "mlflow_registered_model", gone)["msg"]
    assert "model" in fake.models
    assert run(fake, "mlflow_registered_model", {**gone, "remove_versions": True})["changed"] and "model" not in fake.models


def test_a_prompt_is_no_registered_model(fake: FakeObjects) -> None:
    run(fake, "mlflow_prompt", SUMMARY)
    run(fake, "mlflow_registered_model", {"name": "model"})
    assert "summary is a prompt, and not a registered model: choose another name" in run(fake, "mlflow_registered_model", {"name": "summary"})["msg"]
    assert "model is a registered model, and not a prompt: choose another name" in run(fake, "mlflow_prompt", {**SUMMARY, "name": "model"})["msg"]


# Prompts


@pytest.mark.parametrize("module", ["mlflow_registered_model", "mlflow_prompt"])
def test_a_user_creates_what_the_server_does_not_show(fake: FakeObjects, module: str) -> None:
    option, thing = KINDS[module]
    fake.hidden = set()
    planned = run(fake, module, thing, check_mode=True)
    assert planned["changed"] and fake.changes == []
    assert run(fake, module, thing)[option] == planned[option] and thing["name"] in fake.models
    assert run(fake, module, thing)["changed"] is False


@pytest.mark.parametrize("module", ["mlflow_registered_model", "mlflow_prompt"])
def test_what_the_user_may_not_read_is_told(fake: FakeObjects, module: str, capsys: pytest.CaptureFixture[str]) -> None:
    _option, thing = KINDS[module]
    run(fake, module, thing)
    fake.hidden = {thing["name"]}
    assert "The user may not read a" in run(fake, module, thing)["msg"]
    gone = run(fake, module, {"name": thing["name"], "state": "absent"})
    assert gone["changed"] is False and thing["name"] in fake.models
    assert f"{thing['name']} to the user: there is none, or the user may not read it" in capsys.readouterr().err


def test_another_text_is_a_new_version_and_the_former_one_stays(fake: FakeObjects) -> None:
    run(fake, "mlflow_prompt", SUMMARY)
    result = run(fake, "mlflow_prompt", {**SUMMARY, "template": "Another text."}, check_mode=True)
    assert result["prompts"] == {"summary": ["aliases", "template", "version"]} and len(fake.models["summary"]["versions"]) == 1
    assert run(fake, "mlflow_prompt", {**SUMMARY, "template": "Another text."})["prompts"] == result["prompts"]
    texts = [version["tags"]["mlflow.prompt.text"] for version in fake.models["summary"]["versions"]]
    assert (texts, fake.models["summary"]["aliases"]) == (["Summarize: {{ text }}", "Another text."], {"production": "2"})
    # Without a template, no version is added.
    assert run(fake, "mlflow_prompt", {"name": "summary", "tags": {"team": "sales"}})["prompts"] == {"summary": ["tags"]}
    assert fake.models["summary"]["tags"] == {"mlflow.prompt.is_prompt": "true", "team": "sales"}


def test_a_chat_is_compared_by_its_messages(fake: FakeObjects) -> None:
    chat = {"name": "chat", "template": [{"role": "user", "content": "Hello {{ name }}"}]}
    run(fake, "mlflow_prompt", chat)
    tags = fake.models["chat"]["versions"][0]["tags"]
    assert tags["_mlflow_prompt_type"] == "chat" and json.loads(tags["mlflow.prompt.text"]) == chat["template"]
    tags["mlflow.prompt.text"] = json.dumps([{"content": "Hello {{ name }}", "role": "user"}])
    assert run(fake, "mlflow_prompt", chat)["changed"] is False
    # The same text, but no chat.
    assert run(fake, "mlflow_prompt", {"name": "chat", "template": tags["mlflow.prompt.text"] + " "})["changed"] is True


# Webhooks


@pytest.mark.parametrize(
    "template", [5, 1.5, True, {"role": "user", "content": "Hello"}, [], ["Hello"], [{"role": "user"}], [{"role": "user", "content": "a"}, 5]]
)
def test_a_template_that_is_no_text_and_no_chat_is_refused(fake: FakeObjects, template: Any) -> None:
    for check_mode in (True, False):
        message = run(fake, "mlflow_prompt", {"name": "summary", "template": template}, check_mode=check_mode)["msg"]
        assert "the template of the prompt summary is neither a text nor a list of messages" in message and fake.changes == []


def test_a_webhook_changes_in_what_differs(fake: FakeObjects) -> None:
    run(fake, "mlflow_webhook", HOOK)
    assert fake.hooks[0]["events"] == [{"entity": "MODEL_VERSION", "action": "CREATED"}, {"entity": "PROMPT", "action": "CREATED"}]
    assert (fake.hooks[0]["secret"], fake.hooks[0]["status"]) == (SECRET, "ACTIVE")
    fake.changes.clear()
    assert run(fake, "mlflow_webhook", {**HOOK, "events": HOOK["events"][::-1]})["changed"] is False
    assert run(fake, "mlflow_webhook", {"name": "hook", "active": False})["webhooks"] == {"hook": ["active"]}
    assert (fake.hooks[0]["status"], fake.changes) == ("DISABLED", ["PATCH webhooks"])
    assert run(fake, "mlflow_webhook", {**HOOK, "active": None})["changed"] is False
    result = run(fake, "mlflow_webhook", {**HOOK, "secret": SECRET + "-2", "update_secret": "always"})
    assert (result["webhooks"], fake.hooks[0]["secret"]) == ({"hook": ["secret"]}, SECRET + "-2")


def test_a_webhook_needs_a_url_and_a_name_that_no_other_has(fake: FakeObjects) -> None:
    assert "url and events are needed to create it" in run(fake, "mlflow_webhook", {"name": "hook", "url": HOOK["url"]})["msg"]
    fake.hooks += [{"webhook_id": number, "name": "hook", "url": "https://x.example.org", "events": []} for number in ("h1", "h2")]
    assert "2 webhooks have the name hook: remove or rename all but one" in run(fake, "mlflow_webhook", HOOK)["msg"]


def test_the_url_of_a_webhook_is_in_no_output(fake: FakeObjects) -> None:
    """Most services that take webhooks know the sender by a secret in the path."""
    before, after = (f"https://ci:canary-login@hooks.example.org/services/canary-{word}?token=canary-query" for word in ("one", "two"))
    results = [run(fake, "mlflow_webhook", {**HOOK, "url": before}), run(fake, "mlflow_webhook", {**HOOK, "url": after})]
    assert fake.hooks[0]["url"] == after and results[1]["webhooks"] == {"hook": ["url"]}
    shown = [results[1]["diff"][when]["hook"]["url"] for when in ("before", "after")]
    assert shown == ["https://hooks.example.org/***", "https://hooks.example.org/*** (another)"]
    fake.hooks[0]["url"] = "canary"
    results.append(run(fake, "mlflow_webhook", {"name": "hook", "active": False}))
    results.append(run(fake, "mlflow_webhook", {"name": "hook", "state": "absent"}))
    fake.broken = "webhooks"
    results.append(run(fake, "mlflow_webhook", {**HOOK, "url": before}))
    assert [result for result in results if "canary" in json.dumps(result)] == []


def test_a_release_without_webhooks_says_so(fake: FakeObjects) -> None:
    fake.new = False
    assert "this release of MLflow has no webhooks" in run(fake, "mlflow_webhook", HOOK)["msg"]


@pytest.mark.parametrize("empties", [True, False])
def test_a_description_of_a_webhook_that_stays_is_told(fake: FakeObjects, empties: bool) -> None:
    run(fake, "mlflow_webhook", {**HOOK, "description": "For the tests."})
    fake.empties = empties
    done = run(fake, "mlflow_webhook", {**HOOK, "description": ""})
    assert ("cannot remove the description of the webhook hook" in done.get("msg", "")) != empties
    assert run(fake, "mlflow_webhook", {**HOOK, "description": "For the checks."})["changed"] is True


def test_events_are_compared_as_the_server_shows_them(fake: FakeObjects) -> None:
    hook = {**HOOK, "events": ["Model_Version.Created", "PROMPT.CREATED", " prompt.created"]}
    assert run(fake, "mlflow_webhook", hook)["changed"] and run(fake, "mlflow_webhook", hook)["changed"] is False
    assert fake.hooks[0]["events"] == [{"entity": "MODEL_VERSION", "action": "CREATED"}, {"entity": "PROMPT", "action": "CREATED"}]
    assert run(fake, "mlflow_webhook", HOOK)["changed"] is False


@pytest.mark.parametrize("event", ["created", "model_version.created.twice", "", ".created", "prompt.", "model version.created"])
def test_a_text_that_is_no_event_is_refused(fake: FakeObjects, event: str) -> None:
    message = run(fake, "mlflow_webhook", {**HOOK, "events": ["prompt.created", event]})["msg"]
    assert f"the webhook hook has the event {event!r}" in message and fake.changes == []


# Workspaces


def test_members_have_one_role_of_their_workspace(fake: FakeObjects) -> None:
    run(fake, "mlflow_workspace", VISION, {"name": "speech", "default_artifact_root": "s3://speech/artifacts"})
    assert fake.spaces["speech"]["default_artifact_root"] == "s3://speech/artifacts"
    roles = {one["name"]: one for one in fake.space_roles}
    assert {name: one["permissions"] for name, one in roles.items()} == {
        "members-manage": [("workspace", "*", "MANAGE")],
        "members-use": [("workspace", "*", "USE")],
    }
    assert {name: one["users"] for name, one in roles.items()} == {"members-manage": ["ada"], "members-use": ["grace"]}
    changed = {"name": "vision", "members": {"ada": "USE", "grace": "NONE"}}
    planned = run(fake, "mlflow_workspace", changed, check_mode=True)
    assert planned["workspaces"] == {"vision": ["members"]} and roles["members-manage"]["users"] == ["ada"]
    assert planned["diff"]["before"]["vision"]["members"] == {"ada": "MANAGE", "grace": "USE"}
    assert run(fake, "mlflow_workspace", changed)["workspaces"] == planned["workspaces"]
    assert {name: one["users"] for name, one in roles.items()} == {"members-manage": [], "members-use": ["ada"]}
    assert run(fake, "mlflow_workspace", changed)["changed"] is False
    # Users that are not named stay.
    assert run(fake, "mlflow_workspace", {"name": "vision", "members": {"grace": "USE"}})["changed"]
    assert roles["members-use"]["users"] == ["ada", "grace"]


def test_whoever_is_taken_out_keeps_no_right_of_its_own(fake: FakeObjects) -> None:
    """MLflow gives whoever creates an experiment a right to it, in a role of this user alone."""
    run(fake, "mlflow_workspace", VISION)
    own = [
        {"id": 90 + number, "workspace": space, "name": "__user_2__", "users": ["grace"], "permissions": []}
        for number, space in enumerate(("vision", "default"))
    ]
    fake.space_roles += own
    out = {"name": "vision", "members": {"grace": "NONE"}}
    assert run(fake, "mlflow_workspace", out, check_mode=True)["changed"] and own[0] in fake.space_roles
    assert run(fake, "mlflow_workspace", out)["diff"]["before"]["vision"]["members"] == {"grace": "USE"}
    assert [one["name"] for one in fake.space_roles] == ["members-manage", "members-use", "__user_2__"] and own[1] in fake.space_roles
    assert run(fake, "mlflow_workspace", out)["changed"] is False
    # Whoever was taken out before, by other means, may still have it.
    fake.space_roles.append(own[0])
    assert run(fake, "mlflow_workspace", out)["diff"]["before"]["vision"]["members"] == {"grace": "OWN"}
    assert own[0] not in fake.space_roles
    # In this workspace, such rights are those of mlflow_user.
    assert run(fake, "mlflow_workspace", {"name": "default", "members": {"grace": "NONE"}})["changed"] is False and own[1] in fake.space_roles


def test_whoever_is_taken_out_keeps_no_other_role_of_the_workspace(fake: FakeObjects) -> None:
    """MLflow creates two roles with a workspace, which its page gives to users."""
    run(fake, "mlflow_workspace", VISION)
    for number, (space, name) in enumerate([("vision", "admin"), ("vision", "user"), ("vision", "readers"), ("default", "readers"), ("speech", "user")]):
        fake.space_roles.append({"id": 80 + number, "workspace": space, "name": name, "users": ["ada", "grace"], "permissions": [("workspace", "*", "USE")]})
    # Users that are not taken out keep these roles.
    assert run(fake, "mlflow_workspace", VISION)["changed"] is False
    out = {"name": "vision", "members": {"grace": "NONE", "ada": "USE"}}
    planned = run(fake, "mlflow_workspace", out, check_mode=True)
    assert planned["diff"]["before"]["vision"]["members"] == {"grace": "USE", "ada": "MANAGE"}
    assert run(fake, "mlflow_workspace", out)["diff"] == planned["diff"]
    grace = [(one["workspace"], one["name"]) for one in fake.space_roles if "grace" in one["users"]]
    assert grace == [("default", "readers"), ("speech", "user")]
    assert [one["name"] for one in fake.space_roles if "ada" in one["users"]] == ["members-use", "admin", "user", "readers", "readers", "user"]
    assert run(fake, "mlflow_workspace", out)["changed"] is False
    # Somebody gives one of them to a user who is no member.
    fake.space_roles[3]["users"].append("grace")
    assert run(fake, "mlflow_workspace", out)["diff"]["before"]["vision"]["members"]["grace"] == "OTHER"
    assert run(fake, "mlflow_workspace", out)["changed"] is False
    assert run(fake, "mlflow_workspace", {"name": "default", "members": {"grace": "NONE"}})["changed"] is False


def test_a_member_with_rights_of_its_own_stays_a_member(fake: FakeObjects) -> None:
    run(fake, "mlflow_workspace", {"name": "vision"})
    fake.space_roles.append({"id": 90, "workspace": "vision", "name": "__user_2__", "users": ["grace"], "permissions": []})
    assert run(fake, "mlflow_workspace", VISION)["workspaces"] == {"vision": ["description", "members"]}
    assert run(fake, "mlflow_workspace", VISION)["changed"] is False
    assert {one["name"]: one["users"] for one in fake.space_roles} == {"__user_2__": ["grace"], "members-manage": ["ada"], "members-use": ["grace"]}


@pytest.mark.parametrize("permission", ["USE", "MANAGE"])
def test_a_role_that_an_interrupted_run_left_without_its_permission_gets_it(fake: FakeObjects, permission: str) -> None:
    name = f"members-{permission.lower()}"
    wanted = {"name": "vision", "members": {"ada": permission, "grace": "USE"}}
    run(fake, "mlflow_workspace", {"name": "vision"})
    fake.space_roles.append({"id": 90, "workspace": "vision", "name": name, "users": ["ada"], "permissions": []})
    planned = run(fake, "mlflow_workspace", wanted, check_mode=True)
    assert planned["diff"]["before"]["vision"]["members"] == {"ada": "OWN", "grace": "NONE"} and fake.space_roles[0]["permissions"] == []
    assert run(fake, "mlflow_workspace", wanted)["diff"] == planned["diff"]
    assert fake.space_roles[0]["permissions"] == [("workspace", "*", permission)] and "ada" in fake.space_roles[0]["users"]
    assert run(fake, "mlflow_workspace", wanted)["changed"] is False


@pytest.mark.parametrize(("permission", "roles"), [("USE", ["members-use"]), ("MANAGE", ["members-manage", "members-use"]), ("NONE", [])])
def test_whoever_an_interrupted_run_left_with_both_roles_becomes_what_is_wanted(fake: FakeObjects, permission: str, roles: list[str]) -> None:
    run(fake, "mlflow_workspace", {**VISION, "members": {"ada": "MANAGE", "grace": "USE"}})
    for role in fake.space_roles:
        role["users"] = ["ada"]
    wanted = {"name": "vision", "members": {"ada": permission}}
    # The right to manage contains the right to use.
    assert run(fake, "mlflow_workspace", wanted)["changed"] is (permission != "MANAGE")
    assert [one["name"] for one in fake.space_roles if "ada" in one["users"]] == roles
    assert run(fake, "mlflow_workspace", wanted)["changed"] is False


@pytest.mark.parametrize("state", ["present", "absent"])
def test_artifacts_that_nobody_could_read_are_not_moved(fake: FakeObjects, state: str) -> None:
    """A removed experiment can be restored, so it counts too."""
    gone = {"name": "vision", "state": "absent", "on_removal": "move_to_default"}
    run(fake, "mlflow_workspace", VISION)
    run(fake, "mlflow_experiment", {"name": "dogs", "artifact_location": "s3://elsewhere/dogs"}, {"name": "cats"}, workspace="vision")
    run(fake, "mlflow_experiment", {"name": "cats", "state": state}, workspace="vision")
    message = run(fake, "mlflow_workspace", gone)["msg"]
    assert "the experiment cats of the workspace vision has artifacts that MLflow opens to this workspace alone" in message and "vision" in fake.spaces
    del fake.experiments["cats"]
    assert run(fake, "mlflow_workspace", gone)["changed"] and "vision" not in fake.spaces


def test_things_are_those_of_a_workspace(fake: FakeObjects) -> None:
    run(fake, "mlflow_workspace", VISION)
    assert run(fake, "mlflow_experiment", CHURN, workspace="vision")["changed"]
    assert run(fake, "mlflow_experiment", CHURN, workspace="vision")["changed"] is False
    assert list(run(fake, "mlflow_info", workspace="vision")["experiments"]) == ["churn"]
    assert run(fake, "mlflow_info")["experiments"] == {}


def test_a_workspace_that_is_missing_is_refused_and_in_check_mode_empty(fake: FakeObjects) -> None:
    for message in (run(fake, "mlflow_experiment", CHURN, workspace="vision")["msg"], run(fake, "mlflow_info", workspace="vision")["msg"]):
        assert message.endswith("there is no workspace vision: create it with mlflow_workspace.")
    assert run(fake, "mlflow_experiment", CHURN, workspace="vision", check_mode=True)["changed"]
    assert run(fake, "mlflow_info", workspace="vision", check_mode=True)["experiments"] == {}
    assert fake.changes == [] and fake.experiments == {}


@pytest.mark.parametrize("module", ["mlflow_experiment", "mlflow_info"])
def test_a_release_without_workspaces_does_not_ignore_one(fake: FakeObjects, module: str) -> None:
    fake.new = False
    things = [CHURN] if module == "mlflow_experiment" else []
    assert "this release of MLflow has no workspaces" in run(fake, module, *things, workspace="vision")["msg"]
    assert fake.changes == [] and fake.experiments == {}


def test_a_server_whose_workspaces_are_off_does_not_ignore_one(fake: FakeObjects) -> None:
    """MLflow 3.17.2 refuses each request that names a workspace."""
    fake.strange = (500, {}, json.dumps({"error_code": "FEATURE_DISABLED", "message": "workspaces are not enabled on this server"}).encode())
    assert "they are off: set mlflow_server_workspaces to true" in run(fake, "mlflow_experiment", CHURN, workspace="vision")["msg"]


def test_what_a_workspace_has_is_removed_only_if_that_is_said(fake: FakeObjects) -> None:
    run(fake, "mlflow_workspace", VISION)
    fake.full = {"vision"}
    gone = {"name": "vision", "state": "absent"}
    assert "Cannot delete workspace 'vision': it has experiments" in run(fake, "mlflow_workspace", gone)["msg"]
    assert run(fake, "mlflow_workspace", {**gone, "on_removal": "move_to_default"})["changed"]
    assert (fake.full, list(fake.spaces)) == ({"default"}, ["default"])


def test_the_workspace_of_the_server_stays(fake: FakeObjects) -> None:
    assert "the workspace default is the server's own" in run(fake, "mlflow_workspace", {"name": "default", "state": "absent"})["msg"]
    assert run(fake, "mlflow_workspace", {"name": "default", "members": {"ada": "USE"}})["changed"]


def test_an_unknown_permission_is_refused(fake: FakeObjects) -> None:
    message = run(fake, "mlflow_workspace", {"name": "vision", "members": {"ada": "EDIT"}})["msg"]
    assert message == "the permission of ada in vision is EDIT: choose one of USE, MANAGE, NONE" and fake.changes == []


def test_a_server_without_workspaces_says_so(fake: FakeObjects) -> None:
    fake.new = False
    assert "has no workspaces, or they are off: set mlflow_server_workspaces to true" in run(fake, "mlflow_workspace", VISION)["msg"]
    assert "set mlflow_server_workspaces to true" in run(fake, "mlflow_info", subset=["workspaces"])["msg"]


# All


def test_everything_is_listed_from_all_pages(fake: FakeObjects) -> None:
    fake.page = 2
    run(fake, "mlflow_experiment", CHURN, *({"name": f"e{number}"} for number in range(4)))
    run(fake, "mlflow_experiment", {"name": "e3", "state": "absent"})
    run(fake, "mlflow_registered_model", *({"name": f"m{number}"} for number in range(3)))
    run(fake, "mlflow_prompt", SUMMARY)
    run(fake, "mlflow_webhook", HOOK)
    fake.add_version("m0")
    run(fake, "mlflow_workspace", VISION)
    found = run(fake, "mlflow_info", subset=["experiments", "registered_models", "prompts", "webhooks", "workspaces"])
    assert found["workspaces"]["vision"] == {"state": "present", "description": "Pictures", "default_artifact_root": ""}
    assert list(found["experiments"]) == ["churn", "e0", "e1", "e2"] and found["changed"] is False
    assert found["experiments"]["churn"]["tags"] == {"team": "retention", "cost": "3"}
    assert {name: one["newest_version"] for name, one in found["registered_models"].items()} == {"m0": "1", "m1": "", "m2": ""}
    assert list(found["prompts"]) == ["summary"] and found["prompts"]["summary"]["template"] == SUMMARY["template"]
    assert found["webhooks"]["hook"]["events"] == HOOK["events"]
