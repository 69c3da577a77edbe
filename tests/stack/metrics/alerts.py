"""For each alert, values of series at which it fires, and others at which it does not, as promtool tests them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

DISK = 'instance="one",job="node",device="/dev/vda1",fstype="ext4",mountpoint="/"'
DISK_LABELS = {"instance": "one", "job": "node", "device": "/dev/vda1", "fstype": "ext4", "mountpoint": "/"}
FILE = "/var/lib/atlas-mlflow/metrics/atlas_mlflow.prom"
REQUESTS = 'mlflow_http_request_total{{instance="one",job="mlflow",method="GET",status="{}"}}'
RESPONSES = 'haproxy_backend_http_responses_total{{instance="one",job="haproxy",proxy="{}",code="{}"}}'


def up(job: str) -> str:
    """Return the series that says whether a target is read."""
    return f'up{{instance="one",job="{job}"}}'


@dataclass(frozen=True)
class Example:
    """Series with values of each minute, as promtool writes them."""

    alert: str
    severity: str
    #: Series at which it fires, and others at which it does not.
    fires: dict[str, str]
    quiet: dict[str, str]
    #: When it is asked, after the start.
    at: str
    summary: str
    labels: dict[str, str] = field(default_factory=lambda: {"instance": "one"})

    @property
    def tests(self) -> list[dict[str, Any]]:
        """Return the two tests."""
        fired = {"exp_labels": {"severity": self.severity, **self.labels}, "exp_annotations": {"summary": self.summary}}
        return [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [{"alertname": self.alert, "eval_time": self.at, **({"exp_alerts": [fired]} if series is self.fires else {})}],
            }
            for series in (self.fires, self.quiet)
        ]


#: A target that fails once is not lost.
ONCE = "1 1 1 1 1 0"
EXAMPLES = [
    Example(
        "MlflowServerDown",
        "critical",
        {up("mlflow"): "0x5"},
        {up("mlflow"): ONCE, up("node"): "0x5"},
        "5m",
        "The tracking server of one does not answer.",
        {"instance": "one", "job": "mlflow"},
    ),
    Example(
        "ProxyDown",
        "critical",
        {up("haproxy"): "0x5"},
        {up("haproxy"): ONCE, up("mlflow"): "0x5"},
        "5m",
        "The proxy of one does not answer.",
        {"instance": "one", "job": "haproxy"},
    ),
    Example(
        "MinioDown",
        "critical",
        {up("minio"): "0x5"},
        {up("minio"): ONCE, up("mlflow"): "0x5"},
        "5m",
        "MinIO of one does not answer.",
        {"instance": "one", "job": "minio"},
    ),
    Example(
        "MinioDriveLost",
        "critical",
        {'minio_cluster_drive_offline_total{instance="one"}': "1x15", 'minio_cluster_drive_offline_total{instance="two"}': "0x15"},
        {'minio_cluster_drive_offline_total{instance="one"}': "0x15", 'minio_cluster_drive_online_total{instance="one"}': "4x15"},
        "15m",
        "MinIO misses drives: 1. In the place of a lost one, mount an empty disk, and run site.yml.",
        {},
    ),
    Example(
        "HostDown",
        "critical",
        {up("node"): "0x5"},
        {up("node"): ONCE, up("mlflow"): "0x5"},
        "5m",
        "The exporter of one does not answer.",
        {"instance": "one", "job": "node"},
    ),
    Example(
        "PostgresDown",
        "critical",
        {up("postgres"): "1x5", 'pg_up{instance="one",job="postgres"}': "0x5"},
        {up("postgres"): ONCE, 'pg_up{instance="one",job="postgres"}': "1x5"},
        "5m",
        "PostgreSQL of one, or its exporter, does not answer.",
        {"instance": "one", "job": "postgres"},
    ),
    Example(
        "PostgresDown",
        "critical",
        {up("postgres"): "0x5"},
        {up("postgres"): "1x5"},
        "5m",
        "PostgreSQL of one, or its exporter, does not answer.",
        {"instance": "one", "job": "postgres"},
    ),
    Example(
        "MlflowApiFailing",
        "critical",
        {REQUESTS.format(200): "0+90x15", REQUESTS.format(503): "0+10x15"},
        {REQUESTS.format(200): "0+96x15", REQUESTS.format(404): "0+50x15", REQUESTS.format(500): "0+4x15"},
        "15m",
        "The tracking server of one answers more than 5% of requests with an error.",
    ),
    Example(
        "ProxyFailing",
        "critical",
        {RESPONSES.format("mlflow_servers", "2xx"): "0+90x15", RESPONSES.format("mlflow_servers", "5xx"): "0+10x15"},
        {
            RESPONSES.format("mlflow_servers", "2xx"): "0+96x15",
            RESPONSES.format("mlflow_servers", "5xx"): "0+4x15",
            RESPONSES.format("minio", "5xx"): "0+90x15",
        },
        "15m",
        "The proxy of one answers more than 5% of requests with an error.",
    ),
    Example(
        "ProxyWithoutServers",
        "critical",
        {'haproxy_backend_active_servers{instance="one",job="haproxy",proxy="mlflow_servers"}': "0x5"},
        {
            'haproxy_backend_active_servers{instance="one",job="haproxy",proxy="mlflow_servers"}': "1x5",
            'haproxy_backend_active_servers{instance="one",job="haproxy",proxy="minio"}': "0x5",
        },
        "5m",
        "The proxy of one has no tracking server.",
        {"instance": "one", "job": "haproxy", "proxy": "mlflow_servers"},
    ),
    Example(
        "PostgresNearlyOutOfConnections",
        "warning",
        {
            'pg_stat_database_numbackends{instance="one",datname="mlflow"}': "80x10",
            'pg_stat_database_numbackends{instance="one",datname="postgres"}': "6x10",
            'pg_settings_max_connections{instance="one"}': "100x10",
        },
        {
            'pg_stat_database_numbackends{instance="one",datname="mlflow"}': "80x10",
            'pg_stat_database_numbackends{instance="one",datname="postgres"}': "5x10",
            'pg_settings_max_connections{instance="one"}': "100x10",
        },
        "10m",
        "PostgreSQL of one uses more than 85% of its connections.",
    ),
    Example(
        "PostgresReplicaLag",
        "warning",
        {'atlas_mlflow_replica_lag_seconds{instance="one",job="postgres"}': "90x10"},
        {'atlas_mlflow_replica_lag_seconds{instance="one",job="postgres"}': "0 0 0 0 0 0 0 90 90 90 90"},
        "10m",
        "The replica of one is 1m 30s behind the primary.",
        {"instance": "one", "job": "postgres"},
    ),
    Example(
        "DiskFullInFourDays",
        "warning",
        # 40% are left, and 20 MB a minute are written.
        {f"node_filesystem_avail_bytes{{{DISK}}}": "40000000000-20000000x480", f"node_filesystem_size_bytes{{{DISK}}}": "100000000000x480"},
        # 1 MB a minute.
        {f"node_filesystem_avail_bytes{{{DISK}}}": "40000000000-1000000x480", f"node_filesystem_size_bytes{{{DISK}}}": "100000000000x480"},
        "8h",
        "The disk / of one is full in four days or earlier.",
        DISK_LABELS,
    ),
    Example(
        "DiskNearlyFull",
        "critical",
        {f"node_filesystem_avail_bytes{{{DISK}}}": "4000000000x10", f"node_filesystem_size_bytes{{{DISK}}}": "100000000000x10"},
        {f"node_filesystem_avail_bytes{{{DISK}}}": "6000000000x10", f"node_filesystem_size_bytes{{{DISK}}}": "100000000000x10"},
        "10m",
        "The disk / of one has less than 5% left.",
        DISK_LABELS,
    ),
    Example(
        "CertificateEnds",
        "warning",
        # In tests, the clock begins at 0.
        {'atlas_mlflow_certificate_not_after_timestamp_seconds{instance="one",job="node",path="/x.pem"}': f"{14 * 86400}x120"},
        {'atlas_mlflow_certificate_not_after_timestamp_seconds{instance="one",job="node",path="/x.pem"}': f"{15 * 86400}x120"},
        "2h",
        "The certificate /x.pem of one ends in 13d 22h 0m 0s. Run site.yml, or replace your own certificate.",
        {"instance": "one", "job": "node", "path": "/x.pem"},
    ),
    Example(
        "BackupTooOld",
        "critical",
        # One member of a cluster cannot read the backups.
        {'atlas_mlflow_backup_last_timestamp_seconds{instance="one"}': "0x1620", 'atlas_mlflow_backup_last_timestamp_seconds{instance="two"}': "60x1620"},
        {'atlas_mlflow_backup_last_timestamp_seconds{instance="one"}': "0x1620", 'atlas_mlflow_backup_last_timestamp_seconds{instance="two"}': "7200x1620"},
        "26h30m",
        "The last backup is older than a day: 1d 2h 29m 0s.",
        {},
    ),
    Example(
        "BackupNotReadable",
        "critical",
        {'atlas_mlflow_backup_readable{instance="one"}': "0x20", 'atlas_mlflow_backup_check_success{instance="one"}': "1x20"},
        {'atlas_mlflow_backup_readable{instance="one"}': "1x20", 'atlas_mlflow_backup_check_success{instance="one"}': "1x20"},
        "20m",
        "The backups of one cannot be read.",
    ),
    Example(
        "BackupNotReadable",
        "critical",
        {'atlas_mlflow_backup_readable{instance="one"}': "1x20", 'atlas_mlflow_backup_check_success{instance="one"}': "0x20"},
        {'atlas_mlflow_backup_readable{instance="one"}': "1x20"},
        "20m",
        "The backups of one cannot be read.",
    ),
    Example(
        "MetricsTooOld",
        "warning",
        {f'node_textfile_mtime_seconds{{instance="one",job="node",file="{FILE}"}}': "0x40"},
        {f'node_textfile_mtime_seconds{{instance="one",job="node",file="{FILE}"}}': "0+60x40", 'node_textfile_mtime_seconds{file="/other.prom"}': "0x40"},
        "40m",
        "one no longer reports the age of backups and the end of certificates. See the journal of atlas-mlflow-metrics.service.",
        {"instance": "one", "job": "node", "file": FILE},
    ),
]


def promtool_tests(rules: str) -> dict[str, Any]:
    """Return the content of promtool's file of tests.

    :param rules: The path of the file of rules.
    """
    return {"rule_files": [rules], "evaluation_interval": "1m", "tests": [test for example in EXAMPLES for test in example.tests]}
