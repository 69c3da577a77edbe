"""The set-up: which interpreter it takes, when it has nothing to do, what it takes out of the wheel."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tools import bootstrap


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        ([("shim", None), ("python3", (3, 11)), ("python3.12", (3, 12))], "python3.12"),
        ([("python3.13", (3, 13)), ("python3.12", (3, 12))], "python3.13"),
        ([("shim", None), ("python3", (3, 11))], "python3"),
        ([("python3", (3, 10)), ("shim", None)], None),
        ([], None),
    ],
)
def test_takes_the_first_preferred_version_else_the_first_that_will_do(found, chosen):
    result = bootstrap.choose(found)
    assert (result and result[0]) == chosen


def test_a_shim_that_refuses_is_no_interpreter(tmp_path: Path):
    shim = tmp_path / "python3.13"
    shim.write_text("#!/bin/sh\necho 'command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    assert bootstrap.version_of(str(shim)) is None
    assert bootstrap.version_of(str(tmp_path / "absent")) is None
    assert bootstrap.version_of(sys.executable) == sys.version_info[:2]


def test_the_stamp_changes_with_each_input_and_with_nothing_else(tmp_path: Path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("a")
    before = bootstrap.digest([one, two], "word")
    assert bootstrap.digest([one, two], "word") == before
    assert bootstrap.digest([one, two], "another") != before
    two.write_text("b")
    with_two = bootstrap.digest([one, two], "word")
    assert with_two != before
    # The border between two files counts.
    one.write_text("ab")
    two.write_text("")
    assert bootstrap.digest([one, two], "word") != with_two


def test_does_again_only_what_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now = {"environment": "1", "tools": "2", "collections": "3"}
    monkeypatch.setattr(bootstrap, "VENV_PYTHON", tmp_path / "python")
    assert bootstrap.due(now, now) == list(now), "an environment that is gone is made anew, whatever was noted"
    (tmp_path / "python").write_text("")
    assert bootstrap.due(now, now) == []
    assert bootstrap.due(now, {**now, "tools": "0"}) == ["tools"]
    assert bootstrap.due(now, {**now, "environment": "0"}) == list(now)
    assert bootstrap.due(now, {"environment": "1"}) == ["tools", "collections"]


def test_reads_the_names_of_the_real_requirements():
    import yaml

    text = bootstrap.REQUIREMENTS.read_text()
    listed = [item["name"] for item in yaml.safe_load(text)["collections"]]
    assert bootstrap.wanted_collections(text) == listed
    assert "community.docker" in listed


def wheel(path: Path, collections: dict[str, dict[str, str]]) -> zipfile.ZipFile:
    with zipfile.ZipFile(path, "w") as content:
        for name, dependencies in collections.items():
            folder = f"ansible_collections/{name.replace('.', '/')}"
            information = {"version": "1.2.3", "dependencies": dependencies}
            content.writestr(f"{folder}/MANIFEST.json", json.dumps({"collection_info": information}))
            content.writestr(f"{folder}/plugins/{name}.py", "")
    return zipfile.ZipFile(path)


def test_takes_a_collection_with_what_it_depends_on_and_nothing_else(tmp_path: Path):
    with wheel(tmp_path / "w.whl", {"a.one": {"b.two": ">=1"}, "b.two": {}, "a.one_more": {}}) as carrier:
        old = tmp_path / "ansible_collections/a/one/old.py"
        old.parent.mkdir(parents=True)
        old.write_text("")
        taken = bootstrap.extract(carrier, ["a.one"], tmp_path)
    assert taken == {"a.one": "1.2.3", "b.two": "1.2.3"}
    assert (tmp_path / "ansible_collections/b/two/plugins/b.two.py").exists()
    assert not (tmp_path / "ansible_collections/a/one_more").exists()
    assert not old.exists()


def test_says_which_collection_the_wheel_lacks(tmp_path: Path):
    with wheel(tmp_path / "w.whl", {"a.one": {}}) as carrier, pytest.raises(bootstrap.BootstrapError, match="x.y"):
        bootstrap.extract(carrier, ["x.y"], tmp_path)


def test_a_command_that_fails_shows_what_it_said():
    with pytest.raises(bootstrap.BootstrapError, match="said this"):
        bootstrap.run([sys.executable, "-c", "print('said this'); raise SystemExit(3)"])


def test_tells_how_to_name_an_interpreter_where_none_will_do():
    done = subprocess.run([sys.executable, bootstrap.__file__, "--python", "/nowhere/python9"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "PYTHON=" in done.stderr


def test_a_machine_without_ensurepip_and_without_sudo_says_what_root_must_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bootstrap.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name: None if name == "sudo" else f"/usr/bin/{name}")
    monkeypatch.setattr(bootstrap, "run", lambda command: pytest.fail(f"ran {command}"))
    with pytest.raises(bootstrap.BootstrapError, match="Run as root: apt-get install python3.12-venv"):
        bootstrap.install_ensurepip((3, 12))
