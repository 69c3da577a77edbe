# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the exporters of metrics."""

from __future__ import annotations

import re

from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import CONTAINERS, RoleSettings
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.sockets import address_fault, is_port, networks_fault, port_conflicts
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology import is_loopback

#: The port of each exporter, and its unit.
PORTS = {"metrics_node_port": "atlas-mlflow-node-exporter.service", "metrics_postgres_port": "atlas-mlflow-postgres-exporter.service"}


def services_run_as_units(given: RoleSettings) -> str:
    """The metrics are for services of systemd."""
    containers = list(given.planned("container_networks") or {})
    engines = set((given.planned("container_engines") or {}).values()) or {"docker"}
    if not given.flag("metrics_enabled") or not containers:
        return ""
    deployments = ", ".join(f"{role}_deployment" for role in containers)
    words = " and ".join(sorted(word for word, engine in CONTAINERS.items() if engine in engines))
    return (
        f"{given.host} has metrics for Prometheus, and {deployments} is {words}: the exporters read services of systemd. Set atlas_mlflow_metrics: false for "
        "this host, or use the deployment systemd."
    )


def exporters_listen_on_an_address(given: RoleSettings) -> str:
    """The exporters listen on an IP address."""
    return address_fault("metrics_listen_address", given.text("metrics_listen_address"))


def exporters_are_reached(given: RoleSettings) -> str:
    """Prometheus on another host reaches the exporters. A Prometheus of the inventory reaches MLflow and MinIO, too."""
    own = "metrics_listen_address"
    planned = dict(given.planned("metrics_unreached") or {})
    # A role that is used alone plans with its own default, which stands for the address in the plan.
    unreached = {name: address for name, address in planned.items() if name != own or is_loopback(given.text(own))}
    if not given.flag("metrics_enabled") or not unreached:
        return ""
    clients = ", ".join(str(client) for client in given.planned("metrics_clients") if client != given.variable("atlas_mlflow_ip"))
    listed = ", and ".join(f"{name} is {address}" for name, address in unreached.items())
    names = " and ".join(unreached)
    return (
        f"{listed}, and the metrics are read from {clients}, which reaches no loopback address of {given.host}. Leave {names} out, or set an address of the "
        "host or 0.0.0.0. For a host without metrics, set atlas_mlflow_metrics to false."
    )


def ports_are_free(given: RoleSettings) -> str:
    """The ports of the exporters are two, and nothing else has them."""
    if not given.flag("metrics_enabled"):
        return ""
    ports = {name: given.number(name) for name in PORTS if name == "metrics_node_port" or given.planned("metrics_of_postgres")}
    wrong = [f"{name} is {port}" for name, port in ports.items() if not is_port(port)]
    if wrong or len(set(ports.values())) < len(ports):
        return f"{', '.join(wrong) or 'metrics_node_port and metrics_postgres_port are the same'}. Set two different ports between 1 and 65535."
    for name, port in ports.items():
        found = port_conflicts(given.facts.get("listeners") or [], given.text("metrics_listen_address"), port, [PORTS[name]])
        if found:
            return f"{name} is {port}, and {'; '.join(found)}. Stop that process, or set another port."
    return ""


def clients_are_networks(given: RoleSettings) -> str:
    """Those who may read the metrics are addresses and networks."""
    clients = given.variable("atlas_mlflow_metrics_clients", [])
    return networks_fault("atlas_mlflow_metrics_clients", [clients] if isinstance(clients, str) else clients)


def user_is_one(given: RoleSettings) -> str:
    """The user of the exporter is a name that Linux and PostgreSQL take, and not one that has more rights."""
    user = given.text("metrics_postgres_user")
    if re.match("^[a-z_][a-z0-9_]{0,30}$", user) and user not in ("root", "postgres"):
        return ""
    return f"metrics_postgres_user is {user}. Set a name of its own, of small letters, digits and underscores."
