"""Copy all artifacts of a folder or a bucket to another bucket, and read each of them again to compare its SHA-256.

rclone was considered. It compares MD5 sums, which a bucket has only for objects of one part, and would need the account's keys in a file of its
own. boto3 is in the environment of each release, and a file is read back in the process that wrote it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from atlas_mlflow.stores import PATIENCE, StoreError, first_line

#: Files that are copied side by side, and bytes that are read at once.
SIDE_BY_SIDE, CHUNK = 8, 2**20
#: The most names in a message.
NAMED = 3
#: The beginning of the name of an object that is in the target for a moment.
MARKER = ".atlas-mlflow-move-"
#: What a bucket has of an object in addition to its content.
ATTRIBUTES = ("ContentType", "ContentEncoding", "ContentDisposition", "ContentLanguage", "CacheControl", "Metadata")


@dataclass(frozen=True)
class Entry:
    """A file or an object: its bytes, and a mark that differs after each change."""

    size: int
    mark: str


class Source(Protocol):
    """Artifacts by their names, which are paths below the artifact store."""

    def entries(self) -> dict[str, Entry]:
        """Return all artifacts."""

    def open(self, name: str) -> Any:
        """Return an artifact to read from."""

    def mark(self, name: str) -> str:
        """Return the mark of an artifact, empty if there is none."""

    def attributes(self, name: str) -> dict[str, Any]:
        """Return what an artifact has in addition to its content, for an object."""


class Folder:
    """Artifacts in a folder."""

    def __init__(self, path: str) -> None:
        """Take the path of the folder."""
        self.root = Path(path)

    def entries(self) -> dict[str, Entry]:
        """Return all files. A missing folder has none: MLflow creates it with the first artifact.

        :raises StoreError: If a folder cannot be read, or if it has something that is no object in a bucket.
        """

        def refuse(error: OSError) -> None:
            raise StoreError(f"The folder {error.filename} cannot be read: {error.strerror}.") from error

        found = {}
        for folder, folders, files in os.walk(self.root, onerror=refuse if self.root.exists() else None):
            if folder == str(self.root) and "lost+found" in folders:
                folders.remove("lost+found")
            for name in [*(one for one in folders if os.path.islink(os.path.join(folder, one))), *files]:
                path = os.path.join(folder, name)
                if not os.path.isfile(path):
                    raise StoreError(f"{path} is a link to a folder or no file, which a bucket cannot have. Replace it with the files, or remove it.")
                try:
                    path.encode()
                except UnicodeEncodeError as error:
                    raise StoreError(f"The name of {path!a} is not UTF-8, which a bucket cannot have. Rename the file.") from error
                status = os.stat(path)
                found[os.path.relpath(path, self.root)] = Entry(status.st_size, str(status.st_ctime_ns))
        return found

    def open(self, name: str) -> BinaryIO:
        """Return a file to read from."""
        return (self.root / name).open("rb")

    def mark(self, name: str) -> str:
        """Return the mark of a file, empty if there is none."""
        try:
            return str((self.root / name).stat().st_ctime_ns)
        except FileNotFoundError:
            return ""

    def attributes(self, _name: str) -> dict[str, Any]:
        """Return nothing: a file has only its content."""
        return {}


class Bucket:
    """Artifacts in a bucket, below a prefix."""

    def __init__(self, client: Any, place: str) -> None:
        """Take a client of boto3, and the bucket with its prefix: BUCKET/PREFIX."""
        self.client = client
        self.bucket, _slash, prefix = place.strip("/").partition("/")
        self.prefix = f"{prefix}/" if prefix else ""

    def entries(self) -> dict[str, Entry]:
        """Return all objects.

        :raises StoreError: If the bucket cannot be listed.
        """
        import botocore.exceptions

        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, **({"Prefix": self.prefix} if self.prefix else {}))
        try:
            return {one["Key"].removeprefix(self.prefix): Entry(one["Size"], one["ETag"]) for page in pages for one in page.get("Contents", [])}
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
            raise StoreError(f"The objects of the bucket {self.bucket} at {self.client.meta.endpoint_url} cannot be listed: {first_line(error)}") from error

    def open(self, name: str) -> Any:
        """Return an object to read from."""
        return self.client.get_object(Bucket=self.bucket, Key=self.prefix + name)["Body"]

    def attributes(self, name: str) -> dict[str, Any]:
        """Return what an object has in addition to its content."""
        found = self.client.head_object(Bucket=self.bucket, Key=self.prefix + name)
        return {key: found[key] for key in ATTRIBUTES if found.get(key)}

    def write(self, name: str, content: BinaryIO, attributes: Mapping[str, Any] | None = None) -> None:
        """Write an object, in parts if it is large."""
        from boto3.s3.transfer import TransferConfig

        # Of an object that is read from a network, all parts that are sent side by side would be in memory.
        config = TransferConfig(use_threads=content.seekable())
        self.client.upload_fileobj(content, self.bucket, self.prefix + name, ExtraArgs=dict(attributes or {}), Config=config)

    def mark(self, name: str) -> str:
        """Return the mark of an object, empty if there is none."""
        import botocore.exceptions

        try:
            return str(self.client.head_object(Bucket=self.bucket, Key=self.prefix + name)["ETag"])
        except botocore.exceptions.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return ""
            raise

    def remove(self, name: str) -> None:
        """Remove an object."""
        self.client.delete_object(Bucket=self.bucket, Key=self.prefix + name)


def open_store(given: Mapping[str, str]) -> Any:
    """Return an artifact store.

    :param given: The settings of the store: C(place), and for a bucket C(endpoint), C(key), C(secret), C(region) and C(authority), the path of a CA file.
    :raises StoreError: If the place is neither a folder nor a bucket.
    """
    place = given["place"]
    if place.startswith("s3://"):
        import boto3
        import botocore.config

        config = botocore.config.Config(connect_timeout=PATIENCE, max_pool_connections=SIDE_BY_SIDE * 2, retries={"mode": "standard", "total_max_attempts": 5})
        client = boto3.client(
            "s3",
            endpoint_url=given.get("endpoint") or None,
            aws_access_key_id=given.get("key") or None,
            aws_secret_access_key=given.get("secret") or None,
            region_name=given.get("region") or None,
            # Without True, the library takes the CA file of the environment, which is for the other store.
            verify=given.get("authority") or True,
            config=config,
        )
        return Bucket(client, place.removeprefix("s3://"))
    folder = unquote(urlsplit(place).path) if place.startswith("file:") else place
    if not folder.startswith("/"):
        raise StoreError(f"The artifact store {place} is neither an absolute folder nor s3://BUCKET.")
    return Folder(folder)


def listed(names: list[str]) -> str:
    """Return some names for a message."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} others" if len(names) > NAMED else "")


