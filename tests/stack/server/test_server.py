"""The tracking server, seen from its own host and from another one."""

from __future__ import annotations

import json
import re

from stack.support import PORT, Service, address_of, ask, base_url
from testinfra.host import Host

#: Prints which of the secrets given as JSON stand in which files that everybody may read, as somebody without any right finds them.
FIND_IN_READABLE_FILES = """
import json, os, stat, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
secrets, found = {name: text.encode() for name, text in json.loads(sys.argv[1]).items()}, {}
for top in ("/etc", "/opt", "/var", "/run", "/home", "/root", "/srv", "/tmp", "/usr/local"):
    for folder, _, names in os.walk(top):
        for path in (os.path.join(folder, name) for name in names):
            try:
                status = os.lstat(path)
                if stat.S_ISREG(status.st_mode) and status.st_size < 20_000_000:
                    content = open(path, "rb").read()
                    for name, secret in secrets.items():
                        if secret in content:
                            found.setdefault(name, []).append(path)
            except OSError:
                pass
print(json.dumps(found))
"""
SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"


def test_it_listens_on_every_address_at_its_port_and_nowhere_else(server: Host, service: Service) -> None:
    pids = service.pids
    assert len(pids) > 1, server.run(service.log).stdout
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


def test_it_refuses_a_name_that_is_not_its_own(client: Host, server_name: str) -> None:
    for foreign in ("evil.example.com", f"evil.example.com:{PORT}", "10.evil.com", f"{server_name}.evil.com:{PORT}"):
        answer = ask(client, f"{base_url(server_name)}{SEARCH}", host=foreign)
        assert answer.status == 403, (foreign, answer)


def test_its_settings_are_for_its_reader_alone(server: Host, service: Service) -> None:
    """systemd reads them as root, the container's main process as the service's user."""
    settings = server.file(service.settings)
    assert (settings.user, settings.mode) in {("root", 0o600), ("mlflow", 0o400)}


def test_it_runs_as_its_own_user_with_its_arguments(server: Host, service: Service) -> None:
    assert {server.check_output(f"ps -o user= -p {pid}").strip() for pid in service.pids} == {"mlflow"}
    commands = [server.check_output(f"tr '\\0' '\\n' < /proc/{pid}/cmdline").splitlines() for pid in service.pids]
    (arguments,) = [command for command in commands if "server" in command and "atlas_mlflow_start" not in command]
    assert arguments[arguments.index("server") + 1 : arguments.index("server") + 5] == ["--host", "0.0.0.0", "--port", str(PORT)]


def test_the_verification_left_nothing_that_users_see(client: Host, server_name: str) -> None:
    found = ask(client, f"{base_url(server_name)}/api/2.0/mlflow/experiments/search?max_results=1000&view_type=ACTIVE_ONLY").json()
    assert [one["name"] for one in found["experiments"] if one["name"].startswith("atlas-mlflow-probe")] == []


def test_no_secret_is_in_sight(server: Host, secrets: dict[str, str]) -> None:
    """Process list, journal, units, containers, and every file that the world may read."""
    for name, secret in secrets.items():
        assert len(secret) >= 12, name
        assert secret not in server.check_output("ps axww -o args"), name
        assert secret not in server.check_output("journalctl --no-pager"), name
        units = "mlflow-server.service minio.service postgresql.service"
        assert secret not in server.run(f"systemctl show {units}; systemctl cat {units}").stdout, name
        assert secret not in server.run("docker inspect $(docker ps --all --quiet)").stdout, name
    if secrets:
        found = json.loads(server.check_output("python3 -c %s %s", FIND_IN_READABLE_FILES, json.dumps(secrets)))
        assert found == {}


def test_the_search_for_secrets_finds_one(server: Host) -> None:
    """The search above is worth something only if it finds a secret that is there."""
    server.check_output("sh -c 'umask 022; echo canary-5d1f0c9e7b > /etc/atlas-mlflow-canary'")
    try:
        found = json.loads(server.check_output("python3 -c %s %s", FIND_IN_READABLE_FILES, json.dumps({"canary": "canary-5d1f0c9e7b"})))
    finally:
        server.check_output("rm /etc/atlas-mlflow-canary")
    assert found == {"canary": ["/etc/atlas-mlflow-canary"]}
