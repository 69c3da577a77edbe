# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide what the members of a cluster of PostgreSQL mean: which one is the primary, what runs, how far replicas are behind, and whether etcd agrees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.cluster_members import MEMBER_RUNS
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis.checks import UNKNOWN
from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis.judge_hosts import Stack, unknown_or
from ansible_collections.atlas.mlflow.plugins.module_utils.faults import fault

#: Bytes of the log that a replica may be behind. Patroni does not make one a primary that is further behind (maximum_lag_on_failover, whose default the role
#: keeps), so a cluster with such replicas does not survive its primary.
LAG_BYTES = 1024**2
#: Seconds that the oldest write may wait in a replica. With many writes, a healthy replica is behind by more bytes than that for a moment: it is not counted
#: before twice the interval in which Patroni looks (loop_wait, which the role sets to 5).
LAG_SECONDS = 10
#: Patroni's words for the role of a primary, in its releases up to 3 and from 4 on, and in its list of members.
PRIMARY = ("master", "primary", "leader")
#: Patroni's words for a replica that it lets take over in a cluster with synchronous replication.
TAKES_OVER = ("sync_standby", "quorum_standby")
#: Patroni's words for the state of a member that will run.
STARTS = ("starting", "creating replica", "running custom bootstrap script", "initializing new cluster", "restarting")


def role_of(stack: Stack, name: str) -> str:
    """Return the role of a member: primary or replica, empty if it has none.

    PostgreSQL itself knows best, since it may run without Patroni. Of a host that cannot be asked, the other members know.
    """
    facts = stack.facts(name, "member")
    in_recovery = (facts.get("postgres") or {}).get("recovery")
    if in_recovery is not None:
        return "replica" if in_recovery else "primary"
    patroni: Mapping[str, Any] = facts.get("patroni") or {}
    if not stack.is_asked(name):
        patroni = listed(stack, name)
    if patroni.get("state") not in MEMBER_RUNS:
        return ""
    return "primary" if patroni.get("role") in PRIMARY else "replica"


def listed(stack: Stack, name: str) -> Mapping[str, Any]:
    """Return what the others say of a member, from the list that Patroni keeps in etcd."""
    found = [one for other in stack.members for one in stack.facts(other, "member").get("listed") or () if one["name"] == name]
    return found[0] if found else {}


def replica_of(stack: Stack, primary: str, name: str) -> Mapping[str, Any] | None:
    """Return what the primary says of a replica, empty if it knows none of this name, None if the primary did not answer."""
    known = (stack.facts(primary, "member").get("postgres") or {}).get("replicas")
    if known is None:
        return None
    return next((one for one in known if one["name"] == name), {})


def describe(stack: Stack, name: str) -> str:
    """Return in words what was seen of a member."""
    facts = stack.facts(name, "member")
    if not stack.is_asked(name):
        known = listed(stack, name)
        return f"{name}: {stack.why_not_asked(name)}" + (f", and the others list it as {known['role']}, {known['state']}" if known else "")
    if not facts:
        return f"{name}: no settings of Patroni"
    role, patroni = role_of(stack, name), facts.get("patroni") or {}
    said = f"Patroni says {patroni.get('role')}, {patroni.get('state')}" if patroni else f"Patroni does not answer ({facts['error']}), {facts['state']}"
    return f"{name}: {role or 'no role'}, {said}"


def check_etcd(stack: Stack) -> None:
    """Check that a majority of etcd agrees, and that each of its members does."""
    if not stack.members:
        return
    healthy = [name for name in stack.members if stack.facts(name, "etcd").get("healthy")]
    missing = [name for name in stack.members if name not in healthy]
    parts = {name: _etcd_words(stack, name) for name in stack.members}
    seen = "; ".join(f"{name}: {words}" for name, words in parts.items())
    if not healthy:
        stack.note("etcd", "a majority agrees", seen, unknown_or("etcd-without-quorum", stack.members, stack))
        return
    stack.note("etcd", "a majority agrees", f"{', '.join(healthy)} say so")
    # A member that the others have removed, or never added, is in no list.
    known = {one for name in healthy for one in stack.facts(name, "etcd").get("members") or ()}
    unlisted = [name for name in stack.members if known and name not in known]
    seen = seen + (f"; not in the list of members: {', '.join(unlisted)}" if unlisted else "")
    silent = [name for name in missing if stack.is_asked(name)]
    log = next((stack.facts(name, "etcd").get("log") for name in silent), "") or "journalctl -u etcd.service"
    found = fault("etcd-member-missing", log=log) if silent or unlisted else UNKNOWN if missing else None
    stack.note("etcd", "each member agrees", seen, found, follows=bool(missing) and not silent and not unlisted and set(missing) <= set(stack.unreached))


