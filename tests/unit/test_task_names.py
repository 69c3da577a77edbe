"""A task that a test on hosts waits for by its name is one of the roles' tasks: it would wait in vain after a change of the name."""

from __future__ import annotations

import functools
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: A task's name, which begins with a capital letter.
NAME = re.compile(r'^\s*- name: "?([A-Z].*?)"?\s*$', re.MULTILINE)
#: How Ansible prints a task of one of the roles.
PRINTED = re.compile(r'atlas\.mlflow\.(\w+) : ([^"\'\]\\\n]+)["\'\]]')


@functools.cache
def task_names(role: str) -> list[re.Pattern[str]]:
    """Return what the names of a role's tasks look like when they are printed, a template as any text."""
    folders = [ROOT / "roles" / role / "tasks", ROOT / "roles" / role / "handlers"]
    names = [name for folder in folders for path in folder.rglob("*.yml") for name in NAME.findall(path.read_text(encoding="utf-8"))]
    return [re.compile(".*".join(re.escape(part) for part in re.split(r"\{\{.*?\}\}", name))) for name in names]


def unknown(text: str) -> list[str]:
    """Return the printed tasks of roles in a text that the roles do not have."""
    return [f"{role} : {name}" for role, name in PRINTED.findall(text) if not any(known.fullmatch(name.strip()) for known in task_names(role))]


def test_each_task_that_a_test_waits_for_is_there() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "stack").rglob("*.py")]
    assert sum(len(PRINTED.findall(text)) for text in texts) > 5
    assert [name for text in texts for name in unknown(text)] == []


def test_a_task_that_is_not_there_is_told() -> None:
    assert unknown('"atlas.mlflow.postgres : Make the databases"') == ["postgres : Make the databases"]
