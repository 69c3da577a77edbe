"""The tracking server, seen from its own host and from another one."""

from __future__ import annotations

import re

from stack.support import PORT, Service, address_of, ask, base_url
from testinfra.host import Host

SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"


def test_it_listens_on_every_address_at_its_port_and_nowhere_else(server: Host, service: Service) -> None:
    pids = service.pids
    assert pids, server.run(service.log).stdout
    sockets = set()
    # In the network namespace of the service, which is the host's own for a unit.
    for line in server.check_output(f"nsenter --target {service.main_pid} --net ss --no-header --listening --tcp --udp --numeric --processes").splitlines():
        if pids & set(map(int, re.findall(r"pid=(\d+)", line))):
            sockets.add(line.split()[4])
    assert sockets == {f"0.0.0.0:{PORT}"}


def test_nothing_else_has_its_port_on_the_host(server: Host) -> None:
    lines = server.check_output("ss --no-header --listening --tcp --numeric").splitlines()
    assert [line.split()[3] for line in lines if line.split()[3].endswith(f":{PORT}")] == [f"0.0.0.0:{PORT}"]


def test_it_answers_another_host_by_name_and_by_address(client: Host, server: Host, server_name: str) -> None:
    for name in (server_name, address_of(server)):
        for path in (SEARCH, "/"):
            answer = ask(client, f"{base_url(name)}{path}")
            assert answer.status == 200, (name, path, answer)
    assert "experiments" in ask(client, f"{base_url(server_name)}{SEARCH}").json()


def test_it_answers_its_own_host_by_localhost(server: Host) -> None:
    assert ask(server, f"{base_url('localhost')}{SEARCH}").status == 200


def test_its_page_may_ask_it_by_each_of_its_names(client: Host, server: Host, server_name: str) -> None:
    """A browser names the page's origin with each POST, and MLflow refuses those that it was not given, its own page's too."""
    for name in (server_name, address_of(server)):
        asked = {"method": "POST", "body": {"max_results": 1}, "origin": base_url(name)}
        answer = ask(client, f"{base_url(name)}/ajax-api/2.0/mlflow/experiments/search", **asked)
        assert answer.status == 200, (name, answer)


def test_it_refuses_a_name_that_is_not_its_own(client: Host, server_name: str) -> None:
    for foreign in ("evil.example.com", f"evil.example.com:{PORT}", "10.evil.com", f"{server_name}.evil.com:{PORT}"):
        answer = ask(client, f"{base_url(server_name)}{SEARCH}", host=foreign)
        assert answer.status == 403, (foreign, answer)


def test_its_settings_are_for_its_reader_alone(server: Host, service: Service) -> None:
    """systemd reads them as root, the container's main process as the service's user."""
    settings = server.file(service.settings)
    assert (settings.user, settings.mode) in {("root", 0o600), ("mlflow", 0o400)}


def test_uploads_are_kept_on_a_disk_on_their_way(server: Host, service: Service) -> None:
    """The host's /tmp is memory on Debian 13, and on the hosts of these tests."""
    environment = dict(line.partition("=")[::2] for line in server.check_output(f"tr '\\0' '\\n' < /proc/{service.main_pid}/environ").splitlines())
    folder = environment.get("TMPDIR", "/tmp")
    assert server.check_output("nsenter --target %s --mount --root stat --file-system --format %%T %s", str(service.main_pid), folder) != "tmpfs"
    kept = server.check_output("stat --format '%%U %%a' %s", f"/proc/{service.main_pid}/root{folder}")
    assert kept == "mlflow 700", folder


def test_it_runs_as_its_own_user_with_its_arguments(server: Host, service: Service) -> None:
    assert {server.check_output(f"ps -o user= -p {pid}").strip() for pid in service.pids} == {"mlflow"}
    commands = [server.check_output(f"tr '\\0' '\\n' < /proc/{pid}/cmdline").splitlines() for pid in service.pids]
    # The init program of a container has the whole command in its arguments.
    arguments, *others = [command for command in commands if "atlas_mlflow.serve" in command and "atlas_mlflow.start" not in command]
    # MLflow is loaded once: several workers are forks of their supervisor, and the process of MLflow's command line has ended.
    workers = int(arguments[arguments.index("--workers") + 1])
    assert others == [arguments] * (workers if workers > 1 else 0)
    assert arguments[arguments.index("server") + 1 : arguments.index("server") + 5] == ["--host", "0.0.0.0", "--port", str(PORT)]


def test_the_verification_left_nothing_that_users_see(client: Host, server_name: str) -> None:
    found = ask(client, f"{base_url(server_name)}/api/2.0/mlflow/experiments/search?max_results=1000&view_type=ACTIVE_ONLY").json()
    assert [one["name"] for one in found["experiments"] if one["name"].startswith("atlas-mlflow-probe")] == []
