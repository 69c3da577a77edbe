"""What a user sees of runs over SSH, as an ordinary user, from the installed collection, and what the runs leave on the hosts."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from stack.support import host_of, stack_hosts
from testinfra.host import Host

FOLDER = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
#: What the image has in root's home. Ansible's own folder is in the home of the user that it comes as.
HOME = {".bashrc", ".profile", ".ssh"}


@pytest.fixture(scope="module")
def output() -> list[str]:
    """Return what all runs of the scenario printed, line by line."""
    return [line.partition("| ")[2] for line in (FOLDER / "ansible.log").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def hosts() -> list[Host]:
    """Return all hosts."""
    return [*stack_hosts(), host_of("clients")]


def test_no_run_warns(output: list[str]) -> None:
    """Of all steps of the scenario."""
    assert len([line for line in output if line.startswith("PLAY RECAP")]) >= 5
    assert [line for line in output if re.match(r"\[(DEPRECATION )?WARNING\]|\[DEPRECATED\]", line)] == []


def test_the_runs_came_by_ssh_as_an_ordinary_user(hosts: list[Host]) -> None:
    for host in hosts:
        assert "Accepted publickey for debian" in host.check_output("journalctl --unit ssh.service --no-pager --grep 'Accepted publickey'"), (
            host.backend.hostname
        )


def test_the_runs_took_the_installed_collection() -> None:
    installed = FOLDER / "collections/ansible_collections/atlas/mlflow"
    assert not installed.is_symlink() and json.loads((installed / "MANIFEST.json").read_text())["collection_info"]["name"] == "mlflow"
    assert os.environ["ANSIBLE_COLLECTIONS_PATH"].startswith(f"{FOLDER}/collections:")


def test_nothing_is_left_in_the_home_of_root(hosts: list[Host]) -> None:
    for host in hosts:
        assert set(host.file("/root").listdir()) <= HOME, host.backend.hostname
        assert not host.file("/root/.ssh").listdir(), host.backend.hostname
