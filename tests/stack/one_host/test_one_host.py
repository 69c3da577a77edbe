"""The full stack on one host: its stores are for that host alone."""

from __future__ import annotations

import re

import pytest
from stack.support import address_of, ask, listening
from testinfra.host import Host


def test_the_stores_listen_on_loopback_alone(server: Host) -> None:
    addresses = listening(server, "postgres") | listening(server, "minio")
    assert addresses <= {"127.0.0.1:5432", "[::1]:5432", "127.0.0.1:9000"}
    assert {"127.0.0.1:5432", "127.0.0.1:9000"} <= addresses


def test_another_host_cannot_reach_the_stores(client: Host, server: Host) -> None:
    for port in (5432, 9000):
        answer = ask(client, f"http://{address_of(server)}:{port}/")
        assert answer.status == 0 and "refused" in answer.body, (port, answer)


@pytest.mark.parametrize(("unit", "most"), [("mlflow-server.service", 2.0), ("minio.service", 2.0), ("postgresql@*.service", 5.0)])
def test_the_services_are_confined(server: Host, unit: str, most: float) -> None:
    name = server.check_output("systemctl list-units --plain --no-legend %s", unit).split()[0]
    rating = server.check_output("systemd-analyze security --no-pager %s", name)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", rating)
    assert found and float(found.group(1)) <= most, rating
    # The unit says how the next start is confined, the process how this one was.
    pid = server.check_output("systemctl show --property MainPID --value %s", name)
    assert "Seccomp:\t2" in server.file(f"/proc/{pid}/status").content_string
