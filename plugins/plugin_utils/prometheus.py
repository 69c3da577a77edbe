# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of a Prometheus that reads the metrics of a stack, its alerts, and its login at MinIO."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.atlas.mlflow.plugins.plugin_utils.settings import value_fault

#: The files that the configuration names, in the folder of the configuration.
RULES, TOKEN, AUTHORITY = "rules.yml", "minio.token", "authority.pem"
#: The seconds of a day.
DAY = 86400
#: When the login at MinIO ends, as a Unix time: in the year 2100. A rotation of the key ends it earlier.
TOKEN_ENDS = 4102444800


@dataclass(frozen=True)
class Alert:
    """A condition that somebody must know of."""

    name: str
    #: The condition, in the language of Prometheus.
    expr: str
    #: How long the condition must hold.
    wait: str
    severity: str
    #: What is wrong, for a person. C(HOST) stands for the host, C(DURATION) for the value in seconds, and C(LIMIT) for the limit.
    summary: str
    #: Seconds that the expression must exceed, and more if what it measures has a schedule with longer gaps. 0 if the expression is a condition.
    limit: int = 0

    def rule(self, change: Mapping[str, Any], needed: int = 0) -> dict[str, Any]:
        """Return the rule for Prometheus.

        :param change: What the inventory changes: C(expr), C(for) and C(severity), as text or as numbers.
        :param needed: The least limit that the schedule allows.
        """
        limit = max(self.limit, needed)
        days = "a day" if limit == DAY else f"{limit / DAY:.3g} days"
        summary = self.summary.replace("HOST", "{{ $labels.instance }}").replace("DURATION", "{{ $value | humanizeDuration }}").replace("LIMIT", days)
        return {
            "alert": self.name,
            "expr": str(change.get("expr", f"{self.expr} > {limit}" if limit else self.expr)),
            "for": str(change.get("for", self.wait)),
            "labels": {"severity": str(change.get("severity", self.severity))},
            "annotations": {"summary": summary},
        }


