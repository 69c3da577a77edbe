"""The search of ../secrets finds what is in sight."""

from __future__ import annotations

from stack.sights import in_sight
from testinfra.host import Host

CANARIES = {kind: f"canary-5d1f0c9e7b-{kind}" for kind in ("file", "unit", "journal")}


def test_the_search_finds_what_is_in_sight(server: Host) -> None:
    file = "/etc/atlas-mlflow-canary"
    server.check_output("sh -c %s", f"umask 022; echo {CANARIES['file']} > {file}")
    unit = f"--setenv=CANARY={CANARIES['unit']} python3 -c 'import time; time.sleep(600)' {CANARIES['unit']}"
    server.check_output(f"systemd-run --quiet --unit=canary {unit}")
    server.check_output(f"sh -c 'logger {CANARIES['journal']}; journalctl --sync'")
    try:
        found = in_sight(server, CANARIES)
    finally:
        server.check_output(f"rm {file} && systemctl stop canary.service")
    assert (found["file"], found["journal"]) == ([file], ["journal"])
    assert {"process list", "units", "unit files"} <= set(found["unit"])
