# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read on a host what its services say about the cluster, the pool and the address that they share with other hosts. This module only reads.

Where a service listens, and with which certificates, is read from the settings of the services on the host.
"""

from __future__ import annotations

import json
import os
import re
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils import units
from ansible_collections.atlas.mlflow.plugins.module_utils.commands import Run
from ansible_collections.atlas.mlflow.plugins.module_utils.haproxy import DATABASES, MASTER, Proxy, asker
from ansible_collections.atlas.mlflow.plugins.module_utils.stack import patroni_settings
from ansible_collections.atlas.mlflow.plugins.module_utils.web import Answer, Base, NoAnswer, ask, tls_context

PATRONI = "etc/patroni/config.yml"
ETCD = "etc/default/etcd"
MINIO_UNIT = "etc/systemd/system/minio.service"
#: The file by which MinIO knows a drive of a pool. A folder whose disk is not mounted does not have it.
FORMAT = ".minio.sys/format.json"
HEALTH = ("live", "cluster", "cluster/read")
#: Addresses to listen on that stand for all, and the address by which the host itself reaches the service.
BY_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
PSQL = ["runuser", "-u", "postgres", "--", "env", "PGCONNECT_TIMEOUT=3", "PGOPTIONS=-c statement_timeout=3s", "psql", "--no-psqlrc", "--tuples-only"]
#: What a member's PostgreSQL knows of itself and of those that replicate from it. A replica that has replayed all that it received is not behind, however long
#: ago the last write was.
QUESTION = """
SELECT json_build_object(
  'recovery', pg_is_in_recovery(),
  'receives', EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming'),
  'seconds', CASE WHEN pg_is_in_recovery() THEN CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
             ELSE extract(epoch FROM now() - pg_last_xact_replay_timestamp()) END END,
  'replicas', (SELECT coalesce(json_agg(json_build_object('name', application_name, 'state', state, 'sync', sync_state, 'bytes', pg_wal_lsn_diff(
                 CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, replay_lsn))), '[]') FROM pg_stat_replication))
