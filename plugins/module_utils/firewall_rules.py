# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read which ports the firewall of a host opens, from the rules of nftables that the role firewall wrote, and from those of ufw."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

#: The rules that the role firewall writes.
RULES = "etc/atlas-mlflow/firewall.nft"
#: A line that opens a port, or VRRP, to everybody or to some addresses. The ports of SSH have no line of this form.
_OPENING = re.compile(r"(?:ip6? saddr \{ (?P<sources>[^}]*) \} )?(?:tcp dport (?P<port>[0-9]+)|(?P<vrrp>meta l4proto 112)) accept")
#: The program of ufw, its switch, its policy for what no rule names, and the rules of its user.
UFW = "usr/sbin/ufw", "etc/ufw/ufw.conf", "etc/default/ufw", "etc/ufw/user.rules"
#: A rule of ufw's user: what it does, protocol, ports, destination, ports of the source, source.
_OF_UFW = re.compile(r"(?m)^### tuple ### (?:allow|limit)\S* (?:tcp|any) (?P<ports>\S+) \S+ \S+ (?P<source>\S+)")


def read_ufw(root: Path = Path("/")) -> dict[str, Any]:
    """Return what ufw opens: a list C(open) of its rules for TCP. Empty if ufw is not active, or closes nothing.

    :param root: Where the host's files are, for tests.
    """
    program, switch, policy, rules = (root / path for path in UFW)
    try:
        is_active = program.exists() and re.search(r"(?mi)^ENABLED=[\"']?yes", switch.read_text(encoding="utf-8"))
        if not is_active or re.search(r"(?mi)^DEFAULT_INPUT_POLICY=[\"']?ACCEPT", policy.read_text(encoding="utf-8")):
            return {}
        text = rules.read_text(encoding="utf-8")
    except OSError:
        return {}
    return {"open": [{"ports": found["ports"], "source": found["source"]} for found in _OF_UFW.finditer(text)]}


def read_firewall(root: Path = Path("/")) -> dict[str, Any]:
    """Return the openings of the firewall, each in the form of C(firewall_allowed). Empty if the host has no rules of the role firewall.

    :param root: Where the host's files are, for tests.
    """
    try:
        text = (root / RULES).read_text(encoding="utf-8")
    except OSError:
        return {}
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if opening := _OPENING.fullmatch(line.strip()):
            sources = opening["sources"].split(", ") if opening["sources"] else ["any"]
            found.setdefault(opening["port"] or "vrrp", []).extend(sources)
    return {
        "openings": [{**({"protocol": "vrrp"} if what == "vrrp" else {"port": int(what)}), "sources": sources} for what, sources in found.items()],
    }
