"""Run commands in a host for `client.py`, one process each, until the host ends.

Needs Python 3.9. Its arguments: the identity of the host, the path of its socket, and the text of `runner.py` as Base64, through which it runs modules
of Ansible. The program that starts it ends once it listens.
"""

import base64
import contextlib
import os
import re
import select
import signal
import socket
import sys

#: Bytes of a request: Linux allows no longer message by default (net.core.wmem_default).
REQUEST = 212992
#: Seconds to wait for the request of a client that has connected.
PATIENCE = 10
#: The shell command by which Ansible runs a module that it sends to the standard input of a Python (pipelining), also as another user.
MODULE = re.compile(r"""(/bin/sh -c '(?:.* )?/[^ ]*/python[0-9.]*)((?:'"'"')? && sleep 0')""", re.DOTALL)


def environment() -> "dict[bytes, bytes]":
    """Return the environment that Docker has given. Python may have added a variable for the locale."""
    with open("/proc/self/environ", "rb") as file:
        return dict(word.split(b"=", 1) for word in file.read().split(b"\0") if b"=" in word)


def listen(path: str) -> socket.socket:
    """Return a socket at the path, which only the superuser can use."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.path.exists(path):
        os.unlink(path)
    os.umask(0o177)
    listener.bind(path)
    os.umask(0o022)
    listener.listen(64)
    return listener


def receive(connection: socket.socket) -> "tuple[list[str], list[int]]":
    """Return the words of a request, and the files that come with it."""
    connection.settimeout(PATIENCE)
    size = socket.CMSG_SPACE(3 * 4)
    request, parts, _flags, _address = connection.recvmsg(REQUEST, size, socket.MSG_CMSG_CLOEXEC)
    files = [int.from_bytes(data[at : at + 4], sys.byteorder) for _level, _kind, data in parts for at in range(0, len(data), 4)]
    return request.decode(errors="surrogateescape").split("\0"), files


def keep_runner(text: str, socket_path: str) -> str:
    """Write the program for modules beside the socket, with a folder for what it keeps, and return the words that follow a Python to run it."""
    program, folder = f"{socket_path}-runner.py", f"{socket_path}-modules"
    with open(program, "wb") as file:
        file.write(base64.b64decode(text))
    os.makedirs(folder, mode=0o755, exist_ok=True)
    return f" {program} {folder}"


def through_runner(command: "list[str]", runner: str) -> "list[str]":
    """Return the command, and if it runs a module of Ansible, with the program for modules in it."""
    found = MODULE.fullmatch(command[2]) if command[:2] == ["/bin/sh", "-c"] and len(command) == 3 else None
    return [*command[:2], f"{found[1]}{runner}{found[2]}"] if found else command


def spawn(words: "list[str]", files: "list[int]", given: "dict[bytes, bytes]", runner: str) -> int:
    """Start the command in a session of its own, as Docker does.

    :param words: The number of variables, the variables, and the command.
    :param given: The other variables of its environment.
    :param runner: What makes a Python run a module quickly.
    :returns: Its process number.
    """
    count = int(words[0])
    variables = dict(word.encode(errors="surrogateescape").split(b"=", 1) for word in words[1 : count + 1])
    command = through_runner(words[count + 1 :], runner)
    actions = [(os.POSIX_SPAWN_DUP2, file, number) for number, file in enumerate(files)]
    # Python ignores these signals, and a command would too.
    default = [signal.SIGPIPE, signal.SIGXFSZ]
    return os.posix_spawnp(command[0], command, {**given, **variables}, file_actions=actions, setsid=True, setsigdef=default)


def serve(listener: socket.socket, identity: str, runner: str) -> None:
    """Start what is asked for, and answer with its status when it ends."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    running: dict[int, tuple[int, socket.socket]] = {}
    environ = environment()
    while True:
        for file, _event in poll.poll():
            if file in running:
                number, connection = running.pop(file)
                poll.unregister(file)
                os.close(file)
                status = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
                answer(connection, str(status if status >= 0 else 128 - status))
                continue
            connection, _address = listener.accept()
            files: list[int] = []
            try:
                words, files = receive(connection)
                if words[0] != identity:
                    answer(connection, "other")
                    continue
                number = spawn(words[1:], files, environ, runner)
            except (OSError, ValueError, IndexError) as error:
                answer(connection, f"{127 if isinstance(error, FileNotFoundError) else 126} {error}")
                continue
            finally:
                for given in files:
                    os.close(given)
            running[watch := os.pidfd_open(number)] = (number, connection)
            poll.register(watch, select.POLLIN)


def answer(connection: socket.socket, text: str) -> None:
    """Send the answer, if the client is still there, and close the connection."""
    with contextlib.suppress(OSError):
        connection.send(text.encode())
    connection.close()


def main() -> None:
    """Listen, let the program that started this one end, and serve."""
    _program, identity, path, text = sys.argv
    runner = keep_runner(text, path)
    listener = listen(path)
    if os.fork():
        os._exit(0)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    serve(listener, identity, runner)


if __name__ == "__main__":
    main()
