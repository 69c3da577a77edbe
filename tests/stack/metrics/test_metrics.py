"""A Prometheus of the inventory reads each part of the stack, its alerts fire, and nobody else reads metrics."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.atlas.mlflow.plugins.plugin_utils.prometheus import ALERTS, prometheus_rules
from stack.metrics.alerts import EXAMPLES, promtool_tests
from stack.metrics.prometheus import firing, query, read
from stack.support import (
    PORT,
    ROOT,
    address_of,
    administrator,
    ask,
    assert_unchanged,
    connect,
    host_of,
    open_sockets,
    play,
    playbook,
    run_python,
    said,
    secrets_folder,
)
from stack.writing import wait_for
from testinfra.host import Host

FOLDER = "/etc/atlas-mlflow/prometheus"
#: Beginnings of the names of metrics in a condition.
METRIC = re.compile(r"\b(?:mlflow|haproxy|pg|node|minio|atlas_mlflow)_\w+|\bup\b")
NODE, OF_POSTGRES, OF_HAPROXY = 9100, 9187, 8405
#: Connects with TLS to a port, and prints as JSON whether each of the given authorities verifies the certificate. Runs on a host, for run_python.
VERIFY = """
import json, socket, ssl, sys
address, port, authorities = json.load(sys.stdin)
found = {}
for name, authority in authorities.items():
    try:
        with socket.create_connection((address, port), timeout=10) as plain:
            ssl.create_default_context(cadata=authority).wrap_socket(plain, server_hostname=address).close()
        found[name] = "verified"
    except ssl.SSLCertVerificationError as error:
        found[name] = error.verify_message
