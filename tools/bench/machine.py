"""Facts of the machine and of the programs that were measured."""

from __future__ import annotations

import os
import platform
import re
import time
from importlib import metadata
from pathlib import Path

import yaml

from tools.testbed import minio
from tools.testbed.shell import ROOT, ask


def newest_release() -> str:
    """Return the newest release of MLflow, which the roles install by default: the first of the pins."""
    return str(next(iter(yaml.safe_load((ROOT / "tools/pins.yml").read_text())["mlflow"])))


def facts() -> dict[str, str]:
    """Return the facts, by their names, in the order of a table."""
    memory = re.search(r"^MemTotal: +(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    model = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "measured on": time.strftime("%Y-%m-%d"),
        "cores": f"{os.cpu_count()}, {model.group(1).strip() if model else platform.machine()}",
        "load before": f"{os.getloadavg()[0]:.1f}",
        "memory": f"{int(memory.group(1)) / 1024**2:.0f} GiB" if memory else "unknown",
        "kernel": platform.release(),
        "Docker": ask(["docker", "version", "--format", "{{.Server.Version}}"]) or "unknown",
        "control node": f"Python {platform.python_version()}, ansible-core {metadata.version('ansible-core')}",
        "hosts": "Debian 12 in containers of this machine",
        "MLflow": newest_release(),
        "MinIO": minio.EXECUTABLE.resolve().parent.name,
    }
