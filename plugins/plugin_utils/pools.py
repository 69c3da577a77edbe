# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The arithmetic of a pool of MinIO: how its drives form erasure sets, and how many hosts it may lose.

MinIO spreads the drives of a pool over sets of equal size, the largest divisor of their number up to 16, and takes the drives in turns from each host. Each
object is in one set: as data and parity, one part on each drive.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: The sizes of an erasure set that MinIO knows.
SET_SIZES = range(2, 17)
#: The setting of MinIO for the number of parity drives of a set, as ``EC:2``.
PARITY_SETTING = "MINIO_STORAGE_CLASS_STANDARD"


@dataclass(frozen=True)
class Layout:
    """The erasure sets of a pool whose hosts have the same number of drives."""

    hosts: int
    #: Drives of each host.
    drives: int
    #: Drives of each erasure set, 0 if the drives form no sets.
    size: int
    #: Parity drives of each set.
    parity: int

    @property
    def write_quorum(self) -> int:
        """Return how many drives of a set a write needs."""
        data = self.size - self.parity
        return data + 1 if data == self.parity else data

    def _hosts_to_lose(self, quorum: int) -> int:
        """Return how many hosts may be lost until fewer drives than a quorum are left in some set."""
        of_one_host = -(-self.size // self.hosts)
        return (self.size - quorum) // of_one_host

    @property
    def hosts_to_lose_for_writes(self) -> int:
        """Return how many hosts may be lost while writes go on."""
        return self._hosts_to_lose(self.write_quorum)

    @property
    def hosts_to_lose_for_reads(self) -> int:
        """Return how many hosts may be lost while reads go on."""
        return self._hosts_to_lose(self.size - self.parity)

    @property
    def usable_percent(self) -> int:
        """Return the part of the space that holds objects and not parity, in percent."""
        return 100 * (self.size - self.parity) // self.size


def default_parity(size: int) -> int:
    """Return MinIO's number of parity drives for the size of a set."""
    return 1 if size < 4 else 2 if size < 6 else 3 if size < 8 else 4


def layout(hosts: int, drives: int, environment: Mapping[str, Any]) -> Layout:
    """Return the erasure sets of a pool.

    :param hosts: The number of its hosts.
    :param drives: The number of drives of each host.
    :param environment: Settings of MinIO, which may have another parity.
    """
    size = max((size for size in SET_SIZES if hosts * drives % size == 0), default=0)
    given = re.fullmatch(r"EC:(\d+)", str(environment.get(PARITY_SETTING, "")))
    return Layout(hosts, drives, size, int(given.group(1)) if given else default_parity(size))
