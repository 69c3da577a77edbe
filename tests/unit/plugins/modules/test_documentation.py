"""What the modules' documentation says of their options is what they take."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

ROOT = Path(__file__).resolve().parents[4]
#: Those that are an action on the control node take their options there.
ACTIONS = {path.stem for path in (ROOT / "plugins/action").glob("*.py")}
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))


@pytest.fixture(scope="module")
def documented() -> dict[str, Any]:
    """Return what ansible-doc says of each module, with what stands in the fragments."""
    command = [str(Path(sys.executable).with_name("ansible-doc")), "--json", *(f"atlas.mlflow.{name}" for name in MODULES)]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=60, check=True)
    return {name.rpartition(".")[2]: entry for name, entry in json.loads(done.stdout).items()}


def taken(name: str) -> dict[str, Any]:
    """Return a module's options, as it hands them to AnsibleModule."""

    class Seen(Exception):
        pass

    module = importlib.import_module(f"ansible_collections.atlas.mlflow.plugins.modules.{name}")
    with mock.patch.object(module, "AnsibleModule", side_effect=Seen) as ansible_module, pytest.raises(Seen):
        module.main()
    given = ansible_module.call_args
    return given.args[0] if given.args else given.kwargs["argument_spec"]


def plain(options: dict[str, Any], suboptions: str) -> dict[str, Any]:
    """Return options with what both sides say of them, and what they leave out said."""
    return {
        name: {
            "type": option.get("type", "str"),
            "required": bool(option.get("required")),
            "default": option.get("default"),
            "choices": option.get("choices"),
            "elements": option.get("elements"),
            "suboptions": plain(option.get(suboptions) or {}, suboptions),
        }
        for name, option in options.items()
    }


@pytest.mark.parametrize("name", sorted(set(MODULES) - ACTIONS))
def test_options_are_documented_as_they_are_taken(documented: dict[str, Any], name: str) -> None:
    assert plain(documented[name]["doc"]["options"], "suboptions") == plain(taken(name), "options")


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_an_action_takes_the_options_that_are_documented(documented: dict[str, Any], name: str) -> None:
    action = importlib.import_module(f"ansible_collections.atlas.mlflow.plugins.action.{name}").ActionModule
    options = documented[name]["doc"].get("options") or {}
    # What the action hands to its module says so.
    inner = {option for option, entry in options.items() if "The action plugin " in str(entry["description"]) and option not in action._VALID_ARGS}
    assert set(options) - inner == set(action._VALID_ARGS)


@pytest.mark.parametrize("name", MODULES)
def test_nothing_is_left_out(documented: dict[str, Any], name: str) -> None:
    entry = documented[name]
    assert entry["examples"].strip() and entry["return"]
    assert {"check_mode", "diff_mode", "platform"} <= set(entry["doc"]["attributes"])
