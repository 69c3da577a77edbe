"""A host without a route out reaches no other network."""

from __future__ import annotations

import json

from testinfra.host import Host

#: Prints whether a name outside resolves, and whether an address outside answers.
OUTSIDE = """
import json, socket
def reached(name, port):
    try:
        socket.create_connection((name, port), 3).close()
        return True
    except OSError:
        return False
print(json.dumps([reached("example.com", 80), reached("example.org", 443), reached("1.1.1.1", 443)]))
"""


def test_the_host_reaches_nothing_outside(server: Host) -> None:
    assert json.loads(server.check_output("python3 -c %s", OUTSIDE)) == [False, False, False]
