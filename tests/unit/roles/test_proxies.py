"""Which requests of the tasks go through the proxy of a host: downloads, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from plays import tasks_of

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted([*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("roles/*/handlers/*.yml"), *ROOT.glob("playbooks/**/*.yml")])
ASKING = [path for path in FILES if "ansible.builtin.uri:" in path.read_text()]


@pytest.mark.parametrize("path", ASKING, ids=lambda path: "-".join(path.relative_to(ROOT).with_suffix("").parts[1:]))
def test_a_service_of_the_stack_is_asked_without_a_proxy(path: Path) -> None:
    """A host may have http_proxy in /etc/environment. Its proxy would not reach the loopback addresses of the host."""
    asked = [task["ansible.builtin.uri"] for task in tasks_of(yaml.safe_load(path.read_text())) if "ansible.builtin.uri" in task]
    assert asked and all(request.get("use_proxy") is False for request in asked)
