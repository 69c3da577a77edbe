# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the schedules of timers."""

from __future__ import annotations

from ansible_collections.atlas.mlflow.plugins.plugin_utils.role_settings import RoleSettings
from ansible_collections.atlas.mlflow.plugins.plugin_utils.schedules import is_schedule

#: The schedules of each role.
SCHEDULES = {
    "mlflow_server": ("mlflow_server_gc_schedule",),
    "postgres": ("postgres_maintenance_schedule",),
    "backup": ("backup_schedule",),
    "metrics": ("metrics_schedule", "metrics_backup_check_schedule"),
}


def schedules_are_calendar_events(given: RoleSettings) -> str:
    """Each schedule is empty or one that systemd can read."""
    wrong = [f"{name} is {given.text(name)}" for name in SCHEDULES[given.role] if given.text(name) and not is_schedule(given.text(name))]
    if not wrong:
        return ""
    return (
        f"{', and '.join(wrong)}, which is no calendar event of systemd. Set one, such as daily or Sun *-*-* 04:00:00 (`systemd-analyze calendar` explains "
        "it), or an empty text for no timer."
    )


def metrics_are_written_on_a_schedule(given: RoleSettings) -> str:
    """The metrics of the host itself have a timer, because its service writes them."""
    if given.text("metrics_schedule") or not given.flag("metrics_enabled"):
        return ""
    return "metrics_schedule is empty, and the age of backups and certificates would never be read. Set one, such as *:0/5, or leave it out."
