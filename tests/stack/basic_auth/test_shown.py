"""What the playbook diagnose shows in Ansible's default output."""

from __future__ import annotations

import os
from pathlib import Path


def test_the_table_of_the_diagnosis_has_lines() -> None:
    log = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "ansible.log").read_text(encoding="utf-8")
    shown = log.rpartition("TASK [Show the diagnosis]")[2].partition("TASK [")[0]
    assert '"msg": [' in shown and len(shown.splitlines()) > 10
    assert "\\n" not in shown
