"""The hosts of the measurements: stacks on like containers, and the servers that run on them."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tools.testbed import daemon, images, minio, preparation
from tools.testbed.demo import SHARED
from tools.testbed.shell import BIN, CACHE, ROOT, TestbedError, environment, run, say, step, wait_for_answer

BENCH = ROOT / ".bench"
NAME = "atlas-mlflow-bench"
SYSTEM = "debian12"
PORT, DEFAULTS_PORT = 5001, 5002
UNIT, DEFAULTS_UNIT = "mlflow-server.service", "bench-defaults.service"
#: The environment of the tracking server, and its programs.
SETTINGS, RELEASE_BIN = "/etc/default/mlflow-server", "/opt/mlflow/current/bin"
#: Where the environment of the server with defaults is, on the host.
DEFAULTS_SETTINGS, DEFAULTS_DIR = "/etc/default/bench-defaults", "/var/lib/bench-defaults"
ON_HOST = Path(__file__).parent / "on_host"
#: The workers of `mlflow server` by default.
DEFAULTS_WORKERS = 4
#: The lines of a server's log that are shown if its requests fail.
LOG_LINES = 60
#: Seconds that a server may take to its first answer.
PATIENCE = 300


def seconds_of(action: Callable[[], object]) -> float:
    """Return the seconds that a function takes."""
    begun = time.monotonic()
    action()
    return time.monotonic() - begun


@dataclass(frozen=True)
class Server:
    """A tracking server that answers."""

    container: str
    #: None if the server runs in a container of its host.
    unit: str | None
    port: int

    @property
    def url(self) -> str:
        """Return the URL by which this machine reaches the server. MLflow refuses a Host header with the port 80, which browsers leave out."""
        return f"http://{daemon.address(self.container)}" + (f":{self.port}" if self.port != 80 else "")

    def wait(self) -> None:
        """Wait for the first answer.

        :raises TestbedError: If there is none.
        """
        if not wait_for_answer(f"{self.url}/health", PATIENCE):
            raise TestbedError(f"{self.unit or 'The server'} on {self.container} does not answer at {self.url}.")

    def prepare_workers(self) -> None:
        """Let each worker search for runs, one after the other, before a load.

        In the first search, a worker of MLflow loads the models of users. If another thread loads a store at the same time, the worker fails until it ends.

        :raises urllib.error.HTTPError: If the server refuses it.
        """
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        search = urllib.request.Request(f"{self.url}/api/2.0/mlflow/runs/search", b'{"experiment_ids": ["0"]}', {"Content-Type": "application/json"})
        # Each request has its own connection, which any worker takes.
        for _ in range(10 * DEFAULTS_WORKERS):
            opener.open(search, timeout=PATIENCE).close()

    def log(self) -> str:
        """Return the last lines of the server's log."""
        if self.unit:
            return in_host(self.container, "journalctl", "--no-pager", "--output=cat", f"--lines={LOG_LINES}", f"--unit={self.unit}")
        return in_host(self.container, "docker", "logs", f"--tail={LOG_LINES}", "atlas-mlflow-server")

    def memory(self) -> int:
        """Return the proportional memory of all processes of the server, in bytes."""
        if self.unit:
            pid = in_host(self.container, "systemctl", "show", "--property", "MainPID", "--value", self.unit)
        else:
            pid = in_host(self.container, "docker", "inspect", "--format", "{{.State.Pid}}", "atlas-mlflow-server")
        return int(in_host(self.container, "python3", "-c", (ON_HOST / "memory.py").read_text(), pid.strip()))


@dataclass(frozen=True)
class Stack:
    """A stack of this collection on hosts of its own."""

    name: str
    #: Variables of the inventory.
    variables: dict[str, Any] = field(default_factory=dict)
    containers: bool = False
    #: Whether the hosts have MLflow's packages already. A first run is measured without them.
    prepared: bool = True
    #: The number of tracking servers. The first host has PostgreSQL and MinIO too.
    servers: int = 1
    #: Whether the first host has HAProxy too.
    proxied: bool = False

    @property
    def inventory(self) -> Path:
        """Return the path of the stack's inventory, next to which its secrets are."""
        return BENCH / self.name / "hosts.yml"

    @property
    def hosts(self) -> list[str]:
        """Return the containers of the stack, which are its hosts."""
        return [f"{NAME}-{self.name}" + (f"-{number}" if number > 1 else "") for number in range(1, self.servers + 1)]

    @property
    def server(self) -> Server:
        """Return the first tracking server."""
        return Server(self.hosts[0], None if self.containers else UNIT, PORT)

    def document(self) -> dict[str, Any]:
        """Return the inventory."""
        first = {"hosts": {self.hosts[0]: None}}
        children: dict[str, Any] = {"mlflow_servers": {"hosts": dict.fromkeys(self.hosts)}, "postgres": first, "minio": first}
        children |= {"haproxy": first} if self.proxied else {}
        variables: dict[str, Any] = {
            "ansible_connection": "community.docker.docker",
            "testbed_image": (images.prepared_image if self.prepared else images.host_image)(SYSTEM),
            "testbed_network": NAME,
            "testbed_owner": NAME,
            "minio_flavour": "minio",
            "minio_install_method": "file",
            "minio_file": str(minio.EXECUTABLE),
            # The machine may be busy.
            "mlflow_server_start_timeout": PATIENCE,
            **self.variables,
        }
        if self.containers:
            variables |= yaml.safe_load(SHARED.read_text())["provisioner"]["inventory"]["group_vars"]["containers"] | {"testbed_cache": str(CACHE)}
        return {"all": {"vars": variables, "children": children}}

    def create(self) -> None:
        """Create the hosts."""
        self.inventory.parent.mkdir(parents=True, exist_ok=True)
        self.inventory.write_text(yaml.safe_dump(self.document(), sort_keys=False))
        run(self.play_command("tools/testbed/hosts/create.yml"))

    def play_command(self, playbook: str, *arguments: str) -> list[str | Path]:
        """Return the command of a playbook."""
        return [BIN / "ansible-playbook", "-i", self.inventory, playbook, *arguments]

    def play(self, *arguments: str) -> float:
        """Run site.yml, and return its seconds.

        :raises TestbedError: If it fails.
        """
        return seconds_of(lambda: run(self.play_command("playbooks/site.yml", *arguments), ANSIBLE_NOCOLOR="1"))

    def remove(self) -> None:
        """Remove the hosts with their data."""
        for host in self.hosts:
            subprocess.run(["docker", "rm", "--force", "--volumes", host], capture_output=True, check=False)
        shutil.rmtree(self.inventory.parent, ignore_errors=True)