print(json.dumps(found))
"""


@pytest.fixture(scope="session")
def prometheus() -> Host:
    """Return the host of Prometheus."""
    return host_of("prometheus")


def metrics_in(expression: str) -> set[str]:
    """Return the names of the metrics in an expression, without the values of labels."""
    return set(METRIC.findall(re.sub(r"'[^']*'|\"[^\"]*\"", "", expression)))


def write(host: Host, path: str, text: str) -> None:
    """Write a file to a host."""
    run_python(host, "import json, sys; path, text = json.load(sys.stdin); print(open(path, 'w').write(text))", [path, text])


@pytest.mark.parametrize("port", [443, NODE, OF_HAPROXY, 9000])
def test_each_service_has_a_certificate_of_the_ca_that_replaced_the_former_one(server: Host, port: int) -> None:
    authorities = {folder: (secrets_folder() / folder / "authority.pem").read_text(encoding="utf-8") for folder in ("tls", "tls.previous")}
    found = run_python(server, VERIFY, [address_of(server), port, authorities])
    assert found["tls"] == "verified"
    assert re.search("signature failure|unable to get local issuer|self.signed", found["tls.previous"]), found


def test_prometheus_reads_each_part_of_the_stack(prometheus: Host) -> None:
    targets = read(prometheus, "targets?state=active")["activeTargets"]
    assert {(one["labels"]["job"], one["labels"]["instance"], one["health"]) for one in targets} == {
        ("node", "metrics-mlflow", "up"),
        ("node", "metrics-postgres", "up"),
        ("node", "metrics-prometheus", "up"),
        ("mlflow", "metrics-mlflow", "up"),
        ("haproxy", "metrics-mlflow", "up"),
        ("minio", "metrics-mlflow", "up"),
        ("postgres", "metrics-postgres", "up"),
        ("prometheus", "metrics-prometheus", "up"),
    }, [one["lastError"] for one in targets]
    # All links between hosts have TLS; the proxy ends TLS for the tracking server.
    schemes = {one["labels"]["job"]: one["scrapeUrl"].partition(":")[0] for one in targets if one["labels"]["instance"] != "metrics-prometheus"}
    assert schemes == {"node": "https", "mlflow": "http", "haproxy": "https", "minio": "https", "postgres": "https"}
    assert [value for _labels, value in query(prometheus, "pg_up")] == [1]


def test_promtool_accepts_settings_and_rules_and_each_alert_fires_when_it_must_and_not_else(prometheus: Host) -> None:
    assert {example.alert for example in EXAMPLES} == {alert.name for alert in ALERTS}
    assert "SUCCESS" in prometheus.check_output(f"promtool check config {FOLDER}/prometheus.yml")
    # The rules as they are without the changes of this inventory.
    write(prometheus, "/root/rules.yml", yaml.safe_dump(prometheus_rules({}), sort_keys=False))
    write(prometheus, "/root/tests.yml", yaml.safe_dump(promtool_tests("rules.yml"), sort_keys=False))
    assert f"{len(ALERTS)} rules found" in prometheus.check_output("promtool check rules /root/rules.yml")
    done = prometheus.run("promtool test rules /root/tests.yml")
    assert done.rc == 0 and "SUCCESS" in done.stdout, done.stdout + done.stderr


def test_each_metric_of_the_alerts_and_the_dashboard_is_one_that_the_hosts_have(prometheus: Host) -> None:
    dashboard = json.loads((ROOT / "roles/prometheus/files/dashboard.json").read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    used = {name for expression in [*(alert.expr for alert in ALERTS), *asked] for name in metrics_in(expression)}
    assert len(used) > 30
    present = set(read(prometheus, "label/__name__/values"))
    assert sorted(used - present) == []


def test_prometheus_answers_each_query_of_the_dashboard(prometheus: Host) -> None:
    dashboard = json.loads((ROOT / "roles/prometheus/files/dashboard.json").read_text(encoding="utf-8"))
    empty = []
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")
            if not query(prometheus, expression):
                empty.append(panel["title"])
    assert empty == []


def test_the_metrics_have_the_backup_and_the_certificates(prometheus: Host) -> None:
    ((_labels, age),) = query(prometheus, "time() - max(atlas_mlflow_backup_last_timestamp_seconds)")
    assert 0 <= age < 3600
    assert query(prometheus, "atlas_mlflow_backup_readable")[0][1] == 1 and query(prometheus, "atlas_mlflow_backup_check_success")[0][1] == 1
    ends = query(prometheus, "(atlas_mlflow_certificate_not_after_timestamp_seconds - time()) / 86400")
    paths = {(labels["instance"], labels["path"].rpartition("/tls/")[2]) for labels, _days in ends}
    assert {("metrics-mlflow", "haproxy.pem"), ("metrics-mlflow", "minio/public.crt"), ("metrics-postgres", "postgres.pem")} <= paths
    assert all(300 < days < 3700 for _labels, days in ends), ends


def test_both_workers_of_the_tracking_server_are_counted(prometheus: Host, server: Host) -> None:
    url, counted = f"http://localhost:{PORT}", "mlflow_http_request_total{status='200'}"
    before = sum(value for _labels, value in query(prometheus, counted))
    for _ in range(20):
        assert ask(server, f"{url}/api/2.0/mlflow/experiments/search?max_results=1").status == 200
    wait_for(lambda: sum(value for _labels, value in query(prometheus, counted)) >= before + 20, lambda: str(query(prometheus, counted)))


def test_nobody_else_reads_metrics(prometheus: Host, client: Host, server: Host, postgres: Host) -> None:
    assert connect(client, server, NODE, OF_HAPROXY, PORT, 9000) == ["dropped"] * 4
    assert connect(client, postgres, NODE, OF_POSTGRES) == ["dropped"] * 2
    assert connect(server, postgres, NODE, OF_POSTGRES) == ["dropped"] * 2
    assert connect(client, prometheus, NODE, 9090) == ["dropped"] * 2
    # Through the proxy, with the administrator's login.
    for path in ("/metrics", "//metrics", "/%6detrics"):
        assert ask(client, f"https://{server.backend.name}{path}").status == 404, path
    # Behind the firewall, an address that may not read them, with and without the administrator's login.
    address = address_of(server)
    for path in ("/metrics", "//metrics", "/%6detrics", "/metrics/"):
        for login in (None, administrator()):
            answer = ask(server, f"http://{address}:{PORT}{path}", login=login)
            assert answer.status == 403 and "mlflow_http_request_total" not in answer.body, (path, answer)
    assert ask(server, f"https://{address}:{OF_HAPROXY}/metrics", login=None).status == 403
    # Prometheus reads MLflow's without a login, and MinIO's by its token alone.
    assert ask(prometheus, f"http://{address}:{PORT}/metrics", login=None).status == 200
    minio = f"https://{address}:9000/minio/v2/metrics"
    for path in ("cluster", "node", "bucket", "resource"):
        assert ask(prometheus, f"{minio}/{path}", login=None).status == 403, path


def test_exporters_listen_where_prometheus_reaches_them_and_nowhere_else(prometheus: Host, server: Host, postgres: Host) -> None:
    for host, port in ((server, NODE), (postgres, NODE), (postgres, OF_POSTGRES)):
        lines = host.check_output(f"ss --no-header --listening --tcp --numeric 'sport = :{port}'").splitlines()
        assert [line.split()[3] for line in lines] == [f"{address_of(host)}:{port}"]
    assert open_sockets(prometheus) & {"tcp 9090", f"tcp {NODE}"} == set()


def test_the_exporter_s_login_reads_statistics_and_no_data(postgres: Host) -> None:
    def psql(user: str, database: str, sql: str) -> Any:
        return postgres.run(f"sudo -u {user} psql --username atlas_metrics --no-psqlrc -At --dbname {database} --command %s", sql)

    rights = "SELECT string_agg(r.rolname, ',') FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid WHERE m.member = 'atlas_metrics'::regrole"
    assert psql("atlas_metrics", "postgres", rights).stdout.strip() == "pg_monitor"
    plain = "SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls FROM pg_roles WHERE rolname = 'atlas_metrics'"
    assert psql("atlas_metrics", "postgres", plain).stdout.strip() == "f"
    assert psql("atlas_metrics", "mlflow", "SELECT 1").rc != 0
    # Nobody else is taken for it: not by the socket, and not over the network, where it has no password.
    assert "Peer authentication failed" in psql("daemon", "postgres", "SELECT 1").stderr
    assert psql("atlas_metrics", "'host=127.0.0.1 dbname=postgres'", "SELECT 1").rc != 0


def test_the_token_is_for_prometheus_alone_and_may_only_read_metrics(prometheus: Host, minio: Host) -> None:
    token = prometheus.file(f"{FOLDER}/minio.token")
    assert (token.user, token.group, token.mode) == ("root", "prometheus", 0o640)
    secret = token.content_string.strip()
    assert secret not in prometheus.check_output("ps -e -o args") and secret not in prometheus.file(f"{FOLDER}/prometheus.yml").content_string
    script = """
