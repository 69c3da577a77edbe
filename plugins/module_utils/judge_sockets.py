# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge the sockets of a tracking server in a unit or in a container, for the probe and the diagnosis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from ansible_collections.atlas.mlflow.plugins.module_utils.arguments import has_option
from ansible_collections.atlas.mlflow.plugins.module_utils.containers import PUBLISHERS, Container
from ansible_collections.atlas.mlflow.plugins.module_utils.faults import IS_IPV6, IS_SPECIFIC, SHARES, Fault, fault
from ansible_collections.atlas.mlflow.plugins.module_utils.findings import Finding
from ansible_collections.atlas.mlflow.plugins.module_utils.sockets import IPAddress, Listener, collide
from ansible_collections.atlas.mlflow.plugins.module_utils.units import Unit

MLFLOW_DEFAULT = (ip_address("127.0.0.1"), 5000)  # the default of `mlflow server`
ANY_ADDRESS = ip_address("0.0.0.0")
BOTH_FAMILIES = ip_address("::")


# -- right and wrong sockets
def serves(one: Listener, wanted: Listener, by_either: bool = False) -> bool:
    """Return whether a socket is the wanted one. C(by_either): also accept a socket for both families, which takes IPv4 connections too."""
    return one.port == wanted.port and (one.address == wanted.address or by_either and one.address == BOTH_FAMILIES)


def takes_traffic(other: Listener, wanted: Listener) -> bool:
    """Return whether another socket takes connections that are meant for the wanted one.

    The kernel prefers the more specific address, and a wildcard of either family is less specific than
    any address. An IPv6 socket next to 0.0.0.0 gets the clients that resolve the name to IPv6, such as localhost.
    """
    return other.port == wanted.port and (other.address == wanted.address or wanted.address.is_unspecified)


def takers(others: Iterable[Listener], wanted: Listener, is_open: bool) -> list[Listener]:
    """Return other processes' sockets that take the server's connections, or that prevent the server from opening its own socket."""
    return [other for other in others if (takes_traffic(other, wanted) if is_open else collide(other, wanted))]


def shadow_fault(other: Listener, wanted: Listener) -> Fault:
    """Return the fault for another process's socket that takes the server's traffic."""
    if other.address == wanted.address:
        return fault("shadowing-listener", how=SHARES)
    return fault("shadowing-listener", how=IS_IPV6 if other.address.version == 6 and wanted.address.version == 4 else IS_SPECIFIC)


def place_fault(own: Iterable[Listener], wanted: Listener, argv: Sequence[str]) -> Fault:
    """Return the fault of a server that listens in the wrong place. C(argv): the arguments of the server."""
    places = {(one.address, one.port) for one in own}
    if MLFLOW_DEFAULT in places and not has_option(argv, "--host", "--port", "-h", "-p"):
        return fault("default-port")
    if any(address.is_loopback and port == wanted.port for address, port in places):
        return fault("bound-to-loopback")
    return fault("wrong-socket")


def extra_fault(argv: Iterable[str]) -> Fault:
    """Return the fault of a server that has an additional socket."""
    return fault("bind-in-gunicorn-opts" if any("--bind" in word or word.startswith("-b ") for word in argv) else "extra-socket")


def unpublished_fault(wanted: Listener) -> Fault:
    """Return the fault of a container whose port is not published on the wanted address and port."""
    return fault("port-not-published", place=wanted.endpoint)


def silence_fault(unit: Unit, taken: bool) -> Fault:
    """Return the fault of a unit or a container that does not listen. C(taken): another process has its port."""
    if taken:
        return fault("port-taken")
    if unit.state == "not found":
        return fault("server-not-found")
    return fault("server-starting" if unit.pids else "server-not-running", log=unit.log)


# -- findings of the probe
def judge(unit: Unit, own: list[Listener], others: list[Listener], address: IPAddress, port: int, argv: Sequence[str] = ()) -> list[Finding]:
    """Compare the sockets of a unit's processes with the one socket that they should have.

    :param argv: The arguments of the unit's main process.
    """
    wanted = Listener(address, port)
    expected = f"{unit.name} listens on {wanted.endpoint}"
    if not own:
        having = takers(others, wanted, is_open=False)
        seen = [f"no listening socket in its {len(unit.pids)} processes ({unit.state})", *(f"{other.endpoint} is held by {other.owner}" for other in having)]
        return [Finding("listen", expected, "; ".join(seen), silence_fault(unit, bool(having)))]
    shadows = [shadow(unit, other, wanted) for other in takers(others, wanted, is_open=True)]
    if not any(serves(one, wanted) for one in own):
        seen_places = ", ".join(sorted({one.endpoint for one in own}))
        return [Finding("listen", expected, seen_places, place_fault(own, wanted, argv)), *shadows]
    wrong = [one for one in own if not serves(one, wanted) and not (wanted.address == BOTH_FAMILIES and one.address.is_unspecified and one.port == port)]
    extra = [Finding("listen", f"{expected} and on nothing else", f"also {one.endpoint}, {one.owner}", extra_fault(argv)) for one in wrong]
    return [*extra, *shadows]


def shadow(unit: Unit, other: Listener, wanted: Listener) -> Finding:
    """Return the finding for another process's socket that takes the unit's traffic."""
    return Finding("shadow", f"nothing but {unit.name} on port {wanted.port}", f"{other.endpoint} held by {other.owner}", shadow_fault(other, wanted))


def judge_container(
    container: Container, unit: Unit, inside: list[Listener], on_host: list[Listener], address: IPAddress, port: int, argv: Sequence[str] = ()
) -> list[Finding]:
    """Compare the sockets in a running container and on its host with the one published port that is expected.

    :param inside: Listeners of the container's processes.
    :param on_host: All listeners on the port in the host's network namespace.
    :param argv: The arguments of the container's main process.
    """
    wanted = Listener(address, port)
    ends = [inner for host_address, host_port, inner in container.published if (host_address, host_port) == (address, port)]
    findings = []
    if not ends:
        seen = ", ".join(f"{Listener(where, outer).endpoint} to {inner}" for where, outer, inner in container.published) or "no published port"
        findings.append(Finding("publish", f"{wanted.endpoint} leads into container {container.name}", seen, unpublished_fault(wanted)))
    others = [other for other in on_host if not (other.process in PUBLISHERS and other.address == address and ends)]
    shadows = [shadow(unit, other, wanted) for other in takers(others, wanted, is_open=True)]
    return [*findings, *judge(unit, inside, [], ANY_ADDRESS, ends[0] if ends else port, argv), *shadows]
