"""A replica that copies for longer than the settings let it is told by the name of the setting."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from fake_tracking import serving
from playbook_forks import ansible_playbook

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("Wait until PostgreSQL runs on each member", "Check that PostgreSQL runs on the member")


@pytest.mark.parametrize("status", [200, 503, None])
def test_a_member_that_does_not_run_in_time_is_told_by_the_setting(tmp_path: Path, status: int | None) -> None:
    class Patroni(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status or 0)
            self.end_headers()

        def log_message(self, *_given: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Patroni)
    if not status:
        server.server_close()
    tasks = [task for task in yaml.safe_load((ROOT / "roles/postgres/tasks/patroni_service.yml").read_text()) if task["name"] in NAMES]
    assert len(tasks) == 2
    known = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "_postgres_patroni_url": f"http://127.0.0.1:{server.server_port}",
        "_postgres_authority_file": None,
        "postgres_replica_timeout": 6,
    }
    (tmp_path / "hosts.json").write_text(json.dumps({"postgres": {"hosts": {"b": known}}}))
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    # A server that is closed while its thread serves would keep a core busy until the last test.
    with serving(server) if status else nullcontext():
        done = ansible_playbook(tmp_path, "-i", tmp_path / "hosts.json", tmp_path / "play.yml")
    text = " ".join(done.stdout.split())
    assert (done.returncode == 0) == (status == 200), text
    assert ("PostgreSQL does not run on b after postgres_replica_timeout, 6 seconds" in text) == (status != 200), text
    assert "set postgres_replica_timeout to more seconds" in text or status == 200
