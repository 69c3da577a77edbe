"""Send answers at once: turn off Nagle's algorithm for the connections that a worker of the server accepts.

With several workers uvicorn binds the server's socket itself and names no protocol, 0 instead of TCP's number
(``uvicorn.config.Config.bind_socket``, 0.38 to 0.54). asyncio sets ``TCP_NODELAY`` only on sockets with TCP's number (``asyncio.base_events._set_nodelay``),
so connections keep Nagle's algorithm. An answer is written in two parts, headers and body, and the second part then waits until the client
acknowledges the first: 40 ms for each request on a kept connection. On Linux a connection inherits the option from the socket that accepts it.

With one worker asyncio binds the socket itself. gunicorn, in front of MLflow before 3.5, sets the option itself. Neither needs this module.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat

#: The file descriptors of this process, one entry each. With ``ProtectProc=invisible`` a process can still read its own.
_DESCRIPTORS = "/proc/self/fd"


def _is_for_connections(candidate: socket.socket) -> bool:
    """Return whether a socket is bound to a TCP port and has no peer.

    The socket may not listen yet: a worker loads MLflow first, and uvicorn calls ``listen`` later.
    """
    # For a socket that is made from a descriptor, Python asks the kernel for the protocol, which is never 0 there.
    if candidate.family not in (socket.AF_INET, socket.AF_INET6) or candidate.proto != socket.IPPROTO_TCP or not candidate.getsockname()[1]:
        return False
    try:
        candidate.getpeername()
    except OSError:
        return True
    return False


def turn_off_nagle() -> None:
    """Set ``TCP_NODELAY`` on each socket of this process that accepts TCP connections, now or later. Skip sockets that fail: the start must continue.

    A process that serves nothing, such as a command line, has no such socket.
    """
    descriptors: list[int] = []
    with contextlib.suppress(OSError):
        descriptors = [int(name) for name in os.listdir(_DESCRIPTORS)]
    for descriptor in descriptors:
        # The descriptor with which the folder was read is closed already.
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                # This is a copy: closing it does not close the socket.
                with socket.socket(fileno=os.dup(descriptor)) as candidate:
                    if _is_for_connections(candidate):
                        candidate.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
