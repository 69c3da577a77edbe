"""A file of the control node that the inventory names is searched for in one way, by rules, templates and tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.template import Templar
from in_process import LOADER, trusted

ROOT = Path(__file__).resolve().parents[3]


def ask(lookup: str, path: str, folder: Path) -> Any:
    """Return what a look-up of a task gives, whose role and playbook are in a folder."""
    variables = {"ansible_search_path": [str(folder / "role"), str(folder / "playbook")], "path": path}
    return Templar(loader=LOADER, variables=variables).template(trusted("{{ lookup('" + lookup + "', path) }}"))


@pytest.mark.parametrize("place", ["role/files", "role", "playbook/files", "playbook"])
def test_the_path_is_that_of_the_file_which_the_roles_read(tmp_path: Path, place: str) -> None:
    for folder, name in ((tmp_path / "role/files", "own.pem"), (tmp_path / place, "site.pem")):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(place)
    found = ask("atlas.mlflow.control_file", "site.pem", tmp_path)
    assert found == str(tmp_path / place / "site.pem") and ask("ansible.builtin.file", "site.pem", tmp_path) == place
    assert ask("atlas.mlflow.control_file", str(tmp_path / place / "site.pem"), tmp_path) == found


def test_a_file_that_is_missing_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(AnsibleError, match=r"site\.pem is no file on the control node"):
        ask("atlas.mlflow.control_file", "site.pem", tmp_path)


def test_no_task_searches_in_a_way_of_its_own() -> None:
    files = [*ROOT.glob("roles/**/*.yml"), *ROOT.glob("playbooks/**/*.yml"), *ROOT.glob("plugins/**/*.yml")]
    assert [str(path.relative_to(ROOT)) for path in files if "first_found" in path.read_text()] == []
