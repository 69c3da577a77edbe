"""A run ends with the address, the login, the place of the secrets and the next commands, and no secret."""

from __future__ import annotations

import shlex
import time
from typing import Any

import pytest
from ansible_collections.atlas.mlflow.plugins.plugin_utils import how_to_use as module
from ansible_collections.atlas.mlflow.plugins.plugin_utils.how_to_use import how_to_use, resolves

from inventories import Case, Run

PLAN: dict[str, Any] = {
    "client_url": "https://mlflow.example.org",
    "auth": "basic",
    "admin_user": "root",
    "secrets_dir": "/home/ada/inventory/.secrets",
    "front_authority": "/home/ada/inventory/.secrets/tls/authority.pem",
    "database_elsewhere": False,
}


def test_a_person_learns_all_that_is_needed() -> None:
    assert how_to_use(PLAN, ["/home/ada/inventory", "/home/ada/more.yml"], known=lambda _name: True) == [
        "MLflow is at https://mlflow.example.org",
        "Log in as root. The password is in /home/ada/inventory/.secrets/mlflow_admin_password, unless the inventory sets it.",
        "Clients need the CA file: MLFLOW_TRACKING_SERVER_CERT_PATH=/home/ada/inventory/.secrets/tls/authority.pem",
        "Generated secrets are in /home/ada/inventory/.secrets. Keep a copy of them in another place.",
        "ansible-playbook atlas.mlflow.backup   -i /home/ada/inventory -i /home/ada/more.yml   # sets up a daily backup, and makes one",
        "ansible-playbook atlas.mlflow.verify   -i /home/ada/inventory -i /home/ada/more.yml   # checks the stack again",
        "ansible-playbook atlas.mlflow.diagnose -i /home/ada/inventory -i /home/ada/more.yml   # says why the server cannot be used",
    ]


@pytest.mark.parametrize(("auth", "said"), [("none", "who reaches this address may read and change everything"), ("oidc", "at your OpenID Connect provider")])
def test_another_login_is_said_and_no_file_that_is_not_there(auth: str, said: str) -> None:
    lines = how_to_use({**PLAN, "auth": auth, "front_authority": ""}, ["hosts"], known=lambda _name: True)
    assert said in lines[1] and len(lines) == 6
    assert "mlflow_admin_password" not in " ".join(lines) and "CERT_PATH" not in " ".join(lines)


def test_the_commands_that_are_told_work() -> None:
    """backup.yml refuses a database outside of the inventory, and a shell takes a space for the end of a path."""
    told = [how_to_use({**PLAN, "database_elsewhere": elsewhere}, ["/home/ada/my hosts"], known=lambda _name: True) for elsewhere in (False, True)]
    commands = [[shlex.split(line, comments=True) for line in lines if line.startswith("ansible-playbook")] for lines in told]
    assert [command[1].rpartition(".")[2] for command in commands[0]] == ["backup", "verify", "diagnose"]
    assert [command[1].rpartition(".")[2] for command in commands[1]] == ["verify", "diagnose"]
    assert all(command[2:] == ["-i", "/home/ada/my hosts"] for command in commands[0] + commands[1])
    assert "by the means of their provider" in " ".join(told[1]) and "provider" not in " ".join(told[0])


@pytest.mark.parametrize(
    ("given", "groups", "elsewhere"),
    [
        ({"mlflow_server_backend_store_uri": "postgresql+psycopg2://ml:canary@db.example.com/ml"}, {}, True),
        ({"mlflow_server_backend_store_uri": "sqlite:////srv/mlflow/mlflow.db"}, {}, False),
        ({}, {}, False),
        ({}, {"postgres": ["one"]}, False),
    ],
)
def test_the_plan_knows_a_database_outside_of_the_inventory(given: dict[str, str], groups: dict[str, list[str]], elsewhere: bool) -> None:
    known = Run(Case({"mlflow_servers": ["one"], **groups}, {"one": given}))
    assert known.plans["one"]["database_elsewhere"] is elsewhere


@pytest.mark.parametrize("name", ["mlflow.example.org", "2001:db8::5"])
def test_a_name_without_an_address_is_told(name: str) -> None:
    asked: list[str] = []
    url = f"https://[{name}]:5001" if ":" in name else f"https://{name}:5001/base"
    for known in (True, False):
        lines = how_to_use({**PLAN, "client_url": url}, ["hosts"], known=lambda asks, known=known: bool(asked.append(asks)) or known)
        assert (f"This machine finds no address for {name}." in lines[1]) is not known
    assert asked == [name, name]


def test_this_machine_knows_itself_and_no_name_that_cannot_exist() -> None:
    assert resolves("localhost") and resolves("127.0.0.1") and resolves("::1")
    assert not resolves("no-such-host.invalid") and not resolves("a" * 64)


def test_a_name_server_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    monkeypatch.setattr(module.socket, "getaddrinfo", lambda *_given: time.sleep(1) or [1])
    began = time.monotonic()
    assert not resolves("mlflow.example.org")
    assert time.monotonic() - began < 1
