"""What Prometheus reads of a stack, who reaches it, and the login at MinIO."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from typing import Any

import pytest
import yaml
from ansible_collections.atlas.mlflow.plugins.plugin_utils.prometheus import ALERTS, alert_faults, duration, minio_token, prometheus_rules, prometheus_scrapes
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.haproxy import metrics_are_reached_by_clients
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.metrics import exporters_are_reached

from inventories import Case, Run

GROUPS = {"mlflow_servers": ["one"], "postgres": ["Two.Example.com"], "minio": ["one"], "haproxy": ["one"], "prometheus": ["ml_three"]}
HOSTS: dict[str, dict[str, Any]] = {"one": {}, "Two.Example.com": {}, "ml_three": {}}
FIREWALL = {"atlas_mlflow_firewall": True}


def run(groups: dict[str, list[str]] | None = None, **given: Any) -> Run:
    """Return the run of a stack with settings for all hosts."""
    used = groups or GROUPS
    names = dict.fromkeys(name for hosts in used.values() for name in hosts)
    return Run(Case(used, {name: dict(given) for name in names}), secrets={})


def targets(found: Run) -> dict[tuple[str, str], str]:
    """Return the URL of each target, by its job and its host."""
    return {(one["job"], one["host"]): f"{one['scheme']}://{one['address']}{one['path']}" for one in found.plans["one"]["metrics_targets"]}


def test_without_prometheus_there_are_no_metrics() -> None:
    found = run({key: hosts for key, hosts in GROUPS.items() if key != "prometheus"}, **FIREWALL)
    for plan in found.plans.values():
        assert plan["metrics"] is False and plan["metrics_targets"] == [] and plan["minio_metrics_account"] == "" and plan["postgres_metrics_user"] == ""
    assert {opening.get("port") for opening in found.plans["one"]["firewall_needed"]} == {80, 5001, 9000}


def test_a_prometheus_reads_each_part_of_the_stack() -> None:
    assert targets(run()) == {
        ("node", "one"): "http://10.0.0.1:9100/metrics",
        ("node", "Two.Example.com"): "http://10.0.0.2:9100/metrics",
        ("node", "ml_three"): "http://127.0.0.1:9100/metrics",
        ("mlflow", "one"): "http://10.0.0.1:5001/metrics",
        ("haproxy", "one"): "http://10.0.0.1:8405/metrics",
        ("postgres", "Two.Example.com"): "http://10.0.0.2:9187/metrics",
        ("minio", "one"): "http://10.0.0.1:9000/minio/v2/metrics/cluster",
    }


def test_the_firewalls_let_prometheus_in_and_nobody_else() -> None:
    found = run(**FIREWALL)
    openings = {opening["port"]: opening["sources"] for opening in found.plans["one"]["firewall_needed"]}
    assert openings == {80: ["any"], 5001: ["10.0.0.1", "10.0.0.3"], 8405: ["10.0.0.3"], 9000: ["10.0.0.2", "10.0.0.3"], 9100: ["10.0.0.3"]}
    of_database = {opening["port"]: opening["sources"] for opening in found.plans["Two.Example.com"]["firewall_needed"]}
    assert of_database == {5432: ["10.0.0.1"], 9100: ["10.0.0.3"], 9187: ["10.0.0.3"]}
    # Its own exporter is on loopback.
    assert "firewall_needed" not in found.plans["ml_three"] or found.plans["ml_three"]["firewall_needed"] == []


def test_a_prometheus_of_the_user_is_let_in_too() -> None:
    groups = {"mlflow_servers": ["one"], "minio": ["one"]}
    found = run(groups, **FIREWALL, atlas_mlflow_metrics=True, atlas_mlflow_metrics_clients=["10.9.0.9"])
    plan = found.plans["one"]
    assert plan["metrics_clients"] == ["10.9.0.9"] and plan["metrics_address"] == "10.0.0.1"
    assert {"port": 9100, "sources": ["10.9.0.9"]} in plan["firewall_needed"]
    # MinIO leaves loopback for it, and the server still uses loopback.
    assert plan["minio_listen_address"] == "10.0.0.1" and plan["s3_endpoint_url"] == "http://127.0.0.1:9000"


def test_on_one_host_everything_stays_on_loopback() -> None:
    plan = run({"mlflow_servers": ["one"], "postgres": ["one"], "minio": ["one"], "prometheus": ["one"]}, **FIREWALL).plans["one"]
    assert plan["metrics_address"] == "127.0.0.1" and plan["minio_listen_address"] == "127.0.0.1"
    assert {opening["port"] for opening in plan["firewall_needed"]} & {9100, 9187} == set()
    addresses = {one["job"]: one["address"] for one in plan["metrics_targets"]}
    assert addresses["node"] == "127.0.0.1:9100" and addresses["postgres"] == "127.0.0.1:9187" and addresses["minio"] == "127.0.0.1:9000"


def test_a_host_can_be_left_out() -> None:
    found = Run(Case(GROUPS, {**HOSTS, "one": {"atlas_mlflow_metrics": False}}), secrets={})
    assert {host for _job, host in targets(found)} == {"Two.Example.com", "ml_three"}
    assert found.plans["one"]["metrics"] is False and found.plans["one"]["haproxy_metrics_port"] == 0


def test_certificates_of_the_own_authority_are_checked_by_the_name_of_the_host() -> None:
    found = run(atlas_mlflow_tls=True)
    names = {(one["job"], one["scheme"]): one["server_name"] for one in found.plans["one"]["metrics_targets"] if one["host"] == "one"}
    # The proxy ends TLS for the tracking server.
    assert names == {("node", "https"): "one", ("mlflow", "http"): "", ("haproxy", "https"): "one", ("minio", "https"): "one"}


def test_a_certificate_of_the_inventory_is_checked_by_the_name_that_it_must_be_for() -> None:
    company = {name: f"/company/{name}" for role in ("mlflow_server", "haproxy") for name in (f"{role}_tls_certificate", f"{role}_tls_key")}
    hosts = {name: {**company, "haproxy_servers_tls": True, "mlflow_server_url": "https://ml.corp"} for name in ("one", "two", "edge")}

    def names(groups: dict[str, list[str]]) -> dict[tuple[str, str], str]:
        known = Run(Case({**groups, "prometheus": ["edge"]}, hosts), secrets={})
        return {(one["job"], one["host"]): one["server_name"] for one in known.plans["edge"]["metrics_targets"] if one["job"] in ("mlflow", "haproxy")}

    servers = {"mlflow_servers": ["one", "two"]}
    # Behind proxies, a certificate of a server is for its name in the inventory.
    assert names({**servers, "haproxy": ["edge"]}) == {("mlflow", "one"): "one", ("mlflow", "two"): "two", ("haproxy", "edge"): "ml.corp"}
    hosts["two"]["mlflow_server_url"] = "https://two.corp:5001/ml"
    assert names(servers) == {("mlflow", "one"): "ml.corp", ("mlflow", "two"): "two.corp"}
    # Without a URL, the servers and the proxies are called by their addresses.
    for own in hosts.values():
        del own["mlflow_server_url"]
    assert set(names(servers).values()) == {""}


def test_a_scrape_has_labels_by_the_inventory_and_the_token_only_for_minio() -> None:
    scrapes = prometheus_scrapes(run(atlas_mlflow_tls=True).plans["one"]["metrics_targets"], "/etc/p", has_authority=True)
    by_name = {one["job_name"]: one for one in scrapes}
    assert len(by_name) == len(scrapes)
    minio = by_name["atlas_mlflow_minio_one"]
    assert minio["authorization"] == {"type": "Bearer", "credentials_file": "/etc/p/minio.token"}
    assert minio["tls_config"] == {"ca_file": "/etc/p/authority.pem", "server_name": "one"}
    assert minio["static_configs"] == [{"targets": ["10.0.0.1:9000"], "labels": {"job": "minio", "instance": "one"}}]
    assert [name for name, one in by_name.items() if "authorization" in one] == ["atlas_mlflow_minio_one"]
    assert "tls_config" not in by_name["atlas_mlflow_mlflow_one"]


def test_the_token_is_signed_with_the_key_and_names_the_account() -> None:
    head, claims, signature = minio_token("secret", "atlas-metrics").split(".")
    padded = [part + "=" * (-len(part) % 4) for part in (head, claims, signature)]
    assert json.loads(base64.urlsafe_b64decode(padded[0])) == {"alg": "HS512", "typ": "JWT"}
    assert json.loads(base64.urlsafe_b64decode(padded[1])) == {"exp": 4102444800, "iss": "prometheus", "sub": "atlas-metrics"}
    assert base64.urlsafe_b64decode(padded[2]) == hmac.new(b"secret", f"{head}.{claims}".encode(), hashlib.sha512).digest()
    assert minio_token("secret", "atlas-metrics") == minio_token("secret", "atlas-metrics") != minio_token("other", "atlas-metrics")


def test_an_inventory_changes_an_alert_or_leaves_it_out() -> None:
    (group,) = prometheus_rules({"MlflowServerDown": {"for": "5s", "severity": "page"}, "ProxyDown": {"enabled": False}})["groups"]
    rules = {rule["alert"]: rule for rule in group["rules"]}
    assert len(rules) == len(ALERTS) - 1 and "ProxyDown" not in rules
    assert rules["MlflowServerDown"]["for"] == "5s" and rules["MlflowServerDown"]["labels"] == {"severity": "page"}
    assert rules["MlflowServerDown"]["annotations"] == {"summary": "The tracking server of {{ $labels.instance }} does not answer."}


def test_changes_have_their_types_however_they_came() -> None:
    """A line in an INI inventory and `-e` have only text."""
    (group,) = prometheus_rules({"ProxyDown": {"enabled": "false"}, "HostDown": {"enabled": "yes", "for": 0, "severity": 1}})["groups"]
    rules = {rule["alert"]: rule for rule in group["rules"]}
    assert "ProxyDown" not in rules
    assert rules["HostDown"]["for"] == "0" and rules["HostDown"]["labels"] == {"severity": "1"}


def alerts(found: Run, name: str = "ml_three") -> dict[str, tuple[str, str]]:
    """Return the condition and the summary of each alert, as the role writes them."""
    files = {entry["path"]: entry for entry in found.value(name, "prometheus", "_prometheus_files")}
    rules = yaml.safe_load(str(files["/etc/atlas-mlflow/prometheus/rules.yml"]["content"]))["groups"][0]["rules"]
    return {rule["alert"]: (rule["expr"], rule["annotations"]["summary"]) for rule in rules}


@pytest.mark.parametrize(
    ("given", "backup", "days", "written"),
    [
        ({}, 86400, "a day", 1800),
        ({"backup_schedule": "hourly", "metrics_schedule": "minutely"}, 86400, "a day", 1800),
        ({"backup_schedule": "Sun *-*-* 02:30:00"}, 7 * 86400, "7 days", 1800),
        ({"backup_schedule": "Mon..Fri 22:30", "metrics_schedule": "*:0/30"}, 3 * 86400, "3 days", 1800),
        ({"metrics_schedule": "*-*-* 00/6:00:00"}, 86400 + 6 * 3600, "1.25 days", 6 * 3600),
        ({"backup_schedule": "weekly", "metrics_schedule": "*-*-* 00/6:00:00"}, 7 * 86400 + 6 * 3600, "7.25 days", 6 * 3600),
        # Backups that something else makes, and one that runs once.
        ({"backup_schedule": ""}, 86400, "a day", 1800),
        ({"backup_schedule": "2030-01-01"}, 86400, "a day", 1800),
    ],
)
def test_alerts_of_age_wait_for_the_schedules(given: dict[str, Any], backup: int, days: str, written: int) -> None:
    found = alerts(run(**given))
    assert found["BackupTooOld"][0] == f"time() - max(atlas_mlflow_backup_last_timestamp_seconds) > {backup}"
    assert found["BackupTooOld"][1].startswith(f"The last backup is older than {days}: ")
    assert found["MetricsTooOld"][0] == f"time() - node_textfile_mtime_seconds{{file=~'.*/atlas_mlflow.prom'}} > {written}"


def test_schedules_of_hosts_without_metrics_or_without_the_backup_do_not_count() -> None:
    rare = {"backup_schedule": "monthly", "metrics_schedule": "daily"}
    hosts: dict[str, dict[str, Any]] = {"one": {"backup_schedule": "monthly"}, "Two.Example.com": {}, "ml_three": {}}
    found = alerts(Run(Case(GROUPS, hosts), secrets={}))
    assert found["BackupTooOld"][0].endswith("> 86400")
    # Without the group postgres, the first tracking server makes the backups.
    groups = {"mlflow_servers": ["one", "two"], "prometheus": ["ml_three"]}
    found = alerts(Run(Case(groups, {"one": {"backup_schedule": "weekly"}, "two": {**rare, "atlas_mlflow_metrics": False}, "ml_three": {}}), secrets={}))
    assert found["BackupTooOld"][0].endswith(f"> {7 * 86400}") and found["MetricsTooOld"][0].endswith("> 1800")


def test_an_expression_of_the_inventory_has_no_limit_added() -> None:
    found = alerts(run(backup_schedule="weekly", prometheus_alerts={"BackupTooOld": {"expr": "up == 2"}}))
    assert found["BackupTooOld"][0] == "up == 2"


@pytest.mark.parametrize(
    ("listens", "asked"),
    [
        (None, "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("0.0.0.0", "10.0.0.1"),
        ("::", "10.0.0.1"),
        ("0::0", "10.0.0.1"),
        ("10.7.0.1", "10.7.0.1"),
        ("fd00::7", "[fd00::7]"),
    ],
)
def test_exporters_and_the_proxy_are_asked_where_they_listen(listens: str | None, asked: str) -> None:
    """A host name is no address to listen on: the preflight refuses it."""
    given = {} if listens is None else {"metrics_listen_address": listens, "haproxy_metrics_address": listens}
    hosts: dict[str, dict[str, Any]] = {"one": given, "ml_three": {}}
    found = Run(Case({"mlflow_servers": ["one"], "postgres": ["one"], "haproxy": ["one"], "prometheus": ["ml_three"]}, hosts), secrets={})
    addresses = {job: url for (job, host), url in targets(found).items() if host == "one" and job != "mlflow"}
    ports = {"node": 9100, "postgres": 9187, "haproxy": 8405}
    assert addresses == {job: f"http://{asked}:{port}/metrics" for job, port in ports.items()}
    # What the services listen on, in the units and in the settings of the proxy.
    bound = f"[{listens}]" if ":" in (listens or "") else listens or "10.0.0.1"
    for part, port in (("node", 9100), ("postgres", 9187)):
        assert f"--web.listen-address={bound}:{port}" in found.value("one", "metrics", f"_metrics_{part}_argv")
    assert f"bind {bound}:8405" in found.value("one", "haproxy", "_haproxy_config")
    assert found.plans["one"]["metrics_unreached"] == {}


def test_a_host_is_asked_by_its_name_if_it_has_one() -> None:
    hosts: dict[str, dict[str, Any]] = {"one": {"atlas_mlflow_address": "one.example.com", "metrics_listen_address": "0.0.0.0"}, "ml_three": {}}
    groups = {"mlflow_servers": ["one"], "prometheus": ["ml_three"]}
    assert targets(Run(Case(groups, hosts), secrets={}))["node", "one"] == "http://one.example.com:9100/metrics"


def test_a_certificate_of_the_inventory_is_checked_by_the_address_of_the_host() -> None:
    """Prometheus asks another address, for which the certificate need not be."""
    own = {"metrics_tls_certificate": "/one.pem", "metrics_tls_key": "/one.key", "metrics_listen_address": "10.7.0.1"}
    (node,) = [one for one in run({"mlflow_servers": ["one"], "prometheus": ["three"]}, **own).plans["one"]["metrics_targets"] if one["host"] == "one"][:1]
    assert (node["address"], node["server_name"]) == ("10.7.0.1:9100", "10.0.0.1")


@pytest.mark.parametrize(
    ("groups", "given", "unreached"),
    [
        ({"prometheus": ["two"]}, {"metrics_listen_address": "127.0.0.1"}, {"metrics_listen_address": "127.0.0.1"}),
        ({"prometheus": ["one", "two"]}, {"metrics_listen_address": "::1"}, {"metrics_listen_address": "::1"}),
        ({"prometheus": ["two"]}, {"mlflow_server_host": "127.0.0.1"}, {"mlflow_server_host": "127.0.0.1"}),
        ({"prometheus": ["two"]}, {"minio_listen_address": "127.0.0.1"}, {"minio_listen_address": "127.0.0.1"}),
        ({"prometheus": ["one"]}, {"metrics_listen_address": "127.0.0.1", "mlflow_server_host": "127.0.0.1"}, {}),
        ({"prometheus": ["two"]}, {}, {}),
        ({"prometheus": ["two"]}, {"metrics_listen_address": "127.0.0.1", "atlas_mlflow_metrics": False}, {}),
        # A Prometheus of the user, which may leave MLflow out, and an agent on the host itself.
        (
            {},
            {"atlas_mlflow_metrics": True, "atlas_mlflow_metrics_clients": ["10.9.0.0/24"], "metrics_listen_address": "127.0.0.1"},
            {"metrics_listen_address": "127.0.0.1"},
        ),
        ({}, {"atlas_mlflow_metrics": True, "atlas_mlflow_metrics_clients": ["10.9.0.9"], "mlflow_server_host": "127.0.0.1"}, {}),
        ({}, {"atlas_mlflow_metrics": True, "atlas_mlflow_metrics_clients": ["127.0.0.1"], "metrics_listen_address": "127.0.0.1"}, {}),
    ],
)
def test_loopback_is_refused_if_others_read_the_metrics(groups: dict[str, list[str]], given: dict[str, Any], unreached: dict[str, str]) -> None:
    hosts = {"one": given, **dict.fromkeys({name for names in groups.values() for name in names} - {"one"}, {})}
    found = Run(Case({"mlflow_servers": ["one"], "minio": ["one"], **groups}, hosts), secrets={})
    assert found.plans["one"]["metrics_unreached"] == unreached
    said = found.told("one", "metrics", exporters_are_reached)
    assert [f"{name} is {address}" in said for name, address in unreached.items()] == [True] * len(unreached) and bool(said) == bool(unreached)


def test_loopback_of_the_proxy_is_refused_by_its_own_rule() -> None:
    groups = {"mlflow_servers": ["one"], "haproxy": ["one"], "prometheus": ["two"]}
    found = Run(Case(groups, {"one": {"haproxy_metrics_address": "127.0.0.1"}, "two": {}}), secrets={})
    assert "haproxy_metrics_address is 127.0.0.1, which no other host reaches" in found.told("one", "haproxy", metrics_are_reached_by_clients)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", 300),
        ("1h30m", 5400),
        ("0", 0),
        ("0s", 0),
        ("1y", 31536000),
        ("1500ms", 1.5),
        *((text, None) for text in ("", "5", "5 m", "30m1h", "-5m", "1.5h")),
    ],
)
def test_durations_of_prometheus(text: str, seconds: float | None) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ServerDown": {"for": "5s"}}, "ServerDown is no alert: the alerts are MlflowServerDown"),
        ({"ProxyDown": {"fro": "5s"}}, "ProxyDown has fro: set enabled, expr, for, severity"),
        ({"ProxyDown": "5s"}, "ProxyDown has no dictionary"),
    ],
)
def test_a_change_that_nothing_reads_is_refused(changes: dict[str, Any], words: str) -> None:
    (fault,) = alert_faults(changes)
    assert words in fault


def test_prometheus_gets_its_settings_and_no_secret_in_them() -> None:
    found = Run(Case(GROUPS, HOSTS), secrets={"minio_metrics_secret_key": "canary-of-metrics"})
    files = {entry["path"]: entry for entry in found.value("ml_three", "prometheus", "_prometheus_files")}
    settings = yaml.safe_load(str(files["/etc/atlas-mlflow/prometheus/prometheus.yml"]["content"]))
    assert [one["job_name"] for one in settings["scrape_configs"]][-1] == "atlas_mlflow_prometheus_ml_three"
    assert files["/etc/atlas-mlflow/prometheus/minio.token"] == {"path": "/etc/atlas-mlflow/prometheus/minio.token", "group": "prometheus", "mode": "0640"}
    rules = yaml.safe_load(str(files["/etc/atlas-mlflow/prometheus/rules.yml"]["content"]))
    assert {rule["alert"] for rule in rules["groups"][0]["rules"]} == {alert.name for alert in ALERTS}
    assert re.search("canary", json.dumps(list(files.values()))) is None
    assert found.value("ml_three", "prometheus", "_prometheus_secrets") == {
        "/etc/atlas-mlflow/prometheus/minio.token": minio_token("canary-of-metrics", "atlas-metrics")
    }


def test_a_lost_drive_is_told_although_its_host_answers() -> None:
    rules = {rule["alert"]: rule for rule in prometheus_rules()["groups"][0]["rules"]}
    # Once for all hosts of a pool, which count the same drives.
    assert rules["MinioDriveLost"]["expr"] == "max(minio_cluster_drive_offline_total) > 0"
    assert "$labels" not in rules["MinioDriveLost"]["annotations"]["summary"]