def prepare(stacks: list[Stack]) -> None:
    """Prepare what hosts need: Docker, images and MinIO."""
    prepared = {preparation.prepared(SYSTEM)} if any(stack.prepared for stack in stacks) else set()
    archives = {preparation.ARCHIVES} if any(stack.containers for stack in stacks) else set()
    preparation.ensure({preparation.bare(SYSTEM), preparation.EXECUTABLE} | prepared | archives)


@contextlib.contextmanager
def running(stack: Stack, keep: Container[str]) -> Iterator[Stack]:
    """Set up a stack, and remove it at the end.

    :param keep: The names of the stacks whose hosts are left for later. Then only the playbook runs again.
    """
    try:
        with step(f"Set up {stack.name}"):
            stack.create()
            stack.play()
            stack.server.wait()
        yield stack
    finally:
        if stack.name not in keep:
            stack.remove()


def remove_all() -> None:
    """Remove all hosts and the network of earlier measurements. Results and the tools of the load are left."""
    daemon.remove_owned(NAME)
    for path in BENCH.glob("*/hosts.yml"):
        shutil.rmtree(path.parent, ignore_errors=True)


def in_host(container: str, *command: str, given: str | None = None) -> str:
    """Run a command on a host as root, and return its output.

    :param given: Input of the command.
    :raises TestbedError: If it fails.
    """
    argv = ["docker", "exec", *(["--interactive"] if given is not None else []), container, *command]
    done = subprocess.run(argv, input=given, capture_output=True, text=True, env=environment(), check=False)
    if done.returncode:
        raise TestbedError(f"{done.stdout}{done.stderr}\nA command on {container} ended with {done.returncode}.")
    return done.stdout


def with_servers_settings(container: str, script: Path, *arguments: str) -> Any:
    """Run a script in the environment of the tracking server, and return the JSON that it prints last."""
    settings = ["--property", f"EnvironmentFile={SETTINGS}", "--setenv", "HOME=/tmp", "--setenv", "PYTHONWARNINGS=ignore"]
    command = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect", *settings, f"{RELEASE_BIN}/python", "-c", script.read_text(), *arguments]
    return json.loads(in_host(container, *command).splitlines()[-1])


@contextlib.contextmanager
def defaults_server(container: str, jobs: bool = True) -> Iterator[Server]:
    """Run `mlflow server` with its defaults on the stores of a host's tracking server, and stop it at the end.

    Only the address, the port and the stores are given, and what a test needs: no telemetry, and time for the imports on a busy machine.

    :param jobs: Whether it starts its job processes, as it does by default.
    """
    server = Server(container, DEFAULTS_UNIT, DEFAULTS_PORT)
    in_host(container, "python3", "-c", (ON_HOST / "defaults_environment.py").read_text(), SETTINGS, DEFAULTS_SETTINGS)
    where = ["--property", f"EnvironmentFile={DEFAULTS_SETTINGS}", "--property", f"StateDirectory={Path(DEFAULTS_DIR).name}"]
    where += ["--property", f"WorkingDirectory={DEFAULTS_DIR}", "--setenv", f"HOME={DEFAULTS_DIR}", "--uid", "mlflow"]
    where += [] if jobs else ["--setenv", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false"]
    command = [f"{RELEASE_BIN}/mlflow", "server", "--host", "0.0.0.0", "--port", str(DEFAULTS_PORT)]
    in_host(container, "systemd-run", "--quiet", f"--unit={DEFAULTS_UNIT}", "--collect", *where, *command)
    try:
        server.wait()
        server.prepare_workers()
        yield server
    finally:
        subprocess.run(["docker", "exec", container, "systemctl", "stop", DEFAULTS_UNIT], capture_output=True, check=False)
        subprocess.run(["docker", "exec", container, "rm", "--recursive", "--force", DEFAULTS_SETTINGS, DEFAULTS_DIR], capture_output=True, check=False)


@contextlib.contextmanager
def stopped(server: Server) -> Iterator[None]:
    """Stop a server for a while: two servers of one host share memory, and each would show less than it needs alone."""
    in_host(server.container, "systemctl", "stop", str(server.unit))
    try:
        yield
    finally:
        in_host(server.container, "systemctl", "start", str(server.unit))
        server.wait()


def notice(text: str) -> None:
    """Print a line about the progress."""
    say(f"    {text}")
