"""The demo: the stack on throw-away hosts, up to the answer that a user gets from it."""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from . import daemon, images, minio, preparation
from .shell import BIN, CACHE, ROOT, TestbedError, known, run, say, step

DEMO = ROOT / ".demo"
NAME = "atlas-mlflow-demo"
SYSTEM = "debian12"
PORT = 5001
#: The hosts of each topology with their groups. The client is not a part of the stack: it is a user's machine.
TOPOLOGIES: dict[str, dict[str, list[str]]] = {
    "embedded": {"mlflow": ["mlflow_servers"], "client": ["clients"]},
    "one_host": {"mlflow": ["mlflow_servers", "postgres", "minio"], "client": ["clients"]},
    "containers": {"mlflow": ["mlflow_servers", "postgres", "minio", "containers"], "client": ["clients"]},
    "three_hosts": {"mlflow": ["mlflow_servers"], "postgres": ["postgres"], "minio": ["minio"], "client": ["clients"]},
}
#: Settings that the scenarios share, with the hosts that run the stack in containers.
SHARED = ROOT / ".config" / "molecule" / "config.yml"
#: A request like a client's. /health would answer even if the stores do not.
QUESTION = "/api/2.0/mlflow/experiments/search"


def inventory(topology: str, executable: Path) -> dict[str, Any]:
    """Return the inventory of a topology.

    :param executable: MinIO's executable, which the hosts install.
    """
    hosts = TOPOLOGIES[topology]
    groups = dict.fromkeys(group for names in hosts.values() for group in names)
    members: dict[str, dict[str, Any]] = {group: {"hosts": {host: None for host in hosts if group in hosts[host]}} for group in groups}
    if "minio" in members:
        members["minio"]["vars"] = {"minio_flavour": "minio", "minio_install_method": "file", "minio_file": str(executable)}
    if "containers" in members:
        shared = yaml.safe_load(SHARED.read_text())["provisioner"]["inventory"]["group_vars"]["containers"]
        members["containers"]["vars"] = {"testbed_cache": str(CACHE), **shared}
    return {
        "all": {
            "hosts": {host: {"ansible_host": f"{NAME}-{host}", "testbed_container": f"{NAME}-{host}"} for host in hosts},
            "vars": {
                "ansible_connection": "community.docker.docker",
                "testbed_image": images.host_image(SYSTEM),
                "testbed_network": NAME,
                "testbed_owner": NAME,
            },
            "children": members,
        }
    }


def up(topology: str) -> None:
    """Create the hosts, set up the stack on them, use it, and print its address.

    :raises TestbedError: If there is no such topology, a demo of another topology exists, or a step fails.
    """
    known("topology", [topology], TOPOLOGIES)
    begun = time.monotonic()
    other = standing()
    if other and other != topology:
        raise TestbedError(f"The demo {other} is up. Remove it first: make down")
    executable = {preparation.EXECUTABLE} if any("minio" in groups for groups in TOPOLOGIES[topology].values()) else set()
    preparation.ensure({preparation.bare(SYSTEM), *executable, *({preparation.ARCHIVES} if topology == "containers" else ())})
    hosts = write_inventory(topology)
    with step("Hosts"):
        run(_playbook(hosts, "tools/testbed/hosts/create.yml"))
    say("The next two steps take one to three minutes on two cores.")
    with step("Stack: playbooks/site.yml", streams=True):
        run(_playbook(hosts, "playbooks/site.yml"), quiet=False)
    with step("Use: playbooks/demo.yml trains a model from the host client", streams=True):
        run(_playbook(hosts, "playbooks/demo.yml"), quiet=False)
    url = f"http://{address('mlflow')}:{PORT}"
    count = answer(url)
    say(_summary(topology, count, time.monotonic() - begun))
    say(url)


def verify() -> None:
    """Verify the running demo again.

    :raises TestbedError: If there is no demo, or the verification fails.
    """
    topology = standing()
    if not topology:
        raise TestbedError("There is no demo. Make one: make up")
    run(_playbook(DEMO / topology / "hosts.yml", "playbooks/verify.yml"), quiet=False)


