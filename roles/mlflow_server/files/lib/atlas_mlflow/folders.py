"""Before a tracking server starts, check that it can write to the folders in its settings, and empty its folder for temporary files.

MLflow starts even if it cannot write to a folder, and answers each upload with 500. A server that ended during an upload leaves
a part of the upload.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: The settings that may name a SQLite file.
DATABASES = ("MLFLOW_BACKEND_STORE_URI", "MLFLOW_REGISTRY_STORE_URI")
#: The number of entries that are checked in a folder. If another user filled the folder, the first entries show it.
ENTRIES = 1000


def user_name(number: int) -> str:
    """Return a user's name, or the number if the user has no name here, for example in a container."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def files_of(environment: Mapping[str, str], users: str) -> Iterator[str]:
    """Yield the SQLite files in a service's settings, and that of its users."""
    for uri in (*(environment.get(name, "") for name in DATABASES), users):
        match = re.match(r"sqlite(?:[+]\w+)?:///(/[^?]*)", uri)
        if match:
            yield match.group(1)


def problem_of(path: str) -> str:
    """Return why this process cannot write to a file or a folder, empty if it can."""
    folder = os.path.isdir(path)
    if os.access(path, os.R_OK | os.W_OK | (os.X_OK if folder else 0)):
        return ""
    what = f"The {'folder' if folder or not os.path.exists(path) else 'file'} {path}"
    user = os.environ.get("USER") or user_name(os.geteuid())
    try:
        status = os.stat(path)
    except OSError as error:
        return f"{what} cannot be reached by the user {user}: {error.strerror}. Let the user enter each folder above it, and run site.yml again."
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return f"{what} is on a file system that is mounted read-only. Mount it for writing, and run site.yml again."
    return (
        f"{what} cannot be written by the user {user}: it belongs to {user_name(status.st_uid)} and has mode {status.st_mode & 0o7777:04o}. "
        f"Run `chown -R {user}: {path}` on the host."
    )


def inside(folder: str) -> list[str]:
    """Return the subfolders of a folder of artifacts. There is one for each experiment."""
    with os.scandir(folder) as entries:
        return [entry.path for entry in islice(entries, ENTRIES) if entry.is_dir(follow_symlinks=False) and not entry.name.startswith((".", "lost+found"))]


def problems(folders: Iterable[str], environment: Mapping[str, str], users: str = "") -> list[str]:
    """Return a sentence for each folder and each SQLite file that the service cannot write to.

    :param folders: The folders in the service's settings.
    :param environment: The service's settings.
    :param users: The URI of the store of users, empty if the service has no users.
    """
    found = [problem for problem in map(problem_of, folders) if problem]
    artifacts = environment.get("MLFLOW_ARTIFACTS_DESTINATION", "")
    if artifacts.startswith("file:"):
        artifacts = unquote(urlsplit(artifacts).path)
    if not found and artifacts.startswith("/") and os.path.isdir(artifacts):
        found += [problem for problem in map(problem_of, inside(artifacts)) if problem][:1]
    return found + [problem for problem in map(problem_of, filter(os.path.exists, files_of(environment, users))) if problem]


#: A file of prometheus_client, with the kind of its metrics and the process that writes it in its name.
METRICS_FILE = re.compile(r"(counter|histogram|summary|gauge_[a-z]+)_\d+\.db")


def forget_metrics(folder: str) -> None:
    """Remove metrics of processes of an earlier start from a folder: prometheus_client would add them to those of this start.

    Other files in the folder are not touched.
    """
    for path in Path(folder).glob("*.db"):
        if METRICS_FILE.fullmatch(path.name) and not path.is_symlink():
            path.unlink()


def empty(folder: str) -> None:
    """Create the service's folder for temporary files, or remove everything that an earlier server has left in it."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    for entry in Path(folder).iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