#: What an inventory may change of an alert, with the type of each.
CHANGES = {"enabled": "bool", "expr": "str", "for": "str", "severity": "str"}
#: The units of a duration in the order in which Prometheus takes them, and the seconds of each.
UNITS = {"y": 365 * DAY, "w": 7 * DAY, "d": DAY, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
_FAILED = "sum by (instance) (rate(mlflow_http_request_total{status=~'5..'}[5m]))"
_ASKED = "sum by (instance) (rate(mlflow_http_request_total[5m]))"
_PROXY_FAILED = "sum by (instance) (rate(haproxy_backend_http_responses_total{proxy='mlflow_servers',code='5xx'}[5m]))"
_PROXY_ASKED = "sum by (instance) (rate(haproxy_backend_http_responses_total{proxy='mlflow_servers'}[5m]))"
ALERTS = (
    Alert("MlflowServerDown", "up{job='mlflow'} == 0", "2m", "critical", "The tracking server of HOST does not answer."),
    Alert("MlflowApiFailing", f"{_FAILED} / {_ASKED} > 0.05", "5m", "critical", "The tracking server of HOST answers more than 5% of requests with an error."),
    Alert("ProxyFailing", f"{_PROXY_FAILED} / {_PROXY_ASKED} > 0.05", "5m", "critical", "The proxy of HOST answers more than 5% of requests with an error."),
    Alert("ProxyWithoutServers", "haproxy_backend_active_servers{proxy='mlflow_servers'} == 0", "1m", "critical", "The proxy of HOST has no tracking server."),
    Alert("ProxyDown", "up{job='haproxy'} == 0", "2m", "critical", "The proxy of HOST does not answer."),
    Alert("MinioDown", "up{job='minio'} == 0", "2m", "critical", "MinIO of HOST does not answer."),
    Alert(
        "MinioDriveLost",
        # Each host of a pool counts the drives of all.
        "max(minio_cluster_drive_offline_total) > 0",
        "10m",
        "critical",
        "MinIO misses drives: {{ $value }}. In the place of a lost one, mount an empty disk, and run site.yml.",
    ),
    Alert("PostgresDown", "up{job='postgres'} == 0 or pg_up == 0", "2m", "critical", "PostgreSQL of HOST, or its exporter, does not answer."),
    Alert(
        "PostgresNearlyOutOfConnections",
        "sum by (instance) (pg_stat_database_numbackends) / max by (instance) (pg_settings_max_connections) > 0.85",
        "5m",
        "warning",
        "PostgreSQL of HOST uses more than 85% of its connections.",
    ),
    Alert("PostgresReplicaLag", "atlas_mlflow_replica_lag_seconds > 60", "5m", "warning", "The replica of HOST is DURATION behind the primary."),
    Alert("HostDown", "up{job='node'} == 0", "2m", "critical", "The exporter of HOST does not answer."),
    Alert(
        "DiskFullInFourDays",
        "predict_linear(node_filesystem_avail_bytes{fstype!~'tmpfs|ramfs'}[6h], 4 * 86400) < 0"
        " and node_filesystem_avail_bytes{fstype!~'tmpfs|ramfs'} / node_filesystem_size_bytes{fstype!~'tmpfs|ramfs'} < 0.5",
        "1h",
        "warning",
        "The disk {{ $labels.mountpoint }} of HOST is full in four days or earlier.",
    ),
    Alert(
        "DiskNearlyFull",
        "node_filesystem_avail_bytes{fstype!~'tmpfs|ramfs'} / node_filesystem_size_bytes{fstype!~'tmpfs|ramfs'} < 0.05",
        "5m",
        "critical",
        "The disk {{ $labels.mountpoint }} of HOST has less than 5% left.",
    ),
    Alert(
        "CertificateEnds",
        "atlas_mlflow_certificate_not_after_timestamp_seconds - time() < 14 * 86400",
        "1h",
        "warning",
        "The certificate {{ $labels.path }} of HOST ends in DURATION. Run site.yml, or replace your own certificate.",
    ),
    Alert(
        "BackupTooOld",
        # In a cluster, each member sees the same backups. Without a backup, the time is 0.
        "time() - max(atlas_mlflow_backup_last_timestamp_seconds)",
        # The time that the next backup takes.
        "2h",
        "critical",
        "The last backup is older than LIMIT: DURATION.",
        limit=DAY,
    ),
    Alert(
        "BackupNotReadable",
        "atlas_mlflow_backup_readable == 0 or atlas_mlflow_backup_check_success == 0",
        "15m",
        "critical",
        "The backups of HOST cannot be read.",
    ),
    Alert(
        "MetricsTooOld",
        "time() - node_textfile_mtime_seconds{file=~'.*/atlas_mlflow.prom'}",
        "5m",
        "warning",
        "HOST no longer reports the age of backups and the end of certificates. See the journal of atlas-mlflow-metrics.service.",
        limit=1800,
    ),
)


def prometheus_rules(changes: Mapping[str, Mapping[str, Any]] | None = None, limits: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Return the alerts as a file of rules for Prometheus.

    :param changes: What the inventory changes, by the name of the alert.
    :param limits: The value C(alert_limits) of the plan: the least limit that a schedule allows, by the name of the alert.
    """
    given, needed = changes or {}, limits or {}
    kept = {alert: change for alert in ALERTS if boolean((change := given.get(alert.name) or {}).get("enabled", True), strict=False)}
    rules = [alert.rule(change, needed.get(alert.name, 0)) for alert, change in kept.items()]
    return {"groups": [{"name": "atlas_mlflow", "rules": rules}]}


def duration(text: str) -> float | None:
    """Return the seconds of a duration as Prometheus writes it, such as C(1h30m), None if the text is not one.

    :param text: The text.
    """
    found = re.fullmatch("".join(rf"(?:(\d+){unit})?" for unit in UNITS), text)
    if text == "0" or not text or not found:
        return 0 if text == "0" else None
    return sum(int(number or 0) * seconds for number, seconds in zip(found.groups(), UNITS.values(), strict=True))


def alert_faults(changes: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each thing that is wrong with changes of alerts."""
    names = [alert.name for alert in ALERTS]
    faults = []
    for name, change in changes.items():
        if name not in names:
            faults.append(f"prometheus_alerts: {name} is no alert: the alerts are {', '.join(names)}.")
        elif not isinstance(change, Mapping):
            faults.append(f"prometheus_alerts: {name} has no dictionary: set {', '.join(CHANGES)}.")
        elif unknown := sorted(set(change) - set(CHANGES)):
            faults.append(f"prometheus_alerts: {name} has {', '.join(unknown)}: set {', '.join(CHANGES)}.")
        else:
            faults += [fault for key, value in change.items() if (fault := _change_fault(f"prometheus_alerts.{name}.{key}", key, value))]
    return faults


def _change_fault(place: str, key: str, value: Any) -> str:
    """Return what is wrong with one change of an alert, or an empty text."""
    if fault := value_fault(place, {"type": CHANGES[key]}, value):
        return fault
    if key == "for" and duration(str(value)) is None:
        return f"{place} is {value}. Set a number with a unit, such as 5m or 1h30m, or 0 for no wait."
    return f"{place} is an empty text. Remove the line to get the default, or give it a value." if not str(value).strip() else ""


def scrape_config(target: Mapping[str, Any], folder: str, has_authority: bool) -> dict[str, Any]:
    """Return how Prometheus reads a target.

    :param target: An entry of C(metrics_targets) of the plan.
    :param folder: The folder of the files on the host of Prometheus.
    :param has_authority: Whether that folder has the CA file.
    """
    tls = {
        **({"ca_file": f"{folder}/{AUTHORITY}"} if has_authority and target.get("authority", True) else {}),
        **({"server_name": target["server_name"]} if target["server_name"] else {}),
    }
    return {
        "job_name": f"atlas_mlflow_{target['job']}_{target['host']}",
        "scheme": target["scheme"],
        "metrics_path": target["path"],
        **({"tls_config": tls} if target["scheme"] == "https" and tls else {}),
        **({"authorization": {"type": "Bearer", "credentials_file": f"{folder}/{TOKEN}"}} if target["job"] == "minio" else {}),
        # The labels are the same whichever address leads to a service.
        "static_configs": [{"targets": [target["address"]], "labels": {"job": target["job"], "instance": target["host"]}}],
    }


def prometheus_scrapes(targets: Iterable[Mapping[str, Any]], folder: str, has_authority: bool = False) -> list[dict[str, Any]]:
    """Return the list C(scrape_configs) of Prometheus.

    :param targets: The value C(metrics_targets) of the plan.
    :param folder: The folder of the files on the host of Prometheus.
    :param has_authority: Whether that folder has the CA file.
    """
    return [scrape_config(target, folder, has_authority) for target in targets]


def _encoded(data: bytes) -> str:
    """Return Base64 as JSON Web Tokens have it."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def minio_token(secret_key: str, access_key: str) -> str:
    """Return the login with which Prometheus reads the metrics of MinIO, as `mc admin prometheus generate` makes it.

    :param secret_key: The secret key of an account that may only read metrics.
    :param access_key: The name of the account.
    """
    parts = [{"alg": "HS512", "typ": "JWT"}, {"exp": TOKEN_ENDS, "iss": "prometheus", "sub": access_key}]
    signed = ".".join(_encoded(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
    return f"{signed}.{_encoded(hmac.new(secret_key.encode(), signed.encode(), hashlib.sha512).digest())}"
