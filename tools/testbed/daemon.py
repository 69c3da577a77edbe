"""The Docker daemon: not touched if it runs, installed and started if it does not."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from .shell import CACHE, TestbedError, apt_install, as_root, ask, environment, run, say, step, which

#: Seconds in which a started daemon must answer.
START_TIMEOUT = 90
#: Seconds after which its socket has its owner. A daemon that was just installed lets only root and the members of its group in.
SETTLED = 5


def answers() -> bool:
    """Return whether a Docker daemon answers its client, at the place in DOCKER_HOST or in the client's context."""
    return bool(ask(["docker", "version", "--format", "{{.Server.Version}}"], timeout=10))


def ensure() -> None:
    """Make sure that a Docker daemon answers.

    :raises TestbedError: If it cannot be installed, or does not answer in time.
    """
    if answers():
        say("Docker runs, and is left alone")
        return
    if ask(["pgrep", "-x", "dockerd"]):
        _check_permission()
    if not (which("docker") and which("dockerd")):
        with step("Docker is not installed"):
            apt_install("docker.io", "iptables")
            # Debian 13 has the client in a package of its own. Earlier releases have no package of this name.
            if not which("docker"):
                apt_install("docker-cli")
    with step("Start Docker"):
        _start()


def address(container: str) -> str:
    """Return the address of a host on its network, which this machine reaches without a published port.

    :raises TestbedError: If there is no such container.
    """
    shown = ask(["docker", "inspect", "--format", "{{json .NetworkSettings.Networks}}", container])
    if not shown:
        raise TestbedError(f"There is no container {container}.")
    return str(next(iter(json.loads(shown).values()))["IPAddress"])


def identifier(container: str) -> str:
    """Return the whole ID of a container, which is in the names of its control groups.

    :raises TestbedError: If there is no such container.
    """
    shown = ask(["docker", "inspect", "--format", "{{.Id}}", container])
    if not shown:
        raise TestbedError(f"There is no container {container}.")
    return shown


def remove(command: list[str], listing: list[str]) -> None:
    """Remove the objects in a list of Docker's names, if there are any."""
    found = (ask(listing) or "").split()
    if found:
        run([*command, *dict.fromkeys(found)])


def remove_owned(owner: str) -> None:
    """Remove the containers, with their data, and the network that have a label `owner`."""
    mine = ["--filter", f"label=owner={owner}", "--quiet"]
    remove(["docker", "rm", "--force", "--volumes"], ["docker", "ps", "--all", *mine])
    remove(["docker", "network", "rm"], ["docker", "network", "ls", *mine])


def _check_permission() -> None:
    """Refuse a daemon that runs for other users only.

    :raises TestbedError: If the client may not connect to it.
    """
    complaint = subprocess.run(["docker", "version"], capture_output=True, text=True, env=environment(), check=False).stderr.lower()
    if "permission denied" in complaint:
        raise TestbedError("Docker runs, but not for this user. Add the user to the group `docker` and log in again, or run this as root.")


def _start() -> None:
    """Start the daemon with the service manager or, if none runs, in the background, and wait for its answer."""
    if Path("/run/systemd/system").is_dir():
        run(as_root(["systemctl", "start", "docker"]))
        log, daemon = None, None
    else:
        CACHE.mkdir(parents=True, exist_ok=True)
        log = CACHE / "dockerd.log"
        with log.open("wb") as output:
            daemon = subprocess.Popen(
                as_root([which("dockerd") or "dockerd"]),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
    begun = time.monotonic()
    deadline = begun + START_TIMEOUT
    while not answers():
        if time.monotonic() > begun + SETTLED:
            _check_permission()
        if time.monotonic() > deadline or (daemon and daemon.poll() is not None):
            said = "\n".join(log.read_text(errors="replace").splitlines()[-20:]) if log else "See `journalctl -u docker`."
            raise TestbedError(f"The Docker daemon does not answer.\n{said}")
        time.sleep(0.3)
