# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find where clients of a server store artifacts: on the server, in a store that they access directly, or in a folder on their own disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

#: Kinds of file systems that several machines may mount at the same path.
SHARED = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "ceph",
    "fuse.ceph",
    "fuse.glusterfs",
    "glusterfs",
    "lustre",
    "beegfs",
    "gpfs",
    "fuse.juicefs",
    "fuse.s3fs",
    "9p",
    "virtiofs",
)


def is_shared(path: str, mounts: str) -> bool:
    """Return whether a folder is on a network file system, from the text of /proc/mounts."""
    found = "", ""
    for line in mounts.splitlines():
        place, kind = (line.split() + ["", "", ""])[1:3]
        place = place.replace("\\040", " ")
        if (path == place or path.startswith(place.rstrip("/") + "/")) and len(place) >= len(found[0]):
            found = place, kind
    return found[1] in SHARED


def artifact_root(given: str, argv: list[str], environment: Mapping[str, str], mounts: Path = Path("/proc/mounts")) -> dict[str, str]:
    """Return the default place of artifacts as C(where), and its C(kind): served, s3, path, shared or other.

    :param given: The value of C(--default-artifact-root).
    :param argv: The server's arguments.
    """
    where = given or environment.get("MLFLOW_DEFAULT_ARTIFACT_ROOT", "")
    serves = "--no-serve-artifacts" not in argv and environment.get("MLFLOW_SERVE_ARTIFACTS", "true").lower() not in ("false", "0", "no", "off", "f", "n")
    if not where:
        where = "mlflow-artifacts:/" if serves else "./mlruns"
    scheme, sign, rest = where.partition(":")
    if not sign or scheme == "file" or where.startswith("/"):
        path = "/" + rest.lstrip("/") if scheme == "file" else where
        try:
            shared = is_shared(path, mounts.read_text(encoding="utf-8"))
        except OSError:
            shared = False
        return {"kind": "shared" if shared else "path", "where": where}
    kind = {"s3": "s3", "mlflow-artifacts": "served", "http": "served", "https": "served"}.get(scheme, "other")
    return {"kind": kind, "where": where.partition("?")[0]}