def _etcd_words(stack: Stack, name: str) -> str:
    """Return in words what was seen of a member of etcd."""
    facts = stack.facts(name, "etcd")
    if not stack.is_asked(name):
        return stack.why_not_asked(name)
    if facts.get("healthy"):
        return "healthy"
    return f"not healthy ({facts['error'] or 'no reason'}), {facts['state']}" if facts else "no settings of etcd"


def check_members(stack: Stack) -> None:
    """Check that the cluster has one primary, and that each member runs."""
    if not stack.members:
        return
    roles = {name: role_of(stack, name) for name in stack.members}
    primaries = [name for name, role in roles.items() if role == "primary"]
    seen = "; ".join(describe(stack, name) for name in stack.members)
    found = "cluster-two-primaries" if len(primaries) > 1 else None if primaries else unknown_or("cluster-without-primary", stack.members, stack)
    stack.note("cluster", "one primary", seen, found, follows=not primaries and stack.has("etcd-without-quorum"))
    asked = [name for name in stack.members if stack.is_asked(name)]
    # A PostgreSQL that runs on without Patroni has a role, and its member is missing nevertheless.
    missing = [name for name in asked if (stack.facts(name, "member").get("patroni") or {}).get("state") not in MEMBER_RUNS]
    starting = [name for name in missing if (stack.facts(name, "member").get("patroni") or {}).get("state") in STARTS]
    gone = [name for name in missing if name not in starting]
    log = next((stack.facts(name, "member").get("log") for name in gone), "") or "journalctl -u patroni.service"
    words = "; ".join(describe(stack, name) for name in missing) or f"{', '.join(asked) or 'none'} run"
    unreached = [name for name in stack.members if name in stack.unreached]
    words += f"; not asked: {', '.join(unreached)}" if unreached else ""
    found_missing = fault("cluster-member-missing", log=log) if gone else UNKNOWN if starting or unreached else None
    # Without etcd, Patroni stops a primary, and starts it as a replica.
    stack.note("cluster", "each member runs", words, found_missing, follows=bool(gone) and stack.has("etcd-without-quorum"))
    if any(stack.facts(name, "member").get("paused") for name in asked):
        stack.note("cluster", "Patroni replaces a lost primary", "an operator has paused it (patronictl resume)", UNKNOWN)


def check_replicas(stack: Stack) -> None:
    """Check that each replica receives what the primary writes, and how far it is behind."""
    roles = {name: role_of(stack, name) for name in stack.members}
    primaries = [name for name, role in roles.items() if role == "primary"]
    replicas = [name for name, role in roles.items() if role == "replica" and stack.is_asked(name)]
    if len(primaries) != 1 or not replicas:
        return
    words, apart, late = [], [], []
    for name in replicas:
        known, own = replica_of(stack, primaries[0], name), stack.facts(name, "member").get("postgres") or {}
        receives = own.get("receives", True) if known is None else known.get("state") == "streaming"
        lag = (known or {}).get("bytes")
        if lag is None:
            lag = next((one["lag"] for one in (listed(stack, name),) if isinstance(one.get("lag"), int)), None)
        seconds = own.get("seconds") if receives else None
        sync = " (synchronous)" if (known or {}).get("sync") in ("sync", "quorum") else ""
        behind = f"{lag} bytes behind" if lag is not None else "an unknown number of bytes behind"
        words.append(f"{name}{sync}: {'streams' if receives else 'does not stream'}, {behind}" + (f", {seconds:.0f} s" if seconds is not None else ""))
        if not receives:
            apart.append(name)
        elif lag is not None and lag > LAG_BYTES and (seconds is None or seconds > LAG_SECONDS):
            late.append(name)
    seen = f"from {primaries[0]}: " + "; ".join(words)
    stack.note("cluster", "each replica streams", seen, "replica-not-streaming" if apart else None)
    if stack.facts(primaries[0], "member").get("synchronous") and not apart and not any(listed(stack, name).get("role") in TAKES_OVER for name in replicas):
        # Patroni records the replica in etcd some seconds after PostgreSQL has it, and until then lets none take over.
        unrecorded = "Patroni has recorded no synchronous replica, as for some seconds after a change of the primary"
        stack.note("cluster", "a replica can take over", unrecorded, UNKNOWN)
    stack.note("cluster", f"within {LAG_BYTES} bytes or {LAG_SECONDS} s", seen, "replica-lags" if late else None)
