"""Run ansible-lint faster: one process checks the syntax of all playbooks and roles, and results are not computed again for each rule.

ansible-lint starts `ansible-playbook --syntax-check` for each playbook, role and import of a playbook. This takes three quarters of its processor time.
Here one process checks the same files, with fewer copies of their content. If the check fails, ansible-lint repeats it in its own way, and reports the
wrong file and line.

Half of the remaining time is for copies of each task for each of forty rules, for matching each path with the same patterns, for links in the same paths, and
for passing each line to rules that look at no line. Here these are done once, and the last is left out. libyaml looks for errors of syntax first.

    python -m tools.lint [OPTION OF ANSIBLE-LINT]...
"""

from __future__ import annotations

import functools
import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, MutableMapping
from pathlib import Path
from typing import Any

import ansiblelint.file_utils
import ansiblelint.utils
import wcmatch._wcparse
import wcmatch.pathlib
import yaml
import yamllint.linter
from ansible_compat.runtime import Runtime
from ansiblelint.__main__ import _run_cli_entrypoint
from ansiblelint.errors import MatchError
from ansiblelint.file_utils import Lintable
from ansiblelint.rules import AnsibleLintRule
from ansiblelint.runner import Runner

from . import quick_copies

#: ansible-lint's check of each playbook and role that it has found, and its check of an imported playbook.
_each_alone, _one_alone = Runner._run_syntax_check_phase, Runtime.has_playbook
#: The playbooks that passed the check.
_passed: set[Path] = set()
#: ansible-lint's function that prepares a task for its rules.
_normalize = ansiblelint.utils.normalize_task_v2
#: ansible-lint's loop over the lines of a file.
_each_line = AnsibleLintRule.matchlines
#: yamllint's search for an error of syntax, with a parser in Python.
_describe = yamllint.linter.get_syntax_error
#: Python's function for the path without links.
_follow = os.path.realpath
#: Prepared tasks, by the identity of the original task. The original is kept, so that no other task gets its identity.
_normalized: dict[int, tuple[Any, MutableMapping[str, Any]]] = {}


def syntax_faults(playbooks: Iterable[Path], roles: Iterable[Path]) -> str:
    """Return the output of `ansible-playbook --syntax-check` for the playbooks and roles, empty if they pass."""
    play = "- hosts: localhost\n  tasks:\n" + "".join(f"    - ansible.builtin.import_role:\n        name: {role.resolve()}\n" for role in roles)
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as of_roles:
        of_roles.write(play)
        of_roles.flush()
        done = subprocess.run(
            # Without the folder of this program in the path of imports.
            [sys.executable, "-P", quick_copies.__file__, "--syntax-check", *playbooks, of_roles.name],
            # The same options as ansible-lint's: the missing inventory is not a fault of a playbook.
            env={**os.environ, "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "false"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    return "" if done.returncode == 0 else done.stdout.strip() or f"exit code {done.returncode}"


def _all_at_once(self: Runner, matches: list[MatchError]) -> list[Lintable]:
    """Check the syntax of the files that ansible-lint found, and return them."""
    files = self._collect_syntax_check_files()
    playbooks = [file.path for file in files if file.kind == "playbook"]
    said = syntax_faults(playbooks, [file.path for file in files if file.kind == "role"])
    if not said:
        _passed.update(path.resolve() for path in playbooks)
        return files
    before = len(matches)
    files = _each_alone(self, matches)
    if len(matches) == before:
        sys.exit(f"The playbooks and roles do not pass `ansible-playbook --syntax-check` together:\n{said}")
    return files


def _one_of_all(self: Runtime, playbook: str, *, basedir: Path | None = None) -> bool:
    """Return whether an imported playbook passes the check."""
    return ((basedir or Path()) / playbook).resolve() in _passed or _one_alone(self, playbook, basedir=basedir)


def _normalize_once(task: Any) -> MutableMapping[str, Any]:
    """Return a prepared task. The dictionary and its arguments are copies, because a rule may change them."""
    if id(task.raw_task) not in _normalized:
        _normalized[id(task.raw_task)] = task.raw_task, _normalize(task)
    made = _normalized[id(task.raw_task)][1]
    return {**made, "action": {**made["action"]}}


def _lines_if_read(self: AnsibleLintRule, file: Lintable) -> list[MatchError]:
    """Return what a rule finds in the lines of a file, if the rule looks at lines."""
    return [] if type(self).match is AnsibleLintRule.match else _each_line(self, file)


@functools.cache
def _real_path(_folder: str, path: str, strict: bool) -> str:
    """Return a path without links.

    :param _folder: The working directory, which a relative path begins with.
    """
    return _follow(path, strict=strict)


def _real_path_once(path: Any, *, strict: bool = False) -> Any:
    """Return a path without links, for which its folders are read once."""
    return _real_path(os.getcwd(), os.fspath(path), strict)


def _syntax_error(text: str) -> Any:
    """Return the error of syntax in a file, if it has one, as yamllint describes it."""
    try:
        for _event in yaml.parse(text, Loader=yaml.CBaseLoader):
            pass
    except yaml.YAMLError:
        return _describe(text)
    return None


def patch() -> None:
    """Replace these functions of ansible-lint."""
    quick_copies.install()
    Runner._run_syntax_check_phase = _all_at_once  # type: ignore[method-assign]
    Runtime.has_playbook = _one_of_all  # type: ignore[method-assign]
    ansiblelint.utils.normalize_task_v2 = _normalize_once
    AnsibleLintRule.matchlines = _lines_if_read  # type: ignore[method-assign]
    # No file changes or moves while the rules run.
    ansiblelint.file_utils.kind_from_path = functools.cache(ansiblelint.file_utils.kind_from_path)
    ansiblelint.file_utils.find_role_dir = functools.cache(ansiblelint.file_utils.find_role_dir)
    # The result of the match depends only on the path and the pattern.
    wcmatch.pathlib.PurePath.globmatch = functools.cache(wcmatch.pathlib.PurePath.globmatch)  # type: ignore[method-assign]
    wcmatch._wcparse.compile = functools.cache(wcmatch._wcparse.compile)
    os.path.realpath = _real_path_once  # type: ignore[assignment]
    yamllint.linter.get_syntax_error = _syntax_error


if __name__ == "__main__":
    patch()
    # The tasks that the rules read are needed until the end: garbage collection would find little.
    gc.disable()
    sys.argv[0] = "ansible-lint"
    _run_cli_entrypoint()