class Hashing:
    """A file that computes the SHA-256 of what is read from it, from its first byte to its last."""

    def __init__(self, content: Any) -> None:
        """Take the file."""
        self.content, self.hash = content, hashlib.sha256()

    def read(self, amount: int = -1) -> bytes:
        """Return the next bytes."""
        chunk: bytes = self.content.read(amount) if amount >= 0 else self.content.read()
        self.hash.update(chunk)
        return chunk


def sha256(content: Any) -> str:
    """Return the SHA-256 of a file."""
    reader = Hashing(content)
    while reader.read(CHUNK):
        pass
    return reader.hash.hexdigest()


class Record:
    """A file with a line for each artifact that was copied and compared, so that it is not copied again while it stays as it was."""

    def __init__(self, path: Path, target: str) -> None:
        """Take the path of the file and the name of the target. Ignore a record of another target, and an incomplete line."""
        self.path = path
        self.known: dict[str, tuple[str, str]] = {}
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        begin = json.dumps(target)
        if not lines or lines[0] != begin:
            path.write_text(f"{begin}\n", encoding="utf-8")
            lines = []
        for line in lines[1:]:
            name, before, after = json.loads(line)
            self.known[name] = before, after

    def add(self, found: Iterator[tuple[str, str, str]]) -> None:
        """Add lines, each with a name and the marks of the artifact in the source and in the target."""
        with self.path.open("a", encoding="utf-8") as lines:
            for one in found:
                print(json.dumps(one), file=lines, flush=True)


