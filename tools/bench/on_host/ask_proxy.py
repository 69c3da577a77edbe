"""Send a command to HAProxy on this host, and print its answer. Argument: the command."""

import socket
import sys

with socket.socket(socket.AF_UNIX) as connection:
    connection.settimeout(10)
    connection.connect("/run/haproxy/master.sock")
    connection.sendall(f"{sys.argv[1]}\n".encode())
    # The master keeps the connection open until its client has sent everything.
    connection.shutdown(socket.SHUT_WR)
    with connection.makefile(encoding="utf-8", errors="replace") as answer:
        sys.stdout.write(answer.read())
