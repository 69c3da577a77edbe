# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide what the facts of a server's process, its sockets and its configuration mean."""

from __future__ import annotations

import re
from ipaddress import ip_address

from ansible_collections.atlas.mlflow.plugins.module_utils.arguments import has_option
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis.checks import Diagnosis, endpoints, listeners
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis.front import PROXIES
from ansible_collections.atlas.mlflow.plugins.module_utils.faults import fault
from ansible_collections.atlas.mlflow.plugins.module_utils.judge_sockets import (
    MLFLOW_DEFAULT,
    extra_fault,
    place_fault,
    serves,
    shadow_fault,
    takers,
    unpublished_fault,
)
from ansible_collections.atlas.mlflow.plugins.module_utils.sockets import Listener


def check_process(diagnosis: Diagnosis) -> None:
    """Check which server runs, and whether its arguments are those of its configuration."""
    kind, name = diagnosis.server.get("kind", ""), diagnosis.server.get("name", "")
    if not kind:
        diagnosis.note("process", "a unit, a container or a process of MLflow", "none", "server-not-found")
        return
    seen = f"{kind} {name}, {diagnosis.server.get('state', '')}" + (f", pid {diagnosis.server['pid']}" if diagnosis.server.get("pid") else "")
    if diagnosis.runs:
        configured, argv = diagnosis.server.get("configured_options", diagnosis.server.get("configured", "")), diagnosis.server["argv"]
        missing = [option for option in ("--host", "--port") if option in configured and not has_option(argv, option)]
        # A process that started before a change cannot have the changed values.
        if missing and not diagnosis.server.get("stale"):
            diagnosis.note("process", "the arguments that are configured", f"started without {' and '.join(missing)}", "arguments-cut")
            return
        diagnosis.note("process", "a running server", seen)


def check_environment(diagnosis: Diagnosis) -> None:
    """Check for an address in variables that MLflow does not read."""
    ignored = diagnosis.server.get("ignored_environment") or {}
    default = MLFLOW_DEFAULT in {(one.address, one.port) for one in diagnosis.own} and diagnosis.port != MLFLOW_DEFAULT[1]
    seen = ", ".join(f"{name}={value}" for name, value in sorted(ignored.items())) or "none"
    counts = bool(ignored) and default and not diagnosis.front and not diagnosis.faults
    diagnosis.note("environment", "no address in variables that MLflow ignores", seen, "ignored-environment" if counts else None)


def check_sockets(diagnosis: Diagnosis) -> None:
    """Check where the server listens, and which other process has its port."""
    own = diagnosis.own
    if diagnosis.front:
        diagnosis.note("sockets", "a socket that the proxy reaches", f"{endpoints(own)}, behind {diagnosis.proxy()}")
        return
    if diagnosis.runs:
        wanted = Listener(ip_address("0.0.0.0"), _inner_port(diagnosis)) if diagnosis.inside else diagnosis.wanted_socket
        _own_sockets(diagnosis, own, wanted)
    others = listeners(one for one in diagnosis.server.get("host_listeners") or () if not one.get("own"))
    having = takers(others, diagnosis.wanted_socket, is_open=diagnosis.runs and bool(own))
    seen = "; ".join(f"{one.endpoint} held by {one.owner}" for one in having) or "none"
    if diagnosis.runs and own:
        diagnosis.note("sockets", f"no other listener on port {diagnosis.port}", seen, shadow_fault(having[0], diagnosis.wanted_socket) if having else None)
    else:
        diagnosis.note("sockets", f"no other listener on port {diagnosis.port}", seen, "port-taken" if having and not _are_proxies(diagnosis, having) else None)


