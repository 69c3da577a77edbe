"""The module that builds an image for Docker, with a Docker that notes what it is asked, and the recipes that it builds."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.atlas.mlflow.plugins.module_utils.images import STAGE
from ansible_collections.atlas.mlflow.plugins.modules import docker_build, podman_image

ROOT = Path(__file__).resolve().parents[4]
INDEX = "https://ci:canary-one@pypi.example.com/simple"
ARGUMENTS = {
    "BASE": "docker.io/library/python:3.13",
    "PIP_INDEX_URL": INDEX,
    "UV_DEFAULT_INDEX": "https://canary-two-is-a-token@pypi.example.com/simple",
    "HTTPS_PROXY": "http://ci:canary-three@proxy.example.com:3128",
}


class Docker:
    """Images of a host by their names, and what was asked."""

    def __init__(self, *images: str, fails: str = "") -> None:
        self.images, self.fails = images, fails
        self.calls: list[list[str]] = []
        self.environment: dict[str, str] = {}

    def __call__(self, command: list[str], environ_update: dict[str, str] | None = None) -> tuple[int, str, str]:
        """Answer a command as Docker does."""
        if command[1:3] == ["image", "inspect"]:
            return (0, "sha256:1\n", "") if command[-1] in self.images else (1, "", "No such image")
        self.calls.append(command[1:])
        self.images += ("one:1",) if command[1] == "build" else ()
        self.environment.update(environ_update or {})
        return (1, f"Step 1\n{INDEX} is not reached", f"{self.fails} failed") if command[1] == self.fails else (0, f"Looking in indexes: {INDEX}", "")


def build(monkeypatch: pytest.MonkeyPatch, docker: Docker, **arguments: Any) -> dict[str, Any]:
    """Return the result of the module."""
    monkeypatch.setattr(basic.AnsibleModule, "run_command", lambda _self, *words, **more: docker(*words, **more))
    monkeypatch.setattr(basic.AnsibleModule, "get_bin_path", lambda *_arguments, **_more: "/usr/bin/docker")
    said = io.StringIO()
    given = {"name": "one:1", "build_path": "/build", "build_args": ARGUMENTS, **arguments}
    with patch_module_args(given), contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        docker_build.main()
    result: dict[str, Any] = json.loads(said.getvalue())
    return result


def test_an_image_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    docker = Docker("one:1")
    result = build(monkeypatch, docker)
    assert (result["changed"], result["image"], docker.calls) == (False, "sha256:1", [])
    docker = Docker()
    result = build(monkeypatch, docker, _ansible_check_mode=True)
    assert (result["changed"], result["image"], docker.calls) == (True, "", [])
    result = build(monkeypatch, docker, build_network="host")
    assert (result["changed"], result["image"]) == (True, "sha256:1")
    options = ["--tag", "one:1", "--force-rm", "--network", "host", *(word for name in ARGUMENTS for word in ("--build-arg", name))]
    assert docker.calls[0] == ["build", *options, "/build"]


def test_the_arguments_of_a_build_are_in_no_list_of_processes_and_their_secrets_in_no_output(monkeypatch: pytest.MonkeyPatch) -> None:
    docker = Docker()
    built = build(monkeypatch, docker)
    assert "canary" not in str(docker.calls) and docker.environment == {**ARGUMENTS, "DOCKER_BUILDKIT": "0"}
    assert "canary" not in json.dumps(built)
    assert built["invocation"]["module_args"]["build_args"]["BASE"] == ARGUMENTS["BASE"]
    failed = build(monkeypatch, Docker(fails="build"))
    assert failed["failed"] and "pypi.example.com" in failed["msg"] and "build failed" in failed["msg"] and "canary" not in json.dumps(failed)


def test_the_layers_with_the_arguments_are_removed_also_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    for fails in ("", "build"):
        docker = Docker(fails=fails)
        build(monkeypatch, docker)
        assert docker.calls[-1] == ["image", "prune", "--force", "--filter", f"label={STAGE}"]
    failed = build(monkeypatch, Docker(fails="image"))
    assert failed["failed"] and "were not removed" in failed["msg"]


@pytest.mark.parametrize("module", [docker_build, podman_image])
def test_the_journal_has_no_argument_of_a_build(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr(basic.AnsibleModule, "log", lambda _self, text, log_args=None: logged.append(f"{text} {log_args}"))
    monkeypatch.setattr(podman_image.Images, "identity", lambda _self, _name: "4711")
    # Ansible masks the password of a URL itself, and no token in its query.
    build_args = {"PIP_INDEX_URL": "https://pypi.example.com/simple?token=canary-four"}
    monkeypatch.setattr(docker_build, "main", module.main)
    build(monkeypatch, Docker("one:1"), build_args=build_args)
    assert logged and "canary" not in str(logged)


@pytest.mark.parametrize("path", sorted(ROOT.glob("roles/*/tasks/*image*.yml")), ids=lambda path: "-".join(path.relative_to(ROOT / "roles").parts))
def test_no_other_module_builds_an_image(path: Path) -> None:
    """The modules for Docker of others return the arguments of a build, and log them."""
    assert not re.search(r"(?m)^ *(source: build|build:|community[.]docker[.]docker_image_build:)$", path.read_text())


@pytest.mark.parametrize("recipe", sorted(ROOT.glob("roles/*/files/**/Dockerfile*")), ids=lambda path: str(path.relative_to(ROOT / "roles")))
def test_the_stages_before_the_last_have_the_label_by_which_they_are_removed(recipe: Path) -> None:
    """The history of a stage has its arguments."""
    *earlier, _last = re.split(r"(?m)^FROM ", recipe.read_text())[1:]
    assert all(f"\nLABEL {STAGE}=" in stage.partition("\nARG")[0] for stage in earlier)
