"""The module that brings images to Podman, with a Podman that is a table of names."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.atlas.mlflow.plugins.module_utils.images import full_image_name
from ansible_collections.atlas.mlflow.plugins.modules import podman_image

NAME = "docker.io/library/python:3.13"


class Podman:
    """The images of a host, by their names, and what was asked."""

    def __init__(self, *names: str, archive: str = "localhost/python:3.13") -> None:
        self.images = dict.fromkeys(names, "old")
        self.archive = archive
        self.calls: list[list[str]] = []
        self.environment: dict[str, str] = {}

    def __call__(self, command: list[str], environ_update: dict[str, str] | None = None) -> tuple[int, str, str]:
        """Answer a command as Podman does."""
        words = command[1:]
        if words[:2] == ["image", "inspect"]:
            return (0, self.images[words[-1]] + "\n", "") if words[-1] in self.images else (125, "", "image not known")
        self.calls.append(words)
        self.environment = environ_update or {}
        if words[0] == "load":
            self.images[self.archive] = "new"
            return 0, f"Loaded image: {self.archive}\n", ""
        if words[0] == "tag":
            self.images[words[2]] = self.images[words[1]]
        elif words[0] == "pull" and "nowhere" in words[-1]:
            return 125, "", 'time="x" level=warning msg="Using cgroups-v1"\nError: no such host'
        else:
            self.images[words[words.index("--tag") + 1] if words[0] == "build" else words[-1]] = "new"
        return 0, "", ""


def bring(monkeypatch: pytest.MonkeyPatch, podman: Podman, **arguments: Any) -> dict[str, Any]:
    """Return the result of the module."""
    monkeypatch.setattr(basic.AnsibleModule, "run_command", podman)
    monkeypatch.setattr(basic.AnsibleModule, "get_bin_path", lambda *_arguments, **_more: "/usr/bin/podman")
    said = io.StringIO()
    check = arguments.pop("check", False)
    with patch_module_args({"name": NAME, "_ansible_check_mode": check, **arguments}), contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        podman_image.main()
    result: dict[str, Any] = json.loads(said.getvalue())
    return result


def test_a_present_image_is_left_alone_and_a_missing_one_is_pulled(monkeypatch: pytest.MonkeyPatch) -> None:
    podman = Podman(NAME)
    result = bring(monkeypatch, podman)
    assert (result["changed"], result["image"], podman.calls) == (False, "old", [])
    podman = Podman()
    result = bring(monkeypatch, podman, check=True)
    assert (result["changed"], result["image"], podman.calls) == (True, "", [])
    result = bring(monkeypatch, podman)
    assert (result["changed"], result["image"], podman.calls) == (True, "new", [["pull", "--quiet", NAME]])


def test_an_archive_of_docker_gets_the_name_with_its_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    podman = Podman()
    result = bring(monkeypatch, podman, archive="/a.tar")
    assert (result["changed"], result["image"], podman.calls[-1]) == (True, "new", ["tag", "localhost/python:3.13", NAME])
    assert not bring(monkeypatch, podman, archive="/a.tar")["changed"]


def test_a_new_archive_replaces_an_image_of_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    result = bring(monkeypatch, Podman(NAME), archive="/a.tar", force_load=True)
    assert (result["changed"], result["image"]) == (True, "new")


def test_an_archive_with_another_image_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    result = bring(monkeypatch, Podman(archive="localhost/postgres:17"), archive="/a.tar")
    assert result["failed"] and f"has the image localhost/postgres:17, and not {NAME}" in result["msg"]


def test_no_argument_of_a_build_is_in_the_process_list(monkeypatch: pytest.MonkeyPatch) -> None:
    podman = Podman()
    bring(monkeypatch, podman, build_path="/b", build_args={"HTTPS_PROXY": "http://user:canary@proxy"}, build_network="host")
    assert "canary" not in str(podman.calls) and podman.environment == {"HTTPS_PROXY": "http://user:canary@proxy"}
    assert podman.calls[0][-5:] == ["--network", "host", "--build-arg", "HTTPS_PROXY", "/b"]


def test_a_failed_pull_tells_podmans_words(monkeypatch: pytest.MonkeyPatch) -> None:
    result = bring(monkeypatch, Podman(), name="nowhere.example.com/x:1")
    assert result["msg"] == "podman pull of nowhere.example.com/x:1 failed: Error: no such host"


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("python:3.13", NAME),
        ("team/mlflow:3", "docker.io/team/mlflow:3"),
        ("ghcr.io/mlflow/mlflow:v3", "ghcr.io/mlflow/mlflow:v3"),
        ("127.0.0.1:5000/x", "127.0.0.1:5000/x"),
        ("localhost/x:1", "localhost/x:1"),
    ],
)
def test_a_name_has_a_registry(name: str, full: str) -> None:
    assert full_image_name(name) == full


def test_a_password_of_an_index_or_a_proxy_is_in_no_output(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = {"BASE": NAME, "PIP_INDEX_URL": "https://ci:canary-one@pypi.example.com/simple", "HTTPS_PROXY": "http://ci:canary-two@proxy:3128"}
    podman = Podman(NAME)
    built = bring(monkeypatch, podman, name="localhost/one:1", build_path="/build", build_args=arguments)
    assert built["changed"] and "canary" not in json.dumps(built)
    assert built["invocation"]["module_args"]["build_args"]["BASE"] == NAME
    assert podman.environment == arguments
    monkeypatch.setattr(Podman, "__call__", lambda *_arguments, **_more: (125, "", "Error: https://ci:canary-one@pypi.example.com/simple is not reached"))
    failed = bring(monkeypatch, podman, name="localhost/two:1", build_path="/build", build_args=arguments)
    assert failed["failed"] and "pypi.example.com" in failed["msg"] and "canary" not in json.dumps(failed)
