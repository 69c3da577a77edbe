"""Write the age of the backups and the end of the certificates of a host for the node exporter of Prometheus.

atlas_mlflow_metrics.py write          certificates, and the last point of the backup
atlas_mlflow_metrics.py check-backup   read the whole repository of the backup back, and write whether that worked
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

#: The folder from which the node exporter reads.
FOLDER = Path("/var/lib/atlas-mlflow/metrics")
#: The folder of the stack's certificates.
CERTIFICATES = Path("/etc/atlas-mlflow/tls")
#: The settings and the program of the backup. A host without a backup has none.
BACKUP_SETTINGS = Path("/etc/atlas-mlflow/backup.json")
BACKUP_PROGRAM = Path("/opt/atlas-mlflow/backup/atlas_mlflow_backup.py")
#: Seconds in which the list of backups must be read.
LIST_TIMEOUT = 120
#: Seconds that a check waits for a backup to end.
CHECK_WAIT = 4 * 3600
HELP = {
    "atlas_mlflow_certificate_not_after_timestamp_seconds": "When a certificate ends.",
    "atlas_mlflow_backup_readable": "Whether the list of backups could be read.",
    "atlas_mlflow_backup_last_timestamp_seconds": "When the last backup was made, 0 if there is none.",
    "atlas_mlflow_backup_points": "How many backups can be restored.",
    "atlas_mlflow_backup_check_success": "Whether the whole repository could be read back at the last check.",
    "atlas_mlflow_backup_check_timestamp_seconds": "When the repository was last read back.",
}


def run(*argv: str, timeout: float | None = None) -> tuple[bool, str]:
    """Run a command, and return whether it succeeded, and its output."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=timeout)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"{argv[0]}: {error}", file=sys.stderr)
        return False, ""
    if done.returncode:
        print(done.stderr.strip(), file=sys.stderr)
    return done.returncode == 0, done.stdout


def certificates(folder: Path) -> dict[str, float]:
    """Return when each certificate below a folder ends, by its path. Of a chain, the first certificate counts."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".pem", ".crt") and path.is_file()):
        if b"BEGIN CERTIFICATE" not in path.read_bytes():
            continue
        is_read, said = run("openssl", "x509", "-noout", "-enddate", "-in", str(path))
        if is_read:
            ends = datetime.strptime(said.strip().partition("=")[2], "%b %d %H:%M:%S %Y %Z")
            found[str(path)] = ends.replace(tzinfo=timezone.utc).timestamp()
    return found


def backup(program: Path) -> dict[str, float]:
    """Return the state of the backups."""
    is_read, said = run(sys.executable, str(program), "list", timeout=LIST_TIMEOUT)
    try:
        points = json.loads(said) if is_read else []
    except ValueError:
        is_read, points = False, []
    found: dict[str, float] = {"atlas_mlflow_backup_readable": int(is_read)}
    if is_read:
        last = datetime.fromisoformat(points[-1]["time"]).timestamp() if points else 0
        found |= {"atlas_mlflow_backup_last_timestamp_seconds": last, "atlas_mlflow_backup_points": len(points)}
    return found


def text(values: Mapping[str, Mapping[str, float] | float]) -> str:
    """Return values in the text format of Prometheus. A value of several series has a number for each path."""
    lines = []
    for name, value in values.items():
        lines += [f"# HELP {name} {HELP[name]}", f"# TYPE {name} gauge"]
        series = {f'{{path="{path}"}}': number for path, number in value.items()} if isinstance(value, Mapping) else {"": value}
        lines += [f"{name}{label} {number:.0f}" for label, number in series.items()]
    return "".join(f"{line}\n" for line in lines)


def write(path: Path, values: Mapping[str, Mapping[str, float] | float]) -> None:
    """Write a file in one step, readable by the exporter."""
    beside = path.with_suffix(".new")
    beside.write_text(text(values))
    beside.chmod(0o644)
    os.replace(beside, path)


def check_backup(path: Path, program: Path, member: str) -> None:
    """Read the repository back, and write whether that worked. In a cluster, one member does this.

    :param path: The file to write.
    :param program: The program of the backup.
    :param member: The name of this member of a cluster, empty otherwise.
    """
    is_known, source = run(sys.executable, str(program), "source", timeout=LIST_TIMEOUT) if member else (True, "")
    if is_known and source.strip() not in ("", member):
        path.unlink(missing_ok=True)
        return
    is_read, _said = run(sys.executable, str(program), "--wait", str(CHECK_WAIT), "check")
    write(path, {"atlas_mlflow_backup_check_success": int(is_read), "atlas_mlflow_backup_check_timestamp_seconds": time.time()})


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["write", "check-backup"])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder from which the node exporter reads")
    given = parser.parse_args()
    has_backup = BACKUP_SETTINGS.exists() and BACKUP_PROGRAM.exists()
    checked = given.folder / "atlas_mlflow_backup_check.prom"
    if not has_backup:
        checked.unlink(missing_ok=True)
    elif given.action == "check-backup":
        settings = json.loads(BACKUP_SETTINGS.read_text())
        check_backup(checked, BACKUP_PROGRAM, (settings.get("postgres") or {}).get("member") or "")
    if given.action == "write":
        ends = {"atlas_mlflow_certificate_not_after_timestamp_seconds": certificates(CERTIFICATES)} if CERTIFICATES.is_dir() else {}
        write(given.folder / "atlas_mlflow.prom", {**ends, **(backup(BACKUP_PROGRAM) if has_backup else {})})
    return 0


if __name__ == "__main__":
    sys.exit(main())
