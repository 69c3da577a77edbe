"""The embedded default: everything in one folder that belongs to the service."""

from __future__ import annotations

from stack.support import PORT, ask, base_url
from testinfra.host import Host

SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"


def test_runs_and_artifacts_are_in_the_data_folder(server: Host) -> None:
    folder = server.file("/var/lib/mlflow")
    assert (folder.user, folder.group, folder.mode) == ("mlflow", "mlflow", 0o750)
    database = server.file("/var/lib/mlflow/tracking.db")
    assert database.is_file and database.user == "mlflow"
    assert 'MLFLOW_ARTIFACTS_DESTINATION="/var/lib/mlflow/artifacts"' in server.file("/etc/default/mlflow-server").content_string


def test_it_answers_to_its_names_as_clients_send_them(client: Host, server_name: str) -> None:
    """Browsers and requests send lower case and ASCII, curl sends capitals as they were typed."""
    for host in ("mlflow01.corp.example", "MLflow01.Corp.example", "a.xn--bcher-kva.example"):
        answer = ask(client, f"{base_url(server_name)}{SEARCH}", host=f"{host}:{PORT}")
        assert answer.status == 200, (host, answer)
    asked = {"method": "POST", "body": {"max_results": 1}, "host": f"mlflow01.corp.example:{PORT}", "origin": base_url("mlflow01.corp.example")}
    answer = ask(client, f"{base_url(server_name)}/ajax-api/2.0/mlflow/experiments/search", **asked)
    assert answer.status == 200, answer


def test_no_job_process_runs_unless_asked_for(server: Host) -> None:
    assert "huey" not in server.check_output("ps axww -o args")


def test_the_sites_certificate_authority_is_trusted(server: Host) -> None:
    own = server.file("/usr/local/share/ca-certificates/atlas-mlflow.crt").content_string.strip()
    assert own and own in server.file("/etc/ssl/certs/ca-certificates.crt").content_string
