"""Print the proportional memory (PSS, see proc(5)) of a process and its descendants, in bytes. Runs on the host, as root."""

import contextlib
import re
import sys
from pathlib import Path

parents = {}
for status in Path("/proc").glob("[0-9]*/stat"):
    with contextlib.suppress(OSError):
        parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
family = {int(sys.argv[1])}
while more := {pid for pid, parent in parents.items() if parent in family} - family:
    family |= more
total = 0
for pid in family:
    with contextlib.suppress(OSError):
        found = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        total += int(found.group(1)) * 1024 if found else 0
print(total)
