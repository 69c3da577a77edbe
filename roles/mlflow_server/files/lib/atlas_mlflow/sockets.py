"""Send answers at once: turn off Nagle's algorithm for the connections that a worker of the server accepts.

With several workers uvicorn binds the server's socket itself and names no protocol, 0 in place of TCP's number
(``uvicorn.config.Config.bind_socket``, 0.38 to 0.54). asyncio sets ``TCP_NODELAY`` only on sockets with TCP's number (``asyncio.base_events._set_nodelay``),
so connections keep Nagle's algorithm. An answer is written in two parts, headers and body, and the second one then waits for the client to
acknowledge the first: 40 ms of each request on a connection that is kept. On Linux a connection inherits the option from the socket that accepts it.

With one worker asyncio binds the socket itself, and gunicorn, in front of MLflow before 3.5, sets the option itself: both have it with or without this module.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat

#: The descriptors of this process, one entry each. ``ProtectProc=invisible`` leaves a process its own.
_DESCRIPTORS = "/proc/self/fd"


def _is_for_connections(candidate: socket.socket) -> bool:
    """Say whether a socket is bound to a TCP port and has no peer.

    It need not listen yet: a worker loads MLflow first, and only then uvicorn calls ``listen``.
    """
    # Of a socket that is made from a descriptor, Python asks the kernel for the protocol, which is never 0 there.
    if candidate.family not in (socket.AF_INET, socket.AF_INET6) or candidate.proto != socket.IPPROTO_TCP or not candidate.getsockname()[1]:
        return False
    try:
        candidate.getpeername()
    except OSError:
        return True
    return False


def turn_off_nagle() -> None:
    """Set ``TCP_NODELAY`` on each socket of this process that accepts TCP connections, or will. Leave out what cannot be read or set: a start goes on.

    A process that serves nothing, as a command line, has no such socket.
    """
    descriptors: list[int] = []
    with contextlib.suppress(OSError):
        descriptors = [int(name) for name in os.listdir(_DESCRIPTORS)]
    for descriptor in descriptors:
        # The one that the folder was read by is closed by now.
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                # A copy: closing it leaves the socket open.
                with socket.socket(fileno=os.dup(descriptor)) as candidate:
                    if _is_for_connections(candidate):
                        candidate.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
