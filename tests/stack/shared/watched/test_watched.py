"""What was seen of the secrets while the scenario set its hosts up: in the process list, and in what Ansible printed with -vvv."""

from __future__ import annotations

import os
from pathlib import Path

from stack.support import stack_hosts

#: Printed by Ansible from -vvv on alone: the arguments that a module was called with.
VERBOSE = "invocation:"


def test_no_secret_stood_in_the_process_list_for_a_moment(secrets: dict[str, str]) -> None:
    for host in stack_hosts():
        seen = host.file("/root/watch.log").content_string
        assert "canary-of-the-process-list" in seen, "the watcher saw nothing"
        assert {name for name, secret in secrets.items() if secret in seen} == set(), host.backend.hostname


def test_ansible_printed_no_secret_however_verbose(secrets: dict[str, str]) -> None:
    printed = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "ansible.log").read_text(encoding="utf-8", errors="replace")
    assert VERBOSE in printed and "changed=" in printed, "this scenario does not run with -vvv"
    assert secrets, "there is none"
    assert {name for name, secret in secrets.items() if secret in printed} == set()
