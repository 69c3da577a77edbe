"""Where a load may go: to this machine's loopback, and to containers of the test bed."""

from __future__ import annotations

import ipaddress
import json
import subprocess
import urllib.parse
from collections.abc import Iterable

from tools.testbed.shell import TestbedError

#: Labels `owner` of the networks of the scenarios, the demo and the measurements.
OWNERS = ("molecule", "atlas-mlflow-demo", "atlas-mlflow-bench")


class TargetError(TestbedError):
    """A load must not go to a host. The text says why."""


def subnets_of(networks: str) -> list[str]:
    """Return the subnets of the test bed in the output of `docker network inspect`."""
    ours = [network for network in json.loads(networks) if (network.get("Labels") or {}).get("owner") in OWNERS and network.get("Driver") == "bridge"]
    return [entry["Subnet"] for network in ours for entry in network["IPAM"]["Config"] or []]


def testbed_subnets() -> list[str]:
    """Return the subnets of the test bed's networks on this machine; none if Docker does not answer."""
    try:
        names = subprocess.run(["docker", "network", "ls", "--quiet", "--filter", "label=owner"], capture_output=True, text=True, check=True).stdout.split()
        if not names:
            return []
        return subnets_of(subprocess.run(["docker", "network", "inspect", *names], capture_output=True, text=True, check=True).stdout)
    except (OSError, subprocess.CalledProcessError):
        return []


def check(url: str, subnets: Iterable[str]) -> None:
    """Refuse a URL whose host is neither on loopback nor in a subnet of the test bed. A name is refused, because its address may change.

    :raises TargetError: If a load must not go there.
    """
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise TargetError(f"A load goes only to an IP address, and {url} has the name {host!r}.") from None
    if not address.is_loopback and not any(address in ipaddress.ip_network(subnet) for subnet in subnets):
        raise TargetError(f"A load goes only to loopback and to hosts of the test bed, and {url} is neither. Start the hosts with `make bench`.")
