"""The quick `docker exec` of the scenarios: what a command sees and returns is the same, and whatever the agent cannot do is left to Docker."""

from __future__ import annotations

import base64
import io
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.testbed.entry import agent, client, runner
from tools.testbed.shell import ENTRY

#: Stands for Docker. The host is this machine, so that the agent's socket is found there.
DOCKER = """#!/bin/sh
echo "$*" >> {folder}/calls
case "$1" in
  inspect) cat {folder}/host ;;
  exec) shift; while [ "${{1#-}}" != "$1" ]; do shift; done; shift; exec env --ignore-environment PATH="$PATH" GIVEN=yes "$@" ;;
  *) echo "docker itself: $*" ;;
esac
"""


class Entry:
    """A copy of the programs with a socket of its own, and a Docker that notes how it is called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in {**{name: (ENTRY / name).read_text() for name in ("docker", "agent.py", "runner.py")}, "client.py": self._client()}.items():
            self._write(f"entry/{name}", text)
        self._write("bin/docker", DOCKER.format(folder=folder))
        self.host(os.getpid())

    def _client(self) -> str:
        return (ENTRY / "client.py").read_text().replace(client.SOCKET, f"{self.folder}/socket")

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def host(self, number: int, identity: str = "one") -> None:
        """Let Docker tell another first process of the host, or another identity."""
        (self.folder / "host").write_text(f"{identity} {number}")

    def environment(self, kept: bool = True) -> dict[str, str]:
        """Return the environment of the quick docker. It may keep the process number of a host only if `kept`."""
        path = os.pathsep.join([str(self.folder / "entry"), str(self.folder / "bin"), os.environ["PATH"]])
        return {**os.environ, "PATH": path, **({client.FOLDER: str(self.folder / "kept")} if kept else {})}

    def run(self, *words: str, given: str = "", kept: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the quick docker."""
        return subprocess.run(["docker", *words], env=self.environment(kept), input=given, capture_output=True, text=True, check=False, timeout=60)

    def agent(self) -> int:
        """Return the process number of the agent."""
        return int(self.run("exec", "host", "sh", "-c", "echo $PPID").stdout)

    def calls(self) -> list[str]:
        """Return how Docker was called since the last time, each time by its first word."""
        path = self.folder / "calls"
        found = [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []
        path.unlink(missing_ok=True)
        return found


@pytest.fixture(scope="module")
def entry() -> Iterator[Entry]:
    # The path of a socket has at most 107 bytes, and pytest's own folders are longer.
    with tempfile.TemporaryDirectory(prefix="entry") as name:
        made = Entry(Path(name))
        assert made.run("exec", "host", "true").returncode == 0
        assert made.calls() == ["inspect", "exec"]
        yield made
        os.kill(made.agent(), signal.SIGKILL)


def test_a_command_has_its_input_output_and_status(entry: Entry) -> None:
    done = entry.run("exec", "-i", "host", "sh", "-c", "cat; echo wrong >&2; exit 3", given="words\n" * 50_000)
    assert (done.returncode, done.stdout, done.stderr) == (3, "words\n" * 50_000, "wrong\n")
    # Without the option, there is no input.
    assert entry.run("exec", "host", "cat", given="words").stdout == ""
    assert entry.run("exec", "host", "sh", "-c", "kill -9 $$").returncode == 137
    long = "x" * 100_000
    assert entry.run("exec", "host", "echo", long, "sp ace", "li\nne").stdout == f"{long} sp ace li\nne\n"
    assert entry.calls() == []


def test_a_command_that_is_not_there_is_told(entry: Entry) -> None:
    done = entry.run("exec", "host", "no-such-command")
    assert done.returncode == 127 and "no-such-command" in done.stderr


def test_the_environment_is_that_of_docker_and_what_is_asked_for(entry: Entry) -> None:
    seen = dict(line.split("=", 1) for line in entry.run("exec", "--env", "MORE=a=b", "host", "env").stdout.splitlines())
    assert seen.pop("PATH") and seen == {"GIVEN": "yes", "MORE": "a=b"}


def test_a_command_is_ended_by_a_pipe_that_nobody_reads(entry: Entry) -> None:
    """Python ignores that signal, so that a command would write on forever."""
    ignored = int(entry.run("exec", "host", "grep", "SigIgn", "/proc/self/status").stdout.split()[1], 16)
    assert [name for name in (signal.SIGPIPE, signal.SIGXFSZ) if ignored >> (name - 1) & 1] == []


def test_a_slow_command_delays_no_other(entry: Entry) -> None:
    folder = str(entry.folder)
    slow = "until [ -e going ]; do sleep 0.05; done; echo slow"
    command = ["docker", "exec", "host", "sh", "-c", f"cd {folder}; {slow}"]
    with subprocess.Popen(command, env=entry.environment(), stdout=subprocess.PIPE, text=True) as first:
        assert entry.run("exec", "host", "touch", f"{folder}/going").returncode == 0
        assert first.communicate(timeout=30)[0] == "slow\n"


def test_a_host_that_has_started_again_gets_an_agent(entry: Entry) -> None:
    former = entry.agent()
    os.kill(former, signal.SIGKILL)
    entry.calls()
    assert entry.run("exec", "host", "echo", "again").stdout == "again\n"
    assert entry.calls() == ["inspect", "exec"] and entry.agent() != former


def test_the_agent_of_another_host_runs_nothing(entry: Entry) -> None:
    """A process number can be a new host's. Its agent knows which host it serves."""
    (entry.folder / "kept/host").write_text(f"two {os.getpid()}")
    assert entry.run("exec", "host", "echo", "right").stdout == "right\n"
    assert entry.calls() == ["inspect"]
    entry.host(os.getpid(), "two")
    (entry.folder / "kept/host").unlink()
    done = entry.run("exec", "host", "echo", "by docker")
    assert done.stdout == "by docker\n" and entry.calls() == ["inspect", "exec"]
    entry.host(os.getpid())
    (entry.folder / "kept/host").unlink()


#: A program that imports from an archive in its text, as a module of Ansible does. It prints what a module could see of how it is run.
MODULE = """
import base64, os, sys, tempfile
archive = '{archive}'
with tempfile.NamedTemporaryFile(suffix=".zip") as file:
    file.write(base64.b64decode(archive))
    file.flush()
    sys.path.insert(0, file.name)
    from imported import answer
    print(answer.ANSWER, sys.argv, repr(sys.stdin.read()), __name__, __file__, sys.path[1], os.environ.get("SET"))
    print(os.path.basename(answer.__file__), answer.__loader__.get_source("imported.answer").split()[2])
"""


def module(answer: str) -> str:
    """Return such a program. Its archive is as long as one of Ansible's, and has no time of its own."""
    padding = base64.b64encode(random.Random(answer).randbytes(10_000)).decode()
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("imported/__init__.py"), "")
        archive.writestr(zipfile.ZipInfo("imported/answer.py"), f"ANSWER = {answer}\nPADDING = '{padding}'\n")
    return MODULE.format(archive=base64.b64encode(made.getvalue()).decode())


