"""Append each new command line on this host to a file, once, until this program is stopped."""

from __future__ import annotations

import os
import sys
import time

#: Seconds between two checks. A process that starts and ends between two checks is missed.
PAUSE = 0.02
#: Checks of each process after its start, because a new process is a copy of another until it starts its program; then one check in so many.
FIRST, LATER = 25, 50


def command_line(name: str) -> bytes:
    """Return the command line of a process, its arguments separated by a blank; empty if the process has ended."""
    try:
        with open(f"/proc/{name}/cmdline", "rb", buffering=0) as file:
            return (file.read() or b"").replace(b"\0", b" ").replace(b"\n", b" ")
    except OSError:
        return b""


def main() -> None:
    """Run until the program is stopped."""
    os.umask(0o077)
    seen: set[bytes] = set()
    looks: dict[str, int] = {}
    with open(sys.argv[1], "ab", buffering=0) as log:
        while True:
            looks = {name: looks.get(name, -1) + 1 for name in os.listdir("/proc") if name.isdigit()}
            due = [name for name, count in looks.items() if count < FIRST or count % LATER == 0]
            for line in {command_line(name) for name in due} - seen:
                seen.add(line)
                log.write(line + b"\n")
            time.sleep(PAUSE)


if __name__ == "__main__":
    main()
