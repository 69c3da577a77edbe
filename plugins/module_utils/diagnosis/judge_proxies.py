# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide what the facts of proxies that share an address mean: which of them has it, whether the others would take it, and which primary they find."""

from __future__ import annotations

from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis.checks import UNKNOWN
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis.judge_hosts import RUNS, Stack
from ansible_collections.atlas.mlflow.plugins.module_utils.faults import fault


def check_virtual_address(stack: Stack) -> None:
    """Check that keepalived runs on each proxy, and that one proxy has the address."""
    if not stack.proxies:
        return
    asked = [name for name in stack.proxies if stack.is_asked(name)]
    states = {name: stack.facts(name, "proxy")["keepalived"] for name in asked}
    stopped = [name for name in asked if states[name]["state"] != RUNS]
    unasked = [name for name in stack.proxies if name not in asked]
    seen = "; ".join([*(f"{name}: {states[name]['state']}" for name in asked), *(f"{name}: {stack.why_not_asked(name)}" for name in unasked)])
    log = states[stopped[0]]["log"] if stopped else ""
    stack.note("virtual address", "keepalived runs on each proxy", seen, fault("keepalived-not-running", log=log) if stopped else UNKNOWN if unasked else None)
    having = [name for name in asked if stack.facts(name, "proxy")["has_address"]]
    address, expected = stack.wanted["virtual_address"], "one proxy has the address"
    if len(having) > 1:
        # Of several, those where keepalived does not run have it by mistake.
        words = ", ".join(f"{name} (keepalived {states[name]['state']})" for name in having)
        stack.note("virtual address", expected, f"{address} is on {words}", "virtual-address-twice")
    elif having:
        stack.note("virtual address", expected, f"{address} is on {having[0]}")
    else:
        # A proxy that could not be asked may have it.
        words = "; ".join(f"{name}: haproxy.service {stack.facts(name, 'proxy')['haproxy']['state']}" for name in asked)
        where = f"{address} is on none of {', '.join(asked) or 'the proxies'}" + (f"; {words}" if words else "")
        nobody_runs = bool(asked) and set(stopped) == set(asked)
        stack.note("virtual address", expected, where, UNKNOWN if unasked else "virtual-address-missing", follows=nobody_runs and not unasked)


def check_way_to_postgres(stack: Stack) -> None:
    """Check that each proxy that passes connections to PostgreSQL finds the primary."""
    found = {name: stack.facts(name, "proxy").get("primaries") for name in stack.proxies}
    passing = {name: primaries for name, primaries in found.items() if primaries is not None}
    if not passing:
        return
    seen = "; ".join(f"{name}: {', '.join(primaries) or 'none'}" for name, primaries in passing.items())
    blind = not all(passing.values())
    follows = stack.has("cluster-without-primary", "etcd-without-quorum")
    stack.note("cluster", "each proxy finds the primary", seen, "proxy-without-primary" if blind else None, follows=follows)
