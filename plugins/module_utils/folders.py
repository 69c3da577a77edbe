# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the folders that a service's settings name, check whether the service can have them, and open them in its unit's sandbox."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote, urlsplit

#: Folders whose content belongs to the system.
SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/root", "/sbin", "/sys", "/usr")
#: Exceptions: a service may have a folder below one of these.
EXCEPTIONS = ("/root", "/usr/local")
#: Folders in memory, or folders that the system empties. A unit sees a private copy of them.
VOLATILE = ("/dev/shm", "/run", "/tmp", "/var/run", "/var/tmp")
#: Folders that several services share, so that they cannot belong to one service.
SHARED = (
    *("/", "/data", "/home", "/media", "/mnt", "/opt", "/srv", "/var", "/usr/local"),
    *("/var/backups", "/var/cache", "/var/lib", "/var/local", "/var/log", "/var/mail", "/var/opt", "/var/spool", "/var/www"),
    *(f"/usr/local/{name}" for name in ("bin", "etc", "games", "include", "lib", "man", "sbin", "share", "src")),
)
#: The collection's own folder on a host, by its name in a message.
COLLECTION = {"the folder of the collection": "/opt/atlas-mlflow"}
#: Folders that ``ProtectHome=`` hides.
HOMES = ("/home", "/root")
#: A character that has a special meaning for systemd or Docker.
AWKWARD = re.compile(r'[\x00-\x1f\x7f"\'\\%$:,]')


def is_below(path: str, *folders: str) -> bool:
    """Return whether a path is one of these folders, or is in one of them."""
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)


def sqlite_file(uri: str) -> str:
    """Return the file that a URI of SQLite names, empty if the URI names no file or another database."""
    match = re.match(r"sqlite(?:[+]\w+)?:///([^?]*)", str(uri))
    return match.group(1) if match else ""


def folder_of(value: str) -> str:
    """Return the folder that a path or a URI names, empty if it names no folder of this host.

    :param value: A path, a ``file:`` URI, or a URI of SQLite, whose folder is that of its file.
    """
    value = str(value)
    if re.match(r"sqlite(?:[+]\w+)?:", value):
        file = sqlite_file(value)
        return posixpath.normpath(posixpath.dirname(file)) if file.startswith("/") else ""
    if value.startswith("file:"):
        value = unquote(urlsplit(value).path)
    elif re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", value):
        return ""
    return posixpath.normpath(value).replace("//", "/") if value.startswith("/") else ""


def named_folders(settings: Mapping[str, str | None], outermost: bool = False) -> list[str]:
    """Return the folders that settings name, each once, parent folders first. Folders that are in memory are omitted.

    :param settings: Values by the names of their variables.
    :param outermost: Whether to omit a folder that is in another one.
    """
    folders = sorted({folder for folder in map(folder_of, filter(None, settings.values())) if folder and not is_below(folder, *VOLATILE)})
    return _outermost(folders) if outermost else folders


def _outermost(folders: Iterable[str]) -> list[str]:
    """Return the folders that are in none of the other folders."""
    found: list[str] = []
    for folder in sorted(set(folders)):
        if not is_below(folder, *found):
            found.append(folder)
    return found


def of_system(folder: str) -> bool:
    """Return whether a folder belongs to the system, or is one in which several services have folders."""
    return folder in SHARED or folder in SYSTEM or is_below(folder, *SYSTEM) and not is_below(folder, *EXCEPTIONS)


def of_somebody(folder: str, user: str) -> bool:
    """Return whether a folder is the home folder of another user."""
    return is_below(folder, "/home") and folder.count("/") == 2 and folder != f"/home/{user}"


def removal_faults(settings: Mapping[str, str], user: str = "") -> list[str]:
    """Return a sentence for each setting that names a folder which remove.yml must not remove as a whole.

    :param settings: Paths by the names of their variables.
    :param user: The user that runs the service.
    """
    faults = []
    for name, value in settings.items():
        folder = posixpath.normpath(value).replace("//", "/")
        if not value.startswith("/") or ".." in value.split("/"):
            faults.append(f"{name} is {value}, which is not an absolute path without '..'. Set the absolute path of a folder of its own.")
        elif of_system(folder) or folder in VOLATILE:
            faults.append(f"{name} is {value}, and remove.yml removes that folder, which belongs to the system. Name a folder of its own, such as /opt/mlflow.")
        elif of_somebody(folder, user):
            faults.append(f"{name} is {value}, and remove.yml removes that folder, which is the home folder of a user. Name a folder in it, or elsewhere.")
    return faults