import json, ssl, sys, urllib.error, urllib.request
base, token = json.load(sys.stdin)
found = []
trust = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile="/etc/atlas-mlflow/prometheus/authority.pem"))
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), trust)
for path in ("/minio/v2/metrics/cluster", "/minio/admin/v3/info", "/mlflow?list-type=2"):
    try:
        with opener.open(urllib.request.Request(base + path, headers={"Authorization": "Bearer " + token})) as answer:
            found.append(answer.status)
    except urllib.error.HTTPError as error:
        found.append(error.code)
print(json.dumps(found))
"""
    answers = run_python(prometheus, script, [f"https://{address_of(minio)}:9000", secret])
    assert answers[0] == 200 and all(status in (400, 403) for status in answers[1:]), answers


def test_a_stopped_server_fires_an_alert_and_a_started_one_ends_it(prometheus: Host, server: Host) -> None:
    assert firing(prometheus) == set()
    server.check_output("systemctl stop mlflow-server.service")
    try:
        wait_for(lambda: ("MlflowServerDown", "metrics-mlflow") in firing(prometheus), lambda: str(firing(prometheus)))
    finally:
        server.check_output("systemctl start mlflow-server.service")
    wait_for(lambda: ("MlflowServerDown", "metrics-mlflow") not in firing(prometheus), lambda: str(firing(prometheus)))


def test_files_are_written_for_a_prometheus_of_the_user(prometheus: Host, tmp_path: Path) -> None:
    files = tmp_path / "files"
    done = play(playbook("prometheus_files", {}, tmp_path), "--extra-vars", json.dumps({"prometheus_files_dir": str(files)}))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert {path.name for path in files.iterdir()} == {"scrape.yml", "rules.yml", "dashboard.json", "authority.pem", "minio.token"}
    assert (files / "minio.token").stat().st_mode & 0o077 == 0
    assert (files / "minio.token").read_text() not in done.stdout
    assert_unchanged(play(playbook("prometheus_files", {}, tmp_path), "--extra-vars", json.dumps({"prometheus_files_dir": str(files)})))
    prometheus.check_output("mkdir -p /etc/prometheus/atlas-mlflow")
    for path in files.iterdir():
        subprocess.run(["docker", "cp", path, f"{prometheus.backend.name}:/etc/prometheus/atlas-mlflow/{path.name}"], check=True, capture_output=True)
    try:
        assert "SUCCESS" in prometheus.check_output("promtool check config /etc/prometheus/atlas-mlflow/scrape.yml")
    finally:
        prometheus.check_output("rm -r /etc/prometheus/atlas-mlflow")
    missing = play(playbook("prometheus_files", {}, tmp_path))
    assert missing.returncode != 0 and "prometheus_files_dir is not set" in said(missing)


def test_a_rotated_key_is_taken_by_both_sides(prometheus: Host, tmp_path: Path) -> None:
    before = prometheus.file(f"{FOLDER}/minio.token").content_string
    done = play(playbook("rotate_secrets", {}, tmp_path), "--extra-vars", json.dumps({"rotate_secrets": ["minio_metrics_secret_key"]}), patience=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert prometheus.file(f"{FOLDER}/minio.token").content_string != before
    started = time.time()
    wait_for(lambda: query(prometheus, f"timestamp(up{{job='minio'}} == 1) > {started}"), lambda: str(query(prometheus, "up{job='minio'}")))


def test_what_was_set_up_is_removed_and_the_values_stay(prometheus: Host, server: Host, postgres: Host, tmp_path: Path) -> None:
    """The last test."""
    done = play(playbook("remove", {}, tmp_path), patience=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    for host in (prometheus, server, postgres):
        assert open_sockets(host) & {f"tcp {port}" for port in (NODE, OF_POSTGRES, OF_HAPROXY, 9090)} == set()
        left = host.check_output("find /etc/systemd/system -name '*exporter*' -o -name '*prometheus*' -o -name 'atlas-mlflow-metrics*'").splitlines()
        assert left == []
        assert not host.package("prometheus-node-exporter").is_installed
        assert not host.file("/etc/atlas-mlflow/tls/metrics.key").exists and not host.file("/opt/atlas-mlflow/metrics/atlas_mlflow_metrics.py").exists
    assert not prometheus.file(FOLDER).exists
    assert prometheus.file("/var/lib/atlas-mlflow-prometheus").is_directory
