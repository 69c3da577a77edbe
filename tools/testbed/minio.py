"""MinIO's executable in the user's cache: downloaded if a server answers, else built from source, once for each version."""

from __future__ import annotations

import os
import platform
import tarfile
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from .golang import build, point_to
from .shell import CACHE, ROOT, Progress, TestbedError, check_sha256, say, step

PINS = ROOT / "roles" / "minio" / "files" / "downloads.yml"
#: The path of the executable, for any flavour and version. The hosts of the test bed install this file.
EXECUTABLE = CACHE / "minio"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
#: Seconds in which a download must start.
DOWNLOAD_TIMEOUT = 5


def ensure() -> None:
    """Put the executable in its place, unless one of a pinned version is there."""
    pins = yaml.safe_load(PINS.read_text())
    source = CACHE / f"minio-{pins['source']['version']}" / "minio"
    flavours = [flavour for flavour in ("silo", "minio") if download_of(pins, flavour)]
    fetched = {flavour: CACHE / f"{flavour}-{pins[flavour]['version']}" / flavour for flavour in flavours}
    for path in (*fetched.values(), source):
        if path.exists():
            say(f"MinIO is in place: {path}")
            point_to(EXECUTABLE, path)
            return
    for flavour, path in fetched.items():
        with step(f"MinIO: download {flavour} {pins[flavour]['version']}") as progress:
            if fetch(download_of(pins, flavour), path, progress):
                point_to(EXECUTABLE, path)
                return
    with step(f"MinIO: build {pins['source']['version']} from source, once") as progress:
        build(pins["source"], source, progress)
    point_to(EXECUTABLE, source)


def download_of(pins: dict[str, Any], flavour: str) -> dict[str, str]:
    """Return ``url``, ``sha256`` and ``member`` of a flavour's download for this machine, empty if there is none."""
    architecture = ARCHITECTURES.get(platform.machine(), platform.machine())
    download: dict[str, str] = pins.get(flavour, {}).get("architectures", {}).get(architecture, {})
    return download


def fetch(download: dict[str, str], target: Path, progress: Progress) -> bool:
    """Download an archive, check its sha256, and unpack its executable to ``target``.

    :returns: False if nothing answers.
    :raises TestbedError: If the archive is not the pinned one. A wrong file must not lead to a build from source without a message.
    """
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "archive.tar.gz"
        try:
            with urllib.request.urlopen(download["url"], timeout=DOWNLOAD_TIMEOUT) as answer, archive.open("wb") as output:
                size, done = int(answer.headers.get("Content-Length") or 0) >> 20, 0
                while chunk := answer.read(1 << 20):
                    done += output.write(chunk)
                    progress.share(done >> 20, size, "MB")
        except OSError as error:
            say(f"    no answer: {getattr(error, 'reason', error)}")
            return False
        check_sha256(archive, download, str(PINS.relative_to(ROOT)))
        with tarfile.open(archive) as content:
            member = content.extractfile(download["member"])
            if member is None:
                raise TestbedError(f"{download['url']} has no file {download['member']}.")
            _install(member.read(), target)
    return True


def _install(content: bytes, target: Path) -> None:
    """Write an executable in one step, so that an interrupted run leaves no incomplete file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.chmod(0o755)
    partial.replace(target)
