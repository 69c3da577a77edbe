"""Users who were changed, and secrets that were rotated: who is not let in any more, and what is still there."""

from __future__ import annotations

import pytest
from stack.support import administrator, ask, base_url, login_of, secrets_folder, webhooks
from testinfra.host import Host

API = "/api/2.0/mlflow"
SEARCH = f"{API}/experiments/search?max_results=1"


@pytest.mark.parametrize(("name", "secret"), [("reader", "reader"), ("leaver", "leaver")])
def test_an_old_password_and_a_removed_user_are_refused(client: Host, server_name: str, name: str, secret: str) -> None:
    assert ask(client, f"{base_url(server_name)}{SEARCH}", login=login_of(name, secret)).status == 401


def test_neither_the_administrators_last_password_nor_anybody_elses_choice_is_let_in(client: Host, server_name: str) -> None:
    last = (secrets_folder() / "mlflow_admin_password.previous").read_text(encoding="utf-8").strip()
    assert last != administrator()[1]  # type: ignore[index]
    for password in (last, "somebody-elses-choice"):
        assert ask(client, f"{base_url(server_name)}{SEARCH}", login=("admin", password)).status == 401


def test_the_run_from_before_the_new_secrets_is_there(client: Host, server_name: str) -> None:
    base = base_url(server_name)
    iris = ask(client, f"{base}{API}/experiments/get-by-name?experiment_name=iris").json()["experiment"]["experiment_id"]
    runs = ask(client, f"{base}{API}/runs/search", method="POST", body={"experiment_ids": [iris]}).json()["runs"]
    assert runs and {metric["key"] for metric in runs[0]["data"]["metrics"]} == {"accuracy", "f1"}


def test_webhooks_and_api_keys_from_before_the_new_keys_are_there(client: Host, server: Host, server_name: str) -> None:
    for name in ("mlflow_webhook_key", "mlflow_kek_passphrase"):
        present, former = ((secrets_folder() / f"{name}{end}").read_text(encoding="utf-8").strip() for end in ("", ".former"))
        assert present != former, name
    assert webhooks(client, base_url(server_name)) == {(200, ("kept",))}
    # Ends with 1 and names what the present keys do not open.
    command = "systemd-run --quiet --wait --pipe --uid mlflow --property EnvironmentFile=/etc/default/mlflow-server /opt/mlflow/current/bin/python -I -m atlas_mlflow.keys"
    assert server.check_output(command).strip() == ""


def test_the_garbage_collection_logs_in(server: Host) -> None:
    api = f"{base_url('localhost')}/api/2.0"
    run = ask(server, f"{api}/mlflow/runs/create", method="POST", body={"experiment_id": "0"}).json()["run"]["info"]["run_id"]
    artifact = f"{api}/mlflow-artifacts/artifacts/0/{run}/artifacts/content.json"
    assert ask(server, artifact, method="PUT", body={}).status == 200
    assert ask(server, f"{api}/mlflow/runs/delete", method="POST", body={"run_id": run}).status == 200
    server.check_output(
        "sleep 2; systemd-run --wait --pipe --uid mlflow --property EnvironmentFile=/etc/default/mlflow-server "
        "/opt/mlflow/current/bin/python -I -m atlas_mlflow.gc --older-than 1s --tracking-uri %s",
        base_url("localhost"),
    )
    assert ask(server, f"{api}/mlflow/runs/get?run_id={run}").status == 404
    assert ask(server, artifact).status != 200
