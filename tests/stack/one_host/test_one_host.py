"""The full stack on one host: its stores are for that host alone."""

from __future__ import annotations

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
