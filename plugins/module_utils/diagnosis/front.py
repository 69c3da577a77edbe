# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find a proxy that has the server's port and passes requests to the server, and check what the proxy does to the requests."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.containers import PROXY, read_publishers
from ansible_collections.atlas.mlflow.plugins.module_utils.sockets import Listener, collide
from ansible_collections.atlas.mlflow.plugins.module_utils.tracking import API, INVALID_HOST, SEARCH, TrackingServer
from ansible_collections.atlas.mlflow.plugins.module_utils.web import Answer, Base, NoAnswer, ask

#: Names of processes that are proxies, whatever they answer. A container's published port may lead to a proxy.
PROXIES = ("nginx", "haproxy", "caddy", "traefik", "apache2", "httpd", "envoy", "lighttpd", "h2o", "squid", "varnishd")
#: Bytes of a request that a proxy must accept: artifacts are larger than nginx's default limit of 1 MiB.
LARGE = 100 * 1024**2
PATIENCE = 1.0  # seconds in which a proxy refuses a large request


def find(facts: Mapping[str, Any], host: str, port: int) -> dict[str, Any] | None:
    """Return the listener of another process on the server's address and port; None if the server itself or no process listens there."""
    if not facts.get("argv") or any(one["port"] == port for one in facts.get("published") or ()):
        return None
    on_host = facts.get("kind") != "container" or facts.get("network_mode") == "host"
    if on_host and any(one["port"] == port for one in facts.get("sockets") or ()):
        return None
    place = Listener(ip_address(host), port)
    others = [one for one in facts.get("host_listeners") or () if not one["own"] and collide(Listener(ip_address(one["address"]), one["port"]), place)]
    return {key: others[0][key] for key in ("process", "pid", "address", "port")} if others else None


def own_place(facts: Mapping[str, Any], inspected: Mapping[str, Any]) -> tuple[str, int] | None:
    """Return the address and port by which this host reaches the server directly. For a container, this is its address on its network."""
    sockets = [(ip_address(one["address"]), int(one["port"])) for one in facts.get("sockets") or ()]
    if facts.get("kind") == "container" and facts.get("network_mode") != "host":
        networks = (inspected.get("NetworkSettings", {}).get("Networks") or {}).values()
        addresses = [network.get("IPAddress") for network in networks if network.get("IPAddress")]
        ports = [port for address, port in sockets if not address.is_loopback]
        return (addresses[0], ports[0]) if addresses and ports else None
    places = [("127.0.0.1" if address.is_unspecified else str(address), port) for address, port in sockets]
    return places[0] if places else None


def refuses_large(base: Base, host: str, tls: ssl.SSLContext | None) -> bool:
    """Return whether a large request is refused. Only its length is sent: a proxy that accepts it waits for the body, which is never sent."""
    headers = {"Content-Type": "application/json", "Content-Length": str(LARGE)}
    try:
        return ask(base, "POST", f"{base.path}{API}/runs/search", host=host, headers=headers, timeout=PATIENCE, tls=tls).status == 413
    except NoAnswer:
        return False


def refuses_host(base: Base, host: str, timeout: float, tls: ssl.SSLContext | None, credentials: tuple[str, str] | None) -> bool:
    """Return whether the server refuses the host name that it gets from the proxy."""
    response = TrackingServer(base, host, timeout, credentials, tls).attempt("GET", *SEARCH)
    return isinstance(response, Answer) and response.status == 403 and INVALID_HOST in response.text


def same_answer(servers: Sequence[TrackingServer]) -> bool:
    """Return whether the API answers the same at two places. Another tracking server has other experiments, created at other times."""
    answers = [server.attempt("GET", *SEARCH) for server in servers]
    bodies = {answer.body for answer in answers if isinstance(answer, Answer) and answer.status == 200}
    return all(isinstance(answer, Answer) and answer.status == 200 for answer in answers) and len(bodies) == 1


def is_known(found: Mapping[str, Any]) -> bool:
    """Return whether a listener is a proxy by its name."""
    return str(found["process"]).startswith(PROXIES)


def name_container(found: dict[str, Any], run: Callable[[list[str]], tuple[int, str, str]]) -> None:
    """Add the image of the container that publishes a port, from the list of ports of Docker or of root's Podman."""
    engine = {PROXY: "docker", "conmon": "podman"}.get(found["process"])
    if engine:
        image = read_publishers(run([engine, "ps", "--format", "{{.Image}} {{.Ports}}"])[1]).get((found["address"], found["port"]), "")
        found["process"] = image.rpartition("/")[2] or found["process"]