def _own_sockets(diagnosis: Diagnosis, own: list[Listener], wanted: Listener) -> None:
    """Check the server's own sockets."""
    argv, seen = diagnosis.server["argv"], endpoints(own) or "none"
    right = [one for one in own if serves(one, wanted, by_either=True)]
    expected = f"{wanted.address}:{wanted.port}"
    if right and len(right) < len(own):
        diagnosis.note("sockets", f"{expected} alone", seen, extra_fault(argv))
    elif right or not own:
        diagnosis.note("sockets", expected, seen if right else "none yet")
    elif diagnosis.server.get("kind") == "container" and has_option(argv, "--port") and not any(one.port == wanted.port for one in own):
        diagnosis.note("sockets", expected, seen, "stale-container", follows=bool(diagnosis.faults))
    else:
        diagnosis.note("sockets", expected, seen, place_fault(own, wanted, argv), follows=bool(diagnosis.faults))


def _are_proxies(diagnosis: Diagnosis, having: list[Listener]) -> bool:
    """Return whether proxies have the port and wait for a server on another port that has not opened it yet."""
    configured = [*(diagnosis.server.get("argv") or ()), diagnosis.server.get("configured", "")]
    return all(one.process.startswith(PROXIES) for one in having) and not any(re.search(rf"\b{diagnosis.port}\b", word) for word in configured)


def _inner_port(diagnosis: Diagnosis) -> int:
    """Return the port in the container to which the expected port leads; the same port if there is no mapping."""
    for one in diagnosis.server.get("published") or []:
        if one["port"] == diagnosis.port:
            return int(one["inner"])
    return diagnosis.port


def check_published(diagnosis: Diagnosis) -> None:
    """Check that the container's port is published."""
    if not diagnosis.inside or not diagnosis.runs or diagnosis.front:
        return
    published = [(Listener(ip_address(one["address"]), one["port"]), one["inner"]) for one in diagnosis.server.get("published") or ()]
    seen = ", ".join(f"{one.endpoint} to {inner}" for one, inner in published) or "none"
    right = [inner for one, inner in published if serves(one, diagnosis.wanted_socket, by_either=True)]
    ports = {one.port for one in diagnosis.own}
    leads = bool(right) and (not ports or bool(ports.intersection(right)))
    expected = f"{diagnosis.address}:{diagnosis.port} into the container"
    diagnosis.note("published port", expected, seen, None if leads else unpublished_fault(diagnosis.wanted_socket), follows=bool(right and diagnosis.faults))


def check_configuration(diagnosis: Diagnosis) -> None:
    """Check what was changed since the server was started."""
    stale = diagnosis.server.get("stale") or []
    found = "stale-container" if diagnosis.server.get("kind") == "container" else "stale-service"
    if diagnosis.runs:
        seen = f"changed since: {', '.join(stale)}" if stale else "as it was at its start"
        diagnosis.note("configuration", "read by the running server", seen, found if stale else None, follows=diagnosis.has(found))


def check_memory(diagnosis: Diagnosis) -> None:
    """Check whether the kernel killed a process of the server."""
    killed = diagnosis.server.get("killed") or ""
    diagnosis.note("memory", "no process of it was killed for memory", killed or "none was", "out-of-memory" if killed else "")


def check_not_running(diagnosis: Diagnosis) -> None:
    """Note how the server ended, and its last error."""
    said, restarts = diagnosis.server.get("last_words"), diagnosis.server.get("restarts") or 0
    if diagnosis.runs and said is None:
        return
    seen = [f"{diagnosis.server['kind']} {diagnosis.server.get('name', '')}: {diagnosis.server.get('state', '')}"]
    seen += [diagnosis.server["ended"]] if diagnosis.server.get("ended") else []
    seen += [f"restarts: {restarts}"] if restarts else []
    seen += [f"its log ends with: {said}"] if said else []
    seen += [f"another server runs: {diagnosis.server['instead']}"] if diagnosis.server.get("instead") else []
    diagnosis.note("process", "a server that keeps running", "; ".join(seen), fault("server-not-running", log=diagnosis.log), follows=bool(diagnosis.faults))
