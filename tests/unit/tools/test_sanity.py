"""What `ansible-test sanity` finds in a collection reaches the one who runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
GOOD = '"""A filter."""\n\nfrom __future__ import annotations\n\n__metaclass__ = type\n'


@pytest.mark.parametrize("bad", [False, True])
def test_a_finding_is_told_and_fails(bad: bool, tmp_path: Path) -> None:
    """One finding is pylint's, which runs in the process of ansible-test, and one is a test's that is a program of its own."""
    collection = tmp_path / "ansible_collections/a/b"
    filters = collection / "plugins/filter"
    filters.mkdir(parents=True)
    (collection / "galaxy.yml").write_text("namespace: a\nname: b\nversion: 1.0.0\n")
    (filters / "one.py").write_text(GOOD + "print(no_such_name)\n" * bad)
    (filters / "two.py").write_bytes(GOOD.replace("\n", "\r\n" if bad else "\n").encode())
    command = [sys.executable, "-m", "tools.sanity", "--test", "pylint", "--test", "line-endings"]
    done = subprocess.run(command, cwd=collection, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert 'Running sanity test "line-endings"' in said and 'Running sanity test "pylint"' in said
    assert (done.returncode != 0) is bad, said
    assert ("undefined-variable" in said and 'use "\\n" for line endings' in said) is bad, said
