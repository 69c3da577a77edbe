"""How the server's workers keep the connections of clients."""

from __future__ import annotations

import json

from stack.support import PATIENCE, PORT, Service
from testinfra.host import Host

#: Connects to a port of this host, copies the socket by which a process accepted the connection, and prints that process and whether TCP_NODELAY is set.
#: An option of a socket is seen by no other way than its descriptor.
ACCEPTED = """
import contextlib, ctypes, json, os, pathlib, socket, sys, time
PIDFD_GETFD = 438

def inode(port, client_port):
    # 0 until a process has accepted the connection.
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if [int(end.rpartition(":")[2], 16) for end in words[1:3]] == [port, client_port]:
            return int(words[9])
    return 0

def holder(number):
    for path in pathlib.Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(path) == f"socket:[{number}]":
                return int(path.parts[2]), int(path.name)
    raise SystemExit(f"no process holds socket {number}")

port, patience = map(int, sys.argv[1:])
with socket.create_connection(("127.0.0.1", port)) as connection:
    deadline = time.monotonic() + patience
    while not (number := inode(port, connection.getsockname()[1])):
        if time.monotonic() > deadline:
            raise SystemExit("no process accepts the connection")
        time.sleep(0.05)
    pid, descriptor = holder(number)
    libc = ctypes.CDLL(None, use_errno=True)
    copy = libc.syscall(PIDFD_GETFD, os.pidfd_open(pid), descriptor, 0)
    if copy < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    with socket.socket(fileno=copy) as accepted:
        print(json.dumps([pid, accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0]))
"""


def test_a_worker_sends_its_answers_at_once(server: Host, service: Service) -> None:
    """With TLS each request on a connection that is kept would wait 40 ms for the client's acknowledgement of the first part of the answer."""
    # In the network namespace of the service, which is the host's own for a unit.
    command = f"nsenter --target {service.main_pid} --net python3 -c %s %s %s"
    worker, nodelay = json.loads(server.check_output(command, ACCEPTED, str(PORT), str(PATIENCE)))
    assert worker in service.pids
    assert nodelay
