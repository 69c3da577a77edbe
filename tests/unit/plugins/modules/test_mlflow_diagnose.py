"""The module that reads the facts of a diagnosis, from its arguments to its result."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.atlas.mlflow.plugins.modules import mlflow_diagnose


@pytest.mark.parametrize("there", [True, False])
def test_a_client_without_its_ca_file_goes_on_and_names_the_file(tmp_path: Path, there: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """A control node that did not set up the stack lacks the file of the inventory's own CA. What the server's host told must not be lost."""
    path = tmp_path / "authority.pem"
    if there:
        path.write_text("no certificate")
    given = {"perspective": "client", "scheme": "https", "port": 1, "names": ["127.0.0.1"], "ca_path": str(path), "timeout": 2}
    said = io.StringIO()
    with patch_module_args(given), contextlib.redirect_stdout(said), pytest.raises(SystemExit):
        mlflow_diagnose.main()
    result = json.loads(said.getvalue().splitlines()[-1])
    assert not result.get("failed") and result["facts"]["names"][0]["host"] == "127.0.0.1:1", result
    assert f"The CA file {path} cannot be read" in capsys.readouterr().err
