"""Run `docker exec` through an agent in the host, if possible, and all other commands with Docker's own program.

A `docker exec` takes 70 ms of processor time, because Docker starts about ten processes and joins the namespaces of the host. One `docker exec` starts the
agent. The agent starts each later command as its child process, with the same rights, namespaces and environment. A scenario runs about a thousand commands.
Modules of Ansible run through `runner.py` there.

Only the superuser can use the agent's socket. This program runs for each command, so it imports only modules that load quickly.
"""

# The module `socket` takes as long to import as the rest of this program takes to run.
import _socket
import os
import sys

#: The environment variable with the folder in which the process number of each host is kept. Without it, all goes to Docker.
FOLDER = "TESTBED_ENTRY"
#: The agent's socket in a host.
SOCKET = "/run/testbed-agent"
#: The folder of this program.
HERE = os.path.dirname(os.path.abspath(__file__))
#: The status of a command whose agent has ended, as if it was killed by SIGKILL.
KILLED = 137
ANSWER = 4096

Asked = tuple[str, bool, list[str], list[str]]


def parse(words: list[str]) -> "Asked | None":
    """Return the host, whether there is input, the variables and the command of a `docker exec`, or None if Docker has to do it."""
    if words[:1] != ["exec"]:
        return None
    interactive, variables, rest = False, list[str](), words[1:]
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option in ("-i", "--interactive"):
            interactive = True
        elif option in ("-e", "--env") and rest and "=" in rest[0]:
            variables.append(rest.pop(0))
        else:
            return None
    return (rest[0], interactive, variables, rest[1:]) if len(rest) > 1 else None


def docker() -> str:
    """Return the path of Docker's own program: the first in PATH beside this one."""
    folders = [folder for folder in os.environ.get("PATH", "").split(os.pathsep) if folder and os.path.abspath(folder) != HERE]
    return next((path for folder in folders if os.access(path := f"{folder}/docker", os.X_OK)), "/usr/bin/docker")


def connect(number: str) -> "_socket.socket | None":
    """Return a connection to the agent of the host with this process number of its first process, or None."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        connection.connect(f"/proc/{number}/root{SOCKET}")
    except OSError:
        connection.close()
        return None
    return connection


def start(host: str, identity: str) -> bool:
    """Start the agent in a host, and return whether it listens."""
    import base64
    import subprocess

    with open(f"{HERE}/agent.py", "rb") as program, open(f"{HERE}/runner.py", "rb") as runner:
        text = base64.b64encode(runner.read()).decode()
        command = [docker(), "exec", "--interactive", host, "python3", "-IS", "-", identity, SOCKET, text]
        return subprocess.run(command, stdin=program, capture_output=True, check=False).returncode == 0


def look_up(host: str) -> "tuple[str, str] | None":
    """Ask Docker for the identity of a running host and the number of its first process."""
    import subprocess

    done = subprocess.run([docker(), "inspect", "--format", "{{.Id}} {{.State.Pid}}", host], capture_output=True, text=True, check=False)
    found = done.stdout.split()
    return (found[0], found[1]) if len(found) == 2 and found[1] != "0" else None


def ask(connection: _socket.socket, identity: str, asked: Asked) -> "str | None":
    """Let the agent run the command with this program's input and output.

    :returns: Its status and a message, or None if the agent is another host's.
    """
    _host, interactive, variables, command = asked
    given = 0 if interactive else os.open(os.devnull, os.O_RDONLY)
    request = "\0".join([identity, str(len(variables)), *variables, *command]).encode(errors="surrogateescape")
    files = b"".join(file.to_bytes(4, sys.byteorder) for file in (given, 1, 2))
    connection.sendmsg([request], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files)])
    answer = connection.recv(ANSWER).decode()
    return None if answer == "other" else answer or str(KILLED)


def through_agent(folder: str, asked: Asked) -> "str | None":
    """Return the status of the command and a message, or None if there can be no agent."""
    host = asked[0]
    kept = f"{folder}/{host}"
    try:
        with open(kept) as file:
            identity, number = file.read().split()
    except (OSError, ValueError):
        identity = number = ""
    if number and (connection := connect(number)) and (answer := ask(connection, identity, asked)):
        return answer
    if not (found := look_up(host)):
        return None
    identity, number = found
    connection = connect(number) or (connect(number) if start(host, identity) else None)
    if not connection:
        return None
    os.makedirs(folder, exist_ok=True)
    with open(f"{kept}.{os.getpid()}", "w") as file:
        file.write(f"{identity} {number}")
    os.replace(file.name, kept)
    return ask(connection, identity, asked)


def main() -> int:
    """Return the status of the command."""
    folder, asked = os.environ.get(FOLDER), parse(sys.argv[1:])
    if folder and asked and (answer := through_agent(folder, asked)):
        status, _space, message = answer.partition(" ")
        if message:
            print(message, file=sys.stderr)
        return int(status)
    os.execv(docker(), ["docker", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
