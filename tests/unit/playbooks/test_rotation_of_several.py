"""With several tracking servers, a rotation gives them a second login of each store before the secret of the first one changes, and removes it afterwards."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from playbook_forks import ansible_playbook

ROOT = Path(__file__).resolve().parents[3]
#: Stands for a file of tasks of a role: writes to a log what is known there.
LOGGED = '- ansible.builtin.shell: echo "{{{{ inventory_hostname }}}} {what}" >> {{{{ log }}}}\n  changed_when: true\n'
SERVER = "{{ _atlas_mlflow_plan.backend_store | default('-') }} {{ _atlas_mlflow_plan.read_replica_store }} {{ _atlas_mlflow_plan.s3_access_key_id }}"
STUBS = {
    "postgres/apply": LOGGED.format(what="apply {{ postgres_password | default('present') }}"),
    "postgres/primary": "- ansible.builtin.set_fact: {postgres_primary: db}\n",
    "postgres/second_login": LOGGED.format(what="second"),
    "postgres/second_login_done": LOGGED.format(what="done"),
    "minio/settle": LOGGED.format(what="settle {{ minio_root_password | default('new') }}"),
    "minio/second_login": LOGGED.format(what="second {{ minio_root_password | default('new') }}"),
    "minio/second_login_done": LOGGED.format(what="done"),
    "mlflow_server/apply": LOGGED.format(what=SERVER),
    "backup/main": "- ansible.builtin.meta: noop\n",
}
FILTERS = """
class FilterModule:
    def filters(self):
        return {
            "rotations_under_way": lambda hostvars, groups, folder: UNDER_WAY,
            "second_logins": lambda hostvars, groups, folder: SECOND,
            "backup_hosts": lambda groups: [],
            "secrets_of_inventory": lambda hostvars, groups: [name for name in ["postgres_password", "minio_secret_key"] if name in hostvars["db"]],
        }