"""


class Host:
    """A host that is asked about what it shares with other hosts."""

    def __init__(self, run: Run, timeout: float, root: Path = Path("/")) -> None:
        """Take what runs commands.

        :param timeout: Seconds for one request.
        :param root: Where the host's files are, for tests.
        """
        self._run, self._timeout, self._root = run, timeout, root

    def _text(self, path: str) -> str:
        """Return the content of a file, empty if there is none or if it cannot be read."""
        try:
            return (self._root / path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def _service(self, name: str) -> dict[str, str]:
        """Return the state of a service, and the command that shows its log."""
        unit = units.parse_unit(name, self._run(["systemctl", "show", "--property", ",".join(units.PROPERTIES), "--", name])[1])
        return {"state": unit.state, "log": unit.log}

    def _ask(self, base: Base, path: str, tls: ssl.SSLContext, body: bytes | None = None) -> tuple[dict[str, Any], str]:
        """Return the JSON object of an answer, whatever its status, and what was seen instead if there is none."""
        try:
            answer: Answer = ask(base, "GET" if body is None else "POST", path, body=body, timeout=self._timeout, tls=tls)
        except NoAnswer as failure:
            return {}, failure.seen
        found = answer.json()
        return found, "" if found else answer.seen

    # -- a cluster of PostgreSQL
    def member(self) -> dict[str, Any]:
        """Return what Patroni and PostgreSQL say, empty without settings of Patroni that the role postgres wrote."""
        settings = patroni_settings(self._text(PATRONI))
        if not settings:
            return {}
        base = Base.parse(f"https://{settings['restapi']['connect_address']}")
        # This host itself answers here.
        tls = tls_context(None, validate=False)
        own, error = self._ask(base, "/patroni", tls)
        cluster, _unanswered = self._ask(base, "/cluster", tls)
        config, _unanswered = self._ask(base, "/config", tls)
        return {
            "name": settings["name"],
            **self._service("patroni.service"),
            "patroni": {name: own.get(name) for name in ("state", "role", "timeline")} if own else {},
            "error": error,
            "paused": bool(cluster.get("pause")),
            "synchronous": bool(config.get("synchronous_mode")),
            "listed": [{name: one.get(name) for name in ("name", "role", "state", "lag", "timeline")} for one in cluster.get("members") or []],
            "postgres": self._postgres(settings["postgresql"]),
        }

    def _postgres(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return what PostgreSQL itself says: one that runs on without Patroni is not in Patroni's answers. Only the error if it does not answer."""
        place = ["--host", settings["parameters"]["unix_socket_directories"], "--port", settings["listen"].rpartition(":")[2]]
        code, out, err = self._run([*PSQL, "--no-align", *place, "--dbname", "postgres", "--command", QUESTION])
        try:
            found: dict[str, Any] = json.loads(out) if code == 0 else {}
        except ValueError:
            found = {}
        return found or {"error": (err.strip().splitlines() or ["no answer"])[0]}

    def etcd(self) -> dict[str, Any]:
        """Return what the member of etcd says, empty without settings of etcd that the role etcd wrote."""
        settings = units.parse_environment_file(self._text(ETCD))
        url = settings.get("ETCD_ADVERTISE_CLIENT_URLS", "").partition(",")[0]
        if not url.startswith("https://"):
            return {}
        facts: dict[str, Any] = {"name": settings.get("ETCD_NAME", ""), **self._service("etcd.service"), "healthy": None, "members": []}
        tls = tls_context(None, validate=False)
        try:
            tls.load_cert_chain(settings.get("ETCD_CERT_FILE", ""), settings.get("ETCD_KEY_FILE", ""))
        except OSError as unread:
            return {**facts, "error": f"its certificate cannot be read: {unread.strerror or 'it does not fit its key'}"}
        base = Base.parse(url)
        # etcd answers that it is healthy only if a majority of its members agrees.
        health, error = self._ask(base, "/health", tls)
        listed, _unanswered = self._ask(base, "/v3/cluster/member_list", tls, body=b"{}")
        if health:
            facts["healthy"] = str(health.get("health")).lower() == "true"
        return {**facts, "error": error or str(health.get("reason") or ""), "members": [str(one.get("name", "")) for one in listed.get("members") or []]}

    # -- PgBouncer beside PostgreSQL
    def pooler(self) -> dict[str, str]:
        """Return the state of PgBouncer."""
        return self._service("atlas-mlflow-pgbouncer.service")

    # -- a pool of MinIO
    def store(self, drives: Iterable[str]) -> dict[str, Any]:
        """Return what the MinIO of a pool says, empty without its unit.

        :param drives: The folders in which the host keeps its part of the pool.
        """
        line = re.search(r"^ExecStart=(.*)$", self._text(MINIO_UNIT), re.MULTILINE)
        argv = re.findall(r'"((?:[^"\\]|\\.)*)"', line.group(1)) if line else []
        if "--address" not in argv:
            return {}
        host, _colon, port = argv[argv.index("--address") + 1].rpartition(":")
        host = host.strip("[]")
        base = Base("https" if "--certs-dir" in argv else "http", BY_LOOPBACK.get(host, host), int(port))
        tls = tls_context(None, validate=False)
        facts: dict[str, Any] = {**self._service("minio.service"), "health": {}, "error": ""}
        for path in HEALTH:
            try:
                facts["health"][path] = ask(base, "GET", f"/minio/health/{path}", timeout=self._timeout, tls=tls).status
            except NoAnswer as failure:
                facts["health"][path], facts["error"] = 0, failure.seen
                if failure.hopeless:
                    break
        return {**facts, "drives": [{"path": drive, "error": self._drive_fault(drive)} for drive in drives]}

    def _drive_fault(self, drive: str) -> str:
        """Return what is wrong with a drive of a pool, empty if nothing is."""
        path = self._root / drive.lstrip("/")
        try:
            os.listdir(path)
            if os.statvfs(path).f_flag & os.ST_RDONLY:
                return "it is mounted read-only"
            return "" if (path / FORMAT).exists() else "MinIO has not written to it: no disk is mounted there, or another one"
        except OSError as error:
            return os.strerror(error.errno or 0)

    # -- the address that proxies share
    def proxy(self, address: str, addresses: Iterable[str]) -> dict[str, Any]:
        """Return whether the host has the address, whether keepalived and HAProxy run, and the primaries that HAProxy finds.

        :param address: The address that the proxies share.
        :param addresses: The addresses of the host's interfaces.
        """
        services = {name: self._service(f"{name}.service") for name in ("keepalived", "haproxy")}
        return {"has_address": address in addresses, **services, "primaries": self._primaries()}

    def _primaries(self) -> list[str] | None:
        """Return the members to which HAProxy passes connections to PostgreSQL, None if it passes none on or does not answer."""
        try:
            servers = Proxy(asker(str(self._root / MASTER.lstrip("/"))), DATABASES).servers()
        except OSError:
            return None
        return [name for name, server in servers.items() if server.running] if servers else None
