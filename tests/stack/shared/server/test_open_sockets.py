"""No host of the stack listens on anything that is not its part in it: others could reach nothing else, whatever a firewall lets through."""

from __future__ import annotations

from stack.support import PORT, hosts_of, open_sockets, stack_hosts
from testinfra.host import Host

PORTS = {"mlflow_servers": {f"tcp {PORT}"}, "postgres": {"tcp 5432"}, "minio": {"tcp 9000"}, "haproxy": {"tcp 443", "tcp 80"}}


def test_hosts_listen_on_their_parts_of_the_stack_alone() -> None:
    for host in stack_hosts():
        parts = [PORTS[group] for group in PORTS if host.backend.hostname in hosts_of(group)]
        # A scenario may reach its hosts by SSH.
        reached = {"tcp 22"} if host.service("ssh").is_running else set()
        assert open_sockets(host) <= set().union(*parts, reached), host.backend.hostname


def test_a_socket_that_is_no_part_of_the_stack_is_seen(server: Host) -> None:
    script = """
import socket, time
stream, datagram = socket.create_server(("0.0.0.0", 8088)), socket.socket(type=socket.SOCK_DGRAM)
datagram.bind(("0.0.0.0", 8089))
time.sleep(600)
"""
    server.check_output("systemd-run --quiet --unit=listener --property=Type=exec python3 -c %s", script)
    try:
        server.check_output("sh -c %s", "for i in $(seq 100); do ss -Hlun | grep -q :8089 && exit 0; sleep 0.2; done; exit 1")
        assert {"tcp 8088", "udp 8089"} <= open_sockets(server)
    finally:
        server.check_output("systemctl stop listener.service")
