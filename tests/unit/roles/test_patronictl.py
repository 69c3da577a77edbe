"""On a member of a cluster, the commands that messages name, such as `patronictl list`, find the cluster without an option."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from inventories import Case, Run

GROUPS = {"mlflow_servers": ["a"], "postgres": ["a", "b", "c"]}
#: Stands for Patroni's own program.
PROGRAM = '#!/bin/sh\necho "$PATRONICTL_CONFIG_FILE" "$@"\n'


def entry(folder: Path) -> dict[str, Any]:
    """Return the file of the program for operators on a member, if Patroni is installed in a folder."""
    given = {"atlas_mlflow_tls": True, "postgres_patroni_install_dir": str(folder)}
    known = Run(Case(GROUPS, dict.fromkeys(GROUPS["postgres"], given)))
    files = known.value(
        "b", "postgres", "[_postgres_patroni_own_files | selectattr('path', 'eq', _postgres_patronictl) | first, _postgres_patroni_environment]"
    )
    program = Path(files[1], "bin/patronictl")
    program.parent.mkdir(parents=True)
    program.write_text(PROGRAM)
    program.chmod(0o755)
    found: dict[str, Any] = files[0]
    return found


@pytest.mark.parametrize(("environment", "settings"), [({}, "/etc/patroni/config.yml"), ({"PATRONICTL_CONFIG_FILE": "/root/other.yml"}, "/root/other.yml")])
def test_the_program_for_operators_has_the_settings_of_the_member(tmp_path: Path, environment: dict[str, str], settings: str) -> None:
    written = entry(tmp_path / "a folder")
    assert written["path"] == "/usr/local/bin/patronictl" and written["mode"] == "0755"
    program = tmp_path / "patronictl"
    program.write_text(written["content"])
    program.chmod(0o755)
    # An option of the operator comes after, and wins.
    done = subprocess.run(
        [program, "reinit", "atlas-mlflow", "b c"], env={"PATH": os.environ["PATH"], **environment}, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{settings} reinit atlas-mlflow b c\n"