def is_same(source: Source, target: Bucket) -> bool:
    """Return whether the target is in the source by another address: an object that is written to the target is then in the source.

    :raises StoreError: If the target cannot be written.
    """
    marker = MARKER + uuid.uuid4().hex
    try:
        target.write(marker, io.BytesIO(b"atlas.mlflow looks whether two addresses are of one bucket."))
    # Any error of a library.
    except Exception as error:
        raise StoreError(f"Nothing can be written to the new artifact store: {first_line(error)}") from error
    try:
        return any(name.endswith(marker) for name in source.entries())
    finally:
        target.remove(marker)


def foreign(source: Source, target: Bucket, record: Record) -> list[str]:
    """Return the objects in the target that the source does not have, and that no earlier copy has written."""
    return sorted(target.entries().keys() - source.entries().keys() - record.known.keys())


def copy_one(source: Source, target: Bucket, name: str, entry: Entry) -> tuple[str, str, str]:
    """Copy an artifact, compare it, and return its name and its marks in the source and in the target.

    :raises StoreError: If it cannot be copied, or the target returns something else than the source.
    """
    try:
        with closing(source.open(name)) as content:
            # The library reads the parts of a file in any order, so its bytes are hashed in a pass of their own.
            expected = sha256(content)
        with closing(source.open(name)) as content:
            target.write(name, content, source.attributes(name))
        with closing(target.open(name)) as content:
            found = sha256(content)
        mark = target.mark(name)
    # Any error of a file system or of a library.
    except Exception as error:
        raise StoreError(f"The artifact {name} cannot be copied: {first_line(error)}") from error
    if found != expected:
        raise StoreError(f"The copy of {name} has the SHA-256 {found}, and the artifact has {expected}. Check the disks, and run the playbook again.")
    return name, entry.mark, mark


def copy(source: Source, target: Bucket, record: Record, final: bool = True, say: Callable[[str], None] = print) -> None:
    """Copy all artifacts that are not copied yet, and compare each.

    :param final: Whether nobody writes to the source. Otherwise an artifact that somebody changes or removes meanwhile is left to the final copy.
    :raises StoreError: If an artifact cannot be copied, if the target returns something else than the source, or has not the same artifacts in the end.
    """
    before, there = source.entries(), target.entries()
    missing = [name for name, entry in before.items() if name not in there or record.known.get(name) != (entry.mark, there[name].mark)]

    def one(name: str) -> tuple[str, str, str] | None:
        try:
            return copy_one(source, target, name, before[name])
        except StoreError:
            # A full target, for example, is found while the servers still run.
            if final or source.mark(name) == before[name].mark:
                raise
            return None

    pool = ThreadPoolExecutor(SIDE_BY_SIDE)
    try:
        record.add(done for done in pool.map(one, missing) if done)
    finally:
        pool.shutdown(cancel_futures=True)
    size = sum(entry.size for entry in before.values())
    say(f"{len(before)} artifacts with {size} bytes are in the source. {len(missing)} of them were copied and compared by their SHA-256 now.")
    if not final:
        return
    # Removed from the source since an earlier copy.
    for name in (there.keys() & record.known.keys()) - before.keys():
        target.remove(name)
    after = target.entries()
    if wrong := sorted(name for name in before.keys() | after.keys() if name not in before or name not in after or before[name].size != after[name].size):
        raise StoreError(f"The target has not the same artifacts as the source: {listed(wrong)}.")
