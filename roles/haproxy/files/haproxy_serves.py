"""Ask HAProxy on its own socket whether it serves, for keepalived. HAProxy answers there even if all connections of its clients are in use.

Succeeds if every frontend listens, with the argument "servers" if every backend has a server that answers, and with "postgres" if that of PostgreSQL has. This
one is apart: while the next primary is chosen, no proxy has one, and the address must not move to the proxy that notices last.
"""

import socket
import sys

asked = sys.argv[1] if sys.argv[1:] else ""
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
found = [row[head.index("status")] for row in rows if row[1] == kind and (not asked or (row[0] == "postgres") == (asked == "postgres"))]
sys.exit(not (found and all(status in good for status in found)))
