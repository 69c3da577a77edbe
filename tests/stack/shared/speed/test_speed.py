"""The short form of `make bench` on the scenario's host: no ratio is twice as bad as when it was recorded."""

from __future__ import annotations

import os
import subprocess
import sys

from stack.support import ROOT, hosts_of, secrets_folder

#: Seconds for all attempts on a busy machine.
PATIENCE = 900


def test_no_ratio_has_fallen_by_half() -> None:
    name, password = os.environ["MOLECULE_SCENARIO_NAME"], secrets_folder() / "mlflow_admin_password"
    command = [sys.executable, "-m", "tools.bench", "short", hosts_of("mlflow_servers")[0], *(["--password", str(password)] if password.exists() else [])]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout
    (ROOT / ".logs").mkdir(exist_ok=True)
    (ROOT / ".logs" / f"{name}.txt").write_text(done.stdout)
