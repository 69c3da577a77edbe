# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A proxy that has the server's port and passes requests on to the server: which one it is, and what it does to them."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.containers import PROXY, read_publishers
from ansible_collections.atlas.mlflow.plugins.module_utils.sockets import Listener, collide
from ansible_collections.atlas.mlflow.plugins.module_utils.tracking import API, INVALID_HOST, SEARCH, TrackingServer
from ansible_collections.atlas.mlflow.plugins.module_utils.web import Answer, Base, NoAnswer, ask

#: Names of processes that are proxies, whatever they answer. A container's published port may lead to one.
PROXIES = ("nginx", "haproxy", "caddy", "traefik", "apache2", "httpd", "envoy", "lighttpd", "h2o", "squid", "varnishd")
#: Bytes of a request that a proxy must let through: artifacts are larger than nginx lets through by default, 1 MiB.
LARGE = 100 * 1024**2
PATIENCE = 1.0  # seconds in which a proxy refuses a large request


def find(facts: Mapping[str, Any], host: str, port: int) -> dict[str, Any] | None:
    """Return the listener at the server's place that is not the server's own, nothing if the server has its place itself, or nobody has it."""
    if not facts.get("argv") or any(one["port"] == port for one in facts.get("published") or ()):
        return None
    on_host = facts.get("kind") != "container" or facts.get("network_mode") == "host"
    if on_host and any(one["port"] == port for one in facts.get("sockets") or ()):
        return None
    place = Listener(ip_address(host), port)
    others = [one for one in facts.get("host_listeners") or () if not one["own"] and collide(Listener(ip_address(one["address"]), one["port"]), place)]
    return {key: others[0][key] for key in ("process", "pid", "address", "port")} if others else None


def own_place(facts: Mapping[str, Any], inspected: Mapping[str, Any]) -> tuple[str, int] | None:
    """Return address and port at which this host reaches the server itself: that of a container on its network."""
    sockets = [(ip_address(one["address"]), int(one["port"])) for one in facts.get("sockets") or ()]
    if facts.get("kind") == "container" and facts.get("network_mode") != "host":
        networks = (inspected.get("NetworkSettings", {}).get("Networks") or {}).values()
        addresses = [network.get("IPAddress") for network in networks if network.get("IPAddress")]
        ports = [port for address, port in sockets if not address.is_loopback]
        return (addresses[0], ports[0]) if addresses and ports else None
    places = [("127.0.0.1" if address.is_unspecified else str(address), port) for address, port in sockets]
    return places[0] if places else None


def refuses_large(base: Base, host: str, tls: ssl.SSLContext | None) -> bool:
    """Say whether a large request is refused. Its length alone is sent: who lets it through waits for the rest, and gets none."""
    headers = {"Content-Type": "application/json", "Content-Length": str(LARGE)}
    try:
        return ask(base, "POST", f"{base.path}{API}/runs/search", host=host, headers=headers, timeout=PATIENCE, tls=tls).status == 413
    except NoAnswer:
        return False


def refuses_host(base: Base, host: str, timeout: float, tls: ssl.SSLContext | None, credentials: tuple[str, str] | None) -> bool:
    """Say whether the server, asked through the proxy, refuses the name that it gets from there."""
    response = TrackingServer(base, host, timeout, credentials, tls).attempt("GET", *SEARCH)
    return isinstance(response, Answer) and response.status == 403 and INVALID_HOST in response.text


def same_answer(servers: Sequence[TrackingServer]) -> bool:
    """Say whether the API answers the same at two places. Another tracking server on the port has other experiments, made at other times."""
    answers = [server.attempt("GET", *SEARCH) for server in servers]
    bodies = {answer.body for answer in answers if isinstance(answer, Answer) and answer.status == 200}
    return all(isinstance(answer, Answer) and answer.status == 200 for answer in answers) and len(bodies) == 1


def is_known(found: Mapping[str, Any]) -> bool:
    """Say whether a listener is a proxy by its name."""
    return str(found["process"]).startswith(PROXIES)


def name_container(found: dict[str, Any], run: Callable[[list[str]], tuple[int, str, str]]) -> None:
    """Name a published port by the image of its container, which Docker, or the Podman of root, lists with its ports."""
    engine = {PROXY: "docker", "conmon": "podman"}.get(found["process"])
    if engine:
        image = read_publishers(run([engine, "ps", "--format", "{{.Image}} {{.Ports}}"])[1]).get((found["address"], found["port"]), "")
        found["process"] = image.rpartition("/")[2] or found["process"]
