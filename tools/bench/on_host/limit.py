"""Limit a unit of this host to a share of a core, such as 20%, without a restart. An empty share removes the limit.

With control groups of version 1, Docker mounts a host's own group for the processor read-only, and systemd gives its units none. So this makes one there.
"""

import subprocess
import sys
from pathlib import Path

#: The period in microseconds for which a share is given: the kernel's default.
PERIOD = 100_000
unit, share = sys.argv[1:]
processor = Path("/sys/fs/cgroup/cpu")
if not processor.exists():
    subprocess.run(["systemctl", "set-property", "--runtime", unit, f"CPUQuota={share}"], check=True)
else:
    subprocess.run(["mount", "-o", "remount,bind,rw", str(processor.resolve())], check=True)
    folder = processor / "bench" / unit
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.cfs_period_us").write_text(str(PERIOD))
    (folder / "cpu.cfs_quota_us").write_text(str(round(float(share.rstrip("%")) / 100 * PERIOD) if share else -1))
    group = subprocess.run(["systemctl", "show", "--value", "--property", "ControlGroup", unit], check=True, capture_output=True, text=True).stdout.strip()
    for process in Path(f"/sys/fs/cgroup/unified{group}/cgroup.procs").read_text().split():
        (folder / "cgroup.procs").write_text(process)
