# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for Prometheus."""

from __future__ import annotations

import re

from ansible_collections.atlas.mlflow.plugins.plugin_utils.prometheus import alert_faults, duration
from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings
from ansible_collections.atlas.mlflow.plugins.plugin_utils.rules.sockets import HOST_AND_PORT, address_fault, port_fault, port_taken

DURATIONS = ("prometheus_retention", "prometheus_scrape_interval")


def prometheus_listens_on_an_address(given: RoleSettings) -> str:
    """Prometheus listens on an IP address."""
    return address_fault("prometheus_listen_address", given.text("prometheus_listen_address"))


def prometheus_port_is_free(given: RoleSettings) -> str:
    """The port of Prometheus is valid, and nothing else has it."""
    fault = port_fault("prometheus_port", given.number("prometheus_port"))
    return fault or port_taken(given, given.text("prometheus_listen_address"), ["atlas-mlflow-prometheus.service"], ".")


def durations_are_durations(given: RoleSettings) -> str:
    """Durations are those of Prometheus, and longer than nothing."""
    wrong = [f"{name} is {given.text(name)}" for name in DURATIONS if not duration(given.text(name))]
    return f"{', '.join(wrong)}. Set a number with a unit, such as 30d or 15s." if wrong else ""


def alerts_are_known(given: RoleSettings) -> str:
    """Changes are changes of alerts that exist, to values that Prometheus takes."""
    return " ".join(alert_faults(given.table("prometheus_alerts")))


def alertmanagers_have_ports(given: RoleSettings) -> str:
    """Each Alertmanager has a host and a port."""
    wrong = [str(one) for one in given.items("prometheus_alertmanagers") if not re.match(HOST_AND_PORT, str(one))]
    return f"prometheus_alertmanagers has {', '.join(wrong)}. Give each address as HOST:PORT." if wrong else ""