"""
SETTINGS = """
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        return {"changed": False}
"""
NOTHING = "- hosts: all\n  gather_facts: false\n  tasks: []\n"
INTERNAL = "- hosts: db\n  gather_facts: false\n  tasks:\n    - ansible.builtin.file: {{path: '{{{{ log }}}}.{0}', state: touch, mode: '0600'}}\n"
SITE = (
    "- hosts: web1\n  gather_facts: false\n  tasks:\n    "
    + LOGGED.format(what="site").replace("\n ", "\n     ")
    + "- hosts: web2\n  gather_facts: false\n  tasks:\n    - ansible.builtin.fail: {}\n      when: fails | default(false) | bool\n"
)
PLAN = {
    "backend_store": "postgresql+psycopg2://ml%40x@db/ml?a=b",
    "read_replica_store": "postgresql+psycopg2://ml%40x@/ml?host=a,b",
    "auth_store": "",
    "s3_access_key_id": "a-long-key-of-20-cha",
    "postgres_host": "db",
    "minio_host": "store",
}
STORES = f"{PLAN['backend_store']} {PLAN['read_replica_store']}"
NEW = [f"{STORES.replace('%40x@', '%40x_rotation@')} a-long-key--rotation"]


def run(
    folder: Path,
    *arguments: str,
    rotated: list[str] | None = None,
    under_way: str = "[]",
    second: str = "[]",
    servers: int = 2,
    refused: bool = False,
    **of_db: str,
) -> dict[str, list[str]]:
    """Run the playbook with stubs of the roles, and return what was done for each host in its order, the servers as one."""
    collection, secrets = folder / "collections/ansible_collections/atlas/mlflow", folder / "secrets"
    for name in ("playbooks/internal", "plugins/filter", "plugins/action", *(f"roles/{stub.partition('/')[0]}/tasks" for stub in STUBS)):
        (collection / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "playbooks/rotate_secrets.yml", collection / "playbooks")
    for name in ("facts", "preflight"):
        (collection / f"playbooks/internal/{name}.yml").write_text(NOTHING)
    for name in ("certificates", "open_firewalls"):
        (collection / f"playbooks/internal/{name}.yml").write_text(INTERNAL.format(name))
    (collection / "playbooks/site.yml").write_text(SITE)
    for name, text in STUBS.items():
        role, _slash, task = name.partition("/")
        (collection / f"roles/{role}/tasks/{task}.yml").write_text(text)
    (collection / "plugins/filter/stubs.py").write_text(FILTERS.replace("UNDER_WAY", under_way).replace("SECOND", second))
    for name in ("rotations_under_way", "second_logins", "secrets_of_inventory", "backup_hosts"):
        shutil.copy(ROOT / f"plugins/filter/{name}.yml", collection / "plugins/filter")
    (collection / "plugins/action/settings.py").write_text(SETTINGS)
    secrets.mkdir()
    for name in ("postgres_password", "minio_secret_key", "minio_root_password"):
        (secrets / name).write_text(f"former-{name}\n")
    for name in json.loads(under_way):
        (secrets / f"{name}.previous").write_text("older\n")
    (folder / "log").touch()
    names = [f"web{number}" for number in range(1, servers + 1)]
    plan = {**PLAN, "secrets_dir": str(secrets)}
    variables = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "log": str(folder / "log"), "_atlas_mlflow_plan": plan}
    groups: dict[str, dict[str, Any]] = {"mlflow_servers": dict.fromkeys(names, variables), "postgres": {"db": {**variables, **of_db}}}
    groups["minio"] = {"store": variables, "other": variables}
    (folder / "hosts.yml").write_text(yaml.safe_dump({group: {"hosts": hosts} for group, hosts in groups.items()}, sort_keys=False))
    given = [*arguments, *(["-e", json.dumps({"rotate_secrets": rotated})] if rotated is not None else [])]
    playbook, paths = collection / "playbooks/rotate_secrets.yml", str(folder / "collections")
    done = ansible_playbook(folder, "-i", folder / "hosts.yml", playbook, *given, modules_here=True, ANSIBLE_COLLECTIONS_PATH=paths)
    assert (done.returncode == 0) != (refused or "fails=true" in arguments), done.stdout + done.stderr
    found: dict[str, list[str]] = {"order": [], "said": [" ".join(done.stdout.split())]}
    for host, _space, what in (line.partition(" ") for line in (folder / "log").read_text().splitlines()):
        found.setdefault(host, []).append(what)
        found["order"].append("site" if what == "site" else host.rstrip("123"))
    return found


def test_the_servers_take_the_second_logins_before_the_first_ones_change(tmp_path: Path) -> None:
    done = run(tmp_path, rotated=["postgres_password", "minio_secret_key"])
    assert done["order"] == ["db", "db", "store", "other", "store", "web", "web", "site", "db", "store"]
    # Hosts that the stores got since the last run have certificates, and are let in.
    assert {path.suffix for path in tmp_path.glob("log.*")} == {".certificates", ".open_firewalls"}
    # PostgreSQL keeps its password until the servers have the second login.
    assert done["db"] == ["apply former-postgres_password", "second", "done"] and done["store"] == ["settle new", "second new", "done"]
    assert done["other"] == ["settle new"]
    assert done["web2"] == NEW


def test_minio_is_asked_by_the_present_password_of_its_administrator(tmp_path: Path) -> None:
    assert run(tmp_path)["store"] == ["settle former-minio_root_password", "second former-minio_root_password", "done"]


@pytest.mark.parametrize(
    ("secret", "order", "server"),
    [
        ("postgres_password", ["db", "db", "web", "web", "site", "db"], f"{NEW[0].rpartition(' ')[0]} a-long-key-of-20-cha"),
        ("minio_secret_key", ["store", "other", "store", "web", "web", "site", "store"], f"{STORES} a-long-key--rotation"),
    ],
)
def test_the_login_of_another_store_stays(tmp_path: Path, secret: str, order: list[str], server: str) -> None:
    done = run(tmp_path, rotated=[secret])
    assert done["order"] == order and done["web2"] == [server]


def test_one_server_and_secrets_of_the_servers_need_no_second_login(tmp_path: Path) -> None:
    for number, given in enumerate(({"servers": 1}, {"rotated": ["mlflow_flask_secret_key"]})):
        (tmp_path / str(number)).mkdir()
        assert run(tmp_path / str(number), **given)["order"] == ["site"]  # type: ignore[arg-type]
        assert not list((tmp_path / str(number)).glob("log.*"))


def test_a_password_of_the_inventory_is_not_replaced_by_a_former_file(tmp_path: Path) -> None:
    done = run(tmp_path, minio_secret_key="{{ 'own' }}", postgres_password="{{ 'own' }}")
    assert done["order"] == ["site"]
    assert "The inventory sets minio_secret_key, postgres_password, so this playbook does not replace them." in done["said"][0]
    assert sorted(path.name for path in (tmp_path / "secrets").glob("*.previous")) == ["minio_root_password.previous"]


def test_a_secret_of_the_inventory_that_is_named_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, rotated=["postgres_password", "minio_secret_key"], refused=True, postgres_password="{{ 'own' }}")
    assert "rotate_secrets has postgres_password, which the inventory sets" in done["said"][0]
    assert done["order"] == [] and not list((tmp_path / "secrets").glob("*.previous"))


def test_a_rotation_that_was_interrupted_goes_on_with_its_former_password(tmp_path: Path) -> None:
    done = run(tmp_path, rotated=["postgres_password"], under_way='["postgres_password"]')
    assert done["db"] == ["apply older", "second", "done"]


def test_servers_with_second_logins_of_an_interrupted_rotation_keep_them_until_its_end(tmp_path: Path) -> None:
    """Other secrets of the second logins would lock the servers out until their restart."""
    names = ["postgres_password", "minio_secret_key"]
    done = run(tmp_path, rotated=names, second=json.dumps(names))
    assert done["order"] == ["db", "db", "store", "other", "store", "web", "web", "site", "db", "store"]
    assert done["db"] == ["apply present", "second", "done"] and done["web2"] == NEW
    assert {name: (tmp_path / "secrets" / name).read_text() for name in names} == {name: f"former-{name}\n" for name in names}
    assert not list((tmp_path / "secrets").glob("*.previous"))


@pytest.mark.parametrize("rotated", [None, ["minio_secret_key"], ["minio_secret_key", "minio_root_password"]])
@pytest.mark.parametrize("under_way", ['["minio_root_password"]', '["minio_root_password", "minio_secret_key"]'])
def test_minio_is_asked_by_the_former_password_after_an_interrupted_rotation(tmp_path: Path, under_way: str, rotated: list[str] | None) -> None:
    """The control node has the new one, and MinIO gets it at the end."""
    done = run(tmp_path, rotated=rotated, under_way=under_way)
    assert done["store"] == ["settle older", "second older", "done"] and done["other"] == ["settle older"]


def test_the_second_logins_stay_if_a_server_failed(tmp_path: Path) -> None:
    """It may still run with them."""
    done = run(tmp_path, "-e", "fails=true", rotated=["postgres_password", "minio_secret_key"])
    assert done["order"] == ["db", "db", "store", "other", "store", "web", "web", "site"]


def test_a_check_run_creates_no_login(tmp_path: Path) -> None:
    assert run(tmp_path, "--check")["order"] == []