def shell(python: str = sys.executable) -> list[str]:
    """Return the command by which Ansible runs a module that comes on standard input."""
    return ["exec", "-i", "host", "/bin/sh", "-c", f"/bin/sh -c '{python} && sleep 0'"]


def test_a_module_of_ansible_does_the_same_with_compiled_imports(entry: Entry) -> None:
    folder = entry.folder / "socket-modules"
    by_docker = entry.run(*shell(), given=module("40 + 2"), kept=False).stdout.splitlines()
    assert by_docker == ["42 [''] '' __main__ <stdin>  None", "answer.py 40"]
    for _again in range(2):
        quick = entry.run(*shell(), given=module("40 + 2")).stdout.splitlines()
        assert quick == [by_docker[0], "answer.pyc 40"]
        assert len([*folder.iterdir()]) == 1
    # The compiled archive is used again, and another module has another one.
    (archive,) = folder.iterdir()
    archive.write_bytes(runner.compiled(module("'kept'").split("'")[1].encode()))
    assert entry.run(*shell(), given=module("40 + 2")).stdout.startswith("kept ")
    assert entry.run(*shell(), given=module("7")).stdout.startswith("7 ")
    assert len([*folder.iterdir()]) == 2
    entry.calls()


def test_a_module_runs_as_another_user_and_with_variables(entry: Entry) -> None:
    become = f"/bin/sh -c 'env SET=yes /bin/sh -c '\"'\"'echo BECOME ; {sys.executable}'\"'\"' && sleep 0'"
    done = entry.run("exec", "-i", "host", "/bin/sh", "-c", become, given=module("1"))
    assert done.stdout.splitlines() == ["BECOME", "1 [''] '' __main__ <stdin>  yes", "answer.pyc 1"]


@pytest.mark.parametrize("source", ["print('no archive')", f"archive = '{'A' * 10_000}'; print(len(archive))", "raise SystemExit(3)"])
def test_what_has_no_archive_runs_as_it_is(entry: Entry, source: str) -> None:
    by_docker, quick = (entry.run(*shell(), given=source, kept=kept) for kept in (False, True))
    assert (quick.stdout, quick.stderr, quick.returncode) == (by_docker.stdout, by_docker.stderr, by_docker.returncode)
    entry.calls()


def test_source_that_does_not_compile_stays(tmp_path: Path) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("other.py", "print 'of another Python'")
    given = base64.b64encode(made.getvalue())
    assert runner.kept(given, str(tmp_path)) == given and not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "command",
    [
        ["/bin/sh", "-c", "/bin/sh -c '/usr/bin/python3.11 /root/AnsiballZ_files.py && sleep 0'"],
        ["/bin/sh", "-c", "/bin/sh -c 'command -v '\"'\"'/usr/bin/python3'\"'\"' ; echo && sleep 0'"],
        ["/bin/sh", "-c", "python3"],
        ["python3", "-"],
    ],
)
def test_other_commands_stay_as_they_are(command: list[str]) -> None:
    assert agent.through_runner(command, " RUNNER") == command


@pytest.mark.parametrize("words", [("ps", "--all"), ("exec", "--user", "999", "host", "id"), ("exec", "-it", "host", "sh"), ("exec", "host")])
def test_docker_does_what_the_agent_cannot(entry: Entry, words: tuple[str, ...]) -> None:
    assert client.parse([*words]) is None
    entry.run(*words)
    assert entry.calls() == [words[0]]


def test_docker_does_all_outside_of_a_scenario(entry: Entry) -> None:
    assert entry.run("exec", "host", "echo", "words", kept=False).stdout == "words\n"
    assert entry.calls() == ["exec"]


def test_a_host_that_does_not_run_is_left_to_docker(entry: Entry) -> None:
    entry.host(0)
    entry.run("exec", "stopped", "true")
    assert entry.calls() == ["inspect", "exec"]
    entry.host(os.getpid())


def test_a_client_that_says_nothing_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "PATIENCE", 0.01)
    one, other = agent.socket.socketpair(agent.socket.AF_UNIX, agent.socket.SOCK_SEQPACKET)
    began = time.monotonic()
    with one, other, pytest.raises(TimeoutError):
        agent.receive(other)
    assert time.monotonic() - began < agent.PATIENCE + 5
