"""A secret is the one that the inventory gives to its owner, or one that is generated once on the control node."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.template import Templar
from ansible_collections.atlas.mlflow.plugins.plugin_utils.secrets import SECRETS
from in_process import LOADER, trusted

ROOT = Path(__file__).resolve().parents[3]


def secret(folder: Path | None, call: str, hostvars: dict[str, Any] | None = None, **plan: str) -> Any:
    """Return what a template gets that looks up a secret."""
    made = {} if folder is None else {"_atlas_mlflow_plan": {"secrets_dir": str(folder), **plan}}
    variables = {**made, "hostvars": hostvars or {}}
    return Templar(loader=LOADER, variables=variables).template(trusted("{{ lookup('atlas.mlflow.secret', " + call + ") }}"))


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_generated_once_and_only_its_owner_can_read_it(tmp_path: Path, name: str) -> None:
    first = secret(tmp_path / "new", f"'{name}'")
    forms = {"mlflow_webhook_key": "[A-Za-z0-9]{42}A=", "haproxy_virtual_secret": "[A-Za-z0-9]{8}"}
    assert re.fullmatch(forms.get(name, "[A-Za-z0-9]{32}"), first)
    assert secret(tmp_path / "new", f"'{name}'") == first
    assert (tmp_path / "new" / name).read_text().strip() == first.removesuffix("A=")
    assert (tmp_path / "new" / name).stat().st_mode & 0o077 == 0


def test_the_secret_that_the_inventory_gives_to_its_owner_is_taken_and_none_is_made(tmp_path: Path) -> None:
    hostvars = {"db": {"postgres_password": "given"}, "one": {"postgres_password": "of another host"}}
    assert secret(tmp_path, "'postgres_password'", hostvars, postgres_host="db") == "given"
    assert list(tmp_path.iterdir()) == []
    assert secret(tmp_path, "'postgres_password'", hostvars, postgres_host="") not in ("given", "of another host", "")


def test_former_secrets_are_those_that_a_rotation_has_kept_the_youngest_first(tmp_path: Path) -> None:
    (tmp_path / "mlflow_webhook_key.former").write_text("old\nyoung\n")
    assert secret(tmp_path, "'mlflow_webhook_key', former=true") == ["youngA=", "oldA="]
    assert secret(tmp_path, "'mlflow_kek_passphrase', former=true") == []


def test_without_a_plan_there_is_none() -> None:
    assert secret(None, "'postgres_password'") == ""
    assert secret(None, "'mlflow_webhook_key', former=true") == []


def test_a_name_that_is_no_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnsibleError, match="knows no postgres_pasword"):
        secret(tmp_path, "'postgres_pasword'")


def test_a_secret_is_not_generated_if_that_is_said(tmp_path: Path) -> None:
    assert secret(tmp_path, "'mlflow_admin_password', generate=false") == "" and list(tmp_path.iterdir()) == []
    assert secret(tmp_path, "'mlflow_admin_password', generate=false", {"one": {"mlflow_server_admin_password": "given"}}, first_server="one") == "given"
    made = secret(tmp_path, "'mlflow_admin_password'")
    assert secret(tmp_path, "'mlflow_admin_password', generate=false") == made


@pytest.mark.parametrize(
    ("users", "files", "login"),
    [
        (True, {}, {"user": "OMIT", "password": "OMIT"}),
        (True, {"mlflow_admin_password": "generated"}, {"user": "admin", "password": "generated"}),
        (False, {"mlflow_admin_password": "generated"}, {"user": "OMIT", "password": "OMIT"}),
    ],
)
def test_a_diagnosis_from_another_control_node_logs_in_with_no_other_password(
    tmp_path: Path, users: bool, files: dict[str, str], login: dict[str, str]
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n")
    plays = yaml.safe_load((ROOT / "playbooks/diagnose.yml").read_text())
    (given,) = [play["vars"] for play in plays if "__login" in play.get("vars", {})]
    plan = {"secrets_dir": str(tmp_path), "tracking_server": {"users": users, "admin_user": "admin"}}
    variables = {**{name: trusted(value) for name, value in given.items()}, "_atlas_mlflow_plan": plan, "hostvars": {}, "omit": "OMIT"}
    assert Templar(loader=LOADER, variables=variables).template(trusted("{{ __login }}")) == login
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)
