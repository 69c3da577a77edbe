# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for several tracking servers, and for one or a proxy that has left its group."""

from __future__ import annotations

from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings
from ansible_collections.atlas.mlflow.plugins.plugin_utils.topology.alike import differences


def servers_are_alike(given: RoleSettings) -> str:
    """A tracking server has the settings of the first one, except those that concern its host."""
    names = given.groups.get("mlflow_servers") or []
    if given.hosts is None or given.host not in names[1:]:
        return ""
    others = [given.hosts(name) for group in ("postgres", "mlflow_servers") for name in given.groups.get(group) or []]
    return " ".join(differences(given.hosts(names[0]), given.hosts(given.host), others))


def no_service_outlives_its_group(given: RoleSettings) -> str:
    """No tracking server and no proxy of this collection runs on a host that is no longer in its group. The role firewall is checked on all hosts."""
    if given.role != "firewall":
        return ""
    running = {str(listener["group"]) for listener in given.facts.get("listeners") or []}
    found = []
    if given.host not in (given.groups.get("mlflow_servers") or []) and given.stack_of("mlflow_server"):
        names = (given.facts.get("own_containers") or {}).get("mlflow_server") or []
        ways = {
            "mlflow-server.service": "systemctl disable --now mlflow-server.service",
            **{f"container {name}": f"docker rm --force {name}" for name in names},
        }
        found = [("tracking server", "mlflow_servers", way) for unit, way in ways.items() if unit in running]
    if given.host not in (given.groups.get("haproxy") or []) and "haproxy.service" in running and not given.stack_of("haproxy").get("foreign"):
        found.append(("proxy", "haproxy", "systemctl disable --now haproxy.service"))
    return " ".join(
        f"{given.host} still runs a {what} of this collection, and is not in the group {group} any more. Unless another inventory has it there, no run updates "
        f"it, and people may go on to use it. Stop it on the host (`{way}`), or put the host into the group again."
        for what, group, way in found
    )
