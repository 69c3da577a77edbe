"""The secrets in use are in nobody's sight, on any host of the stack; and the search for them finds one that is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stack.support import run_python, stack_hosts
from testinfra.host import Host

#: Prints which of the secrets given stand in which files that everybody may read, as somebody without any right finds them.
FIND_IN_READABLE_FILES = """
import json, os, stat, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
secrets, found = {name: text.encode() for name, text in json.load(sys.stdin).items()}, {}
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
CANARY = "canary-5d1f0c9e7b"
#: Who prints what anybody may come to see. A value of systemd's that is a secret would be one of a unit's or of the manager's own.
SIGHTS = {
    "process list": "ps axww -o args",
    "journal": "journalctl --no-pager --output=verbose",
    "units": "systemctl show '*' && systemctl show",
    "unit files": "systemctl cat '*'",
    "containers": "docker inspect $(docker ps --all --quiet) && docker image inspect $(docker images --quiet)",
    "container logs": "docker ps --all --quiet | xargs --no-run-if-empty --max-args 1 docker logs",
}


def in_sight(host: Host, secrets: dict[str, str]) -> dict[str, list[str]]:
    """Return where which secrets are seen on a host."""
    found = run_python(host, FIND_IN_READABLE_FILES, secrets)
    for place, command in SIGHTS.items():
        shown = host.run(command)
        for name, secret in secrets.items():
            if secret in shown.stdout + shown.stderr:
                found.setdefault(name, []).append(place)
    return found


@contextmanager
def shown(host: Host, show: str, hide: str) -> Iterator[None]:
    """Put something where it is seen, and take it away."""
    host.check_output(show)
    try:
        yield
    finally:
        host.check_output(hide)


def test_no_secret_is_in_sight(secrets: dict[str, str]) -> None:
    assert {name for name, secret in secrets.items() if len(secret) < 12} == set()
    for host in stack_hosts():
        assert in_sight(host, secrets) == {}, host.backend.hostname


def test_the_search_finds_what_is_in_sight(server: Host) -> None:
    canary = {"canary": CANARY}
    with shown(server, f"sh -c 'umask 022; echo {CANARY} > /etc/atlas-mlflow-canary'", "rm /etc/atlas-mlflow-canary"):
        assert in_sight(server, canary) == {"canary": ["/etc/atlas-mlflow-canary"]}
    unit = f"systemd-run --quiet --unit=canary --setenv=CANARY={CANARY} python3 -c 'import time; time.sleep(600)' {CANARY}"
    with shown(server, unit, "systemctl stop canary.service"):
        assert {"process list", "units", "unit files"} <= set(in_sight(server, canary)["canary"])
    with shown(server, f"logger {CANARY}; journalctl --sync", "true"):
        assert in_sight(server, canary)["canary"] == ["journal"]
