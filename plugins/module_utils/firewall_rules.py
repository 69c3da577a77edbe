# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read which ports the firewall of a host opens, from the rules of nftables that the role firewall wrote."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

#: The rules that the role firewall writes.
RULES = "etc/atlas-mlflow/firewall.nft"
#: A line that opens a port, or VRRP, to everybody or to some addresses. The ports of SSH have no line of this form.
_OPENING = re.compile(r"(?:ip6? saddr \{ (?P<sources>[^}]*) \} )?(?:tcp dport (?P<port>[0-9]+)|(?P<vrrp>meta l4proto 112)) accept")


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
