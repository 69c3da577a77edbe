"""Where a secret in use would be in somebody's sight on a host."""

from __future__ import annotations

import subprocess
from datetime import datetime

from testinfra.host import Host

from stack.support import run_python

#: Prints which of the secrets given stand in which files that everybody may read, as somebody without any right finds them. What came with the image of
#: the host is older than the secrets, and most of it is MLflow. A file with several names, as uv's cache and an environment share them, is read once.
FIND_IN_READABLE_FILES = """
import json, os, stat, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
given, created = json.load(sys.stdin)
secrets, found, read = {name: text.encode() for name, text in given.items()}, {}, set()
for top in ("/etc", "/opt", "/var", "/run", "/home", "/root", "/srv", "/tmp", "/usr/local"):
    for folder, _, names in os.walk(top):
        for path in (os.path.join(folder, name) for name in names):
            try:
                status = os.lstat(path)
                file = status.st_dev, status.st_ino
                if stat.S_ISREG(status.st_mode) and status.st_size < 20_000_000 and status.st_ctime >= created and file not in read:
                    content = open(path, "rb").read()
                    read.add(file)
                    for name, secret in secrets.items():
                        if secret in content:
                            found.setdefault(name, []).append(path)
            except OSError:
                pass
print(json.dumps(found))
"""
#: Who prints what anybody may come to see. A value of systemd's that is a secret would be one of a unit's or of the manager's own.
SIGHTS = {
    "process list": "ps axww -o args",
    "journal": "journalctl --no-pager --output=verbose",
    "units": "systemctl show '*' && systemctl show",
    "unit files": "systemctl cat '*'",
    "containers": "docker inspect $(docker ps --all --quiet) && docker image inspect $(docker images --quiet)",
    "containers of Podman": "podman inspect $(podman ps --all --quiet) && podman image inspect $(podman images --quiet)",
    "container logs": "docker ps --all --quiet | xargs --no-run-if-empty --max-args 1 docker logs",
}


def created(host: Host) -> float:
    """Return when a host was created from its image, in seconds since the epoch."""
    text = subprocess.run(["docker", "inspect", "--format", "{{.Created}}", host.backend.name], capture_output=True, text=True, check=True).stdout
    return datetime.fromisoformat(text.strip()).timestamp()


def in_sight(host: Host, secrets: dict[str, str]) -> dict[str, list[str]]:
    """Return where which secrets are seen on a host."""
    found = run_python(host, FIND_IN_READABLE_FILES, [secrets, created(host)])
    for place, command in SIGHTS.items():
        shown = host.run(command)
        for name, secret in secrets.items():
            if secret in shown.stdout + shown.stderr:
                found.setdefault(name, []).append(place)
    return found
