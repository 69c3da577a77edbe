"""Names of plays, tasks and handlers: plain, understood alone in a log, and known to the tests on hosts that wait for a task by its name."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from plays import tasks_of

ROOT = Path(__file__).resolve().parents[2]
#: A task's name, which begins with a capital letter.
NAME = re.compile(r'^\s*- name: "?([A-Z].*?)"?\s*$', re.MULTILINE)
#: How Ansible prints a task of one of the roles.
PRINTED = re.compile(r'atlas\.mlflow\.(\w+) : ([^"\]\\\n]+)["\]]')

#: Folders whose files have plays or tasks. A file of another kind has no list at its top, or no names in it.
FOLDERS = ("roles/*/tasks", "roles/*/handlers", "playbooks", "molecule", "tools/testbed/hosts")
#: Words that are old-fashioned, or that plain English says otherwise.
REFUSED = re.compile(
    r"\b(anew|behold|beside|forth|gone|hence|hereby|lest|lies|said|shall|stands?|thence|thereby|thereof|thither|told|unto|upon|whence|where|whereof|wherein"
    r"|whether|whither|whoever|whom|whose|yonder)\b",
    re.IGNORECASE,
)
#: A pronoun as the object, whose noun is in no other word of the name.
PRONOUN = re.compile(r"^\w+ (it|its|them|they|their|theirs|these|those)\b", re.IGNORECASE)
#: A first word that is no verb.
NO_VERB = re.compile(r"^(A|An|All|Both|Each|How|It|Its|No|Nothing|Only|That|The|Their|There|These|They|This|Those|What|When|Where|Which|Who)\b")


@functools.cache
def task_names(role: str) -> list[re.Pattern[str]]:
    """Return what the names of a role's tasks look like when they are printed, a template as any text."""
    folders = [ROOT / "roles" / role / "tasks", ROOT / "roles" / role / "handlers"]
    names = [name for folder in folders for path in folder.rglob("*.yml") for name in NAME.findall(path.read_text(encoding="utf-8"))]
    return [re.compile(".*".join(re.escape(part) for part in re.split(r"\{\{.*?\}\}", name))) for name in names]


def unknown(text: str) -> list[str]:
    """Return the printed tasks of roles in a text that the roles do not have."""
    return [f"{role} : {name}" for role, name in PRINTED.findall(text) if not any(known.fullmatch(name.strip()) for known in task_names(role))]


def names_of(content: Any) -> list[str]:
    """Return the names of the plays, blocks and tasks in the content of a file. One without a name has an empty name."""
    return [entry.get("name", "") for entry in tasks_of(content)]


def fault(name: str) -> str:
    """Return what is wrong with the name of a play, a task or a handler, or an empty text."""
    words = re.sub(r"\{\{.*?\}\}", "value", name)
    if not words[:1].isupper():
        return "no capital letter"
    if len(words.split()) < 2:
        return "one word"
    if found := REFUSED.search(words) or PRONOUN.search(words) or NO_VERB.search(words):
        return found.group()
    return ""


def test_each_task_that_a_test_waits_for_is_there() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "stack").rglob("*.py")]
    assert sum(len(PRINTED.findall(text)) for text in texts) > 10
    assert [name for text in texts for name in unknown(text)] == []


def test_a_task_that_is_not_there_is_found() -> None:
    assert unknown('"atlas.mlflow.postgres : Make the databases"') == ["postgres : Make the databases"]
    assert unknown('"atlas.mlflow.mlflow_server : Stop the tracking server\'s container"') == []


def test_names_are_plain_and_understood_alone() -> None:
    paths = [path for folder in FOLDERS for path in sorted(ROOT.glob(f"{folder}/**/*.yml")) if path.name != "molecule.yml"]
    names = [(path, name) for path in paths for name in names_of(yaml.safe_load(path.read_text(encoding="utf-8")))]
    assert len(names) > 400
    assert [f"{path.relative_to(ROOT)}: {name or 'no name'}: {fault(name)}" for path, name in names if fault(name)] == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", "no capital letter"),
        ("write the unit", "no capital letter"),
        ("Image", "one word"),
        ("Run MinIO, anew where something it runs with has changed", "anew"),
        ("Set the password, whoever changed it", "whoever"),
        ("Copy the authorities beside the recipe", "beside"),
        ("Start it", "Start it"),
        ("Remove its data", "Remove its"),
        ("The backup takes all of them", "The"),
        ("Start MLflow, or restart it if its files changed", ""),
        ("Load or pull the image {{ where_it_is }}", ""),
    ],
)
def test_a_bad_name_is_found(name: str, expected: str) -> None:
    assert fault(name) == expected


def test_names_in_blocks_and_plays_are_found() -> None:
    play = {"hosts": "all", "name": "Play it", "tasks": [{"name": "Outer block", "block": [{"name": "Inner task"}], "rescue": [{"name": "Rescue task"}]}, {}]}
    assert names_of([play]) == ["Play it", "Outer block", "Inner task", "Rescue task", ""]
