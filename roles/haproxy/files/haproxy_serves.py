"""Ask HAProxy on its own socket whether it serves, for keepalived. HAProxy answers there even if all connections of its clients are in use.

Succeeds if every frontend listens, with the argument "servers" if every backend has a server that answers, and with "postgres" if that of PostgreSQL has. This
one is apart: while the next primary is chosen, no proxy has one, and the address must not move to the proxy that notices last.

A second argument is the shared address. A proxy without it succeeds only with backends that have been up for some seconds: after a time without any server, the
proxy with the address is the first to succeed, and the address does not move to another one that merely noticed earlier.
"""

import socket
import sys

#: Seconds after which all proxies have noticed that a server answers.
NOTICED = 10


def is_here(address: str) -> bool:
    """Say whether this host has an address."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as own:
        try:
            own.bind((address, 0))
        except OSError:
            return False
    return True


asked, shared = (*sys.argv[1:], "", "")[:2]
kind, good = ("BACKEND", ("UP",)) if asked else ("FRONTEND", ("OPEN", "FULL"))
try:
    with socket.socket(socket.AF_UNIX) as haproxy:
        haproxy.settimeout(1)
        haproxy.connect("/run/haproxy/stats.sock")
        haproxy.sendall(b"show stat\n")
        answer = b"".join(iter(lambda: haproxy.recv(65536), b"")).decode()
except OSError as error:
    sys.exit(f"HAProxy does not answer: {error}")
head, *rows = [line.split(",") for line in answer.splitlines() if line]
found = [row for row in rows if row[1] == kind and (not asked or (row[0] == "postgres") == (asked == "postgres"))]
waits = NOTICED if asked and shared and not is_here(shared) else 0
sys.exit(not (found and all(row[head.index("status")] in good and (not waits or int(row[head.index("lastchg")]) >= waits) for row in found)))