def _what_is_wrong(value: str, user: str, reserved: Mapping[str, str], kept: bool) -> str:
    """Return why a service cannot have the folder that a setting names, empty if it can."""
    if re.match(r"sqlite(?:[+]\w+)?:", value) and not sqlite_file(value).startswith("/"):
        return (
            "which names no file by an absolute path: the database would lie in memory or in the service's working folder, and be gone after a restart. "
            "Set sqlite:////FOLDER/FILE.db, with four slashes"
        )
    if value.startswith("file:") and (urlsplit(value).netloc not in ("", "localhost") or not urlsplit(value).path.startswith("/")):
        return "which names no folder of this host. Set its absolute path"
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", value) and not value.startswith("/"):
        return "which is not an absolute path: it would lie in the service's working folder, and be gone after a restart. Set the absolute path"
    folder = folder_of(value)
    if not folder:
        return ""
    if ".." in unquote(value).split("/"):
        return "which contains '..'. Set the path without it"
    if AWKWARD.search(folder):
        return "whose folder has a character with a meaning of its own for systemd or Docker. Use letters, digits, spaces and the signs . _ - + @ = ~"
    own = "Name a folder of its own"
    if is_below(folder, *VOLATILE):
        return (
            ""
            if not kept
            else f"which lies in {next(one for one in VOLATILE if is_below(folder, one))}: what is stored there is gone after a restart. {own} on a disk"
        )
    if of_system(folder):
        return f"and the service must own that folder, while {folder} belongs to the system. {own}, such as /srv/mlflow/data"
    if of_somebody(folder, user):
        return f"and the service must own that folder, while {folder} is the home folder of a user. {own}, such as {folder}/mlflow"
    for name, path in reserved.items():
        if is_below(folder, path):
            return f"which lies in {path} ({name}), and remove.yml removes that. {own}, elsewhere"
    return ""


def folder_faults(settings: Mapping[str, str | None], user: str, reserved: Mapping[str, str] | None = None, scratch: Iterable[str] = ()) -> list[str]:
    """Return a sentence for each setting that names a folder which a service cannot have.

    A message shows only paths, ``file:`` URIs and URIs of SQLite: other URIs may contain passwords, and name no folder.

    :param settings: Values by the names of their variables.
    :param user: The user that runs the service.
    :param reserved: Folders of the installation, which are removed with it, by the names of their variables.
    :param scratch: Names of the settings whose folders may be in memory.
    """
    faults = [(name, str(value), _what_is_wrong(str(value), user, reserved or {}, name not in scratch)) for name, value in settings.items() if value]
    return [f"{name} is {value}, {wrong}." for name, value, wrong in faults if wrong]


def sandbox(folders: Iterable[str], read_only: Iterable[str] = ()) -> list[str]:
    """Return the lines of a unit that open folders in a sandbox of ``ProtectSystem=strict`` and ``ProtectHome=yes``.

    All home folders are hidden, so the named folders are mounted into an empty ``/home``. The service can then also access their parent
    folders, even if these are private on the host.

    :param folders: Folders that the service writes to.
    :param read_only: Folders that the service only reads. They matter if they are in a home folder.
    """

    def quoted(paths: Iterable[str]) -> str:
        return " ".join(f'"{path}"' if " " in path else path for path in paths)

    written = _outermost(folders)
    homes = [path for path in written if is_below(path, *HOMES)]
    read = [path for path in _outermost(read_only) if is_below(path, *HOMES) and not is_below(path, *homes)]
    lines = [f"ReadWritePaths={quoted(written)}"] if written else []
    if homes or read:
        # With only the first line, systemd 252 leaves them writable. With only the second line, /run/user is visible.
        lines += ["ProtectHome=tmpfs", "TemporaryFileSystem=/home:ro /root:ro"]
    lines += [f"BindPaths={quoted(homes)}"] if homes else []
    lines += [f"BindReadOnlyPaths={quoted(read)}"] if read else []
    return lines
