"""The one process that checks the syntax of all playbooks and roles for ansible-lint."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from tools import lint

GOOD, BAD = "- ansible.builtin.ping:\n", "- ansible.builtin.no_such_module:\n"


@pytest.fixture
def files(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, Path]:
    """Return a playbook and a role, with the tasks that the test is given."""
    in_playbook, in_role = request.param
    playbook, role = tmp_path / "playbook.yml", tmp_path / "role"
    playbook.write_text(f"- hosts: localhost\n  tasks:\n    {in_playbook}")
    (role / "tasks").mkdir(parents=True)
    (role / "tasks/main.yml").write_text(in_role)
    return playbook, role


@pytest.mark.parametrize(("files", "file"), [((BAD, GOOD), "playbook.yml"), ((GOOD, BAD), "role/tasks/main.yml"), ((GOOD, GOOD), "")], indirect=["files"])
def test_a_playbook_and_a_role_that_are_wrong_are_named(files: tuple[Path, Path], file: str):
    said = lint.syntax_faults([files[0]], [files[1]])
    assert (file in said and "no_such_module" in said) if file else said == ""


def test_what_did_not_pass_is_left_to_ansible_lint_and_never_passes(monkeypatch: pytest.MonkeyPatch):
    found = [SimpleNamespace(path=Path("a.yml"), kind="playbook"), SimpleNamespace(path=Path("roles/a"), kind="role")]
    runner = SimpleNamespace(_collect_syntax_check_files=lambda: found)
    monkeypatch.setattr(lint, "_passed", set())
    monkeypatch.setattr(lint, "syntax_faults", lambda playbooks, roles: f"wrong: {playbooks} {roles}")
    monkeypatch.setattr(lint, "_each_alone", lambda _runner, matches: matches.append("match") or found)
    matches: list[str] = []
    assert lint._all_at_once(runner, matches) == found
    assert (matches, lint._passed) == (["match"], set())
    monkeypatch.setattr(lint, "_each_alone", lambda _runner, _matches: found)
    with pytest.raises(SystemExit, match="a.yml.*roles/a"):
        lint._all_at_once(runner, matches)


def test_an_imported_playbook_is_asked_for_unless_it_passed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    asked = []
    monkeypatch.setattr(lint, "_one_alone", lambda _runtime, playbook, *, basedir: asked.append(playbook))
    monkeypatch.setattr(lint, "_passed", {tmp_path / "playbooks/a.yml"})
    assert lint._one_of_all(None, "molecule/../playbooks/a.yml", basedir=tmp_path)
    assert not asked
    assert not lint._one_of_all(None, "playbooks/b.yml", basedir=tmp_path)
    assert asked == ["playbooks/b.yml"]


def test_a_task_is_read_once_and_what_a_rule_adds_is_not_seen_by_the_next(monkeypatch: pytest.MonkeyPatch):
    read = []
    monkeypatch.setattr(lint, "_normalized", {})
    monkeypatch.setattr(lint, "_normalize", lambda task: read.append(task.raw_task) or {"name": task.raw_task["name"], "action": {"src": "a"}})
    first, second = ({"name": name} for name in "ab")
    seen = lint._normalize_once(SimpleNamespace(raw_task=first))
    seen["__raw_task__"] = seen["action"]["dest"] = "added"
    assert lint._normalize_once(SimpleNamespace(raw_task=first)) == {"name": "a", "action": {"src": "a"}}
    assert lint._normalize_once(SimpleNamespace(raw_task=second))["name"] == "b"
    assert read == [first, second]


def test_lines_go_to_the_rules_that_look_at_lines(monkeypatch: pytest.MonkeyPatch):
    class OfTasks(lint.AnsibleLintRule):
        id = "of-tasks"

    class OfLines(OfTasks):
        id = "of-lines"

        def match(self, line: str) -> bool:
            return "a" in line

    monkeypatch.setattr(lint, "_each_line", lambda rule, _file: [rule.id])
    assert [lint._lines_if_read(rule(), None) for rule in (OfTasks, OfLines)] == [[], ["of-lines"]]


@pytest.mark.parametrize("text", ["a: [1\n", "a: 1\n b: 2\n", "- &a 1\n- *b\n---\n}\n", "a: 1\n", "", "a: %x\n"])
def test_an_error_of_syntax_is_described_as_by_yamllint(text: str):
    seen = [vars(found) if (found := search(text)) else None for search in (lint._syntax_error, lint._describe)]
    assert seen[0] == seen[1] and (seen[0] is None) == (text in ("a: 1\n", ""))


def test_a_path_has_its_links_followed_from_the_working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in ("one", "two"):
        (tmp_path / name / f"of_{name}").mkdir(parents=True)
        (tmp_path / name / "link").symlink_to(f"of_{name}")
        monkeypatch.chdir(tmp_path / name)
        assert lint._real_path_once(Path("link/a")) == os.path.realpath(tmp_path / name / f"of_{name}/a")
    with pytest.raises(FileNotFoundError):
        lint._real_path_once("link/a", strict=True)
