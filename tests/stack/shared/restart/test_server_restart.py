"""The stack after its host has been restarted. Comes last in a scenario: after a restart of a container,
systemd may find its control groups on version 1 closed, and the tests of sockets read them."""

from __future__ import annotations

import subprocess

from stack.support import base_url, hosts_of, service_of, wait_for_answer
from testinfra.host import Host

SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"


def test_the_service_comes_back_after_its_host_was_restarted(server: Host, client: Host, server_name: str) -> None:
    before = service_of(server).started
    for name in set(hosts_of("mlflow_servers") + hosts_of("postgres") + hosts_of("minio")):
        subprocess.run(["docker", "restart", "--time", "30", name], check=True, capture_output=True)
    answer = wait_for_answer(client, f"{base_url(server_name)}{SEARCH}")
    assert answer.status == 200, (answer, server.run(service_of(server).log).stdout)
    assert service_of(server).started != before
