"""What `ansible-test sanity` finds in a collection reaches the one who runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
GOOD = '"""A filter."""\n\nfrom __future__ import annotations\n\n__metaclass__ = type\n'
#: For each test, what it says of a bad collection. Most of these run in the process of ansible-test, or in another one than ansible-test gives them.
TESTS = {
    "pylint": ["plugins/filter/one.py:6:6: undefined-variable"],
    "line-endings": ['use "\\n" for line endings'],
    # A module can import only what every host has, and a plugin all that the control node has.
    "import": [
        "plugins/filter/three.py:0:0: stdout: said by an import",
        "plugins/modules/four.py:6:0: traceback: ModuleNotFoundError: No module named 'packaging'",
    ],
    "ansible-doc": ["Failed to load b'", "no_such_name"],
}


@pytest.mark.parametrize("bad", [False, True])
def test_a_finding_is_told_and_fails(bad: bool, tmp_path: Path) -> None:
    collection = tmp_path / "ansible_collections/a/b"
    filters, modules = collection / "plugins/filter", collection / "plugins/modules"
    for folder in (filters, modules):
        folder.mkdir(parents=True)
    (collection / "galaxy.yml").write_text("namespace: a\nname: b\nversion: 1.0.0\n")
    (filters / "one.py").write_text(GOOD + "print(no_such_name)\n" * bad)
    (filters / "two.py").write_bytes(GOOD.replace("\n", "\r\n" if bad else "\n").encode())
    (filters / "three.py").write_text(GOOD + 'print("said by an import")\n' * bad)
    (modules / "four.py").write_text(GOOD + "import packaging\n" * bad)
    tests = [*TESTS] if bad else ["pylint", "line-endings"]
    command = [sys.executable, "-m", "tools.sanity", *(word for name in tests for word in ("--test", name))]
    done = subprocess.run(command, cwd=collection, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert (done.returncode != 0) is bad, said
    for name in tests:
        assert f'Running sanity test "{name}"' in said, said
        assert [word in said for word in TESTS[name]] == [bad] * len(TESTS[name]), said