def diagnose(inventory: str) -> None:
    """Print why a tracking server cannot be used.

    :param inventory: Path of an inventory; empty for that of the running demo.
    :raises TestbedError: If there is no demo, or a fault is found.
    """
    topology = standing()
    if not inventory and not topology:
        raise TestbedError("There is no demo. Make one (make up), or name an inventory: make diagnose INVENTORY=...")
    hosts = Path(inventory).resolve() if inventory else DEMO / str(topology) / "hosts.yml"
    # As YAML, Ansible breaks the report's lines after 80 characters.
    run(_playbook(hosts, "playbooks/diagnose.yml"), quiet=False, ANSIBLE_CALLBACK_RESULT_FORMAT="json")


def down(purge: bool) -> None:
    """Remove the demo and its secrets.

    :param purge: Whether to remove images, downloads and tools too.
    """
    docker = daemon.answers()
    if not docker and standing():
        raise TestbedError("Docker does not answer, so the demo's containers cannot be removed. Start it (`make up` does), and try again.")
    if docker:
        daemon.remove_owned(NAME)
    if docker and purge:
        daemon.remove(["docker", "image", "rm", "--force"], ["docker", "images", "--quiet", "atlas-mlflow/*"])
    shutil.rmtree(DEMO, ignore_errors=True)
    say("The demo is removed: containers, network, .demo/ with its secrets")
    if purge:
        _purge()
    else:
        say(f"Left: the images atlas-mlflow/..., {CACHE}, .venv/ and collections/ (`make down PURGE=1` removes them), Docker")


def _purge() -> None:
    """Remove downloads, logs and tools, including those of this program."""
    collections = (ROOT / "collections" / "ansible_collections").iterdir()
    mine = [path for path in collections if path.name != "atlas"]
    for path in (CACHE, ROOT / ".logs", ROOT / ".bench", ROOT / ".ansible", ROOT / ".cache", *mine, ROOT / ".venv"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    say(f"So are the images atlas-mlflow/..., {CACHE}, .venv/ and the other collections. Left: Docker, Debian's images, caches of uv and Go")


def standing() -> str | None:
    """Return the topology of the demo that exists, even if it is incomplete."""
    return next((path.parent.name for path in DEMO.glob("*/hosts.yml")), None)


def write_inventory(topology: str) -> Path:
    """Write a topology's inventory to the folder in which the playbook then stores its secrets, and return its path."""
    path = DEMO / topology / "hosts.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(inventory(topology, minio.EXECUTABLE), sort_keys=False))
    return path


def address(host: str) -> str:
    """Return the address of a demo's host."""
    return daemon.address(f"{NAME}-{host}")


def answer(url: str) -> int:
    """Send a request to the tracking server's API from this machine, without a proxy, and return the number of experiments.

    :raises TestbedError: If the answer is not the expected one.
    """
    request = urllib.request.Request(url + QUESTION, data=b'{"max_results": 100}', headers={"Content-Type": "application/json"}, method="POST")
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
            return len(json.load(response)["experiments"])
    except urllib.error.HTTPError as error:
        raise TestbedError(f"{url} answers {error.code}: {error.read(500).decode(errors='replace')}") from error
    except (OSError, ValueError, KeyError) as error:
        raise TestbedError(f"{url} does not answer as MLflow does: {error}") from error


def _summary(topology: str, experiments: int, seconds: float) -> str:
    hosts = "\n".join(f"  {NAME}-{host:<9} {address(host):<15}  {', '.join(groups)}" for host, groups in TOPOLOGIES[topology].items())
    return f"""
The demo {topology} is up after {seconds:.0f} s. Its API answers this machine, and has {experiments} experiments.
{hosts}
Look inside:  docker exec -it {NAME}-mlflow {"docker logs atlas-mlflow-server" if topology == "containers" else "journalctl -u mlflow-server"}
Secrets:      .demo/{topology}/.secrets/
Prove again:  make verify
Remove:       make down
"""


def _playbook(hosts: Path, playbook: str) -> list[str | Path]:
    return [BIN / "ansible-playbook", "-i", hosts, playbook]
