# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide what the facts of a server's stores, disks and clock mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.atlas.mlflow.plugins.module_utils.diagnosis.checks import Diagnosis
from ansible_collections.atlas.mlflow.plugins.module_utils.faults import FAULTS

SKEW = 300  # seconds: S3's signatures allow at most 15 minutes, and links often expire earlier
FULL_SHARE, FULL_BYTES = 0.01, 64 * 1024**2  # a disk is full if less than both is free, or if no inode is free
DATABASE_FAULTS = {
    "no-driver": "database-driver-missing",
    "unresolved": "database-name-unresolved",
    "down": "database-down",
    "wrong-password": "database-wrong-password",
    "refused": "database-access-refused",
    "no-slots": "database-connections-exhausted",
    "denied": "database-permission-denied",
    "missing": "database-missing",
    "failed": "database-failed",
}
S3_FAULTS = {
    "untrusted": "s3-untrusted-certificate",
    "wrong-scheme": "s3-wrong-scheme",
    "down": "s3-down",
    "wrong-key": "s3-wrong-key",
    "missing": "s3-bucket-missing",
    "read-only": "s3-read-only",
    "denied": "s3-denied",
    "full": "disk-full",
    "clock": "clock-skew",
    "no-driver": "s3-failed",
    "failed": "s3-failed",
}


def check_stores(diagnosis: Diagnosis) -> None:
    """Check how the database and the artifact store answer to the server, or read the log if no other layer shows a fault."""
    stores = diagnosis.server.get("stores") or {}
    database, s3 = stores.get("database"), stores.get("s3")
    if database:
        _database(diagnosis, database)
    elif diagnosis.server.get("not_encoded") and not diagnosis.runs:
        diagnosis.note("database", "a URI that can be read", "a password that is not percent-encoded", "database-password-not-encoded")
    if s3:
        found = S3_FAULTS.get(s3["outcome"])
        network = found == "s3-down" and _is_elsewhere(diagnosis, s3)
        seen = f"{s3.get('endpoint') or 'Amazon S3'}, bucket {s3['bucket']}: {s3.get('detail') or 'may be listed and written to'}"
        diagnosis.note(
            "artifact store", "answers, and may be written to", seen, "wrong-network" if network else found, follows=network and diagnosis.has("wrong-network")
        )
    said = diagnosis.server.get("log_fault") or {}
    if said and not diagnosis.faults:
        diagnosis.note(FAULTS[said["fault"]].layer, "nothing in the log that explains it", said["line"], said["fault"])


def _database(diagnosis: Diagnosis, database: Mapping[str, Any]) -> None:
    """Check how the database answers, and which schema it has."""
    found = DATABASE_FAULTS.get(database["outcome"])
    if (diagnosis.server.get("not_encoded") or database.get("not_encoded")) and (found or not diagnosis.runs):
        found = "database-password-not-encoded"
    elif found == "database-name-unresolved" and database.get("host") in (diagnosis.server.get("stopped") or ()):
        found = "database-down"
    elif found == "database-name-unresolved" and _is_elsewhere(diagnosis, database):
        found = "wrong-network"
    diagnosis.note("database", "answers", f"{database['where']}: {database.get('detail') or 'answers'}", found)
    if not found:
        schema = database.get("schema", "unknown")
        seen = f"revision {database.get('revision') or 'none'}, the release's is {database.get('head') or 'not known'}"
        diagnosis.note("schema", "the release's own", seen, {"old": "database-schema-old", "new": "database-schema-new"}.get(schema))


def _is_elsewhere(diagnosis: Diagnosis, store: Mapping[str, Any]) -> bool:
    """Return whether a store's host is a container on networks that the server is not on."""
    return store.get("host") in (diagnosis.server.get("elsewhere") or {})


def check_disks(diagnosis: Diagnosis) -> None:
    """Check for disks without space."""
    full = [disk for disk in diagnosis.server.get("disks") or [] if _is_full(disk)]
    seen = ", ".join(f"{disk['path']}: {disk['free'] // 1024**2} MiB free of {disk['size'] // 1024**2}, {disk['inodes']} inodes" for disk in full)
    # A full disk causes errors of the stores, so the disk is the fault.
    if full:
        symptoms = ("database-down", "database-failed", "s3-failed", "disk-full")
        diagnosis.checks = [replace(check, verdict="follows", found=None) if check.fault in symptoms else check for check in diagnosis.checks]
    diagnosis.note("disk", "room to write", seen or "enough on all", "disk-full" if full else "", follows=diagnosis.has("disk-full"))


def _is_full(disk: Mapping[str, Any]) -> bool:
    """Return whether a disk has no space for any more data."""
    return bool(disk["free"] < min(FULL_BYTES, disk["size"] * FULL_SHARE) or disk["free"] == 0 or disk["inodes"] == 0)


def check_clock(diagnosis: Diagnosis) -> None:
    """Check for clocks that differ too much."""
    s3 = (diagnosis.server.get("stores") or {}).get("s3") or {}
    apart = {"the artifact store": s3.get("skew")}
    if diagnosis.client.get("now") and diagnosis.server.get("now"):
        apart["the client"] = round(diagnosis.client["now"] - diagnosis.server["now"])
    known = {who: seconds for who, seconds in apart.items() if seconds is not None}
    far = {who: seconds for who, seconds in known.items() if abs(seconds) >= SKEW}
    seen = ", ".join(f"{who} {seconds:+d} s" for who, seconds in known.items()) or "not known"
    diagnosis.note("clock", f"within {SKEW} s", seen, "clock-skew" if far else "", follows=diagnosis.has("clock-skew"))
