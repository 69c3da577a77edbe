# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters for the members of a cluster of PostgreSQL that join or leave."""

from __future__ import annotations

from typing import Any

from ansible_collections.atlas.mlflow.plugins.plugin_utils.members import (
    etcd_join,
    etcd_speaker,
    member_removal,
    named,
    next_primary,
    running_members,
    slot_of,
    staying,
)


class FilterModule:
    """Register the filters with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {
            "etcd_join": etcd_join,
            "etcd_speaker": etcd_speaker,
            "member_names": named,
            "member_removal": member_removal,
            "members_running": running_members,
            "members_staying": staying,
            "next_primary": next_primary,
            "slot_of_member": slot_of,
        }
